//! The machine as a whole: since when it runs, its clock, its file descriptors.

use crate::host::read::cpu;
use crate::host::scan;
use crate::host::scraper::{Scraper, Turn};
use crate::host::source::Trouble;
use crate::signal::names::host as names;

/// The start of the machine is computed from two clocks and trembles; when it moves by more than
/// this, the clock was set.
const TREMBLE: f64 = 2.0;

/// Reads the machine.
#[derive(Default)]
pub struct System {
    boot: Option<f64>,
}

impl Scraper for System {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        if turn.points.wants(&names::UPTIME) {
            // In a container the file may tell of the container, which is what people mean there.
            let uptime = turn.source.proc("uptime").map(cpu::uptime);
            let uptime = turn.tell(uptime).flatten().unwrap_or(turn.now.boot.0.as_secs_f64());
            turn.points.gauge(&names::UPTIME, &[], uptime);
        }
        if turn.points.wants(&names::BOOT_TIME) {
            let stat = turn.source.proc("stat").map(cpu::stat);
            if let Some(now) = turn.tell(stat).and_then(|stat| stat.boot) {
                let now = now as f64;
                let boot = self.boot.filter(|boot| (boot - now).abs() <= TREMBLE).unwrap_or(now);
                self.boot = Some(boot);
                turn.points.gauge(&names::BOOT_TIME, &[], boot);
            }
        }
        let clock = [
            &names::TIME_OFFSET,
            &names::TIME_MAX_ERROR,
            &names::TIME_FREQUENCY,
            &names::TIME_SYNCHRONIZED,
        ];
        if turn.points.wants_any(&clock) {
            let read = turn.source.kernel.clock();
            let read = read.map_err(|errno| Trouble::errno("adjtimex".as_ref(), errno));
            if let Some(read) = turn.tell(read) {
                let synchronized = f64::from(u8::from(read.synchronized));
                let values = [read.offset, read.max_error, read.frequency, synchronized];
                for (metric, value) in clock.into_iter().zip(values) {
                    turn.points.gauge(metric, &[], value);
                }
            }
        }
        let descriptors = [&names::FILE_DESCRIPTOR_COUNT, &names::FILE_DESCRIPTOR_LIMIT];
        if turn.points.wants_any(&descriptors) {
            let read = turn.source.proc("sys/fs/file-nr").map(cpu::file_descriptors);
            if let Some(Some((open, limit))) = turn.optional(read) {
                turn.points.whole(descriptors[0], &[], open);
                turn.points.whole(descriptors[1], &[], limit);
            }
        }
        if turn.points.wants(&names::ENTROPY) {
            let read = turn.source.proc("sys/kernel/random/entropy_avail").map(scan::first);
            if let Some(Some(bits)) = turn.optional(read) {
                turn.points.gauge(&names::ENTROPY, &[], bits as f64);
            }
        }
        if turn.points.wants(&names::HUNG_TASKS) {
            let read = turn.source.proc("sys/kernel/hung_task_detect_count").map(scan::first);
            if let Some(Some(tasks)) = turn.optional(read) {
                turn.points.whole(&names::HUNG_TASKS, &[], tasks);
            }
        }
        Ok(())
    }
}
