//! An exporter's side of a log: it takes batches in order, and says what became of them.

mod taking;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::clock::{Moment, Timestamp};
use crate::pipeline::stage::Sink;
use crate::queue::books::{Batching, Books};
use crate::queue::log::backlog::{Backlog, Run, Stretch};
use crate::queue::log::position::Position;
use crate::queue::log::seat::{Holding, Seat};
use crate::queue::log::state::Task;
use crate::queue::log::{DEFAULT_SAMPLES, Log, MAX_SAMPLES, Shared};
use crate::signal::batch::{Batch, Sample};

/// A batch, as it was taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// The samples.
    pub samples: Vec<Sample>,
    /// Who captured them when.
    pub runs: Vec<Run>,
    /// The number of the first one; `None`: they stand beside the log.
    pub first: Option<u64>,
    /// An earlier attempt may have been taken over.
    pub again: bool,
    /// The file out of which they came: it goes when they have an outcome.
    pub file: Option<PathBuf>,
}

impl Taken {
    /// Sorts the samples from one on by their series; those of one series stay in their order.
    pub fn sort_by_series(&mut self, from: usize) {
        let mut runs = self.runs.iter().copied().peekable();
        let mut rest = Vec::with_capacity(self.samples.len().saturating_sub(from));
        for (n, sample) in self.samples.drain(..).enumerate() {
            while runs.peek().is_some_and(|run| run.until <= n) {
                runs.next();
            }
            rest.push((sample, runs.peek().copied()));
        }
        rest[from..].sort_by_key(|(sample, _)| sample.series.id);
        let mut sorted = Stretch::default();
        for (sample, run) in rest {
            match run {
                Some(run) => sorted.push(sample, run.captured, run.boot_id),
                None => sorted.samples.push(sample),
            }
        }
        (self.samples, self.runs) = (sorted.samples, sorted.runs);
    }
}

/// What became of samples that were taken, from the first one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend has them.
    Sent,
    /// The backend refuses them for good; why, in a word.
    Rejected(&'static str),
    /// We give them up; why, in a word.
    Dropped(&'static str),
}

/// An exporter's seat at a log.
pub struct Cursor {
    log: Arc<Log>,
    id: u64,
    backlog: Arc<std::sync::Mutex<Backlog>>,
    /// The books.
    pub books: Books,
}

impl Cursor {
    /// A seat at a log. It sees nothing before it is opened.
    #[must_use]
    pub fn new(
        log: &Arc<Log>,
        books: Books,
        batching: Batching,
        capacity: Option<usize>,
    ) -> Arc<Self> {
        let capacity = bounded(log, capacity);
        let seat = Seat::new(books.clone(), batching, capacity);
        let id = log.shared().lock().sit(seat);
        Arc::new(Self { log: Arc::clone(log), id, backlog: Arc::default(), books })
    }

    fn shared(&self) -> &Arc<Shared> {
        self.log.shared()
    }

    fn with<T: Default>(&self, f: impl FnOnce(&mut Seat, u64) -> T) -> T {
        let mut state = self.shared().lock();
        let end = state.end;
        state.seats.get_mut(&self.id).map(|seat| f(seat, end)).unwrap_or_default()
    }

    /// From now on it sees what is appended; or from where it stood, if it was here before.
    pub fn open(&self) {
        self.shared().lock().begin(self.id);
        self.shared().wake();
    }

    /// Takes and holds otherwise from now on.
    pub fn resize(&self, capacity: Option<usize>, batching: Batching) {
        let capacity = bounded(&self.log, capacity);
        self.with(|seat, end| {
            (seat.capacity, seat.batching) = (capacity, batching);
            seat.fit(end);
            seat.filled.notify_one();
        });
    }

    /// What became of the first so many of the samples that are held.
    pub fn settle(&self, samples: usize, outcome: Outcome) {
        let samples = samples as u64;
        let (sent, rejected, dropped) = match outcome {
            Outcome::Sent => (samples, 0, 0),
            Outcome::Rejected(_) => (0, samples, 0),
            Outcome::Dropped(_) => (0, 0, samples),
        };
        let mut state = self.shared().lock();
        let Some(seat) = state.seats.get_mut(&self.id) else { return };
        let Some(position) = &mut seat.position else { return };
        match &mut seat.holding {
            Holding::Nothing => return,
            Holding::Extra(left) => {
                *left = left.saturating_sub(samples);
                position.extra += samples;
                position.sent += sent;
                position.rejected += rejected;
                position.dropped += dropped;
                if *left == 0 {
                    seat.holding = Holding::Nothing;
                    seat.held = None;
                }
            }
            Holding::Numbers(left) => {
                *left = left.saturating_sub(samples);
                position.settle(sent, rejected, dropped);
                // What was taken with it and could not be read comes next.
                if *left == 0 {
                    seat.holding = Holding::Nothing;
                }
            }
        }
        if seat.holding == Holding::Nothing {
            seat.oldest = None;
        }
        match outcome {
            Outcome::Sent => seat.books.sent.add(sent),
            Outcome::Rejected(reason) => seat.books.reject(rejected, reason),
            Outcome::Dropped(reason) => seat.books.drop(dropped, reason),
        }
        seat.version += 1;
        state.evict();
        drop(state);
        if self.log.is_durable() {
            self.shared().wake();
        }
    }

    /// Puts back what was taken and has no outcome: it is the next one again, as it is.
    pub fn give_back(&self, taken: Taken) {
        self.with(|seat, _| {
            seat.holding = Holding::Nothing;
            seat.returned = (!taken.samples.is_empty()).then_some(taken);
            seat.filled.notify_one();
        });
    }

    /// Samples for this exporter alone. The log does not keep them; a file may, until they have an outcome.
    pub fn aside(&self, samples: Vec<Sample>, file: Option<PathBuf>) {
        if samples.is_empty() {
            return;
        }
        self.with(|seat, _| {
            seat.books.accepted.add(samples.len() as u64);
            seat.extra.push_back((samples, file));
            seat.filled.notify_one();
        });
    }

    /// Whether samples of this file wait or are held.
    #[must_use]
    pub fn is_at(&self, file: &Path) -> bool {
        self.with(|seat, _| {
            let held = seat.held.iter();
            let waits = seat.extra.iter().filter_map(|(_, path)| path.as_ref());
            held.chain(waits).any(|path| path == file)
        })
    }

    /// Gives up what no disk keeps, because the process ends or the exporter is gone; returns how much
    /// that was.
    pub fn abandon(&self, reason: &'static str) -> u64 {
        let durable = self.log.is_durable();
        self.with(|seat, end| {
            let (all, numbers) = (seat.queued(end), seat.waiting(end));
            let Some(position) = &mut seat.position else { return 0 };
            let kept = position.queued(end);
            let aside = all - kept;
            seat.extra.clear();
            seat.returned = None;
            position.extra += aside;
            position.dropped += aside;
            let mut lost = aside;
            if !durable {
                let held = position.unsettled();
                position.settle(0, 0, held);
                lost += held;
                position.skip(position.next + numbers);
                lost += numbers;
            }
            seat.holding = Holding::Nothing;
            seat.books.drop(lost, reason);
            seat.version += 1;
            lost
        })
    }

    /// Leaves the log for good; what is left is given up.
    pub fn leave(&self, reason: &'static str) {
        let shared = self.shared();
        let mut state = shared.lock();
        let end = state.end;
        if let Some(mut seat) = state.seats.remove(&self.id) {
            let left = seat.queued(end);
            seat.books.drop(left, reason);
            seat.extra.clear();
            state.tasks.push(Task::Forget(seat.name));
            state.evict();
        }
        drop(state);
        shared.wake();
    }

    /// Whether what it has not sent outlives the process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.log.is_durable()
    }

    /// Samples that wait or are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|seat, end| usize::try_from(seat.queued(end)).unwrap_or(usize::MAX))
    }

    /// Samples without an outcome, and those that have been dropped so far.
    #[must_use]
    pub fn left(&self) -> (u64, u64) {
        (self.len() as u64, self.books.dropped.get())
    }

    /// Whether nothing waits and nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it stands, and the number of the next sample of its log.
    #[must_use]
    pub fn position(&self) -> Option<(Position, u64)> {
        self.with(|seat, end| seat.position.clone().map(|position| (position, end)))
    }

    /// The time of the oldest sample that has no outcome.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        let state = self.shared().lock();
        state.oldest_of(state.seats.get(&self.id)?)
    }
}

/// How many samples may wait: on a disk there is room, in memory there is not.
fn bounded(log: &Log, capacity: Option<usize>) -> Option<usize> {
    match log.is_for_disk() {
        true => capacity,
        false => Some(capacity.unwrap_or(DEFAULT_SAMPLES).min(MAX_SAMPLES)),
    }
}

impl Sink for Cursor {
    /// Samples for this exporter alone.
    fn append(&self, batches: &[Batch], _: Moment) {
        for batch in batches {
            self.aside(batch.samples.clone(), None);
        }
    }

    fn open(&self) {
        Cursor::open(self);
    }

    fn close(&self) {
        self.shared().lock().close_seat(self.id);
        self.shared().wake();
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let shared = Arc::clone(self.shared());
        let mut state = shared.lock();
        // One that has begun and not left is kept on the disk.
        let seat = state.seats.get(&self.id);
        if seat.is_some_and(|seat| seat.position.is_none() || !self.log.is_durable()) {
            state.seats.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests;
