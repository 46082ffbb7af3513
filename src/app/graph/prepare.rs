//! Building pipelines next to those that run: whatever can fail fails here, and nothing has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Fingerprint, Graph, Known, Prepared, PreparedPipeline, PreparedSending, Sending};
use crate::app::catalog::{self, Standing, Tools};
use crate::app::files::{self, Files, Wanted};
use crate::app::{StartError, detect, facts};
use crate::base::{clock, turn};
use crate::config::plan::{self, ExporterSettings, ExtensionSettings, Plan, ProcessorSettings};
use crate::exporter::deliver::Duty;
use crate::net::auth::Authenticator;
use crate::net::resolve::Resolver;
use crate::pipeline::chain::{Chain, Stage};
use crate::pipeline::memory::Holder;
use crate::pipeline::stage::Sink;
use crate::processor::resource_detection::Facts;
use crate::queue::books::{Batching, Books};
use crate::queue::cursor::Cursor;
use crate::queue::log::Log;
use crate::queue::log::store::{Limits, encoded};
use crate::queue::quarantine::Quarantine;
use crate::signal::names;

/// How long folders that another has are waited for.
const LEAVING: Duration = Duration::from_secs(2);

/// The tools that pipelines are built with, the exporters without queues, and the TLS files of the others.
type Around<'a> =
    (&'a Tools<'a>, &'a BTreeMap<String, (u64, Standing)>, &'a BTreeMap<String, Files>);

impl Graph {
    /// Builds what a plan says, next to what runs. Nothing that runs changes.
    ///
    /// # Errors
    /// Why it cannot be built.
    pub(in crate::app) async fn prepare(&self, plan: &Plan) -> Result<Prepared, StartError> {
        let resolver = Resolver::new(plan.resolver.clone());
        let authenticators = self.authenticators(plan);
        let facts = self.facts(plan, &resolver).await;
        let by_name = facts.iter().map(|(name, known)| (name.clone(), Arc::clone(&known.facts)));
        let tools = Tools {
            memory: &self.memory,
            total_memory: facts::total_memory(),
            facts: &by_name.collect(),
            authenticators: &authenticators
                .iter()
                .map(|(name, (_, auth))| (name.clone(), Arc::clone(auth)))
                .collect(),
            resolver: &resolver,
        };
        let files = files::read(sending(plan)).await;
        let standing = self.standing(plan);
        let mut pipelines = BTreeMap::new();
        let patience = clock::instant() + LEAVING;
        for pipeline in &plan.pipelines {
            let sends =
                |name: &String| plan.exporters.contains_key(name) && !standing.contains_key(name);
            let log = match pipeline.exporters.iter().any(sends) {
                true => Some(self.log(&pipeline.name, plan, patience).await),
                false => None,
            };
            let known = (&tools, &standing, &files);
            let prepared = self.prepare_pipeline(pipeline, plan, known, log)?;
            pipelines.insert(pipeline.name.clone(), prepared);
        }
        Ok(Prepared { pipelines, standing, authenticators, facts })
    }

    fn authenticators(&self, plan: &Plan) -> BTreeMap<String, (u64, Arc<Authenticator>)> {
        let mut found = BTreeMap::new();
        for (name, extension) in &plan.extensions {
            if let ExtensionSettings::Auth(scheme) = &extension.settings {
                let kept = self.authenticators.get(name);
                let kept = kept.filter(|(before, _)| *before == extension.fingerprint);
                let authenticator = kept.map_or_else(
                    || Arc::new(Authenticator::new(scheme.clone())),
                    |(_, authenticator)| Arc::clone(authenticator),
                );
                found.insert(name.clone(), (extension.fingerprint, authenticator));
            }
        }
        found
    }

    async fn facts(&self, plan: &Plan, resolver: &Resolver) -> BTreeMap<String, Known> {
        let used: BTreeSet<&String> = plan.pipelines.iter().flat_map(|p| &p.processors).collect();
        let mut found = BTreeMap::new();
        for (name, processor) in plan.processors.iter().filter(|(name, _)| used.contains(name)) {
            let ProcessorSettings::ResourceDetection(settings) = &processor.settings else {
                continue;
            };
            let fingerprint = processor.fingerprint;
            let known = match self.facts.get(name) {
                Some(known) if known.fingerprint == fingerprint => Known {
                    fingerprint,
                    facts: Arc::clone(&known.facts),
                    _looks: Arc::clone(&known._looks),
                },
                _ => {
                    let facts = Arc::new(Facts::default());
                    let stop = CancellationToken::new();
                    let detector = detect::Detection {
                        name: name.clone(),
                        settings: settings.clone(),
                        resolver: resolver.clone(),
                        facts: Arc::clone(&facts),
                    };
                    let more = detector.first().await;
                    turn::track(&self.tasks, stop.clone().run_until_cancelled_owned(more));
                    Known { fingerprint, facts, _looks: Arc::new(stop.drop_guard()) }
                }
            };
            found.insert(name.clone(), known);
        }
        found
    }

    fn standing(&self, plan: &Plan) -> BTreeMap<String, (u64, Standing)> {
        let used: BTreeSet<&String> = plan.pipelines.iter().flat_map(|p| &p.exporters).collect();
        let mut found = BTreeMap::new();
        for (name, exporter) in plan.exporters.iter().filter(|(name, _)| used.contains(name)) {
            let fingerprint = exporter.fingerprint;
            let kept = self.standing.get(name).filter(|(before, _)| *before == fingerprint);
            let standing = match kept {
                Some((_, standing)) => Some(standing.clone()),
                None => catalog::standing(name, &exporter.settings, &self.memory),
            };
            found.extend(standing.map(|standing| (name.clone(), (fingerprint, standing))));
        }
        found
    }

    fn prepare_pipeline(
        &self,
        pipeline: &plan::Pipeline,
        plan: &Plan,
        (tools, standing, files): Around<'_>,
        log: Option<Arc<Log>>,
    ) -> Result<PreparedPipeline, StartError> {
        let running = self.pipelines.get(&pipeline.name);
        let listed = pipeline.processors.iter();
        let listed: Vec<(&String, &plan::Processor)> =
            listed.filter_map(|name| Some((name, plan.processors.get(name)?))).collect();
        let stages: Vec<(String, u64)> =
            listed.iter().map(|(name, p)| ((*name).clone(), p.fingerprint)).collect();
        let chain = running.is_none_or(|running| running.stages != stages).then(|| {
            let stage = |(name, processor): &(&String, &plan::Processor)| {
                let own = [("pipeline", pipeline.name.as_str()), ("processor", name.as_str())];
                let dropped = self.meter.counter(&names::PROCESSOR_DROPPED, &own);
                catalog::processor(name, &processor.settings, tools)
                    .map(|processor| Stage { processor, dropped })
            };
            Chain::new(listed.iter().filter_map(stage).collect())
        });
        let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
        let mut sending = BTreeMap::new();
        for name in &pipeline.exporters {
            if let Some((_, standing)) = standing.get(name) {
                sinks.push(standing.sink());
                continue;
            }
            let Some(exporter) = plan.exporters.get(name) else { continue };
            let (Some(log), Some(files)) = (&log, files.get(name)) else { continue };
            let before = running.and_then(|running| running.sending.get(name));
            let whole = (name.as_str(), exporter, files);
            let prepared = self.prepare_sending(pipeline, plan, whole, (log, before), tools)?;
            sending.insert(name.clone(), prepared);
        }
        // Those that stand beside it wait for nobody: they come first.
        sinks.extend(log.iter().map(|log| Arc::clone(log) as Arc<dyn Sink>));
        Ok(PreparedPipeline { stages, chain, sinks, sending, log })
    }

    fn prepare_sending(
        &self,
        pipeline: &plan::Pipeline,
        plan: &Plan,
        (name, exporter, files): (&str, &plan::Exporter, &Files),
        (log, before): (&Arc<Log>, Option<&Sending>),
        tools: &Tools<'_>,
    ) -> Result<PreparedSending, StartError> {
        let fingerprint = whole_fingerprint(pipeline, plan, exporter, files);
        let identity = match &exporter.settings {
            ExporterSettings::RemoteWrite(settings) => Some(settings.identity.clone()),
            _ => None,
        };
        if before.is_some_and(|before| before.fingerprint.is_still(fingerprint)) {
            return Ok(PreparedSending::Kept);
        }
        // The same names and labels: what waits goes the new way.
        let kept = before.filter(|before| before.identity == identity);
        let limits = queue_settings(pipeline, exporter);
        let queue = match kept {
            Some(before) => Arc::clone(&before.queue),
            None => {
                let books = Books::new(&self.meter, name, &pipeline.name);
                Cursor::new(log, books, limits.1, limits.0)
            }
        };
        let sending = Sending {
            fingerprint,
            destination: destination(&exporter.settings),
            identity,
            queue: Arc::clone(&queue),
            limits,
            health: Arc::default(),
            leave: CancellationToken::new(),
            hurry: self.hurry.child_token(),
            ended: CancellationToken::new(),
        };
        let duty = Duty {
            name: name.to_owned(),
            pipeline: pipeline.name.clone(),
            queue,
            quarantine: self.pipeline_folder(&pipeline.name).map(|at| Quarantine::beside(&at)),
            surroundings: self.surroundings.clone(),
            health: Arc::clone(&sending.health),
            meter: Arc::clone(&self.meter),
            hurry: sending.hurry.clone(),
            leave: sending.leave.clone(),
        };
        let work = catalog::sending(&exporter.settings, files, tools, duty)?;
        let prepared = match kept {
            Some(_) => PreparedSending::Heir(sending, work),
            None => PreparedSending::New(sending, work),
        };
        Ok(prepared)
    }

    /// Where the queue of a pipeline is kept.
    pub(in crate::app) fn pipeline_folder(&self, pipeline: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(encoded(pipeline)))
    }

    /// The log of a pipeline: the one that is open, else that of its folder, else one in memory.
    async fn log(&self, pipeline: &str, plan: &Plan, patience: Instant) -> Arc<Log> {
        let limits = plan.storage.limits.clone();
        if let Some(log) = self.logs.get(pipeline).and_then(Weak::upgrade) {
            return log;
        }
        let opened = match self.pipeline_folder(pipeline) {
            None => {
                if !self.said.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        "storage.directory is not set: what waits for exporters is kept in memory alone"
                    );
                }
                None
            }
            Some(folder) => Some(self.open(pipeline, &folder, limits, patience).await),
        };
        let log = opened.unwrap_or_else(|| Log::in_memory(pipeline, self.surroundings.clone()));
        let log = Arc::new(log);
        self.memory.count(&(Arc::clone(&log) as Arc<dyn Holder>));
        log
    }

    /// The log in a folder; one in memory while that cannot be used.
    async fn open(&self, pipeline: &str, folder: &Path, limits: Limits, patience: Instant) -> Log {
        let error = loop {
            let (name, path) = (pipeline.to_owned(), folder.to_owned());
            let (limits, surroundings) = (limits.clone(), self.surroundings.clone());
            let open = move || Log::open(&name, &path, limits, surroundings);
            let opened = tokio::task::spawn_blocking(open).await;
            match opened.map_err(io::Error::other).flatten() {
                Ok(log) => return log,
                // One of ours may be about to leave it.
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && clock::instant() < patience =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => break error,
            }
        };
        tracing::error!(
            pipeline,
            "{} cannot be used: {error}; what waits is kept in memory alone until it can be",
            folder.display()
        );
        Log::until_usable(pipeline, folder, limits, self.surroundings.clone())
    }
}

/// The exporters of a plan that send, and are used.
fn sending(plan: &Plan) -> Vec<Wanted> {
    let used: BTreeSet<&String> = plan.pipelines.iter().flat_map(|p| &p.exporters).collect();
    let exporters = plan.exporters.iter().filter(|(name, _)| used.contains(name));
    let wanted = exporters.filter_map(|(name, exporter)| {
        let tls = exporter.settings.client()?.tls.clone();
        Some((name.clone(), tls, catalog::alpn(&exporter.settings)?))
    });
    wanted.collect()
}

/// The inputs of an exporter in a pipeline, as hashes.
fn whole_fingerprint(
    pipeline: &plan::Pipeline,
    plan: &Plan,
    exporter: &plan::Exporter,
    files: &Files,
) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    exporter.fingerprint.hash(&mut hasher);
    if let Some(client) = exporter.settings.client() {
        let auth = client.auth.as_ref().and_then(|at| plan.extensions.get(at.as_ref()?));
        auth.map(|extension| extension.fingerprint).hash(&mut hasher);
    }
    format!("{:?}{:?}", pipeline.batching, plan.resolver).hash(&mut hasher);
    Fingerprint { text: hasher.finish(), files: files.stamp() }
}

/// Where an exporter sends, in one number.
fn destination(settings: &ExporterSettings) -> u64 {
    let mut hasher = DefaultHasher::new();
    let endpoint = match settings {
        ExporterSettings::RemoteWrite(settings) => &settings.endpoint,
        ExporterSettings::OtlpGrpc(settings) => &settings.endpoint,
        ExporterSettings::OtlpHttp(settings) => &settings.endpoint,
        ExporterSettings::Prometheus(_) | ExporterSettings::Debug(_) => return 0,
    };
    (std::mem::discriminant(settings), endpoint).hash(&mut hasher);
    hasher.finish()
}

/// How much a queue holds, and when a batch is worth a request.
fn queue_settings(
    pipeline: &plan::Pipeline,
    exporter: &plan::Exporter,
) -> (Option<usize>, Batching) {
    let client = exporter.settings.client();
    let batching = client.and_then(|client| client.batching).or(pipeline.batching);
    let size = client.and_then(|client| client.queue_size);
    (size, batching.unwrap_or_default())
}
