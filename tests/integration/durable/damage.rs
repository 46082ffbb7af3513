//! A log that somebody has damaged: whatever was done to it, the daemon starts, what is whole arrives, what is not is
//! counted, nothing that nobody has measured comes out of it, and what is measured next arrives, too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use watchpost::queue::log::record::put_record;

use super::{Books, Scene, files, number, queued, seed};
use crate::support::daemon::{Daemon, write};
use crate::support::probed::Probed;
use crate::support::recorder::{Dice, Mood, Recorder, Requests, Sample};
use crate::support::{PATIENCE, until};

/// Each of them makes 12 samples a second.
const TARGETS: usize = 25;
/// Starts and kills before the damage: each begins a segment.
const LIVES: usize = 4;
/// Daemons at a time.
const AT_A_TIME: usize = 2;

/// A sample that can be compared: series, time and value.
type Known = BTreeSet<(String, i64, u64)>;

fn known(requests: &Requests) -> Known {
    let name = |sample: &Sample| requests.names[sample.series as usize].clone();
    let all = requests.list.iter().flat_map(|request| &request.samples);
    all.map(|sample| (name(sample), sample.at, sample.bits)).collect()
}

/// How lost samples are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Counted {
    /// To the sample.
    Exactly,
    /// As far as can be known: what was at the end of the log is nowhere else.
    AtMost,
}

/// A way to damage a log.
struct Case {
    name: String,
    damage: Box<dyn Fn(&Path) + Send + Sync>,
    /// The segments of which something may be missing.
    hurt: Range<usize>,
    counted: Counted,
}

impl Case {
    fn new(
        name: impl Into<String>,
        hurt: Range<usize>,
        counted: Counted,
        damage: impl Fn(&Path) + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), damage: Box::new(damage), hurt, counted }
    }
}

/// What came of a case.
#[derive(Debug)]
struct Outcome {
    /// How many samples are missing, by segment.
    lost: Vec<usize>,
    /// When the first of them was due, and the last of those that came.
    first_lost: i64,
    last_kept: i64,
    told: String,
    faults: Vec<String>,
}

/// A log of several segments, and what it holds by segment.
struct Log {
    folder: PathBuf,
    segments: Vec<PathBuf>,
    holds: Vec<Known>,
    /// The cursor when everything had been sent.
    ahead: Vec<u8>,
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, at) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&path, &at),
            kind if kind.is_file() => drop(std::fs::copy(path, at).unwrap()),
            _ => {} // the control socket of who was killed
        }
    }
}

/// Starts a daemon with the backend away and kills it, again and again; then reads what that has written by sending it.
fn prepare(scene: &Scene) -> Log {
    scene.recorder.set(Mood::Unavailable);
    let mut ends = Vec::new();
    for life in 0..LIVES {
        let mut daemon = Daemon::spawn(&scene.config(), |_| {});
        daemon.ready();
        let asked = scene.probed.log(0).len();
        until("probes", || (scene.probed.log(0).len() > asked + 3 * TARGETS).then_some(()));
        daemon.kill();
        scene.recorder.settle();
        ends.push(crate::support::recorder::wall());
        let segments = files(&scene.directory(), ".seg");
        assert_eq!(segments.len(), life + 1, "each start begins a segment: {segments:?}");
    }
    let folder = scene.folder.path().join("log");
    copy(&scene.directory(), &folder);
    let segments = files(&folder, ".seg");
    let books = Books::of(&folder);

    // The reference: all of it arrives.
    write(scene.folder.path(), "targets.yaml", &scene.probed.targets(0));
    scene.recorder.set(Mood::Takes);
    let mut daemon = Daemon::spawn(&scene.config(), |_| {});
    daemon.ready();
    until("all of it", || (queued(&daemon)? == 0.0).then_some(()));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    let all = known(&scene.recorder.requests(0));
    assert_eq!(all.len() as u64, books.accepted, "{books:?}");
    let after = |at: i64| ends.partition_point(|end| *end < at);
    let mut holds = vec![Known::new(); LIVES];
    for sample in all {
        holds[after(sample.1)].insert(sample);
    }
    // The number of a segment is that of its first sample.
    let first = |path: &PathBuf| {
        u64::from_str_radix(path.file_stem().unwrap().to_str().unwrap(), 16).unwrap()
    };
    for (pair, holds) in segments.windows(2).zip(&holds) {
        assert_eq!(first(&pair[1]) - first(&pair[0]), holds.len() as u64, "{segments:?}");
    }
    let ahead = std::fs::read(cursor(&scene.directory())).unwrap();
    Log { folder, segments, holds, ahead }
}

fn cursor(directory: &Path) -> PathBuf {
    let list = files(directory, ".cursor");
    assert_eq!(list.len(), 1, "{list:?}");
    list[0].clone()
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    how(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// The ways to damage it.
fn cases(log: &Log, count: usize, dice: &mut Dice) -> Vec<Case> {
    use Counted::{AtMost, Exactly};
    let names: Vec<String> =
        log.segments.iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let at = |n: usize| {
        let name = names[n].clone();
        move |folder: &Path| folder.join("queue/metrics").join(&name)
    };
    let lengths: Vec<u64> =
        log.segments.iter().map(|path| std::fs::metadata(path).unwrap().len()).collect();
    let last = LIVES - 1;
    let mut list = vec![
        Case::new("nothing", 0..0, Exactly, |_| {}),
        // An exporter of which nothing is known is a new one: what was there before it is not for it.
        Case::new("no cursor", 0..LIVES, AtMost, |d| std::fs::remove_file(cursor(d)).unwrap()),
        Case::new("an empty cursor", 0..0, Exactly, |d| change(&cursor(d), Vec::clear)),
        Case::new("half a cursor", 0..0, Exactly, |d| {
            change(&cursor(d), |b| b.truncate(b.len() / 2))
        }),
        Case::new("a cursor of noise", 0..0, Exactly, |d| {
            change(&cursor(d), |b| *b = (0..4096).map(|n| (n * 31 % 251) as u8).collect())
        }),
        Case::new("no lock", 0..0, Exactly, |d| {
            std::fs::remove_file(d.join("queue/metrics/lock")).unwrap()
        }),
        Case::new("noise in the lock", 0..0, Exactly, |d| {
            change(&d.join("queue/metrics/lock"), |b| b.extend([0xff; 100]))
        }),
        Case::new("files of others", 0..0, Exactly, |d| {
            let folder = d.join("queue/metrics");
            write(&folder, "notes.txt", "buy milk");
            write(&folder, "zzzz.seg", "no number");
            write(&folder, "other%2Fname.cursor.tmp", "");
            std::fs::create_dir(folder.join("folder")).unwrap();
        }),
    ];
    let bytes = log.ahead.clone();
    list.push(Case::new("a cursor ahead of the log", 0..LIVES, AtMost, {
        let (one, two) = (at(last), at(last - 1));
        move |d| {
            std::fs::write(cursor(d), &bytes).unwrap();
            std::fs::remove_file(one(d)).unwrap();
            std::fs::remove_file(two(d)).unwrap();
        }
    }));
    let whole: usize = log.holds.iter().map(Known::len).sum();
    let next = u64::from_str_radix(names[0].trim_end_matches(".seg"), 16).unwrap() + whole as u64;
    list.push(Case::new("a segment of a later version", 0..0, Exactly, move |d| {
        let mut bytes = Vec::new();
        put_record(&mut bytes, 1, &[&[99][..], &[1; 60]].concat());
        std::fs::write(d.join(format!("queue/metrics/{next:016x}.seg")), bytes).unwrap();
    }));
    list.push(Case::new("an empty segment", 0..0, Exactly, move |d| {
        std::fs::write(d.join(format!("queue/metrics/{next:016x}.seg")), "").unwrap();
    }));
    for gone in 0..LIVES {
        let path = at(gone);
        let counted = if gone == last { AtMost } else { Exactly };
        list.push(Case::new(
            format!("segment {gone} is gone"),
            gone..gone + 1,
            counted,
            move |d| std::fs::remove_file(path(d)).unwrap(),
        ));
    }
    for (name, zeros, hurt) in
        [("zeros behind the end", 64 << 10, 0..0), ("the end is zeros", 0, last..LIVES)]
    {
        let path = at(last);
        list.push(Case::new(name, hurt, AtMost, move |d| {
            change(&path(d), |b| {
                let from = if zeros == 0 { b.len() - 100 } else { b.len() };
                b.truncate(from);
                b.resize(from + zeros.max(100), 0);
            })
        }));
    }
    let cut = |length: u64| {
        let path = at(last);
        Case::new(format!("cut at {length} of {}", lengths[last]), last..LIVES, AtMost, move |d| {
            change(&path(d), |b| b.truncate(length as usize))
        })
    };
    for length in [0, 1, 10, lengths[last] - 1] {
        list.push(cut(length));
    }
    let flip = |n: usize, place: u64, bit: u64| {
        let counted = if n == last { AtMost } else { Exactly };
        let name = format!("segment {n}, bit {bit} of {place} of {}", lengths[n]);
        let path = at(n);
        Case::new(name, n..n + 1, counted, move |d| {
            change(&path(d), |b| b[place as usize] ^= 1 << bit)
        })
    };
    // What was on its way when it was killed is there, too.
    for place in [20, 150, 350, 550, 750, 950] {
        list.push(flip(0, place, 3));
    }
    let most = lengths[last];
    while list.len() < count {
        match dice.below(5) {
            0 => list.push(cut(dice.below(most))),
            1 => {
                let (place, bit) = (dice.next(), dice.below(8));
                list.push(Case::new(format!("cursor, {place:x}.{bit}"), 0..0, Exactly, move |d| {
                    change(&cursor(d), |b| {
                        let place = (place % b.len() as u64) as usize;
                        b[place] ^= 1 << bit;
                    })
                }));
            }
            _ => {
                let n = dice.below(LIVES as u64) as usize;
                list.push(flip(n, dice.below(lengths[n]), dice.below(8)));
            }
        }
    }
    list
}

/// Starts a daemon with a damaged copy.
fn attempt(log: &Log, case: &Case) -> Outcome {
    // One new target shows that what comes behind the damage arrives.
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene { folder, probed: Probed::new(), recorder: Recorder::new() };
    write(scene.folder.path(), "targets.yaml", &scene.probed.targets(1).replace(";t0", ";new"));
    scene.configure("1s", &scene.directory(), "");
    copy(&log.folder, &scene.directory());
    (case.damage)(&scene.directory());
    let mut daemon = Daemon::spawn(&scene.config(), |_| {});
    daemon.ready();
    let mut faults = Vec::new();
    let begin = Instant::now();
    loop {
        assert_eq!(daemon.child.try_wait().unwrap(), None, "{}: {}", case.name, daemon.log());
        let new = &scene.recorder.requests(0).names;
        let new = new.iter().any(|name| name.contains("humanname=\"new\""));
        let waiting = queued(&daemon);
        if new && waiting.is_some_and(|waiting| waiting < 24.0) {
            break;
        }
        if begin.elapsed() > PATIENCE / 2 {
            faults.push(format!(
                "it hangs: {waiting:?} wait, new ones came: {new}: {}",
                daemon.log()
            ));
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let metrics = daemon.metrics();
    let sum = |name: &str, part: &str| -> f64 {
        let of = |(series, _): &(&String, &f64)| series.starts_with(name) && series.contains(part);
        metrics.iter().filter(of).map(|(_, value)| value).sum()
    };
    let lost_samples = sum("watchpost_export_lost_samples_total", "");
    let errors = sum("watchpost_queue_errors_total", "operation=\"read\"");
    let recovered = sum("watchpost_export_samples_total", "recovered");
    let code = daemon.stop();
    let books = Books::of(&scene.directory());

    let requests = scene.recorder.requests(0);
    let came = known(&requests);
    let (new, old): (Known, Known) =
        came.into_iter().partition(|(series, ..)| series.contains("humanname=\"new\""));
    let mut fault = |bad: bool, text: String| {
        if bad {
            faults.push(text);
        }
    };
    let held: Known = log.holds.iter().flatten().cloned().collect();
    let strange = old.difference(&held).next();
    fault(strange.is_some(), format!("nobody has measured {strange:?}"));
    fault(requests.samples() != new.len() + old.len(), "samples come twice".to_owned());
    let mut last: BTreeMap<u32, i64> = BTreeMap::new();
    for sample in requests.list.iter().flat_map(|request| &request.samples) {
        let before = last.insert(sample.series, sample.at);
        let back = before.is_some_and(|before| before > sample.at);
        fault(back, format!("{} goes back", requests.names[sample.series as usize]));
    }
    let lost: Vec<usize> = log.holds.iter().map(|held| held.difference(&old).count()).collect();
    let elsewhere: usize =
        lost.iter().enumerate().filter(|(n, _)| !case.hurt.contains(n)).map(|(_, lost)| lost).sum();
    fault(elsewhere > 0, format!("{elsewhere} are lost of segments that are whole"));
    let in_all = lost.iter().sum::<usize>() as u64;
    fault(code != 0, format!("it ended with {code}: {}", daemon.log()));
    fault(books.queued > 0 || books.rejected > 0, format!("{books:?}"));
    let taken = (old.len() + new.len()) as u64;
    if case.hurt.len() < LIVES {
        fault(books.sent != taken, format!("{taken} were taken: {books:?}"));
        fault(books.dropped > in_all, format!("more counted than {in_all}: {books:?}"));
    }
    let exact = case.counted == Counted::Exactly;
    fault(exact && books.dropped != in_all, format!("{in_all} are lost: {books:?}"));
    let untold = exact && in_all > 0 && lost_samples as u64 != in_all;
    fault(untold, format!("/metrics says that {lost_samples} of {in_all} are lost"));
    if case.name == "a segment of a later version" {
        let kept = std::fs::read_dir(scene.directory().join("queue/metrics")).unwrap().any(|e| {
            std::fs::read(e.unwrap().path()).is_ok_and(|b| b.len() < 100 && b.ends_with(&[1; 8]))
        });
        fault(!kept, "it was thrown away".to_owned());
    }
    let told = format!(
        "{}: lost {lost:?}, counted {}, on the page {lost_samples}, recovered {recovered}, {errors} errors",
        case.name, books.dropped
    );
    let first_lost = held.difference(&old).map(|(_, at, _)| *at).min().unwrap_or(i64::MAX);
    let last_kept = old.iter().map(|(_, at, _)| *at).max().unwrap_or(i64::MIN);
    Outcome { lost, first_lost, last_kept, told, faults }
}

#[test]
fn what_is_whole_arrives_past_any_damage() {
    let mut dice = Dice::new(seed("what_is_whole_arrives_past_any_damage"));
    let scene = Scene::new(TARGETS, "");
    let log = prepare(&scene);
    let cases = cases(&log, number("WATCHPOST_DAMAGES", 60) as usize, &mut dice);
    let sizes: Vec<usize> = log.holds.iter().map(Known::len).collect();
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let Some(case) = cases.get(n) else { return };
                    let outcome = attempt(&log, case);
                    outcomes.lock().unwrap().push((n, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by_key(|(n, _)| *n);
    let mut faults = Vec::new();
    // What is cut off is the end, and more is lost where more is cut.
    let mut cuts: Vec<(u64, usize)> = Vec::new();
    for (n, outcome) in &outcomes {
        eprintln!("{}", outcome.told);
        faults.extend(outcome.faults.iter().map(|fault| format!("{}: {fault}", cases[*n].name)));
        let cut = cases[*n].name.strip_prefix("cut at ").and_then(|rest| rest.split(' ').next());
        if let Some(length) = cut {
            cuts.push((length.parse().unwrap(), outcome.lost[LIVES - 1]));
            if outcome.first_lost < outcome.last_kept - 1500 {
                faults.push(format!("{}: more than the end is lost", cases[*n].name));
            }
        }
    }
    cuts.sort_unstable();
    if !cuts.is_sorted_by(|shorter, longer| shorter.1 >= longer.1) {
        faults.push(format!("a longer segment holds less: (length, lost) {cuts:?}"));
    }
    let by_a_byte = cuts.last().map_or(0, |(_, lost)| *lost);
    if by_a_byte > sizes[LIVES - 1] / 2 {
        faults.push(format!("{by_a_byte} are lost with the last byte"));
    }
    eprintln!("{} cases; the segments hold {sizes:?} samples", outcomes.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
