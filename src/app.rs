//! The composition root: builds what a plan says, runs it, takes changes over, and drains it.
//!
//! On one thread the prober runs alone, so that nothing delays an attempt; on the main thread runs
//! everything that may wait: exporters, the page, files, signals. Each pipeline has a thread that
//! empties its ring.

mod asks;
mod catalog;
mod control;
mod detect;
pub mod embedded;
mod error;
pub mod facts;
mod files;
mod graph;
mod guard;
mod jobs;
pub mod lookup;
pub mod loops;
mod page;
mod ports;
mod reload;
mod shutdown;
mod sources;
mod spans;
mod watches;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::clock;
use crate::config::plan::{Plan, Telemetry};
use crate::host::run::Host;
use crate::net::resolve::Resolver;
use crate::pipeline::board::Board;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::selfmetrics::{Gauge, Meter};
use crate::probe::{Command, ProberHandle, ReceiverPlan, Replacement};
use crate::signal::names;
use crate::signal::payload::Payload;
use asks::Asks;
use control::Order;
pub use error::StartError;
use graph::{Graph, Routes};
use jobs::Jobs;
use page::Site;
use ports::Ports;
use reload::Due;
use shutdown::wait_for;
pub use shutdown::{Report, STOP_WITHIN};
pub use sources::Configuration;
use sources::TargetSource;
use spans::Spans;
use watches::{Changed, Watches};

/// How often our own metrics go through the pipelines.
const OWN_METRICS_EVERY: Duration = Duration::from_secs(15);

/// How long a report of them is waited for.
const REPORTED_WITHIN: Duration = Duration::from_secs(1);

/// Told what the configuration says of our own logs.
pub type OnTelemetry = Box<dyn Fn(&Telemetry)>;

/// What the daemon is to run.
pub struct Settings {
    /// What runs first.
    pub plan: Plan,
    /// Where it comes from; `None`: watch this machine instead of what the plan names.
    pub configuration: Option<Configuration>,
    /// Told what the configuration says of our own logs, at each reload.
    pub on_telemetry: OnTelemetry,
}

/// A daemon that has been built and started.
pub struct App {
    board: Arc<Board>,
    meter: Arc<Meter>,
    /// Where our own metrics go.
    outlet: Outlet,
    host: Host,
    jobs: Jobs,
    prober: ProberHandle,
    prober_thread: JoinHandle<()>,
    /// Cancelled when the prober's thread has ended, however it did.
    prober_gone: CancellationToken,
    signals: shutdown::Signals,
    watches: Watches,
    graph: Graph,
    ports: Ports,
    site: Site,
    asks: Asks,
    orders: mpsc::Receiver<Order>,
    page: TaskTracker,
    address: SocketAddr,
    targets: TargetSource,
    configuration: Option<Configuration>,
    on_telemetry: OnTelemetry,
    reloads: Reloads,
    spans: Spans,
    ready: Arc<AtomicBool>,
}

/// What is told of reloads.
struct Reloads {
    successful: Gauge,
    timestamp: Gauge,
    unsupported: Arc<Mutex<BTreeSet<String>>>,
}

impl App {
    /// Builds everything and starts it. Must be called within a current-thread runtime.
    ///
    /// # Errors
    /// Why nothing was started.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings { plan, configuration, on_telemetry } = settings;
        // First of all: a signal during a long start must not end us half-way.
        let mut signals = shutdown::Signals::new();
        let started = clock::now();
        let descriptors = facts::raise_descriptor_limit();
        let resource = facts::own_resource(&plan.telemetry.resource);
        let resolver = Resolver::new(plan.resolver.clone());
        let mut spans = Spans::default();
        let first = spans.prepare(plan.telemetry.traces.as_ref(), &resource, resolver).await;
        let none = spans.commit(first.map_err(StartError::Spans)?);
        debug_assert!(none.is_none(), "there was none before");
        let meter = Arc::new(Meter::new(resource, started.wall));
        facts::own_metrics(&meter, started.wall);
        loops::publish(&meter, "main");
        let board = Arc::new(Board::default());
        let page = TaskTracker::new();
        let ports = Ports::new(page.clone(), descriptors.pages);
        let bound = ports.bind(&page::wanted(&plan)).await?;
        let folder = plan.storage.directory.clone().or_else(facts::state_directory);
        let folder = folder.map(|folder| folder.join("queue"));
        let hurry = CancellationToken::new();
        let graph = Graph::new(Arc::clone(&board), Arc::clone(&meter), hurry, folder);
        let prepared = tokio::select! {
            prepared = graph.prepare(&plan) => prepared?,
            () = signals.asked_to_stop() => return Err(StartError::Stopped),
        };

        let outlet = Outlet::new(Arc::clone(&board), Vec::new());
        let (prober, prober_thread, prober_gone) =
            loops::start_prober(&plan, &outlet, &meter, descriptors.attempts)?;
        let ready = Arc::new(AtomicBool::new(true));
        let (reload, asks) = Asks::new();
        let site = Site {
            meter: Arc::clone(&meter),
            prober: prober.clone(),
            ready: Arc::clone(&ready),
            healths: graph.healths(),
            started: started.wall,
            reload,
        };
        let listen = plan.http.listen;
        let embedded = configuration.is_none();
        let reloads = Reloads {
            successful: meter.gauge(&names::CONFIG_LAST_RELOAD_SUCCESSFUL, &[]),
            timestamp: meter.gauge(&names::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP, &[]),
            unsupported: Arc::default(),
        };
        let orders = control::open(graph.folder(), &page);
        let targets = TargetSource::new(plan, &meter);
        let mut app = Self {
            board,
            host: Host::new(Arc::clone(&meter)),
            jobs: Jobs::new(Arc::clone(&meter), page.clone()),
            meter,
            outlet,
            prober,
            prober_thread,
            prober_gone,
            signals,
            watches: Watches::new(page.clone()),
            graph,
            ports,
            site,
            asks,
            orders,
            page,
            address: listen,
            targets,
            configuration,
            on_telemetry,
            reloads,
            spans,
            ready,
        };
        let standing = Graph::standing_exporters(&prepared);
        let routers = app.site.routers(app.targets.plan(), &standing);
        app.ports.serve(bound, routers);
        app.address = app.ports.local(listen).unwrap_or(listen);
        app.targets.embed(embedded.then_some(app.address));
        // The watch begins before the first look, so that no change falls between them.
        app.watches.targets(&app.targets.files()).await;
        if let Some(configuration) = &app.configuration {
            app.watches.configuration(configuration.seen()).await;
        }
        let plans = tokio::select! {
            plans = app.targets.read() => plans,
            () = app.signals.asked_to_stop() => return Err(StartError::Stopped),
        };
        let plans = plans.unwrap_or_else(|why| {
            tracing::warn!("{why}");
            Vec::new()
        });
        app.lead(prepared, plans).await?;
        app.told();
        Ok(app)
    }

    /// What is now, for whoever shows it.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Where the page listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until a signal asks it to stop, then drains.
    pub async fn run(mut self) -> Report {
        let mut own = tokio::time::interval(OWN_METRICS_EVERY);
        let mut refresh = tokio::time::interval(embedded::REFRESH);
        refresh.reset();
        let mut watchdog = shutdown::Watchdog::new();
        watchdog.ready();
        let prober = self.prober.clone();
        loop {
            let due = tokio::select! {
                signal = self.signals.next() => match signal {
                    shutdown::Signal::Stop(name) => {
                        tracing::info!(signal = name, "stopping");
                        break;
                    }
                    shutdown::Signal::Reload => Due::Reload("reloading"),
                },
                () = self.asks.due() => Due::Reload("reloading"),
                Some((request, answer)) = self.orders.recv() => {
                    let _ = answer.send(self.graph.order(request).await);
                    continue;
                }
                changed = self.watches.changed() => match changed {
                    Changed::Configuration => Due::Reload("the configuration has changed"),
                    Changed::Targets => Due::Targets,
                },
                () = self.targets.again() => Due::Targets,
                _ = refresh.tick(), if self.targets.is_embedded() => Due::Targets,
                () = self.prober_gone.cancelled() => {
                    tracing::error!("the prober has ended by itself: please report it");
                    return Report::Broken;
                }
                _ = own.tick() => {
                    self.report_elsewhere().await;
                    continue;
                }
                () = watchdog.due() => {
                    watchdog.feed(prober.heartbeat());
                    continue;
                }
            };
            watchdog.during(&prober, self.read_again(due)).await;
        }
        let mut signals = std::mem::replace(&mut self.signals, shutdown::Signals::none());
        tokio::select! {
            report = self.drain() => report,
            () = signals.stop() => Report::Killed,
        }
    }

    fn report(&self) {
        report(&self.meter, &self.outlet);
    }

    /// Reports on a thread for blocking work: some metrics are read from files of the kernel.
    async fn report_elsewhere(&self) {
        let (meter, outlet) = (Arc::clone(&self.meter), self.outlet.clone());
        let reporting = tokio::task::spawn_blocking(move || report(&meter, &outlet));
        let _ = tokio::time::timeout(REPORTED_WITHIN, reporting).await;
    }

    /// Lets prepared pipelines run, and leads the sources over to them.
    async fn lead(
        &mut self,
        prepared: graph::Prepared,
        plans: Vec<ReceiverPlan>,
    ) -> Result<(), StartError> {
        let (prober, meter, own) = (self.prober.clone(), Arc::clone(&self.meter), &mut self.outlet);
        let host = &mut self.host;
        let plan = self.targets.plan();
        let resolver = plan.resolver.clone();
        let lead = async |routes: Routes| {
            let (done, is_done) = oneshot::channel();
            let Routes { receivers, own: next } = routes;
            let read = host.replace(&plan.hosts, &receivers);
            let (outlets, resolver) = (Some(receivers), Some(resolver));
            let replacement = Replacement { plans, outlets, resolver, done };
            prober.send(Command::Replace(replacement)).await;
            let _ = is_done.await;
            match read {
                Ok(marks) => wait_for(marks).await,
                Err(error) => tracing::error!(%error, "the host is not read: no thread is left"),
            }
            // Own metrics end where they are heard no more.
            own.without(&next).offer(Payload::Metrics(meter.farewell(clock::wall())));
            *own = next;
        };
        self.graph.commit(prepared, plan, lead).await
    }

    /// Says what is to be said of a configuration that has been taken over.
    fn told(&mut self) {
        let plan = self.targets.plan();
        self.reloads.successful.set(1.0);
        self.reloads.timestamp.set(clock::wall().seconds());
        self.jobs.replace(&plan.discovery, &plan.resolver);
        (self.on_telemetry)(&plan.telemetry);
        if !plan.renamed.is_empty() {
            let pairs = plan.renamed.iter().map(|(old, new)| format!("{old} is {new}"));
            let pairs: Vec<String> = pairs.collect();
            tracing::info!("older names of components are read: {}", pairs.join(", "));
        }
        let now: BTreeSet<String> = plan.unsupported.iter().cloned().collect();
        for path in &now {
            let shared = Arc::clone(&self.reloads.unsupported);
            let own = path.clone();
            self.meter.read(&names::UNSUPPORTED, &[("path", path)], move |_| {
                let now = shared.lock().unwrap_or_else(PoisonError::into_inner);
                now.contains(&own).then_some(1.0)
            });
        }
        *self.reloads.unsupported.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Sources stop, then each stage ends when its inlet is closed and empty.
    async fn drain(mut self) -> Report {
        let deadline = tokio::time::Instant::now() + STOP_WITHIN;
        shutdown::stopping();
        self.ready.store(false, Ordering::Relaxed);
        let (answer, stopped) = oneshot::channel();
        let stopping = async {
            self.prober.send(Command::Stop(answer)).await;
            stopped.await
        };
        let stopped = tokio::time::timeout_at(deadline, stopping).await.is_ok();
        wait_for(self.host.stop()).await;
        self.report();
        let lost = self.graph.stop(deadline).await;
        let _ = tokio::time::timeout_at(deadline, self.spans.stop()).await;
        self.watches.stop();
        self.jobs.stop();
        self.ports.close();
        self.page.close();
        self.orders.close();
        let _ = tokio::time::timeout_at(deadline, self.page.wait()).await;
        if stopped {
            // It has said its last word; a thread that hangs is left to the end of the process.
            let _ = self.prober_thread.join();
        }
        Report::Drained { lost }
    }
}

/// Offers our own metrics.
fn report(meter: &Meter, outlet: &Outlet) {
    let mut batch = meter.report(clock::wall());
    batch.lifetime = Some(OWN_METRICS_EVERY * 2);
    outlet.offer(Payload::Metrics(batch));
}

#[cfg(test)]
mod tests;
