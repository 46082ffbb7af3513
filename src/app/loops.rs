//! The runtimes of the daemon's loops, and the metrics of their turns.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::app::StartError;
use crate::base::flight::MAX_THREADS;
use crate::base::turn;
use crate::config::plan::Plan;
use crate::net::resolve::Resolver;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::selfmetrics::Meter;
use crate::probe::icmp::Engine;
use crate::probe::{Prober, ProberHandle, Tools};
use crate::signal::names;

/// A runtime for a loop: one thread, and a bounded number of threads for reads of files.
///
/// # Errors
/// The system's error.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(MAX_THREADS).build()
}

/// Publishes the turns and tasks of the loop that runs on this thread.
pub(super) fn publish(meter: &Meter, name: &str) {
    let own = [("loop", name)];
    let (turns, longest) =
        (meter.timing(&names::LOOP_TURN, &own), meter.gauge(&names::LOOP_LONGEST_TURN, &own));
    let most = Cell::new(Duration::ZERO);
    turn::record(move |took| {
        turns.record(took);
        if took > most.get() {
            most.set(took);
            longest.set(took.as_secs_f64());
        }
    });
    let metrics = Handle::current().metrics();
    meter.read(&names::LOOP_TASKS, &own, move |_| Some(metrics.num_alive_tasks() as f64));
}

/// The prober has a thread and a runtime of its own: nothing else may delay an attempt.
pub(super) fn start_prober(
    plan: &Plan,
    outlet: &Outlet,
    meter: &Arc<Meter>,
    limit: usize,
) -> Result<(ProberHandle, JoinHandle<()>, CancellationToken), StartError> {
    let tools = Tools { resolver: Resolver::new(plan.resolver.clone()), icmp: Engine::default() };
    let (prober, handle) = Prober::new(tools, outlet.clone(), Arc::clone(meter), limit);
    let runtime = runtime().map_err(StartError::Thread)?;
    let meter = Arc::clone(meter);
    let gone = CancellationToken::new();
    let guard = gone.clone().drop_guard();
    let thread = std::thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || {
            let _guard = guard;
            runtime.block_on(async {
                publish(&meter, "probe");
                turn::timed(prober.run()).await;
            });
            // A blocking read of a hung file must not hold the thread.
            runtime.shutdown_background();
        })
        .map_err(StartError::Thread)?;
    Ok((handle, thread, gone))
}
