//! Reads what is no more in memory: one segment after the other, from a number on.

use std::collections::VecDeque;
use std::io;

use super::disk::Disk;
use super::segment::{Captured, Part, Reader};
use super::store::segment_name;
use crate::signal::batch::Sample;

/// Samples that were captured by the same clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where they end in their batch.
    pub until: usize,
    /// What the clocks said.
    pub captured: Captured,
    /// In which boot of which machine; `None`: not known.
    pub boot_id: Option<u128>,
}

impl Run {
    /// Whether these were captured by the same clocks.
    fn is_like(&self, other: &Self) -> bool {
        (self.captured, self.boot_id) == (other.captured, other.boot_id)
    }
}

/// Samples with numbers that follow each other.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// The number of the first one.
    pub first: u64,
    /// The samples.
    pub samples: Vec<Sample>,
    /// Who captured them when.
    pub runs: Vec<Run>,
}

impl Stretch {
    /// Adds a sample.
    pub fn push(&mut self, sample: Sample, captured: Captured, boot_id: Option<u128>) {
        self.samples.push(sample);
        self.ran(captured, boot_id);
    }

    /// Adds samples that were captured together.
    pub fn extend(
        &mut self,
        samples: impl Iterator<Item = Sample>,
        captured: Captured,
        boot_id: Option<u128>,
    ) {
        self.samples.extend(samples);
        self.ran(captured, boot_id);
    }

    fn ran(&mut self, captured: Captured, boot_id: Option<u128>) {
        let until = self.samples.len();
        let next = Run { until, captured, boot_id };
        match self.runs.last_mut().filter(|run| run.is_like(&next)) {
            Some(run) => run.until = until,
            None => self.runs.push(next),
        }
    }

    /// The number after the last one.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.samples.len() as u64
    }
}

/// A segment that is being read.
struct Open {
    first: u64,
    reader: Reader<Vec<u8>>,
    boot_id: Option<u128>,
    /// Whether anything in it could be read.
    good: bool,
    /// In which call of [`Backlog::read`] its bytes were read: it may have grown since.
    call: u64,
}

/// One reader's way through the segments.
#[derive(Default)]
pub struct Backlog {
    open: Option<Open>,
    /// What has been read and not been taken.
    ahead: VecDeque<(u64, Sample, Captured, Option<u128>)>,
    call: u64,
    /// What is before has been given out.
    given: u64,
}

/// A segment whose file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", segment_name(*.first))]
pub struct Failed {
    /// The number of its first sample.
    pub first: u64,
    /// What the system says.
    pub error: io::Error,
}

/// A segment in which nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable(pub u64);

impl Backlog {
    /// The next samples from a number on, `most` at most, out of these segments (the number of the first sample and
    /// that after the last one of each). `None`: they have nothing from there on.
    ///
    /// # Errors
    /// When a file cannot be read, and nothing before it was.
    pub fn read(
        &mut self,
        disk: &dyn Disk,
        segments: &[(u64, u64)],
        from: u64,
        most: usize,
        mut unreadable: impl FnMut(Unreadable),
    ) -> Result<Option<Stretch>, Failed> {
        self.call += 1;
        // Another way than last time, or far ahead: what was read is of no use.
        if from < self.given || self.ahead.front().is_some_and(|(number, ..)| *number > from) {
            (self.open, self.ahead) = (None, VecDeque::new());
        }
        loop {
            while self.ahead.front().is_some_and(|(number, ..)| *number < from) {
                self.ahead.pop_front();
            }
            if self.ahead.len() >= most {
                break;
            }
            match self.more(disk, segments, from, &mut unreadable) {
                Ok(true) => {}
                Ok(false) => break,
                // What is before it comes first.
                Err(_) if !self.ahead.is_empty() => break,
                Err(failed) => return Err(failed),
            }
        }
        let Some((first, ..)) = self.ahead.front() else { return Ok(None) };
        let mut stretch = Stretch { first: *first, ..Stretch::default() };
        while let Some((number, ..)) = self.ahead.front() {
            if *number != stretch.end() || stretch.samples.len() >= most {
                break;
            }
            let (_, sample, captured, boot_id) = self.ahead.pop_front().expect("it is there");
            stretch.push(sample, captured, boot_id);
        }
        self.given = stretch.end();
        Ok(Some(stretch))
    }

    /// Reads an entry further; `false`: there is none.
    fn more(
        &mut self,
        disk: &dyn Disk,
        segments: &[(u64, u64)],
        from: u64,
        unreadable: &mut impl FnMut(Unreadable),
    ) -> Result<bool, Failed> {
        let behind = self.ahead.back().map_or(from, |(number, ..)| number + 1);
        let mut done = None;
        loop {
            let Some(open) = &mut self.open else {
                // What a segment lacks that has been read is damaged, or has not been written yet.
                let mut rest = segments.iter().filter(|(first, _)| done.is_none_or(|d| *first > d));
                let next = rest.find(|(_, end)| *end > behind);
                let Some((first, _)) = next else { return Ok(false) };
                let reader = match disk.read(&segment_name(*first)) {
                    Ok(bytes) => Reader::new(bytes),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        done = Some(*first);
                        continue;
                    }
                    Err(error) => return Err(Failed { first: *first, error }),
                };
                let call = self.call;
                self.open = Some(Open { first: *first, reader, boot_id: None, good: false, call });
                continue;
            };
            match open.reader.next() {
                Some(Part::Head(head)) => open.boot_id = Some(head.boot_id),
                Some(Part::Entry { entry, .. }) => {
                    open.good = true;
                    let (captured, boot_id) = (entry.captured, open.boot_id);
                    // What was written again stands in the next one.
                    let next = segments.partition_point(|(first, _)| *first <= open.first);
                    let until = segments.get(next).map_or(u64::MAX, |(first, _)| *first);
                    let wanted = behind..until.max(behind);
                    let samples = entry.samples.into_iter().filter(|(n, _)| wanted.contains(n));
                    let before = self.ahead.len();
                    self.ahead.extend(samples.map(|(n, sample)| (n, sample, captured, boot_id)));
                    if self.ahead.len() > before {
                        return Ok(true);
                    }
                }
                Some(Part::Foot | Part::Note(_) | Part::Damage(_) | Part::Torn { .. }) => {}
                None => {
                    // What was read long ago may be more by now.
                    if open.call == self.call {
                        done = Some(open.first);
                        if !open.good {
                            unreadable(Unreadable(open.first));
                        }
                    }
                    self.open = None;
                }
            }
        }
    }
}
