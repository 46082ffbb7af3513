//! An exporter's side of a log: it takes batches in order, and says what became of them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Moment, Timestamp};
use crate::pipeline::stage::Sink;
use crate::queue::books::{Batching, Books};
use crate::queue::log::backlog::{Backlog, Run, Stretch, Unreadable};
use crate::queue::log::position::Position;
use crate::queue::log::seat::{Holding, Seat};
use crate::queue::log::state::{Mode, State, Task};
use crate::queue::log::{DEFAULT_SAMPLES, Log, Shared};
use crate::signal::batch::{Batch, Sample};

/// How long the first attempt waits for its range to be written down.
const SAVED_WITHIN: Duration = Duration::from_millis(250);
/// How soon a file that could not be read is tried again, and how often.
const READ_AGAIN: Duration = Duration::from_secs(1);
const READ_TRIES: u32 = 10;
/// Samples that may wait in memory, whatever is asked for.
const MAX_SAMPLES: usize = 1_000_000;

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

/// What is to be done for the next batch.
enum Next {
    /// Nothing comes any more.
    End,
    /// Wait for something.
    Idle,
    /// Wait for more, for so long.
    More(Duration),
    /// It is there to be claimed.
    Ready,
    /// It is on the disk: so many from a number on; `again`: they were taken before.
    Read { from: u64, most: usize, again: bool, segments: Vec<(u64, u64)> },
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

    /// Waits for a batch; `None` once the queue is closed and empty. The samples count as queued until
    /// [`Cursor::settle`] says what became of them.
    pub async fn take(&self) -> Option<Taken> {
        let filled = self.with(|seat, _| Some(Arc::clone(&seat.filled)))?;
        let mut waited = false;
        let mut tries = 0;
        loop {
            match self.next(waited) {
                Next::End => return None,
                Next::Idle => {
                    waited = false;
                    filled.notified().await;
                }
                Next::More(span) => {
                    let full = async {
                        loop {
                            filled.notified().await;
                            if self.with(|seat, end| seat.has_enough(end)) {
                                return;
                            }
                        }
                    };
                    // Whether time is up or enough is there: what is there goes.
                    let _ = tokio::time::timeout(span, full).await;
                    waited = true;
                }
                Next::Ready => {
                    // Whoever stops waiting here leaves it to the next one.
                    self.saved().await;
                    if let Some(taken) = self.with(|seat, _| seat.claim()) {
                        return Some(taken);
                    }
                }
                Next::Read { from, most, again, segments } => {
                    let read = self.read(from, most, segments.clone()).await;
                    match read {
                        Ok(stretch) => {
                            tries = 0;
                            self.hold(from, stretch, again);
                        }
                        Err(error) => {
                            tries += 1;
                            self.shared().read_errors.add(1);
                            self.unreadable(from, &segments, tries, &error);
                            tokio::time::sleep(READ_AGAIN).await;
                        }
                    }
                }
            }
        }
    }

    fn unreadable(&self, from: u64, segments: &[(u64, u64)], tries: u32, error: &io::Error) {
        let exporter = self.books.exporter();
        if tries == 1 {
            tracing::warn!(exporter, "the queue cannot be read: {error}");
        }
        if tries >= READ_TRIES {
            if let Some((first, end)) = segments.iter().find(|(_, end)| *end > from) {
                tracing::warn!(exporter, "a segment is passed over: {error}");
                let shared = self.shared();
                let mut state = shared.lock();
                state.tasks.push(Task::SetAside(*first));
                state.segments.retain(|(begin, _)| begin != first);
                state.pass(self.id, from, *end);
                drop(state);
                shared.wake();
            }
        }
    }

    /// What comes next; `waited`: it need not be more than is there.
    fn next(&self, waited: bool) -> Next {
        let mut state = self.shared().lock();
        let State { end, tail, seats, segments, .. } = &mut *state;
        let Some(seat) = seats.get_mut(&self.id) else { return Next::End };
        if seat.holding != Holding::Nothing {
            return Next::Idle;
        }
        if seat.returned.is_some() {
            return Next::Ready;
        }
        let Some(position) = &mut seat.position else { return Next::Idle };
        let Batching { flush_timeout, min_size, max_size } = seat.batching;
        // What was taken before the process ended comes first, in the same bounds.
        let again = position.unsettled() > 0;
        let from = if again { position.settled } else { position.next };
        let until = if again { position.in_flight } else { position.end(*end) };
        let waiting = usize::try_from(until.saturating_sub(from)).unwrap_or(usize::MAX);
        if waiting == 0 {
            if let Some((samples, file)) = seat.extra.pop_front() {
                seat.returned = Some(Taken { samples, file, ..Taken::default() });
                return Next::Ready;
            }
            return if seat.is_open() { Next::Idle } else { Next::End };
        }
        if !again && !waited && waiting < min_size && seat.is_open() {
            return Next::More(flush_timeout);
        }
        let most = if again { waiting } else { waiting.min(max_size) };
        let in_memory = tail.front().is_some_and(|lot| lot.first <= from);
        if !in_memory {
            let segments = segments.iter().filter(|(_, end)| *end > from).copied().collect();
            return Next::Read { from, most, again, segments };
        }
        let mut stretch = Stretch { first: from, ..Stretch::default() };
        let boot_id = Some(self.shared().surroundings.boot_id);
        for lot in tail.from(from) {
            let room = most - stretch.samples.len();
            if lot.first > stretch.end() || room == 0 {
                break;
            }
            let skip = (stretch.end() - lot.first) as usize;
            let some = lot.samples.iter().skip(skip).take(room);
            stretch.extend(some.cloned(), lot.captured, boot_id);
        }
        if stretch.samples.is_empty() {
            return Next::Idle;
        }
        seat.take(stretch, again);
        Next::Ready
    }

    async fn read(
        &self,
        from: u64,
        most: usize,
        segments: Vec<(u64, u64)>,
    ) -> io::Result<Option<Stretch>> {
        let Some(disk) = self.shared().disk.clone() else { return Ok(None) };
        let backlog = Arc::clone(&self.backlog);
        let mut lost = Vec::new();
        let read = tokio::task::spawn_blocking(move || {
            let mut backlog = backlog.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let read =
                backlog.read(&*disk, &segments, from, most, |Unreadable(first)| lost.push(first));
            (read, lost)
        });
        let (read, lost) = read.await.map_err(io::Error::other)?;
        if !lost.is_empty() {
            self.shared().lock().tasks.extend(lost.into_iter().map(Task::SetAside));
            self.shared().wake();
        }
        read
    }

    /// Takes what was read of the disk. What is missing before it is lost.
    fn hold(&self, from: u64, stretch: Option<Stretch>, again: bool) {
        let mut state = self.shared().lock();
        let upto = match &stretch {
            Some(stretch) => stretch.first,
            None => {
                let memory = state.tail.front().map(|lot| lot.first);
                memory.filter(|first| *first > from).unwrap_or(state.end)
            }
        };
        if upto > from {
            let lost = state.pass(self.id, from, upto);
            if lost > 0 {
                let exporter = self.books.exporter();
                tracing::warn!(exporter, lost, "samples of the queue cannot be read any more");
            }
        }
        let Some(stretch) = stretch else { return };
        let Some(seat) = state.seats.get_mut(&self.id) else { return };
        let Some(position) = &seat.position else { return };
        let redo = position.unsettled() > 0;
        let (now, end) = match redo {
            true => (position.settled, position.in_flight),
            false => (position.next, u64::MAX),
        };
        // Meanwhile it may have been dropped: then it is asked for once more.
        if again == redo && now == stretch.first && stretch.end() <= end {
            seat.take(stretch, again);
        }
    }

    /// Waits until it is written down what was taken.
    async fn saved(&self) {
        let shared = self.shared();
        if shared.disk.is_none() {
            return;
        }
        shared.wake();
        let is_saved = || {
            let state = shared.lock();
            let seat = state.seats.get(&self.id);
            state.mode != Mode::Disk || seat.is_none_or(|seat| seat.saved == seat.version)
        };
        let saved = async {
            loop {
                let told = shared.saved.notified();
                if is_saved() {
                    return;
                }
                told.await;
            }
        };
        // A disk that takes its time does not hold up exports: at worst more is sent twice after a crash.
        let _ = tokio::time::timeout(SAVED_WITHIN, saved).await;
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
                }
            }
            Holding::Numbers => {
                position.settle(sent, rejected, dropped);
                if position.unsettled() == 0 {
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

    /// Takes further samples to those that are held, as many as a batch may have; returns where they stand among them.
    /// `None`: there are none at hand.
    pub async fn further(&self, taken: &mut Taken) -> Option<std::ops::Range<usize>> {
        let first = taken.first?;
        let before = taken.samples.len();
        {
            let mut state = self.shared().lock();
            let State { end, tail, seats, .. } = &mut *state;
            let seat = seats.get_mut(&self.id)?;
            let position = seat.position.as_mut()?;
            // Only what follows without a gap, and is in memory.
            let from = first + before as u64;
            if position.next != from || position.in_flight != from {
                return None;
            }
            let most = position.end(*end).saturating_sub(from).min(seat.batching.max_size as u64);
            let boot_id = Some(self.shared().surroundings.boot_id);
            let mut stretch = Stretch {
                first,
                samples: std::mem::take(&mut taken.samples),
                runs: std::mem::take(&mut taken.runs),
            };
            for lot in tail.from(from) {
                let room = (from + most - stretch.end()) as usize;
                if lot.first > stretch.end() || room == 0 {
                    break;
                }
                let skip = (stretch.end() - lot.first) as usize;
                let some = lot.samples.iter().skip(skip).take(room).cloned();
                stretch.extend(some, lot.captured, boot_id);
            }
            (position.in_flight, position.next) = (stretch.end(), stretch.end());
            seat.version += 1;
            (taken.samples, taken.runs) = (stretch.samples, stretch.runs);
        }
        self.saved().await;
        (taken.samples.len() > before).then(|| before..taken.samples.len())
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
        let seat = state.seats.get(&self.id)?;
        let position = seat.position.as_ref()?;
        if seat.oldest.is_some() || seat.waiting(state.end) == 0 {
            return seat.oldest;
        }
        let lot = state.tail.from(position.next).next()?;
        let at = position.next.saturating_sub(lot.first) as usize;
        lot.samples.get(at).map(|sample| sample.time)
    }
}

/// How many samples may wait: on a disk there is room, in memory there is not.
fn bounded(log: &Log, capacity: Option<usize>) -> Option<usize> {
    match log.is_durable() {
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
        if let Some(seat) = state.seats.get(&self.id) {
            if seat.position.is_none() || !self.log.is_durable() {
                state.seats.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
