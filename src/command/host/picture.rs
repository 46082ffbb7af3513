//! What two readings of the host say, in words: rows of a USE table (utilization, saturation, errors).

use std::collections::BTreeMap;

use crate::app::facts;
use crate::base::text::tame;
use crate::host::hints::hint;
use crate::host::scraper::Troubles;
use crate::host::source::Trouble;
use crate::signal::batch::{Sample, Value};
use crate::signal::names::host as names;
use crate::signal::series::Metric;

/// A cell of the table.
pub(super) struct Cell {
    pub(super) text: String,
    /// How bad it is, 0 to 1; `None`: it is not known, and the text says why.
    pub(super) share: Option<f64>,
}

/// A row of the table.
pub(super) struct Row {
    pub(super) resource: String,
    pub(super) utilization: Cell,
    pub(super) saturation: Cell,
    pub(super) errors: Cell,
}

/// A temperature.
pub(super) struct Sensor {
    pub(super) name: String,
    pub(super) now: String,
    pub(super) degrees: f64,
    pub(super) limits: String,
    /// The share of its lowest limit.
    pub(super) share: Option<f64>,
}

/// A sample in short.
pub(super) struct Point<'a> {
    pub(super) sample: &'a Sample,
    pub(super) value: f64,
}

/// Two readings.
pub(super) struct Picture<'a> {
    now: BTreeMap<&'static str, Vec<Point<'a>>>,
    before: BTreeMap<u64, f64>,
    passed: f64,
    missing: Vec<Trouble>,
}

fn number(sample: &Sample) -> Option<f64> {
    match sample.value {
        Value::Double(value) => Some(value),
        Value::Int(value) => Some(value as f64),
        _ => None,
    }
}

pub(super) fn known(share: f64, text: String) -> Cell {
    Cell { text, share: Some(share) }
}

pub(super) fn unknown(why: impl Into<String>) -> Cell {
    Cell { text: why.into(), share: None }
}

/// Counts of what went wrong: what comes while we look is bad, what came before is told.
pub(super) fn faults(parts: &[(Count, &str)], none: &str) -> Cell {
    let told = |pick: fn(&Count) -> f64| -> Vec<String> {
        let found = parts.iter().filter(|(count, _)| pick(count) > 0.0);
        found.map(|(count, what)| format!("{:.0} {what}", pick(count))).collect()
    };
    let (now, before) = (told(|count| count.grown), told(|count| count.total));
    if !now.is_empty() {
        known(0.8, format!("{} now", now.join(", ")))
    } else if before.is_empty() {
        known(0.0, none.to_owned())
    } else {
        known(0.0, format!("none now; {} since the start", before.join(", ")))
    }
}

/// A count since the machine started, and how much of it came while we looked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) total: f64,
    pub(super) grown: f64,
}

pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        share if share > 0.0 && share < 0.05 => "< 0.1 %".to_owned(),
        share if share > 0.0 && share < 9.95 => format!("{share:.1} %"),
        share => format!("{share:.0} %"),
    }
}

/// Bytes as people read them.
pub(super) fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut count, mut unit) = (count, 0);
    while count >= 1024.0 && unit + 1 < units.len() {
        count /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || count >= 100.0 { 0 } else { 1 };
    format!("{count:.digits$} {}", units[unit])
}

fn uptime(seconds: f64) -> String {
    let minutes = (seconds / 60.0) as u64;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

impl<'a> Picture<'a> {
    /// The picture of two readings that lie so many seconds apart.
    pub(super) fn new<'t>(
        before: &[Sample],
        now: &'a [Sample],
        passed: f64,
        troubles: impl Iterator<Item = (&'static str, &'t Troubles)>,
    ) -> Self {
        let mut points: BTreeMap<&'static str, Vec<Point<'a>>> = BTreeMap::new();
        for sample in now {
            if let Some(value) = number(sample) {
                points.entry(sample.series.metric.name).or_default().push(Point { sample, value });
            }
        }
        let before = before.iter().filter_map(|s| Some((s.series.id.0, number(s)?)));
        let missing =
            troubles.flat_map(|(_, troubles)| troubles.now.iter().chain(&troubles.absent).cloned());
        Self { now: points, before: before.collect(), passed, missing: missing.collect() }
    }

    pub(super) fn points(&self, metric: &Metric, own: &[(&str, &str)]) -> Vec<&Point<'a>> {
        let all = self.now.get(metric.name).map(Vec::as_slice).unwrap_or_default();
        let has = |point: &&Point<'_>| {
            let attributes = &point.sample.series.own;
            own.iter().all(|(name, value)| attributes.text(name) == Some(value))
        };
        all.iter().filter(has).collect()
    }

    /// The sum of what has these attributes; `None`: nothing has.
    pub(super) fn sum(&self, metric: &Metric, own: &[(&str, &str)]) -> Option<f64> {
        self.points(metric, own).iter().map(|point| point.value).reduce(|sum, value| sum + value)
    }

    /// By how much it grew in a second.
    pub(super) fn rate(&self, metric: &Metric, own: &[(&str, &str)]) -> Option<f64> {
        let grown = self.points(metric, own).into_iter().filter_map(|point| {
            let before = self.before.get(&point.sample.series.id.0)?;
            Some((point.value - before).max(0.0))
        });
        grown.reduce(|sum, value| sum + value).map(|grown| grown / self.passed.max(1e-9))
    }

    /// How often something happened; nothing where it is not counted.
    pub(super) fn count(&self, metric: &Metric, own: &[(&str, &str)]) -> Count {
        let grown = self.rate(metric, own).map_or(0.0, |rate| rate * self.passed.max(1e-9));
        Count { total: self.sum(metric, own).unwrap_or(0.0), grown }
    }

    /// The values that an attribute has.
    pub(super) fn values(&self, metric: &Metric, attribute: &str) -> Vec<&'a str> {
        let mut values: Vec<&str> = Vec::new();
        for point in self.now.get(metric.name).map(Vec::as_slice).unwrap_or_default() {
            let value = point.sample.series.own.text(attribute);
            values.extend(value.filter(|value| !values.contains(value)));
        }
        values
    }

    /// Why something is not known: what could not be read, and what would help.
    pub(super) fn why(&self, part: &str, otherwise: &str) -> String {
        let found = self.missing.iter().find(|t| t.what.to_string_lossy().contains(part));
        match found.map(|trouble| (trouble, hint(trouble))) {
            Some((_, Some(hint))) => hint.to_owned(),
            Some((trouble, None)) => tame(&trouble.to_string()),
            None => otherwise.to_owned(),
        }
    }

    /// The first line.
    pub(super) fn title(&self) -> String {
        let mut title = facts::host_name();
        if let Some(seconds) = self.sum(&names::UPTIME, &[]) {
            title = format!("{title}  up {}", uptime(seconds));
        }
        let load = [&names::LOAD_1M, &names::LOAD_5M, &names::LOAD_15M];
        let load: Vec<String> =
            load.iter().filter_map(|m| Some(format!("{:.2}", self.sum(m, &[])?))).collect();
        if !load.is_empty() {
            title = format!("{title}  load {}", load.join(" "));
        }
        tame(&title)
    }

    /// What matters most, in a line.
    pub(super) fn summary(&self) -> String {
        let mut parts = vec![facts::host_name()];
        for (row, word) in [(self.cpu(), "CPU"), (self.memory(), "memory")] {
            if row.utilization.share.is_some() {
                parts.push(format!("{word} {}", row.utilization.text));
            }
        }
        let hottest = self
            .temperatures()
            .ok()
            .and_then(|sensors| sensors.into_iter().max_by(|a, b| a.degrees.total_cmp(&b.degrees)));
        parts.extend(hottest.map(|sensor| format!("{} {}", sensor.now, sensor.name)));
        tame(&parts.join("  "))
    }

    /// The table.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = vec![self.cpu(), self.memory()];
        rows.extend(self.swap());
        rows.extend(self.disks());
        rows.extend(self.file_systems());
        rows.extend(self.interfaces());
        rows.push(self.tcp());
        rows.extend([self.conntrack(), self.descriptors(), self.threads(), self.clock()]);
        rows.push(self.thermal());
        rows
    }

    /// The temperatures, each with its limits; or why there is none.
    pub(super) fn temperatures(&self) -> Result<Vec<Sensor>, String> {
        let mut sensors = Vec::new();
        for point in self.points(&names::TEMPERATURE, &[]) {
            let own = &point.sample.series.own;
            let id = own.text("hw.id").unwrap_or_default();
            let chip = own.text("hw.name").unwrap_or("?");
            let name = match own.text("hw.sensor_location") {
                Some(place) => format!("{chip} {place}"),
                None => chip.to_owned(),
            };
            let mut limits: Vec<(f64, &str)> = self
                .points(&names::TEMPERATURE_LIMIT, &[("hw.id", id)])
                .into_iter()
                .filter_map(|p| Some((p.value, p.sample.series.own.text("hw.limit_type")?)))
                .collect();
            limits.sort_by(|a, b| a.0.total_cmp(&b.0));
            let high = limits.iter().filter(|(_, kind)| !kind.starts_with("low"));
            let first = high.map(|(limit, _)| *limit).find(|limit| *limit > 0.0);
            let text: Vec<String> =
                limits.iter().map(|(limit, kind)| format!("{kind} {limit:.0} °C")).collect();
            sensors.push(Sensor {
                name: tame(&name),
                now: format!("{:.1} °C", point.value),
                degrees: point.value,
                limits: if text.is_empty() { "none told".to_owned() } else { text.join(", ") },
                share: first.map(|limit| point.value / limit),
            });
        }
        if sensors.is_empty() {
            return Err(self.why("/sys/class", "this machine shows no sensor"));
        }
        Ok(sensors)
    }

    /// Fans, voltages and what else sensors tell, a line each.
    pub(super) fn others(&self) -> Vec<String> {
        let kinds: [(&Metric, &str, usize); 5] = [
            (&names::FAN_SPEED, "rpm", 0),
            (&names::VOLTAGE, "V", 3),
            (&names::POWER, "W", 1),
            (&names::CURRENT, "A", 3),
            (&names::BATTERY_CHARGE, "of its charge", 2),
        ];
        let mut lines = Vec::new();
        for (metric, unit, digits) in kinds {
            for point in self.points(metric, &[]) {
                let own = &point.sample.series.own;
                let chip = own.text("hw.name").unwrap_or("?");
                let id = own.text("hw.id").and_then(|id| id.rsplit('/').next()).unwrap_or_default();
                let place = own.text("hw.sensor_location").unwrap_or(id);
                lines.push(tame(&format!("{chip} {place}  {:.digits$} {unit}", point.value)));
            }
        }
        lines
    }
}
