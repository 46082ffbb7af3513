//! The thread of a log: brings samples and positions to the disk, makes safe what has to wait, and goes on when the
//! disk fails.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::disk::{Disk, Folder};
use super::state::{Mode, State, Task};
use super::store::{Limits, Loss, Store, Synced};
use super::syncer::Syncer;
use super::{DEFAULT_SAMPLES, Shared, Tallies};
use crate::base::clock::{self, BootTime};
use crate::base::seldom::Seldom;

/// How soon a disk that has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often is looked whether something is to be synced, or a file is gone.
const TICK: Duration = Duration::from_secs(1);
/// How often is looked whether something is too old.
const IDLE: Duration = Duration::from_secs(30);
/// A disk that takes less for what has come does not lag.
const PROMPT: Duration = Duration::from_millis(250);
/// Samples that are written at once.
const STRIDE: usize = 64 << 10;

/// How long at most it waits until it tries again to make something safe.
const SYNC_AGAIN: Duration = Duration::from_secs(5);
/// A disk that takes longer to make something safe hangs.
const HANGS: Duration = Duration::from_secs(30);
/// How soon a folder that could not be used is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(2);

/// Runs until the log is stopped. Returns whether the disk has everything then that somebody needs.
pub(super) fn run(store: Store, shared: &Arc<Shared>) -> bool {
    let tallies = Tallies::new(shared);
    let failing = shared.lock().mode == Mode::Degraded;
    let disk = store.disk();
    let mut writer = Writer {
        store,
        tallies,
        retry_at: None,
        told: Seldom::default(),
        failing,
        in_vain: false,
        sync_at: None,
        sync_pause: RETRY,
        told_sync: Seldom::default(),
        is_unsafe: false,
        doubtful: Vec::new(),
        syncer: Syncer::new(shared, disk),
        ticked: clock::now().boot,
    };
    while writer.round(shared) {}
    if shared.lock().give_up("shutdown") == 0 {
        return true;
    }
    let unsaved = shared.lock().unsaved();
    for (_, name, _, position) in unsaved {
        // There is room for it, if for anything.
        let _ = writer.store.save(&name, &position);
    }
    false
}

/// Waits until a folder can be used, then runs there. One in which a queue is already is left for the next start:
/// what is in memory has been numbered without it.
pub(super) fn wait(folder: &Path, mut limits: Limits, shared: &Arc<Shared>) -> bool {
    let pipeline = &shared.name;
    let mut next = clock::now().boot + OPEN_AGAIN;
    let mut told = Seldom::default();
    let mut again = |error: &io::Error| {
        if told.passes(clock::now().boot) {
            tracing::warn!(pipeline, "{} cannot be used: {error}", folder.display());
        }
    };
    loop {
        let mut state = shared.lock();
        // Of what a disk would be told only its limits matter.
        for task in std::mem::take(&mut state.tasks) {
            if let Task::Limit(new) = task {
                limits = new;
            }
        }
        let rest = next.since(clock::now().boot);
        if state.stopping {
            return true;
        } else if !rest.is_zero() {
            drop(shared.work.wait_timeout(state, rest));
            continue;
        }
        drop(state);
        next = clock::now().boot + OPEN_AGAIN;
        let disk: Arc<dyn Disk> = match Folder::take(folder) {
            Ok(disk) => Arc::new(disk),
            Err(error) => {
                again(&error);
                continue;
            }
        };
        let boot_id = shared.surroundings.boot_id;
        match Store::open(Arc::clone(&disk), limits.clone(), boot_id) {
            Ok((store, found)) if found.is_nothing() && store.segments().is_empty() => {
                let _ = shared.disk.set(disk);
                return run(store, shared);
            }
            Ok(_) => {
                tracing::error!(
                    pipeline,
                    "{} can be used by now, and holds a queue that goes on with the next start; until then what \
                     waits is kept in memory alone",
                    folder.display()
                );
                return true;
            }
            Err(error) => again(&error),
        }
    }
}

struct Writer {
    store: Store,
    tallies: Tallies,
    /// The disk has failed: it is left alone until then.
    retry_at: Option<BootTime>,
    told: Seldom,
    failing: bool,
    /// A segment was dropped for more space, and that has not helped yet.
    in_vain: bool,
    /// Nothing can be made safe: it is tried again then, and after such a pause.
    sync_at: Option<BootTime>,
    sync_pause: Duration,
    told_sync: Seldom,
    /// Something is not safe that should be.
    is_unsafe: bool,
    /// What could not be made safe, and is to be written again.
    doubtful: Vec<Range<u64>>,
    syncer: Syncer,
    ticked: BootTime,
}

impl Writer {
    /// Waits for work and does it; `false`: it was the last.
    fn round(&mut self, shared: &Shared) -> bool {
        let mut state = shared.lock();
        let mut synced;
        loop {
            synced = self.syncer.look();
            let now = clock::now().boot;
            let may = self.retry_at.is_none_or(|at| now >= at);
            let wanted = may && (state.written < state.end || state.seats.values().any(unsaved));
            let tick = self.tick(&state);
            let asked = state.stopping || !state.tasks.is_empty() || synced.is_some();
            if asked || wanted || now.since(self.ticked) >= tick {
                break;
            }
            let mut rest = tick.saturating_sub(now.since(self.ticked));
            if let Some(at) = self.retry_at {
                rest = rest.min(at.since(now));
            }
            let waited = shared.work.wait_timeout(state, rest.max(Duration::from_millis(1)));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let stopping = state.stopping;
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        for task in tasks {
            self.task(task);
        }
        if let Some(synced) = synced {
            self.made_safe(shared, synced);
        }
        let now = clock::now().boot;
        if stopping || self.retry_at.is_none_or(|at| now >= at) {
            match self.write(shared) {
                Ok(()) => self.recovered(shared),
                Err(error) => {
                    self.tallies.write_errors.add(1);
                    self.failed(shared, &error);
                }
            }
        }
        self.tidy(shared, stopping);
        let state = shared.lock();
        let more = state.written < state.end && self.retry_at.is_none();
        drop(state);
        !stopping || more
    }

    /// How long it may do nothing.
    fn tick(&self, state: &State) -> Duration {
        let busy = self.failing
            || self.is_unsafe
            || self.syncer.busy_since().is_some()
            || self.store.is_unsynced(state.needed());
        if busy { TICK } else { IDLE }
    }

    fn task(&mut self, task: Task) {
        match task {
            Task::Rename { from, to } => self.store.rename(&from, &to),
            Task::Save(exporter, position) => {
                if let Err(error) = self.store.save(&exporter, &position) {
                    tracing::warn!(exporter, "where it stands cannot be written down: {error}");
                }
            }
            Task::Forget(exporter) => self.store.forget(&exporter),
            Task::SetAside(first) => self.store.set_aside(first),
            Task::Limit(limits) => self.store.limit(limits),
        }
    }

    /// Brings samples and positions to the disk.
    fn write(&mut self, shared: &Shared) -> io::Result<()> {
        let began = clock::instant();
        let lots = shared.lock().unwritten(STRIDE);
        let mut failed = Ok(());
        if !lots.is_empty() {
            match self.store.append(&lots) {
                Ok(written) => {
                    let mut state = shared.lock();
                    state.written = state.written.max(written);
                    self.publish(&mut state);
                    state.evict();
                }
                // Positions have their place on the disk, also when it is full.
                Err(error) => failed = Err(error),
            }
        }
        let unsaved = {
            let state = shared.lock();
            // One that is to be renamed is not saved before that.
            if state.tasks.is_empty() { state.unsaved() } else { Vec::new() }
        };
        let mut saved = Vec::with_capacity(unsaved.len());
        for (id, name, version, position) in unsaved {
            match self.store.save(&name, &position) {
                Ok(()) => saved.push((id, version, position.needs())),
                Err(error) => failed = Err(error),
            }
        }
        let mut state = shared.lock();
        for (id, version, needs) in saved {
            if let Some(seat) = state.seats.get_mut(&id) {
                (seat.saved, seat.saved_needs) = (version, needs);
            }
        }
        state.lagging &= clock::instant().duration_since(began) > PROMPT;
        drop(state);
        shared.saved.notify_waiters();
        failed
    }

    fn publish(&self, state: &mut State) {
        state.segments = self.store.segments();
        state.disk_bytes = self.store.bytes();
    }

    fn recovered(&mut self, shared: &Shared) {
        self.retry_at = None;
        self.in_vain = false;
        if std::mem::take(&mut self.failing) {
            self.told.reset();
            let pipeline = &shared.name;
            tracing::info!(pipeline, "the queue is written to the disk again");
            let mut state = shared.lock();
            state.failing = false;
            if !self.is_unsafe {
                state.mode = Mode::Disk;
            }
        }
    }

    /// The disk has failed: memory has to do.
    fn failed(&mut self, shared: &Shared, error: &io::Error) {
        let now = clock::now().boot;
        self.failing = true;
        self.retry_at = Some(now + RETRY);
        if self.told.passes(now) {
            tracing::warn!(
                pipeline = %shared.name,
                "the queue cannot be written to the disk: {error}; what comes is kept in memory"
            );
        }
        let mut state = shared.lock();
        (state.mode, state.failing) = (Mode::Degraded, true);
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let pressed = state.in_memory_alone() as usize > DEFAULT_SAMPLES / 2;
        drop(state);
        // Whoever fills the disk: the oldest goes before what is new is lost, once for each success.
        if full && (pressed || self.store.is_much()) && !self.in_vain {
            self.in_vain = true;
            if let Some(end) = self.store.drop_oldest() {
                self.lose(shared, end, Loss::DiskFull);
                self.retry_at = None;
            }
        }
        shared.saved.notify_waiters();
    }

    fn lose(&mut self, shared: &Shared, end: u64, why: Loss) {
        let mut state = shared.lock();
        self.publish(&mut state);
        let samples = state.lose_stored(end, why.word());
        drop(state);
        if samples > 0 {
            let pipeline = &shared.name;
            tracing::warn!(
                pipeline,
                samples,
                "the oldest samples of the queue are given up: {}",
                why.word()
            );
        }
    }

    /// Forgets what nobody needs, drops what is too much, makes safe what has to wait.
    fn tidy(&mut self, shared: &Shared, stopping: bool) {
        let now = clock::now();
        self.store.reclaim();
        while let Some((end, why)) = self.store.shrink(now.wall) {
            self.lose(shared, end, why);
        }
        if now.boot.since(self.ticked) >= TICK {
            self.ticked = now.boot;
            for (exporter, position) in self.expired(shared) {
                let (pipeline, waiting) = (&shared.name, position.queued(shared.lock().end));
                self.store.forget(&exporter);
                tracing::warn!(
                    pipeline,
                    exporter,
                    waiting,
                    "this exporter has been gone for long: what waits for it is given up"
                );
            }
            if let Some(gone) = self.store.look() {
                // What memory has of it, and all that comes after, is written again.
                let mut state = shared.lock();
                let oldest = state.tail.front().map_or(state.end, |lot| lot.first);
                if gone.end > oldest {
                    state.written = state.written.min(gone.start.max(oldest));
                }
                drop(state);
                self.failed(shared, &io::Error::new(io::ErrorKind::NotFound, "its file is gone"));
            }
            self.save_again(shared);
        }
        self.sync(shared, now.boot, stopping);
        self.publish(&mut shared.lock());
    }

    /// Makes safe what has to be: beside what is written meanwhile, and at the end before anything else.
    fn sync(&mut self, shared: &Shared, now: BootTime, stopping: bool) {
        if stopping {
            let synced = self.syncer.wait();
            synced.into_iter().for_each(|synced| self.made_safe(shared, synced));
        } else if let Some(since) = self.syncer.busy_since() {
            if now.since(since) > HANGS.max(2 * self.store.fsync_interval()) {
                self.unsafe_now(shared, now, &"the disk does not answer");
            }
            return;
        } else if self.sync_at.is_some_and(|at| now < at) {
            return;
        }
        if let Err(error) = self.write_again(shared) {
            self.unsafe_now(shared, now, &error);
            self.sync_later(now);
            if !stopping {
                return;
            }
        }
        let (needed, saved) = {
            let state = shared.lock();
            // A position that is still to be saved is not the one that is on the disk.
            let saved = if state.tasks.is_empty() { state.needed_after_all() } else { 0 };
            (state.needed(), saved)
        };
        let done = match self.store.to_sync(needed, saved, now, stopping) {
            Some(job) if stopping => Some(self.syncer.run(job)),
            Some(job) => self.syncer.give(job, now),
            None => {
                self.safe_again(shared);
                None
            }
        };
        done.into_iter().for_each(|synced| self.made_safe(shared, synced));
    }

    /// What was to be made safe is, or is not.
    fn made_safe(&mut self, shared: &Shared, synced: Synced) {
        match self.store.synced(synced) {
            Ok(synced) => {
                self.tallies.syncs.add(u64::from(synced));
                self.safe_again(shared);
            }
            Err((doubtful, error)) => {
                self.tallies.sync_errors.add(1);
                let now = clock::now().boot;
                if !doubtful.is_empty() {
                    self.doubtful.push(doubtful);
                }
                self.unsafe_now(shared, now, &error);
                // What is in doubt is written again at once, if it can be.
                if self.doubtful.is_empty() || self.write_again(shared).is_err() {
                    self.sync_later(now);
                }
            }
        }
    }

    /// Nobody knows what of these samples is on the disk: what memory has of them is written once more, elsewhere.
    fn write_again(&mut self, shared: &Shared) -> io::Result<()> {
        while let Some(doubtful) = self.doubtful.last() {
            let lots: Vec<_> = {
                let state = shared.lock();
                let from = state.tail.from(doubtful.start);
                from.take_while(|lot| lot.first < doubtful.end).cloned().collect()
            };
            self.store.write_again(&lots)?;
            self.doubtful.pop();
        }
        Ok(())
    }

    /// What waits is not safe from power failures.
    fn unsafe_now(&mut self, shared: &Shared, now: BootTime, why: &dyn std::fmt::Display) {
        let pipeline = &shared.name;
        if self.told_sync.passes(now) {
            tracing::warn!(pipeline, "the queue is not safe from power failures: {why}");
        }
        self.is_unsafe = true;
        shared.lock().mode = Mode::Degraded;
    }

    /// It is tried again after a pause.
    fn sync_later(&mut self, now: BootTime) {
        self.sync_at = Some(now + self.sync_pause);
        self.sync_pause = (self.sync_pause * 2).min(SYNC_AGAIN);
    }

    /// If nothing is in doubt any more, it is told.
    fn safe_again(&mut self, shared: &Shared) {
        if !self.doubtful.is_empty() || self.store.is_owed() {
            return;
        }
        self.sync_at = None;
        if std::mem::take(&mut self.is_unsafe) {
            self.sync_pause = RETRY;
            self.told_sync.reset();
            let pipeline = &shared.name;
            tracing::info!(pipeline, "the queue is safe from power failures again");
            if !self.failing {
                shared.lock().mode = Mode::Disk;
            }
        }
    }

    /// Positions whose files are gone are written down once more.
    fn save_again(&mut self, shared: &Shared) {
        for exporter in self.store.look_for_cursors() {
            let mut state = shared.lock();
            if let Some(seat) = state.seats.values_mut().find(|seat| seat.name == exporter) {
                seat.version += 1;
            } else if let Some((position, _)) = state.orphans.get(&exporter) {
                let position = position.clone();
                state.tasks.push(Task::Save(exporter, position));
            }
        }
    }

    /// Orphans whose time is over.
    fn expired(&self, shared: &Shared) -> Vec<(String, super::position::Position)> {
        let limit = clock::wall().before(self.store.orphan_ttl());
        let mut state = shared.lock();
        if !state.complete {
            return Vec::new();
        }
        let over = state.orphans.extract_if(.., |_, (_, at)| *at < limit);
        over.map(|(name, (position, _))| (name, position)).collect()
    }
}

fn unsaved(seat: &super::seat::Seat) -> bool {
    seat.version != seat.saved
}
