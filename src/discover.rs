//! Discovery jobs: each looks through what is written down elsewhere and keeps one target file
//! current. `watchpost discover` runs them from cron; in the daemon those with an interval run by
//! themselves, and the watch on target files picks up what they write.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use watchpost_discovery::docker::{self, Containers, Endpoint};
use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{self, Check, Report, Settings};
use watchpost_discovery::lan;
use watchpost_discovery::names::Names;
use watchpost_discovery::output::{self, Output, Refused, Rendered, Trust};
use watchpost_discovery::sweep::range::Refusal;
use watchpost_discovery::sweep::{self, By, Found, Naming, Reverse, Summary};

use crate::base::clock::Timestamp;
use crate::pipeline::selfmetrics::Meter;
use crate::signal::names;

/// Files with errors that metrics name at most.
const MAX_FILES: usize = 100;
/// What may tell a target.
const SOURCES: [&str; 11] = [
    "watchpost",
    "traefik",
    "traefik file",
    "caddy",
    "nginx-proxy",
    "kuma",
    "homepage",
    "ports",
    "icmp",
    "tcp",
    "arp",
];

/// Where a job looks.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Compose files, traefik's files, and containers that run.
    Services(Settings),
    /// A network.
    Lan(lan::Settings),
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Where it looks.
    pub source: Source,
    /// Where it writes.
    pub output: Output,
    /// How often it runs in the daemon; `None`: only by command.
    pub interval: Option<Duration>,
}

/// What came of a job, before anything is written.
#[derive(Debug)]
pub struct Outcome {
    /// What it has found; `None`: nothing was looked at.
    pub report: Option<Report>,
    /// How its sweep went, when it was one.
    pub sweep: Option<Summary>,
    /// What should be known of how it went.
    pub notes: Vec<String>,
    /// The file as it is; `None`: there is none.
    pub old: Option<String>,
    /// The file as it would be, or why it must not be written.
    pub new: Result<Rendered, Failure>,
}

/// Why a job fails.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The new text is not to be trusted, or the old one not to be replaced.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A file cannot be read or written.
    #[error("{0}")]
    File(String),
    /// Labels have made more targets than the job may have.
    #[error(
        "{file}: more than {most} targets were found ({more} more): nothing is written (`max_targets:` of the job)"
    )]
    Flood {
        /// The file.
        file: PathBuf,
        /// The most that the job may have.
        most: usize,
        /// How many more there are.
        more: usize,
    },
    /// Nothing could be looked at.
    #[error("{0}: none of its paths can be looked at: nothing is written")]
    Blind(PathBuf),
    /// A sweep was not begun.
    #[error("{0}; `force: true` in its `sweep:` sweeps it all the same: nothing is written")]
    Forbidden(Refusal),
    /// A sweep came to nothing.
    #[error("{0}: nothing is written")]
    Sweep(#[from] sweep::Failure),
}

/// What a job is given.
pub struct Around<'a> {
    /// The variables of the process: compose files read those that their job names.
    pub environment: &'a Variables,
    /// What is no target.
    pub check: Check<'a>,
    /// Who is asked for names of addresses.
    pub reverse: Option<Reverse>,
    /// Lets a file shrink.
    pub force: bool,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Job {
    /// The job as it runs on this machine: published ports are asked at its name, unless another
    /// host is written.
    #[must_use]
    pub fn on(&self, host: &str) -> Self {
        let mut job = self.clone();
        if let Source::Services(settings) = &mut job.source
            && settings.ports_host.is_empty()
        {
            host.clone_into(&mut settings.ports_host);
        }
        job
    }

    /// The engine that tells when to look, if there is one.
    #[must_use]
    pub fn engine(&self) -> Option<&Endpoint> {
        match &self.source {
            Source::Services(settings) => settings.docker.as_ref(),
            Source::Lan(_) => None,
        }
    }
}

impl Outcome {
    /// Of a job that could not look at anything.
    fn failed(why: Failure) -> Self {
        Self { report: None, sweep: None, notes: Vec::new(), old: None, new: Err(why) }
    }

    /// Whether the file would be another.
    #[must_use]
    pub fn changes(&self) -> bool {
        let new = self.new.as_ref().ok().map(|rendered| rendered.text.as_str());
        new.is_some_and(|new| self.old.as_deref() != Some(new))
    }
}

impl Failure {
    /// Whether it is worth trying again soon.
    #[must_use]
    pub fn is_put_off(&self) -> bool {
        matches!(self, Failure::Sweep(sweep::Failure::PutOff(_)))
    }
}

/// Looks, and renders the file anew. Nothing is written. Must not be called within a runtime.
#[must_use]
pub fn look(job: &Job, around: &Around<'_>) -> Outcome {
    match &job.source {
        Source::Services(settings) => services(job, settings, around),
        Source::Lan(settings) => lan(job, settings, around),
    }
}

/// The file as it is.
fn there(job: &Job) -> Result<Option<String>, Failure> {
    let file = &job.output.file;
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => crate::base::fs::read_regular(file, watchpost_targets::file::MAX_BYTES)
            .map(Some)
            .map_err(Failure::File),
    }
}

fn services(job: &Job, settings: &Settings, around: &Around<'_>) -> Outcome {
    let file = &job.output.file;
    let containers = match &settings.docker {
        None => None,
        Some(endpoint) => match containers(endpoint) {
            Ok(containers) => Some(containers),
            // Not to know what runs is no reason to forget it.
            Err(why) => {
                let why = format!("{}: {why}: nothing is written", endpoint.text());
                return Outcome::failed(Failure::File(why));
            }
        },
    };
    let report = job::run(settings, around.environment, containers.as_ref(), around.check);
    let (old, new) = match there(job) {
        Err(why) => (None, Err(why)),
        Ok(old) => {
            let lost = |path: &PathBuf| report.problems.iter().any(|problem| problem.file == *path);
            let paths = &settings.paths;
            let blind = !paths.is_empty() && paths.iter().all(lost);
            let most = settings.limits.max_targets;
            let new = if report.too_many > 0 {
                // Which of them are left is chance, so that `force` does not help.
                let (file, more) = (file.clone(), report.too_many);
                Err(Failure::Flood { file, most, more })
            } else if blind && !around.force {
                // A disk that is not mounted is no reason to forget everything.
                Err(Failure::Blind(file.clone()))
            } else {
                // What could not be read may hold what would go. One file that is never read is no
                // reason to keep everything for ever; a folder that is away is, or half of the files.
                let unread: BTreeSet<&PathBuf> = report.problems.iter().map(|p| &p.file).collect();
                let doubtful =
                    !paths.is_empty() && (paths.iter().any(lost) || unread.len() >= report.files);
                let trust = match (around.force, doubtful) {
                    (true, _) => Trust::Forced,
                    (_, true) => Trust::Doubtful,
                    _ => Trust::Whole,
                };
                output::render(&job.output, old.as_deref(), &report.targets, trust)
                    .map_err(Failure::from)
            };
            (old, new)
        }
    };
    Outcome { report: Some(report), sweep: None, notes: Vec::new(), old, new }
}

fn lan(job: &Job, settings: &lan::Settings, around: &Around<'_>) -> Outcome {
    // What is written by hand is asked before anybody else.
    let old = match there(job) {
        Ok(old) => old,
        Err(why) => return Outcome::failed(why),
    };
    let before = match lan::before(&job.output, old.as_deref()) {
        Ok(before) => before,
        Err(why) => return Outcome::failed(why.into()),
    };
    let (names, problems) = Names::read(&settings.names, &before.names);
    let reverse = around.reverse.clone().filter(|_| settings.dns);
    let (summary, mut found) = match swept(settings, &Naming { names, reverse }, around) {
        Ok(swept) => swept,
        Err(why) => return Outcome::failed(why),
    };
    let mut notes = summary.warnings.clone();
    if summary.unasked > 0 {
        notes.push(format!(
            "{} addresses could not be asked: what was known of them stays",
            summary.unasked
        ));
    }
    if let Some((mac, count)) = summary.proxy {
        // A router that answers for everybody says of nobody whether he is there.
        notes.push(format!("{count} addresses have the MAC {mac} and answer nothing else: they are taken for a router's, and what was known of them stays"));
        let proxied =
            |one: &&mut Found| one.host.by == Some(By::Neighbour) && one.host.mac == Some(mac);
        for one in found.iter_mut().filter(proxied) {
            (one.host.by, one.host.asked) = (None, false);
        }
    }
    let mut report = Report::default();
    for (path, why) in problems {
        report.problem(&path, 0, why);
    }
    for by in found.iter().filter_map(|found| found.host.by) {
        *report.sources.entry(by.word()).or_default() += 1;
    }
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let new = match lan::targets(settings, &before, &found, today, around.force) {
        Err(why) => Err(Failure::File(format!("{}: {why}", job.output.file.display()))),
        Ok(targets) => {
            report.targets = targets;
            let trust = if around.force { Trust::Forced } else { Trust::Whole };
            output::render(&job.output, old.as_deref(), &report.targets, trust)
                .map(Rendered::with_names)
                .map_err(Failure::from)
        }
    };
    Outcome { report: Some(report), sweep: Some(summary), notes, old, new }
}

fn swept(
    settings: &lan::Settings,
    naming: &Naming,
    around: &Around<'_>,
) -> Result<(Summary, Vec<Found>), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::File(error.to_string()))?;
    let mut found = Vec::new();
    let sweep = sweep::sweep(&settings.sweep, naming, around.stop.cancelled(), |one, _| {
        if one.host.by.is_some() || !one.host.asked {
            found.push(one);
        }
    });
    let summary = runtime.block_on(sweep).map_err(|error| match error {
        sweep::Failure::Refused(why) => Failure::Forbidden(why),
        other => Failure::Sweep(other),
    })?;
    Ok((summary, found))
}

/// Asks which containers run. Must not be called within a runtime.
fn containers(endpoint: &Endpoint) -> Result<Containers, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(docker::list(endpoint))
}

/// Tells how a run went, in metrics. `success`: whether the file is as it should be. Of a run that
/// looked at nothing what was found before stands.
pub fn record(meter: &Meter, job: &str, report: Option<&Report>, success: bool, now: Timestamp) {
    let own = [("discovery_job", job)];
    meter.gauge(&names::DISCOVERY_SUCCESS, &own).set(f64::from(u8::from(success)));
    meter.gauge(&names::DISCOVERY_LAST_RUN, &own).set(now.seconds());
    if success {
        meter.gauge(&names::DISCOVERY_LAST_SUCCESS, &own).set(now.seconds());
    }
    let Some(report) = report else { return };
    meter
        .gauge(&names::DISCOVERY_SKIPPED, &own)
        .set((report.skipped.len() + report.skipped_more) as f64);
    for source in SOURCES {
        let found = report.sources.get(source).copied().unwrap_or(0);
        let own = [("discovery_job", job), ("source", source)];
        if found > 0 || meter.has(&names::DISCOVERY_TARGETS, &own) {
            meter.gauge(&names::DISCOVERY_TARGETS, &own).set(found as f64);
        }
    }
    meter.clear(&names::DISCOVERY_CONTAINERS, &own);
    for (health, count) in &report.health {
        let own = [("discovery_job", job), ("health", *health)];
        meter.gauge(&names::DISCOVERY_CONTAINERS, &own).set(*count as f64);
    }
    let mut errors: BTreeMap<String, f64> = BTreeMap::new();
    for problem in report.problems.iter().take(MAX_FILES) {
        *errors.entry(problem.file.display().to_string()).or_default() += 1.0;
    }
    meter.clear(&names::DISCOVERY_FILE_ERRORS, &own);
    for (file, count) in errors {
        meter
            .gauge(&names::DISCOVERY_FILE_ERRORS, &[("discovery_job", job), ("file", &file)])
            .set(count);
    }
}

/// Ends all metrics of a job that does not run any more.
pub fn forget(meter: &Meter, job: &str) {
    let metrics = [
        &names::DISCOVERY_SUCCESS,
        &names::DISCOVERY_LAST_RUN,
        &names::DISCOVERY_LAST_SUCCESS,
        &names::DISCOVERY_TARGETS,
        &names::DISCOVERY_CONTAINERS,
        &names::DISCOVERY_SKIPPED,
        &names::DISCOVERY_FILE_ERRORS,
    ];
    for metric in metrics {
        meter.forget(metric, &[("discovery_job", job)]);
    }
}

/// Writes what a job has rendered, when the file is still the `old` one from which it was; returns
/// whether the file changed.
///
/// # Errors
/// Why the job failed.
pub fn write(
    job: &Job,
    old: Option<&str>,
    new: Result<Rendered, Failure>,
) -> Result<bool, Failure> {
    let rendered = new?;
    output::write_over(&job.output.file, &rendered.text, old).map_err(Failure::File)
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchpost_discovery::output::Format;

    #[test]
    fn an_edit_made_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("targets.yaml");
        let label = "services: {a: {labels: {watchpost.address: \"a:1\"}}}";
        std::fs::write(folder.path().join("compose.yaml"), label).unwrap();
        let keep_until = Some("# FOUND".to_owned());
        let output = Output { file: file.clone(), keep_until, format: Format::default() };
        let settings = Settings::new(vec![folder.path().to_owned()]);
        let source = Source::Services(settings);
        let job = Job { name: "a".to_owned(), source, output, interval: None };
        let environment = Variables::new();
        let around = Around {
            environment: &environment,
            check: &|_| Ok(()),
            reverse: None,
            force: false,
            stop: CancellationToken::new(),
        };
        let head = "- targets:\n    - by-hand:1\n    # FOUND\n";
        std::fs::write(&file, head).unwrap();
        let outcome = look(&job, &around);
        assert!(outcome.changes(), "{outcome:?}");
        let edited = head.replace("by-hand:1", "by-hand:2");
        std::fs::write(&file, &edited).unwrap();
        let why = write(&job, outcome.old.as_deref(), outcome.new).unwrap_err().to_string();
        assert!(why.ends_with("it has changed meanwhile: nothing is written"), "{why}");
        let kept = crate::base::fs::read_regular(&file, 1_000).unwrap();
        assert_eq!(kept, edited);
        // The next run starts from it.
        let outcome = look(&job, &around);
        assert!(write(&job, outcome.old.as_deref(), outcome.new).unwrap());
        let written = crate::base::fs::read_regular(&file, 1_000).unwrap();
        assert_eq!(written, edited + "    - a:1;a\n");
    }
}
