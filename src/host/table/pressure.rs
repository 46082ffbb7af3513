//! Pressure stall information: how long tasks waited for CPUs, memory, disks and interrupts.

use crate::host::read::cpu::{Stall, pressure};
use crate::host::scraper::{Scraper, Turn};
use crate::host::source::Trouble;
use crate::signal::names::host as names;
use crate::signal::series::Metric;

/// Reads pressure.
pub struct Pressure;

/// The resource, its file, and its metric.
const RESOURCES: [(&str, &str, &Metric); 4] = [
    ("cpu", "pressure/cpu", &names::CPU_PRESSURE),
    ("memory", "pressure/memory", &names::MEMORY_PRESSURE),
    ("io", "pressure/io", &names::IO_PRESSURE),
    ("irq", "pressure/irq", &names::IRQ_PRESSURE),
];

impl Scraper for Pressure {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        for (resource, file, metric) in RESOURCES {
            let read = turn.source.proc(file).map(pressure);
            let Some((some, full)) = turn.optional(read) else { continue };
            // That all CPUs stand still at once has no meaning for a whole machine: it is always 0.
            let full = full.filter(|_| resource != "cpu");
            for (kind, stall) in [("some", some), ("full", full)] {
                let Some(Stall { averages, total }) = stall else { continue };
                let own = [("system.pressure.stall_type", kind)];
                turn.points.sum(metric, &own, total as f64 / 1e6);
                for (window, average) in ["10s", "60s", "300s"].into_iter().zip(averages) {
                    let own = [own[0], ("resource", resource), ("window", window)];
                    turn.points.gauge(&names::PRESSURE_AVERAGE, &own, average);
                }
            }
        }
        Ok(())
    }
}
