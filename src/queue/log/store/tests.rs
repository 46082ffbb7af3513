use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::queue::log::backlog::Backlog;
use crate::queue::log::segment::Captured;
use crate::signal::batch::{Sample, Value};
use crate::signal::names::PROBE_DURATION;
use crate::signal::series::{Attributes, Resource, Series};
use fake::{Dice, Fake};

mod fake;

fn captured(seconds: u64) -> Captured {
    let wall = Timestamp(1_790_000_000_000_000_000 + seconds * 1_000_000_000);
    Captured { boot: BootTime(Duration::from_secs(seconds)), wall, synchronized: true }
}

fn series() -> Vec<Arc<Series>> {
    let resource = Arc::new(Resource::new("j", "i", []));
    let one = |n: u64| {
        let own = Attributes::new([("n", n.to_string())]);
        Series::new(&PROBE_DURATION, Attributes::default(), own, Arc::clone(&resource))
    };
    (0..3).map(one).collect()
}

fn limits() -> Limits {
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
struct Model {
    disk: Arc<Fake>,
    store: Store,
    series: Vec<Arc<Series>>,
    /// What stands at each number; a number that was lost is given again.
    written: BTreeMap<u64, f64>,
    /// What memory still has.
    memory: Vec<Arc<Lot>>,
    /// Up to where all outlives a power failure.
    safe: u64,
    /// What could not be made safe while it could be written again.
    never_safe: u64,
    /// What is before went because it was too much.
    gone: u64,
    end: u64,
    position: Position,
    /// The positions that were saved since the last one that is safe.
    saved: Vec<Position>,
    /// What is to be made safe, or has been without the store knowing it; and what that means.
    job: Option<(SyncJob, Begun)>,
    done: Option<(Synced, Begun)>,
    epoch: u64,
    time: u64,
}

impl Model {
    fn new() -> Self {
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
            epoch: 0,
            time: 10,
        };
        model.small();
        model
    }

    /// Segments of a few hundred bytes.
    fn small(&mut self) {
        self.store.limits.segment_bytes = 400;
    }

    fn append(&mut self, count: u64) {
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
        let lot = Arc::new(Lot { first: self.end, captured: captured(self.time), samples });
        self.memory.push(Arc::clone(&lot));
        if self.store.append(&[lot]).is_ok() {
            for (n, value) in values.into_iter().enumerate() {
                self.written.insert(self.end + n as u64, value);
            }
        }
        // What could not be written is lost here; in a log, memory has it.
        self.end += count;
    }

    fn save(&mut self) {
        self.saved.push(self.position.clone());
        if self.store.save("x/y", &self.position).is_err() {
            // A part of it may have been written: then the other slot counts.
        }
    }

    /// All that has to be made safe, from the first look to the end.
    fn sync(&mut self) {
        // One at a time.
        self.run();
        self.end_sync();
        self.begin_sync();
        self.run();
        self.end_sync();
    }

    fn begin_sync(&mut self) {
        if self.job.is_some() || self.done.is_some() {
            return;
        }
        self.time += 100;
        let now = captured(self.time).boot;
        let needs = self.position.needs();
        let begun = Begun { end: self.end, saved: self.saved.len() };
        self.job = self.store.to_sync(needs, needs, now, true).map(|job| (job, begun));
    }

    /// All is safe up to there, but for what went. With the last file that is safe goes what tells where the log ended.
    fn is_safe(&mut self, end: u64) {
        self.safe = if end > self.gone { end } else { 0 };
    }

    fn run(&mut self) {
        if let Some((job, begun)) = self.job.take() {
            self.done = Some((job.run(&*self.disk), begun));
        }
    }

    fn end_sync(&mut self) {
        let Some((synced, begun)) = self.done.take() else { return };
        match self.store.synced(synced) {
            Ok(_) => {
                self.is_safe(self.safe.max(begun.end.min(self.never_safe)));
                self.saved.drain(..begun.saved.saturating_sub(1));
            }
            Err((doubtful, _)) => {
                // As a log does.
                let again = |lot: &&Arc<Lot>| doubtful.contains(&lot.first);
                let lots: Vec<_> = self.memory.iter().filter(again).cloned().collect();
                let all = lots.iter().map(|lot| lot.samples.len() as u64).sum::<u64>();
                if all < doubtful.end - doubtful.start {
                    // A process before has written it, and nobody has it in memory.
                    self.never_safe = self.never_safe.min(doubtful.start);
                }
                self.store.write_again(&lots).unwrap();
            }
        }
    }

    /// The process ends, and another one opens the log.
    fn reopen(&mut self, power_fails: bool) {
        let (store, found) = Store::open(Arc::clone(&self.disk) as _, limits(), 7).unwrap();
        self.store = store;
        (self.job, self.done) = (None, None);
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

    fn step(&mut self, step: u8, by: u64, dice: &mut Dice) {
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

proptest! {
    /// Whatever comes when: what was appended is there after the process was killed, what was synced after the power
    /// failed; nothing is there that was never written. PROPTEST_CASES=30000 takes ten seconds.
    #[test]
    fn a_disk_that_forgets_costs_what_was_not_synced(
        steps in proptest::collection::vec((0..15_u8, 0..40_u64), 1..80), seed: u64,
    ) {
        let mut model = Model::new();
        let mut dice = Dice(seed);
        for (step, by) in steps {
            model.step(step, by, &mut dice);
        }
        model.reopen(false);
    }
}

/// A segment that grows while it is read is read to its end.
#[test]
fn a_backlog_grows_while_it_is_read() {
    let mut model = Model::new();
    model.store.limits.segment_bytes = 1 << 20;
    model.append(10);
    let mut backlog = Backlog::default();
    let mut from = 0;
    for round in 1..5 {
        model.append(10);
        let segments = model.store.segments();
        while let Some(stretch) = backlog.read(&*model.disk, &segments, from, 3, |_| {}).unwrap() {
            assert_eq!(stretch.first, from, "nothing is passed over");
            from = stretch.end();
        }
        assert_eq!(from, 10 + 10 * round);
    }
}

/// What a newer version has written is not touched, and is there again for it.
#[test]
fn a_segment_of_a_newer_version_is_left_alone() {
    let disk = Arc::new(Fake::default());
    let mut bytes = Vec::new();
    crate::queue::log::record::put_record(&mut bytes, 1, &[99; 40]);
    disk.write(&segment_name(5), 0, &bytes).unwrap();
    for round in 0..2 {
        let (mut store, found) = Store::open(Arc::clone(&disk) as _, limits(), 7).unwrap();
        assert_eq!(store.segments().len(), round);
        let sample = Sample::number(&series()[0], Timestamp(1), 1.0);
        let lot = Lot { first: 5.max(found.end), captured: captured(1), samples: vec![sample] };
        store.append(&[Arc::new(lot)]).unwrap();
        store.sync(u64::MAX, u64::MAX, captured(2).boot, true).unwrap();
        assert_eq!(disk.read("0000000000000005.seg.newer").unwrap(), bytes);
    }
}

#[test]
fn names_of_exporters_are_names_of_files() {
    for (name, file) in [
        ("otlp_http", "otlp_http"),
        ("prometheus_remote_write/home", "prometheus_remote_write%2fhome"),
        ("..", "%2e."),
        (".x", "%2ex"),
        ("a.b~1", "a.b%7e1"),
        ("ä", "%c3%a4"),
    ] {
        assert_eq!(encoded(name), file);
        assert_eq!(names::decoded(file).as_deref(), Some(name));
    }
}

/// Only what waits for somebody is worth a sync.
#[test]
fn what_everybody_has_is_not_synced() {
    let mut model = Model::new();
    model.append(10);
    model.position.take(10);
    model.position.settle(10, 0, 0);
    let later = captured(1_000).boot;
    assert!(!model.store.sync(10, 0, later, false).unwrap());
    assert_eq!(model.disk.syncs(), 0);
    model.append(10);
    assert!(!model.store.sync(10, 0, captured(model.time + 1).boot, false).unwrap());
    assert!(model.store.sync(10, 0, later, false).unwrap());
    assert!(model.disk.syncs() > 0);
    // Backends that keep up: there is always something that waits, and nothing that has waited for long.
    let syncs = model.disk.syncs();
    for _ in 0..60 {
        model.append(1);
        let (behind, now) = (model.end - 1, captured(model.time + 1).boot);
        assert!(!model.store.sync(behind, 0, now, false).unwrap());
    }
    assert_eq!(model.disk.syncs(), syncs);
    let (behind, now) = (model.end - 1, captured(model.time + 5).boot);
    assert!(model.store.sync(behind, 0, now, false).unwrap(), "that has waited for five seconds");
}

/// A disk that fails now and then costs what could not be written, and nothing else.
#[test]
fn a_disk_that_fails_goes_on_with_another_segment() {
    for after in 0..40 {
        for count in [1, 2, 5] {
            let mut model = Model::new();
            model.append(8);
            model.save();
            model.disk.fail(after, count);
            for _ in 0..20 {
                model.append(7);
            }
            model.disk.fail(0, 0);
            model.append(5);
            model.save();
            model.reopen(false);
        }
    }
}

/// A segment that was written long ago and cannot be made safe is written again, in its place.
#[test]
fn what_is_written_again_is_found_in_its_order() {
    let mut model = Model::new();
    while model.store.segments().len() < 6 {
        model.append(20);
    }
    model.disk.fail_syncs(1);
    model.sync();
    assert_eq!(model.safe, 0);
    model.append(20);
    let segments = model.store.segments();
    assert!(segments.is_sorted() && segments.first().is_some_and(|(first, _)| *first == 0));
    model.sync();
    assert_eq!(model.safe, model.end);
    model.disk.lose_power(&mut Dice(1));
    model.reopen(true);
    assert_eq!(model.end, 20 * (model.end / 20));
}

/// A file that its disk cannot give back is lost, and only that one; what the system cannot do now is no damage.
#[test]
fn a_file_that_cannot_be_read_is_set_aside() {
    let disk = || {
        let mut model = Model::new();
        while model.store.segments().len() < 3 {
            model.append(20);
        }
        model.save();
        (Arc::clone(&model.disk), segment_name(model.store.segments()[2].0))
    };
    let open = |disk: &Arc<Fake>| Store::open(Arc::clone(disk) as _, limits(), 7);
    for name in [None, Some("x%2fy.cursor")] {
        let (disk, last) = disk();
        disk.spoil(name.unwrap_or(&last), 5);
        let (store, found) = open(&disk).unwrap();
        assert_eq!(found.set_aside, [format!("{}{CORRUPT}", name.unwrap_or(&last))]);
        assert_eq!(store.segments().len(), if name.is_none() { 2 } else { 3 });
        assert_eq!(found.lost_positions.len(), usize::from(name.is_some()));
        // Whoever opens it next knows that as well, until there is a position again.
        drop(store);
        let (mut store, again) = open(&disk).unwrap();
        assert_eq!(again.lost_positions, found.lost_positions);
        assert!(again.set_aside.is_empty());
        disk.spoil("x%2fy.cursor", 0);
        store.save("x/y", &Position::at(3)).unwrap();
        drop(store);
        let (mut store, third) = open(&disk).unwrap();
        assert!(third.lost_positions.is_empty() && third.positions.len() == 1);
        store.forget("x/y");
        assert!(open(&disk).unwrap().1.lost_positions.is_empty());
    }
    for name in [None, Some("x%2fy.cursor")] {
        let (disk, last) = disk();
        disk.spoil(name.unwrap_or(&last), 24);
        assert!(open(&disk).is_err(), "too many open files are none of the file's faults");
    }
}

/// A segment that cannot be read hides nothing that comes before it, and nobody else is blamed.
#[test]
fn what_can_be_read_comes_before_what_cannot() {
    let mut model = Model::new();
    while model.store.segments().len() < 4 {
        model.append(20);
    }
    let segments = model.store.segments();
    let bad = segments[1];
    model.disk.spoil(&segment_name(bad.0), 5);
    let mut backlog = Backlog::default();
    let mut from = 0;
    let failed = loop {
        match backlog.read(&*model.disk, &segments, from, 7, |_| {}) {
            Ok(stretch) => from = stretch.expect("there is more").end(),
            Err(failed) => break failed,
        }
    };
    assert_eq!((from, failed.first), (bad.0, bad.0));
    let rest: Vec<_> = segments.iter().copied().filter(|segment| *segment != bad).collect();
    let next = backlog.read(&*model.disk, &rest, from, 7, |_| {}).unwrap().unwrap();
    assert_eq!(next.first, bad.1);
}

/// What is too much goes from the oldest on, and it is known up to where.
#[test]
fn at_its_cap_a_log_forgets_its_oldest() {
    let mut model = Model::new();
    while model.store.segments().len() < 10 {
        model.append(20);
    }
    let bytes = model.store.bytes();
    model.store.limits.max_bytes = bytes / 2;
    let oldest = model.store.segments()[0];
    let mut lost = 0;
    while let Some((end, why)) = model.store.shrink(Timestamp(0)) {
        assert!(end > oldest.0 && end > lost && why == Loss::Size);
        lost = end;
    }
    assert!(model.store.bytes() <= bytes / 2);
    assert_eq!(model.store.segments()[0].0, lost);
    // By its age.
    model.store.limits.max_age = Some(Duration::from_secs(3600));
    let late = Timestamp(captured(model.time + 2 * 3600).wall.0);
    assert!(matches!(model.store.shrink(late), Some((_, Loss::Age))));
}

/// Segments of the version that wrote them first can be read for ever: made by a program of 2026-11.
#[test]
fn the_first_version_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/queue/version_1.seg");
    if std::env::var_os("UPDATE").is_some() && !std::path::Path::new(path).exists() {
        let mut model = Model::new();
        model.store.limits.segment_bytes = 1 << 20;
        (0..3).for_each(|_| model.append(8));
        model.store.seal();
        std::fs::write(path, model.disk.read(&segment_name(0)).unwrap()).unwrap();
    }
    let bytes = std::fs::read(path).unwrap();
    let survey = crate::queue::log::segment::survey(&bytes);
    assert_eq!((survey.end, survey.torn, survey.newer), (Some(24), None, false));
    let disk = Fake::default();
    disk.write(&segment_name(0), 0, &bytes).unwrap();
    let read = Backlog::default().read(&disk, &[(0, 24)], 0, 100, |_| {}).unwrap().unwrap();
    for (n, sample) in read.samples.iter().enumerate() {
        assert_eq!((sample.time.0, &sample.value), (n as u64, &Value::Double(n as f64)));
        assert_eq!(sample.series.own.text("n"), Some(["0", "1", "2"][n % 3]));
        assert_eq!(sample.series.metric.name, PROBE_DURATION.name);
    }
    assert_eq!(read.samples.len(), 24);
    assert_eq!(read.runs[0].boot_id, Some(7));
}
