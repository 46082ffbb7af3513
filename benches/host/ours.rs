//! Our side: collectors of all lanes, and moments that are made up.

use std::sync::Arc;
use std::time::Duration;

use watchpost::base::clock::{self, Moment, Timestamp};
use watchpost::host::collector::{Collector, Lane};
use watchpost::host::kernel::{Kernel, Real};
use watchpost::host::points::Wanted;
use watchpost::host::settings::Settings;
use watchpost::host::source::Root;
use watchpost::signal::batch::Sample;
use watchpost::signal::names::host::{NETWORK_CONNECTIONS, TABLE};
use watchpost::signal::series::Metric;

/// How often the host is read when nobody says otherwise.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// The scrapers of the default collection.
pub(super) const DEFAULT: [&str; 10] = [
    "cpu",
    "load",
    "memory",
    "paging",
    "disk",
    "filesystem",
    "network",
    "system",
    "pressure",
    "thermal",
];

/// What these scrapers bring when nothing is switched, but for connections.
pub(super) fn of(scrapers: &[&str]) -> Vec<&'static Metric> {
    let on = |(name, on): &(&str, bool)| *on && scrapers.contains(name);
    TABLE
        .iter()
        .filter(|entry| entry.scrapers.iter().any(on))
        .map(|entry| entry.metric)
        .filter(|metric| !std::ptr::eq(*metric, &raw const NETWORK_CONNECTIONS))
        .collect()
}

/// The metrics of a reader among these.
pub(super) fn of_reader(reader: &str, metrics: &[&'static Metric]) -> Vec<&'static Metric> {
    let read = |metric: &&&'static Metric| {
        TABLE.iter().any(|entry| entry.reader == reader && std::ptr::eq(entry.metric, **metric))
    };
    metrics.iter().filter(read).copied().collect()
}

/// The collectors of all lanes.
pub(super) struct Ours {
    collectors: Vec<Collector>,
    now: Moment,
    step: Duration,
}

impl Ours {
    /// Reads these metrics, each time so much later.
    pub(super) fn new(metrics: Vec<&'static Metric>, step: Duration) -> Self {
        Self::at(Root::new(None), metrics, step)
    }

    /// Reads another host's files.
    pub(super) fn at(root: Root, metrics: Vec<&'static Metric>, step: Duration) -> Self {
        let kernel: Arc<dyn Kernel> = Arc::new(Real);
        let settings =
            Settings { root, wanted: Arc::new(Wanted::new(metrics)), ..Settings::default() };
        let new = |lane| Collector::new(&settings, lane, &kernel);
        let collectors = Lane::ALL.into_iter().filter_map(new).collect();
        Self { collectors, now: clock::now(), step }
    }

    /// The moment of the last collection.
    pub(super) fn now(&self) -> Moment {
        self.now
    }

    /// Collects once; what each lane brings is handed over by itself. Returns the number of samples.
    pub(super) fn collect(&mut self, mut take: impl FnMut(Vec<Sample>, Moment)) -> usize {
        self.now.boot = self.now.boot + self.step;
        self.now.monotonic += self.step;
        self.now.wall = Timestamp(self.now.wall.0 + self.step.as_nanos() as u64);
        let mut sum = 0;
        for collector in &mut self.collectors {
            let samples = collector.collect(self.now);
            sum += samples.len();
            take(samples, self.now);
        }
        sum
    }
}

/// As most uses want it.
pub(super) fn forget(_: Vec<Sample>, _: Moment) {}
