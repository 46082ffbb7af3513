//! CPUs: time, utilization, tasks, waiting; and the load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::host::read::cpu::{self, IDLE, STATES, Stat};
use crate::host::scan;
use crate::host::scraper::{Every, Scraper, Turn};
use crate::host::source::{Kept, Trouble};
use crate::host::table::throttle::Throttle;
use crate::signal::names::host as names;

/// The Collector's words for states, in the kernel's order of fields.
const WORDS: [&str; STATES] =
    ["user", "nice", "system", "idle", "wait", "interrupt", "softirq", "steal"];

/// A CPU whose idle time falls by this many seconds was taken out and put back.
const HOTPLUG: u64 = 3;

/// What is remembered of a CPU.
struct Known {
    name: String,
    times: [u64; STATES],
    frequency: Option<Kept>,
}

/// Reads CPUs.
pub struct Cpu {
    ticks: u64,
    known: BTreeMap<u32, Known>,
    throttle: Throttle,
    topology: Every,
    cores: Option<u64>,
}

impl Default for Cpu {
    fn default() -> Self {
        Self {
            ticks: procfs::ticks_per_second(),
            known: BTreeMap::new(),
            throttle: Throttle::default(),
            topology: Every::new(Duration::from_secs(3600)),
            cores: None,
        }
    }
}

/// The times that a CPU has after a reading: none of them falls (idle and iowait can, in the kernel's
/// own account), unless it was taken out and put back. `true`: it was.
fn settle(before: &[u64; STATES], now: &[u64; STATES], ticks: u64) -> ([u64; STATES], bool) {
    if before[IDLE].saturating_sub(now[IDLE]) >= HOTPLUG * ticks {
        return (*now, true);
    }
    let mut times = *now;
    for (time, before) in times.iter_mut().zip(before) {
        *time = (*time).max(*before);
    }
    (times, false)
}

/// The share of each state in the time that has passed; none when no time has.
fn shares(before: &[u64; STATES], now: &[u64; STATES]) -> Option<[f64; STATES]> {
    let mut shares = [0.0; STATES];
    for (share, (before, now)) in shares.iter_mut().zip(before.iter().zip(now)) {
        *share = now.saturating_sub(*before) as f64;
    }
    let total: f64 = shares.iter().sum();
    (total > 0.0).then(|| shares.map(|share| (share / total).clamp(0.0, 1.0)))
}

impl Cpu {
    fn times(&mut self, stat: &Stat, turn: &mut Turn<'_>) {
        let ticks = self.ticks as f64;
        for (number, now) in &stat.cpus {
            let new = || Known { name: format!("cpu{number}"), times: *now, frequency: None };
            let before = self.known.get(number).map(|known| known.times);
            let known = self.known.entry(*number).or_insert_with(new);
            let mut moved = None;
            if let Some(before) = before {
                let (times, restarted) = settle(&before, now, self.ticks);
                known.times = times;
                moved = (!restarted).then(|| shares(&before, &times)).flatten();
            }
            for (state, word) in WORDS.iter().enumerate() {
                let own = [("cpu", known.name.as_str()), ("state", *word)];
                turn.points.sum(&names::CPU_TIME, &own, known.times[state] as f64 / ticks);
                if let Some(shares) = &moved {
                    turn.points.gauge(&names::CPU_UTILIZATION, &own, shares[state]);
                }
            }
        }
        // A CPU that is gone is a new one when it comes back.
        self.known.retain(|number, _| stat.cpus.iter().any(|(have, _)| have == number));
    }

    fn frequencies(&mut self, turn: &mut Turn<'_>) {
        if !turn.points.wants(&names::CPU_FREQUENCY) {
            return;
        }
        let folder = turn.source.root.sys.join("devices/system/cpu");
        for known in self.known.values_mut() {
            let file = known.frequency.get_or_insert_with(|| {
                Kept::short(folder.join(&known.name).join("cpufreq/scaling_cur_freq"))
            });
            let read = turn.source.kept(file).map(scan::first);
            if let Some(Some(kilohertz)) = turn.optional(read) {
                let own = [("cpu", known.name.as_str())];
                turn.points.gauge(&names::CPU_FREQUENCY, &own, kilohertz as f64 * 1000.0);
            }
        }
    }

    fn physical(&mut self, turn: &mut Turn<'_>) {
        if !turn.points.wants(&names::CPU_PHYSICAL_COUNT) {
            return;
        }
        if self.topology.is_due(turn.now.boot) {
            let folder = turn.source.root.sys.join("devices/system/cpu");
            let mut cores = BTreeSet::new();
            for known in self.known.values() {
                let topology: PathBuf = folder.join(&known.name).join("topology");
                let core = turn.source.number(&topology.join("core_id"));
                let package = turn.source.number(&topology.join("physical_package_id"));
                if let (Ok(core), Ok(package)) = (core, package) {
                    cores.insert((package, core));
                }
            }
            self.cores = (!cores.is_empty()).then_some(cores.len() as u64);
        }
        if let Some(cores) = self.cores {
            turn.points.whole(&names::CPU_PHYSICAL_COUNT, &[], cores);
        }
    }
}

impl Scraper for Cpu {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let stat = cpu::stat(turn.source.proc("stat")?);
        if stat.cpus.is_empty() {
            return Err(Trouble::wrong(&turn.source.proc_path("stat"), "no CPU in it"));
        }
        self.throttle.scrape(&stat, turn);
        self.times(&stat, turn);
        turn.points.whole(&names::CPU_LOGICAL_COUNT, &[], stat.cpus.len() as u64);
        for (state, tasks) in [("runnable", stat.running), ("blocked", stat.blocked)] {
            if let Some(tasks) = tasks {
                turn.points.whole(&names::CPU_TASKS, &[("state", state)], tasks);
            }
        }
        if let Some(switches) = stat.context_switches {
            turn.points.whole(&names::CPU_CONTEXT_SWITCHES, &[], switches);
        }
        if let Some(interrupts) = stat.interrupts {
            turn.points.whole(&names::CPU_INTERRUPTS, &[], interrupts);
        }
        if turn.points.wants(&names::CPU_RUN_QUEUE_TIME) {
            let read = turn.source.proc("schedstat").map(cpu::run_queue);
            if let Some(Some(waited)) = turn.optional(read) {
                turn.points.sum(&names::CPU_RUN_QUEUE_TIME, &[], waited as f64 / 1e9);
            }
        }
        self.frequencies(turn);
        self.physical(turn);
        Ok(())
    }
}

/// Reads the load.
pub struct Load {
    /// Whether it is divided by the number of CPUs.
    pub per_cpu: bool,
}

impl Scraper for Load {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let load = cpu::load(turn.source.proc("loadavg")?);
        let path = || turn.source.proc_path("loadavg");
        let load = load.ok_or_else(|| Trouble::wrong(&path(), "three numbers are expected"))?;
        let cpus = match self.per_cpu {
            true => cpu::stat(turn.source.proc("stat")?).cpus.len().max(1) as f64,
            false => 1.0,
        };
        let metrics = [&names::LOAD_1M, &names::LOAD_5M, &names::LOAD_15M];
        for (metric, average) in metrics.into_iter().zip(load.averages) {
            turn.points.gauge(metric, &[], average / cpus);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Edge cases 1 and 2.
    #[test]
    fn times_never_fall_but_after_hotplug() {
        let before = [10, 0, 10, 1000, 50, 0, 0, 0];
        let (times, restarted) = settle(&before, &[11, 0, 10, 999, 40, 0, 0, 0], 100);
        assert_eq!((times, restarted), ([11, 0, 10, 1000, 50, 0, 0, 0], false));
        let now = [1, 0, 1, 700, 0, 0, 0, 0];
        assert_eq!(settle(&before, &now, 100), (now, true));
    }

    /// Edge case 3: no share of no time, none below 0 or above 1.
    #[test]
    fn shares_of_time() {
        let before = [10, 0, 0, 100, 0, 0, 0, 0];
        assert_eq!(shares(&before, &before), None);
        let shares = shares(&before, &[35, 0, 0, 175, 0, 0, 0, 0]).expect("time has passed");
        assert_eq!((shares[0], shares[3], shares[1]), (0.25, 0.75, 0.0));
    }
}
