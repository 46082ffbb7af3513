//! What is asked about the queues while they are at work.

use std::fmt::Write as _;
use std::sync::Weak;

use super::Graph;
use crate::base::clock;
use crate::queue::quarantine::Quarantine;
use crate::queue::report::{Request, Whose};

impl Graph {
    /// Carries out an order; returns what is answered.
    pub(in crate::app) async fn order(&self, request: Request) -> String {
        let logs = self.logs.values().filter_map(Weak::upgrade);
        match request {
            Request::Ls => {
                let now = clock::wall();
                let mut text = String::new();
                for row in logs.flat_map(|log| log.rows(now)) {
                    let json =
                        serde_json::to_string(&row).expect("it is made of texts and numbers");
                    writeln!(text, "{json}").expect("a string takes it");
                }
                text + "ok\n"
            }
            Request::Purge(whose) => {
                let purged: u64 = logs.map(|log| log.purge(&whose)).sum();
                tracing::warn!(samples = purged, "what waited is given up, as was asked for");
                format!("ok {purged}\n")
            }
            Request::Replay(whose) => {
                let mut samples = 0;
                for pipeline in self.pipelines.keys() {
                    samples += self.replay(pipeline, &whose).await;
                }
                format!("ok {samples}\n")
            }
        }
    }

    /// Lets exporters send once more what is marked in the quarantine; returns how many samples that are.
    pub(super) async fn replay(&self, pipeline: &str, whose: &Whose) -> usize {
        let Some(folder) = self.pipeline_folder(pipeline) else { return 0 };
        let Some(running) = self.pipelines.get(pipeline) else { return 0 };
        let quarantine = Quarantine::beside(&folder);
        let listed = tokio::task::spawn_blocking(move || quarantine.list()).await;
        let mut samples = 0;
        for aside in listed.map_err(std::io::Error::other).flatten().unwrap_or_default() {
            let mut sending = running.sending.iter().filter(|(name, _)| whose.is(pipeline, name));
            let Some((name, sending)) = sending.find(|(name, _)| aside.is_of(name)) else {
                continue;
            };
            // What is on its way is not read twice.
            if !aside.replayed || sending.queue.is_at(&aside.path) {
                continue;
            }
            let path = aside.path.clone();
            let read = tokio::task::spawn_blocking(move || Quarantine::read(&path)).await;
            match read.map_err(std::io::Error::other).flatten() {
                Ok((found, _)) => {
                    samples += found.len();
                    sending.queue.aside(found, Some(aside.path));
                }
                Err(error) => tracing::warn!(exporter = %name, "{}: {error}", aside.path.display()),
            }
        }
        samples
    }
}
