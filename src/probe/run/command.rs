//! What the daemon asks of the prober, and the other end of a running one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::base::clock::BootTime;
use crate::net::resolve::ResolverSettings;
use crate::pipeline::outlet::Outlet;
use crate::probe::plan::ReceiverPlan;

/// What the daemon asks of the prober.
pub enum Command {
    /// Watch these from now on.
    Replace(Replacement),
    /// Start nothing more; answer when everything in flight has ended.
    Stop(oneshot::Sender<()>),
}

/// What is watched from now on, and where its samples go.
pub struct Replacement {
    /// What is watched.
    pub plans: Vec<ReceiverPlan>,
    /// Where the samples of a receiver go, by its name; `None`: where they went before.
    pub outlets: Option<BTreeMap<String, Outlet>>,
    /// Who is asked for names from now on; `None`: the same as before.
    pub resolver: Option<ResolverSettings>,
    /// Told when it is done: nothing more goes the old way.
    pub done: oneshot::Sender<()>,
}

/// The other end of a running prober.
#[derive(Clone)]
pub struct ProberHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) heartbeat: Arc<AtomicU64>,
}

impl ProberHandle {
    /// Hands a command over.
    pub async fn send(&self, command: Command) {
        // The prober ends only after a stop: nobody is left to ask then.
        let _ = self.commands.send(command).await;
    }

    /// When the schedule was last looked at; it is at least every second.
    #[must_use]
    pub fn heartbeat(&self) -> BootTime {
        BootTime(Duration::from_nanos(self.heartbeat.load(Ordering::Relaxed)))
    }
}
