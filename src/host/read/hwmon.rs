//! `/sys/class/hwmon` and `/sys/class/thermal`: which sensors there are. Their values are read by
//! whoever asks.

use std::path::{Path, PathBuf};

use crate::host::source::{Source, Trouble};

/// What a sensor measures, by the name of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// `temp*`, thousandths of a degree Celsius.
    Temperature,
    /// `fan*`, revolutions per minute.
    Fan,
    /// `pwm*`, 0 to 255.
    FanControl,
    /// `in*`, thousandths of a volt.
    Voltage,
    /// `power*`, millionths of a watt.
    Power,
    /// `energy*`, millionths of a joule.
    Energy,
    /// `curr*`, thousandths of an ampere.
    Current,
    /// `humidity*`, thousandths of a per cent.
    Humidity,
    /// `freq*`, hertz.
    Frequency,
}

/// The beginnings of file names, longer ones first.
const PREFIXES: [(&str, What); 9] = [
    ("humidity", What::Humidity),
    ("energy", What::Energy),
    ("power", What::Power),
    ("temp", What::Temperature),
    ("curr", What::Current),
    ("freq", What::Frequency),
    ("fan", What::Fan),
    ("pwm", What::FanControl),
    ("in", What::Voltage),
];

/// A sensor of a chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensor {
    /// What it measures.
    pub what: What,
    /// Its name within the chip, such as `temp1`.
    pub name: String,
    /// The text that says where it sits.
    pub label: Option<String>,
    /// The file of its value; none: only alarms.
    pub input: Option<PathBuf>,
    /// Files of limits: the suffix (`max`, `crit`, ...) and the path.
    pub limits: Vec<(&'static str, PathBuf)>,
    /// Files that say that a limit was passed.
    pub alarms: Vec<PathBuf>,
    /// The file that says that the sensor is broken.
    pub fault: Option<PathBuf>,
}

/// A chip with sensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    /// Its name, such as `coretemp`.
    pub name: String,
    /// A name that stays the same from boot to boot, by the path of its device.
    pub id: String,
    /// The folder of its device.
    pub device: Option<PathBuf>,
    /// Its sensors.
    pub sensors: Vec<Sensor>,
}

/// A thermal zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The number in its name.
    pub number: String,
    /// Its type, such as `cpu-thermal`.
    pub kind: String,
    /// The file of its temperature.
    pub input: PathBuf,
    /// The file that says whether it is switched on.
    pub mode: PathBuf,
    /// Whether a chip has the same sensor.
    pub has_chip: bool,
    /// Trip points: the type, and the file of the temperature.
    pub trips: Vec<(String, PathBuf)>,
}

/// A cooling device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// Its name, such as `cooling_device0`.
    pub id: String,
    /// Its type, such as `Processor` or `pwm-fan`.
    pub kind: String,
    /// The file of its state.
    pub state: PathBuf,
    /// The file of its highest state.
    pub limit: PathBuf,
}

const LIMITS: [&str; 6] = ["lcrit", "min", "max", "crit", "emergency", "cap"];

/// Finds all chips.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn chips(source: &mut Source) -> Result<Vec<Chip>, Trouble> {
    let folder = source.root.sys.join("class/hwmon");
    let mut chips: Vec<Chip> = Vec::new();
    for entry in source.names(&folder)? {
        let at = folder.join(&entry);
        // Without a folder behind the link the chip is gone.
        let Ok(real) = std::fs::canonicalize(&at) else { continue };
        let device = std::fs::canonicalize(at.join("device")).ok();
        // Some older drivers have their files in the device's folder.
        let mut files = source.names(&real)?;
        let mut base = real.clone();
        if !files.iter().any(|file| file.ends_with("_input"))
            && let Some(device) = &device
        {
            let others = source.names(device)?;
            if others.iter().any(|file| sensor_of(file).is_some()) {
                (files, base) = (others, device.clone());
            }
        }
        let device_name = || {
            let name = device.as_ref()?.file_name()?;
            Some(name.to_string_lossy().into_owned())
        };
        let name = source.text(&base.join("name")).or_else(|_| source.text(&real.join("name")));
        let name = name.ok().filter(|name| !name.is_empty());
        let stable = device.clone().unwrap_or_else(|| parent_of(&real));
        let id = stable_id(&stable, &source.root.sys);
        let name = name.or_else(device_name).unwrap_or_else(|| entry.clone());
        let sensors = sensors(source, &base, &files);
        chips.push(Chip { name, id, device, sensors });
    }
    tell_apart(&mut chips);
    Ok(chips)
}

/// Chips of one device are told apart by their names, whichever the kernel numbers first; those that
/// have the same name, too, by their order.
fn tell_apart(chips: &mut [Chip]) {
    let plain: Vec<String> = chips.iter().map(|chip| chip.id.clone()).collect();
    for at in 0..chips.len() {
        if plain.iter().filter(|id| **id == plain[at]).count() < 2 {
            continue;
        }
        let named = format!("{}/{}", plain[at], chips[at].name);
        let (mut id, mut number) = (named.clone(), 2);
        while chips[..at].iter().any(|chip| chip.id == id) {
            id = format!("{named}~{number}");
            number += 1;
        }
        chips[at].id = id;
    }
}

/// The folder of the device that a chip without a `device` link belongs to.
fn parent_of(real: &Path) -> PathBuf {
    let parent = real.parent().unwrap_or(real);
    let up = if parent.ends_with("hwmon") { parent.parent().unwrap_or(parent) } else { parent };
    // A chip of no device stands below `virtual/hwmon`: only its own folder tells it apart.
    if up.ends_with("virtual") { real.to_owned() } else { up.to_owned() }
}

/// The path of a device, without what is the same everywhere.
fn stable_id(device: &Path, sys: &Path) -> String {
    let sys = std::fs::canonicalize(sys).unwrap_or_else(|_| sys.to_owned());
    let below = device.strip_prefix(sys.join("devices")).or_else(|_| device.strip_prefix(&sys));
    below.unwrap_or(device).to_string_lossy().into_owned()
}

/// The sensor that a file belongs to, and what it says of it: `temp1_input` is `input` of `temp1`.
fn sensor_of(file: &str) -> Option<(What, &str, &str)> {
    let (prefix, what) = PREFIXES.iter().find(|(prefix, _)| file.starts_with(prefix))?;
    let digits = file[prefix.len()..].bytes().take_while(u8::is_ascii_digit).count();
    let (name, rest) = file.split_at(prefix.len() + digits);
    let rest = match rest.strip_prefix('_') {
        Some(rest) => rest,
        None if rest.is_empty() && *what == What::FanControl => "input",
        None => return None,
    };
    (digits > 0).then_some((*what, name, rest))
}

fn sensors(source: &mut Source, base: &Path, files: &[String]) -> Vec<Sensor> {
    let mut sensors: Vec<Sensor> = Vec::new();
    for file in files {
        let Some((what, name, kind)) = sensor_of(file) else { continue };
        let at = sensors.iter().position(|sensor| sensor.name == name).unwrap_or_else(|| {
            sensors.push(Sensor {
                what,
                name: name.to_owned(),
                label: None,
                input: None,
                limits: Vec::new(),
                alarms: Vec::new(),
                fault: None,
            });
            sensors.len() - 1
        });
        let path = base.join(file);
        let sensor = &mut sensors[at];
        match kind {
            "input" => sensor.input = Some(path),
            "average" if what == What::Power && sensor.input.is_none() => sensor.input = Some(path),
            "label" => {
                let label = source.text(&path).ok();
                sensor.label = label.filter(|label| !label.is_empty());
            }
            "fault" => sensor.fault = Some(path),
            kind if kind == "alarm" || kind.ends_with("_alarm") => sensor.alarms.push(path),
            kind => {
                if let Some(limit) = LIMITS.iter().find(|limit| **limit == kind) {
                    sensor.limits.push((limit, path));
                }
            }
        }
    }
    sensors.retain(|s| s.input.is_some() || !s.alarms.is_empty() || s.fault.is_some());
    sensors
}

/// Finds all thermal zones and cooling devices.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn thermal(source: &mut Source) -> Result<(Vec<Zone>, Vec<Cooling>), Trouble> {
    let folder = source.root.sys.join("class/thermal");
    let (mut zones, mut cooling) = (Vec::new(), Vec::new());
    for entry in source.names(&folder)? {
        let at = folder.join(&entry);
        let kind = source.text(&at.join("type")).ok();
        if let Some(number) = entry.strip_prefix("thermal_zone") {
            let files = source.names(&at)?;
            // The kernel makes a chip of each zone that has one; both are the same sensor.
            let has_chip = files.iter().any(|file| file.starts_with("hwmon"));
            let types =
                files.iter().filter(|f| f.starts_with("trip_point_") && f.ends_with("_type"));
            let mut trips = Vec::new();
            for file in types {
                if let Ok(kind) = source.text(&at.join(file)) {
                    trips.push((kind, at.join(file.replace("_type", "_temp"))));
                }
            }
            zones.push(Zone {
                number: number.to_owned(),
                kind: kind.unwrap_or_else(|| entry.clone()),
                input: at.join("temp"),
                mode: at.join("mode"),
                has_chip,
                trips,
            });
        } else if entry.starts_with("cooling_device") {
            cooling.push(Cooling {
                id: entry.clone(),
                kind: kind.unwrap_or_else(|| entry.clone()),
                state: at.join("cur_state"),
                limit: at.join("max_state"),
            });
        }
    }
    Ok((zones, cooling))
}
