//! The durable log of a pipeline: what its exporters have to send, numbered, in memory and on the disk.
//!
//! Whoever appends only fills memory and never waits. A thread of the log's own brings it to the disk, with where the
//! exporters stand; exporters that keep up read from memory, the others from the disk. Without a disk, or while it
//! fails, the same log holds what memory may hold.

pub mod backlog;
pub mod bytes;
pub mod columns;
pub mod disk;
pub mod position;
pub mod record;
pub mod seat;
pub mod segment;
pub mod series;
pub mod state;
pub mod store;
mod syncer;
pub mod tail;
mod writer;

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::clock::{self, Moment, Timestamp};
use crate::pipeline::memory::Holder;
use crate::pipeline::selfmetrics::{Counter, Meter};
use crate::pipeline::stage::Sink;
use crate::queue::report::{Row, Whose};
use crate::signal::batch::Batch;
use crate::signal::names::{QUEUE_DISK, QUEUE_ERRORS, QUEUE_STATE, QUEUE_SYNCS};
use disk::{Disk, Folder};
use segment::Captured;
use state::{Mode, State, Task};
use store::{Limits, Recovered, Store};

/// Samples that a log holds in memory when nobody says otherwise: some 12 MiB, and at most 64 MiB.
pub const DEFAULT_SAMPLES: usize = 256 << 10;
/// Samples that a log holds in memory, whatever is asked for.
pub(super) const MAX_SAMPLES: usize = 1_000_000;
/// Samples that are kept in memory although they are on the disk.
const TAIL: usize = 64 << 10;

/// What a log has to know.
#[derive(Clone)]
pub struct Surroundings {
    /// Which boot of which machine this is.
    pub boot_id: u128,
    /// Whether the wall clock is kept right by a time service, as far as is known.
    pub synchronized: fn() -> bool,
    /// Where it counts.
    pub meter: Arc<Meter>,
}

/// What the log, its thread and its exporters have in common.
pub(super) struct Shared {
    pub(super) name: String,
    state: Mutex<State>,
    /// The thread is wanted.
    work: Condvar,
    /// Positions have been saved.
    pub(super) saved: Notify,
    pub(super) disk: OnceLock<Arc<dyn Disk>>,
    pub(super) surroundings: Surroundings,
    pub(super) read_errors: Counter,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    pub(super) fn captured(&self, now: Moment) -> Captured {
        let synchronized = (self.surroundings.synchronized)();
        Captured { boot: now.boot, wall: now.wall, synchronized }
    }
}

/// The log of a pipeline.
pub struct Log {
    shared: Arc<Shared>,
    pub(super) thread: Mutex<Option<JoinHandle<bool>>>,
}

impl Log {
    /// A log in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be used: [`io::ErrorKind::WouldBlock`] when another process has it.
    pub fn open(
        name: &str,
        folder: &Path,
        limits: Limits,
        surroundings: Surroundings,
    ) -> io::Result<Self> {
        let disk = Arc::new(Folder::take(folder)?);
        Self::on(name, disk, limits, surroundings)
    }

    /// A log on a disk.
    ///
    /// # Errors
    /// When the disk cannot be read, or the system has no thread left.
    pub fn on(
        name: &str,
        disk: Arc<dyn Disk>,
        limits: Limits,
        surroundings: Surroundings,
    ) -> io::Result<Self> {
        let boot_id = surroundings.boot_id;
        let (store, found) = Store::open(Arc::clone(&disk), limits, boot_id)?;
        tell(name, &found);
        let segments = store.segments();
        if found.positions.is_empty() && found.lost_positions.is_empty() && !segments.is_empty() {
            let samples: u64 = segments.iter().map(|(first, end)| end - first).sum();
            tracing::warn!(
                pipeline = name,
                samples,
                "nobody knows for whom this was kept: it is given up"
            );
        }
        let state = State::recovered(store.segments(), found);
        let log = Self::with(name, state, surroundings);
        let _ = log.shared.disk.set(disk);
        log.spawn(move |shared| writer::run(store, shared))?;
        Ok(log)
    }

    /// A log in memory alone.
    #[must_use]
    pub fn in_memory(name: &str, surroundings: Surroundings) -> Self {
        Self::with(name, State::empty(Mode::Memory), surroundings)
    }

    /// A log in memory until its folder, which cannot be used now, can be.
    #[must_use]
    pub fn until_usable(
        name: &str,
        folder: &Path,
        limits: Limits,
        surroundings: Surroundings,
    ) -> Self {
        let log = Self::with(name, State::empty(Mode::Degraded), surroundings);
        let folder = folder.to_owned();
        if let Err(error) = log.spawn(move |shared| writer::wait(&folder, limits, shared)) {
            tracing::error!(pipeline = name, "its folder is not tried again: {error}");
        }
        log
    }

    fn spawn(&self, work: impl FnOnce(&Arc<Shared>) -> bool + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = Builder::new().name(format!("log {}", shared.name));
        let thread = thread.spawn(move || work(&shared))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    fn with(name: &str, state: State, surroundings: Surroundings) -> Self {
        let own = |operation| [("pipeline", name), ("operation", operation)];
        let read_errors = surroundings.meter.counter(&QUEUE_ERRORS, &own("read"));
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            state: Mutex::new(state),
            work: Condvar::new(),
            saved: Notify::new(),
            disk: OnceLock::new(),
            surroundings,
            read_errors,
        });
        let meter = &shared.surroundings.meter;
        for mode in [Mode::Disk, Mode::Memory, Mode::Degraded] {
            let weak = Arc::downgrade(&shared);
            meter.read(&QUEUE_STATE, &[("pipeline", name), ("state", mode.word())], move |_| {
                Some(f64::from(u8::from(weak.upgrade()?.lock().mode == mode)))
            });
        }
        let weak = Arc::downgrade(&shared);
        meter.read(&QUEUE_DISK, &[("pipeline", name)], move |_| {
            let shared = weak.upgrade()?;
            shared.disk.get()?;
            let bytes = shared.lock().disk_bytes;
            Some(bytes as f64)
        });
        Self { shared, thread: Mutex::new(None) }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Other limits from now on.
    pub fn limit(&self, limits: Limits) {
        self.shared.lock().tasks.push(Task::Limit(limits));
        self.shared.wake();
    }

    /// All exporters that there are have begun.
    pub fn complete(&self) {
        self.shared.lock().complete(clock::wall());
        self.shared.wake();
    }

    /// Whether what is appended outlives the process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.shared.disk.get().is_some()
    }

    /// Whether it is there to outlive the process, although its folder may not be usable yet.
    #[must_use]
    pub fn is_for_disk(&self) -> bool {
        self.shared.lock().mode != Mode::Memory
    }

    /// What everyone has.
    #[must_use]
    pub fn rows(&self, now: Timestamp) -> Vec<Row> {
        self.shared.lock().rows(&self.shared.name, now)
    }

    /// Gives up what waits for these; returns how many samples that were.
    pub fn purge(&self, whose: &Whose) -> u64 {
        let name = &self.shared.name;
        let purged = self.shared.lock().purge(|exporter| whose.is(name, exporter));
        self.shared.wake();
        purged
    }

    /// Ends the log: what is in memory goes to the disk and is made safe. Returns whether that was done, and in this
    /// time; if not, what memory alone has is counted as given up.
    pub async fn stop(&self, patience: Duration) -> bool {
        {
            let mut state = self.shared.lock();
            state.stopping = true;
        }
        self.shared.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return true };
        // A disk that hangs must not hold up the end.
        let until = clock::instant() + patience;
        while !thread.is_finished() && clock::instant() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if thread.is_finished() {
            return thread.join().unwrap_or(false);
        }
        self.shared.lock().give_up("shutdown") == 0
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.wake();
    }
}

impl Sink for Log {
    fn append(&self, batches: &[Batch], now: Moment) {
        let captured = self.shared.captured(now);
        let mut state = self.shared.lock();
        state.append(batches, captured);
        drop(state);
        if self.is_durable() {
            self.shared.wake();
        }
    }

    fn close(&self) {
        self.shared.lock().close();
    }
}

impl Holder for Log {
    fn bytes(&self) -> usize {
        self.shared.lock().tail.bytes()
    }

    fn sheddable(&self) -> usize {
        self.bytes()
    }

    fn shed(&self, bytes: usize) -> usize {
        self.shared.lock().shed(bytes)
    }
}

/// Says what was found that is not as it was left.
fn tell(pipeline: &str, found: &Recovered) {
    let Recovered { torn, set_aside, newer, lost_positions, .. } = found;
    if *torn > 0 {
        tracing::info!(pipeline, bytes = torn, "the end of the queue was not written whole");
    }
    for file in set_aside {
        tracing::warn!(pipeline, file, "a file of the queue cannot be read; it is set aside");
    }
    for file in newer {
        tracing::warn!(pipeline, file, "a newer version has written this file; it is left alone");
    }
    for exporter in lost_positions {
        tracing::warn!(
            pipeline,
            exporter,
            "nobody knows what was sent: all that is kept is sent again"
        );
    }
}

/// How often a log was made safe, and what its disk refused.
struct Tallies {
    syncs: Counter,
    write_errors: Counter,
    sync_errors: Counter,
}

impl Tallies {
    fn new(shared: &Shared) -> Self {
        let meter = &shared.surroundings.meter;
        let pipeline = ("pipeline", shared.name.as_str());
        let errors =
            |operation| meter.counter(&QUEUE_ERRORS, &[pipeline, ("operation", operation)]);
        Self {
            syncs: meter.counter(&QUEUE_SYNCS, &[pipeline]),
            write_errors: errors("write"),
            sync_errors: errors("sync"),
        }
    }
}
