//! Signals, the end, and what systemd is told.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::oneshot;

use crate::app::page::STUCK;
use crate::base::clock::{self, BootTime};
use crate::probe::ProberHandle;

/// Stopping takes no longer than this.
pub const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How long a thread that reads the host may take to change over.
const HOST_PATIENCE: Duration = Duration::from_secs(1);

/// How long the watchdog is fed during one piece of work.
const FED_DURING: Duration = Duration::from_secs(60);

/// How the daemon ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// In order; by exporter, the samples that were never taken over.
    Drained {
        /// Name and number of samples.
        lost: Vec<(String, u64)>,
    },
    /// A second signal cut the drain short.
    Killed,
    /// A part of us ended by itself.
    Broken,
}

/// What a signal asks for.
pub(super) enum Signal {
    /// Stop; the signal's name.
    Stop(&'static str),
    /// Read the target files again.
    Reload,
}

/// The signals that we listen to.
pub(super) struct Signals {
    terminate: Option<Stream>,
    interrupt: Option<Stream>,
    hangup: Option<Stream>,
    /// One that has come and has not been answered yet.
    kept: Option<&'static str>,
}

impl Signals {
    pub(super) fn new() -> Self {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| tracing::warn!(%error, "a signal cannot be listened to"))
                .ok()
        };
        Self {
            terminate: listen(SignalKind::terminate()),
            interrupt: listen(SignalKind::interrupt()),
            hangup: listen(SignalKind::hangup()),
            kept: None,
        }
    }

    /// Listens to nothing.
    pub(super) fn none() -> Self {
        Self { terminate: None, interrupt: None, hangup: None, kept: None }
    }

    /// Waits for a signal to stop, and keeps it for [`Signals::next`].
    pub(super) async fn asked_to_stop(&mut self) {
        if self.kept.is_none() {
            let name = tokio::select! {
                () = arrives(&mut self.terminate) => "SIGTERM",
                () = arrives(&mut self.interrupt) => "SIGINT",
            };
            self.kept = Some(name);
        }
    }

    pub(super) async fn next(&mut self) -> Signal {
        if let Some(name) = self.kept.take() {
            return Signal::Stop(name);
        }
        tokio::select! {
            () = arrives(&mut self.terminate) => Signal::Stop("SIGTERM"),
            () = arrives(&mut self.interrupt) => Signal::Stop("SIGINT"),
            () = arrives(&mut self.hangup) => Signal::Reload,
        }
    }

    /// Waits for another signal to stop.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, Signal::Stop(_)) {}
    }
}

async fn arrives(stream: &mut Option<Stream>) {
    let arrived = match stream {
        Some(stream) => stream.recv().await,
        None => None,
    };
    if arrived.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Feeds systemd's watchdog while the schedule is looked at.
pub(super) struct Watchdog {
    every: Option<tokio::time::Interval>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        let every = sd_notify::watchdog_enabled().map(|limit| tokio::time::interval(limit / 2));
        Self { every }
    }

    /// Tells that everything has been started.
    pub(super) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    pub(super) async fn due(&mut self) {
        match &mut self.every {
            Some(every) => drop(every.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Waits for work of the main loop, and feeds meanwhile; not for ever, because the work may hang.
    pub(super) async fn during<T>(
        &mut self,
        prober: &ProberHandle,
        work: impl Future<Output = T>,
    ) -> T {
        let until = tokio::time::Instant::now() + FED_DURING;
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.due(), if tokio::time::Instant::now() < until => {
                    self.feed(prober.heartbeat());
                }
            }
        }
    }

    pub(super) fn feed(&self, heartbeat: BootTime) {
        if clock::now().boot.since(heartbeat) < STUCK {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the schedule is stuck: the watchdog is not fed");
        }
    }
}

/// Tells that the end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

/// Waits until the threads that read the host have taken a change over; one that hangs in the kernel
/// is not waited for.
pub(super) async fn wait_for(marks: Vec<oneshot::Receiver<()>>) {
    let all = async {
        for mark in marks {
            let _ = mark.await;
        }
    };
    let _ = tokio::time::timeout(HOST_PATIENCE, all).await;
}
