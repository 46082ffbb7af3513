//! The watch on files: the configuration and the target files. It notices that something has changed; others read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::flight::Patient;
use crate::base::{clock, turn};

/// How long a look at all files may take.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// How long the beginning of a watch is waited for.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);
/// A file must rest this long before it is read: editors write in several steps.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How often a file that does not rest is looked at before it is read all the same.
const MAX_LOOKS: u32 = 10;
/// Where the system cannot tell (network file systems, folders that come later) we look ourselves.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Both watches: of the configuration, and of the target files.
pub(super) struct Watches {
    tasks: TaskTracker,
    configuration: Watch,
    targets: Watch,
}

/// The files that may have changed.
pub(super) enum Changed {
    /// The configuration.
    Configuration,
    /// Target files.
    Targets,
}

/// A watch that can be given other files.
struct Watch {
    tell: mpsc::Sender<()>,
    changes: mpsc::Receiver<()>,
    stop: CancellationToken,
    looks: Looks,
}

impl Watch {
    fn new() -> Self {
        let (tell, changes) = mpsc::channel(1);
        Self { tell, changes, stop: CancellationToken::new(), looks: Looks::default() }
    }

    /// Watches these files from now on; returns when it does, or soon where a file system hangs.
    async fn replace(&mut self, files: &[PathBuf], seen: Option<Vec<Stamp>>, tasks: &TaskTracker) {
        std::mem::replace(&mut self.stop, CancellationToken::new()).cancel();
        if files.is_empty() {
            return;
        }
        let (begun, begins) = oneshot::channel();
        let (files, tell, looks) = (files.to_vec(), self.tell.clone(), Arc::clone(&self.looks));
        let watching = async move {
            let Some((watch, first)) = FileWatch::begin(files, looks).await else { return };
            let _ = begun.send(());
            watch.run(seen.unwrap_or_else(|| first.clone()), first, tell).await;
        };
        turn::track(tasks, self.stop.clone().run_until_cancelled_owned(watching));
        let _ = tokio::time::timeout(BEGINS_WITHIN, begins).await;
    }
}

impl Watches {
    /// Nothing is watched yet; `tasks` owns those who watch.
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self { tasks, configuration: Watch::new(), targets: Watch::new() }
    }

    /// Watches the files of a configuration from now on; `seen` is what they were before they were read.
    pub(super) async fn configuration(&mut self, (files, seen): (&[PathBuf], Vec<Stamp>)) {
        self.configuration.replace(files, Some(seen), &self.tasks).await;
    }

    /// Watches these target files from now on.
    pub(super) async fn targets(&mut self, files: &[PathBuf]) {
        self.targets.replace(files, None, &self.tasks).await;
    }

    /// Waits until something may have changed.
    pub(super) async fn changed(&mut self) -> Changed {
        tokio::select! {
            _ = self.configuration.changes.recv() => Changed::Configuration,
            _ = self.targets.changes.recv() => Changed::Targets,
        }
    }

    /// Watches nothing any more.
    pub(super) fn stop(&self) {
        self.configuration.stop.cancel();
        self.targets.stop.cancel();
    }
}

/// Looks whether files have changed. All that touches them runs on threads for blocking work, and what hangs is left
/// out: it has not changed.
struct FileWatch {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    events: mpsc::Receiver<()>,
    patterns: Vec<PathBuf>,
    /// The files of each pattern at the last look.
    known: BTreeMap<PathBuf, Vec<Stamp>>,
    looks: Looks,
}

/// Looks that hang, which one watch leaves to the next one.
type Looks = Arc<Mutex<Patient<(Vec<PathBuf>, Vec<Stamp>)>>>;

/// Metadata that differs between two versions of a file: times of content and of permissions, size,
/// number.
pub(super) type Stamp = (PathBuf, Option<(i64, i64, i64, i64, u64, u64)>);

impl FileWatch {
    /// Watches these files and patterns from now on; returns what they are now.
    async fn begin(patterns: Vec<PathBuf>, looks: Looks) -> Option<(Self, Vec<Stamp>)> {
        let (sender, events) = mpsc::channel(1);
        let beginning = tokio::task::spawn_blocking(move || {
            let watcher =
                notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                    // Reading a file is an event, too: only what changes something counts.
                    if event.is_ok_and(|event| !matches!(event.kind, notify::EventKind::Access(_)))
                    {
                        let _ = sender.try_send(());
                    }
                });
            let watcher = watcher
                .map_err(|error| tracing::debug!(%error, "files are looked at every 30 s only"))
                .ok();
            let (folders, known) = (BTreeSet::new(), BTreeMap::new());
            let mut this = Self { watcher, folders, events, patterns, known, looks };
            let stamps = this.look();
            (this, stamps)
        });
        beginning.await.ok()
    }

    /// Stamps the files, after new folders have been added to the watch.
    fn look(&mut self) -> Vec<Stamp> {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let until = clock::instant() + LOOK_WITHIN;
        for pattern in &self.patterns {
            let path = pattern.clone();
            let look = move || (folders(&path), stamps(std::slice::from_ref(&path)));
            let Some((folders, stamps)) = looks.read(pattern, until, look) else { continue };
            self.known.insert(pattern.clone(), stamps);
            for folder in folders {
                if self.folders.contains(&folder) {
                    continue;
                }
                let watched =
                    self.watcher.as_mut().map(|w| w.watch(&folder, RecursiveMode::NonRecursive));
                if watched.is_some_and(|result| result.is_ok()) {
                    self.folders.insert(folder);
                }
            }
        }
        self.patterns
            .iter()
            .filter_map(|pattern| self.known.get(pattern))
            .flatten()
            .cloned()
            .collect()
    }

    /// The same on a thread for blocking work.
    async fn look_again(mut self) -> Option<(Self, Vec<Stamp>)> {
        let looking = tokio::task::spawn_blocking(move || {
            let stamps = self.look();
            (self, stamps)
        });
        looking.await.ok()
    }

    /// Sends a notification whenever the files differ from what was seen last.
    async fn run(mut self, mut seen: Vec<Stamp>, mut now: Vec<Stamp>, tell: mpsc::Sender<()>) {
        loop {
            if now != seen {
                // Seen before it is read: a change during the reading is another change.
                seen = now;
                let _ = tell.send(()).await;
            }
            // An event only says that it is time to look; a busy folder is looked at now and then.
            let _ = tokio::time::timeout(LOOK_EVERY, self.events.recv()).await;
            let Some((this, stamps)) = self.look_again().await else { return };
            (self, now) = (this, stamps);
            for _ in 0..MAX_LOOKS {
                tokio::time::sleep(DEBOUNCE).await;
                let Some((this, later)) = self.look_again().await else { return };
                self = this;
                let quiet = later == now;
                now = later;
                // A file that is being written is read when it rests, or after a while all the same.
                if quiet {
                    break;
                }
            }
        }
    }
}

/// The folders of a file that are there: what changes in them may change the file.
fn folders(file: &Path) -> Vec<PathBuf> {
    // A link is watched where it stands and where it leads.
    let real = std::fs::canonicalize(file).ok();
    let folder = |path: PathBuf| {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        // The nearest folder that exists: another one may be made in it.
        let mut above = parent.unwrap_or(Path::new(".")).ancestors();
        above.find(|folder| folder.is_dir()).map(Path::to_owned)
    };
    [Some(file.to_owned()), real].into_iter().flatten().filter_map(folder).collect()
}

pub(super) fn stamps(patterns: &[PathBuf]) -> Vec<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    patterns
        .iter()
        .flat_map(|pattern| watchpost_targets::expand_pattern(pattern).unwrap_or_default())
        .map(|path| {
            let stamp = std::fs::metadata(&path).ok().map(|meta| {
                let changed = (meta.ctime(), meta.ctime_nsec());
                (meta.mtime(), meta.mtime_nsec(), changed.0, changed.1, meta.len(), meta.ino())
            });
            (path, stamp)
        })
        .collect()
}
