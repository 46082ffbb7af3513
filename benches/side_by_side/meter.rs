//! Reads what processes cost out of `/proc`.

use std::fmt;
use std::fs;
use std::time::Duration;

/// The kernel's clock tick as `/proc` counts in it (`USER_HZ`), the same on every Linux.
const TICK_MS: f64 = 10.0;

/// CPU time of some processes up to now.
pub(super) struct Cpu {
    /// Milliseconds by the scheduler's books: exact, but a thread that has ended is gone from them.
    threads: f64,
    /// Milliseconds in whole ticks, with the threads that have ended.
    ticks: f64,
}

impl Cpu {
    pub(super) fn of(ids: &[u32]) -> Self {
        let sum = |each: fn(u32) -> f64| ids.iter().map(|id| each(*id)).sum();
        Self { threads: sum(threads), ticks: sum(ticks) }
    }

    /// Milliseconds since then. The books of the scheduler count, unless threads have left them.
    pub(super) fn since(&self, before: &Self) -> f64 {
        let (threads, ticks) = (self.threads - before.threads, self.ticks - before.ticks);
        if ticks - threads > 4.0 * TICK_MS { ticks } else { threads }
    }
}

fn threads(id: u32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else { return 0.0 };
    let nanos = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e6
}

fn ticks(id: u32) -> f64 {
    stat(&id.to_string(), [14, 15])
}

/// The sum of two fields of a `stat` file, numbered from 1 as proc(5) does, in milliseconds.
fn stat(id: &str, fields: [usize; 2]) -> f64 {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let Some((_, rest)) = text.rsplit_once(") ") else { return 0.0 };
    let values: Vec<&str> = rest.split(' ').collect();
    fields.iter().filter_map(|n| values.get(n - 3)?.parse::<f64>().ok()).sum::<f64>() * TICK_MS
}

/// CPU milliseconds of the children of this process that have ended.
pub(super) fn ended_children() -> f64 {
    stat("self", [16, 17])
}

/// CPU milliseconds of the calling thread.
pub(super) fn own_thread() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// Softirq milliseconds of the whole machine.
pub(super) fn softirq() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let field = text.lines().next().and_then(|line| line.split_whitespace().nth(7));
    field.and_then(|n| n.parse::<f64>().ok()).unwrap_or_default() * TICK_MS
}

/// KiB of proportional memory of these processes.
pub(super) fn pss(ids: &[u32]) -> u64 {
    let of = |id: &u32| {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    ids.iter().filter_map(of).sum()
}

/// Echo requests that this network namespace has received.
pub(super) fn echoes() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Icmp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let pair = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "InEchos");
    pair.and_then(|(_, n)| n.parse().ok()).unwrap_or_default()
}

/// What one measurement of one side has found.
pub(super) struct Figures {
    /// CPU milliseconds of the side's processes.
    pub(super) cpu: f64,
    /// Softirq milliseconds of the machine.
    pub(super) softirq: f64,
    /// Probes that arrived.
    pub(super) probes: u64,
    /// Bytes that the sink took.
    pub(super) bytes: u64,
    /// KiB.
    pub(super) peak: u64,
    /// The time measured.
    pub(super) length: Duration,
    /// What the side says of its slots, when it does: all that ended, and those that ended well.
    pub(super) slots: Option<(u64, u64)>,
}

impl Figures {
    pub(super) fn cpu_per_probe(&self) -> f64 {
        self.cpu / self.probes.max(1) as f64
    }

    pub(super) fn softirq_per_probe(&self) -> f64 {
        self.softirq / self.probes.max(1) as f64
    }

    pub(super) fn bytes_per_probe(&self) -> f64 {
        self.bytes as f64 / self.probes.max(1) as f64
    }

    pub(super) fn peak_mib(&self) -> f64 {
        self.peak as f64 / 1024.0
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} ms/probe, {:.1} MiB, {} probes in {:.1} s, CPU {:.0} ms, softirq {:.0} ms, {} bytes",
            self.cpu_per_probe(),
            self.peak_mib(),
            self.probes,
            self.length.as_secs_f64(),
            self.cpu,
            self.softirq,
            self.bytes
        )?;
        match self.slots {
            Some((all, ok)) => write!(f, ", {ok} of {all} slots ok since the start"),
            None => Ok(()),
        }
    }
}

/// The middle of some numbers.
pub(super) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
