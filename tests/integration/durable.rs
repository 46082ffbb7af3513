//! What the durable queue promises, tried from outside: a program that is probed and a backend that remembers
//! all it was sent, both of the test's own, and between them a daemon that is killed, starved and damaged.
//!
//! | variable | what it makes longer | nightly |
//! |---|---|---|
//! | `WATCHPOST_KILLS` | how often `nothing_is_lost_across_kills` kills; else 300 times | 1000 |
//! | `WATCHPOST_FULL_FOR` | for how many seconds a disk is full; else 10 | 60 |
//! | `WATCHPOST_DAMAGES` | in how many ways a log is damaged; else 60 | 600 |
//! | `WATCHPOST_OUTAGE` | how many seconds a backend is away; else 45 | 300 |
//! | `WATCHPOST_SEED` | repeats what chance has done: each test prints it | |

mod damage;
mod disk;
mod faults;
mod kills;
mod oracle;
mod orders;
mod outage;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::daemon::{Daemon, write};
use crate::support::probed::Probed;
use crate::support::recorder::{Recorder, Requests, wall};
use crate::support::{run, until};

/// The longest time in which nobody is probed.
const PAUSE: i64 = 3_000;

/// A number of the environment, or what it is without.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Where chance begins, told so that it can be repeated.
fn seed(test: &str) -> u64 {
    let seed = number("WATCHPOST_SEED", wall() as u64);
    eprintln!("{test}: WATCHPOST_SEED={seed}");
    seed
}

/// What is between a probed server and a backend.
pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
    probed: Probed,
    pub(crate) recorder: Recorder,
}

/// Of what a slot brings, what is switched off: there are 12 samples left, and so more slots among as many samples.
const FEWER: &str = "metrics: {probe.ip_addr_hash: {enabled: false}, probe.failed_due_to_regex: {enabled: false}, \
                     probe.http.version: {enabled: false}, probe.http.redirects: {enabled: false}, \
                     probe.http.ssl: {enabled: false}, probe.http.content_length: {enabled: false}, \
                     probe.http.uncompressed_body_length: {enabled: false}}";

/// Our own metrics stay out: some of them are histograms, which are more at a backend than in the books.
const REST: &str = "modules: {quick: {prober: http, timeout: 800ms, http: {preferred_ip_protocol: ip4}}}\n\
                    service: {telemetry: {metrics: {level: none}}}\n\
                    http: {listen: '127.0.0.1:0'}\n";

impl Scene {
    /// So many targets, each probed once a second, and what `storage.queue` says.
    pub(crate) fn new(targets: usize, queue: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scene = Self { folder, probed: Probed::new(), recorder: Recorder::new() };
        write(scene.folder.path(), "targets.yaml", &scene.probed.targets(targets));
        scene.configure("1s", &scene.directory(), queue);
        scene
    }

    /// Writes the configuration.
    fn configure(&self, interval: &str, directory: &Path, queue: &str) {
        let queue = if queue.is_empty() { String::new() } else { format!(", queue: {{{queue}}}") };
        let text = format!(
            "receivers:\n  probe: {{interval: {interval}, module: quick, target_files: [targets.yaml], {FEWER}}}\n\
             {}storage: {{directory: '{}'{queue}}}\n{REST}",
            self.recorder.exporters(),
            directory.display()
        );
        write(self.folder.path(), "watchpost.yaml", &text);
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("watchpost.yaml")
    }

    /// Where the daemon keeps its queue.
    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Waits until no more waits than what comes within a moment.
    fn drained(&self, daemon: &Daemon) {
        until("the end of the backlog", || (queued(daemon)? < 3_000.0).then_some(()));
    }
}

/// How many samples wait, as /metrics says.
fn queued(daemon: &Daemon) -> Option<f64> {
    let name = "watchpost_queue_samples{exporter=\"prometheus_remote_write\",pipeline=\"metrics\"}";
    daemon.metrics().get(name).copied()
}

/// What `watchpost queue ls` says of an exporter.
#[derive(Clone, Debug, PartialEq)]
struct Books {
    accepted: u64,
    sent: u64,
    rejected: u64,
    dropped: u64,
    queued: u64,
    state: String,
}

impl Books {
    /// The books of the one exporter that is there. They balance.
    fn of(directory: &Path) -> Self {
        let output = run(&["queue", "ls", "--json", "--directory", directory.to_str().unwrap()]);
        let text = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "queue ls: {text}{said}");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [line] = lines.as_slice() else { panic!("not one line: {text}{said}") };
        assert_eq!(line["pipeline"], "metrics", "{line}");
        assert_eq!(line["exporter"], "prometheus_remote_write", "{line}");
        let of = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("no {name}: {line}"));
        let books = Self {
            accepted: of("accepted"),
            sent: of("sent"),
            rejected: of("rejected"),
            dropped: of("dropped"),
            queued: of("queued"),
            state: line["state"].as_str().unwrap().to_owned(),
        };
        let sum = books.sent + books.rejected + books.dropped + books.queued;
        assert_eq!(books.accepted, sum, "the books do not balance: {line}");
        books
    }
}

/// How much longer than a second it took until targets were probed again, in milliseconds: the greatest of a hundred, and the greatest
/// time in which nobody was probed.
fn gaps(scene: &Scene, from: i64, to: i64) -> (i64, i64) {
    let mut asked = scene.probed.log(0);
    asked.retain(|asked| (from..to).contains(&asked.at));
    asked.sort_by_key(|asked| asked.at);
    let quiet = asked.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or(to - from);
    asked.sort_by_key(|asked| (asked.target, asked.at));
    let same = asked.windows(2).filter(|pair| pair[0].target == pair[1].target);
    let mut late: Vec<i64> = same.map(|pair| pair[1].at - pair[0].at - 1000).collect();
    late.sort_unstable();
    let late = late.get(late.len() * 99 / 100).copied();
    (late.expect("targets are probed more than once"), quiet)
}

/// The files of the queue that end so.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let folder = directory.join("queue/metrics");
    let list = std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{folder:?}: {why}"));
    let mut list: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
    list.retain(|path| path.to_string_lossy().ends_with(ending));
    list.sort();
    list
}

/// Every series goes on in time, through all requests.
fn in_order(requests: &Requests) {
    let mut last = vec![i64::MIN; requests.names.len()];
    for (n, request) in requests.list.iter().enumerate() {
        for sample in &request.samples {
            let before = std::mem::replace(&mut last[sample.series as usize], sample.at);
            let name = &requests.names[sample.series as usize];
            assert!(before < sample.at, "request {n}: {name} goes from {before} to {}", sample.at);
        }
    }
}
