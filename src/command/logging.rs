//! Where log lines go: to stderr, or below the live table.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Starts logging. With a tail, lines go there instead of stderr.
pub(super) fn start(global: &Global, color: bool, tail: Option<Tail>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&global.log_level)
        .map_err(|error| anyhow::anyhow!("--log-level {}: {error}", global.log_level))?;
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let told = match (tail, global.log_format) {
        (Some(tail), _) => base.with_ansi(false).without_time().with_writer(tail).try_init(),
        (None, LogFormat::Text) => base.with_ansi(color).with_writer(io::stderr).try_init(),
        (None, LogFormat::Json) => base.json().with_writer(io::stderr).try_init(),
    };
    told.map_err(|error| anyhow::anyhow!("logging: {error}"))
}
