//! Reads the host when it is due: one thread for each lane, so that a mount that hangs or a sensor
//! that is slow delays nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::clock::{self, BootTime, Timestamp};
use crate::host::collector::{Collector, Lane};
use crate::host::kernel::{Kernel, Real};
use crate::host::settings::Settings;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::selfmetrics::Meter;
use crate::signal::batch::{Batch, Sample};
use crate::signal::payload::Payload;

/// A thread looks at the clock this often at least: while the machine sleeps, waiting stands still.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The first reading comes after the end of what was read before, in a later millisecond: of two
/// samples at the same one, backends keep the first.
const AFTER_THE_END: Duration = Duration::from_millis(10);
/// Commands that wait for a thread that hangs.
const COMMANDS: usize = 8;

/// A `host_metrics` receiver.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// The name, such as `hostmetrics/fs`.
    pub name: Arc<str>,
    /// What it reads.
    pub settings: Arc<Settings>,
    /// What is written about it, in one number.
    pub fingerprint: u64,
}

enum Command {
    Replace { plans: Vec<HostPlan>, outlets: BTreeMap<Arc<str>, Outlet>, done: oneshot::Sender<()> },
    Stop { done: oneshot::Sender<()> },
}

/// Reads the host for all receivers.
pub struct Host {
    meter: Arc<Meter>,
    /// When the machine started: fixed once, because it trembles with the clock.
    boot: Timestamp,
    lanes: BTreeMap<Lane, SyncSender<Command>>,
}

impl Host {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(meter: Arc<Meter>) -> Self {
        let boot = clock::now().wall_at(BootTime::default());
        Self { meter, boot, lanes: BTreeMap::new() }
    }

    /// Reads what these receivers want from now on, into these outlets. Receivers that stay as they
    /// are go on; what others told ends. Returns marks that are set when each thread has taken it
    /// over: one that hangs in the kernel takes its time.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn replace(
        &mut self,
        plans: &[HostPlan],
        outlets: &BTreeMap<String, Outlet>,
    ) -> std::io::Result<Vec<oneshot::Receiver<()>>> {
        let mut marks = Vec::new();
        for lane in Lane::ALL {
            let any = |plan: &&HostPlan| {
                lane.readers().iter().any(|reader| plan.settings.wanted.any(reader))
            };
            let plans: Vec<HostPlan> = plans.iter().filter(any).cloned().collect();
            if plans.is_empty() && !self.lanes.contains_key(&lane) {
                continue;
            }
            let outlets = plans
                .iter()
                .filter_map(|p| Some((Arc::clone(&p.name), outlets.get(&*p.name)?.clone())))
                .collect();
            let (done, mark) = oneshot::channel();
            let command = Command::Replace { plans, outlets, done };
            if self.lane(lane)?.try_send(command).is_err() {
                tracing::error!(lane = lane.name(), "hangs: it goes on as it was");
            }
            marks.push(mark);
        }
        Ok(marks)
    }

    /// Reads nothing more. Returns marks as [`Host::replace`] does.
    pub fn stop(&mut self) -> Vec<oneshot::Receiver<()>> {
        let mut marks = Vec::new();
        for commands in std::mem::take(&mut self.lanes).into_values() {
            let (done, mark) = oneshot::channel();
            if commands.try_send(Command::Stop { done }).is_ok() {
                marks.push(mark);
            }
        }
        marks
    }

    fn lane(&mut self, lane: Lane) -> std::io::Result<&SyncSender<Command>> {
        use std::collections::btree_map::Entry;
        match self.lanes.entry(lane) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let (sender, commands) = mpsc::sync_channel(COMMANDS);
                let reader = LaneReader {
                    lane,
                    kernel: Arc::new(Real),
                    meter: Arc::clone(&self.meter),
                    boot: self.boot,
                    collectors: Vec::new(),
                };
                std::thread::Builder::new()
                    .name(lane.name().to_owned())
                    .spawn(move || reader.run(&commands))?;
                Ok(entry.insert(sender))
            }
        }
    }
}

/// A receiver's part of a lane.
struct Due {
    plan: HostPlan,
    outlet: Outlet,
    collector: Collector,
    next: BootTime,
}

struct LaneReader {
    lane: Lane,
    kernel: Arc<dyn Kernel>,
    meter: Arc<Meter>,
    boot: Timestamp,
    collectors: Vec<Due>,
}

impl LaneReader {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let now = clock::now().boot;
            let next = self.collectors.iter().map(|due| due.next).min();
            let wait = next.map_or(MAX_WAIT, |next| next.since(now).min(MAX_WAIT));
            match commands.recv_timeout(wait) {
                Ok(Command::Replace { plans, outlets, done }) => {
                    self.replace(plans, &outlets);
                    let _ = done.send(());
                }
                Ok(Command::Stop { done }) => {
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            for due in &mut self.collectors {
                due.turn();
            }
        }
    }

    fn replace(&mut self, plans: Vec<HostPlan>, outlets: &BTreeMap<Arc<str>, Outlet>) {
        let mut before = std::mem::take(&mut self.collectors);
        for plan in plans {
            let Some(outlet) = outlets.get(&plan.name) else { continue };
            let same =
                |due: &Due| due.plan.name == plan.name && due.plan.fingerprint == plan.fingerprint;
            if let Some(at) = before.iter().position(same) {
                let mut due = before.swap_remove(at);
                let left = due.outlet.without(outlet);
                due.farewell(&left);
                due.outlet = outlet.clone();
                self.collectors.push(due);
                continue;
            }
            let Some(mut collector) = Collector::new(&plan.settings, self.lane, &self.kernel)
            else {
                continue;
            };
            collector.tell(&self.meter, &plan.name);
            collector.started(self.boot);
            let next = clock::now().boot + plan.settings.initial_delay.max(AFTER_THE_END);
            self.collectors.push(Due { outlet: outlet.clone(), collector, next, plan });
        }
        for due in before {
            due.farewell(&due.outlet);
        }
    }
}

impl Due {
    /// Reads, when it is due.
    fn turn(&mut self) {
        let now = clock::now();
        if now.boot < self.next {
            return;
        }
        let samples = self.collector.collect(now);
        self.offer(samples, &self.outlet);
        // Slots that were missed, while the machine slept or a device hung, are not caught up.
        let interval = self.plan.settings.interval;
        let late = clock::now().boot.since(self.next).as_nanos() / interval.as_nanos().max(1);
        let slots = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
        self.next = self.next + interval.saturating_mul(slots);
    }

    fn farewell(&self, outlet: &Outlet) {
        if !outlet.is_deaf() {
            self.offer(self.collector.farewell(clock::wall()), outlet);
        }
    }

    fn offer(&self, samples: Vec<Sample>, outlet: &Outlet) {
        let lifetime = Some(self.plan.settings.interval * 2);
        outlet.offer(Payload::Metrics(Batch { samples, lifetime }));
    }
}
