//! Temperatures, fans, voltages, power and what else sensors tell, with their limits and alarms.
//!
//! A sensor that has no value now is left out for now: it hides no other, and is never a zero.
//! Limits are read once an hour, because reading them takes the device's time. Sensors are looked for
//! then, too, when a device comes or goes (which is looked at each minute), and when one does not
//! answer any more.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::base::clock::BootTime;
use crate::host::read::hwmon::{self, Chip, Cooling, Sensor, What, Zone};
use crate::host::scan;
use crate::host::scraper::{Every, Scraper, Turn};
use crate::host::source::{Kept, Source, Trouble};
use crate::host::table::faults::status;
use crate::signal::names::host as names;
use crate::signal::series::Metric;

/// Devices with sensors come and go.
const LOOK: Duration = Duration::from_secs(60);
/// Limits rarely change.
const LIMITS: Duration = Duration::from_secs(3600);
/// A disk that turns is asked no more often than this, and not when it sleeps.
const DISKS: Duration = Duration::from_secs(300);

/// A sensor at work.
struct Live {
    id: String,
    chip: String,
    parent: String,
    sensor: Sensor,
    input: Option<Kept>,
    alarms: Vec<Kept>,
    fault: Option<Kept>,
    /// The limit's type and value.
    limits: Vec<(&'static str, f64)>,
    /// A disk that must not be woken: its folder, when it is asked, and what it said.
    disk: Option<(std::path::PathBuf, Every, Option<f64>)>,
}

/// A thermal zone at work.
struct LiveZone {
    zone: Zone,
    id: String,
    input: Kept,
    mode: Kept,
    limits: Vec<(&'static str, f64)>,
}

/// Energy that a processor counts itself, until it begins again at the end of its range.
struct Meter {
    id: String,
    name: String,
    file: Kept,
    range: u64,
    last: u64,
    before: u64,
}

/// Reads sensors.
pub struct Thermal {
    look: Every,
    /// When a sensor that is gone may be looked for.
    search: Every,
    /// The names of all devices when sensors were looked for the last time.
    devices: Option<[Vec<String>; 4]>,
    limits: Every,
    sensors: Vec<Live>,
    zones: Vec<LiveZone>,
    cooling: Vec<(Cooling, Kept, Option<u64>)>,
    meters: Vec<Meter>,
    batteries: Vec<(String, Kept)>,
}

impl Default for Thermal {
    fn default() -> Self {
        Self {
            look: Every::new(LOOK),
            search: Every::new(LOOK),
            devices: None,
            limits: Every::new(LIMITS),
            sensors: Vec::new(),
            zones: Vec::new(),
            cooling: Vec::new(),
            meters: Vec::new(),
            batteries: Vec::new(),
        }
    }
}

/// What a sensor's number is worth, and under which metric it goes.
fn measure(what: What) -> (&'static Metric, f64) {
    match what {
        What::Temperature => (&names::TEMPERATURE, 1e-3),
        What::Fan => (&names::FAN_SPEED, 1.0),
        What::FanControl => (&names::FAN_SPEED_RATIO, 1.0 / 255.0),
        What::Voltage => (&names::VOLTAGE, 1e-3),
        What::Power => (&names::POWER, 1e-6),
        What::Energy => (&names::ENERGY, 1e-6),
        What::Current => (&names::CURRENT, 1e-3),
        What::Humidity => (&names::HUMIDITY, 1e-5),
        What::Frequency => (&names::FREQUENCY, 1.0),
    }
}

/// The convention's word for a limit.
fn limit_type(suffix: &str) -> Option<&'static str> {
    Some(match suffix {
        "max" => "high.degraded",
        "crit" => "high.critical",
        "emergency" => "high.emergency",
        "min" => "low.degraded",
        "lcrit" => "low.critical",
        _ => return None,
    })
}

/// The convention's word for what a sensor belongs to.
fn part(what: What, chip: &str) -> &'static str {
    match what {
        What::Temperature => "temperature",
        What::Fan | What::FanControl => "fan",
        What::Voltage => "voltage",
        _ => match chip {
            "amdgpu" | "nouveau" | "i915" | "xe" | "radeon" => "gpu",
            "coretemp" | "k10temp" | "zenpower" | "fam15h_power" | "amd_energy" => "cpu",
            _ => "power_supply",
        },
    }
}

/// A sensor's number: one line, no more.
fn number(source: &mut Source, file: &mut Kept) -> Result<f64, Trouble> {
    let read = scan::decimal(source.kept(file)?.trim_ascii());
    read.ok_or_else(|| Trouble::wrong(file.path(), "a number is expected"))
}

/// Whether a sensor merely has no value now.
fn passing(trouble: &Trouble) -> bool {
    [Errno::AGAIN, Errno::NODATA, Errno::TIMEDOUT, Errno::BUSY].iter().any(|e| trouble.is(*e))
}

impl Thermal {
    fn look(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let names = |class| {
            turn.source.names(&turn.source.root.sys.join("class").join(class)).unwrap_or_default()
        };
        let devices = ["hwmon", "thermal", "powercap", "power_supply"].map(names);
        let limits = self.limits.is_due(turn.now.boot);
        if limits || self.devices.as_ref() != Some(&devices) {
            self.devices = None;
            self.find(limits, turn)?;
            self.devices = Some(devices);
        }
        Ok(())
    }

    fn find(&mut self, limits: bool, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let chips = hwmon::chips(turn.source)?;
        let (zones, cooling) = hwmon::thermal(turn.source)?;
        let before = std::mem::take(&mut self.sensors);
        let mut kept: Vec<Live> = before;
        for chip in chips {
            for sensor in &chip.sensors {
                let id = format!("{}/{}", chip.id, sensor.name);
                let same = |live: &Live| live.id == id && live.sensor == *sensor;
                let mut live = match kept.iter().position(same) {
                    Some(at) => kept.swap_remove(at),
                    None => Live::new(id, &chip, sensor, turn),
                };
                if limits || live.limits.is_empty() {
                    live.read_limits(turn);
                }
                self.sensors.push(live);
            }
        }
        let mut before = std::mem::take(&mut self.zones);
        for zone in zones {
            let known = before.iter().position(|live| !limits && live.zone == zone);
            let live = known.map(|at| before.swap_remove(at));
            self.zones.push(live.unwrap_or_else(|| LiveZone::new(zone, turn)));
        }
        self.cooling = cooling
            .into_iter()
            .map(|device| {
                let limit = turn.source.number(&device.limit).ok();
                let limit = limit.and_then(|limit| u64::try_from(limit).ok());
                let state = Kept::short(device.state.clone());
                (device, state, limit)
            })
            .collect();
        self.find_meters(turn);
        Ok(())
    }

    fn find_meters(&mut self, turn: &mut Turn<'_>) {
        let folder = turn.source.root.sys.join("class/powercap");
        let found = turn.source.names(&folder).unwrap_or_default();
        for zone in found.iter().filter(|zone| zone.contains(':')) {
            let id = format!("powercap/{zone}");
            if self.meters.iter().any(|meter| meter.id == id) {
                continue;
            }
            let at = folder.join(zone);
            let Ok(name) = turn.source.text(&at.join("name")) else { continue };
            let range = turn.source.number(&at.join("max_energy_range_uj")).unwrap_or(0);
            let range = u64::try_from(range).unwrap_or(0);
            let file = Kept::short(at.join("energy_uj"));
            self.meters.push(Meter { id, name, file, range, last: 0, before: 0 });
        }
        self.meters.retain(|meter| found.iter().any(|zone| meter.id == format!("powercap/{zone}")));
        let folder = turn.source.root.sys.join("class/power_supply");
        let supplies = turn.source.names(&folder).unwrap_or_default();
        let files = supplies.into_iter().map(|name| {
            let file = Kept::short(folder.join(&name).join("capacity"));
            (name, file)
        });
        self.batteries = files.filter(|(_, file)| file.path().exists()).collect();
    }

    fn zones(&mut self, turn: &mut Turn<'_>) {
        for LiveZone { zone, id, input, mode, limits } in &mut self.zones {
            // One that is switched off has no value, whatever its file says.
            if turn.source.kept(mode).is_ok_and(|mode| mode.trim_ascii() == b"disabled") {
                continue;
            }
            let wanted = if zone.has_chip {
                turn.points.wants(&names::CPU_TEMPERATURE)
            } else {
                turn.points.wants_any(&[&names::CPU_TEMPERATURE, &names::TEMPERATURE])
            };
            let own = [("hw.id", id.as_str()), ("hw.name", zone.kind.as_str())];
            if !zone.has_chip {
                for (kind, value) in &*limits {
                    let own = [own[0], own[1], ("hw.limit_type", *kind)];
                    turn.points.gauge(&names::TEMPERATURE_LIMIT, &own, *value);
                }
            }
            if !wanted {
                continue;
            }
            let degrees = match number(turn.source, input) {
                Ok(thousandths) => thousandths * 1e-3,
                Err(trouble) if passing(&trouble) => {
                    turn.troubles.absent.insert(trouble);
                    continue;
                }
                Err(trouble) => {
                    turn.trouble(trouble);
                    continue;
                }
            };
            turn.points.gauge(&names::CPU_TEMPERATURE, &[("thermalzone", &zone.number)], degrees);
            // The chip of a zone tells the same.
            if !zone.has_chip {
                turn.points.gauge(&names::TEMPERATURE, &own, degrees);
            }
        }
        for (device, state, limit) in &mut self.cooling {
            let own = [("hw.id", device.id.as_str()), ("type", device.kind.as_str())];
            // Some say -1 when they do not know.
            let read = number(turn.source, state);
            if let Some(state) = turn.optional(read).filter(|state| *state >= 0.0) {
                turn.points.gauge(&names::COOLING_STATE, &own, state);
            }
            if let Some(limit) = limit {
                turn.points.gauge(&names::COOLING_LIMIT, &own, *limit as f64);
            }
        }
    }

    fn energy(&mut self, turn: &mut Turn<'_>) {
        if turn.points.wants(&names::ENERGY) {
            for meter in &mut self.meters {
                let read = turn.source.kept(&mut meter.file).map(scan::first);
                let now = match read {
                    Ok(Some(now)) => now,
                    // Only root may read it: that is how it is everywhere.
                    Err(trouble) => {
                        turn.troubles.absent.insert(trouble);
                        continue;
                    }
                    Ok(None) => continue,
                };
                if now < meter.last {
                    meter.before = meter.before.wrapping_add(meter.range.max(meter.last));
                }
                meter.last = now;
                let joules = meter.before.wrapping_add(now) as f64 * 1e-6;
                let own = [
                    ("hw.id", meter.id.as_str()),
                    ("hw.name", meter.name.as_str()),
                    ("hw.type", "cpu"),
                ];
                turn.points.sum(&names::ENERGY, &own, joules);
            }
        }
        for (name, file) in &mut self.batteries {
            let read = number(turn.source, file);
            if let Some(charge) = turn.optional(read) {
                let own = [("hw.id", name.as_str()), ("hw.name", name.as_str())];
                turn.points.gauge(&names::BATTERY_CHARGE, &own, charge / 100.0);
            }
        }
    }
}

impl Scraper for Thermal {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        if self.look.is_due(turn.now.boot) {
            self.look(turn)?;
        }
        let mut gone = false;
        for live in &mut self.sensors {
            gone |= live.tell(turn);
        }
        // One that is gone for good is not looked for each time.
        if gone && self.search.is_due(turn.now.boot) {
            self.look.again();
            self.devices = None;
        }
        self.zones(turn);
        self.energy(turn);
        Ok(())
    }
}

impl Live {
    fn new(id: String, chip: &Chip, sensor: &Sensor, turn: &mut Turn<'_>) -> Self {
        let disk = (chip.name == "drivetemp")
            .then(|| chip.device.clone())
            .flatten()
            .filter(|device| turns(turn.source, device))
            .map(|device| (device, Every::new(DISKS), None));
        Self {
            id,
            chip: chip.name.clone(),
            parent: chip.id.clone(),
            input: sensor.input.clone().map(Kept::short),
            alarms: sensor.alarms.iter().cloned().map(Kept::short).collect(),
            fault: sensor.fault.clone().map(Kept::short),
            sensor: sensor.clone(),
            limits: Vec::new(),
            disk,
        }
    }

    fn read_limits(&mut self, turn: &mut Turn<'_>) {
        let (_, unit) = measure(self.sensor.what);
        self.limits.clear();
        for (suffix, path) in &self.sensor.limits {
            let value = turn.source.number(path);
            if let (Some(kind), Ok(value)) = (limit_type(suffix), value) {
                self.limits.push((kind, value as f64 * unit));
            }
        }
    }

    /// Tells what a sensor says; `true` when it seems to be gone.
    fn tell(&mut self, turn: &mut Turn<'_>) -> bool {
        let (metric, unit) = measure(self.sensor.what);
        let what = self.sensor.what;
        let mut own = vec![("hw.id", self.id.as_str()), ("hw.name", self.chip.as_str())];
        if let Some(label) = &self.sensor.label {
            own.push(("hw.sensor_location", label));
        }
        let plain = own.len();
        if what == What::Temperature {
            own.push(("hw.parent", self.parent.as_str()));
        }
        if matches!(what, What::Power | What::Energy) {
            own.push(("hw.type", part(what, &self.chip)));
        }
        let limit = match what {
            What::Temperature => Some(&names::TEMPERATURE_LIMIT),
            What::Voltage => Some(&names::VOLTAGE_LIMIT),
            _ => None,
        };
        if let Some(metric) = limit {
            for (kind, value) in &self.limits {
                let mut own = own.clone();
                own.push(("hw.limit_type", kind));
                turn.points.gauge(metric, &own, *value);
            }
        }
        let mut gone = false;
        if let Some(input) = self.input.as_mut().filter(|_| turn.points.wants(metric)) {
            let read = match &mut self.disk {
                Some((device, every, last)) => sleeping(turn, device, every, last, input),
                None => number(turn.source, input),
            };
            match read {
                Ok(value) => turn.points.gauge(metric, &own, value * unit),
                Err(trouble) if passing(&trouble) => drop(turn.troubles.absent.insert(trouble)),
                Err(trouble) => {
                    gone = trouble.is_absent() || trouble.is(Errno::NODEV);
                    if !gone {
                        turn.trouble(trouble);
                    }
                }
            }
        }
        if self.alarms.is_empty() && self.fault.is_none() || !turn.points.wants(&names::STATUS) {
            return gone;
        }
        own.truncate(plain);
        let mut set = |file: &mut Kept| {
            let read = number(turn.source, file);
            read.map(|value| value != 0.0).ok()
        };
        let failed = self.fault.as_mut().and_then(&mut set);
        let alarms: Vec<Option<bool>> = self.alarms.iter_mut().map(&mut set).collect();
        if failed.is_none() && alarms.iter().all(Option::is_none) {
            return gone;
        }
        let state = match (failed, alarms.contains(&Some(true))) {
            (Some(true), _) => "failed",
            (_, true) => "degraded",
            _ => "ok",
        };
        status(turn.points, &own, part(what, &self.chip), state);
        gone
    }
}

/// The value of a disk that must not be woken: asked now and then, while the disk is awake.
fn sleeping(
    turn: &mut Turn<'_>,
    device: &Path,
    every: &mut Every,
    last: &mut Option<f64>,
    input: &mut Kept,
) -> Result<f64, Trouble> {
    let now: BootTime = turn.now.boot;
    let awake = turn.source.text(&device.join("power/runtime_status"));
    if !awake.is_ok_and(|status| status == "active") {
        *last = None;
        every.again();
        return Err(Trouble::errno(input.path(), Errno::AGAIN));
    }
    if every.is_due(now) {
        *last = number(turn.source, input).ok();
    }
    last.ok_or_else(|| Trouble::errno(input.path(), Errno::AGAIN))
}

/// Whether the disk of a device turns.
fn turns(source: &mut Source, device: &Path) -> bool {
    let folder = device.join("block");
    let disks = source.names(&folder).unwrap_or_default();
    disks.iter().any(|disk| source.number(&folder.join(disk).join("queue/rotational")) == Ok(1))
}

impl LiveZone {
    fn new(zone: Zone, turn: &mut Turn<'_>) -> Self {
        let mut limits: Vec<(&'static str, f64)> = Vec::new();
        for (kind, path) in &zone.trips {
            let kind = match kind.as_str() {
                "passive" => "throttled",
                "hot" => "high.degraded",
                "critical" => "high.critical",
                _ => continue,
            };
            // The lowest of several counts: there it begins.
            if let Ok(value) = turn.source.number(path) {
                let value = value as f64 * 1e-3;
                match limits.iter_mut().find(|(have, _)| *have == kind) {
                    Some(limit) => limit.1 = limit.1.min(value),
                    None => limits.push((kind, value)),
                }
            }
        }
        let id = format!("virtual/thermal/thermal_zone{}", zone.number);
        let (input, mode) = (Kept::short(zone.input.clone()), Kept::short(zone.mode.clone()));
        Self { id, input, mode, limits, zone }
    }
}
