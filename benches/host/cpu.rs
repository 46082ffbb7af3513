//! CPU time of a collection beside a scrape of node_exporter.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use watchpost::exporter::identity::Identity;
use watchpost::exporter::prometheus::{Prometheus, Settings};
use watchpost::exporter::prometheus_remote_write::Translator;
use watchpost::pipeline::stage::Sink as _;
use watchpost::signal::batch::Batch;
use watchpost::wire::exposition::Format;

use crate::Options;
use crate::meter::{self, median};
use crate::ours::{self, MINUTE, Ours, forget};
use crate::peer::Peer;

/// After a batch, until what it left to do is done: Go collects its garbage in the background.
const REST: Duration = Duration::from_millis(30);
/// Before each turn, so that caches are cold.
const PAUSE: Duration = Duration::from_millis(50);

/// CPU milliseconds of this process: all its threads, also those that have ended.
pub(super) fn own() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

pub(super) fn spread(numbers: &[f64]) -> String {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(0.0, f64::max);
    format!("{:.3} ({low:.3} to {high:.3})", median(numbers))
}

/// What becomes of the samples.
enum Way {
    Bare,
    Exposition(Prometheus),
    RemoteWrite(Box<Translator>),
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Bare => "Watchpost, the collection alone",
            Self::Exposition(_) => "Watchpost, with its exposition",
            Self::RemoteWrite(_) => "Watchpost, with a remote write request",
        }
    }
}

struct Side {
    ours: Ours,
    way: Way,
    /// Bytes of what was made of the last collection.
    bytes: usize,
}

impl Side {
    fn new(way: Way) -> Self {
        Self { ours: Ours::new(ours::of(&ours::DEFAULT), MINUTE), way, bytes: 0 }
    }

    fn all() -> [Self; 3] {
        let identity = Identity::default();
        let settings = Settings {
            endpoint: None,
            identity: identity.clone(),
            timestamps: false,
            expiration: None,
            open_metrics: true,
        };
        [
            Self::new(Way::Bare),
            Self::new(Way::Exposition(Prometheus::new(settings))),
            Self::new(Way::RemoteWrite(Box::new(Translator::new(&identity)))),
        ]
    }

    fn collect(&mut self) -> usize {
        match &mut self.way {
            Way::Bare => self.ours.collect(forget),
            Way::Exposition(exporter) => {
                let samples = self.ours.collect(|samples, now| {
                    let lifetime = Some(MINUTE * 2);
                    exporter.append(&[Batch { samples, lifetime }], now);
                });
                self.bytes = exporter.render(Format::Text, self.ours.now().boot).len();
                samples
            }
            Way::RemoteWrite(translator) => {
                let mut all = Vec::new();
                let samples = self.ours.collect(|mut samples, _| all.append(&mut samples));
                self.bytes = translator.encode(&all).len();
                samples
            }
        }
    }
}

pub(super) fn beside(options: &Options) {
    let mut sides = Side::all();
    let mut peers: Vec<(&str, Peer)> = [
        ("node_exporter, its defaults", Peer::whole()),
        ("node_exporter, the same collectors", Peer::same()),
    ]
    .into_iter()
    .filter_map(|(name, peer)| Some((name, peer?)))
    .collect();
    let mut samples = [0; 3];
    for (side, samples) in sides.iter_mut().zip(&mut samples) {
        for _ in 0..20 {
            *samples = side.collect();
        }
    }
    for (_, peer) in &mut peers {
        for _ in 0..5 {
            peer.scrape();
        }
    }

    let mut ours = vec![Vec::new(); sides.len()];
    let mut theirs = vec![Vec::new(); peers.len()];
    for _ in 0..options.rounds {
        for (side, list) in sides.iter_mut().zip(&mut ours) {
            let before = own();
            for _ in 0..options.collections {
                side.collect();
            }
            list.push((own() - before) / options.collections as f64);
        }
        for ((_, peer), list) in peers.iter_mut().zip(&mut theirs) {
            let before = meter::Cpu::of(&[peer.id()]);
            for _ in 0..options.scrapes {
                peer.scrape();
            }
            std::thread::sleep(REST);
            let cpu = meter::Cpu::of(&[peer.id()]).since(&before);
            list.push(cpu / options.scrapes as f64);
        }
    }
    println!(
        "{} rounds of {} collections and {} scrapes; median (extremes)",
        options.rounds, options.collections, options.scrapes
    );
    table(&sides, &peers, &samples, &ours, &theirs);
    paused(options, &mut sides, &mut peers, &samples);
}

/// Each side in turn, each after a pause; one figure for each third of it.
fn paused(options: &Options, sides: &mut [Side], peers: &mut [(&str, Peer)], samples: &[usize]) {
    let mut ours = vec![Vec::new(); sides.len()];
    let mut theirs = vec![Vec::new(); peers.len()];
    let each = (options.paused / 3).max(1);
    for _ in 0..3 {
        let mut sums = vec![0.0; sides.len()];
        let before: Vec<meter::Cpu> =
            peers.iter().map(|(_, peer)| meter::Cpu::of(&[peer.id()])).collect();
        for _ in 0..each {
            for (side, sum) in sides.iter_mut().zip(&mut sums) {
                std::thread::sleep(PAUSE);
                let before = own();
                side.collect();
                *sum += own() - before;
            }
            for (_, peer) in peers.iter_mut() {
                std::thread::sleep(PAUSE);
                peer.scrape();
            }
        }
        std::thread::sleep(REST);
        for (sum, list) in sums.iter().zip(&mut ours) {
            list.push(sum / each as f64);
        }
        for (((_, peer), list), before) in peers.iter().zip(&mut theirs).zip(&before) {
            list.push(meter::Cpu::of(&[peer.id()]).since(before) / each as f64);
        }
    }
    println!("the same in turns, {} ms before each, 3 times {each}", PAUSE.as_millis());
    table(sides, peers, samples, &ours, &theirs);
}

fn table(
    sides: &[Side],
    peers: &[(&str, Peer)],
    samples: &[usize],
    ours: &[Vec<f64>],
    theirs: &[Vec<f64>],
) {
    println!("| side | CPU ms | samples | bytes |");
    println!("|---|---:|---:|---:|");
    for ((side, list), samples) in sides.iter().zip(ours).zip(samples) {
        let bytes = if side.bytes > 0 { side.bytes.to_string() } else { "–".to_owned() };
        println!("| {} | {} | {samples} | {bytes} |", side.way.name(), spread(list));
    }
    for ((name, peer), list) in peers.iter().zip(theirs) {
        println!("| {name} | {} | {} | {} |", spread(list), peer.samples(), peer.bytes());
    }
    for ((name, _), theirs) in peers.iter().zip(theirs) {
        for (side, ours) in sides.iter().zip(ours) {
            let ratios: Vec<f64> =
                theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect();
            println!("{name} / {} = {}", side.way.name(), spread(&ratios));
        }
    }
}
