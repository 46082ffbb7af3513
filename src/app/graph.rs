//! The pipelines at work, and how others take their place: everything that can fail is built first
//! and apart, then sources are led over, then what is gone is drained.

mod end;
mod orders;
mod prepare;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::app::catalog::Standing;
use crate::app::{StartError, facts};
use crate::base::{clock, turn};
use crate::config::plan::{self, Plan};
use crate::exporter::deliver::Work;
use crate::exporter::health::{Health, Healths};
use crate::exporter::identity::Identity;
use crate::host::kernel::is_synchronized;
use crate::net::auth::Authenticator;
use crate::pipeline::board::Board;
use crate::pipeline::chain::Chain;
use crate::pipeline::graph::{Exchange, Pipeline};
use crate::pipeline::memory::{Holder, Memory};
use crate::pipeline::outlet::Outlet;
use crate::pipeline::ring::{DEFAULT_SAMPLES, Ring};
use crate::pipeline::selfmetrics::Meter;
use crate::pipeline::stage::Sink;
use crate::processor::resource_detection::Facts;
use crate::queue::books::Batching;
use crate::queue::cursor::Cursor;
use crate::queue::log::{Log, Surroundings};
use crate::queue::report::Whose;
use crate::signal::names;

/// How long an exporter that is gone may go on trying to send what waits in memory.
const ORPHAN_TTL: Duration = Duration::from_secs(600);
/// How long the queues may take for their last words when the daemon ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// All pipelines.
pub(super) struct Graph {
    board: Arc<Board>,
    meter: Arc<Meter>,
    memory: Arc<Memory>,
    /// Cancelled when the daemon stops.
    hurry: CancellationToken,
    tasks: TaskTracker,
    pipelines: BTreeMap<String, Running>,
    standing: BTreeMap<String, (u64, Standing)>,
    authenticators: BTreeMap<String, (u64, Arc<Authenticator>)>,
    facts: BTreeMap<String, Known>,
    /// All queues that an exporter has in a pipeline: the present one, and those that are drained.
    queues: BTreeMap<(String, String), Queues>,
    /// The folder of the queues; `None`: there is none.
    folder: Option<PathBuf>,
    surroundings: Surroundings,
    healths: Arc<Healths>,
    /// The logs that are open, those of pipelines that are gone included while somebody reads them.
    logs: BTreeMap<String, Weak<Log>>,
    /// How long what waits on the disk for an exporter that is gone is kept.
    orphan_ttl: Duration,
    /// It has been said that nothing is kept.
    said: AtomicBool,
    /// Exporters that are gone and still send: where, and what is cancelled when they have ended.
    drained: Mutex<Vec<(u64, CancellationToken)>>,
}

/// The queues that one exporter has in one pipeline.
type Queues = Arc<Mutex<Vec<Weak<Cursor>>>>;

/// What is known of this machine for a processor, and the task that looks again.
struct Known {
    fingerprint: u64,
    facts: Arc<Facts>,
    _looks: Arc<DropGuard>,
}

struct Running {
    pipeline: Pipeline,
    /// The names and texts of its processors.
    stages: Vec<(String, u64)>,
    sending: BTreeMap<String, Sending>,
    log: Option<Arc<Log>>,
}

/// An exporter that sends, for one pipeline.
struct Sending {
    fingerprint: Fingerprint,
    /// Where it sends, in one number.
    destination: u64,
    identity: Option<Identity>,
    queue: Arc<Cursor>,
    /// How much the queue holds, and when a batch is worth a request.
    limits: (Option<usize>, Batching),
    health: Arc<Health>,
    leave: CancellationToken,
    hurry: CancellationToken,
    ended: CancellationToken,
}

/// The inputs of an exporter in a pipeline, as hashes.
#[derive(Clone, Copy)]
struct Fingerprint {
    /// Of its text, that of the extension that authenticates it, and who is asked for names.
    text: u64,
    /// Of the files that it reads at its start; `None`: they are not read yet.
    files: Option<u64>,
}

impl Fingerprint {
    /// Whether what runs may go on; files that hang change nothing.
    fn is_still(self, now: Self) -> bool {
        self.text == now.text && (now.files.is_none() || self.files == now.files)
    }
}

/// Pipelines that have been built and do not run yet.
pub(super) struct Prepared {
    pipelines: BTreeMap<String, PreparedPipeline>,
    standing: BTreeMap<String, (u64, Standing)>,
    authenticators: BTreeMap<String, (u64, Arc<Authenticator>)>,
    facts: BTreeMap<String, Known>,
}

struct PreparedPipeline {
    stages: Vec<(String, u64)>,
    /// `None`: the one that runs goes on.
    chain: Option<Chain>,
    sinks: Vec<Arc<dyn Sink>>,
    sending: BTreeMap<String, PreparedSending>,
    log: Option<Arc<Log>>,
}

enum PreparedSending {
    /// The one that runs goes on.
    Kept,
    /// Another one with its own queue.
    New(Sending, Work),
    /// Another one for the queue of the one that runs.
    Heir(Sending, Work),
}

/// Where sources send from now on.
pub(super) struct Routes {
    /// By receiver.
    pub(super) receivers: BTreeMap<String, Outlet>,
    /// For our own metrics.
    pub(super) own: Outlet,
}

impl Graph {
    /// No pipeline yet. `hurry` is cancelled when the daemon stops.
    /// `folder`: where queues are kept.
    pub(super) fn new(
        board: Arc<Board>,
        meter: Arc<Meter>,
        hurry: CancellationToken,
        folder: Option<PathBuf>,
    ) -> Self {
        let memory = Arc::new(Memory::default());
        let surroundings = Surroundings {
            boot_id: facts::boot_id(),
            synchronized: is_synchronized,
            meter: Arc::clone(&meter),
        };
        let counted = Arc::clone(&memory);
        meter.read(&names::MEMORY_ACCOUNTED, &[], move |_| Some(counted.bytes() as f64));
        Self {
            board,
            meter,
            memory,
            hurry,
            tasks: TaskTracker::new(),
            pipelines: BTreeMap::new(),
            standing: BTreeMap::new(),
            authenticators: BTreeMap::new(),
            facts: BTreeMap::new(),
            queues: BTreeMap::new(),
            folder,
            surroundings,
            healths: Arc::default(),
            logs: BTreeMap::new(),
            orphan_ttl: ORPHAN_TTL,
            said: AtomicBool::new(false),
            drained: Mutex::default(),
        }
    }

    /// How sending goes.
    pub(super) fn healths(&self) -> Arc<Healths> {
        Arc::clone(&self.healths)
    }

    /// The folder of the queues.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Lets what was prepared run. Between its two halves the sources are led over: `lead` is handed
    /// their new routes.
    ///
    /// # Errors
    /// When the system has no thread left; then nothing has changed.
    pub(super) async fn commit<F: Future<Output = ()>>(
        &mut self,
        prepared: Prepared,
        plan: &Plan,
        lead: impl FnOnce(Routes) -> F,
    ) -> Result<(), StartError> {
        let Prepared { pipelines, standing, authenticators, facts } = prepared;
        self.orphan_ttl = plan.storage.limits.orphan_ttl;
        let leaving = self.leaving(&pipelines);
        let mut later = Vec::new();
        let mut rings: BTreeMap<String, Arc<Ring>> = BTreeMap::new();
        for (name, prepared) in pipelines {
            if let Some(running) = self.pipelines.get(&name) {
                rings.insert(name.clone(), Arc::clone(running.pipeline.ring()));
                later.push((name, prepared));
                continue;
            }
            let ring = self.ring();
            rings.insert(name.clone(), Arc::clone(&ring));
            let refused = [("pipeline", name.as_str())];
            let refused = self.meter.counter(&names::PIPELINE_REFUSED, &refused);
            let chain = prepared.chain.unwrap_or_else(|| Chain::new(Vec::new()));
            for prepared in prepared.sending.values() {
                if let PreparedSending::New(sending, _) = prepared {
                    sending.queue.open();
                }
            }
            let pipeline = Pipeline::start(&name, ring, chain, prepared.sinks, refused)
                .map_err(StartError::Thread)?;
            self.memory.count(&pipeline.tables());
            let log = prepared.log;
            if let Some(log) = &log {
                self.logs.insert(name.clone(), Arc::downgrade(log));
            }
            let mut running =
                Running { pipeline, stages: prepared.stages, sending: BTreeMap::new(), log };
            for (exporter, prepared) in prepared.sending {
                if let PreparedSending::New(sending, work) = prepared {
                    self.watch(&exporter, &name, &sending.queue);
                    self.begin((&exporter, &name), &sending, before(&leaving, &sending), work);
                    running.sending.insert(exporter, sending);
                }
            }
            self.pipelines.insert(name, running);
        }
        lead(self.routes(plan, &rings)).await;
        for (name, prepared) in later {
            self.exchange(&name, prepared, &leaving).await;
        }
        let gone: Vec<String> =
            self.pipelines.keys().filter(|name| !rings.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(running) = self.pipelines.remove(&name) {
                running.pipeline.stop();
                for (exporter, sending) in running.sending {
                    self.drain(&exporter, &name, sending);
                }
            }
        }
        (self.standing, self.authenticators, self.facts) = (standing, authenticators, facts);
        for log in self.logs.values().filter_map(Weak::upgrade) {
            log.limit(plan.storage.limits.clone());
            log.complete();
        }
        for pipeline in self.pipelines.keys() {
            self.replay(pipeline, &Whose::default()).await;
        }
        Ok(())
    }

    fn ring(&self) -> Arc<Ring> {
        let ring =
            Arc::new(Ring::new(DEFAULT_SAMPLES, self.meter.counter(&names::RING_DROPPED, &[])));
        self.memory.count(&(Arc::clone(&ring) as Arc<dyn Holder>));
        ring
    }

    fn routes(&self, plan: &Plan, rings: &BTreeMap<String, Arc<Ring>>) -> Routes {
        // Without an exporter nothing is kept that nobody will ever read.
        let heard = plan.pipelines.iter().filter(|pipeline| !pipeline.exporters.is_empty());
        let heard: Vec<&plan::Pipeline> = heard.collect();
        let outlet = |wanted: &dyn Fn(&plan::Pipeline) -> bool| {
            let wanted = heard.iter().filter(|pipeline| wanted(pipeline));
            let rings = wanted.filter_map(|pipeline| rings.get(&pipeline.name)).cloned();
            Outlet::new(Arc::clone(&self.board), rings.collect())
        };
        let names = plan.receivers.iter().map(|receiver| receiver.name.clone());
        let names = names.chain(plan.hosts.iter().map(|host| host.name.to_string()));
        let receivers = names.map(|name| {
            let outlet = outlet(&|pipeline| pipeline.receivers.contains(&name));
            (name, outlet)
        });
        Routes { receivers: receivers.collect(), own: outlet(&|_| !plan.telemetry.quiet) }
    }

    /// The exporters that do not go on: who sends to the same place begins when they have ended, so that
    /// samples arrive in order.
    fn leaving(&self, next: &BTreeMap<String, PreparedPipeline>) -> Vec<(u64, CancellationToken)> {
        // Those that left earlier, and still have something to send.
        let mut leaving = self.drained.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (pipeline, running) in &self.pipelines {
            for (exporter, sending) in &running.sending {
                let stays = next.get(pipeline).and_then(|next| next.sending.get(exporter));
                if !matches!(stays, Some(PreparedSending::Kept | PreparedSending::Heir(..))) {
                    leaving.push((sending.destination, sending.ended.clone()));
                }
            }
        }
        leaving
    }

    async fn exchange(
        &mut self,
        name: &str,
        prepared: PreparedPipeline,
        leaving: &[(u64, CancellationToken)],
    ) {
        let Some(mut running) = self.pipelines.remove(name) else { return };
        let mut ended: Vec<Arc<dyn Sink>> = Vec::new();
        let mut begun: Vec<Arc<dyn Sink>> = Vec::new();
        let mut drained = Vec::new();
        let mut sending = BTreeMap::new();
        for (exporter, prepared) in prepared.sending {
            let before = running.sending.remove(&exporter);
            let next = match (prepared, before) {
                (PreparedSending::Kept, Some(before)) => before,
                (PreparedSending::Heir(next, work), Some(before)) => {
                    before.leave.cancel();
                    next.queue.resize(next.limits.0, next.limits.1);
                    self.begin((&exporter, name), &next, vec![before.ended], work);
                    next
                }
                (PreparedSending::New(next, work), before) => {
                    if let Some(before) = before {
                        drained.push((exporter.clone(), before));
                    }
                    self.watch(&exporter, name, &next.queue);
                    self.begin((&exporter, name), &next, self::before(leaving, &next), work);
                    begun.push(Arc::clone(&next.queue) as Arc<dyn Sink>);
                    next
                }
                (PreparedSending::Kept | PreparedSending::Heir(..), None) => continue,
            };
            sending.insert(exporter, next);
        }
        drained.extend(std::mem::take(&mut running.sending));
        // Their series go on under other names, or not at all: these end.
        ended.extend(drained.iter().map(|(_, s)| Arc::clone(&s.queue) as Arc<dyn Sink>));
        let (done, is_done) = oneshot::channel();
        let PreparedPipeline { chain, sinks, stages, log, .. } = prepared;
        if let Some(log) = log {
            self.logs.insert(name.to_owned(), Arc::downgrade(&log));
            running.log = Some(log);
        }
        running.pipeline.exchange(Exchange { chain, sinks, ended, begun, done });
        // The thread that does it only moves memory.
        let _ = is_done.await;
        for (exporter, sending) in drained {
            self.drain(&exporter, name, sending);
        }
        (running.stages, running.sending) = (stages, sending);
        self.pipelines.insert(name.to_owned(), running);
    }

    /// Begins an exporter's work, when those before it have ended.
    fn begin(
        &self,
        (exporter, pipeline): (&str, &str),
        sending: &Sending,
        after: Vec<CancellationToken>,
        work: Work,
    ) {
        self.healths.add(exporter, &sending.health);
        let health = Arc::downgrade(&sending.health);
        let own = [("exporter", exporter), ("pipeline", pipeline)];
        self.meter.read(&names::EXPORT_FAILING, &own, move |_| {
            let failing = health.upgrade()?.failing(clock::now().boot);
            Some(failing.unwrap_or_default().as_secs_f64())
        });
        let ended = sending.ended.clone().drop_guard();
        let leave = sending.leave.clone();
        turn::track(&self.tasks, async move {
            let _ended = ended;
            let before = async {
                for after in after {
                    after.cancelled().await;
                }
            };
            // Whoever never ends is not waited for; and who is to leave does so at its first step.
            tokio::select! {
                _ = tokio::time::timeout(ORPHAN_TTL, before) => {}
                () = leave.cancelled() => {}
            }
            work.await;
        });
    }

    /// Lets an exporter that is gone send what waits, for a while.
    fn drain(&self, exporter: &str, pipeline: &str, sending: Sending) {
        let (exporter, pipeline) = (exporter.to_owned(), pipeline.to_owned());
        let ttl = self.orphan_ttl;
        {
            let mut drained = self.drained.lock().unwrap_or_else(PoisonError::into_inner);
            drained.retain(|(_, ended)| !ended.is_cancelled());
            drained.push((sending.destination, sending.ended.clone()));
        }
        turn::track(&self.tasks, async move {
            let waiting = sending.queue.len();
            if waiting > 0 {
                tracing::info!(exporter, pipeline, waiting, "gone; it goes on sending what waits");
            }
            let given_up = sending.queue.books.dropped.get();
            let durable = sending.queue.is_durable();
            let patience = if durable { ttl } else { ORPHAN_TTL };
            let stopped = tokio::select! {
                _ = tokio::time::timeout(patience, sending.ended.cancelled()) => false,
                () = sending.hurry.cancelled() => true,
            };
            sending.hurry.cancel();
            sending.ended.cancelled().await;
            // Its log may have come to its disk meanwhile.
            if stopped && sending.queue.is_durable() {
                return;
            }
            sending.queue.leave("orphan");
            let lost = sending.queue.books.dropped.get() - given_up;
            if lost > 0 {
                tracing::warn!(exporter, pipeline, lost, "gone; what waited could not be sent");
            }
        });
    }

    fn watch(&mut self, exporter: &str, pipeline: &str, queue: &Arc<Cursor>) {
        let queues = self.queues.entry((exporter.to_owned(), pipeline.to_owned())).or_default();
        let queues = Arc::clone(queues);
        {
            let mut list = queues.lock().unwrap_or_else(PoisonError::into_inner);
            list.retain(|queue| queue.strong_count() > 0);
            list.push(Arc::downgrade(queue));
        }
        let live = move || -> Vec<Arc<Cursor>> {
            let list = queues.lock().unwrap_or_else(PoisonError::into_inner);
            list.iter().filter_map(Weak::upgrade).collect()
        };
        let own = [("exporter", exporter), ("pipeline", pipeline)];
        let all = live.clone();
        self.meter.read(&names::QUEUE_SAMPLES, &own, move |_| {
            let queues = all();
            (!queues.is_empty()).then(|| queues.iter().map(|queue| queue.len() as f64).sum())
        });
        self.meter.read(&names::QUEUE_OLDEST_AGE, &own, move |now| {
            let queues = live();
            let oldest = queues.iter().filter_map(|queue| queue.oldest()).min();
            let age = oldest.map_or(0.0, |oldest| (now.seconds() - oldest.seconds()).max(0.0));
            (!queues.is_empty()).then_some(age)
        });
    }

    /// The exporters that stand beside the queues.
    pub(super) fn standing_exporters(prepared: &Prepared) -> BTreeMap<String, Standing> {
        let pairs = prepared.standing.iter();
        pairs.map(|(name, (_, standing))| (name.clone(), standing.clone())).collect()
    }
}

/// Those that send to the same place and leave: an exporter begins after them.
fn before(leaving: &[(u64, CancellationToken)], sending: &Sending) -> Vec<CancellationToken> {
    let same = leaving.iter().filter(|(destination, _)| *destination == sending.destination);
    same.map(|(_, ended)| ended.clone()).collect()
}
