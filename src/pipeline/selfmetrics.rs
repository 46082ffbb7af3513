//! Watchpost's own metrics: cells that the components count in, and snapshots of them as samples.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::signal::batch::{self, Batch, Sample, Value};
use crate::signal::series::{Attributes, Kind, Metric, Resource, Series, SeriesId, SeriesTable};

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number at this moment.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Bounds of [`Timing`], in seconds: from what a scheduler should do to what nobody should accept.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

#[derive(Debug, Default)]
struct TimingCells {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// Durations, counted in buckets.
#[derive(Clone, Debug, Default)]
pub struct Timing(Arc<TimingCells>);

impl Timing {
    /// Counts a duration.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    fn snapshot(&self) -> batch::Histogram {
        batch::Histogram {
            bounds: &BOUNDS,
            counts: self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.0.nanos.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }
}

type Read = Arc<dyn Fn(Timestamp) -> Option<f64> + Send + Sync>;

enum Cell {
    Counter(Counter),
    Gauge(Gauge),
    Timing(Timing),
    Read(Read),
    /// It is shown no more; its end is still to be told.
    Ended,
}

struct Entry {
    series: Arc<Series>,
    cell: Cell,
    /// Whether it has been reported and has not ended since.
    reported: bool,
}

impl Entry {
    /// Whether it is of a metric, and has these attributes.
    fn has(&self, metric: &'static Metric, attributes: &[(&str, &str)]) -> bool {
        let own = &self.series.own;
        std::ptr::eq(self.series.metric, metric)
            && attributes.iter().all(|(name, value)| own.text(name) == Some(value))
    }

    /// Whether there is still something to tell of it.
    fn stays(&self) -> bool {
        self.reported || !matches!(self.cell, Cell::Ended)
    }
}

/// All own metrics of a process.
pub struct Meter {
    resource: Arc<Resource>,
    start: Timestamp,
    entries: Mutex<Vec<Entry>>,
}

impl Meter {
    /// A meter of the process that started then and is this resource.
    #[must_use]
    pub fn new(resource: Resource, start: Timestamp) -> Self {
        Self { resource: Arc::new(resource), start, entries: Mutex::default() }
    }

    fn get<T: Clone + Default>(
        &self,
        metric: &'static Metric,
        attributes: &[(&str, &str)],
        pick: impl Fn(&Cell) -> Option<&T>,
        wrap: impl Fn(T) -> Cell,
    ) -> T {
        let own = Attributes::new(attributes.iter().copied());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |entry: &&mut Entry| {
            std::ptr::eq(entry.series.metric, metric) && entry.series.own == own
        };
        let cell = T::default();
        if let Some(entry) = entries.iter_mut().find(same) {
            if let Some(have) = pick(&entry.cell) {
                return have.clone();
            }
            if matches!(entry.cell, Cell::Ended) {
                entry.cell = wrap(cell.clone());
                return cell;
            }
        }
        let series = Series::new(metric, Attributes::default(), own, Arc::clone(&self.resource));
        entries.push(Entry { series, cell: wrap(cell.clone()), reported: false });
        cell
    }

    /// The counter of a metric with these attributes; the same each time.
    pub fn counter(&self, metric: &'static Metric, attributes: &[(&str, &str)]) -> Counter {
        self.get(
            metric,
            attributes,
            |cell| if let Cell::Counter(c) = cell { Some(c) } else { None },
            Cell::Counter,
        )
    }

    /// The gauge of a metric with these attributes; the same each time.
    pub fn gauge(&self, metric: &'static Metric, attributes: &[(&str, &str)]) -> Gauge {
        self.get(
            metric,
            attributes,
            |cell| if let Cell::Gauge(g) = cell { Some(g) } else { None },
            Cell::Gauge,
        )
    }

    /// The histogram of a metric with these attributes; the same each time.
    pub fn timing(&self, metric: &'static Metric, attributes: &[(&str, &str)]) -> Timing {
        self.get(
            metric,
            attributes,
            |cell| if let Cell::Timing(t) = cell { Some(t) } else { None },
            Cell::Timing,
        )
    }

    /// A metric whose value is read when it is asked for; `None` is not shown. It takes the place of
    /// an earlier one with these attributes.
    pub fn read(
        &self,
        metric: &'static Metric,
        attributes: &[(&str, &str)],
        read: impl Fn(Timestamp) -> Option<f64> + Send + Sync + 'static,
    ) {
        let own = Attributes::new(attributes.iter().copied());
        let series = Series::new(metric, Attributes::default(), own, Arc::clone(&self.resource));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = Cell::Read(Arc::new(read));
        let same = |entry: &&mut Entry| {
            std::ptr::eq(entry.series.metric, metric) && entry.series.own == series.own
        };
        match entries.iter_mut().find(same) {
            Some(entry) => entry.cell = cell,
            None => entries.push(Entry { series, cell, reported: false }),
        }
    }

    /// Whether there is a cell of a metric with these attributes.
    #[must_use]
    pub fn has(&self, metric: &'static Metric, attributes: &[(&str, &str)]) -> bool {
        let own = Attributes::new(attributes.iter().copied());
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shown = entries.iter().filter(|entry| !matches!(entry.cell, Cell::Ended));
        shown.any(|entry| std::ptr::eq(entry.series.metric, metric) && entry.series.own == own)
    }

    /// Sets all gauges of a metric that have these attributes, and any others, to 0.
    pub fn clear(&self, metric: &'static Metric, attributes: &[(&str, &str)]) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.iter().filter(|entry| entry.has(metric, attributes)) {
            if let Cell::Gauge(gauge) = &entry.cell {
                gauge.set(0.0);
            }
        }
    }

    /// Ends all cells of a metric that have these attributes, and any others: they are shown no more,
    /// and those that have been reported are reported as ended.
    pub fn forget(&self, metric: &'static Metric, attributes: &[(&str, &str)]) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.iter_mut().filter(|entry| entry.has(metric, attributes)) {
            entry.cell = Cell::Ended;
        }
        entries.retain(Entry::stays);
    }

    /// All values at this moment, sorted by metric and attributes.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Batch {
        let read = self.read_all(now);
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples: Vec<Sample> =
            entries.iter().filter_map(|entry| self.sample(entry, &read, now)).collect();
        samples.sort_by(|a, b| {
            (a.series.metric.name, a.series.attributes())
                .cmp(&(b.series.metric.name, b.series.attributes()))
        });
        Batch { samples, lifetime: None }
    }

    /// As [`Meter::snapshot`], for a pipeline: what is not shown any more ends.
    #[must_use]
    pub fn report(&self, now: Timestamp) -> Batch {
        let read = self.read_all(now);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples = Vec::with_capacity(entries.len());
        for entry in entries.iter_mut() {
            let sample = self.sample(entry, &read, now);
            let reported = std::mem::replace(&mut entry.reported, sample.is_some());
            let ended = || reported.then(|| Sample::stale(Arc::clone(&entry.series), now));
            samples.extend(sample.or_else(ended));
        }
        entries.retain(Entry::stays);
        Batch { samples, lifetime: None }
    }

    /// The end of everything that has been reported: for a pipeline that hears nothing more.
    #[must_use]
    pub fn farewell(&self, now: Timestamp) -> Batch {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let reported = entries.iter().filter(|entry| entry.reported);
        let samples = reported.map(|entry| Sample::stale(Arc::clone(&entry.series), now)).collect();
        Batch { samples, lifetime: None }
    }

    /// The values that are read when they are asked for. Whoever reads them may take locks under which others count:
    /// that is no time to hold ours.
    fn read_all(&self, now: Timestamp) -> SeriesTable<f64> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let reads: Vec<(SeriesId, Read)> = entries
            .iter()
            .filter_map(|entry| match &entry.cell {
                Cell::Read(read) => Some((entry.series.id, Arc::clone(read))),
                _ => None,
            })
            .collect();
        drop(entries);
        reads.into_iter().filter_map(|(id, read)| Some((id, read(now)?))).collect()
    }

    fn sample(&self, entry: &Entry, read: &SeriesTable<f64>, now: Timestamp) -> Option<Sample> {
        let value = match &entry.cell {
            Cell::Counter(counter) => Value::Int(counter.get() as i64),
            Cell::Gauge(gauge) => Value::Double(gauge.get()),
            Cell::Timing(timing) => Value::Histogram(Arc::new(timing.snapshot())),
            Cell::Read(_) => Value::Double(*read.get(&entry.series.id)?),
            Cell::Ended => return None,
        };
        let cumulative = entry.series.metric.kind != Kind::Gauge;
        let start = cumulative.then_some(self.start);
        Some(Sample { series: Arc::clone(&entry.series), start, time: now, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::names::{QUEUE_SAMPLES, SLOT_LATENESS, SLOTS};

    #[test]
    fn one_cell_for_one_set_of_attributes() {
        let meter = Meter::new(Resource::new("watchpost", "h", []), Timestamp(5));
        let ok = [("receiver", "probe"), ("outcome", "ok")];
        meter.counter(&SLOTS, &ok).add(2);
        meter.counter(&SLOTS, &ok).add(1);
        meter.counter(&SLOTS, &[("outcome", "failed"), ("receiver", "probe")]).add(7);
        meter.read(&QUEUE_SAMPLES, &[], |_| Some(9.0));
        let timing = meter.timing(&SLOT_LATENESS, &[]);
        timing.record(Duration::from_millis(2));
        timing.record(Duration::from_secs(60));
        let batch = meter.snapshot(Timestamp(9));
        let values: Vec<(&str, Option<f64>)> = batch
            .samples
            .iter()
            .map(|s| {
                (
                    s.series.metric.name,
                    match s.value {
                        Value::Double(n) => Some(n),
                        Value::Int(n) => Some(n as f64),
                        _ => None,
                    },
                )
            })
            .collect();
        assert_eq!(
            values,
            [
                ("watchpost.queue_samples", Some(9.0)),
                ("watchpost.slot_lateness", None),
                ("watchpost.slots", Some(7.0)),
                ("watchpost.slots", Some(3.0)),
            ]
        );
        let Value::Histogram(histogram) = &batch.samples[1].value else { panic!("a histogram") };
        assert_eq!((histogram.count(), histogram.counts[1], histogram.counts[12]), (2, 1, 1));
        assert_eq!(batch.samples[1].start, Some(Timestamp(5)));
    }
    /// Under a lock somebody counts, and under the same lock a value is read.
    #[test]
    fn reading_and_counting_wait_for_each_other_never() {
        let meter = Arc::new(Meter::new(Resource::new("watchpost", "h", []), Timestamp(5)));
        let own = Arc::downgrade(&meter);
        meter.read(&QUEUE_SAMPLES, &[], move |_| {
            own.upgrade()?.counter(&SLOTS, &[]).add(1);
            Some(1.0)
        });
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let samples = meter.report(Timestamp(9)).samples.len();
            tell.send(samples + meter.snapshot(Timestamp(9)).samples.len())
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(4));
    }

    #[test]
    fn what_is_forgotten_ends_once() {
        let meter = Meter::new(Resource::new("watchpost", "h", []), Timestamp(5));
        let of = |receiver| [("receiver", receiver), ("outcome", "ok")];
        let gone = meter.counter(&SLOTS, &of("a"));
        meter.counter(&SLOTS, &of("b")).add(1);
        let values = |batch: Batch| -> Vec<(String, bool)> {
            let told = |s: &Sample| {
                let name = s.series.own.text("receiver").unwrap_or_default().to_owned();
                (name, matches!(s.value, Value::Int(_)))
            };
            batch.samples.iter().map(told).collect()
        };
        let told = |name: &str, alive| (name.to_owned(), alive);
        assert_eq!(values(meter.report(Timestamp(6))), [told("a", true), told("b", true)]);
        meter.forget(&SLOTS, &[("receiver", "a")]);
        gone.add(1);
        assert!(!meter.has(&SLOTS, &of("a")));
        assert_eq!(values(meter.snapshot(Timestamp(7))), [told("b", true)]);
        assert_eq!(values(meter.report(Timestamp(7))), [told("a", false), told("b", true)]);
        assert_eq!(values(meter.report(Timestamp(8))), [told("b", true)]);
        assert_eq!(
            meter.counter(&SLOTS, &of("a")).get(),
            0,
            "another one of this name begins anew"
        );
        // What nobody has been told of ends in silence; what comes again at once has not ended.
        meter.forget(&SLOTS, &[("receiver", "a")]);
        meter.forget(&SLOTS, &[("receiver", "b")]);
        meter.counter(&SLOTS, &of("b")).add(1);
        assert_eq!(values(meter.report(Timestamp(9))), [told("b", true)]);
    }
}
