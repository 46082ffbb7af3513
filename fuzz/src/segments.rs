//! The durable log: any bytes are read, all of them are accounted for, and what is read past damage is what was
//! written.

use std::collections::BTreeMap;
use std::time::Duration;

use watchpost::base::clock::{BootTime, Timestamp};
use watchpost::queue::log::record::{Found, Scan, put_record};
use watchpost::queue::log::segment::{
    Captured, Entry, Head, MAX_SAMPLES, Part, Reader, Writer, survey,
};
use watchpost::signal::batch::{Sample, Value};

use super::made_up::{self, Take};
use super::requests::encode;

/// Buckets of all histograms of an entry: memory that a few bytes may ask for.
const MAX_BUCKETS: usize = 4 << 20;

/// Reads a segment to its end: parts and records go side by side, and no byte is left out.
fn read(bytes: &[u8]) -> Vec<Part> {
    let mut reader = Reader::new(bytes);
    let (mut parts, mut reached) = (Vec::new(), 0);
    for found in Scan::new(bytes, 0) {
        let part = reader.next().expect("a part for each record");
        let (at, end) = match found {
            Found::Record { at, end, .. } | Found::Damage { at, end } => (at, end),
            Found::Torn { at } => (at, bytes.len()),
        };
        assert!(at == reached && end > at, "{at}..{end} follows {reached}");
        reached = end;
        match (&part, &found) {
            (Part::Entry { end: said, .. }, Found::Record { .. }) => assert_eq!(*said, end),
            (Part::Damage(long), _) => assert_eq!(*long, end - at),
            (Part::Torn { at: said }, Found::Torn { .. }) => assert_eq!(*said, at),
            (Part::Head(_) | Part::Foot | Part::Note(_), Found::Record { .. }) => {}
            _ => panic!("{part:?} of {found:?}"),
        }
        if let Part::Entry { entry, .. } = &part {
            bounded(entry);
        }
        parts.push(part);
    }
    assert!(reader.next().is_none());
    assert_eq!(reached, bytes.len());
    let torn = parts.last().and_then(|part| match part {
        Part::Torn { at } => Some(*at),
        _ => None,
    });
    assert_eq!(survey(bytes).torn, torn);
    parts
}

fn bounded(entry: &Entry) {
    let all = entry.samples.len() + usize::try_from(entry.nameless).expect("as many as are read");
    assert!(all <= MAX_SAMPLES);
    let buckets = entry.samples.iter().map(|(_, sample)| match &sample.value {
        Value::Histogram(histogram) => histogram.counts.len(),
        Value::Exponential(histogram) => histogram.counts.len(),
        _ => 0,
    });
    let buckets: usize = buckets.sum();
    assert!(buckets <= MAX_BUCKETS, "{buckets} buckets in one entry");
}

/// Any bytes.
pub fn any(bytes: &[u8]) {
    read(bytes);
}

/// Records that are whole, with anything in them; what is read of them can be sent.
pub fn contents(bytes: &[u8]) {
    let mut take = Take::new(bytes);
    let mut segment = Vec::new();
    for _ in 0..8 {
        let kind = take.byte() % 6;
        let long = take.below(1 << 16);
        put_record(&mut segment, kind, take.bytes(long));
        if take.is_empty() {
            break;
        }
    }
    for part in read(&segment) {
        if let Part::Entry { entry, .. } = part {
            let samples = entry.samples.into_iter().take(100).map(|(_, sample)| sample);
            encode(&samples.collect::<Vec<_>>());
        }
    }
}

/// What was written, by the number of the first sample.
type Written = BTreeMap<u64, (Captured, Vec<Sample>)>;

/// A moment: what is read of it is exact when its clocks are of this world.
fn captured(take: &mut Take<'_>) -> Captured {
    let boot = BootTime(Duration::from_nanos(take.number() >> 2));
    let wall = Timestamp(take.number() >> 1);
    Captured { boot, wall, synchronized: take.coin() }
}

fn write(take: &mut Take<'_>) -> (Head, Vec<u8>, Written) {
    let head = Head { boot_id: u128::from(take.number()) << 64, begun: captured(take) };
    let series = take.series();
    let (mut writer, mut bytes) = Writer::new(head.clone());
    let mut written = Written::new();
    let mut first = take.number() >> 1;
    for _ in 0..take.below(10) {
        let (at, samples) = (captured(take), take.samples(&series));
        bytes.extend(writer.entry(first, at, &samples));
        let count = samples.len() as u64;
        written.insert(first, (at, samples));
        first += count + take.below(2) as u64;
    }
    if take.coin() {
        bytes.extend(writer.foot());
    }
    (head, bytes, written)
}

/// Does to a file what broken cards, kernels and hands do.
fn damage(mut bytes: Vec<u8>, take: &mut Take<'_>) -> Vec<u8> {
    for _ in 0..take.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = take.below(bytes.len());
        let end = (at + take.below(700)).min(bytes.len());
        match take.byte() % 7 {
            0 => bytes[at] ^= 1 << (take.byte() % 8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => bytes[at..end].fill(0),
            4 => {
                let count = take.below(40);
                let more = take.bytes(count).to_vec();
                drop(bytes.splice(at..at, more));
            }
            // A piece of the file stands where another one should, or once more.
            5 => {
                let to = take.below(bytes.len());
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(to..to, piece));
            }
            _ => {
                let piece = bytes[at..end].to_vec();
                let to = take.below(bytes.len());
                let room = piece.len().min(bytes.len() - to);
                bytes[to..to + room].copy_from_slice(&piece[..room]);
            }
        }
    }
    bytes
}

fn assert_same(read: &Sample, written: &Sample) {
    assert!(read.series.is_same(&written.series), "{:?} {:?}", read.series, written.series);
    assert_eq!((read.start, read.time), (written.start, written.time));
    let bits = |numbers: &[f64]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
    match (&read.value, &written.value) {
        (Value::Double(one), Value::Double(other)) => assert_eq!(one.to_bits(), other.to_bits()),
        (Value::Histogram(one), Value::Histogram(other)) => {
            assert_eq!(bits(one.bounds), bits(other.bounds));
            assert_eq!((&one.counts, one.sum.to_bits()), (&other.counts, other.sum.to_bits()));
        }
        (Value::Exponential(one), Value::Exponential(other)) => {
            let facts = |e: &watchpost::signal::batch::Exponential| {
                (e.scale, e.offset, e.counts.clone(), e.zeros, e.sum.to_bits())
            };
            assert_eq!(facts(one), facts(other));
        }
        (one, other) => assert_eq!(one, other),
    }
}

/// Every entry that is read is one that was written.
fn compare(parts: &[Part], head: &Head, written: &Written) -> usize {
    let (mut headed, mut whole) = (false, 0);
    for part in parts {
        match part {
            Part::Head(read) => {
                assert_eq!(read, head);
                headed = true;
            }
            Part::Entry { entry, .. } => {
                let (at, samples) = written.get(&entry.first).expect("an entry that was written");
                assert_eq!(entry.samples.len() + entry.nameless as usize, samples.len());
                assert!(!headed || entry.captured == at.rounded(), "{:?} {at:?}", entry.captured);
                for (number, sample) in &entry.samples {
                    assert_same(sample, &samples[(number - entry.first) as usize]);
                }
                whole += usize::from(entry.nameless == 0);
            }
            Part::Foot | Part::Note(_) | Part::Damage(_) | Part::Torn { .. } => {}
        }
    }
    whole
}

/// A segment of made-up samples comes back; damaged, it gives nothing that was not written.
pub fn damaged(bytes: &[u8]) {
    let mut take = Take::new(bytes);
    let (head, segment, written) = write(&mut take);
    assert_eq!(compare(&read(&segment), &head, &written), written.len());
    let end = written.last_key_value().map(|(first, (_, samples))| first + samples.len() as u64);
    assert_eq!(survey(&segment).end, end);
    compare(&read(&damage(segment, &mut take)), &head, &written);
}

/// Segments as they are written.
pub fn seeds() -> Vec<Vec<u8>> {
    made_up::seeds().iter().map(|seed| write(&mut Take::new(seed)).1).collect()
}

/// The records of such segments, as [`contents`] takes them; and one that asks for much memory.
pub fn content_seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for segment in seeds() {
        let mut seed = Vec::new();
        for found in Scan::new(segment.as_slice(), 0) {
            if let Found::Record { kind, content, .. } = found {
                push(&mut seed, kind, &content);
            }
        }
        all.push(seed);
    }
    all.push(greedy());
    all
}

fn push(seed: &mut Vec<u8>, kind: u8, content: &[u8]) {
    seed.push(kind);
    seed.extend_from_slice(&u16::try_from(content.len()).expect("a short content").to_le_bytes());
    seed.extend_from_slice(content);
}

/// An entry of a few hundred bytes: each of its histograms is said to have as many buckets as there may be, all alike.
fn greedy() -> Vec<u8> {
    let long = |number: u64| {
        let mut out = Vec::new();
        watchpost::queue::log::bytes::put(&mut out, number);
        out
    };
    let (count, buckets) = (100_u8, 65_536);
    // first, boot, wall, synchronized; from number 0 on one series: name, unit, gauge, no attributes.
    let mut content = vec![0, 0, 0, 0, 0, 1, 1, b'x', 0, 4, 0, 0, 0];
    // So many samples of it, at one time, without a start, all of them exponential histograms.
    content.push(count);
    content.extend_from_slice(&[2, 1, 0, count - 1]);
    content.extend_from_slice(&[0, count, 0, count, 3, count]);
    for _ in 0..count {
        // scale, offset, zeros, sum; so many buckets, one value for all.
        content.extend_from_slice(&[0, 0, 0, 0]);
        content.extend(long(buckets));
        content.push(0);
        content.extend(long(buckets));
    }
    let mut seed = Vec::new();
    push(&mut seed, 2, &content);
    seed
}
