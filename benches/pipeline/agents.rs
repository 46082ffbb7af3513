//! Beside vmagent: both sides as processes of their own, writing to the same sink.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use watchpost::exporter::prometheus_remote_write::Translator;

use crate::data::{self, World};
use crate::meter::{self, median};
use crate::sink::{Arrived, Poster, Sink};
use crate::{Options, watchpost_side};

const VMAGENT: &str = "vmagent";
/// How long a process may take until it answers, and samples until they have arrived.
const START_WITHIN: Duration = Duration::from_secs(20);
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);
/// Samples of a request that a side receives, as Prometheus cuts them.
const REQUEST: usize = 2000;
/// Samples that are under way at most. Both sides keep so many in memory and lose none.
const WINDOW: usize = 32_000;
/// Scrapes that are sent over and over.
const SCRAPES: usize = 10;

/// What the first seed's filter says, in vmagent's words. `if` would be shorter, but the vmagent of
/// Debian 12 drops too few by it, at more than ten times the cost.
const DROP_THE_SAME: &str = "\
- action: drop
  source_labels: [__name__, state]
  regex: 'system_cpu_utilization_ratio;(nice|steal)'
- action: drop
  source_labels: [__name__, state]
  regex: 'system_network_connections;(CLOSE|CLOSE_WAIT|CLOSING|DELETE|FIN_WAIT_1|FIN_WAIT_2|LAST_ACK|SYN_RECV|SYN_SENT|TIME_WAIT)'
";
/// Nothing is left to send: what receiving alone costs.
const DROP_ALL: &str = "\
- action: drop
  source_labels: [__name__]
  regex: '.+'
";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    /// Watchpost's pipeline and exporter behind a receiver of remote write that this bench adds.
    Ours,
    /// The same, with samples made in the process: nothing is received.
    OursMade,
    Theirs,
    /// vmagent that drops all that it receives.
    TheirsDropping,
}

impl Side {
    const ALL: [Self; 4] = [Self::Ours, Self::Theirs, Self::OursMade, Self::TheirsDropping];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "Watchpost's pipeline behind a receiver",
            Self::OursMade => "Watchpost's pipeline, nothing received",
            Self::Theirs => "vmagent",
            Self::TheirsDropping => "vmagent that drops all",
        }
    }
}

/// Where the peer is: on the path, or unpacked where the tests unpack theirs.
fn vmagent() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/usr/bin");
    let mut folders = std::env::split_paths(&path).chain([peers]);
    folders.find_map(|folder| Some(folder.join(VMAGENT)).filter(|file| file.exists()))
}

/// A side at work; it ends with this.
struct Running {
    child: Child,
    way_in: WayIn,
    /// Watchpost's process ends when its input does.
    _input: Option<ChildStdin>,
}

enum WayIn {
    Post(Poster),
    /// It makes as many samples as a line says, and answers with a line when they are made.
    Ask(ChildStdin, BufReader<ChildStdout>),
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(side: Side, folder: &Path, options: &Options, sink: SocketAddr) -> Option<Self> {
        match side {
            Side::Ours | Side::OursMade => Some(Self::ours(side, options, sink)),
            Side::Theirs | Side::TheirsDropping => Self::theirs(side, folder, sink),
        }
    }

    fn ours(side: Side, options: &Options, sink: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([watchpost_side::ROLE, &sink.to_string(), &options.agent_series.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (ask, mut told) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let (way_in, _input) = match side {
            Side::Ours => {
                let poster = Poster::connect(line.trim().parse().unwrap()).unwrap();
                (WayIn::Post(poster), Some(ask))
            }
            _ => (WayIn::Ask(ask, told), None),
        };
        Self { child, way_in, _input }
    }

    fn theirs(side: Side, folder: &Path, sink: SocketAddr) -> Option<Self> {
        let rules = if side == Side::Theirs { DROP_THE_SAME } else { DROP_ALL };
        let file = folder.join("relabel.yml");
        fs::write(&file, rules).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut child = Command::new(vmagent()?)
            .arg(format!("-httpListenAddr={free}"))
            .arg(format!("-remoteWrite.url=http://{sink}/api/v1/write"))
            .arg(format!("-remoteWrite.tmpDataPath={}", folder.join("vmagent").display()))
            .arg(format!("-remoteWrite.relabelConfig={}", file.display()))
            .arg("-loggerLevel=ERROR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let end = Instant::now() + START_WITHIN;
        let poster = loop {
            if let Some(poster) = Poster::connect(free) {
                break poster;
            }
            let status = child.try_wait().unwrap();
            assert!(status.is_none() && Instant::now() < end, "vmagent does not start: {status:?}");
            std::thread::sleep(Duration::from_millis(50));
        };
        Some(Self { child, way_in: WayIn::Post(poster), _input: None })
    }

    /// Has whole scrapes go through until there are so many samples; how many that were, and what has
    /// arrived of them. `None`: not all that should.
    fn run(
        &mut self,
        samples: usize,
        bodies: &[(Vec<u8>, usize)],
        drops_all: bool,
        sink: &Sink,
    ) -> Option<(usize, Arrived)> {
        sink.take();
        let kept = |samples: usize| match drops_all {
            true => 0,
            false => samples / data::HOST * data::HOST_KEPT,
        };
        let mut sent = 0;
        match &mut self.way_in {
            WayIn::Post(poster) => {
                let mut bodies = bodies.iter().cycle();
                while sent < samples {
                    wait(|| kept(sent) < sink.samples() + WINDOW)?;
                    let (body, samples) = bodies.next()?;
                    let status = poster.post(body).unwrap();
                    assert_eq!(status, 204, "a request is taken over");
                    sent += samples;
                }
            }
            WayIn::Ask(ask, told) => {
                writeln!(ask, "{samples}").unwrap();
                let mut line = String::new();
                told.read_line(&mut line).unwrap();
                sent = line.trim().parse().unwrap();
            }
        }
        wait(|| sink.samples() >= kept(sent))?;
        let arrived = sink.take();
        (arrived.samples == kept(sent)).then_some((sent, arrived))
    }
}

/// Looks now and then until it is so; `None` when that takes too long.
fn wait(so: impl Fn() -> bool) -> Option<()> {
    let end = Instant::now() + ARRIVE_WITHIN;
    while !so() {
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Some(())
}

/// The requests that a side receives, and their samples: all of some scrapes.
fn bodies(series: usize) -> Vec<(Vec<u8>, usize)> {
    let mut world = World::new(series);
    let settings = data::remote_write(&data::plan("127.0.0.1:1"));
    let mut translator = Translator::new(&settings.identity);
    let mut bodies = Vec::new();
    for _ in 0..SCRAPES {
        for hosts in world.scrape().chunks(REQUEST / data::HOST) {
            let samples: Vec<_> = hosts.iter().flat_map(|host| host.samples.clone()).collect();
            bodies.push((translator.encode(&samples), samples.len()));
        }
    }
    bodies
}

pub(super) fn beside(options: &Options) {
    if vmagent().is_none() {
        println!(
            "vmagent is missing and left out. It is in Debian's victoria-metrics; unpacked, not installed:"
        );
        println!(
            "  mkdir -p target/peers && cd target/peers && apt-get download victoria-metrics && dpkg-deb -x victoria-metrics_*.deb ."
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let bodies = bodies(options.agent_series);
    let mut figures: HashMap<Side, Vec<f64>> = HashMap::new();
    let mut seen = HashMap::new();
    let mut sizes = HashMap::new();
    for _ in 0..options.agent_rounds {
        for side in Side::ALL {
            let all = side == Side::TheirsDropping;
            let Some(mut running) = Running::start(side, folder.path(), options, sink.address)
            else {
                continue;
            };
            let Some((_, first)) = running.run(options.agent_samples / 4, &bodies, all, &sink)
            else {
                println!("{}: not all samples arrive, left out", side.name());
                continue;
            };
            let ids = [running.child.id()];
            let before = meter::Cpu::of(&ids);
            let Some((sent, arrived)) = running.run(options.agent_samples, &bodies, all, &sink)
            else {
                println!("{}: not all samples arrive, left out", side.name());
                continue;
            };
            let cpu = meter::Cpu::of(&ids).since(&before);
            figures.entry(side).or_default().push(cpu / 1e3 / (sent as f64 / 1e6));
            seen.insert(side, first.series);
            sizes.insert(
                side,
                (
                    arrived.bytes as f64 / arrived.samples.max(1) as f64,
                    arrived.samples / arrived.requests.max(1),
                ),
            );
        }
    }
    println!("\n| side | CPU s per million samples | bytes/sample sent | samples/request |");
    println!("|---|---:|---:|---:|");
    for side in Side::ALL {
        let (Some(list), Some((bytes, samples))) = (figures.get(&side), sizes.get(&side)) else {
            continue;
        };
        let rounds = list.iter().map(|n| format!("{n:.2}")).collect::<Vec<_>>().join(", ");
        println!("| {} | {:.2} ({rounds}) | {bytes:.1} | {samples} |", side.name(), median(list));
    }
    let of = |side| figures.get(&side).map_or(f64::NAN, |list| median(list));
    let same = seen.get(&Side::Ours).is_some_and(|ours| seen.get(&Side::Theirs) == Some(ours));
    println!("the same series arrive from vmagent and Watchpost: {same}");
    println!(
        "whole to whole, receiving included: vmagent / Watchpost = {:.2}",
        of(Side::Theirs) / of(Side::Ours)
    );
    println!(
        "without receiving (vmagent less vmagent that drops all): vmagent / Watchpost = {:.2}",
        (of(Side::Theirs) - of(Side::TheirsDropping)) / of(Side::OursMade)
    );
}
