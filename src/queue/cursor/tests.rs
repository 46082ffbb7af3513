use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::clock;
use crate::pipeline::selfmetrics::Meter;
use crate::queue::log::Surroundings;
use crate::queue::log::state::Mode;
use crate::queue::log::store::Limits;
use crate::signal::names::PROBE_SUCCESS;
use crate::signal::series::{Attributes, Resource, Series};

fn surroundings() -> Surroundings {
    let meter = Arc::new(Meter::new(Resource::new("watchpost", "h", []), Timestamp(0)));
    Surroundings { boot_id: 7, synchronized: || true, meter }
}

fn cursor(log: &Arc<Log>, name: &str, capacity: Option<usize>, batching: Batching) -> Arc<Cursor> {
    let books = Books::new(&log.shared().surroundings.meter, name, "metrics");
    let cursor = Cursor::new(log, books, batching, capacity);
    cursor.open();
    cursor
}

fn on_disk(folder: &std::path::Path) -> Arc<Log> {
    let limits = Limits { min_free: 0, ..Limits::default() };
    Arc::new(Log::open("metrics", folder, limits, surroundings()).unwrap())
}

fn series() -> Arc<Series> {
    let resource = Arc::new(Resource::new("j", "i", []));
    Series::new(&PROBE_SUCCESS, Attributes::default(), Attributes::default(), resource)
}

fn put(log: &Log, times: std::ops::Range<u64>) {
    let series = series();
    let samples = times.map(|t| Sample::number(&series, Timestamp(t), 1.0)).collect();
    log.append(&[Batch { samples, lifetime: None }], clock::now());
}

/// Waits until everything is on the disk: what is there is taken up to its end at once.
async fn written(log: &Log) {
    for _ in 0..1000 {
        let done = {
            let state = log.shared().lock();
            state.written == state.end
        };
        if done {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it is not written");
}

fn times(taken: &Taken) -> Vec<u64> {
    taken.samples.iter().map(|sample| sample.time.0).collect()
}

fn small(size: usize) -> Batching {
    Batching { flush_timeout: Duration::from_secs(1), min_size: size, max_size: size }
}

fn balanced(cursor: &Cursor) -> bool {
    let b = &cursor.books;
    let out = b.sent.get() + b.rejected.get() + b.dropped.get() + cursor.len() as u64;
    let (position, end) = cursor.position().expect("it has begun");
    b.accepted.get() + b.recovered.get() == out && position.is_balanced(end)
}

#[tokio::test(start_paused = true)]
async fn the_books_balance_at_every_step() {
    let log = Arc::new(Log::in_memory("metrics", surroundings()));
    let queue = cursor(&log, "x", Some(10), small(4));
    put(&log, 0..6);
    let taken = queue.take().await.expect("filled");
    assert_eq!((taken.samples.len(), queue.len()), (4, 6));
    assert!(balanced(&queue));
    put(&log, 6..14);
    let dropped = queue.books.dropped.get();
    assert_eq!(dropped, 4, "the oldest that wait have to go, not what is in flight");
    assert_eq!(queue.oldest(), Some(Timestamp(0)));
    assert!(balanced(&queue));
    queue.settle(3, Outcome::Sent);
    queue.settle(1, Outcome::Rejected("refused"));
    assert_eq!(queue.oldest(), Some(Timestamp(8)));
    assert!(balanced(&queue));
    log.close();
    assert_eq!(queue.take().await.map(|t| times(&t)), Some(vec![8, 9, 10, 11]));
    queue.settle(4, Outcome::Sent);
    assert_eq!(queue.take().await.map(|t| times(&t)), Some(vec![12, 13]));
    assert_eq!(queue.abandon("shutdown"), 2);
    assert!(queue.take().await.is_none());
    assert!(balanced(&queue) && queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_small_batch_waits_its_time_and_a_full_one_does_not() {
    let log = Arc::new(Log::in_memory("metrics", surroundings()));
    let batching = Batching { flush_timeout: Duration::from_secs(5), min_size: 10, max_size: 20 };
    let queue = cursor(&log, "x", None, batching);
    let begin = tokio::time::Instant::now();
    put(&log, 0..3);
    assert_eq!(queue.take().await.expect("some").samples.len(), 3);
    queue.settle(3, Outcome::Sent);
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    put(&log, 0..10);
    assert_eq!(queue.take().await.expect("some").samples.len(), 10);
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn each_exporter_goes_its_own_way() {
    let log = Arc::new(Log::in_memory("metrics", surroundings()));
    let fast = cursor(&log, "fast", None, small(2));
    put(&log, 0..2);
    let slow = cursor(&log, "slow", Some(3), small(2));
    put(&log, 2..4);
    assert_eq!(fast.take().await.map(|t| times(&t)), Some(vec![0, 1]));
    fast.settle(2, Outcome::Sent);
    put(&log, 4..8);
    assert_eq!(slow.books.dropped.get(), 3, "it came later, and three are all that may wait");
    assert_eq!(slow.take().await.map(|t| times(&t)), Some(vec![5, 6]));
    assert_eq!(fast.len(), 6);
    assert!(balanced(&fast) && balanced(&slow));
}

/// Whoever stops waiting for a batch, and whoever gives one back, leaves it to the next one as it was.
#[tokio::test]
async fn what_was_taken_and_not_sent_comes_again_in_the_same_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let log = on_disk(folder.path());
    let queue = cursor(&log, "x", None, small(4));
    put(&log, 0..6);
    let mut taken = queue.take().await.expect("filled");
    assert_eq!((times(&taken), taken.again), (vec![0, 1, 2, 3], false));
    queue.settle(1, Outcome::Sent);
    taken.samples.drain(..1);
    taken.first = Some(1);
    queue.give_back(taken);
    put(&log, 6..20);
    drop(queue.take());
    assert_eq!(queue.take().await.map(|t| times(&t)), Some(vec![1, 2, 3]));
    assert!(balanced(&queue));
}

#[tokio::test]
async fn a_log_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4_u64 {
        let log = on_disk(folder.path());
        let queue = cursor(&log, "a/b", None, small(4));
        if round > 0 {
            assert_eq!(queue.books.recovered.get(), 4 + 2 * round);
            let taken = queue.take().await.expect("in flight when it ended");
            assert!(taken.again);
            assert_eq!(times(&taken), (0..4).map(|n| (round - 1) * 4 + n).collect::<Vec<_>>());
            queue.settle(4, Outcome::Sent);
        }
        put(&log, 6 * round..6 * round + 6);
        written(&log).await;
        let taken = queue.take().await.expect("filled");
        assert_eq!(times(&taken), (0..4).map(|n| round * 4 + n).collect::<Vec<_>>());
        assert!(balanced(&queue));
        // It ends here, as after kill -9: nothing is settled, and nobody says good-bye.
        log.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn an_exporter_that_lags_reads_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let log = on_disk(folder.path());
    let queue = cursor(&log, "x", None, small(10_000));
    for part in 0..20 {
        put(&log, part * 10_000..(part + 1) * 10_000);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for part in 0..20 {
        let taken = queue.take().await.expect("filled");
        assert_eq!(times(&taken), (part * 10_000..(part + 1) * 10_000).collect::<Vec<_>>());
        queue.settle(10_000, Outcome::Sent);
        assert!(balanced(&queue));
    }
    assert!(queue.is_empty());
}

/// Samples beside the log are counted as all others, and are not kept.
#[tokio::test]
async fn samples_for_one_exporter_alone() {
    let log = Arc::new(Log::in_memory("metrics", surroundings()));
    let queue = cursor(&log, "x", None, small(1));
    let other = cursor(&log, "y", None, small(1));
    queue.aside(vec![Sample::number(&series(), Timestamp(5), 1.0)], None);
    assert_eq!((queue.len(), other.len()), (1, 0));
    let taken = queue.take().await.expect("it is there");
    assert_eq!((times(&taken), taken.first), (vec![5], None));
    assert!(balanced(&queue));
    queue.settle(1, Outcome::Sent);
    assert!(balanced(&queue) && queue.is_empty());
}

/// A folder that cannot be used at the start is taken as soon as it can be; nothing is lost by that.
#[tokio::test]
async fn a_folder_that_can_be_used_later_is_taken_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("there/metrics");
    // Nobody makes a folder in a file.
    std::fs::write(folder.path().join("there"), "").unwrap();
    let limits = Limits { min_free: 0, ..Limits::default() };
    assert!(Log::open("metrics", &path, limits.clone(), surroundings()).is_err());
    let log = Arc::new(Log::until_usable("metrics", &path, limits, surroundings()));
    let queue = cursor(&log, "x", None, small(4));
    put(&log, 0..10);
    let taken = queue.take().await.expect("filled");
    assert!(!queue.is_durable() && log.shared().lock().mode == Mode::Degraded);
    std::fs::remove_file(folder.path().join("there")).unwrap();
    written(&log).await;
    put(&log, 10..12);
    written(&log).await;
    assert!(queue.is_durable() && log.shared().lock().mode == Mode::Disk);
    queue.settle(taken.samples.len(), Outcome::Sent);
    assert!(balanced(&queue));
    assert!(log.stop(Duration::from_secs(5)).await);
    drop((queue, log));
    let log = on_disk(&path);
    let queue = cursor(&log, "x", None, small(12));
    assert_eq!(queue.take().await.map(|t| times(&t)), Some((4..12).collect()));
}

/// One in which a queue stands already is left alone until the next start.
#[tokio::test]
async fn a_folder_with_another_queue_waits_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let first = on_disk(folder.path());
    let queue = cursor(&first, "x", None, small(4));
    put(&first, 0..4);
    written(&first).await;
    let limits = Limits { min_free: 0, ..Limits::default() };
    let error = Log::open("metrics", folder.path(), limits.clone(), surroundings()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    let log = Log::until_usable("metrics", folder.path(), limits, surroundings());
    assert!(first.stop(Duration::from_secs(5)).await);
    drop((queue, first));
    // It has looked, and gone.
    let is_finished = || log.thread.lock().unwrap().as_ref().is_none_or(|t| t.is_finished());
    for _ in 0..1000 {
        if is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_finished() && !log.is_durable());
    let log = on_disk(folder.path());
    let queue = cursor(&log, "x", None, small(4));
    assert_eq!(queue.take().await.map(|t| times(&t)), Some((0..4).collect()));
}

/// A position whose file somebody removes is written down again.
#[tokio::test]
async fn a_position_that_is_removed_is_saved_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.cursor");
    let log = on_disk(folder.path());
    let queue = cursor(&log, "x", None, small(4));
    for round in 0..4 {
        put(&log, 4 * round..4 * round + 4);
        let taken = queue.take().await.expect("filled");
        queue.settle(taken.samples.len(), Outcome::Sent);
        written(&log).await;
        if round == 0 {
            std::fs::remove_file(&file).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert!(log.stop(Duration::from_secs(5)).await && file.exists());
    drop((queue, log));
    let log = on_disk(folder.path());
    let queue = cursor(&log, "x", None, small(4));
    let (position, end) = queue.position().unwrap();
    assert_eq!((position.sent, position.queued(end)), (16, 0));
}
