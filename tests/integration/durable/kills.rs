//! SIGKILL at any moment, hundreds of times, with a backend that is away now and then: what was probed more than a second
//! before it arrives, and nothing arrives twice but what was on its way.

use std::time::{Duration, Instant};

use super::faults::Faults;
use super::oracle::{Evidence, Life, judge};
use super::{Books, REST, Scene, files, in_order, number, seed};
use crate::support::daemon::{Daemon, write};
use crate::support::recorder::{Dice, Mood, wall};
use crate::support::{free_port, until};

/// Each of them makes 12 samples a second.
const TARGETS: usize = 180;
/// A process that lives so long is to have probed.
const HAS_BEGUN: Duration = Duration::from_secs(1);
/// The middle of all starts is faster than that; what is aimed at is 300 ms.
const START: i64 = 1_000;

fn sleep_until(begin: Instant, millis: u64) {
    std::thread::sleep(Duration::from_millis(millis).saturating_sub(begin.elapsed()));
}

fn spawn(scene: &Scene, faults: Option<&Faults>) -> Daemon {
    Daemon::spawn(&scene.config(), |command| {
        if let Some(faults) = faults {
            faults.below(&scene.directory(), command);
        }
    })
}

/// One life: it is begun, the backend changes its mood at some moment of it or not, and it is ended in the midst of its work.
fn life(scene: &Scene, dice: &mut Dice, faults: Option<&Faults>) -> Life {
    let lasts = 100 + dice.below(1900);
    let turn = dice.below(lasts);
    let mood = match dice.below(20) {
        0..=5 => Mood::Takes,
        6 | 7 => Mood::Unavailable,
        8 => Mood::Gone,
        _ => scene.recorder.mood(),
    };
    // The answer to what was taken is late, so that a kill comes before it now and then.
    let most = if dice.below(3) == 0 { 400 } else { 40 };
    scene.recorder.hesitate(Duration::from_millis(dice.below(most)));
    let requests = scene.recorder.count();
    let (begin, spawned) = (Instant::now(), wall());
    let mut daemon = spawn(scene, faults);
    sleep_until(begin, turn);
    scene.recorder.set(mood);
    sleep_until(begin, lasts);
    if begin.elapsed() >= HAS_BEGUN {
        // A machine that is busy may take longer; how long it took is told in the end.
        let began = || scene.probed.last().is_some_and(|at| at >= spawned);
        let late = Instant::now() + Duration::from_secs(20);
        while !began() {
            assert!(Instant::now() < late, "it does not come to its first probe: {}", daemon.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let ended = wall();
    assert_eq!(daemon.child.try_wait().unwrap(), None, "it ended by itself: {}", daemon.log());
    daemon.kill();
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    scene.recorder.settle();
    Life { spawned, ended, requests: requests..scene.recorder.count() }
}

#[test]
fn nothing_is_lost_across_kills() {
    let kills = number("WATCHPOST_KILLS", 300);
    across(kills, Dice::new(seed("nothing_is_lost_across_kills")), None);
}

/// A disk that is busy takes seconds to make something safe. What was measured is written meanwhile, and so is what is on its
/// way, before it is sent.
#[test]
fn nothing_is_lost_across_kills_while_syncs_are_slow() {
    let test = "nothing_is_lost_across_kills_while_syncs_are_slow";
    let Some(faults) = Faults::new(test) else { return };
    faults.set("sync-slow 1500");
    across(number("WATCHPOST_KILLS", 300) / 8, Dice::new(seed(test)), Some(&faults));
    assert!(faults.hits() > 0);
}

fn across(kills: u64, mut dice: Dice, faults: Option<&Faults>) {
    let scene = Scene::new(TARGETS, "");
    let mut lives = Vec::new();
    let mut most_queued = 0;
    for n in 0..kills {
        lives.push(life(&scene, &mut dice, faults));
        if n % 10 == 9 {
            let books = Books::of(&scene.directory());
            assert_eq!((books.state.as_str(), books.rejected, books.dropped), ("stopped", 0, 0));
            most_queued = most_queued.max(books.queued);
        }
    }

    // The last one has all the time that it needs, and a disk that is well.
    faults.into_iter().for_each(|faults| faults.set("none"));
    scene.recorder.set(Mood::Takes);
    scene.recorder.hesitate(Duration::ZERO);
    let (requests, spawned) = (scene.recorder.count(), wall());
    let mut daemon = spawn(&scene, faults);
    daemon.ready();
    scene.drained(&daemon);
    std::thread::sleep(Duration::from_secs(2));
    let ended = wall();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    scene.recorder.settle();
    lives.push(Life { spawned, ended, requests: requests..scene.recorder.count() });

    let requests = scene.recorder.requests(0);
    let (all, in_requests) = (requests.samples(), requests.list.len());
    let evidence = Evidence { lives, asked: scene.probed.log(0), requests };
    let mut verdict = judge(&evidence);
    verdict.starts.sort_unstable();
    let median = verdict.starts.get(verdict.starts.len() / 2).copied().unwrap_or(i64::MAX);
    let span = evidence.lives.iter().map(|life| life.ended - life.spawned).sum::<i64>();
    eprintln!(
        "{kills} kills in {} s of life: {} connections judged ({} younger than the window, {} unclear), {all} samples in \
         {in_requests} requests ({:.0}/s), {} refused, {} sent again, at most {most_queued} waited at a look; \
         lost at most {} ms before a kill; {} slots down; from a start to its first probe {median} ms in the middle, {:?} ms at \
         most, {} were killed before it",
        span / 1000,
        verdict.judged,
        verdict.young,
        verdict.unclear,
        verdict.unique as f64 / (span as f64 / 1000.0),
        scene.recorder.refused(),
        verdict.resent,
        verdict.oldest_lost,
        verdict.down,
        verdict.starts.last(),
        evidence.lives.len() - verdict.starts.len(),
    );
    assert_eq!(verdict.faults_in_all, 0, "{}", verdict.faults.join("\n"));
    assert!(verdict.judged > 0 && median < START, "{median} ms");
    let books = Books::of(&scene.directory());
    assert_eq!((books.queued, books.dropped, books.rejected), (0, 0, 0), "{books:?}");
    assert_eq!(books.sent, verdict.unique, "what was sent is what was taken");
    assert_eq!(files(&scene.directory(), ".corrupt"), [] as [std::path::PathBuf; 0]);
    let segments = files(&scene.directory(), ".seg");
    assert!(segments.len() <= 2, "what was sent does not stay: {segments:?}");
}

/// A start within an interval: the 0 with which a count of failures begins is behind what the life before has written.
#[test]
fn a_target_that_is_down_goes_on_in_time() {
    let scene = Scene::new(0, "");
    let text = format!(
        "receivers: {{probe: {{interval: 2s, targets: ['127.0.0.1:{};closed']}}}}\n{}storage: {{directory: '{}'}}\n{REST}",
        free_port(),
        scene.recorder.exporters(),
        scene.directory().display()
    );
    write(scene.folder.path(), "watchpost.yaml", &text);
    for _ in 0..4 {
        let requests = scene.recorder.count();
        let mut daemon = Daemon::spawn(&scene.config(), |_| {});
        until("a slot", || {
            let new = scene.recorder.requests(requests);
            new.names.iter().any(|name| name.starts_with("probe_failures_total{")).then_some(())
        });
        // The answer is there, too.
        std::thread::sleep(Duration::from_millis(100));
        daemon.kill();
        scene.recorder.settle();
    }
    in_order(&scene.recorder.requests(0));
}
