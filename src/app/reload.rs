//! Reloads of target files or of the whole configuration. A new configuration is applied only
//! when all of it can be.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::graph::Graph;
use super::sources::Configuration;
use super::{App, StartError, facts, page, spans};
use crate::base::{clock, turn};
use crate::net::resolve::Resolver;
use crate::pipeline::selftrace::{self, Work};
use crate::probe::{Command, Replacement};

/// The next thing to reload.
pub(super) enum Due {
    /// The configuration, and why.
    Reload(&'static str),
    /// The target files.
    Targets,
}

impl App {
    /// Reads again what is due.
    pub(super) async fn read_again(&mut self, due: Due) {
        match due {
            Due::Reload(why) => {
                tracing::info!("{why}");
                self.reload().await;
            }
            Due::Targets => self.read_targets().await,
        }
    }

    /// Reads the target files again.
    async fn read_targets(&mut self) {
        let read = tokio::select! {
            read = self.targets.read() => read,
            () = self.signals.asked_to_stop() => return,
        };
        let plans = match read {
            Ok(plans) => plans,
            Err(why) => return tracing::warn!("{why}"),
        };
        let (done, is_done) = oneshot::channel();
        let replacement = Replacement { plans, outlets: None, resolver: None, done };
        self.prober.send(Command::Replace(replacement)).await;
        let _ = is_done.await;
    }

    /// Reloads, and answers all who have asked for it until now.
    async fn reload(&mut self) {
        let asked = self.asks.begin();
        let outcome = self.reload_now().await;
        self.asks.end(asked, &outcome);
    }

    /// Reads the whole configuration again and applies it, or logs why nothing changes.
    async fn reload_now(&mut self) -> Result<(), String> {
        let Some(configuration) = self.configuration.clone() else {
            self.read_targets().await;
            return Ok(());
        };
        let started = clock::now();
        let taken = self.try_reload(configuration).await;
        let took = clock::instant().duration_since(started.monotonic);
        selftrace::record("reload", Work::Internal, started.wall, took, |_| taken.clone().err());
        match &taken {
            Ok(()) => {
                self.told();
                tracing::info!("the configuration is taken over");
            }
            Err(why) => {
                self.reloads.successful.set(0.0);
                for line in why.lines() {
                    tracing::error!("{line}");
                }
                tracing::error!(
                    "the configuration is not taken over: everything runs on as it was"
                );
            }
        }
        taken
    }

    async fn try_reload(&mut self, configuration: Configuration) -> Result<(), String> {
        let read = tokio::select! {
            read = configuration.load_elsewhere() => read?,
            () = self.signals.asked_to_stop() => return Err("Watchpost is stopping.\n".to_owned()),
        };
        let (loaded, configuration) = read;
        // Also of a wrong configuration: when it is mended, it is read again.
        self.watches.configuration(configuration.seen()).await;
        self.configuration = Some(configuration.clone());
        let lines = |problems: &[crate::base::place::Problem]| {
            problems.iter().map(|problem| format!("{problem}\n")).collect::<String>()
        };
        let Some(plan) = loaded.plan else { return Err(lines(&loaded.problems)) };
        let before = self.targets.plan();
        let watching = !before.receivers.is_empty() || !before.hosts.is_empty();
        if plan.receivers.is_empty() && plan.hosts.is_empty() && watching {
            let why = "no receiver is left: is the file being written, or the disk full?\n";
            return Err(why.to_owned());
        }
        for problem in &loaded.problems {
            tracing::warn!("{problem}");
        }
        if plan.storage.directory != before.storage.directory {
            tracing::warn!("storage.directory has changed: that needs a restart");
        }
        let told = |error: StartError| format!("{}\n", configuration.hide(&error));
        let bound = self.ports.bind(&page::wanted(&plan)).await.map_err(told)?;
        let prepared = tokio::select! {
            prepared = self.graph.prepare(&plan) => prepared.map_err(told)?,
            // Nothing has changed yet; the end does not wait for a name service.
            () = self.signals.asked_to_stop() => return Err("Watchpost is stopping.\n".to_owned()),
        };
        let resource = facts::own_resource(&plan.telemetry.resource);
        let resolver = Resolver::new(plan.resolver.clone());
        let spans = self.spans.prepare(plan.telemetry.traces.as_ref(), &resource, resolver).await;
        let spans = spans.map_err(|why| configuration.hide(&why))?;
        let standing = Graph::standing_exporters(&prepared);
        let routers = self.site.routers(&plan, &standing);
        let before = self.targets.replace(Arc::new(plan));
        self.watches.targets(&self.targets.files()).await;
        let plans = tokio::select! {
            plans = self.targets.read() => plans,
            () = self.signals.asked_to_stop() => Err("Watchpost is stopping.".to_owned()),
        };
        let plans = match plans {
            Ok(plans) => plans,
            Err(why) => {
                self.targets.replace(before);
                self.watches.targets(&self.targets.files()).await;
                return Err(format!("{why}\n"));
            }
        };
        self.lead(prepared, plans).await.map_err(told)?;
        self.ports.serve(bound, routers);
        if let Some(before) = self.spans.commit(spans) {
            turn::track(&self.page, spans::shut_down(before));
        }
        Ok(())
    }
}
