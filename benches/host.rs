//! What reading the host costs, beside node_exporter.
//!
//! ```text
//! cargo bench --bench host                                  # about 3 minutes
//! cargo bench --bench host -- --quick                       # under a minute, rough
//! cargo bench --bench host -- --parts cpu,calls --seconds 60
//! ```
//!
//! *The default collection* is what these scrapers bring when nothing is switched: cpu, load, memory,
//! paging, disk, filesystem, network without `system.network.connections`, system, pressure, thermal.
//! Connections are told apart, because they cost as much as all others together. Six parts:
//!
//! * `cpu`: CPU time of a collection, in process, by the three `Collector`s that the daemon has, over
//!   the real `/proc` and `/sys`; batches take turns with batches of scrapes of node_exporter over one
//!   kept connection on loopback. Ours is printed bare, with its exposition (what a scrape of us
//!   renders), and with its remote write request. node_exporter is printed as it comes and with only
//!   those collectors that bring what ours bring. Our clock is that of the process, helper threads
//!   included; theirs is the scheduler's books. Moments are made up and a minute apart, so that what
//!   is read again each minute and each hour has its share. Last, both once more, not in batches but
//!   each after a pause: with cold caches.
//! * `daemon`: `watchpost run` that reads each second and is scraped each second, beside node_exporter
//!   that is scraped each second.
//! * `calls`: system calls of a collection: strace counts two runs of different length, and the
//!   difference is divided.
//! * `times`: wall time and allocations of a collection, reader by reader.
//! * `day`: 24 hours with made-up moments: bytes alive, and resident memory.
//! * `connections`: connections by state, with many of them.
//!
//! node_exporter is Debian's `prometheus-node-exporter`, unpacked and not installed; what is missing is
//! left out and named. Nothing is gated: a bench tells, it does not judge.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "host/calls.rs"]
mod calls;
#[path = "host/connections.rs"]
mod connections;
#[path = "host/counting.rs"]
mod counting;
#[path = "host/cpu.rs"]
mod cpu;
#[path = "host/daemon.rs"]
mod daemon;
#[path = "host/day.rs"]
mod day;
#[allow(dead_code)] // what counts probes is the other bench's
#[path = "side_by_side/meter.rs"]
mod meter;
#[path = "host/ours.rs"]
mod ours;
#[path = "host/peer.rs"]
mod peer;
#[path = "host/times.rs"]
mod times;

use counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PARTS: [&str; 6] = ["cpu", "daemon", "calls", "times", "day", "connections"];

/// How much is measured.
struct Options {
    /// Rounds of `cpu`, and what each side does in one.
    rounds: usize,
    collections: usize,
    scrapes: usize,
    /// Turns with a pause before each.
    paused: usize,
    /// Seconds of `daemon`.
    seconds: u64,
    /// Collections of `times`.
    times: usize,
    /// Established connections.
    connections: &'static [usize],
    parts: Vec<String>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self, String> {
        let mut this = Self {
            rounds: 9,
            collections: 200,
            scrapes: 20,
            paused: 60,
            seconds: 30,
            times: 2000,
            connections: &[0, 1_000, 10_000],
            parts: PARTS.map(str::to_owned).to_vec(),
        };
        if arguments.iter().any(|a| a == "--quick") {
            (this.rounds, this.paused, this.seconds, this.times) = (3, 20, 10, 400);
        }
        let mut rest = arguments.iter().filter(|a| !matches!(a.as_str(), "--bench" | "--quick"));
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--seconds" => {
                    let number = value.parse().ok().filter(|number| (1..=3600).contains(number));
                    this.seconds =
                        number.ok_or_else(|| format!("--seconds {value}: not from 1 to 3600"))?;
                }
                "--parts" => this.parts = value.split(',').map(str::to_owned).collect(),
                _ => return Err(format!("{name}: not known")),
            }
        }
        match this.parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
            Some(part) => Err(format!("{part}: not one of {}", PARTS.join(", "))),
            None => Ok(this),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [calls::ROLE, number, rest @ ..] => return calls::run(number, rest),
        [day::ROLE, seconds] => return day::run(seconds),
        [connections::ROLE, port] => return connections::hold(port),
        _ => {}
    }
    if !arguments.iter().any(|a| a == "--bench") {
        println!("host runs for minutes: cargo bench --bench host");
        return;
    }
    let options = match Options::read(&arguments) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("host: {why}");
            std::process::exit(2);
        }
    };
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    println!(
        "Linux {}, {} processors, load {}",
        read("/proc/sys/kernel/osrelease").trim(),
        std::thread::available_parallelism().map_or(0, usize::from),
        read("/proc/loadavg").trim()
    );
    println!("{}", peer::version());
    for part in PARTS.iter().filter(|part| options.parts.iter().any(|have| have == *part)) {
        println!("\n{part}");
        match *part {
            "cpu" => cpu::beside(&options),
            "daemon" => daemon::beside(&options),
            "calls" => calls::table(),
            "times" => times::table(&options),
            "day" => day::table(),
            _ => connections::table(&options),
        }
    }
}
