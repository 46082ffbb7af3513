use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::base::clock;
use crate::pipeline::memory::Holder;

/// Holds bytes and gives them back.
#[derive(Default)]
struct Fake {
    held: AtomicUsize,
    short: AtomicBool,
    stubborn: bool,
}

impl Holder for Fake {
    fn bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn sheddable(&self) -> usize {
        if self.stubborn { 0 } else { self.bytes() }
    }

    fn squeeze(&self, short: bool) {
        self.short.store(short, Ordering::Relaxed);
    }

    fn shed(&self, bytes: usize) -> usize {
        if self.stubborn {
            return 0;
        }
        let held = self.bytes();
        self.held.store(held.saturating_sub(bytes), Ordering::Relaxed);
        held.min(bytes)
    }
}

#[test]
fn soft_squeezes_and_hard_drops_from_those_who_hold_most() {
    let memory = Arc::new(Memory::default());
    let big = Arc::new(Fake::default());
    let small = Arc::new(Fake::default());
    let table = Arc::new(Fake { stubborn: true, ..Fake::default() });
    for fake in [&big, &small, &table] {
        memory.count(&(Arc::clone(fake) as Arc<dyn Holder>));
    }
    let settings = Settings {
        check_interval: Duration::from_secs(1),
        limit: Limit::Percent(50),
        spike: Some(Limit::Percent(10)),
    };
    let mut limiter = MemoryLimiter::new("memory_limiter", settings, 2000, Arc::clone(&memory));
    let mut now = clock::now();
    let mut look = |big_holds: usize, limiter: &mut MemoryLimiter| {
        big.held.store(big_holds, Ordering::Relaxed);
        now.boot = now.boot + Duration::from_secs(1);
        limiter.tick(now);
        (big.short.load(Ordering::Relaxed), big.bytes())
    };
    small.held.store(100, Ordering::Relaxed);
    table.held.store(100, Ordering::Relaxed);
    assert_eq!(look(500, &mut limiter), (false, 500));
    assert_eq!(look(601, &mut limiter), (true, 601), "above the soft limit of 800");
    assert_eq!(look(1000, &mut limiter), (true, 800), "back to the hard limit of 1000");
    assert_eq!(look(100, &mut limiter), (false, 100));
    assert_eq!(small.bytes(), 100, "who holds little gives nothing while there is another");
    // What cannot be given back costs those who wait no more than a quarter leaves them.
    table.held.store(2000, Ordering::Relaxed);
    assert_eq!(look(100, &mut limiter), (true, 100), "a healthy queue loses nothing");
    assert_eq!(
        look(900, &mut limiter),
        (true, 150),
        "with the other's 100 it is a quarter of 1000"
    );
    table.held.store(100, Ordering::Relaxed);
    assert_eq!(look(100, &mut limiter), (false, 100));
    // Between two looks nothing happens.
    big.held.store(9999, Ordering::Relaxed);
    limiter.tick(now);
    assert_eq!(big.bytes(), 9999);
}

#[test]
fn limits_by_default() {
    let settings =
        Settings { check_interval: Duration::from_secs(1), limit: Limit::Bytes(1000), spike: None };
    let limiter = MemoryLimiter::new("m", settings, 1, Arc::default());
    assert_eq!((limiter.hard, limiter.soft), (1000, 800));
}
