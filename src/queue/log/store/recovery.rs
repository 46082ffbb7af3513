//! How a log is found again, whatever ended it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use super::names::{CURSOR, decoded, number};
use super::{CORRUPT, Cursor, FRESH, Limits, Segment, Store, plausible, segment_name};
use crate::base::clock::{BootTime, Timestamp};
use crate::queue::log::disk::{Disk, Listed};
use crate::queue::log::position::{self, Position};
use crate::queue::log::segment::{Survey, survey};

/// What a newer version has written, and this one cannot read, ends so.
const NEWER: &str = ".newer";

/// Whether an error is about the file alone, so that another try reads no more of it.
pub(in crate::queue) fn is_damage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of_the_file = [Errno::IO, Errno::UCLEAN, Errno::BADMSG, Errno::NODATA, Errno::ILSEQ];
    error.raw_os_error().is_some_and(|code| of_the_file.iter().any(|e| e.raw_os_error() == code))
}

/// What was found when a log was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The number of the next sample.
    pub end: u64,
    /// Where exporters stood, and when that was written.
    pub positions: BTreeMap<String, (Position, Timestamp)>,
    /// Exporters whose position cannot be read.
    pub lost_positions: BTreeSet<String>,
    /// Bytes at the end of the last segment that were not written whole.
    pub torn: u64,
    /// Files that were set aside.
    pub set_aside: Vec<String>,
    /// Files of a newer version: they are left alone.
    pub newer: Vec<String>,
}

impl Recovered {
    /// Whether nobody was here before.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.end == 0 && self.positions.is_empty() && self.lost_positions.is_empty()
    }
}

impl Store {
    /// Opens the log on a disk; `boot_id`: of this boot of this machine.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn open(
        disk: Arc<dyn Disk>,
        limits: Limits,
        boot_id: u128,
    ) -> io::Result<(Self, Recovered)> {
        let mut store = Self {
            disk,
            limits,
            boot_id,
            sealed: VecDeque::new(),
            current: None,
            corrupt: VecDeque::new(),
            cursors: BTreeMap::new(),
            names: 1,
            safe_names: 0,
            next_id: 0,
            removable: 0,
            owed: false,
            renamed: 0,
            since_look: None,
        };
        let mut found = Recovered::default();
        let mut files = store.disk.list()?;
        for file in &mut files {
            // What a newer version has left may be ours to read by now.
            let Some(name) = file.name.strip_suffix(NEWER).map(str::to_owned) else { continue };
            let ours = || store.disk.read(&file.name).is_ok_and(|bytes| !survey(&bytes).newer);
            let there = store.disk.is_there(&name).unwrap_or(true);
            if !there && ours() && store.disk.rename(&file.name, &name).is_ok() {
                file.name = name;
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        for file in &files {
            if file.name.ends_with(FRESH) {
                let _ = store.disk.remove(&file.name);
            } else if let Some(exporter) = file.name.strip_suffix(CURSOR).and_then(decoded) {
                store.cursor(file, exporter, &mut found)?;
            } else if let Some(first) = number(&file.name) {
                let segment = Segment {
                    id: store.id(),
                    first,
                    end: first,
                    safe: first,
                    bytes: file.bytes,
                    newest: plausible(file.modified),
                    // Nobody knows whether who wrote it has made it safe.
                    unsynced: VecDeque::from([(u64::MAX, BootTime::default())]),
                };
                if let Some(before) = store.sealed.back_mut() {
                    before.end = first;
                }
                store.sealed.push_back(segment);
            } else if let Some(name) = file.name.strip_suffix(CORRUPT) {
                store.corrupt.push_back((file.name.clone(), file.bytes));
                // Who has set it aside has not sent what is kept.
                let exporter = name.strip_suffix(CURSOR).and_then(decoded);
                found.lost_positions.extend(exporter);
            }
        }
        found.lost_positions.retain(|exporter| !found.positions.contains_key(exporter));
        store.corrupt.make_contiguous().sort();
        while let Some(last) = store.sealed.back().cloned() {
            if store.last(last, &mut found)? {
                break;
            }
        }
        store.fit();
        let log = store.sealed.back().map_or(0, |segment| segment.end);
        let known = found.positions.values().map(|(position, _)| position.next);
        found.end = known.chain([log]).max().unwrap_or(0);
        Ok((store, found))
    }

    fn cursor(&mut self, file: &Listed, exporter: String, found: &mut Recovered) -> io::Result<()> {
        let read = match self.disk.read(&file.name) {
            Err(error) if !is_damage(&error) => return Err(error),
            read => read.ok().and_then(|bytes| position::read(&bytes).ok()),
        };
        match read {
            Some((generation, position)) => {
                let cursor = Cursor { id: self.id(), generation, safe: 0, again: false };
                self.cursors.insert(exporter.clone(), cursor);
                found.positions.insert(exporter, (position, file.modified));
            }
            None => {
                self.aside(&file.name, file.bytes, found);
                found.lost_positions.insert(exporter);
            }
        }
        Ok(())
    }

    /// Looks at the last segment. `false`: it is none, and is not among the segments any more.
    fn last(&mut self, mut last: Segment, found: &mut Recovered) -> io::Result<bool> {
        let name = segment_name(last.first);
        let bytes = match self.disk.read(&name) {
            Err(error) if is_damage(&error) => {
                self.sealed.pop_back();
                self.aside(&name, last.bytes, found);
                return Ok(false);
            }
            read => read?,
        };
        self.sealed.pop_back();
        let Survey { end, torn, newer } = survey(&bytes);
        if newer {
            // Under a name that is not needed for what comes next.
            let _ = self.disk.rename(&name, &format!("{name}{NEWER}"));
            found.newer.push(name);
            return Ok(false);
        }
        let Some(end) = end else {
            match bytes.is_empty() || torn == Some(0) && bytes.len() < 64 {
                // A segment that was begun, and nothing came of it.
                true => drop(self.disk.remove(&name)),
                false => self.aside(&name, bytes.len() as u64, found),
            }
            return Ok(false);
        };
        if let Some(at) = torn {
            found.torn += (bytes.len() - at) as u64;
            // Where that is not possible it is passed over at each reading.
            let _ = self.disk.truncate(&name, at as u64);
            last.bytes = at as u64;
        }
        last.end = end.max(last.first);
        self.sealed.push_back(last);
        Ok(true)
    }

    fn aside(&mut self, name: &str, bytes: u64, found: &mut Recovered) {
        let to = format!("{name}{CORRUPT}");
        if self.disk.rename(name, &to).is_ok() {
            self.corrupt.push_back((to.clone(), bytes));
            found.set_aside.push(to);
        }
    }
}
