//! `watchpost run`: the daemon, with a live table when a person watches the embedded default.

use crate::app::{App, Configuration, Report, Settings, facts, loops};
use crate::base::text::tame;
use crate::base::turn;
use crate::cli::Global;
use crate::command::logging::{self, Tail};
use crate::command::table::Table;
use crate::command::{USAGE, sources, style, terminal, told};
use crate::config::{self, Environment};

/// Runs until it is stopped; returns the exit code.
pub(super) fn run(global: &Global, environment: &Environment) -> anyhow::Result<u8> {
    // Before anything secret is read.
    let sealed = facts::seal_memory(environment);
    let (plan, configuration) = match sources(global) {
        None => (config::embedded(), None),
        Some(sources) => {
            let (loaded, read) = Configuration::new(sources, environment.clone()).load();
            match told(loaded) {
                Some(plan) => (plan, Some(read)),
                None => return Ok(USAGE),
            }
        }
    };
    let embedded = configuration.is_none();
    let terminal = terminal();
    let style = style(global.color, terminal, environment);
    let tail = (embedded && terminal).then(Tail::default);
    let log = logging::start(global, &plan.telemetry, style.is_on(), tail.clone())?;
    let (_log, on_telemetry) = log;
    if let Err(error) = sealed {
        tracing::warn!(%error, "the memory of this process may end up in core dumps");
    }
    let runtime = loops::runtime()?;
    let shown = tail.clone();
    let report = runtime.block_on(turn::timed(async {
        let read = configuration.clone();
        let started = App::start(Settings { plan, configuration, on_telemetry }).await;
        let app = started.map_err(|error| match read {
            Some(read) => anyhow::anyhow!(read.hide(&error)),
            None => error.into(),
        })?;
        let address = app.address();
        tracing::info!(%address, "watching");
        let Some(tail) = tail else { return Ok::<_, anyhow::Error>(app.run().await) };
        let mut table = Table::new(app.board(), tail, style, address);
        Ok(tokio::select! {
            report = app.run() => report,
            never = table.live() => match never {},
        })
    }))?;
    // Threads that wait for a silent peer must not hold the end up.
    runtime.shutdown_background();
    let code = tell(&report);
    if let Some(tail) = shown {
        // The last picture of the table stays; how it ended is told below it.
        #[allow(clippy::print_stderr, reason = "the log went into the table")]
        for line in tail.last(2) {
            eprintln!("{}", tame(&line));
        }
    }
    Ok(code)
}

fn tell(report: &Report) -> u8 {
    match report {
        Report::Killed => {
            tracing::warn!("stopped at once, by a second signal");
            1
        }
        Report::Broken => 1,
        Report::Drained { lost } => {
            for (exporter, samples) in lost {
                tracing::warn!(
                    exporter,
                    samples,
                    "lost: the backend did not take them before the end"
                );
            }
            tracing::info!("stopped");
            0
        }
    }
}
