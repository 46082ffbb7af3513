//! A disk that forgets: what was not synced may be gone after a power failure, in parts and in any order; calls may
//! fail, half-way.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::clock::Timestamp;
use crate::queue::log::disk::{Disk, Listed};

/// Pages are small here, so that records are torn often.
const PAGE: usize = 48;
/// What no disk writes in part: positions count on that.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Content {
    /// What outlives a power failure.
    safe: Vec<u8>,
    /// What the system holds.
    held: Vec<u8>,
    /// What it held when a sync failed: of that it says ever after that it is safe.
    clean: Option<Vec<u8>>,
}

impl Content {
    /// Makes safe what has been written, in pages of this size.
    fn sync(&mut self, page: usize) {
        let Self { safe, held, clean } = self;
        let Some(clean) = clean else {
            safe.clone_from(held);
            return;
        };
        for (at, bytes) in held.chunks(page).enumerate() {
            let range = at * page..at * page + bytes.len();
            if clean.get(range.clone()) != Some(bytes) {
                safe.resize(safe.len().max(range.end), 0);
                safe[range].copy_from_slice(bytes);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// The files as the system has them.
    files: BTreeMap<String, u64>,
    /// The names that outlive a power failure.
    safe_names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Content>,
    next: u64,
    /// So many calls go well, then so many fail.
    fails: (u32, u32),
    /// Files that cannot be read, and what is said of them.
    spoilt: BTreeMap<String, i32>,
    /// Nobody can say what is there.
    hidden: bool,
    /// So many syncs fail.
    unsafe_syncs: u32,
    syncs: u32,
}

/// The disk.
#[derive(Debug, Default)]
pub(super) struct Fake(Mutex<State>);

/// Numbers that look random.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn throw(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

impl Fake {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many calls go well from now on, then so many fail.
    pub(super) fn fail(&self, after: u32, count: u32) {
        self.lock().fails = (after, count);
    }

    /// A file cannot be read: the system gives this reason; with 0 it can be again.
    pub(super) fn spoil(&self, name: &str, reason: i32) {
        let mut state = self.lock();
        state.spoilt.insert(name.to_owned(), reason);
        state.spoilt.retain(|_, reason| *reason != 0);
    }

    /// Something else is where the files were, or is no more.
    pub(super) fn hide(&self, hidden: bool) {
        self.lock().hidden = hidden;
    }

    /// The next syncs fail.
    pub(super) fn fail_syncs(&self, count: u32) {
        self.lock().unsafe_syncs = count;
    }

    pub(super) fn syncs(&self) -> u32 {
        self.lock().syncs
    }

    /// The power fails: of what was not synced some pages are there and some are not; names that are new may be gone,
    /// and those that are gone may be there again.
    pub(super) fn lose_power(&self, dice: &mut Dice) {
        let mut state = self.lock();
        let State { files, safe_names, contents, .. } = &mut *state;
        let mut names = safe_names.clone();
        for (name, id) in files.iter() {
            if safe_names.get(name) != Some(id) && dice.throw(2) == 0 {
                names.insert(name.clone(), *id);
            }
        }
        for name in safe_names.keys() {
            if !files.contains_key(name) && dice.throw(2) == 0 {
                names.remove(name);
            }
        }
        for (id, content) in contents {
            let mut kept = content.safe.clone();
            let sector = names.iter().any(|(name, named)| named == id && name.ends_with(".cursor"));
            let size = if sector { SECTOR } else { PAGE };
            for (at, page) in content.held.chunks(size).enumerate() {
                let begin = at * size;
                if content.safe.get(begin..begin + page.len()) == Some(page) || dice.throw(3) == 0 {
                    continue;
                }
                kept.resize(kept.len().max(begin + page.len()), 0);
                kept[begin..begin + page.len()].copy_from_slice(page);
            }
            *content = Content { safe: kept.clone(), held: kept, clean: None };
        }
        (*files, *safe_names) = (names.clone(), names);
        state.fails = (0, 0);
    }
}

impl State {
    fn may(&mut self) -> io::Result<()> {
        match &mut self.fails {
            (0, 0) => Ok(()),
            (0, count) => {
                *count -= 1;
                Err(io::Error::from_raw_os_error(28))
            }
            (after, _) => {
                *after -= 1;
                Ok(())
            }
        }
    }

    fn content(&mut self, name: &str) -> &mut Content {
        let next = self.next;
        let id = *self.files.entry(name.to_owned()).or_insert(next);
        if id == next {
            self.next += 1;
        }
        self.contents.entry(id).or_default()
    }
}

fn none() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Fake {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let state = self.lock();
        let listed = state.files.iter().map(|(name, id)| Listed {
            name: name.clone(),
            bytes: state.contents.get(id).map_or(0, |content| content.held.len() as u64),
            modified: Timestamp(1),
        });
        Ok(listed.collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.lock();
        if let Some(reason) = state.spoilt.get(name) {
            return Err(io::Error::from_raw_os_error(*reason));
        }
        let id = state.files.get(name).ok_or_else(none)?;
        Ok(state.contents.get(id).map(|content| content.held.clone()).unwrap_or_default())
    }

    fn write(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let may = state.may();
        // A call that fails may have written a part.
        let bytes = if may.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let content = state.content(name);
        let end = at as usize + bytes.len();
        content.held.resize(content.held.len().max(end), 0);
        content.held[at as usize..end].copy_from_slice(bytes);
        may
    }

    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.may()?;
        state.content(name).held.resize(bytes as usize, 0);
        Ok(())
    }

    fn rename(&self, name: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.may()?;
        let id = state.files.remove(name).ok_or_else(none)?;
        state.files.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.may()?;
        state.files.remove(name).map(drop).ok_or_else(none)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.syncs += 1;
        state.may()?;
        if state.unsafe_syncs > 0 && state.files.contains_key(name) {
            state.unsafe_syncs -= 1;
            let content = state.content(name);
            content.clean = Some(content.held.clone());
            return Err(io::Error::from_raw_os_error(5));
        }
        if !state.files.contains_key(name) {
            return Err(none());
        }
        let content = state.content(name);
        content.sync(if name.ends_with(".cursor") { SECTOR } else { PAGE });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.may()?;
        state.safe_names = state.files.clone();
        Ok(())
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        Ok((1 << 40, 1 << 40))
    }

    fn is_there(&self, name: &str) -> io::Result<bool> {
        let state = self.lock();
        if state.hidden {
            Err(io::Error::from_raw_os_error(116))
        } else {
            Ok(state.files.contains_key(name))
        }
    }
}
