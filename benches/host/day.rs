//! A day in seconds: does anything grow?

use std::process::Command;
use std::time::Duration;

use crate::counting::{self, Counts};
use crate::ours::{self, DEFAULT, Ours, forget};

/// What this program is when it lives a day: memory is then that of nothing else.
pub(super) const ROLE: &str = "--day";
/// Hours after which memory is looked at.
const LOOKS: [u64; 5] = [1, 6, 12, 18, 24];
/// Seconds between collections.
const STEPS: [u64; 2] = [60, 15];

/// KiB of resident memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Lives a day, a collection after each so many seconds.
pub(super) fn run(seconds: &str) {
    let seconds: u64 = seconds.parse().unwrap();
    counting::count(true);
    let mut ours = Ours::new(ours::of(&DEFAULT), Duration::from_secs(seconds));
    let mut last: Option<(Counts, u64)> = None;
    let mut samples = 0;
    for number in 1..=24 * 3600 / seconds {
        samples = ours.collect(forget);
        let passed = number * seconds;
        if !LOOKS.iter().any(|hour| hour * 3600 == passed) {
            continue;
        }
        let now = counting::counts();
        let (before, from) = last.map_or((None, 0), |(counts, at)| (Some(counts), at));
        let more = now.number - before.map_or(0, |before| before.number);
        println!(
            "| {seconds} s | {} h | {number} | {samples} | {} | {} | {:.1} | {} |",
            passed / 3600,
            now.live,
            now.blocks,
            more as f64 / (number - from) as f64,
            resident()
        );
        last = Some((now, number));
    }
    counting::count(false);
    drop(ours);
    assert!(samples > 0, "there is something to read");
}

pub(super) fn table() {
    println!(
        "| every | after | collections | samples | bytes alive | blocks alive | allocations/collection since the row before | RSS KiB |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for seconds in STEPS {
        let program = std::env::current_exe().unwrap();
        let status = Command::new(program).args([ROLE, &seconds.to_string()]).status().unwrap();
        assert!(status.success(), "the day ends well");
    }
}
