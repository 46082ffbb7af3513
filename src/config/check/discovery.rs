//! The `discovery:` section: jobs, each with its sources and its output.

mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use watchpost_discovery::docker::Endpoint;
use watchpost_discovery::job::Settings;
use watchpost_discovery::lan;
use watchpost_discovery::names::Files;
use watchpost_discovery::output::{Field, Format, Output};
use watchpost_discovery::sweep;
use watchpost_discovery::sweep::chance::Effort;
use watchpost_discovery::sweep::range::{self, Range};
use watchpost_targets::file::destination;
use watchpost_targets::yaml::Node;

use super::Checker;
use crate::base::place::{At, Place, given};
use crate::config::decode::decode;
use crate::config::plan::Modules;
use crate::config::raw::{RawJob, RawOutput, RawSource, RawSweep};
use crate::discover::{Job, Source};

/// The fields that a line may have.
const FIELDS: &str = "address, humanname, routing, switching, module";

/// How long a host that is gone stays in the file.
const GRACE: Duration = Duration::from_secs(7 * 86_400);
/// The shortest time between two sweeps.
const MIN_PAUSE: Duration = Duration::from_secs(60);

/// Keys that say what is made of what is found.
const WISHES: [&str; 7] =
    ["domain", "scheme", "labels", "ports", "ports_host", "profiles", "entrypoints"];

/// The parts of a configuration that jobs depend on.
pub(super) struct Around<'a> {
    /// The modules that can be used.
    pub(super) modules: &'a Modules,
    /// The names of all modules.
    pub(super) known: &'a BTreeSet<String>,
    /// Variables of the process that the configuration refers to.
    pub(super) variables: &'a BTreeSet<String>,
}

impl Checker<'_> {
    pub(super) fn discovery(&self, document: &Node, around: &Around<'_>) -> Vec<Job> {
        let entries = document.get("discovery").map(|node| node.entries()).unwrap_or_default();
        let mut jobs: Vec<Job> = Vec::new();
        for entry in entries {
            let path = format!("discovery.{}", entry.key);
            let place = self.context.place(entry.key_mark, &path);
            let raw = decode::<At<RawJob>>(&entry.value, &path, &self.context);
            self.of_both(&entry.value, &path);
            let Some(raw) = raw.and_then(|at| at.value) else { continue };
            let Some(job) = self.job(&entry.key, &raw, &place, around) else { continue };
            let file = destination(&job.output.file);
            if let Some(other) = jobs.iter().find(|have| destination(&have.output.file) == file) {
                let message = format!("writes the same file as the job {}", other.name);
                self.error(&place, message);
            }
            jobs.push(job);
        }
        jobs
    }

    /// Refuses wishes in `docker:` beside a `compose:`, whose wishes hold for both.
    fn of_both(&self, job: &Node, path: &str) {
        let Some(docker) = job.get("docker").filter(|_| job.get("compose").is_some()) else {
            return;
        };
        for entry in docker.entries().iter().filter(|entry| WISHES.contains(&&*entry.key)) {
            let place = self.context.place(entry.key_mark, &format!("{path}.docker.{}", entry.key));
            self.error(&place, "stands in `compose:` of this job, and holds for both");
        }
    }

    fn job(&self, name: &str, raw: &RawJob, place: &Place, around: &Around<'_>) -> Option<Job> {
        let output = match &raw.output {
            Some(at) => at.as_ref().and_then(|output| self.output(output, &at.place)),
            None => {
                self.error(place, "`output: {file: …}` is missing");
                None
            }
        };
        let format = output.as_ref().map_or_else(Format::default, |output| output.format.clone());
        let limits = self.limits(raw, around);
        let source = match &raw.sweep {
            Some(sweep) => {
                self.no_limits(raw);
                self.lan(raw, sweep, &format).map(Source::Lan)
            }
            None => {
                let settings = self.source(raw, place);
                settings.map(|settings| Source::Services(Settings { limits, ..settings }))
            }
        };
        let interval = match &raw.interval {
            Some(_) => Some(self.interval(&raw.interval)?),
            None => None,
        };
        Some(Job { name: name.to_owned(), source: source?, output: output?, interval })
    }

    fn source(&self, raw: &RawJob, place: &Place) -> Option<Settings> {
        let (at, docker) = match (&raw.compose, &raw.docker) {
            (Some(compose), docker) => (compose, docker.as_ref()),
            (None, Some(docker)) => (docker, Some(docker)),
            (None, None) => {
                let known =
                    "`compose: {paths: […]}`, `docker: {endpoint: …}` or `sweep: {subnets: […]}`";
                self.error(place, format!("has no source: {known}"));
                return None;
            }
        };
        let source = at.as_ref()?;
        let endpoint = match docker {
            Some(docker) => Some(self.endpoint(docker.as_ref()?, &docker.place)?),
            None => None,
        };
        if let Some(compose) = &raw.compose {
            let source = compose.as_ref()?;
            if source.paths.is_empty() {
                self.error(&compose.place, "`paths:` is missing: folders with compose files");
            }
            if let Some(at) = &source.endpoint {
                self.error(&at.place, "stands in `docker:`");
            }
        }
        if let Some(at) = docker.and_then(|docker| docker.as_ref()?.paths.first()) {
            self.error(&at.place, "stands in `compose:`");
        }
        let paths =
            source.paths.iter().filter_map(|at| Some(at.place.beside(at.as_ref()?))).collect();
        let mut settings = Settings::new(paths);
        settings.docker = endpoint;
        self.wishes(source, &mut settings);
        Some(settings)
    }

    fn lan(&self, job: &RawJob, at: &At<RawSweep>, format: &Format) -> Option<lan::Settings> {
        let raw = at.as_ref()?;
        for other in [&job.compose, &job.docker].into_iter().flatten() {
            self.error(
                &other.place,
                "a job looks at services or sweeps: another job can do the other",
            );
        }
        if let Some(interval) = given(&job.interval)
            && interval.0 < MIN_PAUSE
        {
            let place = job.interval.as_ref().map_or(&at.place, |at| &at.place);
            self.error(place, "must be at least 1m: a sweep asks everybody");
        }
        if raw.subnets.is_empty() {
            self.error(&at.place, "`subnets:` is missing, such as [192.168.2.0/24]");
        }
        let read = |at: &At<String>| {
            Range::parse(at.as_ref()?).map_err(|why| self.error(&at.place, why)).ok()
        };
        let mut sweep = sweep::Settings::new(raw.subnets.iter().filter_map(read).collect());
        sweep.force = given(&raw.force).copied().unwrap_or(false);
        if let Err(why) = range::judge(&sweep.ranges, None, sweep.force) {
            let hint =
                if why.can_be_forced() { "; `force: true` sweeps it all the same" } else { "" };
            self.error(&at.place, format!("{why}{hint}"));
        }
        let port = |at: &At<u64>| {
            let port = u16::try_from(*at.as_ref()?).ok().filter(|port| *port > 0);
            if port.is_none() {
                self.error(&at.place, "must be a port, 1 to 65535");
            }
            port
        };
        sweep.ports = raw.ports.iter().filter_map(port).collect();
        if let Some(at) = &raw.effort
            && let Some(text) = at.as_ref()
        {
            let effort = text.parse::<Effort>().map_err(|why| self.error(&at.place, why));
            sweep.effort = effort.unwrap_or_default();
        }
        if let Some(at) = &raw.rate
            && let Some(rate) = at.as_ref()
        {
            let good = u32::try_from(*rate).ok().filter(|rate| (1..=100_000).contains(rate));
            if good.is_none() {
                self.error(&at.place, "must be 1 to 100000 packets a second");
            }
            sweep.rate = good;
        }
        let mut labels = self.labels(&raw.labels);
        // Every row has them: what its line cannot say would empty the file.
        for (name, value) in raw.labels.iter().filter(|(name, _)| !format.has_label(name)) {
            let message = format!(
                "the lines have no field for {name}: see `template:`, or `format: file_sd`"
            );
            self.error(&value.place, message);
        }
        if format.has_label("routing") {
            labels.entry("routing".to_owned()).or_insert_with(|| "lan".to_owned());
        }
        let path = |at: &At<String>| Some(at.place.beside(at.as_ref()?));
        Some(lan::Settings {
            sweep,
            names: Files {
                leases: raw.leases.iter().filter_map(path).collect(),
                hosts: raw.hosts.as_ref().and_then(path),
            },
            dns: given(&raw.dns).copied().unwrap_or(true),
            labels,
            grace: given(&raw.grace).map_or(GRACE, |grace| grace.0),
        })
    }

    fn endpoint(&self, raw: &RawSource, place: &Place) -> Option<Endpoint> {
        let (text, place) = match &raw.endpoint {
            Some(at) => (at.as_ref()?.as_str(), &at.place),
            None => ("unix:///var/run/docker.sock", place),
        };
        Endpoint::parse(text).map_err(|why| self.error(place, why)).ok()
    }

    /// What is made of what is found.
    fn wishes(&self, raw: &RawSource, settings: &mut Settings) {
        settings.domain = given(&raw.domain).cloned();
        if let Some(at) = &raw.scheme
            && let Some(scheme) = at.as_ref()
        {
            if !matches!(scheme.as_str(), "http" | "https") {
                self.error(&at.place, "must be http or https");
            }
            settings.scheme = Some(scheme.clone());
        }
        settings.labels = self.labels(&raw.labels);
        settings.ports = given(&raw.ports).copied().unwrap_or(false);
        // Who runs the job knows the name of the machine.
        settings.ports_host = given(&raw.ports_host).cloned().unwrap_or_default();
        settings.profiles = raw.profiles.iter().filter_map(|at| at.value.clone()).collect();
        let mut entry_points = BTreeMap::new();
        for (name, at) in &raw.entrypoints {
            let port = at.as_ref().and_then(|port| u16::try_from(*port).ok()).filter(|p| *p > 0);
            match port {
                Some(port) => drop(entry_points.insert(name.to_ascii_lowercase(), port)),
                None if at.value.is_some() => self.error(&at.place, "must be a port, 1 to 65535"),
                None => {}
            }
        }
        settings.entry_points = entry_points;
    }

    fn output(&self, raw: &RawOutput, place: &Place) -> Option<Output> {
        let Some(file) = &raw.file else {
            self.error(place, "`file:` is missing");
            return None;
        };
        let written = given(&raw.format).map_or("pinghosts", String::as_str);
        let format = match written {
            "pinghosts" => self.template(&raw.template),
            "file_sd" => {
                if let Some(at) = &raw.template {
                    self.error(&at.place, "is for `format: pinghosts` only");
                }
                Format::FileSd
            }
            other => {
                let at = raw.format.as_ref().map_or(place, |at| &at.place);
                self.error(at, format!("pinghosts or file_sd is expected, found {other:?}"));
                return None;
            }
        };
        let keep_until = given(&raw.keep_until).cloned();
        if let Some(marker) = &keep_until
            && (!marker.trim().starts_with('#') || marker.trim().len() < 2)
        {
            let at = raw.keep_until.as_ref().map_or(place, |at| &at.place);
            self.error(at, "must be a comment, such as \"# SVC START\"");
        }
        Some(Output { file: file.place.beside(file.as_ref()?), keep_until, format })
    }

    fn template(&self, raw: &Option<At<String>>) -> Format {
        let Some(at) = raw else { return Format::default() };
        let Some(text) = at.as_ref() else { return Format::default() };
        let mut fields = Vec::new();
        for name in text.split(';').map(str::trim) {
            let bare = name.trim_start_matches('{').trim_end_matches('}');
            match Field::parse(bare) {
                Some(field) => fields.push(field),
                None => {
                    self.error(&at.place, format!("{name:?} is no field: {FIELDS}, with ; between"))
                }
            }
        }
        // It is read again by the place of each field.
        let order = ["address", "humanname", "routing", "switching", "module"];
        let order = order.iter().filter_map(|name| Field::parse(name));
        if !order.take(fields.len()).eq(fields.iter().copied()) {
            self.error(
                &at.place,
                format!("the fields must be the first ones of {FIELDS}, in this order"),
            );
        }
        Format::Pinghosts(fields)
    }
}
