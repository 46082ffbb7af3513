//! Whether what was written can be found and trusted; and what is written once more.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::names::cursor_name;
use super::{Current, FRESH, Segment, Store, plausible, segment_name};
use crate::queue::log::segment::{Head, Writer};
use crate::queue::log::tail::Lot;

impl Store {
    /// Looks whether what is written can still be found. `Some`: the segment that is written cannot, or the newest ones, and
    /// these are their numbers; another one begins.
    pub fn look(&mut self) -> Option<Range<u64>> {
        let look = |segment: &Segment| self.disk.is_there(&segment_name(segment.first));
        let mut gone: Option<Range<u64>> = None;
        let lost = |current: &mut Current| !matches!(look(&current.segment), Ok(true));
        let hidden = self.current.take_if(lost).map(|current| current.segment);
        if let Some(segment) = &hidden {
            gone = Some(segment.first..segment.end);
        }
        while let Some(newest) =
            self.sealed.back().filter(|segment| matches!(look(segment), Ok(false)))
        {
            let end = gone.map_or(newest.end, |gone| gone.end.max(newest.end));
            gone = Some(newest.first..end);
            self.sealed.pop_back();
        }
        // What cannot be seen now may be there again, as it was.
        if let Some(segment) = hidden.filter(|segment| !matches!(look(segment), Ok(false))) {
            self.put(segment);
        }
        gone
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
        self.names += 1;
        self.owed = true;
        self.sealed.retain(|segment| segment.first != oldest.first);
        let id = self.id();
        self.put(Segment {
            id,
            first: oldest.first,
            end: newest.end(),
            safe: newest.end(),
            bytes: bytes.len() as u64,
            newest: plausible(newest.captured.wall),
            unsynced: VecDeque::new(),
        });
        Ok(())
    }

    /// Exporters whose positions have to be saved again: they cannot be found any more, or could not be made safe.
    pub fn look_for_cursors(&mut self) -> Vec<String> {
        let disk = &self.disk;
        let is_gone = |name: &String| matches!(disk.is_there(&cursor_name(name)), Ok(false));
        let gone = self.cursors.extract_if(.., |name, _| is_gone(name));
        let mut unsafe_ones: Vec<String> = gone.map(|(exporter, _)| exporter).collect();
        let again = self.cursors.iter().filter(|(_, cursor)| cursor.again);
        unsafe_ones.extend(again.map(|(exporter, _)| exporter.clone()));
        unsafe_ones
    }
}
