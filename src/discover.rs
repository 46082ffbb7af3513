//! Discovery jobs: each looks through what is written down elsewhere and keeps one target file
//! current. `watchpost discover` runs them from cron; in the daemon those with an interval run by
//! themselves, and the watch on target files picks up what they write.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use watchpost_discovery::docker::{self, Containers, Endpoint};
use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{self, Check, Report, Settings};
use watchpost_discovery::output::{self, Output, Refused, Rendered, Trust};

use crate::base::clock::Timestamp;
use crate::pipeline::selfmetrics::Meter;
use crate::signal::names;

/// Files with errors that metrics name at most.
const MAX_FILES: usize = 100;
/// What may tell a target.
const SOURCES: [&str; 8] =
    ["watchpost", "traefik", "traefik file", "caddy", "nginx-proxy", "kuma", "homepage", "ports"];

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Where it looks.
    pub settings: Settings,
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
    /// Nothing could be looked at.
    #[error("{0}: none of its paths can be looked at: nothing is written")]
    Blind(PathBuf),
}

impl Job {
    /// The job as it runs on this machine: published ports are asked at its name, unless another
    /// host is written.
    #[must_use]
    pub fn on(&self, host: &str) -> Self {
        let mut job = self.clone();
        if job.settings.ports_host.is_empty() {
            host.clone_into(&mut job.settings.ports_host);
        }
        job
    }
}

impl Outcome {
    /// Whether the file would be another.
    #[must_use]
    pub fn changes(&self) -> bool {
        let new = self.new.as_ref().ok().map(|rendered| rendered.text.as_str());
        new.is_some_and(|new| self.old.as_deref() != Some(new))
    }
}

/// Looks, and renders the file anew. Nothing is written.
///
/// `environment` has the variables that compose files may name; `force` lets a file shrink; what
/// `check` refuses is no target.
#[must_use]
pub fn look(job: &Job, environment: &Variables, force: bool, check: Check<'_>) -> Outcome {
    let file = &job.output.file;
    let containers = match &job.settings.docker {
        None => None,
        Some(endpoint) => match containers(endpoint) {
            Ok(containers) => Some(containers),
            // Not to know what runs is no reason to forget it.
            Err(why) => {
                let why = format!("{}: {why}: nothing is written", endpoint.text());
                return Outcome { report: None, old: None, new: Err(Failure::File(why)) };
            }
        },
    };
    let report = job::run(&job.settings, environment, containers.as_ref(), check);
    let old = match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => crate::base::fs::read_regular(file, watchpost_targets::file::MAX_BYTES).map(Some),
    };
    let (old, new) = match old {
        Err(why) => (None, Err(Failure::File(why))),
        Ok(old) => {
            let lost = |path: &PathBuf| report.problems.iter().any(|problem| problem.file == *path);
            let paths = &job.settings.paths;
            let blind = !paths.is_empty() && paths.iter().all(lost);
            let new = if blind && !force {
                // A disk that is not mounted is no reason to forget everything.
                Err(Failure::Blind(file.clone()))
            } else {
                // What could not be read may hold what would go. One file that is never read is no
                // reason to keep everything for ever; a folder that is away is, or half of the files.
                let unread: BTreeSet<&PathBuf> = report.problems.iter().map(|p| &p.file).collect();
                let doubtful =
                    !paths.is_empty() && (paths.iter().any(lost) || unread.len() >= report.files);
                let trust = match (force, doubtful) {
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
    Outcome { report: Some(report), old, new }
}

/// Asks which containers run. Must not be called within a runtime.
fn containers(endpoint: &Endpoint) -> Result<Containers, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(docker::list(endpoint))
}

/// Tells how a run went, in metrics. `success`: whether the file is as it should be. Of a run that
/// looked at nothing what was found before stands.
pub fn record(meter: &Meter, job: &str, report: Option<&Report>, success: bool, now: Timestamp) {
    let own = [("job", job)];
    meter.gauge(&names::DISCOVERY_SUCCESS, &own).set(f64::from(u8::from(success)));
    meter.gauge(&names::DISCOVERY_LAST_RUN, &own).set(now.seconds());
    if success {
        meter.gauge(&names::DISCOVERY_LAST_SUCCESS, &own).set(now.seconds());
    }
    let Some(report) = report else { return };
    meter.gauge(&names::DISCOVERY_SKIPPED, &own).set(report.skipped.len() as f64);
    for source in SOURCES {
        let found = report.sources.get(source).copied().unwrap_or(0);
        let own = [("job", job), ("source", source)];
        if found > 0 || meter.has(&names::DISCOVERY_TARGETS, &own) {
            meter.gauge(&names::DISCOVERY_TARGETS, &own).set(found as f64);
        }
    }
    meter.clear(&names::DISCOVERY_CONTAINERS, &own);
    for (health, count) in &report.health {
        let own = [("job", job), ("health", *health)];
        meter.gauge(&names::DISCOVERY_CONTAINERS, &own).set(*count as f64);
    }
    let mut errors: BTreeMap<String, f64> = BTreeMap::new();
    for problem in report.problems.iter().take(MAX_FILES) {
        *errors.entry(problem.file.display().to_string()).or_default() += 1.0;
    }
    meter.clear(&names::DISCOVERY_FILE_ERRORS, &own);
    for (file, count) in errors {
        meter.gauge(&names::DISCOVERY_FILE_ERRORS, &[("job", job), ("file", &file)]).set(count);
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
        meter.forget(metric, &[("job", job)]);
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
        let job = Job { name: "a".to_owned(), settings, output, interval: None };
        let head = "- targets:\n    - by-hand:1\n    # FOUND\n";
        std::fs::write(&file, head).unwrap();
        let outcome = look(&job, &Variables::new(), false, &|_| Ok(()));
        assert!(outcome.changes(), "{outcome:?}");
        let edited = head.replace("by-hand:1", "by-hand:2");
        std::fs::write(&file, &edited).unwrap();
        let why = write(&job, outcome.old.as_deref(), outcome.new).unwrap_err().to_string();
        assert!(why.ends_with("it has changed meanwhile: nothing is written"), "{why}");
        let kept = crate::base::fs::read_regular(&file, 1_000).unwrap();
        assert_eq!(kept, edited);
        // The next run starts from it.
        let outcome = look(&job, &Variables::new(), false, &|_| Ok(()));
        assert!(write(&job, outcome.old.as_deref(), outcome.new).unwrap());
        let written = crate::base::fs::read_regular(&file, 1_000).unwrap();
        assert_eq!(written, edited + "    - a:1;a\n");
    }
}
