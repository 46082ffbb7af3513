//! The one match over every kind of component.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::StartError;
use crate::config::plan::{Exporter, ExporterSettings};
use crate::exporter::prometheus_remote_write::RemoteWrite;
use crate::net::resolve::Resolver;
use crate::pipeline::selfmetrics::Meter;
use crate::queue::memory::{Books, MemoryQueue};
use crate::signal::names;

/// Starts an exporter; returns the queue that feeds it.
pub(super) fn exporter(
    exporter: &Exporter,
    resolver: &Resolver,
    meter: &Arc<Meter>,
    hurry: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Arc<MemoryQueue>, StartError> {
    let name = &exporter.name;
    let (capacity, batching) = match &exporter.settings {
        ExporterSettings::RemoteWrite(settings) => (settings.queue_size, settings.batching),
    };
    let queue = Arc::new(MemoryQueue::new(capacity, batching, Books::new(meter, name)));
    match &exporter.settings {
        ExporterSettings::RemoteWrite(settings) => {
            let (queue, meter) = (Arc::clone(&queue), Arc::clone(meter));
            let built = RemoteWrite::new(
                name,
                (**settings).clone(),
                resolver.clone(),
                queue,
                meter,
                hurry.clone(),
            )
            .map_err(|why| StartError::Exporter(name.clone(), why))?;
            tasks.spawn(built.run());
        }
    }
    let own = [("exporter", name.as_str())];
    let waiting = Arc::clone(&queue);
    meter.read(&names::QUEUE_SAMPLES, &own, move |_| Some(waiting.len() as f64));
    let waiting = Arc::clone(&queue);
    meter.read(&names::QUEUE_OLDEST_AGE, &own, move |now| {
        Some(waiting.oldest().map_or(0.0, |oldest| (now.seconds() - oldest.seconds()).max(0.0)))
    });
    Ok(queue)
}
