//! A job: where it looks, and what it has found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use watchpost_targets::{Labels, Target, yaml};

use crate::claims::{Added, Claimant, Claims};
use crate::dialects::{self, Skipped};
use crate::docker::{Containers, Endpoint};
use crate::find;
use crate::interpolate::Variables;
use crate::limits::Limits;
use crate::project::{self, FileProblem, Loader, Outside};
use crate::service::{Context, Service};
use crate::{text, traefik_file};

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
    /// Limits of labels, rules and compose files.
    pub limits: Limits,
}

impl Settings {
    /// Looks below these paths, without any wish. Labels may name no module, and compose files read no variable
    /// of the process.
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
            limits: Limits::default(),
        }
    }
}

/// What a job has found.
#[derive(Debug, Default)]
pub struct Report {
    /// The targets, each address once, in the order in which they were found.
    pub targets: Vec<Target>,
    /// Services without a target, with the reason: the first 10,000.
    pub skipped: Vec<Skipped>,
    /// How many more there are.
    pub skipped_more: usize,
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
    /// Targets that are more than the job may have, all sources together. Where there are any, the rest is not
    /// to be used: which targets it holds is chance.
    pub too_many: usize,
    claims: Claims,
}

/// Services that are no targets and are kept, with the reason.
const MAX_SKIPPED: usize = 10_000;
/// Problems that are kept.
const MAX_PROBLEMS: usize = 10_000;

/// Says what would keep a target from being probed.
pub type Check<'a> = &'a dyn Fn(&Target) -> Result<(), String>;

impl Report {
    /// Adds a target, unless its address belongs to another one.
    pub(crate) fn add(
        &mut self,
        target: Target,
        source: &'static str,
        claimant: &Claimant,
        settings: &Settings,
    ) {
        let most = settings.limits.max_targets;
        match self.claims.add(target, source, claimant, &mut self.targets, most) {
            Added::Lost => return,
            Added::TooMany => {
                self.too_many += 1;
                return;
            }
            Added::InPlaceOf(other) => {
                let count = self.sources.entry(other).or_default();
                *count = count.saturating_sub(1);
            }
            Added::New => {}
        }
        *self.sources.entry(source).or_default() += 1;
    }

    /// Adds what is no target.
    pub(crate) fn skip(&mut self, skipped: impl IntoIterator<Item = Skipped>) {
        for one in skipped {
            match self.skipped.len() < MAX_SKIPPED {
                true => self.skipped.push(one),
                false => self.skipped_more += 1,
            }
        }
    }

    /// Adds what a service tells.
    fn service(&mut self, service: &Service, settings: &Settings, check: Check<'_>) {
        self.services += 1;
        let (targets, skipped) = dialects::find_checked(service, settings, check, BTreeSet::new());
        self.services_found += usize::from(!targets.is_empty());
        self.skip(skipped);
        let (identity, runs) = (service.identity(), service.runs);
        let claimant = Claimant { name: service.name.as_str().into(), identity, runs };
        for (target, dialect) in targets {
            self.add(target, dialect, &claimant, settings);
        }
    }

    /// Adds a file that could not be read.
    pub fn problem(&mut self, file: &Path, line: u32, message: impl Into<String>) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        self.problems.push(FileProblem { file: file.to_owned(), line, message: message.into() });
    }
}

/// Looks through compose files and traefik's files. Of the variables of the process, `environment`, the files read
/// those that the job's limits name.
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
    let environment = settings.limits.of_process(environment);
    let mut loader = Loader::new(&environment);
    let projects = loader.load(&found);
    report.problems.append(&mut loader.problems);
    for (path, first) in std::mem::take(&mut loader.passed_over) {
        let reason = format!("Compose reads {first} of this folder, and not this file");
        report.skip([of_file(&path, &path, 1, reason)]);
    }
    let links = found.outside.iter().map(|path| {
        let reason = "the link leads out of `paths:`, and is not followed";
        of_file(path, path, 0, reason.to_owned())
    });
    report.skip(links);
    let named =
        std::mem::take(&mut loader.outside).into_iter().map(|Outside { file, line, path }| {
            let shown = text::foreign(&path.display().to_string());
            let reason = format!("{shown} is not below `paths:` of the job, and is not read");
            of_file(&path, &file, line, reason)
        });
    report.skip(named);
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
        let (environment, within) = (&environment, &found.within);
        let around = traefik_file::Around { settings, environment, within, check };
        traefik_file::read(path, &around, &mut report);
    }
    let lost = report.claims.lost();
    report.skip(lost);
    report
}

/// A file that is no target, as it is reported.
fn of_file(path: &Path, file: &Path, line: u32, reason: String) -> Skipped {
    let service = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Skipped { service, file: file.display().to_string(), line, reason }
}

/// Looks through the text of one compose file: what it includes, or extends in other files, is not
/// read. `environment` holds in it whatever the job's limits say.
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
    let lost = report.claims.lost();
    report.skip(lost);
    report
}
