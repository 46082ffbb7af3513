//! Disks that are full, fail, are slow or cannot be written: probing goes on, memory stays bounded, the state is told, and
//! when the disk is well again, so is the queue, by itself. Nothing is lost in all that.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::faults::Faults;
use super::oracle::{Evidence, Life, judge};
use super::{Books, PAUSE, Scene, gaps, number};
use crate::support::alone::{alone, sh};
use crate::support::daemon::Daemon;
use crate::support::recorder::{Mood, wall};
use crate::support::until;

/// Each of them makes 12 samples a second.
const TARGETS: usize = 100;
/// What the daemon takes at most, with all that waits in memory.
const MEMORY: f64 = 200.0 * 1024.0 * 1024.0;
/// So soon after a disk is well the queue is on it again; what is aimed at is 5 s.
const HEALED: Duration = Duration::from_secs(15);

/// Starts a daemon that has reached its backend, whose queue is on the disk.
fn begin(scene: &Scene, faults: Option<&Faults>) -> (Daemon, Life) {
    let (requests, spawned) = (scene.recorder.count(), wall());
    let mut daemon = Daemon::spawn(&scene.config(), |command| {
        if let Some(faults) = faults {
            faults.below(&scene.directory(), command);
        }
    });
    daemon.ready();
    until("requests", || (scene.recorder.count() > requests + 3).then_some(()));
    assert_eq!(state(&daemon), "disk");
    (daemon, Life { spawned, ended: spawned, requests: requests..requests })
}

/// Where the queue is, as /metrics says.
fn state(daemon: &Daemon) -> &'static str {
    let metrics = daemon.metrics();
    let is = |state: &str| {
        let name = format!("watchpost_queue_state{{pipeline=\"metrics\",state=\"{state}\"}}");
        metrics.get(&name) == Some(&1.0)
    };
    let states: Vec<&str> =
        ["disk", "memory", "degraded"].into_iter().filter(|state| is(state)).collect();
    let [state] = states.as_slice() else { panic!("{states:?}") };
    state
}

/// Errors of the queue, as /metrics counts them.
fn errors(daemon: &Daemon, operation: &str) -> f64 {
    let metrics = daemon.metrics();
    let of = |name: &String| {
        name.starts_with("watchpost_queue_errors_total{")
            && name.contains(&format!("operation=\"{operation}\""))
    };
    metrics.iter().filter(|(name, _)| of(name)).map(|(_, value)| value).sum()
}

/// Looks at the daemon for a while: books balance at any time, and memory is bounded. Returns the most of it.
fn watch(scene: &Scene, daemon: &Daemon, span: Duration) -> f64 {
    let begin = Instant::now();
    let mut most = 0f64;
    while begin.elapsed() < span {
        let metrics = daemon.metrics();
        let memory = metrics["process_memory_usage_bytes"];
        assert!(memory < MEMORY, "{memory} bytes");
        most = most.max(memory);
        let books = Books::of(&scene.directory());
        assert_eq!((books.rejected, books.dropped), (0, 0), "{books:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    most
}

/// Waits until the queue is on the disk again.
fn healed(scene: &Scene, daemon: &Daemon, what: &str) -> Duration {
    let begin = Instant::now();
    until("the disk again", || (state(daemon) == "disk").then_some(()));
    let took = begin.elapsed();
    assert!(took < HEALED, "{what}: {took:?}");
    assert_eq!(Books::of(&scene.directory()).state, "disk");
    took
}

/// Lets the backlog go and the daemon stop; then everything has arrived.
fn finish(scene: &Scene, mut daemon: Daemon, mut lives: Vec<Life>) {
    scene.recorder.set(Mood::Takes);
    scene.drained(&daemon);
    let last = lives.last_mut().unwrap();
    last.ended = wall();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    scene.recorder.settle();
    last.requests.end = scene.recorder.count();
    let evidence =
        Evidence { lives, asked: scene.probed.log(0), requests: scene.recorder.requests(0) };
    let verdict = judge(&evidence);
    assert_eq!(verdict.faults_in_all, 0, "{}\n{}", verdict.faults.join("\n"), daemon.log());
    assert!(verdict.judged > TARGETS);
    let books = Books::of(&scene.directory());
    assert_eq!((books.queued, books.rejected, books.dropped), (0, 0, 0), "{books:?}");
    assert_eq!(books.sent, verdict.unique, "what was sent is what was taken");
}

/// A file that takes all the room that there is.
fn fill(folder: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(folder.join("other")).unwrap();
    let mut piece = 64 << 10;
    while piece > 0 {
        if file.write(&vec![7; piece]).is_err() {
            piece /= 2;
        }
    }
}

/// A file system of so many megabytes that something else fills while the backend is away.
fn full(megabytes: u64) {
    sh("ip link set lo up");
    let scene = Scene::new(TARGETS, "min_free_mib: 0, segment_size_mib: 1");
    let folder = scene.directory();
    std::fs::create_dir(&folder).unwrap();
    sh(&format!("mount -t tmpfs -o size={megabytes}m none {}", folder.display()));
    let (daemon, life) = begin(&scene, None);
    scene.recorder.set(Mood::Unavailable);
    std::thread::sleep(Duration::from_secs(1));
    fill(&folder);
    let from = wall();
    until("a full disk", || (state(&daemon) == "degraded").then_some(()));
    let memory = watch(&scene, &daemon, Duration::from_secs(number("WATCHPOST_FULL_FOR", 10)));
    // What the queue itself gives free is not enough for long.
    fill(&folder);
    until("a full disk", || (Books::of(&folder).state == "degraded").then_some(()));
    assert!(errors(&daemon, "write") > 0.0);
    let (late, quiet) = gaps(&scene, from, wall());
    assert!(quiet < PAUSE, "nobody was probed for {quiet} ms");
    std::fs::remove_file(folder.join("other")).unwrap();
    let took = healed(&scene, &daemon, "a full disk");
    eprintln!(
        "{megabytes} MiB full for {} ms: healed in {took:?}, {:.0} MiB of memory at most, one of a hundred slots {late} ms late",
        wall() - from,
        memory / 1048576.0
    );
    watch(&scene, &daemon, Duration::from_secs(2));
    finish(&scene, daemon, vec![life]);
    sh(&format!("umount {}", folder.display()));
}

#[test]
fn a_full_disk_of_1_mb() {
    if alone("durable::disk::a_full_disk_of_1_mb", &["mount"]) {
        full(1);
    }
}

#[test]
fn a_full_disk_of_16_mb() {
    if alone("durable::disk::a_full_disk_of_16_mb", &["mount"]) {
        full(16);
    }
}

/// The files of a folder, with when they were changed and what they hold.
fn contents(folder: &std::path::Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let with = |path: PathBuf| {
        let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        (path, (changed, bytes))
    };
    files.map(with).collect()
}

/// A disk that is mounted over the folder has files of its own: none of them is touched, and what was on the disk before is
/// there again when it is gone.
#[test]
fn another_disk_over_the_folder_is_left_alone() {
    if !alone("durable::disk::another_disk_over_the_folder_is_left_alone", &["mount"]) {
        return;
    }
    sh("ip link set lo up");
    let scene = Scene::new(TARGETS, "min_free_mib: 0, segment_size_mib: 1");
    let (daemon, life) = begin(&scene, None);
    scene.recorder.set(Mood::Unavailable);
    watch(&scene, &daemon, Duration::from_secs(3));
    let folder = scene.directory().join("queue/metrics");
    let other = scene.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    // It has a queue, too.
    sh(&format!("cp {0}/* {1} && mount --bind {1} {0}", folder.display(), other.display()));
    sh(&format!("mount -t tmpfs none {0} && cp {1}/* {0}", folder.display(), other.display()));
    let before = contents(&folder);
    assert!(before.len() > 2, "{:?}", before.keys());
    until("no disk", || (state(&daemon) == "degraded").then_some(()));
    watch(&scene, &daemon, Duration::from_secs(4));
    let after = contents(&folder);
    assert!(after == before, "{:?} {:?}", after.keys(), before.keys());
    sh(&format!("umount {0} && umount {0}", folder.display()));
    healed(&scene, &daemon, "the disk of before");
    finish(&scene, daemon, vec![life]);
}

/// A folder that cannot be made at the start is tried again: what waited in memory is in it then, and outlives a kill.
#[test]
fn a_folder_that_comes_late() {
    let scene = Scene::new(TARGETS, "min_free_mib: 0");
    let queues = scene.directory().join("queue");
    std::fs::create_dir_all(&queues).unwrap();
    std::fs::write(queues.join("metrics"), "somebody's file").unwrap();
    let (requests, spawned) = (scene.recorder.count(), wall());
    let mut daemon = Daemon::spawn(&scene.config(), |_| {});
    daemon.ready();
    until("requests", || (scene.recorder.count() > requests + 3).then_some(()));
    assert_eq!(state(&daemon), "degraded", "{}", daemon.log());
    scene.recorder.set(Mood::Unavailable);
    watch(&scene, &daemon, Duration::from_secs(2));
    std::fs::remove_file(queues.join("metrics")).unwrap();
    healed(&scene, &daemon, "a folder");
    watch(&scene, &daemon, Duration::from_secs(2));
    let ended = wall();
    daemon.kill();
    scene.recorder.settle();
    let first = Life { spawned, ended, requests: requests..scene.recorder.count() };
    let (requests, spawned) = (scene.recorder.count(), wall());
    let mut daemon = Daemon::spawn(&scene.config(), |_| {});
    daemon.ready();
    let second = Life { spawned, ended: spawned, requests: requests..requests };
    finish(&scene, daemon, vec![first, second]);
}

/// Who is stopped while the disk takes nothing says what is lost by that, and does not say that it is kept.
#[test]
fn what_no_disk_takes_at_the_end_is_told() {
    let Some(faults) = Faults::new("what_no_disk_takes_at_the_end_is_told") else { return };
    let scene = Scene::new(TARGETS, "min_free_mib: 0");
    let (mut daemon, _) = begin(&scene, Some(&faults));
    scene.recorder.set(Mood::Unavailable);
    watch(&scene, &daemon, Duration::from_secs(2));
    let kept = Books::of(&scene.directory()).queued;
    faults.set("erofs");
    until("no disk", || (state(&daemon) == "degraded").then_some(()));
    watch(&scene, &daemon, Duration::from_secs(3));
    let all = Books::of(&scene.directory()).queued;
    daemon.stop();
    let log = daemon.log();
    assert!(log.contains("does not take all: what is in memory is lost"), "{log}");
    let number = |begin: &str| {
        let line = log.lines().find_map(|line| line.split_once(begin)).expect(begin).1;
        let digits = line.rsplit('=').next().unwrap().trim();
        digits.parse::<u64>().unwrap_or_else(|_| panic!("{line}"))
    };
    let told = number("is kept for the next start");
    let lost = number("lost: the backend did not take them before the end");
    assert!(told >= kept && lost > 0 && told + lost >= all, "{kept} of {all} waited\n{log}");
    faults.set("none");
    assert_eq!(Books::of(&scene.directory()).queued, told, "{log}");
}

#[test]
fn writes_that_fail() {
    let Some(faults) = Faults::new("writes_that_fail") else { return };
    let scene = Scene::new(TARGETS, "segment_size_mib: 1, min_free_mib: 0");
    let (daemon, life) = begin(&scene, Some(&faults));
    for what in ["eio", "torn", "enospc", "erofs"] {
        // The backend is away for a half of each fault: exports go on without a disk, and what waits, waits in memory.
        let (from, requests, before) = (wall(), scene.recorder.count(), errors(&daemon, "write"));
        faults.set(what);
        until(what, || (state(&daemon) == "degraded").then_some(()));
        watch(&scene, &daemon, Duration::from_secs(3));
        let taken = scene.recorder.count() - requests;
        scene.recorder.set(Mood::Unavailable);
        watch(&scene, &daemon, Duration::from_secs(3));
        assert_eq!(Books::of(&scene.directory()).state, "degraded", "{what}");
        let (errors, hits) = (errors(&daemon, "write") - before, faults.hits());
        faults.set("none");
        let took = healed(&scene, &daemon, what);
        let (late, quiet) = gaps(&scene, from, wall());
        eprintln!(
            "{what}: {hits} calls failed, {errors} errors counted, {taken} requests meanwhile, healed in {took:?}, one of a \
             hundred slots {late} ms late"
        );
        assert!(quiet < PAUSE, "{what}: nobody was probed for {quiet} ms");
        assert!(hits > 0 && errors > 0.0, "{what}: {hits} hits, {errors} errors");
        assert!(taken > 3, "{what}: exports go on from memory");
        scene.recorder.set(Mood::Takes);
        scene.drained(&daemon);
    }
    finish(&scene, daemon, vec![life]);
}

#[test]
fn writes_that_are_slow() {
    let Some(faults) = Faults::new("writes_that_are_slow") else { return };
    let scene = Scene::new(TARGETS, "fsync_interval: 1s");
    let (daemon, life) = begin(&scene, Some(&faults));
    let calm = wall();
    watch(&scene, &daemon, Duration::from_secs(8));
    // What a backend takes at once is not synced at all.
    for (what, hesitates) in [("slow 5000", 0), ("sync-slow 5000", 1500)] {
        scene.recorder.hesitate(Duration::from_millis(hesitates));
        let begin = wall();
        let (calm, _) = gaps(&scene, calm, begin);
        let requests = scene.recorder.count();
        faults.set(what);
        watch(&scene, &daemon, Duration::from_secs(16));
        let end = wall();
        let (late, quiet) = gaps(&scene, begin, end);
        let taken = scene.recorder.requests(requests);
        let newest = taken.list.iter().flat_map(|request| &request.samples).map(|s| s.at).max();
        let behind = newest.map_or(i64::MAX, |at| end - at);
        let hits = faults.hits();
        faults.set("none");
        eprintln!(
            "{what}: {hits} calls were slow, one of a hundred slots {late} ms late ({calm} ms before), {} requests with {} \
             samples, the newest {behind} ms old",
            taken.list.len(),
            taken.samples()
        );
        assert!(hits > 0, "{what}");
        assert!(quiet < PAUSE && late < calm + 300, "{what}: {late} ms late, quiet for {quiet} ms");
        assert!(
            behind < 10_000,
            "{what}: exports go on from memory, the newest is {behind} ms old"
        );
        // What is slow already ends first: whoever stops before it leaves what was sent to be sent again.
        std::thread::sleep(Duration::from_secs(6));
        until("the end of slowness", || (state(&daemon) == "disk").then_some(()));
    }
    finish(&scene, daemon, vec![life]);
}

/// What was not made to last may be lost by a power cut, but not by the end of a process.
#[test]
fn syncs_that_fail() {
    let Some(faults) = Faults::new("syncs_that_fail") else { return };
    let scene = Scene::new(TARGETS, "fsync_interval: 1s");
    let (mut daemon, mut life) = begin(&scene, Some(&faults));
    scene.recorder.set(Mood::Unavailable);
    faults.set("sync-eio");
    until("an error", || (errors(&daemon, "sync") > 0.0).then_some(()));
    watch(&scene, &daemon, Duration::from_secs(4));
    let hits = faults.hits();
    assert!(hits > 0);
    life.ended = wall();
    daemon.kill();
    scene.recorder.settle();
    life.requests.end = scene.recorder.count();
    let books = Books::of(&scene.directory());
    assert_eq!(books.state, "stopped");
    assert!(books.queued > TARGETS as u64, "{books:?}");

    // It goes on failing for a while.
    let (requests, spawned) = (scene.recorder.count(), wall());
    let mut daemon = Daemon::spawn(&scene.config(), |c| faults.below(&scene.directory(), c));
    daemon.ready();
    watch(&scene, &daemon, Duration::from_secs(4));
    faults.set("none");
    let took = healed(&scene, &daemon, "syncs");
    eprintln!(
        "{hits} syncs failed before the kill, {} behind it; healed in {took:?}",
        faults.hits()
    );
    let again = Life { spawned, ended: spawned, requests: requests..requests };
    finish(&scene, daemon, vec![life, again]);
}
