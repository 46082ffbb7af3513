//! What outlives a power failure, and what can be found at all.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::names::cursor_name;
use super::{Current, FRESH, Segment, Store, plausible, segment_name};
use crate::base::clock::BootTime;
use crate::queue::log::segment::{Head, Writer};
use crate::queue::log::tail::Lot;

impl Store {
    /// Looks whether what is written can still be found. `Some`: the segment that is written cannot, and these are
    /// its numbers; another one begins.
    pub fn look(&mut self) -> Option<Range<u64>> {
        let is_there =
            |current: &mut Current| self.disk.is_there(&segment_name(current.segment.first));
        let gone = self.current.take_if(|current| !is_there(current))?;
        Some(gone.segment.first..gone.segment.end)
    }

    /// Writes once more what nobody can trust: beside the segment that has it, which stays if that fails.
    ///
    /// # Errors
    /// What the system says; nothing has changed then.
    pub fn write_again(&mut self, lots: &[Arc<Lot>]) -> io::Result<()> {
        let (Some(oldest), Some(newest)) = (lots.first(), lots.last()) else { return Ok(()) };
        let head = Head { boot_id: self.boot_id, begun: oldest.captured };
        let (mut writer, mut bytes) = Writer::new(head);
        for lot in lots {
            bytes.extend(writer.entry(lot.first, lot.captured, &lot.samples));
        }
        bytes.extend(writer.foot());
        let name = segment_name(oldest.first);
        let fresh = format!("{name}{FRESH}");
        self.since_look = None;
        let written = self.write(&fresh, 0, &bytes).and_then(|()| self.disk.sync(&fresh));
        if let Err(error) = written.and_then(|()| self.disk.rename(&fresh, &name)) {
            let _ = self.disk.remove(&fresh);
            return Err(error);
        }
        self.unsynced_names = true;
        self.sealed.retain(|segment| segment.first != oldest.first);
        self.put(Segment {
            first: oldest.first,
            end: newest.end(),
            safe: newest.end(),
            bytes: bytes.len() as u64,
            newest: plausible(newest.captured.wall),
            unsynced: VecDeque::new(),
        });
        Ok(())
    }

    /// Exporters whose positions cannot be found any more, although they were saved.
    pub fn look_for_cursors(&mut self) -> Vec<String> {
        let disk = &self.disk;
        let gone = self.cursors.extract_if(.., |name, _| !disk.is_there(&cursor_name(name)));
        gone.map(|(exporter, _)| exporter).collect()
    }

    /// Makes safe from power failures what is needed from a number on and has been written for a while (or, with
    /// `all`, at any time), cursors included. Returns whether there was something.
    ///
    /// # Errors
    /// What the system says, and the numbers of which nobody knows whether they are safe: they have to be written
    /// again.
    pub fn sync(
        &mut self,
        needed: u64,
        now: BootTime,
        all: bool,
    ) -> Result<bool, (Range<u64>, io::Error)> {
        let mut synced = false;
        // What everybody has need not be safe.
        let current = self.current.as_mut().map(|current| &mut current.segment);
        for segment in self.sealed.iter_mut().chain(current) {
            while segment.unsynced.pop_front_if(|(end, _)| *end <= needed).is_some() {}
        }
        let due = |segment: &Segment| {
            let since = segment.unsafe_since(needed);
            since.is_some_and(|at| all || now.since(at) >= self.limits.fsync_interval)
        };
        let current = self.current.as_ref().map(|current| &current.segment);
        let due: Vec<u64> =
            self.sealed.iter().chain(current).filter(|s| due(s)).map(|s| s.first).collect();
        for first in due {
            synced = true;
            if let Err(error) = self.disk.sync(&segment_name(first)) {
                // It is read for what it has, and never trusted with more; what is written again stands in a segment
                // of its own.
                self.seal();
                let mut doubtful = 0..0;
                for segment in self.sealed.iter_mut().filter(|segment| segment.first == first) {
                    segment.unsynced.clear();
                    doubtful = segment.safe..segment.end;
                }
                return Err((doubtful, error));
            }
            let current = self.current.as_mut().map(|current| &mut current.segment);
            for segment in self.sealed.iter_mut().chain(current).filter(|s| s.first == first) {
                segment.unsynced.clear();
                segment.safe = segment.end;
            }
        }
        if synced || all {
            self.sync_cursors();
            self.sync_names().map_err(|error| (0..0, error))?;
        }
        Ok(synced)
    }

    pub(super) fn sync_names(&mut self) -> io::Result<()> {
        if self.unsynced_names {
            self.disk.sync_names()?;
            self.unsynced_names = false;
        }
        Ok(())
    }

    pub(super) fn sync_cursors(&mut self) {
        for (exporter, (_, unsynced)) in &mut self.cursors {
            // A cursor that is older after a power failure sends twice, and loses nothing.
            *unsynced = *unsynced && self.disk.sync(&cursor_name(exporter)).is_err();
        }
    }

    /// Whether something would be synced later.
    #[must_use]
    pub fn is_unsynced(&self, needed: u64) -> bool {
        let current = self.current.as_ref().map(|current| &current.segment);
        self.sealed.iter().chain(current).any(|s| s.unsafe_since(needed).is_some())
    }
}
