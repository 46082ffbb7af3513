//! The async shell around the schedule: starts attempts when they are due, hands on what they found,
//! takes new plans over without moving the targets that stay the same.

mod absence;
mod command;
mod output;
mod replace;
mod state;
mod stats;
mod trace;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::base::clock::{self, Moment, Timestamp};
use crate::base::turn;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::selfmetrics::{Counter, Meter};
use crate::probe::attempt::{Tools, attempt};
use crate::probe::plan::{PlannedTarget, TargetKey};
use crate::probe::publish::Published;
use crate::probe::run::absence::Absence;
use crate::probe::run::output::Output;
use crate::probe::run::state::State;
use crate::probe::run::stats::Stats;
use crate::probe::run::trace::trace;
use crate::probe::schedule::{Key, MAX_WAIT, Schedule, Slot};
use crate::signal::names;
use crate::signal::outcome::{Kind, Reason, Skip, SlotResult, Verdict};
use crate::signal::payload::{Event, Payload, What};
pub use command::{Command, ProberHandle, Replacement};

/// How long attempts in flight may still take when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// An attempt ends at least this long before its target's next slot, however long its timeout.
const MARGIN: Duration = Duration::from_millis(50);

/// Targets that are handled before attempts get their turn.
const STRETCH: usize = 500;
/// Slots that are begun, and attempts whose ends are booked, before others get their turn.
const AT_ONCE: usize = 200;

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
    /// Slots that have come due and are not begun.
    due: VecDeque<Slot>,
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
            schedule: Schedule::new(),
            due: VecDeque::new(),
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
        let mut absence = Absence::new(clock::now());
        loop {
            self.look(&mut absence);
            if !self.due.is_empty() {
                // Those that have begun get their turn.
                tokio::task::yield_now().await;
                continue;
            }
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
                        if let Some(settings) = resolver {
                            self.tools.resolver.settle(settings);
                        }
                        self.replace(plans, outlets, &mut absence).await;
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

    /// Books what has ended, and starts what is due.
    fn look(&mut self, absence: &mut Absence) {
        let now = clock::now();
        self.heartbeat.store(now.boot.0.as_nanos() as u64, Ordering::Relaxed);
        let mut out = Output::default();
        self.due.extend(self.schedule.due(now.boot, absence.since_last(now)));
        // Ended attempts are older than due ones, and are written first.
        let mut ended = 0;
        while ended < AT_ONCE
            && let Some(done) = self.attempts.try_join_next_with_id()
        {
            self.done(done, &mut out);
            ended += 1;
        }
        for slot in self.due.drain(..self.due.len().min(AT_ONCE)).collect::<Vec<_>>() {
            self.start(slot, &now, &mut out);
        }
        self.offer(out);
    }

    /// Gives way to attempts, and starts what has come due meanwhile.
    async fn give_way(&mut self, out: &mut Output, absence: &mut Absence) {
        self.offer(std::mem::take(out));
        tokio::task::yield_now().await;
        self.look(absence);
        // Both together would be a long turn.
        tokio::task::yield_now().await;
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
        let handle = turn::join(&mut self.attempts, async move {
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
