//! How often CPUs were slowed down because they were hot (x86): each core and each package once,
//! whichever of its CPUs tells.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::host::read::cpu::Stat;
use crate::host::scan;
use crate::host::scraper::{Every, Turn};
use crate::host::source::Kept;
use crate::signal::names::host as names;
use crate::signal::series::Metric;

/// Where a counter belongs: the scope, the package, the core.
type Place = (&'static str, String, String);

struct Counter {
    metric: &'static Metric,
    place: Place,
    file: Kept,
    unit: f64,
}

/// Which counters there are changes with the CPUs that are online.
const LOOK: Duration = Duration::from_secs(3600);

/// The counters of all CPUs.
pub(super) struct Throttle {
    look: Every,
    online: Vec<u32>,
    counters: Vec<Counter>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { look: Every::new(LOOK), online: Vec::new(), counters: Vec::new() }
    }
}

impl Throttle {
    /// Reads the counters of the CPUs that are online.
    pub(super) fn scrape(&mut self, stat: &Stat, turn: &mut Turn<'_>) {
        if !turn.points.wants_any(&[&names::CPU_THROTTLES, &names::CPU_THROTTLE_TIME]) {
            return;
        }
        let online = stat.cpus.iter().map(|(number, _)| *number);
        if !online.clone().eq(self.online.iter().copied()) {
            self.online = online.collect();
            self.look.again();
        }
        if self.look.is_due(turn.now.boot) {
            self.find(turn);
        }
        let mut gone = false;
        for Counter { metric, place, file, unit } in &mut self.counters {
            let (scope, package, core) = place;
            let mut own = vec![("scope", *scope), ("package", package.as_str())];
            if *scope == "core" {
                own.push(("core", core.as_str()));
            }
            let read = turn.source.kept(file).map(scan::first);
            match turn.optional(read) {
                Some(Some(count)) => turn.points.sum(metric, &own, count as f64 * *unit),
                Some(None) => {}
                None => gone = true,
            }
        }
        if gone {
            self.look.again();
        }
    }

    fn find(&mut self, turn: &mut Turn<'_>) {
        let folder = turn.source.root.sys.join("devices/system/cpu");
        let mut found: BTreeMap<(&str, Place), Counter> = BTreeMap::new();
        for cpu in turn.source.names(&folder).unwrap_or_default() {
            let numbered = cpu.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok());
            let at = folder.join(&cpu);
            if !numbered || !at.join("thermal_throttle").is_dir() {
                continue;
            }
            let package = turn.source.text(&at.join("topology/physical_package_id"));
            let core = turn.source.text(&at.join("topology/core_id"));
            let (Ok(package), Ok(core)) = (package, core) else { continue };
            for scope in ["core", "package"] {
                let core = if scope == "core" { core.clone() } else { String::new() };
                let place = (scope, package.clone(), core);
                let files = [
                    ("throttle_count", &names::CPU_THROTTLES, 1.0),
                    ("throttle_total_time_ms", &names::CPU_THROTTLE_TIME, 1e-3),
                ];
                for (file, metric, unit) in files {
                    let path = at.join("thermal_throttle").join(format!("{scope}_{file}"));
                    if !path.exists() {
                        continue;
                    }
                    let file_of = || Kept::short(path);
                    found.entry((file, place.clone())).or_insert_with(|| Counter {
                        metric,
                        place: place.clone(),
                        file: file_of(),
                        unit,
                    });
                }
            }
        }
        // Those that are open stay open.
        let same = |a: &Counter, b: &Counter| a.file.path() == b.file.path();
        for mut counter in std::mem::take(&mut self.counters) {
            if let Some(new) = found.values_mut().find(|new| same(new, &counter)) {
                std::mem::swap(new, &mut counter);
            }
        }
        self.counters = found.into_values().collect();
    }
}
