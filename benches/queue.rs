//! What the durable queue costs. `cargo bench --bench queue` (a minute); `-- wear SECONDS [MOUNT OPTIONS]` measures
//! what reaches a disk (a loop device; needs root).
//!
//! - `append`: samples a second of CPU (all threads together) through append, write, take and settle, with exporters
//!   that only count, reading from memory.
//! - `backlog`: the same when everything is read back from the disk.
//! - `requests`: what a backlog of 50 HTTP targets costs as remote write requests, which have each series once.
//! - `drain`: a backlog on the disk, sent by the exporter to a backend that only counts.
//! - `offer`: what handing over the samples of one probe costs the prober.
//! - `week`: bytes of seven days of 50 HTTP targets at 15 s, appended as the daemon does (each probe by itself).
//! - `wear`: a day of the good case: what is written to the device while the backend takes everything.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use watchpost::base::clock::{self, BootTime, Timestamp};
use watchpost::exporter::identity::Identity;
use watchpost::exporter::prometheus_remote_write::Translator;
use watchpost::pipeline::ring::Ring;
use watchpost::pipeline::selfmetrics::{Counter, Meter};
use watchpost::pipeline::stage::Sink as _;
use watchpost::queue::books::{Batching, Books};
use watchpost::queue::cursor::{Cursor, Outcome};
use watchpost::queue::log::segment::{Captured, Head, Writer};
use watchpost::queue::log::store::Limits;
use watchpost::queue::log::{Log, Surroundings};
use watchpost::signal::batch::{Batch, Sample};
use watchpost::signal::names;
use watchpost::signal::series::{Attributes, Metric, Resource, Series};
use watchpost::wire::naming::Naming;

#[path = "queue/drain.rs"]
mod drain;
#[path = "queue/wear.rs"]
mod wear;

const START: u64 = 1_790_000_000_000_000_000;
const TARGETS: usize = 50;
const EVERY: u64 = 15_000_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "wear") {
        let seconds = arguments.get(at + 1).and_then(|text| text.parse().ok()).unwrap_or(600);
        let options = arguments.get(at + 2).map_or("defaults", String::as_str);
        return wear::run(seconds, options);
    }
    println!("| what | figure |\n|---|---:|");
    append();
    backlog();
    requests();
    drain::run(TARGETS);
    drain::run(5000);
    offer();
    week();
}

/// CPU time of the whole process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Numbers that look random, as durations do.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }

    /// A duration around so many milliseconds, in whole nanoseconds.
    fn around(&mut self, millis: f64) -> f64 {
        let spread =
            0.5 + self.throw() + if self.throw() > 0.98 { 5.0 * self.throw() } else { 0.0 };
        (millis * 1e6 * spread).round() / 1e9
    }
}

/// What one HTTP probe publishes.
struct Target {
    series: Vec<Arc<Series>>,
    attempts: f64,
}

const PHASES: [&str; 4] = ["resolve", "connect", "processing", "transfer"];

impl Target {
    fn new(n: usize) -> Self {
        let about = Resource::new("services", &format!("https://service-{n}.home.invalid/"), []);
        let about = Arc::new(about);
        let shared =
            Attributes::new([("humanname", format!("Service {n}")), ("routing", "lan".to_owned())]);
        let one = |metric: &'static Metric, own: &[(&'static str, &str)]| {
            let own = Attributes::new(own.iter().map(|(name, value)| (*name, *value)));
            Series::new(metric, shared.clone(), own, Arc::clone(&about))
        };
        let plain: [&'static Metric; 13] = [
            &names::PROBE_SUCCESS,
            &names::PROBE_DURATION,
            &names::PROBE_TIMEOUT,
            &names::PROBE_DNS_LOOKUP_TIME,
            &names::PROBE_IP_PROTOCOL,
            &names::PROBE_IP_ADDR_HASH,
            &names::PROBE_FAILED_DUE_TO_REGEX,
            &names::PROBE_HTTP_STATUS_CODE,
            &names::PROBE_HTTP_VERSION,
            &names::PROBE_HTTP_REDIRECTS,
            &names::PROBE_HTTP_SSL,
            &names::PROBE_HTTP_CONTENT_LENGTH,
            &names::PROBE_HTTP_UNCOMPRESSED_BODY_LENGTH,
        ];
        let mut series: Vec<Arc<Series>> = plain.iter().map(|metric| one(metric, &[])).collect();
        series.extend(PHASES.map(|phase| one(&names::PROBE_HTTP_DURATION, &[("phase", phase)])));
        series.extend(
            ["first", "scheduled"].map(|kind| one(&names::PROBE_ATTEMPTS, &[("kind", kind)])),
        );
        series.push(one(&names::PROBE_TARGET_INFO, &[("module", "http_2xx"), ("name", "x")]));
        Self { series, attempts: 0.0 }
    }

    fn probe(&mut self, time: u64, dice: &mut Dice) -> Batch {
        self.attempts += 1.0;
        let phases = [dice.around(0.3), dice.around(0.8), dice.around(12.0), dice.around(0.4)];
        let took = (phases.iter().sum::<f64>() * 1e9).round() / 1e9;
        let values =
            [1.0, took, 10.0, phases[0], 4.0, 1.234e9, 0.0, 200.0, 1.1, 0.0, 1.0, 5120.0, 5120.0];
        let values = values.into_iter().chain(phases).chain([1.0, self.attempts, 1.0]);
        let samples = self.series.iter().zip(values);
        let samples = samples.map(|(series, value)| Sample::number(series, Timestamp(time), value));
        Batch { samples: samples.collect(), lifetime: None }
    }
}

fn surroundings() -> Surroundings {
    let meter = Arc::new(Meter::new(Resource::new("watchpost", "bench", []), Timestamp(START)));
    Surroundings { boot_id: 1, synchronized: || true, meter }
}

fn log(folder: &Path) -> (Arc<Log>, Arc<Cursor>, Surroundings) {
    let around = surroundings();
    let limits = Limits { min_free: 0, ..Limits::default() };
    let log = Arc::new(Log::open("metrics", folder, limits, around.clone()).unwrap());
    let books = Books::new(&around.meter, "counts", "metrics");
    let batching =
        Batching { flush_timeout: Duration::from_millis(1), min_size: 8192, max_size: 8192 };
    let cursor = Cursor::new(&log, books, batching, None);
    cursor.open();
    (log, cursor, around)
}

/// Rounds of all targets, made beforehand: what making them costs is not measured.
fn rounds(count: u64) -> Vec<Batch> {
    let (mut dice, mut targets) = (Dice(7), (0..500).map(Target::new).collect::<Vec<_>>());
    (0..count)
        .map(|round| {
            let probes =
                targets.iter_mut().map(|target| target.probe(START + round * EVERY, &mut dice));
            Batch { samples: probes.flat_map(|batch| batch.samples).collect(), lifetime: None }
        })
        .collect()
}

fn empty(cursor: &Cursor, samples: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut left = samples;
        let mut counted = 0;
        while left > 0 {
            let taken = cursor.take().await.unwrap();
            counted += black_box(&taken.samples).len();
            left = left.saturating_sub(taken.samples.len());
            cursor.settle(taken.samples.len(), Outcome::Sent);
        }
        counted
    })
}

fn append() {
    let folder = tempfile::tempdir().unwrap();
    let (log, cursor, _) = log(folder.path());
    let rounds = rounds(30);
    let (mut best, mut all) = (0.0_f64, Vec::new());
    for _ in 0..7 {
        let before = cpu();
        let mut samples = 0;
        for round in &rounds {
            log.append(std::slice::from_ref(round), clock::now());
            samples += empty(&cursor, round.len());
        }
        let rate = samples as f64 / (cpu() - before).as_secs_f64();
        best = best.max(rate);
        all.push(rate);
    }
    all.sort_by(f64::total_cmp);
    println!(
        "| append, write and take from memory, samples per CPU second (median of 7) | {:.0} |",
        all[3]
    );
}

fn backlog() {
    let folder = tempfile::tempdir().unwrap();
    let (log, cursor, _) = log(folder.path());
    let rounds = rounds(30);
    let mut samples = 0;
    let (before, begun) = (cpu(), Instant::now());
    for _ in 0..10 {
        for round in &rounds {
            log.append(std::slice::from_ref(round), clock::now());
            samples += round.len();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let written = samples as f64 / (cpu() - before).as_secs_f64();
    let _ = begun;
    let (before, begun) = (cpu(), Instant::now());
    assert_eq!(empty(&cursor, samples), samples);
    let read = samples as f64 / (cpu() - before).as_secs_f64();
    let pace = samples as f64 / begun.elapsed().as_secs_f64();
    println!("| append and write alone, samples per CPU second | {written:.0} |");
    println!("| read back from the disk, samples per CPU second | {read:.0} |");
    println!("| the same, samples per second | {pace:.0} |");
}

/// Requests of 8192 samples: an hour of 50 targets, and of 5000, which have no series twice in one.
fn requests() {
    for (count, rounds) in [(TARGETS, 240), (5000, 4)] {
        let (mut dice, mut targets) = (Dice(7), (0..count).map(Target::new).collect::<Vec<_>>());
        let mut samples = Vec::new();
        for round in 0..rounds {
            for target in &mut targets {
                samples.extend(target.probe(START + round * EVERY, &mut dice).samples);
            }
        }
        let mut translator = Translator::new(&Identity {
            external_labels: BTreeMap::new(),
            resource_to_telemetry: false,
            target_info: true,
            naming: Naming::default(),
        });
        let (mut bytes, mut all) = (0, Vec::new());
        for _ in 0..=7 {
            let before = cpu();
            bytes = samples.chunks(8192).map(|some| translator.encode(some).len()).sum::<usize>();
            all.push(samples.len() as f64 / (cpu() - before).as_secs_f64());
        }
        // In the first round the series become known.
        all.remove(0);
        all.sort_by(f64::total_cmp);
        println!(
            "| as remote write requests of 8192, {count} targets: samples per CPU second (median of 7), bytes a sample | {:.0}, {:.1} |",
            all[3],
            bytes as f64 / samples.len() as f64
        );
    }
}

fn offer() {
    let ring = Ring::new(1 << 30, Counter::default());
    let (mut dice, mut target) = (Dice(7), Target::new(0));
    let mut times: Vec<Duration> = (0..20_000)
        .map(|n| {
            let batch = target.probe(START + n, &mut dice);
            let begun = Instant::now();
            ring.offer(batch);
            begun.elapsed()
        })
        .collect();
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_nanos();
    println!("| offer of 20 samples, ns (median, p99) | {}, {} |", at(0.5), at(0.99));
}

fn week() {
    let (mut dice, mut targets) = (Dice(7), (0..TARGETS).map(Target::new).collect::<Vec<_>>());
    let at = |nanos: u64| Captured {
        boot: BootTime(Duration::from_nanos(nanos + 40_000)),
        wall: Timestamp(START + nanos + 40_000),
        synchronized: true,
    };
    let begin = |nanos| Writer::new(Head { boot_id: 1, begun: at(nanos) });
    let (mut writer, bytes) = begin(0);
    let (mut all, mut segment, mut samples) = (0, bytes.len(), 0_u64);
    for round in 0..7 * 24 * 240 {
        for (n, target) in targets.iter_mut().enumerate() {
            // Each at a moment of its own, as slots are spread.
            let nanos = round * EVERY + n as u64 * (EVERY / TARGETS as u64);
            let batch = target.probe(START + nanos, &mut dice);
            segment += writer.entry(samples, at(nanos), &batch.samples).len();
            samples += batch.len() as u64;
            if segment >= 4 << 20 {
                let (next, bytes) = begin(nanos);
                segment += std::mem::replace(&mut writer, next).foot().len();
                all += segment;
                segment = bytes.len();
            }
        }
    }
    all += segment;
    println!("| seven days of {TARGETS} HTTP targets, MB | {:.1} |", all as f64 / 1e6);
    println!("| the same, bytes per sample | {:.2} |", all as f64 / samples as f64);
}
