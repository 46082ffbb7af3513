//! Discovery jobs with an interval: each runs by itself and writes its file; the watch on target
//! files sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use watchpost_discovery::docker::{self, Endpoint};

use crate::app::facts;
use crate::base::clock;
use crate::config::Environment;
use crate::discover::{self, Job};
use crate::pipeline::selfmetrics::Meter;

/// The first run waits a little: what starts with the machine may still be mounting its disks.
const FIRST: Duration = Duration::from_secs(2);

/// Several containers come and go together.
const SETTLE: Duration = Duration::from_millis(500);
/// How soon the engine is listened to again.
const AGAIN: Duration = Duration::from_secs(10);

/// The jobs that run by themselves.
pub(super) struct Jobs {
    meter: Arc<Meter>,
    tasks: TaskTracker,
    running: BTreeMap<String, (Job, DropGuard)>,
}

impl Jobs {
    /// None yet; `tasks` owns what runs.
    pub(super) fn new(meter: Arc<Meter>, tasks: TaskTracker) -> Self {
        Self { meter, tasks, running: BTreeMap::new() }
    }

    /// Runs these from now on. Those that stay as they are keep their pace.
    pub(super) fn replace(&mut self, jobs: &[Job]) {
        let mut before = std::mem::take(&mut self.running);
        for job in jobs.iter().filter(|job| job.interval.is_some()) {
            let same = before.remove(&job.name).filter(|(have, _)| have == job);
            let running = same.unwrap_or_else(|| (job.clone(), self.start(job)));
            self.running.insert(job.name.clone(), running);
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
        let work = async move {
            let Some(interval) = job.interval else { return };
            let mut due = tokio::time::interval_at(tokio::time::Instant::now() + FIRST, interval);
            due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            let happened = Arc::new(tokio::sync::Notify::new());
            // Events of the engine are listened to beside the pace; they end with this task.
            let mut listening = tokio::task::JoinSet::new();
            if let Some(endpoint) = job.settings.docker.clone() {
                listening.spawn(listen(endpoint, Arc::clone(&happened)));
            }
            loop {
                tokio::select! {
                    _ = due.tick() => {}
                    () = happened.notified() => tokio::time::sleep(SETTLE).await,
                }
                let (job, meter, stop) = (job.clone(), Arc::clone(&meter), stopped.clone());
                let run = move || run(&job, &facts::environment(), &meter, &stop);
                let _ = tasks.spawn_blocking(run).await;
            }
        };
        self.tasks.spawn(stop.clone().run_until_cancelled_owned(work));
        stop.drop_guard()
    }
}

/// Says when containers come and go.
async fn listen(endpoint: Endpoint, happened: Arc<tokio::sync::Notify>) {
    loop {
        let why = docker::watch(&endpoint, || happened.notify_one()).await;
        tracing::debug!(endpoint = endpoint.text(), ?why, "no events");
        tokio::time::sleep(AGAIN).await;
    }
}

fn run(job: &Job, environment: &Environment, meter: &Meter, stop: &CancellationToken) {
    let name = job.name.as_str();
    let outcome = discover::look(job, environment, false);
    if stop.is_cancelled() {
        // It is gone, or another one by now.
        return;
    }
    let report = outcome.report;
    for problem in &report.problems {
        tracing::debug!(job = name, file = %problem.file.display(), line = problem.line, "{}", problem.message);
    }
    let written = discover::write(job, outcome.new);
    discover::record(meter, name, &report, written.is_ok(), clock::wall());
    let targets = report.targets.len();
    match written {
        Ok(true) => tracing::info!(job = name, targets, "the target file has changed"),
        Ok(false) => tracing::debug!(job = name, targets, "nothing has changed"),
        Err(error) => tracing::warn!(job = name, "{error}"),
    }
}
