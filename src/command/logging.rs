//! Where log lines go: to stderr, or below the live table.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::{Global, LogFormat};

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
/// writes, and ends with what is returned.
pub(super) fn start(
    global: &Global,
    color: bool,
    tail: Option<Tail>,
) -> anyhow::Result<Option<WorkerGuard>> {
    let filter = EnvFilter::try_new(&global.log_level)
        .map_err(|error| anyhow::anyhow!("--log-level {}: {error}", global.log_level))?;
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    if let Some(tail) = tail {
        let told = base.with_ansi(false).without_time().with_writer(tail).try_init();
        return told.map(|()| None).map_err(|error| anyhow::anyhow!("logging: {error}"));
    }
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(io::stderr());
    let told = match global.log_format {
        LogFormat::Text => base.with_ansi(color).with_writer(writer).try_init(),
        LogFormat::Json => base.json().with_writer(writer).try_init(),
    };
    told.map(|()| Some(guard)).map_err(|error| anyhow::anyhow!("logging: {error}"))
}
