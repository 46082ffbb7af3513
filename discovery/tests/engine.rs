//! The engine's list and its stream of events, from a stand-in that never stops to tell them. The memory that is
//! measured is that of this process: no other tests belong here.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::watch;
use watchpost_discovery::docker::{self, Endpoint};

const EVENT: &str = "{\"Type\":\"container\",\"Action\":\"start\"}\n";
/// Events that the stand-in has not sent yet.
const FLOOD: usize = 64 << 20;
/// Bytes that it may send for each run: dropped ones and buffered ones.
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

/// 16 MiB of empty objects, of labels that nobody reads and of ports that are not published once took 1.4 GB.
#[test]
fn what_is_passed_over_takes_no_memory() {
    let peak = || {
        let status = std::fs::read("/proc/self/status").expect("a status");
        let status = String::from_utf8_lossy(&status).into_owned();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).map(str::to_owned);
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.expect("a peak") >> 10
    };
    let all = |one: &str| format!("{{{}}}", vec![one; (16 << 20) / (one.len() + 1)].join(","));
    let objects = format!("[{}]", vec!["{\"\":{}}"; (16 << 20) / 8].join(","));
    let labels = format!("[{{\"Names\":[\"/a\"],\"Labels\":{}}}]", all("\"x\":\"\""));
    let ports =
        format!("[{{\"Names\":[\"/a\"],\"Ports\":[{}]}}]", vec!["{}"; (16 << 20) / 3].join(","));
    let endpoint = Endpoint::Unix("/x.sock".into());
    let read = |text: &str| {
        docker::containers(text.as_bytes(), &endpoint).map(|found| found.services.len())
    };
    let before = peak();
    assert!(read(&objects).is_err_and(|why| why.contains("more than 10000 containers")));
    for text in [labels, ports] {
        assert_eq!(read(&text), Ok(1));
    }
    let more = peak() - before;
    assert!(more < 64, "{more} MiB");
}
