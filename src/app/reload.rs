//! Targets change while we run: files are watched and read again, this machine is looked at again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::embedded;
use crate::config::plan::Plan;
use crate::config::targets::TargetReader;
use crate::config::{self, Environment, Loaded, Sources, Strictness};
use crate::pipeline::selfmetrics::{Gauge, Meter};
use crate::probe::ReceiverPlan;
use crate::signal::names;

/// A file must rest this long before it is read: editors write in several steps.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How often a file that does not rest is looked at before it is read all the same.
const MAX_LOOKS: u32 = 10;
/// Where the system cannot tell (network file systems, folders that come later) we look ourselves.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Where targets come from.
pub(super) struct TargetSource {
    plan: Plan,
    embedded: Option<SocketAddr>,
    reader: TargetReader,
    told: BTreeSet<String>,
    problems: Gauge,
}

impl TargetSource {
    /// Targets of a plan.
    pub(super) fn new(plan: Plan, meter: &Meter) -> Self {
        Self {
            plan,
            embedded: None,
            reader: TargetReader::default(),
            told: BTreeSet::new(),
            problems: meter.gauge(&names::TARGET_FILE_PROBLEMS, &[]),
        }
    }

    /// With an address: what this machine serves, but for that address itself.
    pub(super) fn embed(&mut self, own: Option<SocketAddr>) {
        self.embedded = own;
    }

    pub(super) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Reads everything again. A problem is told when it is new, not each time.
    pub(super) fn read(&mut self) -> Vec<ReceiverPlan> {
        if let Some(own) = self.embedded {
            self.plan.receivers = embedded::receivers(own);
        }
        let targets = self.reader.read(&self.plan);
        let problems: BTreeSet<String> = targets.problems.into_iter().collect();
        for problem in problems.difference(&self.told) {
            tracing::warn!("{problem}");
        }
        for _ in self.told.difference(&problems).take(1) {
            tracing::info!(left = problems.len(), "problems of target files are mended");
        }
        self.problems.set(problems.len() as f64);
        self.told = problems;
        targets.receivers
    }

    /// The plan in force.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Reads the targets of another plan from now on.
    pub(super) fn replace(&mut self, plan: Plan) {
        self.plan = plan;
    }

    /// The files and patterns that are read. Patterns are watched by their folders, so that new files
    /// are seen.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.plan.receivers.iter().flat_map(|receiver| receiver.files.clone()).collect()
    }
}

/// A configuration that can be read again.
#[derive(Clone, Debug)]
pub struct Configuration {
    sources: Sources,
    environment: Environment,
    /// The files that the last reading has read, and what they were before it.
    files: Vec<PathBuf>,
    seen: Vec<Stamp>,
}

impl Configuration {
    /// A configuration out of these sources.
    #[must_use]
    pub fn new(sources: Sources, environment: Environment) -> Self {
        Self { sources, environment, files: Vec::new(), seen: Vec::new() }
    }

    /// Reads it.
    #[must_use]
    pub fn load(mut self) -> (Loaded, Self) {
        // What changes while it is read is another change.
        let before = stamps(&self.sources.files());
        let loaded = config::load(&self.sources, &self.environment, Strictness::Run);
        self.files.clone_from(&loaded.files);
        self.seen = stamps(&loaded.files)
            .into_iter()
            .map(|(path, now)| {
                let of = |list: &[Stamp]| list.iter().find(|(p, _)| *p == path).map(|(_, s)| *s);
                let stamp = of(&before).unwrap_or(now);
                (path, stamp)
            })
            .collect();
        (loaded, self)
    }
}

/// Both watches: of the configuration, and of the target files.
pub(super) struct Watches {
    tasks: TaskTracker,
    configuration: Watch,
    targets: Watch,
}

/// What may have changed.
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
}

impl Watch {
    fn new() -> Self {
        let (tell, changes) = mpsc::channel(1);
        Self { tell, changes, stop: CancellationToken::new() }
    }

    fn replace(&mut self, files: &[PathBuf], seen: Option<Vec<Stamp>>, tasks: &TaskTracker) {
        let watch = FileWatch::new(files, seen, self.tell.clone());
        std::mem::replace(&mut self.stop, CancellationToken::new()).cancel();
        tasks.spawn(watch.run(self.stop.clone()));
    }
}

impl Watches {
    /// Nothing is watched yet; `tasks` owns those who watch.
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self { tasks, configuration: Watch::new(), targets: Watch::new() }
    }

    /// Watches the files of a configuration from now on.
    pub(super) fn configuration(&mut self, configuration: Option<&Configuration>) {
        if let Some(Configuration { files, seen, .. }) = configuration {
            self.configuration.replace(files, Some(seen.clone()), &self.tasks);
        }
    }

    /// Watches these target files from now on.
    pub(super) fn targets(&mut self, files: &[PathBuf]) {
        self.targets.replace(files, None, &self.tasks);
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

/// Tells when files may have changed. A task of its own: nothing that happens elsewhere makes it
/// forget what it has seen.
struct FileWatch {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    events: mpsc::Receiver<()>,
    patterns: Vec<PathBuf>,
    seen: Vec<Stamp>,
    tell: mpsc::Sender<()>,
}

/// What tells two versions of a file apart without reading it: times of content and of rights, size,
/// number.
type Stamp = (PathBuf, Option<(i64, i64, i64, i64, u64, u64)>);

impl FileWatch {
    /// Watches these files and patterns from now on; `seen` is what was known of them before.
    fn new(files: &[PathBuf], seen: Option<Vec<Stamp>>, tell: mpsc::Sender<()>) -> Self {
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event, too: only what changes something counts.
            if event.is_ok_and(|event| !matches!(event.kind, notify::EventKind::Access(_))) {
                let _ = sender.try_send(());
            }
        });
        let watcher = watcher
            .map_err(|error| tracing::debug!(%error, "files are looked at every 30 s only"))
            .ok();
        let seen = seen.unwrap_or_else(|| stamps(files));
        let patterns = files.to_vec();
        let folders = BTreeSet::new();
        let mut this = Self { watcher, folders, events, patterns, seen, tell };
        this.watch_folders();
        this
    }

    /// Watches the folders that are there; those that come later are found by looking.
    fn watch_folders(&mut self) {
        for file in &self.patterns {
            // A link is watched where it stands and where it leads.
            let real = std::fs::canonicalize(file).ok();
            for path in [Some(file.clone()), real].into_iter().flatten() {
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
                let folder = parent.unwrap_or(Path::new("."));
                // The nearest folder that exists: another one may be made in it.
                let Some(folder) = folder.ancestors().find(|folder| folder.is_dir()) else {
                    continue;
                };
                if self.folders.contains(folder) {
                    continue;
                }
                let watched =
                    self.watcher.as_mut().map(|w| w.watch(folder, RecursiveMode::NonRecursive));
                if watched.is_some_and(|result| result.is_ok()) {
                    self.folders.insert(folder.to_owned());
                }
            }
        }
    }

    /// Looks until it is stopped.
    async fn run(mut self, stop: CancellationToken) {
        if self.patterns.is_empty() {
            return;
        }
        tokio::select! {
            () = self.look() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn look(&mut self) {
        loop {
            // An event only says that it is time to look; a busy folder is looked at now and then.
            let _ = tokio::time::timeout(LOOK_EVERY, self.events.recv()).await;
            let mut now = stamps(&self.patterns);
            for _ in 0..MAX_LOOKS {
                tokio::time::sleep(DEBOUNCE).await;
                let later = stamps(&self.patterns);
                let quiet = later == now;
                now = later;
                // A file that is being written is read when it rests, or after a while all the same.
                if quiet {
                    break;
                }
            }
            self.watch_folders();
            if now != self.seen {
                // Seen before it is read: a change during the reading is another change.
                self.seen = now;
                let _ = self.tell.send(()).await;
            }
        }
    }
}

fn stamps(patterns: &[PathBuf]) -> Vec<Stamp> {
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
