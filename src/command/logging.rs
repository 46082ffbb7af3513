//! Where log lines go: to stderr, or below the live table.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

use crate::app::OnTelemetry;
use crate::cli::{Global, LogFormat};
use crate::config::plan::Telemetry;

/// Lines that are kept for the live table.
const KEPT: usize = 50;

/// The last log lines.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// The newest lines, oldest first.
    pub(super) fn last(&self, count: usize) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }
}

/// One line on its way.
pub(super) struct Line(Tail, Vec<u8>);

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(String::from_utf8_lossy(&self.1).trim_end().to_owned());
        if lines.len() > KEPT {
            lines.pop_front();
        }
    }
}

impl<'a> MakeWriter<'a> for Tail {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.clone(), Vec::new())
    }
}

/// Lines that wait for a reader of stderr who is slow; more are dropped.
const WAITING: usize = 8192;

/// Starts logging. With a tail, lines go there instead of stderr. Whoever logs never waits: a thread
/// writes, and ends with what is returned first. What is returned second follows the configuration.
pub(super) fn start(
    global: &Global,
    telemetry: &Telemetry,
    color: bool,
    tail: Option<Tail>,
) -> anyhow::Result<(Option<WorkerGuard>, OnTelemetry)> {
    let level = global.log_level.as_ref().or(telemetry.log_level.as_ref());
    let level = level.map_or("info", String::as_str);
    let filter = EnvFilter::try_new(level)
        .map_err(|error| anyhow::anyhow!("--log-level {level}: {error}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    // The command line wins over any configuration, at every reload.
    let fixed = global.log_level.is_some();
    let follow: OnTelemetry = Box::new(move |telemetry| {
        let level = telemetry.log_level.as_deref().unwrap_or("info");
        if let (false, Ok(filter)) = (fixed, EnvFilter::try_new(level)) {
            let _ = handle.reload(filter);
        }
    });
    if let Some(tail) = tail {
        let lines = fmt::layer().with_target(false).with_ansi(false).without_time();
        let told = registry.with(lines.with_writer(tail)).try_init();
        return told.map(|()| (None, follow)).map_err(|error| anyhow::anyhow!("logging: {error}"));
    }
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(io::stderr());
    let json = match global.log_format {
        Some(format) => format == LogFormat::Json,
        None => telemetry.log_json.unwrap_or(false),
    };
    let lines = fmt::layer().with_target(false).with_writer(writer);
    let told = if json {
        registry.with(lines.json()).try_init()
    } else {
        registry.with(lines.with_ansi(color)).try_init()
    };
    told.map(|()| (Some(guard), follow)).map_err(|error| anyhow::anyhow!("logging: {error}"))
}
