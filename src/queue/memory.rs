//! A bounded queue of samples in memory, with its books: accepted = sent + rejected + dropped + queued.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::clock::{Moment, Timestamp};
use crate::pipeline::memory::Holder;
use crate::pipeline::selfmetrics::{Counter, Meter};
use crate::pipeline::stage::Sink;
use crate::signal::batch::{Batch, SAMPLE_BYTES, Sample};
use crate::signal::names::EXPORT_SAMPLES;

/// Samples that a queue holds when nobody says otherwise (about 12 MiB).
pub const DEFAULT_SAMPLES: usize = 256 << 10;

#[derive(Default)]
struct State {
    waiting: VecDeque<Sample>,
    /// Taken by the exporter and not yet answered for.
    in_flight: usize,
    closed: bool,
    capacity: usize,
    batching: Batching,
}

/// What becomes of samples, counted.
#[derive(Clone)]
pub struct Books {
    /// Put into the queue.
    pub accepted: Counter,
    /// Taken over by the backend.
    pub sent: Counter,
    /// Refused by the backend for good.
    pub rejected: Counter,
    /// Given up by us: the queue was full, or the daemon stopped.
    pub dropped: Counter,
}

impl Books {
    /// The books of an exporter in a pipeline.
    #[must_use]
    pub fn new(meter: &Meter, exporter: &str, pipeline: &str) -> Self {
        let result = |result| {
            let own = [("exporter", exporter), ("pipeline", pipeline), ("result", result)];
            meter.counter(&EXPORT_SAMPLES, &own)
        };
        Self {
            accepted: result("accepted"),
            sent: result("sent"),
            rejected: result("rejected"),
            dropped: result("dropped"),
        }
    }
}

/// The queue of one exporter.
pub struct MemoryQueue {
    state: Mutex<State>,
    filled: Notify,
    /// The books.
    pub books: Books,
}

impl Sink for MemoryQueue {
    fn append(&self, batches: &[Batch], _: Moment) {
        MemoryQueue::append(self, batches);
    }

    fn close(&self) {
        MemoryQueue::close(self);
    }
}

impl Holder for MemoryQueue {
    fn bytes(&self) -> usize {
        self.len() * SAMPLE_BYTES
    }

    fn sheddable(&self) -> usize {
        self.lock().waiting.len() * SAMPLE_BYTES
    }

    fn shed(&self, bytes: usize) -> usize {
        let mut state = self.lock();
        let count = bytes.div_ceil(SAMPLE_BYTES).min(state.waiting.len());
        state.waiting.drain(..count);
        self.books.dropped.add(count as u64);
        count
    }
}

/// When a batch is worth a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batching {
    /// Wait this long for more, counted from when something is there.
    pub flush_timeout: Duration,
    /// Do not wait when there are so many.
    pub min_size: usize,
    /// Never more than this at once.
    pub max_size: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self { flush_timeout: Duration::from_secs(1), min_size: 8192, max_size: 8192 }
    }
}

impl MemoryQueue {
    /// A queue for so many samples, taken in such batches.
    #[must_use]
    pub fn new(capacity: usize, batching: Batching, books: Books) -> Self {
        let state = Mutex::new(State { capacity, batching, ..State::default() });
        Self { state, filled: Notify::new(), books }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds so many samples from now on.
    pub fn resize(&self, capacity: usize, batching: Batching) {
        let mut state = self.lock();
        (state.capacity, state.batching) = (capacity, batching);
        drop(state);
        self.filled.notify_one();
    }

    /// Puts samples in; the oldest leave when there is no room.
    pub fn append(&self, batches: &[Batch]) {
        let mut state = self.lock();
        let before = state.waiting.len();
        for batch in batches {
            self.books.accepted.add(batch.len() as u64);
            state.waiting.extend(batch.samples.iter().cloned());
        }
        let over = (state.waiting.len() + state.in_flight)
            .saturating_sub(state.capacity)
            .min(state.waiting.len());
        state.waiting.drain(..over);
        self.books.dropped.add(over as u64);
        let (after, min_size) = (state.waiting.len(), state.batching.min_size);
        drop(state);
        // Every addition would wake the exporter; these are the ones that it waits for.
        if before == 0 || (before < min_size && after >= min_size) {
            self.filled.notify_one();
        }
    }

    /// Waits for a batch; `None` once the queue is closed and empty. The samples count as queued until
    /// [`MemoryQueue::settle`] says what became of them.
    pub async fn take(&self) -> Option<Vec<Sample>> {
        loop {
            let (ready, waiting, batching) = {
                let state = self.lock();
                let waiting = state.waiting.len();
                (state.closed || waiting >= state.batching.min_size, waiting, state.batching)
            };
            if ready && waiting == 0 {
                return None;
            }
            if ready {
                return Some(self.cut(batching.max_size));
            }
            if waiting == 0 {
                self.filled.notified().await;
                continue;
            }
            let full = async {
                loop {
                    self.filled.notified().await;
                    let state = self.lock();
                    if state.closed || state.waiting.len() >= state.batching.min_size {
                        return;
                    }
                }
            };
            // Whether time is up or enough is there: what is there goes.
            let _ = tokio::time::timeout(batching.flush_timeout, full).await;
            let cut = self.cut(batching.max_size);
            if !cut.is_empty() {
                return Some(cut);
            }
        }
    }

    fn cut(&self, max: usize) -> Vec<Sample> {
        let mut state = self.lock();
        let count = state.waiting.len().min(max);
        state.in_flight += count;
        state.waiting.drain(..count).collect()
    }

    /// Puts samples back that were taken and not sent: they are the next ones again.
    pub fn give_back(&self, samples: Vec<Sample>) {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(samples.len());
        for sample in samples.into_iter().rev() {
            state.waiting.push_front(sample);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// What became of samples that were taken.
    pub fn settle(&self, sent: usize, rejected: usize, dropped: usize) {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(sent + rejected + dropped);
        self.books.sent.add(sent as u64);
        self.books.rejected.add(rejected as u64);
        self.books.dropped.add(dropped as u64);
    }

    /// No more comes; [`MemoryQueue::take`] ends when all is taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Gives up what waits and what is in flight; returns how much that was.
    pub fn abandon(&self) -> usize {
        let mut state = self.lock();
        let lost = state.waiting.len() + state.in_flight;
        state.waiting.clear();
        state.in_flight = 0;
        self.books.dropped.add(lost as u64);
        lost
    }

    /// Samples that wait or are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.in_flight
    }

    /// Whether nothing waits and nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time of the oldest sample that waits.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.lock().waiting.front().map(|sample| sample.time)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::signal::names::PROBE_SUCCESS;
    use crate::signal::series::{Attributes, Resource, Series};

    fn queue(capacity: usize, batching: Batching) -> MemoryQueue {
        let meter = Meter::new(Resource::new("watchpost", "h", []), Timestamp(0));
        MemoryQueue::new(capacity, batching, Books::new(&meter, "x", "metrics"))
    }

    fn batch(times: std::ops::Range<u64>) -> Batch {
        let resource = Arc::new(Resource::new("j", "i", []));
        let series =
            Series::new(&PROBE_SUCCESS, Attributes::default(), Attributes::default(), resource);
        let samples = times.map(|t| Sample::number(&series, Timestamp(t), 1.0)).collect();
        Batch { samples, lifetime: None }
    }

    fn balanced(queue: &MemoryQueue) -> bool {
        let b = &queue.books;
        b.accepted.get() == b.sent.get() + b.rejected.get() + b.dropped.get() + queue.len() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn the_books_balance_at_every_step() {
        let batching = Batching { flush_timeout: Duration::from_secs(1), min_size: 4, max_size: 4 };
        let queue = queue(10, batching);
        queue.append(&[batch(0..6)]);
        let taken = queue.take().await.expect("filled");
        assert_eq!((taken.len(), queue.len()), (4, 6));
        assert!(balanced(&queue));
        queue.append(&[batch(6..14)]);
        assert_eq!(
            queue.books.dropped.get(),
            4,
            "the oldest that wait have to go, not what is in flight"
        );
        assert_eq!(queue.oldest(), Some(Timestamp(8)));
        assert!(balanced(&queue));
        queue.settle(3, 1, 0);
        assert!(balanced(&queue));
        queue.close();
        assert_eq!(queue.take().await.map(|s| s.len()), Some(4));
        assert_eq!(queue.take().await.map(|s| s.len()), Some(2));
        assert!(queue.take().await.is_none());
        assert_eq!(queue.abandon(), 6);
        assert!(balanced(&queue) && queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_batch_waits_its_time_and_a_full_one_does_not() {
        let batching =
            Batching { flush_timeout: Duration::from_secs(5), min_size: 10, max_size: 20 };
        let queue = queue(100, batching);
        let begin = tokio::time::Instant::now();
        queue.append(&[batch(0..3)]);
        assert_eq!(queue.take().await.expect("some").len(), 3);
        assert_eq!(begin.elapsed(), Duration::from_secs(5));
        queue.append(&[batch(0..10)]);
        assert_eq!(queue.take().await.expect("some").len(), 10);
        assert_eq!(begin.elapsed(), Duration::from_secs(5));
    }
}
