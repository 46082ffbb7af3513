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
        self.names += 1;
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

    /// Exporters whose positions cannot be found any more, although they were saved.
    pub fn look_for_cursors(&mut self) -> Vec<String> {
        let disk = &self.disk;
        let gone = self.cursors.extract_if(.., |name, _| !disk.is_there(&cursor_name(name)));
        gone.map(|(exporter, _)| exporter).collect()
    }
}
