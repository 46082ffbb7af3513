//! Where the configuration and the targets come from.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::app::embedded;
use crate::app::watches::{Stamp, stamps};
use crate::config::plan::Plan;
use crate::config::targets::TargetReader;
use crate::config::{self, Environment, Loaded, Outside, Sources, Strictness};
use crate::pipeline::selfmetrics::{Gauge, Meter};
use crate::probe::ReceiverPlan;
use crate::signal::names;

/// How long all target files together may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// When target files are read again, of which one hung.
const AGAIN: Duration = Duration::from_secs(30);

/// How long a configuration may take to be read.
const LOADED_WITHIN: Duration = Duration::from_secs(20);

/// Where targets come from.
pub(super) struct TargetSource {
    plan: Arc<Plan>,
    embedded: Option<SocketAddr>,
    reader: Arc<Mutex<TargetReader>>,
    told: BTreeSet<String>,
    problems: Gauge,
    /// When they are read again because one of them hung.
    again: Option<tokio::time::Instant>,
}

impl TargetSource {
    /// Targets of a plan.
    pub(super) fn new(plan: Plan, meter: &Meter) -> Self {
        Self {
            plan: Arc::new(plan),
            embedded: None,
            reader: Arc::default(),
            told: BTreeSet::new(),
            problems: meter.gauge(&names::TARGET_FILE_PROBLEMS, &[]),
            again: None,
        }
    }

    /// With an address: what this machine serves, but for that address itself.
    pub(super) fn embed(&mut self, own: Option<SocketAddr>) {
        self.embedded = own;
    }

    pub(super) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Reads everything again, on a thread for blocking work. A problem is logged when it is new, not each time.
    ///
    /// # Errors
    /// When reading takes too long, although it does not wait for files that hang.
    pub(super) async fn read(&mut self) -> Result<Vec<ReceiverPlan>, String> {
        let (plan, reader, own) = (Arc::clone(&self.plan), Arc::clone(&self.reader), self.embedded);
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let embedded = own.map(embedded::receivers);
            let receivers = embedded.as_ref().unwrap_or(&plan.receivers);
            reader.read(receivers, &plan)
        });
        self.again = Some(tokio::time::Instant::now() + AGAIN);
        let read = tokio::time::timeout(READ_WITHIN, reading).await;
        let read =
            read.map_err(|_| format!("target files were not read within {READ_WITHIN:?}"))?;
        let targets = read.map_err(|error| error.to_string())?;
        if !targets.hang {
            self.again = None;
        }
        let problems: BTreeSet<String> = targets.problems.into_iter().collect();
        for problem in problems.difference(&self.told) {
            tracing::warn!("{problem}");
        }
        for _ in self.told.difference(&problems).take(1) {
            tracing::info!(left = problems.len(), "problems of target files are mended");
        }
        self.problems.set(problems.len() as f64);
        self.told = problems;
        Ok(targets.receivers)
    }

    /// Waits until they are to be read again because one of them hung.
    pub(super) async fn again(&self) {
        match self.again {
            Some(again) => tokio::time::sleep_until(again).await,
            None => std::future::pending().await,
        }
    }

    /// The plan in force.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Reads the targets of another plan from now on; returns the one before it.
    pub(super) fn replace(&mut self, plan: Arc<Plan>) -> Arc<Plan> {
        std::mem::replace(&mut self.plan, plan)
    }

    /// The files and patterns that are read. Patterns are watched by their folders, so that new files
    /// are seen.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.plan.receivers.iter().flat_map(|receiver| receiver.files.clone()).collect()
    }
}

/// A configuration that can be read again.
#[derive(Clone, Debug)]
pub struct Configuration {
    sources: Sources,
    environment: Environment,
    /// The files that the last reading has read, and what they were before it.
    files: Vec<PathBuf>,
    seen: Vec<Stamp>,
    outside: Outside,
    /// Held by the thread that reads it.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl Configuration {
    /// A configuration out of these sources.
    #[must_use]
    pub fn new(sources: Sources, environment: Environment) -> Self {
        let (files, seen, outside, reading) = Default::default();
        Self { sources, environment, files, seen, outside, reading }
    }

    /// The files that the last reading has read, and what they were before it.
    pub(super) fn seen(&self) -> (&[PathBuf], Vec<Stamp>) {
        (&self.files, self.seen.clone())
    }

    /// Reads it on a thread for blocking work.
    ///
    /// # Errors
    /// When that takes too long, or an earlier reading still hangs.
    pub(super) async fn load_elsewhere(self) -> Result<(Loaded, Self), String> {
        let hangs = |what: &str| format!("{what}: does its file system answer?\n");
        let Ok(held) = Arc::clone(&self.reading).try_lock_owned() else {
            return Err(hangs("an earlier reading of the configuration has not ended"));
        };
        let reading = tokio::task::spawn_blocking(move || {
            let _held = held;
            self.load()
        });
        match tokio::time::timeout(LOADED_WITHIN, reading).await {
            Ok(read) => read.map_err(|error| format!("{error}\n")),
            Err(_) => {
                Err(hangs(&format!("the configuration was not read within {LOADED_WITHIN:?}")))
            }
        }
    }

    /// Reads it.
    #[must_use]
    pub fn load(mut self) -> (Loaded, Self) {
        // A change during the reading is another change.
        let before = stamps(&self.sources.files());
        let loaded = config::load(&self.sources, &self.environment, Strictness::Run);
        self.files.clone_from(&loaded.files);
        self.outside = loaded.outside.clone();
        self.seen = stamps(&loaded.files)
            .into_iter()
            .map(|(path, now)| {
                let of = |list: &[Stamp]| list.iter().find(|(p, _)| *p == path).map(|(_, s)| *s);
                let stamp = of(&before).unwrap_or(now);
                (path, stamp)
            })
            .collect();
        (loaded, self)
    }

    /// An error without the values that came from outside.
    #[must_use]
    pub fn hide(&self, error: &impl std::fmt::Display) -> String {
        self.outside.hide(&error.to_string())
    }
}
