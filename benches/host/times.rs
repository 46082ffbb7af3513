//! Wall time and allocations of a collection, reader by reader.

use std::time::Instant;

use watchpost::signal::names::host::NETWORK_CONNECTIONS;
use watchpost::signal::series::Metric;

use crate::Options;
use crate::counting;
use crate::ours::{self, DEFAULT, MINUTE, Ours, forget};

/// Collections over which allocations are counted: two hours.
const COUNTED: usize = 120;

/// The given part of some times, in microseconds.
pub(super) fn quantile(times: &mut [f64], part: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part).round() as usize]
}

/// Wall times of collections in microseconds.
pub(super) fn times(ours: &mut Ours, number: usize) -> Vec<f64> {
    let one = |_| {
        let begin = Instant::now();
        ours.collect(forget);
        begin.elapsed().as_secs_f64() * 1e6
    };
    (0..number).map(one).collect()
}

fn row(options: &Options, name: &str, metrics: Vec<&'static Metric>) {
    let mut ours = Ours::new(metrics, MINUTE);
    let samples = (0..10).map(|_| ours.collect(forget)).last().unwrap_or_default();
    let before = counting::counts();
    counting::count(true);
    for _ in 0..COUNTED {
        ours.collect(forget);
    }
    counting::count(false);
    let after = counting::counts();
    let each = |before: u64, after: u64| (after - before) as f64 / COUNTED as f64;
    let mut times = times(&mut ours, options.times);
    println!(
        "| {name} | {samples} | {:.1} | {:.1} | {:.1} | {:.0} |",
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.99),
        each(before.number, after.number),
        each(before.bytes, after.bytes),
    );
}

pub(super) fn table(options: &Options) {
    println!(
        "{} collections, a made-up minute apart; readers of the default collection",
        options.times
    );
    println!("| reader | samples | p50 µs | p99 µs | allocations | bytes allocated |");
    println!("|---|---:|---:|---:|---:|---:|");
    let default = ours::of(&DEFAULT);
    row(options, "the default collection", default.clone());
    let readers = DEFAULT.iter().map(|name| (*name, ours::of_reader(name, &default)));
    for (reader, metrics) in readers {
        row(options, reader, metrics);
    }
    row(options, "connections", vec![&NETWORK_CONNECTIONS]);
    for scraper in ["linux", "sockets", "processes"] {
        row(options, &format!("the scraper {scraper}"), ours::of(&[scraper]));
    }
}
