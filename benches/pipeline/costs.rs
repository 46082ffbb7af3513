//! What a sample costs within this process: one thread, CPU time, nothing sent.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::time::{ClockId, clock_gettime};
use watchpost::base::clock;
use watchpost::exporter::prometheus_remote_write::Translator;
use watchpost::pipeline::chain::Chain;
use watchpost::signal::batch::{Batch, Sample};
use watchpost::wire::otlp;

use crate::Options;
use crate::data::{self, World};
use crate::meter::median;

/// Samples of a request: what the first seed's `batch` waits for.
const REQUEST: usize = 8192;
/// Samples that are timed in one piece: the clock costs nothing beside them.
const PIECE: usize = 20_000;
/// A condition that reads the value of every sample and never holds.
const VALUE: &str = "value_double < 0.0";

/// CPU time of the calling thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begin = cpu();
    let value = work();
    *sum += cpu() - begin;
    value
}

/// Scrapes of all hosts, over and over until it is worth timing.
fn piece(world: &mut World) -> Vec<Batch> {
    let mut batches = Vec::new();
    while batches.len() * data::HOST < PIECE {
        batches.append(&mut world.scrape());
    }
    batches
}

fn spread(numbers: &[f64]) -> String {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(0.0, f64::max);
    format!("{:.1} ({low:.1} to {high:.1})", median(numbers))
}

/// Nanoseconds for each sample of known series, chain by chain.
pub(super) fn verdicts(options: &Options, series: usize) {
    let seed = data::plan("127.0.0.1:1");
    let value = data::with_condition(VALUE, true);
    let both = data::with_condition(VALUE, false);
    let mut chains = [
        ("no chain: the samples are looked at and freed", None),
        ("empty chain", Some(Chain::new(Vec::new()))),
        ("first seed's filter", Some(data::chain(&seed, true))),
        ("first seed's whole chain", Some(data::chain(&seed, false))),
        ("filter that reads each value", Some(data::chain(&value, true))),
        ("the same, then first seed's conditions", Some(data::chain(&both, true))),
    ];
    let mut world = World::new(series);
    let mut nanos = vec![Vec::new(); chains.len()];
    for round in 0..=options.rounds {
        for ((_, chain), nanos) in chains.iter_mut().zip(&mut nanos) {
            let (mut took, mut samples) = (Duration::ZERO, 0);
            while samples < options.samples {
                let batches = piece(&mut world);
                samples += batches.iter().map(Batch::len).sum::<usize>();
                verdict(chain.as_mut(), batches, &mut took);
            }
            // In the first round the series become known.
            if round > 0 {
                nanos.push(took.as_secs_f64() * 1e9 / samples as f64);
            }
        }
    }
    for ((name, _), nanos) in chains.iter().zip(&nanos) {
        println!("| {series} | {name} | {} |", spread(nanos));
    }
}

fn verdict(chain: Option<&mut Chain>, mut batches: Vec<Batch>, took: &mut Duration) {
    let Some(chain) = chain else {
        // What every chain has to do at least: read which series it is, and drop as many samples.
        return timed(took, || {
            for batch in &mut batches {
                let mut at = 0;
                batch.samples.retain(|sample| {
                    at += 1;
                    black_box(sample.series.id);
                    at % data::HOST < data::HOST_KEPT
                });
            }
        });
    };
    let now = clock::now();
    assert!(chain.tick(now).is_empty(), "nobody learns anything");
    let mut out = Vec::with_capacity(batches.len());
    timed(took, || {
        for batch in batches {
            out.push(chain.process(batch, now.boot).unwrap());
        }
    });
}

/// How samples leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    RemoteWrite,
    Otlp,
}

/// What some samples cost on their way into requests.
#[derive(Default)]
struct Cost {
    chain: Duration,
    /// Remote write: names, labels, protobuf and snappy. OTLP: the messages.
    build: Duration,
    /// OTLP: the messages' bytes.
    encode: Duration,
    /// Snappy once more, apart, or gzip.
    squeeze: Duration,
    samples: usize,
    kept: usize,
    bytes: usize,
}

impl Cost {
    fn total(&self, wire: Wire) -> Duration {
        // Snappy is in the encoding already.
        let squeeze = if wire == Wire::Otlp { self.squeeze } else { Duration::ZERO };
        self.chain + self.build + self.encode + squeeze
    }
}

/// A chain and what stands behind it.
struct Way {
    chain: Chain,
    translator: Translator,
    waiting: Vec<Sample>,
}

impl Way {
    fn new() -> Self {
        let plan = data::plan("127.0.0.1:1");
        let translator = Translator::new(&data::remote_write(&plan).identity);
        Self { chain: data::chain(&plan, true), translator, waiting: Vec::new() }
    }

    /// What does not fill a request waits for more.
    fn through(&mut self, wire: Wire, batches: Vec<Batch>, cost: &mut Cost) {
        let now = clock::now();
        self.chain.tick(now);
        let mut batches = batches.into_iter();
        while batches.len() > 0 {
            let some: Vec<Batch> = batches.by_ref().take(REQUEST / data::HOST_KEPT).collect();
            cost.samples += some.iter().map(Batch::len).sum::<usize>();
            let (chain, waiting) = (&mut self.chain, &mut self.waiting);
            timed(&mut cost.chain, || {
                for batch in some {
                    waiting.append(&mut chain.process(batch, now.boot).unwrap().samples);
                }
            });
            if self.waiting.len() >= REQUEST {
                self.send(wire, cost);
            }
        }
    }

    fn send(&mut self, wire: Wire, cost: &mut Cost) {
        let samples = std::mem::take(&mut self.waiting);
        cost.kept += samples.len();
        let body = match wire {
            Wire::RemoteWrite => {
                let body = timed(&mut cost.build, || self.translator.encode(&samples));
                let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
                let again = timed(&mut cost.squeeze, || {
                    snap::raw::Encoder::new().compress_vec(&raw).unwrap()
                });
                assert_eq!(again.len(), body.len());
                body
            }
            Wire::Otlp => {
                let raw = {
                    let message = timed(&mut cost.build, || otlp::request(&samples));
                    let raw = timed(&mut cost.encode, || otlp::protobuf(&message));
                    timed(&mut cost.build, || drop(message));
                    raw
                };
                timed(&mut cost.squeeze, || gzip(&raw))
            }
        };
        cost.bytes += body.len();
        timed(&mut cost.build, || drop(samples));
    }
}

/// As the exporter does it.
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Filter, naming and encoding, for series that are known or seen for the first time.
pub(super) fn encodings(options: &Options, series: usize) {
    let mut world = World::new(series);
    for (wire, name) in [(Wire::RemoteWrite, "remote write"), (Wire::Otlp, "OTLP, gzip 1")] {
        for cold in [false, true] {
            let mut way = Way::new();
            if !cold {
                way.through(wire, piece(&mut world), &mut Cost::default());
            }
            let mut costs = Vec::new();
            for _ in 0..options.rounds {
                let mut cost = Cost::default();
                while cost.samples < options.samples {
                    if cold {
                        way = Way::new();
                    }
                    let batches = if cold { world.scrape() } else { piece(&mut world) };
                    way.through(wire, batches, &mut cost);
                    if cold {
                        way.send(wire, &mut cost);
                    }
                }
                costs.push(cost);
            }
            let state = if cold { "first time" } else { "known" };
            tell(series, name, state, wire, &costs);
        }
    }
}

fn tell(series: usize, name: &str, state: &str, wire: Wire, costs: &[Cost]) {
    let middle = |pick: &dyn Fn(&Cost) -> f64| median(&costs.iter().map(pick).collect::<Vec<_>>());
    let nanos = |part: fn(&Cost) -> Duration| {
        middle(&|cost| part(cost).as_secs_f64() * 1e9 / cost.samples as f64)
    };
    let rate = |of: fn(&Cost) -> usize| {
        middle(&|cost| of(cost) as f64 / cost.total(wire).as_secs_f64() / 1e6)
    };
    // Snappy is part of the encoding: shown apart, it is taken out of it.
    let (build, squeeze) = (nanos(|cost| cost.build), nanos(|cost| cost.squeeze));
    let build = if wire == Wire::RemoteWrite { build - squeeze } else { build };
    println!(
        "| {series} | {name} | {state} | {:.2} | {:.2} | {:.0} | {build:.0} | {:.0} | {squeeze:.0} | {:.1} |",
        rate(|cost| cost.samples),
        rate(|cost| cost.kept),
        nanos(|cost| cost.chain),
        nanos(|cost| cost.encode),
        middle(&|cost| cost.bytes as f64 / cost.kept as f64),
    );
}
