//! This version reads the queues of earlier ones.

use std::fs;
use std::path::Path;

use super::log::backlog::Backlog;
use super::log::disk::{Disk as _, Folder};
use super::log::store::numbered;
use super::quarantine::Quarantine;
use super::report;
use crate::base::clock::Timestamp;
use crate::signal::batch::Sample;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => copy(&path, &to.join(entry.file_name())),
            path => drop(fs::copy(path, to.join(entry.file_name())).unwrap()),
        }
    }
}

fn names(samples: &[Sample]) -> impl Iterator<Item = &str> {
    samples.iter().map(|sample| sample.series.shared.text("humanname").unwrap_or_default())
}

/// `tests/cases/queue/make.py` says how it was made.
#[test]
fn queue_of_bd24467_with_a_damaged_segment_is_read_but_for_the_damage() {
    let made = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/queue/written_by_bd24467");
    let queues = tempfile::tempdir().unwrap();
    copy(Path::new(made), queues.path());
    let folder = queues.path().join("metrics");
    let disk = Folder::look(&folder).unwrap();
    let mut firsts: Vec<u64> =
        disk.list().unwrap().iter().filter_map(|file| numbered(&file.name)).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, [0, 0x18ef, 0x3261, 0x4b0b]);
    let ends = firsts.iter().skip(1).copied().chain([u64::MAX]);
    let segments: Vec<(u64, u64)> = firsts.iter().copied().zip(ends).collect();
    let mut samples = Vec::new();
    let (mut backlog, mut from, mut missing) = (Backlog::default(), 0, 0);
    while let Some(stretch) = backlog.read(&disk, &segments, from, 1_000, |_| {}).unwrap() {
        missing += stretch.first - from;
        from = stretch.end();
        samples.extend(stretch.samples);
    }
    assert_eq!((from, missing), (19_231, 43));
    assert!(names(&samples).any(|name| name == "Port 25"));

    let rows = report::rows(queues.path(), Timestamp(1_796_130_400_000_000_000)).unwrap();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(row.accepted, row.sent + row.rejected + row.dropped + row.queued);
    assert_eq!((row.sent, row.rejected, row.dropped, row.queued), (315, 12, 0, 18_904), "{row:?}");

    let aside = Quarantine::beside(&folder).list().unwrap();
    assert_eq!(aside.len(), 12);
    for file in aside {
        let (samples, why) = Quarantine::read(&file.path).unwrap();
        assert!(names(&samples).all(|name| name == "Poison") && why.starts_with("500"), "{why}");
    }
}
