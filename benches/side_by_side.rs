//! Watchpost beside blackbox_exporter with Prometheus, on one machine, in one run.
//!
//! ```text
//! cargo bench --bench side_by_side -- [--quick] [--targets 1000] [--interval 15] [--seconds 30]
//!     [--rounds 2] [--kinds http,tcp,icmp] [--store http]
//! ```
//!
//! Two sides watch the same addresses at the same interval and hand everything on:
//!
//! * `sink`: Watchpost with `prometheus_remote_write`, against blackbox_exporter that Prometheus in
//!   agent mode scrapes; both write to a sink that answers 204.
//! * `store` (for the kinds of `--store`; `none` for none): Watchpost with a Prometheus that receives
//!   and stores, against blackbox_exporter with a Prometheus that scrapes and stores.
//!
//! How to read it. *CPU ms/probe* is the CPU time of all processes of a side, over `--seconds` after
//! a warm-up, divided by the probes that arrived in that time: connections that the responder
//! accepted, or echoes that the kernel answered. Both sides are counted by the same instrument.
//! *softirq* is the whole machine's softirq time in the same window, per probe: it contains the
//! responder's share and that of any other work, and stands there so that nothing hides in it.
//! *peak PSS* is the largest sum over a side's processes, looked at each second. The responder and
//! the sink are not counted. Rounds take turns (ours, theirs, ours, theirs); the table holds medians.
//! Nothing is gated: a bench tells, it does not judge.
//!
//! *Bare hyper* is one connection and one GET by hyper's client alone, over and over on one thread;
//! once as fast as it goes, and once at the pace of the probes, because a processor that sleeps
//! between two requests has cold caches, and Watchpost's is in that state.
//!
//! Everything happens on loopback within namespaces of its own (`unshare`), so that all of 127/8
//! answers, no port can be taken, and every process ends with the bench, however that ends. It needs
//! root or user namespaces. Peers that are not installed are left out, and named.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "side_by_side/meter.rs"]
mod meter;
#[path = "side_by_side/servers.rs"]
mod servers;
#[path = "side_by_side/sides.rs"]
mod sides;
#[path = "side_by_side/single.rs"]
mod single;

use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use meter::{Figures, median};
use servers::{Responder, Sink};
use sides::{Kind, Side, World};

/// Set for the process that runs within the namespaces.
const INSIDE: &str = "SIDE_BY_SIDE_INSIDE";
/// Prometheus looks at new target files with this delay; the warm-up is that much longer.
const DISCOVERY: Duration = Duration::from_secs(6);

struct Options {
    targets: usize,
    interval: u64,
    seconds: u64,
    rounds: usize,
    starts: usize,
    requests: usize,
    kinds: Vec<Kind>,
    store: Vec<Kind>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self, String> {
        let mut this = Self {
            targets: 1000,
            interval: 15,
            seconds: 30,
            rounds: 2,
            starts: 10,
            requests: 5000,
            kinds: Kind::ALL.to_vec(),
            store: vec![Kind::Http],
        };
        if arguments.iter().any(|a| a == "--quick") {
            (this.targets, this.interval, this.seconds) = (200, 2, 4);
            (this.rounds, this.starts, this.requests) = (1, 3, 1000);
        }
        let mut rest = arguments.iter().filter(|a| !matches!(a.as_str(), "--bench" | "--quick"));
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} wants a value"))?;
            let number = || match value.parse::<u64>() {
                Ok(number @ 1..=100_000) => Ok(number),
                _ => Err(format!("{name} {value}: not a number from 1 to 100000")),
            };
            match name.as_str() {
                "--targets" => this.targets = number()?.min(60_000) as usize,
                "--interval" => this.interval = number()?,
                "--seconds" => this.seconds = number()?,
                "--rounds" => this.rounds = number()? as usize,
                "--kinds" => this.kinds = kinds(value)?,
                "--store" => this.store = kinds(value)?,
                _ => return Err(format!("{name}: not known")),
            }
        }
        this.store.retain(|kind| this.kinds.contains(kind));
        Ok(this)
    }
}

fn kinds(text: &str) -> Result<Vec<Kind>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let find = |word: &str| Kind::ALL.into_iter().find(|kind| kind.word() == word);
    text.split(',').map(|word| find(word).ok_or_else(|| format!("{word}: not a kind"))).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, port, ..] = arguments.as_slice()
        && role == servers::ROLE
    {
        return servers::respond(port.parse().unwrap());
    }
    if !arguments.iter().any(|a| a == "--bench") {
        println!("side_by_side runs for many minutes: cargo bench --bench side_by_side");
        return;
    }
    let options = match Options::read(&arguments) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("side_by_side: {why}");
            std::process::exit(2);
        }
    };
    if std::env::var_os(INSIDE).is_none() {
        enter(&arguments);
    }
    run(&options);
}

/// Becomes `unshare`, which starts this program again within namespaces. Its end ends everything.
fn enter(arguments: &[String]) -> ! {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    unshare.arg(std::env::current_exe().unwrap()).args(arguments).env(INSIDE, "1");
    let error = unshare.exec();
    eprintln!("side_by_side: unshare (util-linux) cannot be run: {error}");
    std::process::exit(1);
}

fn run(options: &Options) {
    end_on_interrupt();
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.is_ok_and(|status| status.success()), "`ip link set lo up` works in the namespace");
    // Both sides may then use datagram sockets for ICMP; root may use raw ones anyway.
    let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");

    let folder = tempfile::tempdir().unwrap();
    let responder = Responder::start();
    let sink = Sink::start();
    let world = World::new(folder.path(), options.targets, options.interval, &responder, &sink);
    println!("{}", machine());
    println!(
        "{} targets every {} s; {} s measured after a warm-up; {} round(s); a probe is due every {:.1} ms",
        options.targets,
        options.interval,
        options.seconds,
        options.rounds,
        options.interval as f64 * 1000.0 / options.targets as f64
    );
    for missing in sides::missing() {
        println!("not installed, left out: {missing}");
    }

    single_figures(options, &world, folder.path());
    let mut table = String::new();
    for (set, kinds) in [("sink", &options.kinds), ("store", &options.store)] {
        for kind in kinds {
            let pair = match set {
                "sink" => [Side::OursSink, Side::TheirsSink],
                _ => [Side::OursStore, Side::TheirsStore],
            };
            measure_pair(options, &world, &responder, set, *kind, pair, &mut table);
        }
    }
    println!(
        "\n| measured | kind | side | CPU ms/probe | softirq ms/probe | peak PSS MiB | probes | bytes/probe sent |"
    );
    println!("|---|---|---|---:|---:|---:|---:|---:|");
    print!("{table}");
}

/// The figures that need no peer, but for bare hyper, which takes its turn in the rounds.
fn single_figures(options: &Options, world: &World, folder: &Path) {
    match single::fping(folder, options.targets) {
        Some(cost) => println!("fping: {cost:.4} ms CPU per echo"),
        None => println!("fping: not installed, left out"),
    }
    let mut starts = single::first_probe(world, options.starts);
    starts.sort_by(f64::total_cmp);
    println!(
        "exec to first probe, {} targets: median {:.1} ms of {} starts ({:.1} to {:.1})",
        options.targets,
        median(&starts),
        starts.len(),
        starts[0],
        starts[starts.len() - 1]
    );
}

/// Bare hyper's CPU milliseconds per request, as fast as it goes and at the probes' pace.
fn bare_hyper(options: &Options, responder: &Responder) -> (f64, f64) {
    let pace = Duration::from_secs(options.interval) / options.targets as u32;
    let fast = single::hyper(options.requests, options.targets, responder.port, Duration::ZERO);
    // At most half a minute.
    let some = (30_000 / pace.as_millis().max(1) as usize).clamp(100, options.requests);
    let paced = single::hyper(some, options.targets, responder.port, pace);
    println!(
        "bare hyper, connect and GET: {fast:.3} ms CPU as fast as it goes, {paced:.3} ms at the \
         probes' pace"
    );
    (fast, paced)
}

#[allow(clippy::too_many_arguments)]
fn measure_pair(
    options: &Options,
    world: &World,
    responder: &Responder,
    set: &str,
    kind: Kind,
    pair: [Side; 2],
    table: &mut String,
) {
    let mut figures: [Vec<Figures>; 2] = [Vec::new(), Vec::new()];
    let (mut fast, mut paced) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        if kind == Kind::Http && set == "sink" {
            let hyper = bare_hyper(options, responder);
            fast.push(hyper.0);
            paced.push(hyper.1);
        }
        for (side, figures) in pair.iter().zip(&mut figures) {
            let Some(found) = measure(options, world, responder, kind, *side) else { continue };
            println!("{set} {} round {round} {}: {found}", kind.word(), side.name());
            figures.push(found);
        }
    }
    let mut cpu = [0.0; 2];
    for (n, side) in pair.iter().enumerate() {
        if figures[n].is_empty() {
            continue;
        }
        let middle =
            |pick: fn(&Figures) -> f64| median(&figures[n].iter().map(pick).collect::<Vec<_>>());
        cpu[n] = middle(Figures::cpu_per_probe);
        let _ = writeln!(
            table,
            "| {set} | {} | {} | {:.3} | {:.3} | {:.1} | {:.0} | {} |",
            kind.word(),
            side.name(),
            cpu[n],
            middle(Figures::softirq_per_probe),
            middle(Figures::peak_mib),
            middle(|f| f.probes as f64),
            match set {
                "sink" => format!("{:.0}", middle(Figures::bytes_per_probe)),
                _ => "–".to_owned(),
            },
        );
    }
    if cpu[0] > 0.0 && cpu[1] > 0.0 {
        println!("{set} {}: theirs / ours = {:.1}", kind.word(), cpu[1] / cpu[0]);
    }
    if !fast.is_empty() && cpu[0] > 0.0 {
        println!(
            "ours / bare hyper = {:.2} (paced), {:.2} (fast)",
            cpu[0] / median(&paced),
            cpu[0] / median(&fast)
        );
    }
}

fn measure(
    options: &Options,
    world: &World,
    responder: &Responder,
    kind: Kind,
    side: Side,
) -> Option<Figures> {
    let processes = side.start(world, kind)?;
    let ids: Vec<u32> = processes.ids();
    let mut peak = 0;
    let mut watch = |length: Duration| {
        let end = Instant::now() + length;
        while Instant::now() < end {
            peak = peak.max(meter::pss(&ids));
            std::thread::sleep(
                Duration::from_secs(1).min(end.saturating_duration_since(Instant::now())),
            );
        }
    };
    watch(Duration::from_secs(options.interval) + DISCOVERY);
    let count = || match kind {
        Kind::Icmp => meter::echoes(),
        _ => responder.accepted(),
    };
    let before = (meter::Cpu::of(&ids), meter::softirq(), count(), world.sink_bytes());
    let begin = Instant::now();
    watch(Duration::from_secs(options.seconds));
    let after = (meter::Cpu::of(&ids), meter::softirq(), count(), world.sink_bytes());
    let slots = side.slots(&processes);
    Some(Figures {
        cpu: after.0.since(&before.0),
        softirq: after.1 - before.1,
        probes: after.2 - before.2,
        bytes: after.3 - before.3,
        peak,
        length: begin.elapsed(),
        slots,
    })
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "{}, {} processors, Linux {}, load {}",
        model.map_or("unknown processor", |(_, name)| name.trim()),
        std::thread::available_parallelism().map_or(0, usize::from),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default()
    )
}

/// The first process of a PID namespace does not die of a signal that it does not handle.
fn end_on_interrupt() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (mut interrupt, mut terminate) = (
                signal(SignalKind::interrupt()).unwrap(),
                signal(SignalKind::terminate()).unwrap(),
            );
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        // The kernel ends what is left in the namespace.
        std::process::exit(130);
    });
}
