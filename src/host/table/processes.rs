//! How many processes there are, by status.

use rustix::io::Errno;

use crate::host::read::{cpu, process};
use crate::host::scan;
use crate::host::scraper::{Scraper, Turn};
use crate::host::source::Trouble;
use crate::signal::names::host as names;

/// Counts processes.
pub struct Processes;

/// The Collector's words for the kernel's letters.
fn word(state: u8) -> &'static str {
    match state {
        b'R' => "running",
        b'S' => "sleeping",
        b'D' => "blocked",
        b'I' => "idle",
        b'T' | b't' => "stopped",
        b'Z' => "zombies",
        b'W' => "paging",
        _ => "unknown",
    }
}

const WORDS: [&str; 8] =
    ["running", "sleeping", "blocked", "idle", "stopped", "zombies", "paging", "unknown"];

impl Processes {
    fn count(turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let folder = turn.source.root.proc.clone();
        let mut counts = [0; WORDS.len()];
        let names = turn.source.names(&folder)?;
        if !names.iter().any(|name| name == "1") {
            // Those of others are hidden: what is left is no count.
            return Err(Trouble::errno(&folder.join("1/stat"), Errno::ACCESS));
        }
        for name in names {
            if !name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let read = turn.source.once(&folder.join(&name).join("stat")).map(process::state);
            match read {
                Ok(state) => {
                    let word = state.map_or("unknown", word);
                    if let Some(at) = WORDS.iter().position(|have| *have == word) {
                        counts[at] += 1;
                    }
                }
                // It has ended meanwhile, which some kernels say in another word.
                Err(trouble) if trouble.is_absent() || trouble.is(Errno::SRCH) => {}
                // Hidden, too. One path for all, so that it is told once.
                Err(Trouble { why, .. }) => {
                    return Err(Trouble { what: folder.join("PID/stat"), why });
                }
            }
        }
        for (word, count) in WORDS.into_iter().zip(counts) {
            // The two rare ones are there only when there is such a process.
            if count > 0 || !matches!(word, "paging" | "unknown") {
                turn.points.whole(&names::PROCESSES_COUNT, &[("status", word)], count);
            }
        }
        Ok(())
    }
}

impl Scraper for Processes {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        if turn.points.wants(&names::PROCESSES_COUNT) {
            let counted = Self::count(turn);
            turn.tell(counted);
        }
        if turn.points.wants(&names::PROCESSES_CREATED) {
            let forks = turn.source.proc("stat").map(|bytes| cpu::stat(bytes).forks);
            if let Some(Some(forks)) = turn.tell(forks) {
                turn.points.whole(&names::PROCESSES_CREATED, &[], forks);
            }
        }
        if turn.points.wants(&names::THREADS_COUNT) {
            let load = turn.source.proc("loadavg").map(cpu::load);
            if let Some(threads) = turn.tell(load).flatten().and_then(|load| load.threads) {
                turn.points.whole(&names::THREADS_COUNT, &[], threads);
            }
        }
        if turn.points.wants(&names::THREADS_LIMIT) {
            let pids = turn.source.proc("sys/kernel/pid_max").map(scan::first);
            let threads = turn.source.proc("sys/kernel/threads-max").map(scan::first);
            let limits = [turn.optional(pids).flatten(), turn.optional(threads).flatten()];
            if let Some(limit) = limits.into_iter().flatten().min() {
                turn.points.whole(&names::THREADS_LIMIT, &[], limit);
            }
        }
        Ok(())
    }
}
