//! What a log should be, beside one on a disk that forgets.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::fake::{Dice, Fake};
use crate::base::clock::{BootTime, Timestamp};
use crate::queue::log::backlog::Backlog;
use crate::queue::log::position::Position;
use crate::queue::log::segment::Captured;
use crate::queue::log::store::{Limits, Store, SyncJob, Synced};
use crate::queue::log::tail::Lot;
use crate::signal::batch::{Sample, Value};
use crate::signal::names::PROBE_DURATION;
use crate::signal::series::{Attributes, Resource, Series};

pub(super) fn captured(seconds: u64) -> Captured {
    let wall = Timestamp(1_790_000_000_000_000_000 + seconds * 1_000_000_000);
    Captured { boot: BootTime(Duration::from_secs(seconds)), wall, synchronized: true }
}

pub(super) fn series() -> Vec<Arc<Series>> {
    let resource = Arc::new(Resource::new("j", "i", []));
    let one = |n: u64| {
        let own = Attributes::new([("n", n.to_string())]);
        Series::new(&PROBE_DURATION, Attributes::default(), own, Arc::clone(&resource))
    };
    (0..3).map(one).collect()
}

pub(super) fn limits() -> Limits {
    Limits { min_free: 0, max_bytes: 1 << 30, segment_bytes: 0, ..Limits::default() }
}

/// Where everything was when it was found what has to be made safe.
#[derive(Clone, Copy)]
struct Begun {
    end: u64,
    /// So many positions had been saved.
    saved: usize,
}

/// What a log should be, beside one on a disk that forgets.
pub(super) struct Model {
    pub(super) disk: Arc<Fake>,
    pub(super) store: Store,
    series: Vec<Arc<Series>>,
    /// What stands at each number; a number that was lost is given again.
    written: BTreeMap<u64, f64>,
    /// What memory still has.
    pub(super) memory: Vec<Arc<Lot>>,
    /// Up to where all outlives a power failure.
    pub(super) safe: u64,
    /// What could not be made safe while it could be written again.
    never_safe: u64,
    /// What is before went because it was too much.
    gone: u64,
    pub(super) end: u64,
    pub(super) position: Position,
    /// The positions that were saved since the last one that is safe.
    saved: Vec<Position>,
    /// What is to be made safe, or has been without the store knowing it; and what that means.
    job: Option<(SyncJob, Begun)>,
    done: Option<(Synced, Begun)>,
    /// What could not be made safe, and not be written again.
    doubtful: Vec<Range<u64>>,
    epoch: u64,
    pub(super) time: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        let disk = Arc::new(Fake::default());
        let (store, found) = Store::open(Arc::clone(&disk) as _, limits(), 7).unwrap();
        assert_eq!(found.end, 0);
        let mut model = Self {
            disk,
            store,
            series: series(),
            written: BTreeMap::new(),
            memory: Vec::new(),
            safe: 0,
            never_safe: u64::MAX,
            gone: 0,
            end: 0,
            position: Position::at(0),
            saved: Vec::new(),
            job: None,
            done: None,
            doubtful: Vec::new(),
            epoch: 0,
            time: 10,
        };
        model.small();
        model
    }

    /// Segments of a few hundred bytes.
    pub(super) fn small(&mut self) {
        self.store.limits.segment_bytes = 400;
    }

    pub(super) fn append(&mut self, count: u64) {
        self.time += 1;
        let samples: Vec<Sample> = (self.end..self.end + count)
            .map(|n| {
                let value = n as f64 + self.epoch as f64 * 1e6;
                let series = &self.series[n as usize % 3];
                Sample { value: Value::Double(value), ..Sample::number(series, Timestamp(n), 0.0) }
            })
            .collect();
        let values: Vec<f64> =
            (0..count).map(|n| (self.end + n) as f64 + self.epoch as f64 * 1e6).collect();
        let lot = Arc::new(Lot::new(self.end, captured(self.time), samples));
        self.memory.push(Arc::clone(&lot));
        if self.store.append(&[lot]).is_ok() {
            for (n, value) in values.into_iter().enumerate() {
                self.written.insert(self.end + n as u64, value);
            }
        }
        // What could not be written is lost here; in a log, memory has it.
        self.end += count;
    }

    pub(super) fn save(&mut self) {
        self.saved.push(self.position.clone());
        if self.store.save("x/y", &self.position).is_err() {
            // A part of it may have been written: then the other slot counts.
        }
    }

    /// All that has to be made safe, from the first look to the end.
    pub(super) fn sync(&mut self) {
        // One at a time.
        self.run();
        self.end_sync();
        self.begin_sync();
        self.run();
        self.end_sync();
    }

    pub(super) fn begin_sync(&mut self) {
        self.write_again();
        if self.job.is_some() || self.done.is_some() || !self.doubtful.is_empty() {
            return;
        }
        self.time += 100;
        let now = captured(self.time).boot;
        let needs = self.position.needs();
        let begun = Begun { end: self.end, saved: self.saved.len() };
        self.job = self.store.to_sync(needs, needs, now, true).map(|job| (job, begun));
    }

    /// All is safe up to there, but for what went. With the last file that is safe goes what tells where the log ended.
    pub(super) fn is_safe(&mut self, end: u64) {
        self.safe = if end > self.gone { end } else { 0 };
    }

    pub(super) fn run(&mut self) {
        if let Some((job, begun)) = self.job.take() {
            self.done = Some((job.run(&*self.disk), begun));
        }
    }

    pub(super) fn end_sync(&mut self) {
        let Some((synced, begun)) = self.done.take() else { return };
        match self.store.synced(synced) {
            Ok(_) => {
                self.is_safe(self.safe.max(begun.end.min(self.never_safe)));
                self.saved.drain(..begun.saved.saturating_sub(1));
            }
            Err((doubtful, _)) => {
                if !doubtful.is_empty() {
                    self.doubtful.push(doubtful);
                }
                self.write_again();
            }
        }
    }

    /// As a log does.
    fn write_again(&mut self) {
        while let Some(doubtful) = self.doubtful.last() {
            let again = |lot: &&Arc<Lot>| doubtful.contains(&lot.first);
            let lots: Vec<_> = self.memory.iter().filter(again).cloned().collect();
            let all = lots.iter().map(|lot| lot.samples.len() as u64).sum::<u64>();
            if all < doubtful.end - doubtful.start {
                // A process before has written it, and nobody has it in memory.
                self.never_safe = self.never_safe.min(doubtful.start);
            }
            if self.store.write_again(&lots).is_err() {
                return;
            }
            self.doubtful.pop();
        }
        // Positions that could not be made safe are saved once more, whatever they are.
        if !self.store.look_for_cursors().is_empty() {
            self.save();
        }
    }

    /// The process ends, and another one opens the log.
    pub(super) fn reopen(&mut self, power_fails: bool) {
        let (store, found) = Store::open(Arc::clone(&self.disk) as _, limits(), 7).unwrap();
        self.store = store;
        (self.job, self.done) = (None, None);
        self.doubtful.clear();
        self.small();
        self.epoch += 1;
        self.memory.clear();
        assert!(found.end >= if power_fails { self.safe } else { 0 }, "{found:?}");
        match found.positions.get("x/y") {
            Some((position, _)) => {
                assert!(position.is_balanced(found.end), "{position:?} of {}", found.end);
                assert!(self.saved.contains(position), "{position:?}");
                if !power_fails {
                    assert_eq!(Some(position), self.saved.last(), "the last one that was saved");
                }
                self.position = position.clone();
            }
            None => {
                // It was never safe.
                self.position = Position::at(self.position.joined.min(found.end));
            }
        }
        let mut read = BTreeMap::new();
        let mut backlog = Backlog::default();
        let mut from = self.position.needs();
        let segments = self.store.segments();
        while let Some(stretch) = backlog.read(&*self.disk, &segments, from, 5, |_| {}).unwrap() {
            for (n, sample) in stretch.samples.iter().enumerate() {
                let Value::Double(value) = sample.value else { panic!("{sample:?}") };
                read.insert(stretch.first + n as u64, value);
            }
            from = stretch.end();
        }
        for (number, value) in &read {
            assert_eq!(self.written.get(number), Some(value), "number {number}: it was written");
        }
        let whole = if power_fails { self.safe } else { self.end };
        let from = self.position.needs().max(self.gone);
        for (number, value) in self.written.range(from..).filter(|(n, _)| **n < whole) {
            assert_eq!(read.get(number), Some(value), "number {number} is lost ({power_fails})");
        }
        let needed = self.position.needs();
        // What went may be there again after a power failure.
        let needed = needed.max(self.gone);
        self.written.retain(|number, _| *number < needed || read.contains_key(number));
        if power_fails {
            self.never_safe = u64::MAX;
            self.saved = vec![self.position.clone()];
        }
        self.end = found.end;
        self.gone = self.gone.min(self.end);
        self.safe = self.safe.min(self.end);
    }

    pub(super) fn step(&mut self, step: u8, by: u64, dice: &mut Dice) {
        match step {
            0..=3 => self.append(1 + by),
            4 => {
                // Some are taken, some settled.
                if self.position.unsettled() == 0 {
                    self.position.take((self.position.next + by).min(self.end));
                }
                self.save();
            }
            5 => {
                let there = self.position.unsettled();
                self.position.settle(there, 0, 0);
                self.save();
            }
            6 => self.sync(),
            7 => self.reopen(false),
            8 => {
                self.disk.lose_power(dice);
                self.reopen(true);
            }
            9 => self.store.seal(),
            10 => {
                // One of the segments that are to be made safe, and then perhaps another, are not.
                self.disk.fail_syncs(1 + dice.throw(2) as u32);
                self.sync();
                self.sync();
                self.disk.fail_syncs(0);
            }
            // What is made safe takes its time, and everything else goes on.
            11 => self.begin_sync(),
            12 => self.run(),
            13 => self.end_sync(),
            _ => {
                if by == 0 && self.store.segments().len() > 1 {
                    let end = self.store.drop_oldest();
                    self.gone = self.gone.max(end.unwrap_or(0));
                    self.is_safe(self.safe);
                }
            }
        }
    }
}
