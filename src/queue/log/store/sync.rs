//! Making safe from power failures what has to wait. A disk that is busy takes seconds for that: so what is to be done is
//! taken out of the log, done on any thread while the log goes on, and brought back.

use std::io;
use std::ops::Range;

use super::names::cursor_name;
use super::{Segment, Store, segment_name};
use crate::base::clock::BootTime;
use crate::queue::log::disk::Disk;

/// What is to be made safe, as it was when that was found.
#[derive(Debug)]
pub struct SyncJob {
    segments: Vec<File>,
    cursors: Vec<(String, File)>,
    /// The names of the files, which have changed so often.
    names: Option<u64>,
    /// Segments that end before may go when the positions are safe.
    unneeded: u64,
    /// How often exporters had got other names.
    renamed: u64,
}

/// A file, and up to where it was written: a number of a sample, or a generation.
#[derive(Clone, Copy, Debug)]
struct File {
    id: u64,
    first: u64,
    written: u64,
}

/// What became of a [`SyncJob`].
#[derive(Debug)]
pub struct Synced {
    job: SyncJob,
    /// So many segments are safe, and the one after them is not if there is an error.
    segments: usize,
    /// Of a segment or of the names: nothing else was tried then.
    error: Option<io::Error>,
    /// Positions that are not safe.
    unsafe_cursors: Vec<(usize, io::Error)>,
}

impl SyncJob {
    /// Does it: what is stored, its names, then the positions. A file that is gone meanwhile is needed no more.
    #[must_use]
    pub fn run(self, disk: &dyn Disk) -> Synced {
        let sync = |name: &str| match disk.sync(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        };
        let mut segments = 0;
        let mut stored = || {
            for segment in &self.segments {
                sync(&segment_name(segment.first))?;
                segments += 1;
            }
            if self.names.is_some() { disk.sync_names() } else { Ok(()) }
        };
        let error = stored().err();
        let mut unsafe_cursors = Vec::new();
        if error.is_none() {
            let cursors = self.cursors.iter().enumerate();
            let failed = cursors
                .filter_map(|(n, (exporter, _))| Some((n, sync(&cursor_name(exporter)).err()?)));
            unsafe_cursors.extend(failed);
        }
        Synced { job: self, segments, error, unsafe_cursors }
    }
}

impl Store {
    /// What has to be made safe: what is needed from a number on and has been written for a while (or, with `all`, at
    /// any time), and the positions, before anything goes that nobody needs even by those that were `saved`.
    pub fn to_sync(
        &mut self,
        needed: u64,
        saved: u64,
        now: BootTime,
        all: bool,
    ) -> Option<SyncJob> {
        let interval = self.limits.fsync_interval;
        let current = self.current.as_mut().map(|current| &mut current.segment);
        let mut segments = Vec::new();
        for segment in self.sealed.iter_mut().chain(current) {
            // What everybody has need not be safe.
            while segment.unsynced.pop_front_if(|(end, _)| *end <= needed).is_some() {}
            let since = segment.unsafe_since(needed);
            if since.is_some_and(|at| all || now.since(at) >= interval) {
                let Segment { id, first, end, .. } = *segment;
                segments.push(File { id, first, written: end });
            }
        }
        let oldest = self.sealed.front().map(|oldest| oldest.end);
        let unneeded = oldest.is_some_and(|end| end <= saved && end > self.removable);
        let unneeded = unneeded && !self.is_pending();
        if segments.is_empty() && !all && !unneeded && !self.owed {
            return None;
        }
        // What is to be written once more is synced behind that: earlier the system would only say that it was.
        let unsafe_ones = self
            .cursors
            .iter()
            .filter(|(_, cursor)| cursor.safe < cursor.generation && !cursor.again);
        let cursors: Vec<_> = unsafe_ones
            .map(|(exporter, cursor)| {
                let (id, written) = (cursor.id, cursor.generation);
                (exporter.clone(), File { id, first: 0, written })
            })
            .collect();
        let names = (self.safe_names < self.names).then_some(self.names);
        if segments.is_empty() && cursors.is_empty() && names.is_none() && !unneeded {
            self.owed = self.is_pending();
            return None;
        }
        Some(SyncJob { segments, cursors, names, unneeded: saved, renamed: self.renamed })
    }

    /// What was to be made safe is, or not. Returns whether that was some of the samples.
    ///
    /// # Errors
    /// What the system says, and the numbers of which nobody knows whether they are safe: they have to be written
    /// again.
    pub fn synced(&mut self, synced: Synced) -> Result<bool, (Range<u64>, io::Error)> {
        let Synced { job, segments, error, unsafe_cursors } = synced;
        if let Some(error) = error {
            self.owed = true;
            let failed = job.segments.get(segments);
            return Err((failed.map_or(0..0, |failed| self.distrust(failed.id)), error));
        }
        for done in &job.segments {
            if let Some(segment) = self.segment(done.id) {
                let written = done.written;
                let end = segment.end;
                while segment.unsynced.pop_front_if(|(to, _)| end.min(*to) <= written).is_some() {}
                segment.safe = segment.safe.max(written);
            }
        }
        self.safe_names = job.names.unwrap_or(self.safe_names);
        for (n, (exporter, done)) in job.cursors.iter().enumerate() {
            let failed = unsafe_cursors.iter().any(|(failed, _)| *failed == n);
            // A cursor that is older after a power failure sends twice, and loses nothing.
            if let Some(cursor) = self.cursors.get_mut(exporter).filter(|c| c.id == done.id) {
                match failed {
                    true => cursor.again = true,
                    false => cursor.safe = done.written,
                }
            }
        }
        if let Some((_, error)) = unsafe_cursors.into_iter().next() {
            self.owed = true;
            return Err((0..0, error));
        }
        self.owed = self.is_pending();
        if job.renamed == self.renamed && !self.owed {
            // Earlier a power failure could have left an exporter asking for what is gone.
            self.removable = self.removable.max(job.unneeded);
            self.reclaim();
        }
        Ok(!job.segments.is_empty())
    }

    /// Removes segments that nobody needs, even by the positions that are safe.
    pub fn reclaim(&mut self) {
        while let Some(oldest) = self.sealed.front().filter(|oldest| oldest.end <= self.removable) {
            if !self.gone(oldest.first) {
                break;
            }
            self.sealed.pop_front();
        }
    }

    /// Makes safe what [`Store::to_sync`] says, and waits for it.
    ///
    /// # Errors
    /// As [`Store::synced`].
    pub fn sync(
        &mut self,
        needed: u64,
        saved: u64,
        now: BootTime,
        all: bool,
    ) -> Result<bool, (Range<u64>, io::Error)> {
        let Some(job) = self.to_sync(needed, saved, now, all) else { return Ok(false) };
        let synced = job.run(&*self.disk);
        self.synced(synced)
    }

    /// Whether a position is to be written once more before anything can be said of it.
    fn is_pending(&self) -> bool {
        self.cursors.values().any(|cursor| cursor.again)
    }

    /// Whether something is to be made safe as soon as can be.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.owed
    }

    fn segment(&mut self, id: u64) -> Option<&mut Segment> {
        let current = self.current.as_mut().map(|current| &mut current.segment);
        self.sealed.iter_mut().chain(current).find(|segment| segment.id == id)
    }

    /// A segment that could not be made safe is read for what it has, and never trusted with more; what is written again
    /// stands in a segment of its own. Returns what is in doubt.
    fn distrust(&mut self, id: u64) -> Range<u64> {
        if self.current.as_ref().is_some_and(|current| current.segment.id == id) {
            self.seal();
        }
        let Some(segment) = self.segment(id) else { return 0..0 };
        segment.unsynced.clear();
        segment.safe..segment.end
    }

    /// Whether something would be synced later.
    #[must_use]
    pub fn is_unsynced(&self, needed: u64) -> bool {
        let current = self.current.as_ref().map(|current| &current.segment);
        self.sealed.iter().chain(current).any(|s| s.unsafe_since(needed).is_some())
    }
}
