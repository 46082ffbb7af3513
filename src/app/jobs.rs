//! Discovery jobs with an interval: each runs by itself and writes its file; the watch on target
//! files sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use watchpost_discovery::docker::{self, Endpoint};

use crate::app::facts;
use crate::app::lookup::Known;
use crate::base::{clock, turn};
use crate::config::targets::check_found;
use crate::discover::{self, Around, Job, Source};
use crate::net::resolve::{Resolver, ResolverSettings};
use crate::pipeline::selfmetrics::Meter;

/// The first run waits a little: what starts with the machine may still be mounting its disks.
const FIRST: Duration = Duration::from_secs(2);

/// Several containers come and go together.
const SETTLE: Duration = Duration::from_millis(500);
/// Between the end of a run that events cause and the next one: a container that crashes again and
/// again is no reason to look all the time.
const PAUSE: Duration = Duration::from_secs(5);
/// How soon a sweep that was put off is tried again.
const LATER: Duration = Duration::from_secs(60);
/// How soon the engine is listened to again.
const AGAIN: Duration = Duration::from_secs(10);

/// Services that are no targets and are logged of each run.
const MAX_LOGGED: usize = 200;

/// The jobs that run by themselves.
pub(super) struct Jobs {
    meter: Arc<Meter>,
    tasks: TaskTracker,
    running: BTreeMap<String, (Job, DropGuard)>,
    /// Who is asked for names of what a sweep finds, and what was answered.
    resolver: ResolverSettings,
    known: Known,
    /// Held while a network is swept: one after another.
    sweeping: Arc<tokio::sync::Mutex<()>>,
    /// Held while a run records itself, and while jobs are forgotten.
    recording: Arc<Mutex<()>>,
}

impl Jobs {
    /// None yet; `tasks` owns what runs.
    pub(super) fn new(meter: Arc<Meter>, tasks: TaskTracker) -> Self {
        Self {
            meter,
            tasks,
            running: BTreeMap::new(),
            resolver: ResolverSettings::default(),
            known: Known::default(),
            sweeping: Arc::default(),
            recording: Arc::default(),
        }
    }

    /// Runs these from now on. Those that stay as they are keep their pace; the metrics of those that
    /// are gone end.
    pub(super) fn replace(&mut self, jobs: &[Job], resolver: &ResolverSettings) {
        let mut before = std::mem::take(&mut self.running);
        if self.resolver != *resolver {
            self.resolver.clone_from(resolver);
            self.known = Known::default();
            // A sweep asks others from now on.
            before.retain(|_, (job, _)| !matches!(job.source, Source::Lan(_)));
        }
        for job in jobs.iter().filter(|job| job.interval.is_some()) {
            let same = before.remove(&job.name).filter(|(have, _)| have == job);
            let running = same.unwrap_or_else(|| (job.clone(), self.start(job)));
            self.running.insert(job.name.clone(), running);
        }
        // A run that still goes on records nothing more.
        let _recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, gone) in before {
            drop(gone);
            if !self.running.contains_key(&name) {
                discover::forget(&self.meter, &name);
            }
        }
    }

    /// Runs none any more.
    pub(super) fn stop(&mut self) {
        self.running.clear();
    }

    fn start(&self, job: &Job) -> DropGuard {
        let job = job.on(&facts::host_name());
        let stop = CancellationToken::new();
        let (meter, tasks, stopped) = (Arc::clone(&self.meter), self.tasks.clone(), stop.clone());
        let recording = Arc::clone(&self.recording);
        let sweeping = Arc::clone(&self.sweeping);
        let (resolver, known) = (self.resolver.clone(), self.known.clone());
        let work = async move {
            let Some(interval) = job.interval else { return };
            let mut due = tokio::time::interval_at(Instant::now() + FIRST, interval);
            due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            // Whether events make a run due: what happens until it begins is seen by it.
            let events = Arc::new(watch::Sender::new(false));
            let mut happened = events.subscribe();
            // Events of the engine are listened to beside the pace; they end with this task.
            let mut listening = tokio::task::JoinSet::new();
            if let Some(endpoint) = job.engine().cloned() {
                turn::join(&mut listening, listen(endpoint, Arc::clone(&events)));
            }
            let mut by_event: Option<Instant> = None;
            let mut put_off: Option<Instant> = None;
            loop {
                let again = put_off.take();
                let later = async {
                    match again {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                let event = tokio::select! {
                    _ = due.tick() => false,
                    _ = happened.wait_for(|due| *due) => true,
                    () = later => false,
                };
                if event {
                    tokio::time::sleep_until(settled(Instant::now(), by_event)).await;
                }
                let (job, meter, stop) = (job.clone(), Arc::clone(&meter), stopped.clone());
                let recording = Arc::clone(&recording);
                let (resolver, known) = (resolver.clone(), known.clone());
                let turn = match job.source {
                    Source::Lan(_) => Some(Arc::clone(&sweeping).lock_owned().await),
                    Source::Services(_) => None,
                };
                events.send_replace(false);
                let run = move || {
                    let _turn = turn;
                    let around = Around {
                        environment: &facts::environment(),
                        check: &check_found,
                        reverse: Some(known.reverse(Resolver::new(resolver))),
                        force: false,
                        stop,
                    };
                    run(&job, &around, &meter, &recording)
                };
                let soon = tasks.spawn_blocking(run).await.unwrap_or(false);
                put_off = soon.then(|| Instant::now() + LATER);
                by_event = if event { Some(Instant::now()) } else { by_event };
            }
        };
        turn::track(&self.tasks, stop.clone().run_until_cancelled_owned(work));
        stop.drop_guard()
    }
}

/// When to look after an event, by the end of the last run that one caused.
fn settled(now: Instant, last: Option<Instant>) -> Instant {
    let soon = now + SETTLE;
    last.map_or(soon, |last| soon.max(last + PAUSE))
}

/// Makes a run due when containers come and go.
async fn listen(endpoint: Endpoint, due: Arc<watch::Sender<bool>>) {
    loop {
        let why = docker::watch(&endpoint, &due).await;
        tracing::debug!(endpoint = endpoint.text(), ?why, "no events");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Runs a job; returns whether it was put off, and is to be tried again soon.
fn run(job: &Job, around: &Around<'_>, meter: &Meter, recording: &Mutex<()>) -> bool {
    let name = job.name.as_str();
    let stop = &around.stop;
    let outcome = discover::look(job, around);
    if stop.is_cancelled() {
        // It is gone, or another one by now.
        return false;
    }
    let report = outcome.report;
    for note in &outcome.notes {
        tracing::warn!(job = name, "{note}");
    }
    for problem in report.iter().flat_map(|report| &report.problems) {
        tracing::debug!(job = name, file = %problem.file.display(), line = problem.line, "{}", problem.message);
    }
    for skipped in report.iter().flat_map(|report| &report.skipped).take(MAX_LOGGED) {
        let (service, file) = (&skipped.service, &skipped.file);
        tracing::debug!(job = name, service, file, line = skipped.line, "{}", skipped.reason);
    }
    let written = discover::write(job, outcome.old.as_deref(), outcome.new);
    let put_off = matches!(&written, Err(error) if error.is_put_off());
    // Who waits has not failed.
    if !put_off {
        let _recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
        if !stop.is_cancelled() {
            discover::record(meter, name, report.as_ref(), written.is_ok(), clock::wall());
        }
    }
    let targets = report.map_or(0, |report| report.targets.len());
    match written {
        Ok(true) => tracing::info!(job = name, targets, "the target file has changed"),
        Ok(false) => tracing::debug!(job = name, targets, "nothing has changed"),
        Err(error) if put_off => tracing::info!(job = name, "{error}; it is tried again soon"),
        Err(error) => tracing::warn!(job = name, "{error}"),
    }
    put_off
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::series::Resource;
    use watchpost_discovery::job::{Report, Settings};
    use watchpost_discovery::output::{Format, Output};

    fn job(name: &str, interval: Option<Duration>) -> Job {
        let output =
            Output { file: "/nowhere/a.yaml".into(), keep_until: None, format: Format::FileSd };
        Job {
            name: name.to_owned(),
            source: Source::Services(Settings::new(Vec::new())),
            output,
            interval,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_of_jobs_that_are_gone_end() {
        let meter = Arc::new(Meter::new(Resource::new("watchpost", "h", []), clock::wall()));
        let mut jobs = Jobs::new(Arc::clone(&meter), TaskTracker::new());
        let hour = Some(Duration::from_secs(3_600));
        let resolver = ResolverSettings::default();
        jobs.replace(&[job("a", hour), job("b", hour), job("c", hour)], &resolver);
        for name in ["a", "b", "c"] {
            discover::record(&meter, name, Some(&Report::default()), true, clock::wall());
        }
        let named = |batch: crate::signal::batch::Batch| {
            let of = |s: &crate::signal::batch::Sample| {
                s.series.own.text("discovery_job").map(str::to_owned)
            };
            let names = batch.samples.iter().filter_map(of);
            names.collect::<std::collections::BTreeSet<String>>().into_iter().collect::<String>()
        };
        assert_eq!(named(meter.report(clock::wall())), "abc");
        // One is gone, one has no interval any more, one looks somewhere else.
        jobs.replace(&[job("b", None), job("c", Some(Duration::from_secs(60)))], &resolver);
        assert_eq!(named(meter.snapshot(clock::wall())), "c");
        assert_eq!(named(meter.report(clock::wall())), "abc", "their ends");
        assert_eq!(named(meter.report(clock::wall())), "c");
        // A run that was on its way records nothing.
        let stop = CancellationToken::new();
        stop.cancel();
        let environment = crate::config::Environment::new();
        let (check, force, reverse) = (&check_found, false, None);
        let around = Around { environment: &environment, check, reverse, force, stop };
        assert!(!run(&job("a", hour), &around, &meter, &Mutex::default()));
        assert_eq!(named(meter.snapshot(clock::wall())), "c");
    }

    #[tokio::test(start_paused = true)]
    async fn events_do_not_cause_runs_all_the_time() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(settled(at(1), None), at(1) + SETTLE);
        assert_eq!(settled(at(2), Some(at(1))), at(6));
        assert_eq!(settled(at(60), Some(at(1))), at(60) + SETTLE);
    }
}
