//! What a log knows at this moment: its newest samples, who reads it, and what is on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::position::{OPEN, Position};
use super::seat::Seat;
use super::segment::{Captured, MAX_SAMPLES};
use super::store::{Limits, Recovered};
use super::tail::{Lot, Tail};
use super::{DEFAULT_SAMPLES, TAIL};
use crate::base::clock::Timestamp;
use crate::queue::report::{Row, age};
use crate::signal::batch::{Batch, Sample};

/// Where what waits is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On the disk.
    Disk,
    /// In memory: there is no disk for it.
    Memory,
    /// In memory, because the disk fails.
    Degraded,
}

impl Mode {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
            Self::Degraded => "degraded",
        }
    }
}

/// What the thread is asked to do, beside writing.
pub enum Task {
    /// An exporter has another name from now on.
    Rename {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// The position of an exporter that does not run has changed.
    Save(String, Position),
    /// An exporter is gone for good.
    Forget(String),
    /// A segment cannot be read.
    SetAside(u64),
    /// Other limits.
    Limit(Limits),
}

/// What a log knows.
pub struct State {
    /// The number of the next sample.
    pub end: u64,
    /// The newest samples.
    pub tail: Tail,
    /// What is before is on the disk, or lost.
    pub written: u64,
    /// The segments on the disk: the number of the first sample, and that after the last one.
    pub segments: Vec<(u64, u64)>,
    /// Bytes on the disk.
    pub disk_bytes: u64,
    /// Who reads it.
    pub seats: BTreeMap<u64, Seat>,
    /// Positions of exporters that do not run, and when they were saved.
    pub orphans: BTreeMap<String, (Position, Timestamp)>,
    /// Exporters whose positions are lost: they begin with the oldest sample.
    pub lost_positions: BTreeSet<String>,
    /// Where what waits is kept.
    pub mode: Mode,
    /// The disk takes nothing.
    pub failing: bool,
    /// The disk takes longer for positions than exporters wait.
    pub lagging: bool,
    /// What the thread is to do.
    pub tasks: Vec<Task>,
    /// Nothing more comes, and the thread ends.
    pub stopping: bool,
    /// All exporters that there are have begun: who has not is an orphan.
    pub complete: bool,
    /// Where the log ended when it was opened.
    found: u64,
    /// The number of the next seat.
    next_seat: u64,
}

impl State {
    /// A log in memory.
    #[must_use]
    pub fn empty(mode: Mode) -> Self {
        Self {
            end: 0,
            tail: Tail::default(),
            written: 0,
            segments: Vec::new(),
            disk_bytes: 0,
            seats: BTreeMap::new(),
            orphans: BTreeMap::new(),
            lost_positions: BTreeSet::new(),
            mode,
            failing: false,
            lagging: false,
            tasks: Vec::new(),
            stopping: false,
            complete: false,
            found: 0,
            next_seat: 0,
        }
    }

    /// A log that was found on a disk.
    #[must_use]
    pub fn recovered(segments: Vec<(u64, u64)>, found: Recovered) -> Self {
        let Recovered { end, positions, lost_positions, .. } = found;
        Self {
            end,
            written: end,
            segments,
            found: end,
            orphans: positions,
            lost_positions,
            ..Self::empty(Mode::Disk)
        }
    }

    /// Gives an exporter a seat.
    pub fn sit(&mut self, seat: Seat) -> u64 {
        self.next_seat += 1;
        self.seats.insert(self.next_seat, seat);
        self.next_seat
    }

    /// An exporter begins: where it stood when it was here before, else with what comes next.
    pub fn begin(&mut self, id: u64) {
        let (end, oldest) = (self.end, self.oldest());
        let Some(name) = self.seats.get(&id).map(|seat| seat.name.clone()) else { return };
        // One of this name that has not sent all it had goes on under another.
        let before = self.seats.iter_mut().find(|(other, seat)| **other != id && seat.name == name);
        if let Some((other, seat)) = before.filter(|(_, seat)| seat.position.is_some()) {
            let to = format!("{name}~{end}-{other}");
            seat.name.clone_from(&to);
            seat.version += 1;
            self.tasks.push(Task::Rename { from: name, to });
        }
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.position.is_none()) else {
            return;
        };
        let lost = self.lost_positions.remove(&seat.name);
        let mut position = match self.orphans.remove(&seat.name) {
            Some((position, _)) => position,
            None if lost => Position::at(oldest),
            None => Position::at(end),
        };
        if position.until != OPEN {
            if position.queued(end) == 0 {
                // What came while it was away was not for it.
                let accepted = position.accepted(end) - position.extra;
                position.joined = end - accepted;
                (position.settled, position.in_flight, position.next) = (end, end, end);
            }
            position.until = OPEN;
        }
        seat.books.recovered.add(position.queued(end));
        seat.version += 1;
        seat.saved_needs = position.needs();
        seat.position = Some(position);
        seat.filled.notify_one();
    }

    /// All exporters that there are have begun: the others are orphans.
    pub fn complete(&mut self, now: Timestamp) {
        self.complete = true;
        let oldest = self.oldest();
        // Who was killed and is gone since has nothing to do with what comes.
        for (exporter, (position, _)) in &mut self.orphans {
            if position.until == OPEN {
                position.until = self.found;
                self.tasks.push(Task::Save(exporter.clone(), position.clone()));
            }
        }
        for exporter in std::mem::take(&mut self.lost_positions) {
            let position = Position { until: self.end, ..Position::at(oldest) };
            self.tasks.push(Task::Save(exporter.clone(), position.clone()));
            self.orphans.insert(exporter, (position, now));
        }
    }

    /// The oldest sample that there is.
    fn oldest(&self) -> u64 {
        let disk = self.segments.first().map(|(first, _)| *first);
        let memory = self.tail.front().map(|lot| lot.first);
        disk.into_iter().chain(memory).min().unwrap_or(self.end)
    }

    /// Appends samples: everyone who is open has them to send.
    pub fn append(&mut self, batches: &[Batch], captured: Captured) {
        let mut rest = batches.iter().flat_map(|batch| &batch.samples);
        let mut count: usize = batches.iter().map(Batch::len).sum();
        while count > 0 {
            let some = count.min(MAX_SAMPLES);
            let samples: Vec<Sample> = rest.by_ref().take(some).cloned().collect();
            count -= some;
            self.push(Lot::new(self.end, captured, samples));
        }
        self.evict();
    }

    fn push(&mut self, lot: Lot) {
        let (end, count) = (lot.end(), lot.samples.len() as u64);
        for seat in self.seats.values_mut().filter(|s| s.position.is_some() && s.is_open()) {
            let before = seat.waiting(self.end);
            seat.books.accepted.add(count);
            let min_size = seat.batching.min_size as u64;
            let after = before + count;
            // Every addition would wake the exporter; these are the ones that it waits for.
            if before == 0 || (before < min_size && after >= min_size) {
                seat.filled.notify_one();
            }
        }
        self.end = end;
        self.tail.push(lot);
        for seat in self.seats.values_mut() {
            seat.fit(end);
        }
    }

    /// The number before which nobody needs anything.
    #[must_use]
    pub fn needed(&self) -> u64 {
        let seats = self.seats.values().filter_map(|seat| seat.position.as_ref());
        let orphans = self.orphans.values().map(|(position, _)| position);
        let waiting = seats.chain(orphans).filter(|position| position.queued(self.end) > 0);
        let lost = (!self.lost_positions.is_empty()).then(|| self.oldest());
        waiting.map(Position::needs).chain(lost).min().unwrap_or(self.end)
    }

    /// The number before which nobody needs anything, even if the process ended now.
    #[must_use]
    pub fn needed_after_all(&self) -> u64 {
        let saved = self.seats.values().filter(|seat| seat.position.is_some());
        saved.map(|seat| seat.saved_needs).fold(self.needed(), u64::min)
    }

    /// Lets go of what memory need not hold, and of what it cannot.
    pub fn evict(&mut self) {
        let needed = self.needed();
        let durable = self.mode != Mode::Memory;
        while let Some((first, end)) = self.tail.front().map(|lot| (lot.first, lot.end())) {
            let written = end <= self.written;
            if (end <= needed && (written || !durable))
                || (written && durable && self.tail.exceeds(TAIL))
            {
                self.tail.pop();
            } else if self.tail.exceeds(self.most()) {
                let reason = if durable { "disk_full" } else { "memory_full" };
                self.lose(first, end, reason);
                self.tail.pop();
            } else {
                break;
            }
        }
    }

    /// Samples that memory may hold.
    fn most(&self) -> usize {
        let asked = self.seats.values().filter_map(|seat| seat.capacity).max();
        // Whoever holds what it has taken may hold that as well.
        asked.unwrap_or(DEFAULT_SAMPLES).clamp(DEFAULT_SAMPLES, super::MAX_SAMPLES)
    }

    /// Nobody will have what is between two numbers. Who has not come there yet finds a gap when it does.
    fn lose(&mut self, from: u64, to: u64, reason: &str) -> u64 {
        self.written = self.written.max(to);
        let there = |seat: &&mut Seat| seat.position.as_ref().is_some_and(|p| p.next >= from);
        self.seats.values_mut().filter(there).map(|seat| seat.skip(to, reason)).sum()
    }

    /// What a seat needs from one number up to another cannot be read any more; returns how many samples that are.
    pub fn pass(&mut self, id: u64, from: u64, to: u64) -> u64 {
        let end = self.end;
        let Some(seat) = self.seats.get_mut(&id) else { return 0 };
        let Some(position) = &mut seat.position else { return 0 };
        if position.unsettled() > 0 && position.settled == from {
            let lost = to.min(position.in_flight) - from;
            position.settle(0, 0, lost);
            seat.books.drop(lost, "damaged");
            seat.version += 1;
            return lost;
        }
        match position.next == from {
            true => seat.skip(to.min(end), "damaged"),
            false => 0,
        }
    }

    /// What is before a number is no more on the disk: who needs it there has lost what memory lacks.
    pub fn lose_stored(&mut self, to: u64, reason: &str) -> u64 {
        let to = self.tail.front().map_or(to, |lot| to.min(lot.first));
        let lost = |seat: &mut Seat| seat.lose_taken(to, reason) + seat.skip(to, reason);
        let lost = self.seats.values_mut().map(lost).sum();
        for (position, _) in self.orphans.values_mut() {
            position.skip(to.min(position.until));
        }
        lost
    }

    /// Frees so many bytes of memory; returns how many samples are lost by that.
    pub fn shed(&mut self, bytes: usize) -> usize {
        let goal = self.tail.bytes().saturating_sub(bytes);
        let mut lost = 0;
        while self.tail.bytes() > goal {
            let Some((first, end)) = self.tail.front().map(|lot| (lot.first, lot.end())) else {
                break;
            };
            if end > self.written || self.mode == Mode::Memory {
                lost += self.lose(first, end, "memory_full");
            }
            self.tail.pop();
        }
        usize::try_from(lost).unwrap_or(usize::MAX)
    }

    /// The time of the oldest sample of a seat that has no outcome.
    #[must_use]
    pub fn oldest_of(&self, seat: &Seat) -> Option<Timestamp> {
        let position = seat.position.as_ref()?;
        if seat.oldest.is_some() || seat.waiting(self.end) == 0 {
            return seat.oldest;
        }
        let lot = self.tail.from(position.next).next()?;
        let at = position.next.saturating_sub(lot.first) as usize;
        lot.samples.get(at).map(|sample| sample.time)
    }

    /// What everyone has, those that do not run included.
    #[must_use]
    pub fn rows(&self, pipeline: &str, now: Timestamp) -> Vec<Row> {
        let mut rows = Vec::new();
        for seat in self.seats.values() {
            let Some(position) = &seat.position else { continue };
            let age = age(now, self.oldest_of(seat));
            let names = (pipeline, seat.name.as_str(), self.mode.word());
            let row = Row::of(names, position, self.end, age);
            rows.push(Row {
                accepted: seat.accepted(self.end),
                queued: seat.queued(self.end),
                ..row
            });
        }
        for (exporter, (position, at)) in &self.orphans {
            let waits = position.queued(self.end) > 0;
            let age = age(now, waits.then_some(*at));
            rows.push(Row::of((pipeline, exporter, "orphan"), position, self.end, age));
        }
        rows
    }

    /// Gives up what waits for these, orphans included; returns how many samples that were.
    pub fn purge(&mut self, whose: impl Fn(&str) -> bool) -> u64 {
        let end = self.end;
        let seats = self.seats.values_mut().filter(|seat| whose(&seat.name));
        let mut all: u64 = seats.map(|seat| seat.skip(end, "purged")).sum();
        for (exporter, (position, _)) in &mut self.orphans {
            if whose(exporter) {
                all += position.queued(end);
                position.settle(0, 0, position.unsettled());
                position.skip(position.end(end));
                self.tasks.push(Task::Save(exporter.clone(), position.clone()));
            }
        }
        self.evict();
        all
    }

    /// Gives up what only memory has, because the process ends and no disk takes it; returns how many samples that
    /// are. Who waits for nothing else has it in its books.
    pub fn give_up(&mut self, reason: &str) -> u64 {
        let (from, end) = (self.written.min(self.end), self.end);
        let mut all = 0;
        for seat in self.seats.values_mut() {
            let Some(position) = &mut seat.position else { continue };
            let held = position.in_flight.saturating_sub(position.settled.max(from));
            let waits = position.end(end).saturating_sub(position.next.max(from));
            seat.books.drop(held + waits, reason);
            all += held + waits;
            if position.needs() >= from {
                position.settle(0, 0, held);
                position.skip(position.end(end));
                seat.version += 1;
            }
        }
        all
    }

    /// Nothing more comes: exporters end when they have sent what is there.
    pub fn close(&mut self) {
        let ids: Vec<u64> = self.seats.keys().copied().collect();
        ids.into_iter().for_each(|id| self.close_seat(id));
    }

    /// Nothing more comes for an exporter.
    pub fn close_seat(&mut self, id: u64) {
        let end = self.end;
        if let Some(seat) = self.seats.get_mut(&id) {
            if let Some(position) = seat.position.as_mut().filter(|p| p.until == OPEN) {
                position.until = end;
                seat.version += 1;
            }
            seat.filled.notify_one();
        }
    }

    /// What the thread has to write: samples, a few at once, and positions with their versions.
    #[must_use]
    pub fn unwritten(&self, most: usize) -> Vec<Arc<Lot>> {
        let mut count = 0;
        let lots = self.tail.from(self.written).take_while(|lot| {
            let fits = count < most;
            count += lot.samples.len();
            fits
        });
        lots.cloned().collect()
    }

    /// Positions that have changed, with their versions.
    #[must_use]
    pub fn unsaved(&self) -> Vec<(u64, String, u64, Position)> {
        let dirty = self.seats.iter().filter(|(_, seat)| seat.version != seat.saved);
        dirty
            .filter_map(|(id, seat)| {
                let position = seat.position.clone()?;
                Some((*id, seat.name.clone(), seat.version, position))
            })
            .collect()
    }

    /// Samples that are in memory alone.
    #[must_use]
    pub fn in_memory_alone(&self) -> u64 {
        self.end - self.written.min(self.end)
    }
}

#[cfg(test)]
mod tests;
