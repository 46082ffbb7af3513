//! `resource_detection`: puts what is known of this machine into every resource. The facts are found
//! elsewhere and handed over; when they change, all series are judged again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::base::clock::Moment;
use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems, given as get, hint};
use crate::pipeline::stage::{Judgement, Processor, Refused};
use crate::processor::actions::Resources;
use crate::signal::any_value::{AnyValue, Text};
use crate::signal::series::{Attributes, Series};

/// Detectors of the Collector that are not built here.
const DETECTORS_LATER: [&str; 24] = [
    "akamai",
    "aks",
    "alibaba_ecs",
    "azure",
    "consul",
    "digitalocean",
    "docker",
    "dynatrace",
    "ec2",
    "ecs",
    "eks",
    "elastic_beanstalk",
    "gcp",
    "heroku",
    "hetzner",
    "k8s_api",
    "k8snode",
    "kubeadm",
    "lambda",
    "openshift",
    "oraclecloud",
    "scaleway",
    "upcloud",
    "vultr",
];

/// Attributes of the `system` detector, and whether they are on unless switched off.
pub const SYSTEM_ATTRIBUTES: [(&str, bool); 17] = [
    ("host.name", true),
    ("os.type", true),
    ("host.arch", false),
    ("host.id", false),
    ("host.ip", false),
    ("host.mac", false),
    ("host.interface", false),
    ("host.cpu.vendor.id", false),
    ("host.cpu.family", false),
    ("host.cpu.model.id", false),
    ("host.cpu.model.name", false),
    ("host.cpu.stepping", false),
    ("host.cpu.cache.l2.size", false),
    ("os.description", false),
    ("os.name", false),
    ("os.version", false),
    ("os.build.id", false),
];

/// Keys that are not built yet.
pub const LATER: &[(&str, &[&str])] = &[
    ("RawResourceDetection", &["compression", "headers"]),
    ("RawResourceDetection", &DETECTORS_LATER),
];
/// Keys that change nothing here: what fails is tried again in any case.
pub const IDLE: &[(&str, &[&str])] = &[("RawResourceDetection", &["retry"])];

/// The processor as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawResourceDetection {
    detectors: Option<At<Vec<At<String>>>>,
    #[serde(rename = "override")]
    overrides: Option<At<bool>>,
    timeout: Option<At<GoDuration>>,
    refresh_interval: Option<At<GoDuration>>,
    attributes: Option<At<Vec<At<String>>>>,
    system: Option<At<RawSystem>>,
    env: Option<At<RawEnv>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawSystem {
    hostname_sources: Option<At<Vec<At<String>>>>,
    resource_attributes: BTreeMap<String, At<RawSwitch>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawEnv {}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawSwitch {
    enabled: Option<At<bool>>,
}

/// Where facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// This machine.
    System,
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    Env,
}

/// Who is asked for the host's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostnameSource {
    /// The kernel.
    Os,
    /// The hosts file, then the name service: the fully qualified name.
    Dns,
    /// The canonical name that the name service has for the kernel's name.
    Cname,
    /// The name that the name service has for this machine's address.
    Lookup,
}

/// What runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// In this order: the first that knows an attribute wins.
    pub detectors: Vec<Detector>,
    /// Whether what a resource has already is replaced.
    pub overrides: bool,
    /// How long detecting may take.
    pub timeout: Duration,
    /// How often it is done again; `None`: once.
    pub refresh: Option<Duration>,
    /// In this order: the first that answers wins.
    pub hostname_sources: Vec<HostnameSource>,
    /// The attributes that are wanted of the `system` detector.
    pub system: BTreeSet<&'static str>,
    /// The only attributes that are wanted of all detectors; `None`: all.
    pub only: Option<BTreeSet<String>>,
}

impl RawResourceDetection {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, place: &Place, problems: &mut Problems) -> Settings {
        let mut detectors = Vec::new();
        let listed = get(&self.detectors).map(Vec::as_slice).unwrap_or_default();
        if self.detectors.as_ref().is_none_or(|at| at.value.is_some()) && listed.is_empty() {
            problems.error(place, "`detectors:` is missing, such as [system]");
        }
        for at in listed {
            match at.as_ref().map(String::as_str) {
                Some("system") => detectors.push(Detector::System),
                Some("env") => detectors.push(Detector::Env),
                Some(other) if DETECTORS_LATER.contains(&other) => {
                    let message = format!("the detector {other:?} is not supported yet");
                    problems.unsupported(&at.place, message);
                }
                Some(other) => {
                    let hint = hint(other, ["system", "env"]);
                    problems.error(&at.place, format!("unknown detector {other:?}{hint}"));
                }
                None => {}
            }
        }
        let timeout = get(&self.timeout).map_or(Duration::from_secs(5), |span| span.0);
        if let Some(at) = self.timeout.as_ref().filter(|_| timeout.is_zero()) {
            problems.error(&at.place, "must be more than 0s");
        }
        let refresh = get(&self.refresh_interval).map(|span| span.0).filter(|d| !d.is_zero());
        let system = get(&self.system);
        let _ = get(&self.env);
        Settings {
            detectors,
            overrides: get(&self.overrides).copied().unwrap_or(true),
            timeout,
            refresh,
            hostname_sources: sources(system, problems),
            system: wanted(system, problems),
            only: get(&self.attributes)
                .map(|list| list.iter().filter_map(|at| at.value.clone()).collect()),
        }
    }
}

fn sources(system: Option<&RawSystem>, problems: &mut Problems) -> Vec<HostnameSource> {
    let Some(list) = system.and_then(|system| get(&system.hostname_sources)) else {
        return vec![HostnameSource::Dns, HostnameSource::Os];
    };
    let mut sources = Vec::new();
    for at in list {
        match at.as_ref().map(String::as_str) {
            Some("os") => sources.push(HostnameSource::Os),
            Some("dns") => sources.push(HostnameSource::Dns),
            Some("cname") => sources.push(HostnameSource::Cname),
            Some("lookup") => sources.push(HostnameSource::Lookup),
            Some(other) => {
                problems.error(&at.place, format!("{other:?} is none of os, dns, cname, lookup"));
            }
            None => {}
        }
    }
    sources
}

fn wanted(system: Option<&RawSystem>, problems: &mut Problems) -> BTreeSet<&'static str> {
    let defaults = SYSTEM_ATTRIBUTES.iter().filter(|(_, on)| *on).map(|(name, _)| *name);
    let mut wanted: BTreeSet<&str> = defaults.collect();
    for (name, at) in system.map(|system| system.resource_attributes.iter()).into_iter().flatten() {
        let Some((known, _)) = SYSTEM_ATTRIBUTES.iter().find(|(known, _)| known == name) else {
            let hint = hint(name, SYSTEM_ATTRIBUTES.iter().map(|(known, _)| *known));
            problems.error(&at.place, format!("unknown resource attribute{hint}"));
            continue;
        };
        let on = at.as_ref().and_then(|switch| get(&switch.enabled).copied()).unwrap_or(true);
        if on {
            wanted.insert(known)
        } else {
            wanted.remove(known)
        };
    }
    wanted
}

/// What has been found out of this machine, shared between who finds it out and who uses it.
#[derive(Debug, Default)]
pub struct Facts(Mutex<(u64, Vec<(Text, AnyValue)>)>);

impl Facts {
    /// Takes over what has been found; those who use it notice.
    pub fn set(&self, found: Vec<(Text, AnyValue)>) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.0 == 0 || facts.1 != found {
            *facts = (facts.0 + 1, found);
        }
    }

    fn newer(&self, than: u64) -> Option<(u64, Vec<(Text, AnyValue)>)> {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (facts.0 != than).then(|| facts.clone())
    }
}

/// The processor.
pub struct ResourceDetection {
    overrides: bool,
    facts: Arc<Facts>,
    version: u64,
    found: Vec<(Text, AnyValue)>,
    resources: Resources,
}

impl ResourceDetection {
    /// A processor that adds these facts.
    #[must_use]
    pub fn new(overrides: bool, facts: Arc<Facts>) -> Self {
        let (version, found) = facts.newer(0).unwrap_or_default();
        Self { overrides, facts, version, found, resources: Resources::default() }
    }
}

impl Processor for ResourceDetection {
    fn judge(&mut self, series: &Arc<Series>) -> Result<Judgement, Refused> {
        let Self { overrides, found, .. } = self;
        Ok(self.resources.change(series, |attributes| {
            let own = attributes.iter().map(|(name, value)| (Text::from(name), value.clone()));
            let found = found.iter().cloned();
            // Of two with one name the later one stays.
            if *overrides {
                Attributes::new(own.chain(found))
            } else {
                Attributes::new(found.chain(own))
            }
        }))
    }

    fn tick(&mut self, now: Moment) -> bool {
        self.resources.sweep(now.boot);
        let Some((version, found)) = self.facts.newer(self.version) else { return false };
        let changed = self.found != found;
        (self.version, self.found) = (version, found);
        if changed {
            self.resources.clear();
        }
        changed
    }
}

#[cfg(test)]
mod tests;
