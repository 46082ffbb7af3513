use proptest::prelude::*;

use super::*;
use crate::queue::log::backlog::Backlog;
use crate::signal::batch::{Sample, Value};
use crate::signal::names::PROBE_DURATION;
use fake::{Dice, Fake};
use model::{Model, captured, limits, series};

mod fake;
mod model;

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
        let lot = Lot::new(5.max(found.end), captured(1), vec![sample]);
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

/// A folder that cannot be seen for a moment has lost nothing: what memory has of it is written again, the rest is there.
#[test]
fn what_cannot_be_seen_is_not_given_up() {
    let mut model = Model::new();
    model.store.limits.segment_bytes = 1 << 20;
    (0..3).for_each(|_| model.append(20));
    model.disk.hide(true);
    assert_eq!(model.store.look(), Some(0..60));
    assert_eq!(model.store.look(), None);
    assert_eq!(model.store.segments(), [(0, 60)]);
    let all = model.memory.clone();
    model.disk.fail(0, 9);
    assert!(model.store.append(&all).is_err());
    model.disk.fail(0, 0);
    assert_eq!(model.store.segments(), [(0, 60)], "it stays until it is written again");
    model.disk.hide(false);
    let newest = model.memory.last().cloned().unwrap();
    model.store.append(&[newest]).unwrap();
    assert_eq!(model.store.segments(), [(0, 60), (40, 60)]);
    model.append(20);
    model.reopen(false);
    assert_eq!(model.store.append(&all).unwrap(), 60);
    assert_eq!(model.store.segments(), [(0, 60), (40, 80)]);
    // Files that are gone are: what memory has of all of them is to be written.
    for (first, _) in model.store.segments() {
        model.disk.remove(&segment_name(first)).unwrap();
    }
    assert_eq!(model.store.look(), Some(0..80));
    assert_eq!(model.store.segments(), []);
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
