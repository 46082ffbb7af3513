//! The composition root: builds what a plan says, runs it, takes changes over, and drains it.
//!
//! Two threads carry the work. On one the prober runs alone, so that nothing delays an attempt; on
//! the other everything that may wait: exporters, the page, files, signals. A third empties the ring.

mod catalog;
pub mod embedded;
pub mod facts;
mod page;
mod reload;
mod shutdown;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::clock;
use crate::config::plan::{Http, Plan};
use crate::net::http_server;
use crate::net::resolve::Resolver;
use crate::pipeline::board::Board;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::ring::{DEFAULT_SAMPLES, Ring};
use crate::pipeline::selfmetrics::Meter;
use crate::probe::icmp::Engine;
use crate::probe::{Command, Prober, ProberHandle, Tools};
use crate::queue::memory::MemoryQueue;
use crate::queue::writer;
use crate::signal::names;
use crate::signal::payload::Payload;
use reload::{FileWatch, TargetSource};
pub use shutdown::{Report, STOP_WITHIN};

/// How often our own metrics go through the pipeline.
const OWN_METRICS_EVERY: Duration = Duration::from_secs(15);
/// How many ports the embedded default tries.
const PORTS: u16 = 100;

/// What the daemon is to run.
pub struct Settings {
    /// The configuration.
    pub plan: Plan,
    /// Watch this machine instead of what the plan names.
    pub embedded: bool,
}

/// A daemon that has been built and started.
pub struct App {
    board: Arc<Board>,
    meter: Arc<Meter>,
    outlet: Outlet,
    prober: ProberHandle,
    prober_thread: JoinHandle<()>,
    /// Cancelled when the prober's thread has ended, however it did.
    prober_gone: CancellationToken,
    signals: shutdown::Signals,
    changes: mpsc::Receiver<()>,
    ring: Arc<Ring>,
    writer: JoinHandle<()>,
    exporters: TaskTracker,
    queues: Vec<(String, Arc<MemoryQueue>)>,
    hurry: CancellationToken,
    stop: CancellationToken,
    page: TaskTracker,
    address: SocketAddr,
    targets: TargetSource,
    ready: Arc<AtomicBool>,
}

/// Why the daemon could not start: one line, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The page's port is taken.
    #[error(
        "http.listen {0}: {1}: end the program that has it, or set http.listen to another port"
    )]
    Listen(SocketAddr, std::io::Error),
    /// A certificate or key cannot be read.
    #[error("exporters.{0}: {1}")]
    Exporter(String, String),
    /// The system gives no more threads or sockets.
    #[error("the system refuses a thread: {0}")]
    Thread(std::io::Error),
}

impl App {
    /// Builds everything and starts it. Must be called within a current-thread runtime.
    ///
    /// # Errors
    /// Why nothing was started.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings { plan, embedded } = settings;
        // First of all: a signal during a long start must not end us half-way.
        let signals = shutdown::Signals::new();
        let started = clock::now();
        let limit = facts::raise_descriptor_limit();
        let meter = Arc::new(Meter::new(facts::own_resource(), started.wall));
        facts::own_metrics(&meter, started.wall);
        let listener = open_page(plan.http).await?;
        let address =
            listener.local_addr().map_err(|error| StartError::Listen(plan.http.listen, error))?;

        let hurry = CancellationToken::new();
        let board = Arc::new(Board::default());
        let exporters = TaskTracker::new();
        let resolver = Resolver::new(plan.resolver.clone());
        let mut queues = Vec::new();
        for exporter in &plan.exporters {
            let queue = catalog::exporter(exporter, &resolver, &meter, &hurry, &exporters)?;
            queues.push((exporter.name.clone(), queue));
        }
        let ring = Arc::new(Ring::new(DEFAULT_SAMPLES, meter.counter(&names::RING_DROPPED, &[])));
        let writer = writer::start(
            "metrics",
            Arc::clone(&ring),
            queues.iter().map(|(_, q)| Arc::clone(q)).collect(),
        )
        .map_err(StartError::Thread)?;
        // Without an exporter nothing is kept that nobody will ever read.
        let rings = if queues.is_empty() { Vec::new() } else { vec![Arc::clone(&ring)] };
        let outlet = Outlet::new(Arc::clone(&board), rings);

        let (prober, prober_thread, prober_gone) = start_prober(&plan, &outlet, &meter, limit)?;
        let mut targets = TargetSource::new(plan, embedded.then_some(address), &meter);
        // The watch begins before the first look, so that no change falls between them.
        let page = TaskTracker::new();
        let stop = CancellationToken::new();
        let (watch, changes) = FileWatch::new(targets.files());
        page.spawn(watch.run(stop.clone()));
        prober.send(Command::Replace(targets.read())).await;

        let ready = Arc::new(AtomicBool::new(true));
        let router = page::router(Arc::clone(&meter), prober.clone(), Arc::clone(&ready));
        page.spawn(http_server::serve(listener, router, stop.clone()));
        Ok(Self {
            board,
            meter,
            outlet,
            prober,
            prober_thread,
            prober_gone,
            signals,
            changes,
            ring,
            writer,
            exporters,
            queues,
            hurry,
            stop,
            page,
            address,
            targets,
            ready,
        })
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
        loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    shutdown::Signal::Stop(name) => {
                        tracing::info!(signal = name, "stopping");
                        break;
                    }
                    shutdown::Signal::Reload => self.reload(true).await,
                },
                Some(()) = self.changes.recv() => self.reload(false).await,
                _ = refresh.tick(), if self.targets.is_embedded() => self.reload(false).await,
                () = self.prober_gone.cancelled() => {
                    tracing::error!("the prober has ended by itself: please report it");
                    return Report::Broken;
                }
                _ = own.tick() => {
                    self.outlet.offer(Payload::Metrics(self.meter.snapshot(clock::wall())));
                }
                () = watchdog.due() => watchdog.feed(self.prober.heartbeat()),
            }
        }
        let mut signals = std::mem::replace(&mut self.signals, shutdown::Signals::none());
        tokio::select! {
            report = self.drain() => report,
            () = signals.stop() => Report::Killed,
        }
    }

    async fn reload(&mut self, asked: bool) {
        if asked {
            tracing::info!("reloading the target files");
        }
        self.prober.send(Command::Replace(self.targets.read())).await;
    }

    /// Sources stop, then each stage ends when its inlet is closed and empty.
    async fn drain(self) -> Report {
        let deadline = tokio::time::Instant::now() + STOP_WITHIN;
        let dropped: Vec<u64> =
            self.queues.iter().map(|(_, queue)| queue.books.dropped.get()).collect();
        shutdown::stopping();
        self.ready.store(false, Ordering::Relaxed);
        let (answer, stopped) = tokio::sync::oneshot::channel();
        let stopping = async {
            self.prober.send(Command::Stop(answer)).await;
            stopped.await
        };
        let stopped = tokio::time::timeout_at(deadline, stopping).await.is_ok();
        self.outlet.offer(Payload::Metrics(self.meter.snapshot(clock::wall())));
        self.ring.close();
        // The writer only moves memory: it ends at once.
        let _ = self.writer.join();
        self.hurry.cancel();
        self.exporters.close();
        let _ = tokio::time::timeout_at(deadline, self.exporters.wait()).await;
        for (_, queue) in &self.queues {
            queue.abandon();
        }
        self.stop.cancel();
        self.page.close();
        let _ = tokio::time::timeout_at(deadline, self.page.wait()).await;
        if stopped {
            // It has said its last word; a thread that hangs is left to the end of the process.
            let _ = self.prober_thread.join();
        }
        let lost = self.queues.iter().zip(dropped);
        let lost =
            lost.map(|((name, queue), before)| (name.clone(), queue.books.dropped.get() - before));
        Report::Drained { lost: lost.filter(|(_, lost)| *lost > 0).collect() }
    }
}

async fn open_page(http: Http) -> Result<TcpListener, StartError> {
    let mut address = http.listen;
    let mut tries = if http.search { PORTS } else { 1 };
    loop {
        match http_server::listen(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if tries <= 1 || error.kind() != std::io::ErrorKind::AddrInUse => {
                return Err(StartError::Listen(address, error));
            }
            Err(_) => {
                tries -= 1;
                address.set_port(address.port().saturating_add(1));
            }
        }
    }
}

/// The prober has a thread and a runtime of its own: nothing else may delay an attempt.
fn start_prober(
    plan: &Plan,
    outlet: &Outlet,
    meter: &Arc<Meter>,
    limit: usize,
) -> Result<(ProberHandle, JoinHandle<()>, CancellationToken), StartError> {
    let tools = Tools { resolver: Resolver::new(plan.resolver.clone()), icmp: Engine::default() };
    let (prober, handle) = Prober::new(tools, outlet.clone(), Arc::clone(meter), limit);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let gone = CancellationToken::new();
    let guard = gone.clone().drop_guard();
    let thread = std::thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || {
            let _guard = guard;
            runtime.block_on(prober.run());
            // A blocking read of a hung file must not hold the thread.
            runtime.shutdown_background();
        })
        .map_err(StartError::Thread)?;
    Ok((handle, thread, gone))
}
