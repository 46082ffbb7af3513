//! The end of all pipelines.

use std::collections::BTreeMap;

use super::{Graph, LAST_WORDS};
use crate::base::turn;

impl Graph {
    /// Ends everything: what is on its way goes through, exporters get one last try, until the
    /// deadline. Returns what was lost, by exporter.
    pub(in crate::app) async fn stop(self, deadline: tokio::time::Instant) -> Vec<(String, u64)> {
        let (mut queues, mut logs) = (Vec::new(), Vec::new());
        for (_, running) in self.pipelines {
            for (name, sending) in running.sending {
                let before = sending.queue.books.dropped.get();
                queues.push((name, sending.queue, before));
            }
            running.pipeline.stop();
            logs.extend(running.log);
        }
        drop(self.facts);
        self.hurry.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout_at(deadline, self.tasks.wait()).await;
        let left = queues.iter().map(|(_, queue, _)| {
            queue.abandon("shutdown");
            queue.left()
        });
        let left: Vec<(u64, u64)> = left.collect();
        // All at once: a disk that hangs takes each its time.
        let mut ends = tokio::task::JoinSet::new();
        for log in logs {
            turn::join(&mut ends, async move { log.stop(LAST_WORDS).await });
        }
        for whole in ends.join_all().await {
            if !whole {
                tracing::warn!(
                    "the disk of the queue does not take all: what is in memory is lost"
                );
            }
        }
        let mut lost: BTreeMap<String, u64> = BTreeMap::new();
        for ((name, queue, before), (left, dropped)) in queues.iter().zip(left) {
            let now = queue.books.dropped.get();
            *lost.entry(name.clone()).or_default() += now - before;
            let kept = left.saturating_sub(now - dropped);
            if kept > 0 {
                tracing::info!(exporter = %name, kept, "what was not sent is kept for the next start");
            }
        }
        lost.into_iter().filter(|(_, lost)| *lost > 0).collect()
    }
}
