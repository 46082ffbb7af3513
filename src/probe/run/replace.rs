//! How other targets take the place of those that are watched, while attempts go on.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::absence::Absence;
use super::output::Output;
use super::{Prober, STRETCH, Watched};
use crate::base::clock::{self, BootTime, Moment, Timestamp};
use crate::base::hash::stable_64;
use crate::pipeline::outlet::Outlet;
use crate::probe::plan::{PlannedTarget, ReceiverPlan, TargetKey};
use crate::probe::publish::{Counts, Published};
use crate::probe::schedule::{FIRST_SPREAD, Key};
use crate::signal::batch::Batch;
use crate::signal::payload::{Event, Payload, What};

/// Between the first attempts at addresses of a subnet.
const SUBNET_PACE: Duration = Duration::from_millis(20);

impl Prober {
    /// Applies plans: what is gone ends, what is new begins, what is the same does not notice. Attempts go on meanwhile.
    pub(super) async fn replace(
        &mut self,
        plans: Vec<ReceiverPlan>,
        outlets: Option<BTreeMap<String, Outlet>>,
        absence: &mut Absence,
    ) {
        let starting = self.stats.is_empty();
        let mut out = Output::default();
        let plans: BTreeMap<Arc<str>, ReceiverPlan> =
            plans.into_iter().map(|plan| (Arc::from(plan.name.as_str()), plan)).collect();
        self.forget_others(&plans, &mut out, absence).await;
        // Series that end do so where they were exported.
        self.offer(std::mem::take(&mut out));
        if let Some(outlets) = outlets {
            self.reroute(outlets, absence).await;
        }
        let mut now = clock::now();
        let mut fresh = Vec::new();
        let mut seen = 0;
        for (name, receiver) in &plans {
            self.stats_for(name).targets.set(receiver.targets.len() as f64);
            for (key, plan) in &receiver.targets {
                match self.keys.get(&(Arc::clone(name), key.clone())) {
                    Some(known) => self.change(*known, receiver, plan, &now, &mut out),
                    None => fresh.push((Arc::clone(name), receiver, plan)),
                }
                seen += 1;
                if seen % STRETCH == 0 {
                    self.give_way(&mut out, absence).await;
                    now = clock::now();
                }
            }
        }
        let (count, begun) = (fresh.len().max(1) as u32, now.boot);
        for (n, (name, receiver, plan)) in fresh.into_iter().enumerate() {
            // At start the extra slots are paced; what appears later is probed at once. A subnet is
            // always paced: the kernel looks for all of its addresses.
            let spread = match plan.expected {
                true if !starting => Duration::ZERO,
                true => plan.interval.min(FIRST_SPREAD) / count * n as u32,
                false => plan.interval.min(SUBNET_PACE * n as u32),
            };
            self.watch(&name, receiver, plan, begun + spread, &now, &mut out);
            if (n + 1) % STRETCH == 0 {
                self.give_way(&mut out, absence).await;
                now = clock::now();
            }
        }
        for (name, stats) in &self.stats {
            if !plans.contains_key(name) {
                stats.targets.set(0.0);
            }
        }
        self.offer(out);
        // Many thousands of targets take their time to be dropped.
        drop(tokio::task::spawn_blocking(move || drop(plans)));
    }

    /// Ends the targets that are in no plan.
    async fn forget_others(
        &mut self,
        plans: &BTreeMap<Arc<str>, ReceiverPlan>,
        out: &mut Output,
        absence: &mut Absence,
    ) {
        let is_gone = |(receiver, key): &&(Arc<str>, TargetKey)| {
            plans.get(receiver).is_none_or(|plan| !plan.targets.contains_key(key))
        };
        let mut after = Bound::Unbounded;
        loop {
            let stretch = self.keys.range((after, Bound::Unbounded)).take(STRETCH);
            let stretch: Vec<&(Arc<str>, TargetKey)> = stretch.map(|(name, _)| name).collect();
            let Some(last) = stretch.last().map(|name| (*name).clone()) else { return };
            let gone: Vec<_> = stretch.into_iter().filter(is_gone).cloned().collect();
            let now = clock::now().wall;
            for name in gone {
                self.forget(&name, now, out);
            }
            after = Bound::Excluded(last);
            self.give_way(out, absence).await;
        }
    }

    /// Series end where their samples do not go any more.
    async fn reroute(&mut self, outlets: BTreeMap<String, Outlet>, absence: &mut Absence) {
        let next: BTreeMap<Arc<str>, Outlet> =
            outlets.into_iter().map(|(name, outlet)| (name.into(), outlet)).collect();
        // Nothing goes the old way after its end.
        let before = std::mem::replace(&mut self.outlets, next);
        for (name, before) in &before {
            let next = self.outlets.get(name);
            let lost = next.map_or_else(|| before.clone(), |next| before.without(next));
            if lost.is_deaf() {
                continue;
            }
            let of_receiver = self.watched.iter().filter(|(_, watched)| watched.receiver == *name);
            let keys: Vec<Key> = of_receiver.map(|(key, _)| *key).collect();
            for stretch in keys.chunks(STRETCH) {
                let now = clock::now().wall;
                let mut samples = Vec::new();
                for watched in stretch.iter().filter_map(|key| self.watched.get(key)) {
                    watched.published.end(now, &mut samples);
                }
                lost.offer(Payload::Metrics(Batch { samples, lifetime: None }));
                self.give_way(&mut Output::default(), absence).await;
            }
        }
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
                // Attempts in flight began under the old labels, which end here.
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
}

fn hash(receiver: &str, key: &TargetKey) -> u64 {
    stable_64(format!("{receiver}\0{}\0{}", key.address, key.module).as_bytes())
}
