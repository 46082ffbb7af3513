//! What is in the queues, for people and programs: asked of the daemon that runs, or read out of the files when none
//! does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::clock::{BootTime, Timestamp};
use crate::queue::log::backlog::Backlog;
use crate::queue::log::disk::{Disk, Folder};
use crate::queue::log::position::Position;
use crate::queue::log::store::{Limits, Recovered, Store};

/// The socket at which a daemon answers, in the folder of the queues.
pub const SOCKET: &str = "control.sock";

/// What a daemon is asked: one JSON object on one line. It answers with lines, and the last one begins with `ok` or
/// `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub enum Request {
    /// What is there: a [`Row`] on each line.
    Ls,
    /// Give up what waits.
    Purge(Whose),
    /// Send once more what is marked in the quarantine.
    Replay(Whose),
}

/// Which queues are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    /// A pipeline; `None`: all.
    pub pipeline: Option<String>,
    /// An exporter; `None`: all.
    pub exporter: Option<String>,
}

impl Whose {
    /// Whether a queue is meant.
    #[must_use]
    pub fn is(&self, pipeline: &str, exporter: &str) -> bool {
        self.pipeline.as_deref().is_none_or(|name| name == pipeline)
            && self.exporter.as_deref().is_none_or(|name| name == exporter)
    }
}

/// The queue of one exporter in one pipeline. The books are those of all times:
/// accepted = sent + rejected + dropped + queued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The pipeline.
    pub pipeline: String,
    /// The exporter.
    pub exporter: String,
    /// Samples that were for it.
    pub accepted: u64,
    /// Taken over by the backend.
    pub sent: u64,
    /// Refused by the backend for good.
    pub rejected: u64,
    /// Given up.
    pub dropped: u64,
    /// Without an outcome.
    pub queued: u64,
    /// The age of the oldest of these, in seconds; 0 without any.
    pub oldest_age_seconds: f64,
    /// The number of the oldest of these, or of the next sample.
    pub needs: u64,
    /// disk, memory or degraded; `orphan`: the exporter does not run; `stopped`: no daemon does.
    pub state: String,
}

impl Row {
    /// The row of a position in a log that ends there.
    #[must_use]
    pub fn of(
        (pipeline, exporter, state): (&str, &str, &str),
        position: &Position,
        end: u64,
        age: f64,
    ) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            exporter: exporter.to_owned(),
            accepted: position.accepted(end),
            sent: position.sent,
            rejected: position.rejected,
            dropped: position.dropped,
            queued: position.queued(end),
            oldest_age_seconds: age,
            needs: position.needs(),
            state: state.to_owned(),
        }
    }
}

/// How old something is.
#[must_use]
pub fn age(now: Timestamp, time: Option<Timestamp>) -> f64 {
    time.map_or(0.0, |time| (now.seconds() - time.seconds()).max(0.0))
}

/// The folders of pipelines in the folder of the queues, with their names.
///
/// # Errors
/// What the system says; that there is no such folder is none.
pub fn pipelines(queues: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(queues) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = percent_encoding::percent_decode_str(&name).decode_utf8_lossy().into_owned();
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The log of a pipeline that no daemon uses.
struct Still {
    name: String,
    disk: Arc<Folder>,
    store: Store,
    found: Recovered,
}

impl Still {
    fn open(name: String, disk: Folder) -> io::Result<Self> {
        let disk = Arc::new(disk);
        let (store, mut found) =
            Store::open(Arc::clone(&disk) as Arc<dyn Disk>, Limits::default(), 0)?;
        // Who does not know where it stood is sent all there is.
        let oldest = store.segments().first().map_or(found.end, |(first, _)| *first);
        for exporter in std::mem::take(&mut found.lost_positions) {
            found.positions.insert(exporter, (Position::at(oldest), Timestamp(0)));
        }
        Ok(Self { name, disk, store, found })
    }

    /// The time of the oldest sample that an exporter needs.
    fn oldest(&self, position: &Position) -> Option<Timestamp> {
        if position.queued(self.found.end) == 0 {
            return None;
        }
        let segments = self.store.segments();
        let read = Backlog::default().read(&*self.disk, &segments, position.needs(), 1, |_| {});
        read.ok()??.samples.first().map(|sample| sample.time)
    }
}

/// What is in the files of queues that no daemon uses.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when a daemon uses them; else what the system says.
pub fn rows(queues: &Path, now: Timestamp) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, folder) in pipelines(queues)? {
        let still = Still::open(name, Folder::peek(&folder)?)?;
        for (exporter, (position, _)) in &still.found.positions {
            let age = age(now, still.oldest(position));
            rows.push(Row::of((&still.name, exporter, "stopped"), position, still.found.end, age));
        }
    }
    Ok(rows)
}

/// Gives up what waits in the files of queues that no daemon uses; returns how many samples that were.
///
/// # Errors
/// As [`rows`].
pub fn purge(queues: &Path, whose: &Whose) -> io::Result<u64> {
    let mut all = 0;
    for (name, folder) in pipelines(queues)? {
        if whose.pipeline.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        let mut still = Still::open(name, Folder::take(&folder)?)?;
        let end = still.found.end;
        for (exporter, (position, _)) in &mut still.found.positions {
            if whose.is(&still.name, exporter) {
                let queued = position.queued(end);
                position.settle(0, 0, position.unsettled());
                position.skip(position.end(end));
                still.store.save(exporter, position)?;
                all += queued;
            }
        }
        let needed = still.found.positions.values().map(|(position, _)| position.needs());
        let needed = needed.min().unwrap_or(end);
        // What cannot be removed now is removed by the next daemon.
        let _ = still.store.sync(needed, needed, BootTime::default(), true);
    }
    Ok(all)
}
