//! A thread that makes things safe while the log is written: what a disk takes seconds for holds up nothing else.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::Builder;

use super::Shared;
use super::disk::Disk;
use super::store::{SyncJob, Synced};
use crate::base::clock::BootTime;

/// The thread, which ends with this.
pub(super) struct Syncer {
    disk: Arc<dyn Disk>,
    jobs: SyncSender<SyncJob>,
    done: Receiver<Synced>,
    busy: Option<BootTime>,
}

impl Syncer {
    /// Starts the thread. Without one, whoever asks does the work itself.
    pub(super) fn new(shared: &Arc<Shared>, disk: Arc<dyn Disk>) -> Self {
        let (jobs, to_do) = sync_channel::<SyncJob>(1);
        let (tell, done) = sync_channel(1);
        let (shared, below) = (Arc::clone(shared), Arc::clone(&disk));
        let thread = Builder::new().name(format!("sync {}", shared.name));
        let _ = thread.spawn(move || {
            for job in to_do {
                let synced = job.run(&*below);
                // Who looks has the lock: it is told now, or sees it.
                let state = shared.lock();
                let is_wanted = tell.send(synced).is_ok();
                drop(state);
                if !is_wanted {
                    break;
                }
                shared.wake();
            }
        });
        Self { disk, jobs, done, busy: None }
    }

    /// Since when it is at work.
    pub(super) fn busy_since(&self) -> Option<BootTime> {
        self.busy
    }

    /// Gives it something to do. `Some`: it was done at once.
    pub(super) fn give(&mut self, job: SyncJob, now: BootTime) -> Option<Synced> {
        use std::sync::mpsc::TrySendError::{Disconnected, Full};
        match self.jobs.try_send(job) {
            Ok(()) => {
                self.busy = Some(now);
                None
            }
            Err(Full(job) | Disconnected(job)) => Some(self.run(job)),
        }
    }

    /// Does something at once, on the thread of whoever asks.
    pub(super) fn run(&self, job: SyncJob) -> Synced {
        job.run(&*self.disk)
    }

    /// What it has done. Whoever looks has the lock of the log.
    pub(super) fn look(&mut self) -> Option<Synced> {
        match self.done.try_recv() {
            Err(TryRecvError::Empty) => None,
            done => {
                self.busy = None;
                done.ok()
            }
        }
    }

    /// Waits for what it does.
    pub(super) fn wait(&mut self) -> Option<Synced> {
        self.busy.take().and_then(|_| self.done.recv().ok())
    }
}
