//! Errors of the hardware: machine checks, memory, disks, RAID arrays, file systems. None of it
//! needs rights; it is looked at once a minute.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::host::points::Points;
use crate::host::read::cpu;
use crate::host::scan;
use crate::host::scraper::{Every, Scraper, Turn};
use crate::host::source::{Source, Trouble};
use crate::signal::names::host as names;
use crate::signal::series::Metric;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Tells the state of a part: 1 for that state, 0 for the others.
pub(super) fn status(points: &mut Points, own: &[(&'static str, &str)], part: &str, state: &str) {
    for word in ["ok", "degraded", "failed"] {
        let mut own = own.to_vec();
        own.extend([("hw.type", part), ("hw.state", word)]);
        points.whole(&names::STATUS, &own, u64::from(word == state));
    }
}

type Own = Vec<(&'static str, String)>;

/// Something that was found, told until it is looked for again.
enum Fact {
    Number(&'static Metric, Own, f64),
    State(Own, &'static str),
}

/// Reads errors of the hardware.
pub struct Faults {
    look: Every,
    facts: Vec<Fact>,
    /// What could not be read at the last look.
    unread: Vec<Trouble>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { look: Every::new(LOOK), facts: Vec::new(), unread: Vec::new() }
    }
}

impl Faults {
    /// What was read; what we may not read, or what fails, is told. That something is not there, or
    /// holds nothing for this kind of device, is as it should be.
    fn keep<T>(&mut self, read: Result<T, Trouble>) -> Option<T> {
        let bad = [Errno::ACCESS, Errno::PERM, Errno::IO, Errno::MFILE];
        read.map_err(|trouble| {
            if bad.iter().any(|errno| trouble.is(*errno)) {
                self.unread.push(trouble);
            }
        })
        .ok()
    }

    fn number(&mut self, metric: &'static Metric, own: &[(&'static str, &str)], value: f64) {
        let own = own.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        self.facts.push(Fact::Number(metric, own, value));
    }

    fn machine_checks(&mut self, turn: &mut Turn<'_>) {
        if !turn.points.wants(&names::HARDWARE_ERRORS) {
            return;
        }
        let read = turn.source.proc("interrupts").map(cpu::machine_checks);
        if let Some(Some(errors)) = turn.optional(read) {
            let own = [("hw.id", "cpu"), ("hw.type", "cpu"), ("error.type", "mce")];
            self.number(&names::HARDWARE_ERRORS, &own, errors as f64);
        }
    }

    fn memory(&mut self, source: &mut Source) {
        let folder = source.root.sys.join("devices/system/edac/mc");
        for controller in self.keep(source.names(&folder)).unwrap_or_default() {
            if !controller.starts_with("mc") {
                continue;
            }
            let at = folder.join(&controller);
            let name = source.text(&at.join("mc_name")).unwrap_or_default();
            for (file, kind) in [("ce_count", "correctable"), ("ue_count", "uncorrectable")] {
                if let Some(errors) = self.keep(source.number(&at.join(file))) {
                    let mut own = vec![("hw.id", controller.as_str())];
                    if !name.is_empty() {
                        own.push(("hw.name", name.as_str()));
                    }
                    own.extend([("hw.type", "memory"), ("error.type", kind)]);
                    self.number(&names::HARDWARE_ERRORS, &own, errors as f64);
                }
            }
        }
    }

    fn disks(&mut self, source: &mut Source) {
        let folder = source.root.sys.join("block");
        for disk in self.keep(source.names(&folder)).unwrap_or_default() {
            let at = folder.join(&disk);
            let device = at.join("device");
            if disk.starts_with("md") {
                self.array(&disk, &at.join("md"), source);
            }
            let model = source.text(&device.join("model")).unwrap_or_default();
            let mut own = vec![("hw.id", disk.as_str())];
            if !model.is_empty() {
                own.push(("hw.name", model.as_str()));
            }
            if let Some(text) = self.keep(source.text(&device.join("ioerr_cnt"))) {
                if let Some(errors) = scan::hex(text.as_bytes()) {
                    let mut own = own.clone();
                    own.extend([("hw.type", "physical_disk"), ("error.type", "io")]);
                    self.number(&names::HARDWARE_ERRORS, &own, errors as f64);
                }
                if let Some(state) = self.keep(source.text(&device.join("state"))) {
                    let state = match state.as_str() {
                        "running" => "ok",
                        "blocked" | "quiesce" | "created" => "degraded",
                        _ => "failed",
                    };
                    self.state(&own, state);
                }
            }
            // eMMC and SD: tenths of its life that are used up, 0x01 to 0x0b, for each of two areas.
            if let Some(text) = self.keep(source.text(&device.join("life_time"))) {
                let used = scan::words(text.as_bytes()).filter_map(scan::hex);
                if let Some(used) = used.filter(|tenths| (1..=11).contains(tenths)).max() {
                    let left = 1.0 - (used - 1) as f64 / 10.0;
                    let mut own = own.clone();
                    own.push(("hw.physical_disk.state", "remaining"));
                    self.number(&names::DISK_ENDURANCE, &own, left.max(0.0));
                }
            }
        }
        let folder = source.root.sys.join("class/nvme");
        for controller in self.keep(source.names(&folder)).unwrap_or_default() {
            let at = folder.join(&controller);
            let Some(state) = self.keep(source.text(&at.join("state"))) else { continue };
            let model = source.text(&at.join("model")).unwrap_or_default();
            let mut own = vec![("hw.id", controller.as_str())];
            if !model.is_empty() {
                own.push(("hw.name", model.as_str()));
            }
            let state = match state.as_str() {
                "live" => "ok",
                "new" | "resetting" | "connecting" => "degraded",
                _ => "failed",
            };
            self.state(&own, state);
        }
    }

    fn state(&mut self, own: &[(&'static str, &str)], state: &'static str) {
        let own = own.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        self.facts.push(Fact::State(own, state));
    }

    fn array(&mut self, device: &str, at: &Path, source: &mut Source) {
        let own = [("device", device)];
        // The file holds nothing for kinds of arrays that cannot lack a disk.
        if let Some(degraded) = self.keep(source.number(&at.join("degraded"))) {
            self.number(&names::MD_DEGRADED, &own, degraded as f64);
        }
        let state = source.text(&at.join("array_state"));
        if let (Ok(state), Ok(disks)) = (state, source.number(&at.join("raid_disks"))) {
            let own = [own[0], ("state", state.as_str())];
            self.number(&names::MD_DISKS, &own, disks as f64);
        }
        if let Some(sectors) = self.keep(source.number(&at.join("mismatch_cnt"))) {
            self.number(&names::MD_MISMATCHES, &own, sectors as f64);
        }
    }

    fn file_systems(&mut self, source: &mut Source) {
        let folder = source.root.sys.join("fs/ext4");
        for device in self.keep(source.names(&folder)).unwrap_or_default() {
            let at = folder.join(&device);
            let own = [("device", device.as_str())];
            if let Some(written) = self.keep(source.number(&at.join("lifetime_write_kbytes"))) {
                self.number(&names::DISK_LIFETIME_WRITES, &own, written as f64 * 1024.0);
            }
            if let Some(errors) = self.keep(source.number(&at.join("errors_count"))) {
                self.number(&names::FILESYSTEM_ERRORS, &own, errors as f64);
            }
        }
        let folder = source.root.sys.join("fs/btrfs");
        for file_system in self.keep(source.names(&folder)).unwrap_or_default() {
            let devices = folder.join(&file_system).join("devinfo");
            for device in self.keep(source.names(&devices)).unwrap_or_default() {
                let path = devices.join(&device).join("error_stats");
                let Ok(bytes) = source.once(&path) else { continue };
                let counts =
                    scan::lines(bytes).filter_map(|l| scan::number(scan::words(l).nth(1)?));
                let errors: u64 = counts.sum();
                let device = format!("{file_system}/{device}");
                self.number(&names::FILESYSTEM_ERRORS, &[("device", &device)], errors as f64);
            }
        }
    }
}

impl Scraper for Faults {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        if self.look.is_due(turn.now.boot) {
            self.facts.clear();
            self.unread.clear();
            self.machine_checks(turn);
            self.memory(turn.source);
            self.disks(turn.source);
            self.file_systems(turn.source);
        }
        turn.troubles.now.extend(self.unread.iter().cloned());
        for fact in &self.facts {
            let (Fact::Number(_, own, _) | Fact::State(own, _)) = fact;
            let own: Vec<(&'static str, &str)> =
                own.iter().map(|(name, text)| (*name, text.as_str())).collect();
            match fact {
                Fact::Number(metric, _, value) => turn.points.gauge(metric, &own, *value),
                Fact::State(_, state) => status(turn.points, &own, "physical_disk", state),
            }
        }
        Ok(())
    }
}
