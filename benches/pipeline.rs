//! What a sample costs between its source and the backend: verdicts, names, bytes.
//!
//! ```text
//! cargo bench --bench pipeline               # under 3 minutes
//! cargo bench --bench pipeline -- --quick    # under 20 seconds, rough
//! ```
//!
//! The samples are the host metrics that the filter of `tests/cases/first_seed.yaml`, a real user's,
//! is written for: 50 series for each host, of which it lets 32 through. Three parts:
//!
//! * Verdicts: nanoseconds a sample through a chain, when its series are known. Making the samples
//!   and freeing those that come out is not timed; freeing what is dropped is. The first row is what
//!   any chain would pay for reading which series a sample is of.
//! * Encodings: filter, then names and bytes, in requests of 8,192 samples. Rates are by CPU time of one
//!   thread: samples that go in, and samples that come out (the stricter of the two).
//! * Beside vmagent: both receive the same remote write from this process, drop the same series, and
//!   write what is left to a sink of this process, neither of which is counted. Watchpost has no such
//!   receiver: the bench puts one before its pipeline, made of hyper, the decoder of `wire` and a table,
//!   without any care for speed. So that the receivers decide nothing, two more rows have none: a
//!   Watchpost that makes its samples, and a vmagent that drops all, whose cost is taken from the
//!   whole one's. vmagent runs with its defaults; nothing is written to disk by either.
//!
//! CPU time, so that whoever else is at work on the machine matters little; medians of rounds that
//! take turns, with the extremes. Nothing is gated: a bench tells, it does not judge.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "pipeline/agents.rs"]
mod agents;
#[path = "pipeline/costs.rs"]
mod costs;
#[path = "pipeline/data.rs"]
mod data;
#[allow(dead_code)] // what reads probes and memory is the other bench's
#[path = "side_by_side/meter.rs"]
mod meter;
#[path = "pipeline/sink.rs"]
mod sink;
#[path = "pipeline/watchpost_side.rs"]
mod watchpost_side;

/// How much is measured.
struct Options {
    /// Rounds of the first two parts.
    rounds: usize,
    /// Samples of each round and variant.
    samples: usize,
    /// The same, beside vmagent.
    agent_rounds: usize,
    agent_samples: usize,
    agent_series: usize,
}

const FULL: Options = Options {
    rounds: 7,
    samples: 500_000,
    agent_rounds: 3,
    agent_samples: 2_000_000,
    agent_series: 10_000,
};
const QUICK: Options = Options {
    rounds: 3,
    samples: 100_000,
    agent_rounds: 1,
    agent_samples: 300_000,
    agent_series: 10_000,
};
/// How many series there are.
const SERIES: [usize; 2] = [1_000, 100_000];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, sink, series] = arguments.as_slice()
        && role == watchpost_side::ROLE
    {
        return watchpost_side::run(sink, series.parse().unwrap());
    }
    if !arguments.iter().any(|a| a == "--bench") {
        println!("pipeline runs for minutes: cargo bench --bench pipeline");
        return;
    }
    if let Some(other) = arguments.iter().find(|a| !matches!(a.as_str(), "--bench" | "--quick")) {
        eprintln!("pipeline: {other}: not known");
        std::process::exit(2);
    }
    let options = if arguments.iter().any(|a| a == "--quick") { QUICK } else { FULL };
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());

    println!("\n| series | known series through | CPU ns/sample |");
    println!("|---:|---|---:|");
    for series in SERIES {
        costs::verdicts(&options, series);
    }
    println!(
        "\n| series | to | series are | million/s in | million/s out | ns/sample in: chain | build | encode | compress | bytes/sample out |"
    );
    println!("|---:|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for series in SERIES {
        costs::encodings(&options, series);
    }
    agents::beside(&options);
}
