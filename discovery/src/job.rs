//! A job: where it looks, and what it has found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use watchpost_targets::{Labels, Target, yaml};

use crate::dialects::{self, Skipped};
use crate::docker::{Containers, Endpoint};
use crate::find;
use crate::interpolate::Variables;
use crate::project::{self, FileProblem, Loader};
use crate::service::{Context, Service};
use crate::traefik_file;

/// Where a job looks, and what it makes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Folders and files.
    pub paths: Vec<PathBuf>,
    /// The engine that is asked for running containers, too.
    pub docker: Option<Endpoint>,
    /// What `{domain:.*}` stands for.
    pub domain: Option<String>,
    /// The scheme of what does not tell its own.
    pub scheme: Option<String>,
    /// Labels of all targets.
    pub labels: Labels,
    /// Whether published ports are targets, too.
    pub ports: bool,
    /// The host at which published ports are asked.
    pub ports_host: String,
    /// Profiles that are started; `*`: all.
    pub profiles: Vec<String>,
    /// The ports of traefik's entry points, by their names in small letters.
    pub entry_points: BTreeMap<String, u16>,
}

impl Settings {
    /// Looks below these paths, without any wish.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            docker: None,
            domain: None,
            scheme: None,
            labels: Labels::new(),
            ports: false,
            ports_host: "localhost".to_owned(),
            profiles: Vec::new(),
            entry_points: BTreeMap::new(),
        }
    }
}

/// What a job has found.
#[derive(Debug, Default)]
pub struct Report {
    /// The targets, each address once, in the order in which they were found.
    pub targets: Vec<Target>,
    /// What is no target, and why.
    pub skipped: Vec<Skipped>,
    /// Files that could not be read, or not wholly.
    pub problems: Vec<FileProblem>,
    /// Files that were read.
    pub files: usize,
    /// Services of compose files that were seen.
    pub services: usize,
    /// Services that are a target.
    pub services_found: usize,
    /// Routers of traefik's files that were seen.
    pub routers: usize,
    /// Containers that run, by health; empty where nobody was asked.
    pub health: BTreeMap<&'static str, usize>,
    /// How many targets each dialect told.
    pub sources: BTreeMap<&'static str, usize>,
    /// Addresses as they are compared.
    seen: BTreeSet<String>,
}

/// Says what would keep a target from being probed.
pub type Check<'a> = &'a dyn Fn(&Target) -> Result<(), String>;

/// An address as it is compared: scheme and host in small letters, without what ends it.
pub(crate) fn normal(address: &str) -> String {
    let address = address.trim_end_matches('/');
    let begin = address.find("://").map_or(0, |at| at + 3);
    let end = address[begin..].find(['/', '?', '#']).map_or(address.len(), |at| begin + at);
    let host = address[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    let lower = |part: &str| part.to_ascii_lowercase();
    lower(&address[..begin]) + &address[begin..host] + &lower(&address[host..end]) + &address[end..]
}

impl Report {
    /// Adds a target, unless its address is there.
    pub(crate) fn add(&mut self, target: Target, source: &'static str) {
        if self.seen.insert(normal(&target.address)) {
            *self.sources.entry(source).or_default() += 1;
            self.targets.push(target);
        }
    }

    /// Adds what a service tells.
    fn service(&mut self, service: &Service, settings: &Settings, check: Check<'_>) {
        self.services += 1;
        let (targets, mut skipped) =
            dialects::find_checked(service, settings, check, BTreeSet::new());
        self.services_found += usize::from(!targets.is_empty());
        self.skipped.append(&mut skipped);
        for (target, dialect) in targets {
            self.add(target, dialect);
        }
    }

    /// Adds a file that could not be read.
    pub fn problem(&mut self, file: &Path, line: u32, message: impl Into<String>) {
        self.problems.push(FileProblem { file: file.to_owned(), line, message: message.into() });
    }
}

/// Looks through compose files and traefik's files.
#[must_use]
pub fn compose(settings: &Settings, environment: &Variables) -> Report {
    run(settings, environment, None, &|_| Ok(()))
}

/// Looks through compose files and traefik's files, and through containers that run. What `check`
/// refuses is no target.
#[must_use]
pub fn run(
    settings: &Settings,
    environment: &Variables,
    containers: Option<&Containers>,
    check: Check<'_>,
) -> Report {
    let mut report = Report::default();
    let found = find::find(&settings.paths);
    for (path, why) in &found.problems {
        report.problem(path, 0, why.clone());
    }
    let mut loader = Loader::new(environment);
    let projects = loader.load(&found);
    report.problems.append(&mut loader.problems);
    for (path, first) in std::mem::take(&mut loader.passed_over) {
        report.skipped.push(Skipped {
            service: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            file: path.display().to_string(),
            line: 1,
            reason: format!("Compose reads {first} of this folder, and not this file"),
        });
    }
    let mut files = BTreeSet::new();
    for project in &projects {
        files.extend(project.files.iter().cloned());
        for service in project.services.values() {
            report.service(service, settings, check);
        }
    }
    if let Some(containers) = containers {
        report.health.clone_from(&containers.health);
        for service in &containers.services {
            report.service(service, settings, check);
        }
    }
    report.files = files.len();
    for path in &found.others {
        traefik_file::read(path, settings, environment, check, &mut report);
    }
    report
}

/// Looks through the text of one compose file: what it includes, or extends in other files, is not
/// read.
#[must_use]
pub fn one_file(text: &str, settings: &Settings, environment: &Variables) -> Report {
    let mut report = Report::default();
    let file = Path::new("compose.yaml");
    let document = match yaml::parse_all(text) {
        Ok((document, _)) => document,
        Err(error) => {
            report.problem(file, error.mark.line, error.message);
            return report;
        }
    };
    report.files = 1;
    let context = Context {
        file: "compose.yaml".into(),
        folder: PathBuf::new(),
        variables: Rc::new(environment.clone()),
    };
    for (name, mark, node) in project::services(&document) {
        let mut service = Service::read(name, mark, node, &context);
        service.merged();
        report.service(&service, settings, &|_| Ok(()));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_the_same() {
        for (address, expected) in [
            ("HTTPS://A.Example.NET/Path/", "https://a.example.net/Path"),
            ("http://Me:Pw@A:80/X?Y", "http://Me:Pw@a:80/X?Y"),
            ("http://A?Q=Z", "http://a?Q=Z"),
            ("Pi:8080", "pi:8080"),
            ("[FE80::1]:53", "[fe80::1]:53"),
            ("", ""),
        ] {
            assert_eq!(normal(address), expected);
        }
    }
}
