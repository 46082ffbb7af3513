//! How an exporter comes to its next batch: out of memory, or from the disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Cursor, Taken};
use crate::queue::books::Batching;
use crate::queue::log::backlog::{Failed, Stretch, Unreadable};
use crate::queue::log::seat::Holding;
use crate::queue::log::state::{State, Task};
use crate::queue::log::store::is_damage;

/// How long the first attempt waits for its range to be written down.
const SAVED_WITHIN: Duration = Duration::from_secs(2);
/// The same, when the disk has let others wait in vain.
const LAGGING_WITHIN: Duration = Duration::from_millis(100);
/// How soon a file that could not be read is tried again, and how often it is when the fault is its own.
const READ_AGAIN: Duration = Duration::from_secs(1);
const READ_TRIES: u32 = 10;
/// After how many tries it is told again.
const TELL_AGAIN: u32 = 60;

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
                        Err(failed) => {
                            tries += 1;
                            self.shared().read_errors.add(1);
                            self.unreadable(from, &segments, tries, &failed);
                            tokio::time::sleep(READ_AGAIN).await;
                        }
                    }
                }
            }
        }
    }

    fn unreadable(&self, from: u64, segments: &[(u64, u64)], tries: u32, failed: &Failed) {
        let exporter = self.books.exporter();
        if tries % TELL_AGAIN == 1 {
            tracing::warn!(exporter, "the queue cannot be read: {failed}");
        }
        // What the system cannot do now says nothing of the file.
        if tries < READ_TRIES || !is_damage(&failed.error) {
            return;
        }
        tracing::warn!(exporter, "a segment is passed over: {failed}");
        let mut firsts = segments.iter().map(|(first, _)| *first);
        let end = firsts.find(|first| *first > failed.first);
        let shared = self.shared();
        let mut state = shared.lock();
        state.tasks.push(Task::SetAside(failed.first));
        let own = state.segments.iter().find(|(first, _)| *first == failed.first);
        let end = end.or(own.map(|(_, end)| *end)).unwrap_or(from).max(from);
        state.segments.retain(|(first, _)| *first != failed.first);
        state.pass(self.id, from, end);
        drop(state);
        shared.wake();
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
        let in_memory = tail.front().is_some_and(|lot| lot.first <= from);
        // What is no more in memory has waited long enough.
        if in_memory && !again && !waited && waiting < min_size && seat.is_open() {
            return Next::More(flush_timeout);
        }
        let most = if again { waiting } else { waiting.min(max_size) };
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
    ) -> Result<Option<Stretch>, Failed> {
        let Some(disk) = self.shared().disk.get().cloned() else { return Ok(None) };
        let backlog = Arc::clone(&self.backlog);
        let mut lost = Vec::new();
        let read = tokio::task::spawn_blocking(move || {
            let mut backlog = backlog.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let read =
                backlog.read(&*disk, &segments, from, most, |Unreadable(first)| lost.push(first));
            (read, lost)
        });
        let own = |error| Failed { first: from, error: io::Error::other(error) };
        let (read, lost) = read.await.map_err(own)?;
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
        if shared.disk.get().is_none() {
            return;
        }
        shared.wake();
        let is_saved = || {
            let state = shared.lock();
            let seat = state.seats.get(&self.id);
            state.failing || seat.is_none_or(|seat| seat.saved == seat.version)
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
        let within = if shared.lock().lagging { LAGGING_WITHIN } else { SAVED_WITHIN };
        if tokio::time::timeout(within, saved).await.is_err() {
            // A disk that takes its time does not hold up exports for long: at worst more is sent twice after a crash.
            let known = std::mem::replace(&mut shared.lock().lagging, true);
            if !known {
                let exporter = self.books.exporter();
                tracing::warn!(
                    exporter,
                    "the disk of the queue is slow: what is sent meanwhile may come twice after a crash"
                );
            }
        }
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
            if let Holding::Numbers(left) = &mut seat.holding {
                *left += (taken.samples.len() - before) as u64;
            }
        }
        self.saved().await;
        (taken.samples.len() > before).then_some(before..taken.samples.len())
    }
}
