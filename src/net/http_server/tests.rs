use super::*;

fn ordinary(connections: usize) -> usize {
    Limits { connections, all: Arc::new(Semaphore::new(connections)) }.ordinary()
}

#[test]
fn some_connections_are_kept_for_health_at_any_size() {
    assert_eq!(ordinary(MAX_CONNECTIONS), 128, "from the 129th on");
    assert_eq!(ordinary(32), 30);
    assert_eq!(ordinary(2), 1);
}
