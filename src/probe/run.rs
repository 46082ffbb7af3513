//! The async shell around the schedule: starts attempts when they are due, hands on what they found,
//! takes new plans over without moving the targets that stay the same.

mod command;
mod output;
mod state;
mod stats;
mod trace;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::base::clock::{self, BootTime, Moment, Timestamp};
use crate::base::hash::stable_64;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::selfmetrics::{Counter, Meter};
use crate::probe::attempt::{Tools, attempt};
use crate::probe::plan::{PlannedTarget, ReceiverPlan, TargetKey};
use crate::probe::publish::{Counts, Published};
use crate::probe::run::output::Output;
use crate::probe::run::state::State;
use crate::probe::run::stats::Stats;
use crate::probe::run::trace::trace;
use crate::probe::schedule::{FIRST_SPREAD, Key, MAX_WAIT, Schedule, Slot};
use crate::signal::batch::Batch;
use crate::signal::names;
use crate::signal::outcome::{Kind, Reason, Skip, SlotResult, Verdict};
use crate::signal::payload::{Event, Payload, What};
pub use command::{Command, ProberHandle, Replacement};

/// How long attempts in flight may still take when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Between the first attempts at addresses of a subnet.
const SUBNET_PACE: Duration = Duration::from_millis(20);
/// An attempt ends at least this long before its target's next slot, however long its timeout.
const MARGIN: Duration = Duration::from_millis(50);

struct Watched {
    receiver: Arc<str>,
    plan: Arc<PlannedTarget>,
    published: Published,
    flying: Option<(Kind, AbortHandle)>,
    up: Option<bool>,
    /// Whether it has been up, or somebody says that it is there.
    seen: bool,
}

impl Watched {
    fn state(&self) -> State {
        match self.up {
            Some(true) => State::Up,
            Some(false) if !self.seen => State::NeverSeen,
            Some(false) => State::Down,
            None => State::Waiting,
        }
    }
}

struct Done {
    lateness: Duration,
    result: SlotResult,
}

/// An attempt in flight, and where it is booked when it ends.
struct Flight {
    key: Key,
    kind: Kind,
    due: Timestamp,
    receiver: Arc<str>,
}

/// Probes everything that it is told to.
pub struct Prober {
    tools: Tools,
    /// Where events go.
    outlet: Outlet,
    /// Where samples go, by receiver.
    outlets: BTreeMap<Arc<str>, Outlet>,
    meter: Arc<Meter>,
    limit: usize,
    commands: mpsc::Receiver<Command>,
    heartbeat: Arc<AtomicU64>,
    schedule: Schedule,
    watched: HashMap<Key, Watched>,
    keys: BTreeMap<(Arc<str>, TargetKey), Key>,
    next_key: u32,
    stats: HashMap<Arc<str>, Stats>,
    attempts: JoinSet<Done>,
    flying: HashMap<tokio::task::Id, Flight>,
    unclassified: Counter,
}

impl Prober {
    /// A prober that watches nothing yet. `outlet` takes its events; `limit` bounds the attempts in
    /// flight.
    #[must_use]
    pub fn new(
        tools: Tools,
        outlet: Outlet,
        meter: Arc<Meter>,
        limit: usize,
    ) -> (Self, ProberHandle) {
        let (sender, commands) = mpsc::channel(8);
        let heartbeat = Arc::new(AtomicU64::new(0));
        let handle = ProberHandle { commands: sender, heartbeat: Arc::clone(&heartbeat) };
        let unclassified = meter.counter(&names::UNCLASSIFIED, &[]);
        let prober = Self {
            tools,
            outlet,
            outlets: BTreeMap::new(),
            meter,
            limit,
            commands,
            heartbeat,
            schedule: Schedule::new(clock::now().boot),
            watched: HashMap::new(),
            keys: BTreeMap::new(),
            next_key: 0,
            stats: HashMap::new(),
            attempts: JoinSet::new(),
            flying: HashMap::new(),
            unclassified,
        };
        (prober, handle)
    }

    /// Runs until it is stopped.
    pub async fn run(mut self) {
        loop {
            let now = clock::now();
            self.heartbeat.store(now.boot.0.as_nanos() as u64, Ordering::Relaxed);
            let mut out = Output::default();
            // What has ended is older than what comes due, and is written first.
            while let Some(done) = self.attempts.try_join_next_with_id() {
                self.done(done, &mut out);
            }
            for slot in self.schedule.due(now.boot) {
                self.start(slot, &now, &mut out);
            }
            self.offer(out);
            let wait = self
                .schedule
                .next()
                .map_or(MAX_WAIT, |due| due.since(clock::now().boot))
                .min(MAX_WAIT);
            tokio::select! {
                biased;
                Some(done) = self.attempts.join_next_with_id() => {
                    let mut out = Output::default();
                    self.done(done, &mut out);
                    self.offer(out);
                }
                command = self.commands.recv() => match command {
                    Some(Command::Replace(Replacement { plans, outlets, resolver, done })) => {
                        if let Some(resolver) = resolver {
                            self.tools.resolver = resolver;
                        }
                        self.replace(plans, outlets);
                        let _ = done.send(());
                    }
                    Some(Command::Stop(answer)) => {
                        self.stop().await;
                        let _ = answer.send(());
                        return;
                    }
                    None => return self.stop().await,
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn start(&mut self, slot: Slot, now: &Moment, out: &mut Output) {
        let due = now.wall_at(slot.due);
        let Some(watched) = self.watched.get_mut(&slot.key) else { return };
        let stats = self.stats.get_mut(&watched.receiver).expect("a watched target has a receiver");
        stats.due.add(1);
        let before = watched.flying.as_ref().map(|(kind, _)| *kind);
        let refused = match slot.decision {
            Err(skip) => Some((skip, "the slot came up too late")),
            // Attempts of one target never overlap.
            Ok(()) if before == Some(Kind::Scheduled) => {
                Some((Skip::Overload, "the attempt before it has not ended"))
            }
            Ok(()) if self.attempts.len() >= self.limit => Some((
                Skip::NoDescriptor,
                "as many attempts are in flight as file descriptors allow",
            )),
            Ok(()) => None,
        };
        if let Some((skip, why)) = refused {
            let result = SlotResult::Skipped(skip, why.to_owned());
            return self.finish(slot.key, slot.kind, due, result, out);
        }
        // An extra attempt that still runs gives way.
        if let Some((_, running)) = watched.flying.take() {
            running.abort();
        }
        let (plan, tools, at) = (Arc::clone(&watched.plan), self.tools.clone(), slot.due);
        let handle = self.attempts.spawn(async move {
            let began = clock::now().boot;
            // Whatever it finds, it has found it before the next slot.
            let margin = (plan.interval / 20).min(MARGIN);
            let left = (at + plan.interval).since(began).saturating_sub(margin);
            let timeout = plan.timeout.min(left);
            let result = attempt(&plan.module, &plan.address, timeout, &tools).await;
            Done { lateness: began.since(at), result }
        });
        stats.flying += 1;
        stats.in_flight.set(stats.flying as f64);
        let receiver = Arc::clone(&watched.receiver);
        let flight = Flight { key: slot.key, kind: slot.kind, due, receiver };
        self.flying.insert(handle.id(), flight);
        watched.flying = Some((slot.kind, handle));
    }

    fn done(&mut self, joined: Result<(tokio::task::Id, Done), JoinError>, out: &mut Output) {
        let (id, result) = match joined {
            Ok((id, done)) => (id, Ok(done)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(Flight { key, kind, due, receiver }) = self.flying.remove(&id) else { return };
        let stats = self.stats.get_mut(&receiver).expect("a flight has a receiver");
        stats.flying = stats.flying.saturating_sub(1);
        stats.in_flight.set(stats.flying as f64);
        let Some(watched) = self.watched.get_mut(&key) else {
            // The target went away while it was tried.
            return stats.cancelled.add(1);
        };
        if watched.flying.as_ref().is_some_and(|(_, handle)| handle.id() == id) {
            watched.flying = None;
        }
        let result = match result {
            Ok(done) => {
                stats.lateness.record(done.lateness);
                done.result
            }
            Err(error) if error.is_cancelled() => SlotResult::Cancelled,
            Err(error) => {
                tracing::error!(%error, "an attempt panicked");
                self.unclassified.add(1);
                SlotResult::Skipped(Skip::Internal, error.to_string())
            }
        };
        self.finish(key, kind, due, result, out);
    }

    /// Books the end of a slot, and publishes what there is to publish.
    fn finish(
        &mut self,
        key: Key,
        kind: Kind,
        due: Timestamp,
        result: SlotResult,
        out: &mut Output,
    ) {
        let Some(watched) = self.watched.get_mut(&key) else { return };
        let receiver = Arc::clone(&watched.receiver);
        let stats = self.stats.get_mut(&receiver).expect("a watched target has a receiver");
        let name = &watched.published.target.instance;
        let before = watched.state();
        match &result {
            SlotResult::Outcome(outcome) => match outcome.verdict {
                Verdict::Up => {
                    stats.ok.add(1);
                    if watched.up == Some(false) && stats.may_log_change(&receiver) {
                        tracing::info!(probe.target = %name, receiver = %receiver, "target is up");
                    }
                    watched.up = Some(true);
                    watched.seen = true;
                }
                Verdict::Down { reason, phase } => {
                    stats.ended(&self.meter, &receiver, "failed", reason.word());
                    if reason == Reason::Unclassified {
                        self.unclassified.add(1);
                        tracing::error!(probe.target = %name, detail = %outcome.detail, "an error without a name of its own");
                    }
                    if watched.seen && watched.up != Some(false) && stats.may_log_change(&receiver)
                    {
                        tracing::info!(probe.target = %name, receiver = %receiver, %reason, %phase, detail = %outcome.detail, "target is down");
                    }
                    watched.up = Some(false);
                }
            },
            SlotResult::Skipped(skip, why) => {
                stats.ended(&self.meter, &receiver, "skipped", skip.word());
                let now = clock::now().boot;
                if stats.logged.entry(*skip).or_default().passes(now) {
                    tracing::warn!(probe.target = %name, receiver = %receiver, reason = %skip, "slot skipped: {why}");
                }
            }
            SlotResult::Cancelled => stats.cancelled.add(1),
        }
        stats.states.moved(Some(before), Some(watched.state()));
        if let SlotResult::Outcome(outcome) = &result {
            trace(&watched.published.target, kind, outcome);
        }
        let lifetime = watched.plan.interval + watched.plan.timeout;
        let samples = out.samples(&receiver, lifetime);
        watched.published.slot(&watched.plan, kind, due, &result, samples);
        let target = Arc::clone(&watched.published.target);
        let what = What::Slot { kind, result: Arc::new(result) };
        out.events.push(Event { target, due, what });
    }

    /// Takes plans over: what is gone ends, what is new begins, what is the same does not notice.
    fn replace(&mut self, plans: Vec<ReceiverPlan>, outlets: Option<BTreeMap<String, Outlet>>) {
        let now = clock::now();
        let starting = self.stats.is_empty();
        let mut out = Output::default();
        let plans: BTreeMap<Arc<str>, ReceiverPlan> =
            plans.into_iter().map(|plan| (Arc::from(plan.name.as_str()), plan)).collect();
        let gone: Vec<(Arc<str>, TargetKey)> = self
            .keys
            .keys()
            .filter(|(receiver, key)| {
                plans.get(receiver).is_none_or(|plan| !plan.targets.contains_key(key))
            })
            .cloned()
            .collect();
        for name in gone {
            self.forget(&name, now.wall, &mut out);
        }
        // What has ended ends where it was known.
        self.offer(std::mem::take(&mut out));
        if let Some(outlets) = outlets {
            self.reroute(outlets, now.wall);
        }
        let mut fresh = Vec::new();
        for (name, receiver) in &plans {
            self.stats_for(name).targets.set(receiver.targets.len() as f64);
            for (key, plan) in &receiver.targets {
                match self.keys.get(&(Arc::clone(name), key.clone())) {
                    Some(known) => self.change(*known, receiver, plan, &now, &mut out),
                    None => fresh.push((Arc::clone(name), receiver, plan)),
                }
            }
        }
        let count = fresh.len().max(1) as u32;
        for (n, (name, receiver, plan)) in fresh.into_iter().enumerate() {
            // At start the extra slots are paced; what appears later is probed at once. A subnet is
            // always paced: the kernel looks for all of its addresses.
            let spread = match plan.expected {
                true if !starting => Duration::ZERO,
                true => plan.interval.min(FIRST_SPREAD) / count * n as u32,
                false => plan.interval.min(SUBNET_PACE * n as u32),
            };
            let first = now.boot + spread;
            self.watch(&name, receiver, plan, first, &now, &mut out);
        }
        for (name, stats) in &self.stats {
            if !plans.contains_key(name) {
                stats.targets.set(0.0);
            }
        }
        self.offer(out);
    }

    /// Series end where their samples do not go any more.
    fn reroute(&mut self, outlets: BTreeMap<String, Outlet>, now: Timestamp) {
        let next: BTreeMap<Arc<str>, Outlet> =
            outlets.into_iter().map(|(name, outlet)| (name.into(), outlet)).collect();
        for (name, before) in &self.outlets {
            let lost = next.get(name).map_or_else(|| before.clone(), |next| before.without(next));
            if lost.is_deaf() {
                continue;
            }
            let mut samples = Vec::new();
            for watched in self.watched.values().filter(|watched| watched.receiver == *name) {
                watched.published.end(now, &mut samples);
            }
            lost.offer(Payload::Metrics(Batch { samples, lifetime: None }));
        }
        self.outlets = next;
    }

    fn offer(&self, out: Output) {
        if !out.events.is_empty() {
            self.outlet.offer(Payload::Events(out.events));
        }
        for (receiver, batch) in out.batches {
            if let Some(outlet) = self.outlets.get(&receiver) {
                outlet.offer(Payload::Metrics(batch));
            }
        }
    }

    fn stats_for(&mut self, receiver: &Arc<str>) -> &mut Stats {
        let meter = &self.meter;
        self.stats.entry(Arc::clone(receiver)).or_insert_with(|| Stats::new(meter, receiver))
    }

    fn watch(
        &mut self,
        name: &Arc<str>,
        receiver: &ReceiverPlan,
        plan: &PlannedTarget,
        first: BootTime,
        now: &Moment,
        out: &mut Output,
    ) {
        let key = Key(self.next_key);
        self.next_key += 1;
        let published = Published::new(receiver, plan, now.wall, &Counts::default());
        let event =
            Event { target: Arc::clone(&published.target), due: now.wall, what: What::Appeared };
        out.events.push(event);
        self.schedule.insert(key, hash(name, &plan.key), plan.interval, now.boot, Some(first));
        self.keys.insert((Arc::clone(name), plan.key.clone()), key);
        let (seen, plan) = (plan.expected, Arc::new(plan.clone()));
        let receiver = Arc::clone(name);
        let watched = Watched { receiver, plan, published, flying: None, up: None, seen };
        self.stats_for(name).states.moved(None, Some(watched.state()));
        self.watched.insert(key, watched);
    }

    /// A target that stays: its counters live on, its phase too while the interval is the same.
    fn change(
        &mut self,
        key: Key,
        receiver: &ReceiverPlan,
        plan: &PlannedTarget,
        now: &Moment,
        out: &mut Output,
    ) {
        let watched = self.watched.get_mut(&key).expect("a known key is watched");
        let before = watched.state();
        watched.seen |= plan.expected;
        let stats = self.stats.get_mut(&watched.receiver).expect("a watched target has a receiver");
        stats.states.moved(Some(before), Some(watched.state()));
        if watched.plan.same(plan) && watched.published.suits(receiver) {
            return;
        }
        let interval = watched.plan.interval;
        let event = |target, what| Event { target, due: now.wall, what };
        let relabelled = watched.plan.labels != plan.labels || !watched.published.suits(receiver);
        if relabelled || watched.plan.name != plan.name || watched.plan.expected != plan.expected {
            out.events.push(event(Arc::clone(&watched.published.target), What::Disappeared));
            let samples = out.samples(&watched.receiver, Duration::ZERO);
            if relabelled {
                let (start, counts) = (watched.published.start(), watched.published.counts());
                // What is in flight was begun under the old labels, which end here.
                if let Some((_, running)) = watched.flying.take() {
                    running.abort();
                }
                watched.published.end(now.wall, samples);
                watched.published = Published::new(receiver, plan, start, &counts);
            } else {
                watched.published.rename(plan, now.wall, samples);
            }
            out.events.push(event(Arc::clone(&watched.published.target), What::Appeared));
        }
        watched.plan = Arc::new(plan.clone());
        if interval != plan.interval {
            let receiver = Arc::clone(&watched.receiver);
            self.schedule.insert(key, hash(&receiver, &plan.key), plan.interval, now.boot, None);
        }
    }

    fn forget(&mut self, name: &(Arc<str>, TargetKey), now: Timestamp, out: &mut Output) {
        let Some(key) = self.keys.remove(name) else { return };
        self.schedule.remove(key);
        let Some(watched) = self.watched.remove(&key) else { return };
        self.stats_for(&watched.receiver).states.moved(Some(watched.state()), None);
        if let Some((_, running)) = watched.flying {
            running.abort();
        }
        let target = Arc::clone(&watched.published.target);
        out.events.push(Event { target, due: now, what: What::Disappeared });
        watched.published.end(now, out.samples(&watched.receiver, Duration::ZERO));
    }

    /// Lets attempts in flight end, for a while, then cuts them off.
    async fn stop(&mut self) {
        let deadline = tokio::time::Instant::now() + STOP_GRACE;
        let mut out = Output::default();
        while let Ok(Some(done)) =
            tokio::time::timeout_at(deadline, self.attempts.join_next_with_id()).await
        {
            self.done(done, &mut out);
        }
        self.attempts.abort_all();
        while let Some(done) = self.attempts.join_next_with_id().await {
            self.done(done, &mut out);
        }
        self.offer(out);
    }
}

fn hash(receiver: &str, key: &TargetKey) -> u64 {
    stable_64(format!("{receiver}\0{}\0{}", key.address, key.module).as_bytes())
}
