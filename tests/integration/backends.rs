//! Backends that are broken or mean harm: when the fault is over, each has everything once, in order, and the books
//! balance; a good one beside them notices nothing. What the probed servers saw is what must have come.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::backend::{Asked, Backend, Loss, Point, Verdict, WAYS, Way, refuse};
use crate::support::daemon::{Daemon, write};
use crate::support::servers::Server;
use crate::support::{Metrics, PATIENCE, until};

mod answers;
mod outages;

/// Requests that end soon, and soon come again.
const PACE: &str = ", timeout: 1s, retry_on_failure: {initial_interval: 100ms, max_interval: 300ms}, \
     sending_queue: {batch: {flush_timeout: 100ms}}";

/// The books of an exporter.
#[derive(Clone, Copy, Debug)]
struct Books {
    accepted: f64,
    sent: f64,
    rejected: f64,
    dropped: f64,
    queued: f64,
}

impl Books {
    fn of(metrics: &Metrics, exporter: &str) -> Self {
        let labels = format!("exporter=\"{exporter}\",pipeline=\"metrics\"");
        let samples = |result: &str| {
            let series = format!("watchpost_export_samples_total{{{labels},result=\"{result}\"}}");
            metrics.get(&series).copied().unwrap_or_default()
        };
        Self {
            accepted: samples("accepted") + samples("recovered"),
            sent: samples("sent"),
            rejected: samples("rejected"),
            dropped: samples("dropped"),
            queued: metrics
                .get(&format!("watchpost_queue_samples{{{labels}}}"))
                .copied()
                .unwrap_or_default(),
        }
    }

    fn balance(&self) -> bool {
        self.accepted == self.sent + self.rejected + self.dropped + self.queued
    }
}

/// Requests of an exporter that ended like this.
fn requests(metrics: &Metrics, exporter: &str, result: &str) -> f64 {
    let series = format!(
        "watchpost_export_requests_total{{exporter=\"{exporter}\",pipeline=\"metrics\",result=\"{result}\"}}"
    );
    metrics.get(&series).copied().unwrap_or_default()
}

/// Waits longer than [`until`] does.
fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(begin.elapsed() < patience, "waited {patience:?} in vain for {what}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A daemon that probes servers of ours each second, and backends.
struct Rig {
    folder: tempfile::TempDir,
    config: PathBuf,
    /// What is probed, by name.
    probed: BTreeMap<String, Server>,
    /// By the name of the exporter.
    backends: BTreeMap<String, Backend>,
    daemon: Daemon,
}

/// The configuration with these lines of exporters.
fn config(exporters: &str) -> String {
    format!(
        "receivers:\n  probe: {{interval: 1s, target_files: [t.yaml]}}\nexporters:\n{exporters}\
         service: {{telemetry: {{metrics: {{level: none}}}}}}\nhttp: {{listen: '127.0.0.1:0'}}\n"
    )
}

impl Rig {
    /// Probes so many targets, `t1` and so on, and one called `poison`; `backends` have a name, more of
    /// their configuration, and how they begin. Another one is called `good`.
    fn start(targets: usize, backends: Vec<(&str, &str, Backend)>) -> Self {
        Self::start_at(PACE, targets, backends)
    }

    /// As [`Rig::start`], at another pace.
    fn start_at(pace: &str, targets: usize, backends: Vec<(&str, &str, Backend)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = (1..=targets).map(|n| format!("t{n}")).chain(["poison".to_owned()]);
        let probed: BTreeMap<String, Server> =
            names.map(|name| (name, Server::tcp(drop))).collect();
        let targets: Vec<String> =
            probed.iter().map(|(name, server)| format!("'{};{name}'", server.address)).collect();
        write(folder.path(), "t.yaml", &format!("- targets: [{}]\n", targets.join(", ")));
        let mut exporters = String::new();
        let mut named = BTreeMap::new();
        let good = ("good", "", Backend::start(Way::Write, |_| Verdict::Take));
        for (name, more, backend) in backends.into_iter().chain([good]) {
            let line = backend.exporter(name, &format!("{pace}{more}"));
            named.insert(line.split_once(':').unwrap().0.trim().to_owned(), backend);
            exporters += &line;
        }
        let config = write(folder.path(), "w.yaml", &config(&exporters));
        // Where there is a folder for what must not be lost, it is used.
        let state = folder.path().join("state");
        let daemon = Daemon::start_with(&config, |command| {
            command.env("STATE_DIRECTORY", state);
        });
        Self { folder, config, probed, backends: named, daemon }
    }

    /// All backends but the good one.
    fn bad(&self) -> impl Iterator<Item = (&String, &Backend)> {
        self.backends.iter().filter(|(name, _)| !name.ends_with("/good"))
    }

    fn good(&self) -> &Backend {
        &self.backends["prometheus_remote_write/good"]
    }

    /// Waits until each bad backend has failed so often, and the good one has had its part meanwhile.
    fn suffer(&self, faults: usize) {
        for (name, backend) in self.bad() {
            let begin = Instant::now();
            while backend.faults() < faults {
                let log = || format!("{:?}\n{}", backend.requests(), self.daemon.log());
                assert!(begin.elapsed() < PATIENCE, "{name} has no {faults} faults: {}", log());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let success = |p: &Point| p.name == "probe_success" && p.target() == "t1";
        let count = || self.good().points().iter().filter(|p| success(p)).count();
        let before = count();
        until("the good neighbour", || (count() >= before + 2).then_some(()));
    }

    /// Probes nothing more, after each target was probed some times.
    fn rest(&self) {
        until("samples of all targets", || {
            let points = self.good().points();
            let of = |name: &str| {
                let is = |p: &&Point| p.name == "probe_success" && p.target() == name;
                points.iter().filter(is).count()
            };
            self.probed.keys().all(|name| of(name) >= 2).then_some(())
        });
        write(self.folder.path(), "t.yaml", "- targets: []\n");
        let targets = "watchpost_targets{receiver=\"probe\"}";
        until("the end of probing", || (self.daemon.metrics()[targets] == 0.0).then_some(()));
        // The last of it may still be on its way to the queues.
        let mut accepted = 0.0;
        until("the last samples", || {
            std::thread::sleep(Duration::from_millis(500));
            let now = Books::of(&self.daemon.metrics(), "prometheus_remote_write/good").accepted;
            (std::mem::replace(&mut accepted, now) == now).then_some(())
        });
    }

    /// Waits until nothing is queued any more, and the books say what the backend says.
    fn settled(&self, exporter: &str) -> Books {
        let backend = &self.backends[exporter];
        let mut last = None;
        let mut look = || {
            let books = Books::of(&self.daemon.metrics(), exporter);
            let done = books.queued == 0.0 && books.balance() && books.sent == backend.sent();
            last = Some((books, backend.sent()));
            done.then_some(books)
        };
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(books) = look() {
                return books;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{exporter}: the books and what the backend took: {last:?}\n{}", self.daemon.log());
    }

    /// Each probe that the servers saw has its sample, once, in order.
    fn assert_exact(&self, exporter: &str) {
        let points = self.backends[exporter].points();
        let mut times: BTreeMap<&str, Vec<(i64, bool)>> = BTreeMap::new();
        let mut lost: BTreeMap<(&str, i64), u64> = BTreeMap::new();
        for point in &points {
            match point.lost {
                false => times.entry(&point.series).or_default().push((point.time, point.stale)),
                true => drop(lost.insert((&point.series, point.time), point.value.to_bits())),
            }
        }
        for (series, times) in &times {
            // A reload may end a series in the millisecond of its slot.
            let after = |one: &(i64, bool), next: &(i64, bool)| {
                one.0 < next.0 || (one.0 == next.0 && one.1 != next.1)
            };
            let in_order = times.windows(2).all(|pair| after(&pair[0], &pair[1]));
            assert!(in_order, "{exporter}: {series} twice or out of order: {times:?}");
        }
        // What came twice is the same both times, and in the end came with a good answer.
        for ((series, time), bits) in lost {
            let same = |p: &&Point| !p.lost && p.series == series && p.time == time;
            let again = points.iter().find(same).map(|p| p.value.to_bits());
            assert_eq!(again, Some(bits), "{exporter}: {series} at {time}");
        }
        let slots = self.daemon.metrics();
        let cancelled = slots.iter().filter(|(name, _)| name.contains("outcome=\"cancelled\""));
        let mut cancelled: usize = cancelled.map(|(_, count)| *count as usize).sum();
        for (name, server) in self.probed.iter().filter(|(name, _)| *name != "poison") {
            let of = |p: &&Point| !p.lost && p.target() == name;
            let is = |p: &&Point| p.name == "probe_success" && !p.stale;
            let came = points.iter().filter(of).filter(is).count();
            assert!(points.iter().filter(of).filter(is).all(|p| p.value == 1.0), "{name} was up");
            let first = |p: &&Point| {
                p.name == "probe_attempts" && p.labels.get("kind").is_some_and(|k| k == "first")
            };
            let firsts = points
                .iter()
                .filter(of)
                .filter(first)
                .filter(|p| !p.stale)
                .map(|p| p.value as usize);
            let probes =
                server.connections.load(Ordering::SeqCst) - firsts.max().unwrap_or_default();
            // A probe that was under way at the end has no sample.
            let missing = probes.checked_sub(came).expect("no sample without a probe");
            assert!(
                missing <= cancelled,
                "{exporter}: {came} samples of {probes} probes of {name}\n{:?}\n{:?}\n{}",
                Books::of(&slots, exporter),
                slots.iter().filter(|(series, _)| series.contains("_lost_")).collect::<Vec<_>>(),
                self.daemon.log()
            );
            cancelled -= missing;
            assert!(came > 1, "{exporter}: {name}");
        }
    }

    /// The end of most tests: all backends have everything, and nothing was refused or given up.
    fn assert_whole(&mut self) {
        self.rest();
        let names: Vec<String> = self.backends.keys().cloned().collect();
        for name in &names {
            let books = self.settled(name);
            assert_eq!((books.rejected, books.dropped), (0.0, 0.0), "{name}: {books:?}");
            self.assert_exact(name);
        }
        assert_eq!(self.daemon.stop(), 0, "{}", self.daemon.log());
        assert!(!self.daemon.log().contains("lost"), "{}", self.daemon.log());
    }
}

/// One backend for each way, all with the same script.
fn each_way(
    script: impl Fn(&Asked) -> Verdict + Clone + Send + 'static,
) -> Vec<(&'static str, &'static str, Backend)> {
    WAYS.into_iter().map(|way| ("bad", "", Backend::start(way, script.clone()))).collect()
}

/// A fault of all ways that ends.
fn passes(faults: usize, script: impl Fn(&Asked) -> Verdict + Clone + Send + 'static) -> Rig {
    let mut rig = Rig::start(3, each_way(script));
    rig.suffer(faults);
    rig.bad().for_each(|(_, backend)| backend.mend());
    rig.assert_whole();
    rig
}
