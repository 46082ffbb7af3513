//! What is published about one target: its series, its counters, and the end of each series that a
//! slot does not carry. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::hash::stable_64;
use watchpost_targets::without_userinfo;

use crate::probe::address::sort_key;
use crate::probe::plan::{PlannedTarget, ReceiverPlan};
use crate::probe::readings::{Own, Reading, readings};
use crate::signal::any_value::AnyValue;
use crate::signal::batch::{Exponential, Sample, Value};
use crate::signal::names::{
    PROBE_ATTEMPTS, PROBE_FAILURES, PROBE_LATENCY, PROBE_SSL_LAST_CHAIN_INFO, PROBE_TARGET_INFO,
};
use crate::signal::outcome::{Kind, Outcome, Phase, Reason, SlotResult, Verdict};
use crate::signal::payload::TargetRef;
use crate::signal::series::{
    Attributes, Metric, Resource, SERVICE_INSTANCE_ID, SERVICE_NAME, Series,
};

/// Certificates of a target whose facts are published within a time.
const MAX_CERTIFICATES: usize = 20;
/// That time.
const CERTIFICATES_WITHIN: Duration = Duration::from_secs(3_600);

struct Failures {
    reason: Reason,
    phase: Phase,
    count: u64,
    /// Whether the 0 that comes before the first failure has been written.
    born: bool,
    /// When it began to count: never after its first sample.
    start: Timestamp,
    series: Arc<Series>,
}

impl Failures {
    fn sample(&self, time: Timestamp, count: u64) -> Sample {
        let value = Value::Int(count as i64);
        Sample { series: Arc::clone(&self.series), start: Some(self.start), time, value }
    }
}

struct Attempts {
    kind: Kind,
    count: u64,
    series: Arc<Series>,
}

/// The counters of a target: they outlive a change of its labels.
#[derive(Default)]
pub(super) struct Counts {
    attempts: Vec<(Kind, u64)>,
    failures: Vec<(Reason, Phase, u64)>,
    latency: Exponential,
}

/// The published side of a target.
pub(super) struct Published {
    /// The target as events name it.
    pub(super) target: Arc<TargetRef>,
    shared: Attributes,
    resource: Arc<Resource>,
    disabled: Arc<BTreeSet<String>>,
    vantage: String,
    info: Arc<Series>,
    start: Timestamp,
    /// Series that the last scheduled slot carried.
    carried: Vec<Arc<Series>>,
    attempts: Vec<Attempts>,
    failures: Vec<Failures>,
    /// Latencies of attempts that found the target up, where they are asked for.
    latency: Option<(Arc<Series>, Exponential)>,
    /// Whether anything has been written that must end one day.
    written: bool,
    /// The slot that was written last: nothing older may follow it.
    last: Timestamp,
    /// The certificates that it has shown lately.
    certificates: Certificates,
}

/// The certificates of a target whose facts are published. Whoever owns them may show others each time, and each makes
/// a series that backends keep for long.
#[derive(Default)]
struct Certificates {
    since: Timestamp,
    known: Vec<u64>,
}

impl Certificates {
    /// Whether a reading may begin a series.
    fn admit(&mut self, reading: &Reading, now: Timestamp) -> bool {
        let Own::Pairs(pairs) = &reading.own else { return true };
        if !std::ptr::eq(reading.metric, &PROBE_SSL_LAST_CHAIN_INFO) {
            return true;
        }
        if self.known.is_empty() || now.before(CERTIFICATES_WITHIN) > self.since {
            *self = Self { since: now, known: Vec::new() };
        }
        let texts: Vec<&str> = pairs.iter().map(|(_, value)| value.as_str()).collect();
        let this = stable_64(texts.join("\0").as_bytes());
        if !self.known.contains(&this) {
            if self.known.len() >= MAX_CERTIFICATES {
                return false;
            }
            self.known.push(this);
        }
        true
    }
}

impl Published {
    pub(super) fn new(
        receiver: &ReceiverPlan,
        plan: &PlannedTarget,
        start: Timestamp,
        counts: &Counts,
    ) -> Self {
        let instance = without_userinfo(&plan.key.address);
        let (scheme, host, port) = server(plan);
        let mut about: Vec<(&str, AnyValue)> = vec![
            (SERVICE_NAME, receiver.job.as_str().into()),
            (SERVICE_INSTANCE_ID, instance.as_str().into()),
            ("server.address", host.into()),
        ];
        about.extend(port.map(|port| ("server.port", i64::from(port).into())));
        about.extend(scheme.map(|scheme| ("url.scheme", scheme.into())));
        // Another vantage watches the same target: what is told of it is told by each.
        if !receiver.vantage.is_empty() {
            about.push(("vantage", receiver.vantage.as_str().into()));
        }
        let resource = Arc::new(Resource { attributes: Attributes::new(about) });
        let vantage = (!receiver.vantage.is_empty())
            .then(|| ("vantage".to_owned(), receiver.vantage.clone()));
        let shared = Attributes::new(plan.labels.clone().into_iter().chain(vantage));
        let info = info(plan, &shared, &resource);
        let target = Arc::new(TargetRef {
            job: receiver.job.clone(),
            instance,
            module: plan.key.module.clone(),
            name: plan.name.clone(),
            expected: plan.expected,
        });
        let disabled = Arc::new(receiver.disabled.clone());
        let mut this = Self {
            target,
            shared,
            resource,
            disabled,
            vantage: receiver.vantage.clone(),
            info,
            start,
            carried: Vec::new(),
            attempts: Vec::new(),
            failures: Vec::new(),
            latency: None,
            written: false,
            last: Timestamp::default(),
            certificates: Certificates::default(),
        };
        if this.enabled(&PROBE_LATENCY) {
            let series = this.series(&PROBE_LATENCY, Attributes::default());
            this.latency = Some((series, counts.latency.clone()));
        }
        for (kind, count) in &counts.attempts {
            this.attempts(*kind).count = *count;
        }
        for (reason, phase, count) in &counts.failures {
            let failures = this.failures(*reason, *phase);
            failures.count = *count;
            // What was counted before is no failure of now: the series begins with it.
            failures.born = *count > 0;
        }
        this
    }

    /// Its name has changed, or whether it is expected: nothing but that ends.
    pub(super) fn rename(&mut self, plan: &PlannedTarget, at: Timestamp, out: &mut Vec<Sample>) {
        let next = info(plan, &self.shared, &self.resource);
        if next.own != self.info.own {
            let before = std::mem::replace(&mut self.info, next);
            if self.written && self.enabled(&PROBE_TARGET_INFO) {
                out.push(Sample::stale(before, at));
            }
        }
        self.target = Arc::new(TargetRef {
            job: self.target.job.clone(),
            instance: self.target.instance.clone(),
            module: self.target.module.clone(),
            name: plan.name.clone(),
            expected: plan.expected,
        });
    }

    /// The counters, for the target's next life.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            attempts: self.attempts.iter().map(|a| (a.kind, a.count)).collect(),
            failures: self.failures.iter().map(|f| (f.reason, f.phase, f.count)).collect(),
            latency: self.latency.as_ref().map(|(_, l)| l.clone()).unwrap_or_default(),
        }
    }

    /// When its counters began to count.
    pub(super) fn start(&self) -> Timestamp {
        self.start
    }

    fn series(&self, metric: &'static Metric, own: Attributes) -> Arc<Series> {
        Series::new(metric, self.shared.clone(), own, Arc::clone(&self.resource))
    }

    fn attempts(&mut self, kind: Kind) -> &mut Attempts {
        let at = self.attempts.iter().position(|have| have.kind == kind).unwrap_or_else(|| {
            let series = self.series(&PROBE_ATTEMPTS, one_word("kind", kind.word()));
            self.attempts.push(Attempts { kind, count: 0, series });
            self.attempts.len() - 1
        });
        &mut self.attempts[at]
    }

    fn failures(&mut self, reason: Reason, phase: Phase) -> &mut Failures {
        let same = |have: &Failures| have.reason == reason && have.phase == phase;
        let at = self.failures.iter().position(same).unwrap_or_else(|| {
            let own = Attributes::new([("reason", reason.word()), ("phase", phase.word())]);
            let series = self.series(&PROBE_FAILURES, own);
            let start = self.start;
            self.failures.push(Failures { reason, phase, count: 0, born: false, start, series });
            self.failures.len() - 1
        });
        &mut self.failures[at]
    }

    /// Counts the result of a slot, and writes the samples that a scheduled slot writes.
    pub(super) fn slot(
        &mut self,
        plan: &PlannedTarget,
        kind: Kind,
        due: Timestamp,
        result: &SlotResult,
        out: &mut Vec<Sample>,
    ) {
        match result {
            SlotResult::Outcome(outcome) => {
                self.attempts(kind).count += 1;
                match (outcome.verdict, &mut self.latency) {
                    (Verdict::Down { reason, phase }, _) => self.failures(reason, phase).count += 1,
                    (Verdict::Up, Some((_, latency))) => {
                        latency.record(outcome.duration.as_secs_f64())
                    }
                    (Verdict::Up, None) => {}
                }
                if kind == Kind::Scheduled && due > self.last {
                    self.last = due;
                    self.write(plan, outcome, due, out);
                }
            }
            // Time that was not watched is never up.
            SlotResult::Skipped(..) if kind == Kind::Scheduled && due > self.last => {
                self.last = due;
                out.extend(self.carried.drain(..).map(|series| Sample::stale(series, due)));
            }
            SlotResult::Skipped(..) | SlotResult::Cancelled => {}
        }
    }

    fn enabled(&self, metric: &Metric) -> bool {
        self.disabled.is_empty() || !self.disabled.contains(metric.name)
    }

    fn write(
        &mut self,
        plan: &PlannedTarget,
        outcome: &Outcome,
        due: Timestamp,
        out: &mut Vec<Sample>,
    ) {
        self.written = true;
        let mut before = std::mem::take(&mut self.carried);
        let mut carried = Vec::with_capacity(before.len().max(16));
        for reading in readings(&plan.module.prober, outcome, plan.timeout) {
            if !self.enabled(reading.metric) {
                continue;
            }
            let series = match before.iter().position(|series| fits(series, &reading)) {
                Some(at) => before.swap_remove(at),
                None if !self.certificates.admit(&reading, due) => continue,
                None => self.series(reading.metric, attributes(&reading.own)),
            };
            out.push(Sample::number(&series, due, reading.value));
            carried.push(series);
        }
        out.extend(before.into_iter().map(|series| Sample::stale(series, due)));
        self.carried = carried;
        let start = Some(self.start);
        let counter = |series: &Arc<Series>, time, count: u64| Sample {
            series: Arc::clone(series),
            start,
            time,
            value: Value::Int(count as i64),
        };
        if self.enabled(&PROBE_ATTEMPTS) {
            out.extend(self.attempts.iter().map(|a| counter(&a.series, due, a.count)));
        }
        if self.enabled(&PROBE_FAILURES) {
            for failures in &mut self.failures {
                if !failures.born {
                    // Born with a 0 one slot earlier, so that `increase()` sees the first failure; but not in the time
                    // of another process, which may have written something else there.
                    failures.born = true;
                    let birth = due.before(plan.interval).max(failures.start);
                    let birth = birth.min(due.before(Duration::from_millis(1)));
                    failures.start = failures.start.min(birth);
                    out.push(failures.sample(birth, 0));
                }
                out.push(failures.sample(due, failures.count));
            }
        }
        if let Some((series, latency)) = &self.latency {
            let value = Value::Exponential(Arc::new(latency.clone()));
            out.push(Sample { series: Arc::clone(series), start, time: due, value });
        }
        if self.enabled(&PROBE_TARGET_INFO) {
            out.push(Sample::number(&self.info, due, 1.0));
        }
    }

    /// Whether it would be the same for this receiver, as far as that does not change with its name.
    pub(super) fn suits(&self, receiver: &ReceiverPlan) -> bool {
        *self.disabled == receiver.disabled && self.vantage == receiver.vantage
    }

    /// The target is gone, or goes on under other labels or elsewhere: every series that was written
    /// ends.
    pub(super) fn end(&self, at: Timestamp, out: &mut Vec<Sample>) {
        if !self.written {
            return;
        }
        let attempts = self.attempts.iter().map(|a| &a.series);
        let failures = self.failures.iter().filter(|f| f.born).map(|f| &f.series);
        let latency = self.latency.iter().map(|(series, _)| series);
        let all = self.carried.iter().chain(attempts).chain(failures).chain(latency);
        out.extend(
            all.chain([&self.info])
                .filter(|s| !self.disabled.contains(s.metric.name))
                .map(|series| Sample::stale(Arc::clone(series), at)),
        );
    }
}

/// The series with facts of a target.
fn info(plan: &PlannedTarget, shared: &Attributes, resource: &Arc<Resource>) -> Arc<Series> {
    let sort = sort_key(&plan.address);
    let mut info = vec![("sort", sort.as_str()), ("module", plan.key.module.as_str())];
    info.extend(plan.group.as_ref().map(|group| ("group", group.as_str())));
    info.extend(plan.name.as_ref().map(|name| ("name", name.as_str())));
    Series::new(&PROBE_TARGET_INFO, shared.clone(), Attributes::new(info), Arc::clone(resource))
}

fn fits(series: &Series, reading: &Reading) -> bool {
    std::ptr::eq(series.metric, reading.metric)
        && match &reading.own {
            Own::None => series.own.is_empty(),
            Own::Phase(phase) => series.own.text("phase") == Some(phase.word()),
            Own::Pairs(pairs) => {
                pairs.iter().all(|(name, value)| series.own.text(name) == Some(value))
            }
        }
}

fn attributes(own: &Own) -> Attributes {
    match own {
        Own::None => Attributes::default(),
        Own::Phase(phase) => one_word("phase", phase.word()),
        Own::Pairs(pairs) => {
            Attributes::new(pairs.iter().map(|(name, value)| (*name, value.as_str())))
        }
    }
}

/// An attribute whose values are few: made once, shared by the series of all targets.
fn one_word(name: &'static str, word: &'static str) -> Attributes {
    static KNOWN: Mutex<BTreeMap<(&str, &str), Attributes>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry((name, word)).or_insert_with(|| Attributes::new([(name, word)])).clone()
}

/// Scheme, host and port, as OpenTelemetry names the server of a client's call.
fn server(plan: &PlannedTarget) -> (Option<&str>, String, Option<u16>) {
    use crate::probe::address::Address;
    match &plan.address {
        Address::Url(url) => (
            Some(url.scheme()),
            url.host_str().unwrap_or_default().to_owned(),
            url.port_or_known_default(),
        ),
        Address::HostPort(host, port) => (None, host.clone(), Some(*port)),
        Address::Host(host) => (None, host.clone(), None),
    }
}

#[cfg(test)]
mod tests;
