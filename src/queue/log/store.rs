//! A log on a disk: appends segments, forgets what nobody needs or what is too much, and finds its way back after
//! every end. It knows no threads and reads no clock.

mod names;
mod recovery;
mod safety;
mod sync;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::disk::Disk;
use super::position::{self, Position, SLOT, SLOTS};
use super::segment::{Head, Writer, survey};
use super::tail::Lot;
use crate::base::clock::{BootTime, PLAUSIBLE, Timestamp};
use names::cursor_name;
pub use names::{encoded, number as numbered, segment_name};
pub use recovery::Recovered;
pub(in crate::queue) use recovery::is_damage;
pub use sync::{SyncJob, Synced};

/// What a log may take, and what it does for its safety.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All segments together.
    pub max_bytes: u64,
    /// The disk is never filled further than this.
    pub min_free: u64,
    /// When a segment is full.
    pub segment_bytes: u64,
    /// What is older goes.
    pub max_age: Option<Duration>,
    /// What not all exporters have sent by then is made safe from power failures.
    pub fsync_interval: Duration,
    /// How long what waits for an exporter that is gone is kept.
    pub orphan_ttl: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            min_free: 256 << 20,
            segment_bytes: 4 << 20,
            max_age: None,
            fsync_interval: Duration::from_secs(5),
            orphan_ttl: Duration::from_secs(24 * 3600),
        }
    }
}

/// The smallest segment, however small the disk is.
const MIN_SEGMENT: u64 = 32 << 10;
/// Bytes that are written at once, about; and how often the free space is looked at.
const STEP: usize = 1 << 20;
/// What was written within such a time is synced together.
const MARK: Duration = Duration::from_secs(1);
/// What is written once more, and is not whole yet, ends so.
const FRESH: &str = ".new";
/// What is set aside ends so.
pub const CORRUPT: &str = ".corrupt";

/// A segment that is on the disk.
#[derive(Clone, Debug)]
struct Segment {
    /// Tells it from all others of this process: another one may take its number.
    id: u64,
    first: u64,
    end: u64,
    /// What is before has been synced.
    safe: u64,
    bytes: u64,
    newest: Timestamp,
    /// What has not been synced: up to which number, and since when. About a mark a second.
    unsynced: VecDeque<(u64, BootTime)>,
}

impl Segment {
    /// More has been written, which is not synced.
    fn mark(&mut self, now: BootTime) {
        match self.unsynced.back_mut().filter(|(_, since)| now.since(*since) < MARK) {
            Some((end, _)) => *end = self.end,
            None => self.unsynced.push_back((self.end, now)),
        }
    }

    /// Since when something has not been synced that is needed from a number on.
    fn unsafe_since(&self, needed: u64) -> Option<BootTime> {
        let needed = |(end, _): &&(u64, BootTime)| self.end.min(*end) > needed;
        self.unsynced.iter().find(needed).map(|(_, since)| *since)
    }
}

/// The file of an exporter's position.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// Tells it from all others of this process.
    id: u64,
    /// How often it was written.
    generation: u64,
    /// The last one of these that outlives a power failure, as far as is known.
    safe: u64,
    /// It could not be made safe, and nobody knows what of it is on the disk: all of it is to be written once more.
    again: bool,
}

struct Current {
    segment: Segment,
    writer: Writer,
}

/// Why something of the log is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The log has come to its size.
    Size,
    /// It was too old.
    Age,
    /// No space is left on the disk, and no room in memory.
    DiskFull,
}

impl Loss {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Size => "max_size",
            Self::Age => "max_age",
            Self::DiskFull => "disk_full",
        }
    }
}

/// A log on a disk.
pub struct Store {
    disk: Arc<dyn Disk>,
    limits: Limits,
    boot_id: u128,
    /// Oldest first.
    sealed: VecDeque<Segment>,
    current: Option<Current>,
    /// What is set aside, oldest first, with its bytes.
    corrupt: VecDeque<(String, u64)>,
    cursors: BTreeMap<String, Cursor>,
    /// How often the names of the files have changed, and up to which change that outlives a power failure.
    names: u64,
    safe_names: u64,
    next_id: u64,
    /// What is before nobody needs, by positions that are safe.
    removable: u64,
    /// Something is to be made safe as soon as can be: it was not the last time, or it was in doubt.
    owed: bool,
    /// How often exporters have got other names.
    renamed: u64,
    /// Bytes written since the free space was looked at; `None`: look now.
    since_look: Option<usize>,
}

impl Store {
    /// Other limits from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        self.fit();
    }

    /// Segments that are small enough for the disk and for all of them together.
    fn fit(&mut self) {
        let total = self.disk.space().map_or(u64::MAX, |(_, total)| total);
        let most = (total / 16).min(self.limits.max_bytes / 4);
        self.limits.segment_bytes = self.limits.segment_bytes.min(most).max(MIN_SEGMENT);
    }

    /// The disk, for what is done apart.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// What the segments hold: the number of the first sample and that after the last one of each.
    #[must_use]
    pub fn segments(&self) -> Vec<(u64, u64)> {
        let current = self.current.as_ref().map(|current| &current.segment);
        let mut all: Vec<_> = self.sealed.iter().chain(current).map(|s| (s.first, s.end)).collect();
        all.sort_unstable();
        all
    }

    /// Bytes on the disk, what is set aside included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |current| current.segment.bytes);
        let corrupt: u64 = self.corrupt.iter().map(|(_, bytes)| bytes).sum();
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + current + corrupt
    }

    /// Appends what comes next; returns the number up to which all is in the hands of the system.
    ///
    /// # Errors
    /// What the system says. Some of it may have been appended; the next try begins another segment.
    pub fn append(&mut self, lots: &[Arc<Lot>]) -> io::Result<u64> {
        let mut lots = lots;
        let mut end = 0;
        while let Some(lot) = lots.first() {
            if self.current.is_none() && self.sealed.iter().any(|old| old.first == lot.first) {
                // It could not be seen for a while, and stays until all of it is written once more.
                self.write_again(lots)?;
                return Ok(lots.last().map_or(end, |lot| lot.end()));
            }
            let mut bytes = Vec::new();
            let (at, captured) = match &self.current {
                Some(current) => (current.segment.bytes, lot.captured),
                None => {
                    bytes = self.begin(lot)?;
                    (0, lot.captured)
                }
            };
            let mut current = self.current.take().expect("there is one now");
            let mut count = 0;
            for lot in lots {
                bytes.extend(current.writer.entry(lot.first, lot.captured, &lot.samples));
                count += 1;
                end = lot.end();
                current.segment.newest = plausible(lot.captured.wall);
                if bytes.len() > STEP || at + bytes.len() as u64 >= self.limits.segment_bytes {
                    break;
                }
            }
            let name = segment_name(current.segment.first);
            if let Err(error) = self.write(&name, at, &bytes) {
                // What was written of it is not part of the segment.
                match at {
                    0 => drop(self.disk.remove(&name)),
                    _ => {
                        let _ = self.disk.truncate(&name, at);
                        self.put(current.segment);
                    }
                }
                return Err(error);
            }
            current.segment.bytes = at + bytes.len() as u64;
            current.segment.end = end;
            current.segment.mark(captured.boot);
            lots = &lots[count..];
            let full = current.segment.bytes >= self.limits.segment_bytes;
            self.current = Some(current);
            if full {
                self.seal();
            }
        }
        Ok(end)
    }

    fn begin(&mut self, lot: &Lot) -> io::Result<Vec<u8>> {
        let name = segment_name(lot.first);
        // What stands there is not whole, and is written again.
        let _ = self.disk.truncate(&name, 0);
        let head = Head { boot_id: self.boot_id, begun: lot.captured };
        let (writer, bytes) = Writer::new(head);
        let segment = Segment {
            id: self.id(),
            first: lot.first,
            end: lot.first,
            safe: lot.first,
            bytes: 0,
            newest: plausible(lot.captured.wall),
            unsynced: VecDeque::new(),
        };
        self.since_look = None;
        self.names += 1;
        self.current = Some(Current { segment, writer });
        Ok(bytes)
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let since = self.since_look.map(|since| since + bytes.len()).filter(|since| *since < STEP);
        if since.is_none() && self.limits.min_free > 0 {
            let (free, _) = self.disk.space()?;
            if free < self.limits.min_free + bytes.len() as u64 {
                let left = free >> 20;
                let least = self.limits.min_free >> 20;
                let why = format!("{left} MiB are free on the disk, {least} MiB have to stay free");
                return Err(io::Error::new(io::ErrorKind::StorageFull, why));
            }
        }
        self.since_look = Some(since.unwrap_or(0));
        self.disk.write(name, at, bytes)
    }

    /// Ends the segment that is written: the next one begins anew.
    pub fn seal(&mut self) {
        if let Some(Current { mut segment, writer }) = self.current.take() {
            let foot = writer.foot();
            // Without a foot it is read as well.
            if self.disk.write(&segment_name(segment.first), segment.bytes, &foot).is_ok() {
                segment.bytes += foot.len() as u64;
            }
            self.put(segment);
        }
    }

    /// A segment is written no more. Usually it is the newest one.
    fn put(&mut self, segment: Segment) {
        let at = self.sealed.partition_point(|other| other.first < segment.first);
        self.sealed.insert(at, segment);
    }

    /// Whether a segment's file is away.
    fn gone(&self, first: u64) -> bool {
        let removed = self.disk.remove(&segment_name(first));
        removed.is_ok() || self.disk.is_there(&segment_name(first)).is_ok_and(|there| !there)
    }

    /// Removes what is too much or too old: returns the number before which all is gone, and why.
    pub fn shrink(&mut self, now: Timestamp) -> Option<(u64, Loss)> {
        let mut lost = None;
        while self.bytes() > self.limits.max_bytes {
            if let Some((oldest, _)) = self.corrupt.pop_front() {
                let _ = self.disk.remove(&oldest);
                continue;
            }
            match self.drop_oldest() {
                Some(end) => lost = Some((end, Loss::Size)),
                None => break,
            }
        }
        let Some(max_age) = self.limits.max_age else { return lost };
        let newest = |store: &Self| store.sealed.front().map(|segment| segment.newest);
        while newest(self).is_some_and(|newest| newest < now.before(max_age)) {
            match self.drop_oldest() {
                Some(end) => lost = Some((end, Loss::Age)),
                None => break,
            }
        }
        lost
    }

    /// Removes the oldest segment; returns the number before which all is gone.
    pub fn drop_oldest(&mut self) -> Option<u64> {
        if self.sealed.is_empty() {
            self.seal();
        }
        let Segment { first, end, .. } = self.sealed.front()?.clone();
        if !self.gone(first) {
            return None;
        }
        self.sealed.pop_front();
        // What was written again of it stands in the next one.
        let next = self.segments().first().map_or(end, |(next, _)| *next);
        Some(end.min(next))
    }

    /// Sets a segment aside that cannot be read.
    pub fn set_aside(&mut self, first: u64) {
        let Some(at) = self.sealed.iter().position(|segment| segment.first == first) else {
            return;
        };
        let name = segment_name(first);
        // Meanwhile it may have been written again.
        if self.disk.read(&name).is_ok_and(|bytes| survey(&bytes).end.is_some()) {
            return;
        }
        let to = format!("{name}{CORRUPT}");
        if self.disk.rename(&name, &to).is_ok() {
            let removed = self.sealed.remove(at);
            self.corrupt.extend(removed.map(|segment| (to, segment.bytes)));
        }
    }

    /// Writes down where an exporter stands.
    ///
    /// # Errors
    /// What the system says; what was written before stands.
    pub fn save(&mut self, exporter: &str, position: &Position) -> io::Result<()> {
        let name = cursor_name(exporter);
        let Some(mut cursor) = self.cursors.get(exporter).copied() else {
            // All of it at once: later it asks the disk for no more space.
            let generation = 1;
            let mut file = vec![0; SLOTS[1] as usize + SLOT];
            let at = SLOTS[generation as usize % 2] as usize;
            file[at..at + SLOT].copy_from_slice(&position::slot(generation, position));
            self.disk.write(&name, 0, &file)?;
            self.names += 1;
            let cursor = Cursor { id: self.id(), generation, safe: 0, again: false };
            self.cursors.insert(exporter.to_owned(), cursor);
            return Ok(());
        };
        // Both slots, when nobody knows what of them is on the disk.
        for _ in 0..=u8::from(cursor.again) {
            cursor.generation += 1;
            let slot = position::slot(cursor.generation, position);
            self.disk.write(&name, SLOTS[cursor.generation as usize % 2], &slot)?;
        }
        self.owed |= std::mem::take(&mut cursor.again);
        self.cursors.insert(exporter.to_owned(), cursor);
        Ok(())
    }

    /// How long what waits for an exporter that is gone is kept.
    #[must_use]
    pub fn orphan_ttl(&self) -> Duration {
        self.limits.orphan_ttl
    }

    /// What not all exporters have sent by then is made safe.
    #[must_use]
    pub fn fsync_interval(&self) -> Duration {
        self.limits.fsync_interval
    }

    /// Whether much of what fills the disk is ours.
    #[must_use]
    pub fn is_much(&self) -> bool {
        self.disk.space().is_ok_and(|(_, total)| self.bytes() > total / 4)
    }

    /// Gives an exporter another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(cursor) = self.cursors.remove(from) {
            // If the file cannot be renamed, another one is begun: it is saved before it is needed.
            if self.disk.rename(&cursor_name(from), &cursor_name(to)).is_ok() {
                self.names += 1;
                self.renamed += 1;
                let id = self.id();
                self.cursors.insert(to.to_owned(), Cursor { id, ..cursor });
            }
        }
    }

    /// Forgets an exporter.
    pub fn forget(&mut self, exporter: &str) {
        self.cursors.remove(exporter);
        let _ = self.disk.remove(&cursor_name(exporter));
        let aside = format!("{}{CORRUPT}", cursor_name(exporter));
        if self.disk.is_there(&aside).unwrap_or(false) && self.disk.remove(&aside).is_ok() {
            self.corrupt.retain(|(name, _)| *name != aside);
        }
    }
}

/// The time of a sample; of a clock that was not set nobody knows how old its samples are.
fn plausible(wall: Timestamp) -> Timestamp {
    if wall < PLAUSIBLE { Timestamp(u64::MAX) } else { wall }
}

#[cfg(test)]
mod tests;
