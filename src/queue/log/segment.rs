//! A segment: a head, entries, and a foot when it is full. Each entry brings the series that it is the first to
//! name, so that a segment is read alone; the foot has all of them once more, for what is damaged before it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::bytes::{Broken, Input, put, put_signed};
use super::columns::{Point, Usual, points, put_samples};
use super::record::{Found, MAX_CONTENT, Scan, put_record};
use super::series::{Reader as SeriesReader, put_series};
use crate::base::clock::{BootTime, Timestamp};
use crate::signal::batch::Sample;
use crate::signal::series::{Series, SeriesTable};

/// The version that is written; older ones are read.
const VERSION: u64 = 1;
const HEAD: u8 = 1;
const ENTRY: u8 = 2;
const FOOT: u8 = 3;
const NOTE: u8 = 4;
/// Samples of an entry at most: more are several entries.
pub const MAX_SAMPLES: usize = 1 << 18;

/// What the clocks said when samples were captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Since the machine started.
    pub boot: BootTime,
    /// The wall clock.
    pub wall: Timestamp,
    /// Whether the wall clock was kept right by a time service, as far as is known.
    pub synchronized: bool,
}

/// Nanoseconds in which captures are told apart on the disk.
const TICK: u64 = 1_000_000;

impl Captured {
    /// The last tick before, by both clocks.
    #[must_use]
    pub fn rounded(self) -> Self {
        let over = self.wall.0 % TICK;
        let boot = BootTime(Duration::from_nanos(nanos(self.boot).saturating_sub(over)));
        Self { boot, wall: Timestamp(self.wall.0 - over), ..self }
    }
}

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which boot of which machine (the kernel's random number of it).
    pub boot_id: u128,
    /// When it was begun.
    pub begun: Captured,
}

/// Samples that were appended at once.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The number of the first one: samples are counted through all segments.
    pub first: u64,
    /// When they were captured.
    pub captured: Captured,
    /// The samples whose series are known, with their numbers.
    pub samples: Vec<(u64, Sample)>,
    /// Samples whose series were named in a record that is damaged.
    pub nameless: u64,
}

/// Writes a segment, entry by entry.
#[derive(Debug)]
pub struct Writer {
    head: Head,
    numbers: SeriesTable<(u32, Usual)>,
    /// All series that were named, as a foot has them.
    dictionary: Vec<u8>,
}

impl Writer {
    /// Begins a segment; returns its first bytes.
    #[must_use]
    pub fn new(head: Head) -> (Self, Vec<u8>) {
        let mut content = Vec::new();
        put(&mut content, VERSION);
        content.extend_from_slice(&head.boot_id.to_le_bytes());
        put(&mut content, nanos(head.begun.boot));
        put(&mut content, head.begun.wall.0);
        content.push(u8::from(head.begun.synchronized));
        let mut bytes = Vec::new();
        put_record(&mut bytes, HEAD, &content);
        (Self { head, numbers: SeriesTable::default(), dictionary: Vec::new() }, bytes)
    }

    /// The bytes of an entry of [`MAX_SAMPLES`] at most. They belong to the segment from now on: who cannot write
    /// them begins another one.
    ///
    /// # Panics
    /// When there are more.
    #[must_use]
    pub fn entry(&mut self, first: u64, captured: Captured, samples: &[Sample]) -> Vec<u8> {
        assert!(samples.len() <= MAX_SAMPLES, "{} samples", samples.len());
        let mut content = Vec::new();
        put(&mut content, first);
        let begun = self.head.begun;
        // In steps that are short enough for what it is used for; it stands for itself, whatever becomes of the head.
        let captured = captured.rounded();
        put(&mut content, captured.wall.0 / TICK);
        // By how much the wall clock was set since: mostly not at all.
        put_signed(&mut content, offset(captured).wrapping_sub(offset(begun)));
        content.push(u8::from(captured.synchronized));
        let mut named = Vec::new();
        let before = self.numbers.len();
        let mut numbers = Vec::with_capacity(samples.len());
        for sample in samples {
            let next = self.numbers.len() as u32;
            numbers.push(*self.numbers.entry(sample.series.id).or_insert_with(|| {
                put_series(&mut named, &sample.series);
                let usual = Usual::of(sample);
                usual.put(&mut named);
                (next, usual)
            }));
        }
        put(&mut content, before as u64);
        put(&mut content, (self.numbers.len() - before) as u64);
        content.extend_from_slice(&named);
        self.dictionary.extend_from_slice(&named);
        put_samples(&mut content, samples, &numbers, captured.wall);
        let mut bytes = Vec::new();
        put_record(&mut bytes, ENTRY, &content);
        bytes
    }

    /// A remark for people.
    #[must_use]
    pub fn note(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_record(&mut bytes, NOTE, text.as_bytes());
        bytes
    }

    /// The last bytes of a segment that is full.
    #[must_use]
    pub fn foot(self) -> Vec<u8> {
        let mut content = Vec::new();
        put(&mut content, self.numbers.len() as u64);
        content.extend_from_slice(&self.dictionary);
        let mut bytes = Vec::new();
        if content.len() <= MAX_CONTENT {
            put_record(&mut bytes, FOOT, &content);
        }
        bytes
    }
}

fn nanos(boot: BootTime) -> u64 {
    u64::try_from(boot.0.as_nanos()).unwrap_or(u64::MAX)
}

/// The time at which the machine started, by the wall clock of that moment.
fn offset(captured: Captured) -> i64 {
    captured.wall.0.wrapping_sub(nanos(captured.boot)) as i64
}

/// What stands in a segment, in order.
#[derive(Debug)]
pub enum Part {
    /// What it says of itself.
    Head(Head),
    /// Samples, and where the next part begins.
    Entry {
        /// The samples.
        entry: Entry,
        /// Where the next part begins.
        end: usize,
    },
    /// It is full: nothing more comes.
    Foot,
    /// A remark for people.
    Note(String),
    /// So many bytes are damaged.
    Damage(usize),
    /// What comes from there on was not written whole.
    Torn {
        /// Where that begins: what is before it is good.
        at: usize,
    },
}

/// Reads a segment.
#[derive(Debug)]
pub struct Reader<B> {
    scan: Scan<B>,
    series: SeriesReader,
    known: HashMap<u32, (Arc<Series>, Usual)>,
    begun: Option<Captured>,
    /// The foot has been asked for what is damaged.
    asked: bool,
}

impl<B: AsRef<[u8]>> Reader<B> {
    /// Reads these bytes from the first one on.
    #[must_use]
    pub fn new(bytes: B) -> Self {
        let (series, known) = (SeriesReader::default(), HashMap::new());
        Self { scan: Scan::new(bytes, 0), series, known, begun: None, asked: false }
    }

    fn head(&mut self, content: &[u8]) -> Result<Head, Broken> {
        let mut input = Input::new(content);
        if input.number()? > VERSION {
            return Err(Broken("a version that is known"));
        }
        let boot_id = u128::from_le_bytes(input.take(16)?.try_into().expect("sixteen bytes"));
        let boot = BootTime(Duration::from_nanos(input.number()?));
        let wall = Timestamp(input.number()?);
        let begun = Captured { boot, wall, synchronized: input.take(1)?[0] != 0 };
        self.begun = Some(begun);
        Ok(Head { boot_id, begun })
    }

    fn entry(&mut self, content: &[u8]) -> Result<Entry, Broken> {
        let mut input = Input::new(content);
        let first = input.number()?;
        let wall = Timestamp(input.number()?.wrapping_mul(TICK));
        let set = input.signed()?;
        let synchronized = input.take(1)?[0] != 0;
        // Without its head, a segment's samples have their own times still.
        let begun = self.begun.unwrap_or(Captured {
            boot: BootTime::default(),
            wall: Timestamp(0),
            synchronized: false,
        });
        let boot = wall.0.wrapping_sub(offset(begun).wrapping_add(set) as u64);
        let captured = Captured { boot: BootTime(Duration::from_nanos(boot)), wall, synchronized };
        let begin = u32::try_from(input.number()?).map_err(|_| Broken("the number of a series"))?;
        self.dictionary(&mut input, begin)?;
        let mut entry = Entry { first, captured, samples: Vec::new(), nameless: 0 };
        let usual =
            |number: u32| self.known.get(&number).map(|(_, usual)| *usual).unwrap_or_default();
        let read = points(&mut input, MAX_SAMPLES, captured.wall, usual)?;
        for (further, point) in read.into_iter().enumerate() {
            let number = first.wrapping_add(further as u64);
            match self.known.get(&point.number) {
                Some((series, _)) => entry.samples.push((number, Point::of(point, series))),
                None => entry.nameless += 1,
            }
        }
        Ok(entry)
    }

    fn dictionary(&mut self, input: &mut Input<'_>, begin: u32) -> Result<(), Broken> {
        let count = input.count()?;
        for further in 0..count {
            let series = self.series.series(input)?;
            let usual = Usual::read(input)?;
            let number = u32::try_from(further).ok().and_then(|n| begin.checked_add(n));
            self.known.entry(number.ok_or(Broken("so many series"))?).or_insert((series, usual));
        }
        Ok(())
    }

    /// What a damaged record has named stands in the foot, if there is one.
    fn consult_foot(&mut self, from: usize) {
        // It knows everything, at once.
        if std::mem::replace(&mut self.asked, true) {
            return;
        }
        let content = Scan::new(self.scan.bytes(), from).find_map(|found| match found {
            Found::Record { kind: FOOT, content, .. } => Some(content),
            _ => None,
        });
        if let Some(content) = content {
            let _ = self.dictionary(&mut Input::new(&content), 0);
        }
    }
}

impl<B: AsRef<[u8]>> Iterator for Reader<B> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        Some(match self.scan.next()? {
            Found::Torn { at } => Part::Torn { at },
            Found::Damage { at, end } => {
                self.consult_foot(end);
                Part::Damage(end - at)
            }
            Found::Record { at, end, kind, content } => {
                let read = match kind {
                    HEAD => self.head(&content).map(Part::Head),
                    ENTRY => self.entry(&content).map(|entry| Part::Entry { entry, end }),
                    FOOT => Ok(Part::Foot),
                    NOTE => Ok(Part::Note(String::from_utf8_lossy(&content).into_owned())),
                    _ => Err(Broken("a kind of record")),
                };
                read.unwrap_or_else(|_| {
                    self.consult_foot(end);
                    Part::Damage(end - at)
                })
            }
        })
    }
}

/// What a segment's bytes come to, without its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The number after that of its last sample; `None`: it has none.
    pub end: Option<u64>,
    /// Where what was not written whole begins.
    pub torn: Option<usize>,
    /// A newer version has written it.
    pub newer: bool,
}

/// Looks through a segment.
#[must_use]
pub fn survey(bytes: &[u8]) -> Survey {
    let mut survey = Survey { end: None, torn: None, newer: false };
    let mut last = None;
    for found in Scan::new(bytes, 0) {
        match found {
            Found::Record { kind: HEAD, content, .. } => {
                survey.newer |= Input::new(&content).number().is_ok_and(|n| n > VERSION);
            }
            Found::Record { kind: ENTRY, content, .. } => {
                if let Ok(end) = end(&content) {
                    last = Some(end);
                }
            }
            Found::Record { .. } | Found::Damage { .. } => {}
            Found::Torn { at } => survey.torn = Some(at),
        }
    }
    survey.end = last;
    survey
}

/// The number after that of an entry's last sample.
fn end(content: &[u8]) -> Result<u64, Broken> {
    let mut input = Input::new(content);
    let first = input.number()?;
    input.number()?;
    input.signed()?;
    input.take(1)?;
    input.number()?;
    let mut series = SeriesReader::default();
    for _ in 0..input.count()? {
        series.series(&mut input)?;
        Usual::read(&mut input)?;
    }
    Ok(first.wrapping_add(input.number()?))
}

#[cfg(test)]
mod tests;
