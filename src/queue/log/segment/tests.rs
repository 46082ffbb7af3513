use proptest::prelude::*;

use super::*;
use crate::signal::batch::Value;
use crate::signal::names::{PROBE_DURATION, PROBE_SUCCESS};
use crate::signal::series::{Attributes, Resource};

fn at(seconds: u64) -> Captured {
    let wall = Timestamp(1_790_000_000_000_000_000 + seconds * 1_000_000_000);
    Captured { boot: BootTime(Duration::from_secs(seconds)), wall, synchronized: true }
}

fn target(n: usize) -> [Arc<Series>; 2] {
    let resource = Arc::new(Resource::new("services", &format!("http://{n}.invalid/"), []));
    let labels = Attributes::new([("routing", "internal")]);
    [&PROBE_SUCCESS, &PROBE_DURATION].map(|metric| {
        Series::new(metric, labels.clone(), Attributes::default(), Arc::clone(&resource))
    })
}

/// Rounds of probes of some targets: the bytes, where each record ends, and how many samples it has.
fn written(targets: usize, rounds: u64, sealed: bool) -> (Vec<u8>, Vec<usize>, usize) {
    let all: Vec<[Arc<Series>; 2]> = (0..targets).map(target).collect();
    let (mut writer, mut bytes) = Writer::new(Head { boot_id: 7, begun: at(1) });
    let mut ends = vec![bytes.len()];
    let mut first = 0;
    for round in 0..rounds {
        let captured = at(15 * round + 2);
        let samples: Vec<Sample> = all
            .iter()
            .enumerate()
            .flat_map(|(n, [up, took])| {
                let nanos = 1_000_000 + (round * 7_919 + n as u64 * 104_729) % 3_000_000;
                [
                    Sample::number(up, captured.wall, 1.0),
                    Sample::number(took, captured.wall, nanos as f64 / 1e9),
                ]
            })
            .collect();
        bytes.extend(writer.entry(first, captured, &samples));
        first += samples.len() as u64;
        ends.push(bytes.len());
    }
    if sealed {
        bytes.extend(writer.foot());
        ends.push(bytes.len());
    }
    (bytes, ends, targets * 2)
}

#[test]
fn a_segment_comes_back() {
    let (bytes, ..) = written(3, 4, true);
    let parts: Vec<Part> = Reader::new(&bytes).collect();
    let [Part::Head(head), entries @ .., Part::Foot] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!(head, &Head { boot_id: 7, begun: at(1) });
    for (round, part) in entries.iter().enumerate() {
        let Part::Entry { entry, .. } = part else { panic!("{part:?}") };
        assert_eq!((entry.first, entry.nameless), (round as u64 * 6, 0));
        assert_eq!(entry.captured, at(15 * round as u64 + 2));
        assert_eq!(entry.samples.len(), 6);
        let (number, sample) = &entry.samples[2];
        assert_eq!(*number, entry.first + 2);
        assert_eq!(
            sample.series.resource.attributes.text("service.instance.id"),
            Some("http://1.invalid/")
        );
        assert!(std::ptr::eq(sample.series.metric, &PROBE_SUCCESS));
        assert_eq!(sample.value, Value::Double(1.0));
    }
    assert_eq!(entries.len(), 4);
}

/// What an entry has named that is damaged is still known, when the segment was full.
#[test]
fn the_foot_knows_what_a_damaged_entry_has_named() {
    for sealed in [true, false] {
        let (mut bytes, ends, each) = written(5, 4, sealed);
        bytes[ends[0] + 20] ^= 1;
        let (mut good, mut nameless) = (0, 0);
        for part in Reader::new(&bytes) {
            if let Part::Entry { entry, .. } = part {
                good += entry.samples.len();
                nameless += entry.nameless;
            }
        }
        let rest = 3 * each;
        let expected = if sealed { (rest, 0) } else { (0, rest as u64) };
        assert_eq!((good, nameless), expected, "sealed: {sealed}");
    }
}

/// Whatever becomes of a segment's bytes: what is read is what was written, and what is not read is
/// counted or damaged.
#[test]
fn every_byte_may_be_cut_off_or_flipped() {
    let (bytes, ends, each) = written(2, 5, true);
    for cut in 0..bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let entries = Reader::new(&bytes[..cut]).filter(|part| matches!(part, Part::Entry { .. }));
        assert_eq!(entries.count(), whole.saturating_sub(1).min(5), "cut at {cut}");
    }
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1 << bit;
            let mut good = 0;
            for part in Reader::new(&bytes) {
                if let Part::Entry { entry, .. } = part {
                    assert_eq!(entry.samples.len() + entry.nameless as usize, each);
                    good += entry.samples.len();
                }
            }
            let hit = ends.iter().position(|end| place < *end).unwrap();
            let lost = if (1..=5).contains(&hit) { each } else { 0 };
            assert_eq!(good, 5 * each - lost, "bit {bit} of byte {place}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        for _ in Reader::new(&bytes) {}
    }

    /// Records that are whole, with anything in them.
    #[test]
    fn any_content_can_be_read(
        contents in proptest::collection::vec((0..5_u8, proptest::collection::vec(any::<u8>(), 0..200)), 0..6),
    ) {
        let mut bytes = Vec::new();
        for (kind, content) in &contents {
            put_record(&mut bytes, *kind, content);
        }
        for _ in Reader::new(&bytes) {}
    }
}

/// The goal is 4 bytes a sample; a target's durations are most of what there is to write.
#[test]
fn samples_are_small() {
    let (bytes, ends, each) = written(50, 20, false);
    let steady = bytes.len() - ends[1];
    let samples = 19 * each;
    assert!(steady < 4 * samples, "{steady} bytes for {samples} samples");
}
