//! The stream of the engine's events, from a stand-in that never stops to tell them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::watch;
use watchpost_discovery::docker::{self, Endpoint};

const EVENT: &str = "{\"Type\":\"container\",\"Action\":\"start\"}\n";
/// What the stand-in would like to tell.
const FLOOD: usize = 64 << 20;
/// What it may get rid of for each run: what is dropped unread, and what waits in buffers.
const MOST: usize = 4 << 20;

/// Goes on until nothing has moved for a while.
async fn settle(told: &AtomicUsize) -> usize {
    let (mut last, mut quiet) = (told.load(Ordering::Relaxed), 0);
    for _ in 0..5_000_000 {
        tokio::task::yield_now().await;
        let now = told.load(Ordering::Relaxed);
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        if quiet > 20_000 {
            break;
        }
    }
    last
}

#[test]
fn a_flood_of_events_is_not_read_while_a_run_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = UnixListener::bind(&socket).unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1_024];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let events = EVENT.repeat(100);
            while count.load(Ordering::Relaxed) < FLOOD {
                stream.write_all(events.as_bytes()).await.unwrap();
                count.fetch_add(events.len(), Ordering::Relaxed);
            }
            std::future::pending::<()>().await;
        });
        let due = Arc::new(watch::Sender::new(false));
        let (endpoint, setter) = (Endpoint::Unix(socket), Arc::clone(&due));
        tasks.spawn(async move { drop(docker::watch(&endpoint, &setter).await) });
        due.subscribe().wait_for(|due| *due).await.unwrap();
        // A run is due, and does not begin: one that waits for its turn.
        let first = settle(&told).await;
        assert!(first < MOST, "{first} bytes were read");
        // Each run lets some more through, and no more.
        for run in 1..4 {
            due.send_replace(false);
            due.subscribe().wait_for(|due| *due).await.unwrap();
            let now = settle(&told).await;
            assert!(now < (run + 1) * MOST, "{now} bytes were read");
        }
        assert!(told.load(Ordering::Relaxed) > first, "it goes on");
    });
}
