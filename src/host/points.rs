//! Samples out of what was read: each series made once, counters that never fall, an end for what is
//! not there any more.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::signal::batch::{Sample, Value};
use crate::signal::names::host::{HostMetric, TABLE};
use crate::signal::series::{Attributes, Kind, Metric, Resource, Series};

/// A counter that is away this many readings is forgotten.
const MAX_AWAY: u64 = 240;
/// More series than this of one reader help nobody.
const MAX_SERIES: usize = 10_000;

/// The metrics that a receiver wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted(HashSet<usize>);

impl Wanted {
    /// These metrics.
    #[must_use]
    pub fn new(metrics: impl IntoIterator<Item = &'static Metric>) -> Self {
        Self(metrics.into_iter().map(address).collect())
    }

    /// All that there are.
    #[must_use]
    pub fn all() -> Self {
        Self::new(TABLE.iter().map(|entry| entry.metric))
    }

    /// Whether a metric is wanted.
    #[must_use]
    pub fn has(&self, metric: &'static Metric) -> bool {
        self.0.contains(&address(metric))
    }

    /// Whether any metric of a reader is wanted.
    #[must_use]
    pub fn any(&self, reader: &str) -> bool {
        let mut own = TABLE.iter().filter(|HostMetric { reader: of, .. }| *of == reader);
        own.any(|entry| self.has(entry.metric))
    }
}

fn address(metric: &'static Metric) -> usize {
    std::ptr::from_ref(metric) as usize
}

struct Known {
    series: Arc<Series>,
    /// The reading in which it was seen last.
    seen: u64,
    start: Timestamp,
    last: f64,
}

/// What one reader has found.
pub struct Points {
    resource: Arc<Resource>,
    wanted: Arc<Wanted>,
    known: HashMap<u64, Known>,
    /// The number of the present reading.
    cycle: u64,
    time: Timestamp,
    /// When the machine started: counters began then.
    boot: Timestamp,
    /// The time of the last reading that went well.
    before: Option<Timestamp>,
    samples: Vec<Sample>,
    /// Series that there was no room for.
    refused: usize,
}

impl Points {
    /// Nothing yet.
    #[must_use]
    pub fn new(resource: Arc<Resource>, wanted: Arc<Wanted>) -> Self {
        Self {
            resource,
            wanted,
            known: HashMap::new(),
            cycle: 0,
            time: Timestamp(0),
            boot: Timestamp(0),
            before: None,
            samples: Vec::new(),
            refused: 0,
        }
    }

    /// Whether a metric is wanted: what is not need not be read.
    #[must_use]
    pub fn wants(&self, metric: &'static Metric) -> bool {
        self.wanted.has(metric)
    }

    /// Whether one of some metrics is wanted.
    #[must_use]
    pub fn wants_any(&self, metrics: &[&'static Metric]) -> bool {
        metrics.iter().any(|metric| self.wants(metric))
    }

    /// A reading begins. `boot` is when the machine started.
    pub fn begin(&mut self, time: Timestamp, boot: Timestamp) {
        self.cycle += 1;
        self.time = time;
        if self.boot == Timestamp(0) {
            self.boot = boot;
        }
    }

    /// A number at this moment.
    pub fn gauge(
        &mut self,
        metric: &'static Metric,
        attributes: &[(&'static str, &str)],
        value: f64,
    ) {
        if value.is_finite() {
            self.put(metric, attributes, Value::Double(value), value);
        }
    }

    /// A whole number at this moment.
    pub fn whole(
        &mut self,
        metric: &'static Metric,
        attributes: &[(&'static str, &str)],
        value: u64,
    ) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.put(metric, attributes, Value::Int(value), value as f64);
    }

    /// A sum of seconds or other parts, that grows.
    pub fn sum(
        &mut self,
        metric: &'static Metric,
        attributes: &[(&'static str, &str)],
        value: f64,
    ) {
        self.gauge(metric, attributes, value);
    }

    fn put(
        &mut self,
        metric: &'static Metric,
        attributes: &[(&'static str, &str)],
        value: Value,
        number: f64,
    ) {
        if !self.wants(metric) {
            return;
        }
        let Some(key) = self.key(metric, attributes) else { return };
        let (cycle, time, before, boot) = (self.cycle, self.time, self.before, self.boot);
        let resource = &self.resource;
        let known = self.known.entry(key).or_insert_with(|| {
            let own = Attributes::new(attributes.iter().map(|(name, text)| (*name, *text)));
            let series = Series::new(metric, Attributes::default(), own, Arc::clone(resource));
            Known { series, seen: 0, start: boot, last: f64::MIN }
        });
        if known.seen == cycle {
            // Two of one name: the first one stays.
            return;
        }
        known.seen = cycle;
        if metric.kind == Kind::Counter && number < known.last {
            known.start = before.unwrap_or(boot);
        }
        known.last = number;
        let start = (metric.kind != Kind::Gauge).then_some(known.start.min(time));
        self.samples.push(Sample { series: Arc::clone(&known.series), start, time, value });
    }

    /// The key of a series: a hash, moved on where two series have the same.
    fn key(&mut self, metric: &'static Metric, attributes: &[(&'static str, &str)]) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        address(metric).hash(&mut hasher);
        for (_, value) in attributes {
            value.hash(&mut hasher);
        }
        let mut key = hasher.finish();
        loop {
            let Some(known) = self.known.get(&key) else {
                if self.known.len() >= MAX_SERIES {
                    // What is away gives way to what is there.
                    let cycle = self.cycle;
                    self.known.retain(|_, known| known.seen + 1 >= cycle);
                    if self.known.len() >= MAX_SERIES {
                        self.refused += 1;
                        return None;
                    }
                }
                return Some(key);
            };
            let own = &known.series.own;
            let same = std::ptr::eq(known.series.metric, metric)
                && own.iter().count() == attributes.len()
                && attributes.iter().all(|(name, value)| own.text(name) == Some(value));
            if same {
                return Some(key);
            }
            key = key.wrapping_add(1);
        }
    }

    /// A reading has ended. What it did not bring any more ends; when it failed as a whole, the
    /// series end too, but counters go on as they were when it comes back.
    pub fn end(&mut self, failed: bool) -> Vec<Sample> {
        let mut samples = std::mem::take(&mut self.samples);
        let (cycle, time) = (self.cycle, self.time);
        let last = cycle.wrapping_sub(1);
        for known in self.known.values().filter(|known| known.seen == last && cycle > 1) {
            samples.push(Sample::stale(Arc::clone(&known.series), time));
        }
        if !failed {
            // A counter that is away for a while goes on where it was, or begins again where it fell.
            self.known.retain(|_, known| {
                let counts = known.series.metric.kind == Kind::Counter;
                known.seen == cycle || (counts && cycle - known.seen < MAX_AWAY)
            });
            self.before = Some(time);
        }
        // The next reading brings about as many.
        self.samples.reserve(samples.len());
        samples
    }

    /// The end of everything that is being told: for those who hear nothing more.
    #[must_use]
    pub fn farewell(&self, time: Timestamp) -> Vec<Sample> {
        let told = self.known.values().filter(|known| known.seen == self.cycle);
        told.map(|known| Sample::stale(Arc::clone(&known.series), time)).collect()
    }

    /// What has this attribute belongs to another device from now on: its counters begin again.
    pub fn restart(&mut self, attribute: &str, value: &str) {
        for known in self.known.values_mut() {
            if known.series.own.text(attribute) == Some(value) {
                known.last = f64::MAX;
            }
        }
    }

    /// Series that there was no room for, since the last time.
    pub fn take_refused(&mut self) -> usize {
        std::mem::take(&mut self.refused)
    }
}

/// A counter that is 32 bits wide in the kernel: it begins again at 0 when it is full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Narrow {
    last: u32,
    rounds: u64,
}

impl Narrow {
    /// The whole count. A fall from high up to low down is another round; any other fall is a new
    /// beginning.
    pub fn widen(&mut self, value: u64) -> u64 {
        let Ok(now) = u32::try_from(value) else {
            // Wider than it was said to be.
            *self = Self { last: 0, rounds: 0 };
            return value;
        };
        if now < self.last {
            let round = self.last > 1 << 31 && now < 1 << 31;
            self.rounds = if round { self.rounds + 1 } else { 0 };
        }
        self.last = now;
        (self.rounds << 32) | u64::from(now)
    }
}
