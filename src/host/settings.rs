//! The keys of `host_metrics`, and what they become.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems, given, hint};
use crate::base::regexp;
use crate::host::filter::{self, Filter, Matcher};
use crate::host::points::Wanted;
use crate::host::source::Root;
use crate::host::table::filesystem::Filters;
use crate::signal::names::host::{SCRAPERS, TABLE};
use crate::signal::series::Metric;

/// How often the host is read when nobody says otherwise.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long after the start it is read the first time.
const INITIAL_DELAY: Duration = Duration::from_secs(1);
/// It is never read more often.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Keys that are not built yet.
pub const LATER: &[(&str, &[&str])] = &[("RawScrapers", &["process"])];
/// Keys that change nothing here.
pub const IDLE: &[(&str, &[&str])] =
    &[("RawHostMetrics", &["metadata_collection_interval", "timeout"])];

/// What is read of the host, and how often.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What its series are of (`service.name`) when no pipeline is written where that could be said:
    /// then they name this machine, too. `None`: they come bare, as the Collector's do.
    pub job: Option<&'static str>,
    /// How often.
    pub interval: Duration,
    /// How long after the start the first time.
    pub initial_delay: Duration,
    /// Where the host shows itself.
    pub root: Root,
    /// The metrics.
    pub wanted: Arc<Wanted>,
    /// Whether the load is divided by the number of CPUs.
    pub load_per_cpu: bool,
    /// Which disks.
    pub disks: Filter,
    /// Which interfaces.
    pub interfaces: Filter,
    /// Which file systems.
    pub file_systems: Filters,
}

impl Default for Settings {
    fn default() -> Self {
        let scrapers: Vec<&str> = SCRAPERS.to_vec();
        let wanted = scrapers.iter().flat_map(|scraper| by_default(scraper));
        Self {
            job: None,
            interval: INTERVAL,
            initial_delay: INITIAL_DELAY,
            root: Root::new(None),
            wanted: Arc::new(Wanted::new(wanted)),
            load_per_cpu: false,
            disks: filter::disks(),
            interfaces: filter::interfaces(),
            file_systems: Filters {
                devices: Filter::default(),
                kinds: filter::kinds(),
                mount_points: filter::mount_points(),
            },
        }
    }
}

/// The metrics of a scraper that are on when nobody says otherwise.
fn by_default(scraper: &str) -> impl Iterator<Item = &'static Metric> {
    TABLE
        .iter()
        .filter(move |entry| entry.scrapers.iter().any(|(name, on)| *on && *name == scraper))
        .map(|entry| entry.metric)
}

/// A scraper that is written, if only as an empty key.
#[derive(Debug)]
struct Written<T>(Option<At<T>>);

impl<T> Default for Written<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Written<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        At::deserialize(deserializer).map(|at| Written(Some(at)))
    }
}

/// `host_metrics` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawHostMetrics {
    collection_interval: Option<At<GoDuration>>,
    initial_delay: Option<At<GoDuration>>,
    root_path: Option<At<String>>,
    scrapers: Option<At<RawScrapers>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawScrapers {
    cpu: Written<RawPlain>,
    load: Written<RawLoad>,
    memory: Written<RawPlain>,
    paging: Written<RawPlain>,
    disk: Written<RawDisk>,
    filesystem: Written<RawFilesystem>,
    network: Written<RawNetwork>,
    processes: Written<RawPlain>,
    system: Written<RawPlain>,
    pressure: Written<RawPlain>,
    thermal: Written<RawPlain>,
    sockets: Written<RawPlain>,
    linux: Written<RawPlain>,
}

type Switches = BTreeMap<String, At<RawSwitch>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawSwitch {
    enabled: Option<At<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawPlain {
    metrics: Switches,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawLoad {
    metrics: Switches,
    cpu_average: Option<At<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawDisk {
    metrics: Switches,
    include: Option<At<RawDevices>>,
    exclude: Option<At<RawDevices>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawNetwork {
    metrics: Switches,
    include: Option<At<RawInterfaces>>,
    exclude: Option<At<RawInterfaces>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawFilesystem {
    metrics: Switches,
    include_devices: Option<At<RawDevices>>,
    exclude_devices: Option<At<RawDevices>>,
    include_fs_types: Option<At<RawKinds>>,
    exclude_fs_types: Option<At<RawKinds>>,
    include_mount_points: Option<At<RawMountPoints>>,
    exclude_mount_points: Option<At<RawMountPoints>>,
    include_virtual_filesystems: Option<At<bool>>,
}

macro_rules! lists {
    ($($name:ident $key:ident)*) => {$(
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct $name {
            $key: Vec<At<String>>,
            match_type: Option<At<String>>,
        }

        impl $name {
            fn matcher(at: &Option<At<Self>>, problems: &mut Problems) -> Option<Matcher> {
                let at = at.as_ref()?;
                let raw = at.as_ref()?;
                matcher(&raw.$key, stringify!($key), &raw.match_type, &at.place, problems)
            }
        }
    )*};
}

lists! {
    RawDevices devices
    RawInterfaces interfaces
    RawKinds fs_types
    RawMountPoints mount_points
}

fn matcher(
    list: &[At<String>],
    key: &str,
    match_type: &Option<At<String>>,
    place: &Place,
    problems: &mut Problems,
) -> Option<Matcher> {
    if list.is_empty() {
        problems.warning(place, format!("`{key}:` is empty: this has no effect"));
        return None;
    }
    let Some(written) = match_type else {
        problems.error(place, "`match_type:` is missing: strict or regexp");
        return None;
    };
    match written.as_ref()?.as_str() {
        "strict" => Some(Matcher::Strict(list.iter().filter_map(|at| at.value.clone()).collect())),
        "regexp" => {
            let build = |at: &At<String>| {
                let built = regexp::build(at.as_ref()?);
                built.map_err(|why| problems.error(&at.place, why)).ok()
            };
            Some(Matcher::Regexp(list.iter().filter_map(build).collect()))
        }
        other => {
            let known = "strict or regexp is expected";
            problems.error(&written.place, format!("{known}, found {other:?}"));
            None
        }
    }
}

/// What is written takes the place of what is ours; with neither include nor exclude ours stays.
fn filter(include: Option<Matcher>, exclude: Option<Matcher>, ours: Filter) -> Filter {
    if include.is_none() && exclude.is_none() { ours } else { Filter { include, exclude } }
}

impl RawHostMetrics {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, place: &Place, problems: &mut Problems) -> Settings {
        let mut settings = Settings::default();
        if let Some(at) = &self.collection_interval
            && let Some(interval) = at.as_ref()
        {
            if interval.0 < MIN_INTERVAL {
                problems.error(&at.place, "must be at least 1s");
            }
            settings.interval = interval.0;
        }
        if let Some(delay) = given(&self.initial_delay) {
            settings.initial_delay = delay.0;
        }
        if let Some(at) = &self.root_path
            && let Some(path) = at.as_ref().filter(|path| !path.is_empty())
        {
            let path = Path::new(path);
            if !path.is_absolute() {
                problems.error(&at.place, "must be an absolute path, such as /hostfs");
            } else if !path.is_dir() {
                problems.warning(&at.place, format!("{}: no such folder", path.display()));
            }
            settings.root = Root::new(Some(path));
        }
        let written = given(&self.scrapers);
        if self.scrapers.as_ref().is_none_or(|at| at.value.is_some())
            && written.is_none_or(|written| written.switches().is_empty())
        {
            let known = SCRAPERS.join(", ");
            problems.error(place, format!("`scrapers:` is missing: any of {known}"));
        }
        if let Some(written) = written {
            let mut wanted: HashSet<&'static Metric> = HashSet::new();
            for (scraper, switches) in written.switches() {
                wanted.extend(switched(scraper, switches, problems));
            }
            if wanted.is_empty() && !written.switches().is_empty() {
                problems.warning(place, "every metric is switched off: nothing is read");
            }
            settings.wanted = Arc::new(Wanted::new(wanted));
            written.filters(&mut settings, problems);
        }
        settings
    }
}

impl RawScrapers {
    /// The scrapers that are written, and the metrics that they switch.
    fn switches(&self) -> Vec<(&'static str, &Switches)> {
        fn one<'a, T>(
            name: &'static str,
            written: &'a Written<T>,
            metrics: impl Fn(&'a T) -> &'a Switches,
        ) -> Option<(&'static str, &'a Switches)> {
            Some((name, metrics(written.0.as_ref()?.as_ref()?)))
        }
        let plain = [
            ("cpu", &self.cpu),
            ("memory", &self.memory),
            ("paging", &self.paging),
            ("processes", &self.processes),
            ("system", &self.system),
            ("pressure", &self.pressure),
            ("thermal", &self.thermal),
            ("sockets", &self.sockets),
            ("linux", &self.linux),
        ];
        let others = [
            one("load", &self.load, |raw| &raw.metrics),
            one("disk", &self.disk, |raw| &raw.metrics),
            one("filesystem", &self.filesystem, |raw| &raw.metrics),
            one("network", &self.network, |raw| &raw.metrics),
        ];
        let plain = plain.into_iter().filter_map(|(name, raw)| one(name, raw, |raw| &raw.metrics));
        plain.chain(others.into_iter().flatten()).collect()
    }

    fn filters(&self, settings: &mut Settings, problems: &mut Problems) {
        fn of<T>(written: &Written<T>) -> Option<&T> {
            written.0.as_ref()?.as_ref()
        }
        if let Some(raw) = of(&self.load) {
            settings.load_per_cpu = given(&raw.cpu_average).copied().unwrap_or(false);
        }
        if let Some(raw) = of(&self.disk) {
            let include = RawDevices::matcher(&raw.include, problems);
            let exclude = RawDevices::matcher(&raw.exclude, problems);
            settings.disks = filter(include, exclude, filter::disks());
        }
        if let Some(raw) = of(&self.network) {
            let include = RawInterfaces::matcher(&raw.include, problems);
            let exclude = RawInterfaces::matcher(&raw.exclude, problems);
            settings.interfaces = filter(include, exclude, filter::interfaces());
        }
        if let Some(raw) = of(&self.filesystem) {
            let all = given(&raw.include_virtual_filesystems).copied().unwrap_or(false);
            let include = RawDevices::matcher(&raw.include_devices, problems);
            let exclude = RawDevices::matcher(&raw.exclude_devices, problems);
            settings.file_systems.devices = Filter { include, exclude };
            let ours = if all { Filter::default() } else { filter::kinds() };
            let include = RawKinds::matcher(&raw.include_fs_types, problems);
            let exclude = RawKinds::matcher(&raw.exclude_fs_types, problems);
            if raw.include_fs_types.as_ref().and_then(|at| at.as_ref()).is_some_and(|raw| {
                raw.fs_types.iter().any(|at| at.as_ref().is_some_and(|kind| kind == "autofs"))
            }) && let Some(at) = &raw.include_fs_types
            {
                problems.warning(
                    &at.place,
                    "autofs is never asked: that would mount what is behind it",
                );
            }
            // What is excluded is so besides what nobody wants; what is included is wanted.
            settings.file_systems.kinds = match (include, exclude) {
                (None, Some(theirs)) => ours.and_not(theirs),
                (include, exclude) => filter(include, exclude, ours),
            };
            let include = RawMountPoints::matcher(&raw.include_mount_points, problems);
            let exclude = RawMountPoints::matcher(&raw.exclude_mount_points, problems);
            let ours = if all { Filter::default() } else { filter::mount_points() };
            settings.file_systems.mount_points = filter(include, exclude, ours);
        }
    }
}

/// The metrics that a scraper brings when these are switched on and off.
fn switched(
    scraper: &'static str,
    switches: &Switches,
    problems: &mut Problems,
) -> HashSet<&'static Metric> {
    let mut wanted: HashSet<&'static Metric> = by_default(scraper).collect();
    let own = || {
        let has = |entry: &&crate::signal::names::host::HostMetric| {
            entry.scrapers.iter().any(|(name, _)| *name == scraper)
        };
        TABLE.iter().filter(has).map(|entry| entry.metric)
    };
    for (name, at) in switches {
        let Some(metric) = own().find(|metric| metric.name == name) else {
            let elsewhere = TABLE.iter().find(|entry| entry.metric.name == name);
            let hint = match elsewhere {
                Some(entry) => format!(": it is one of {}", entry.scrapers[0].0),
                None => hint(name, own().map(|metric| metric.name)),
            };
            problems.error(&at.place, format!("{scraper} has no such metric{hint}"));
            continue;
        };
        match at.as_ref().and_then(|switch| given(&switch.enabled)) {
            Some(false) => drop(wanted.remove(metric)),
            Some(true) => drop(wanted.insert(metric)),
            // Without a word it stays as it is.
            None => {}
        }
    }
    wanted
}
