//! Judges what a probed server and a backend have seen while a daemon was killed again and again. It is told
//! made-up stories, too: one that finds no fault anywhere would say nothing.
//!
//! A slot is due at the same time of each second for a target, after every start, and its samples bear that time. So a
//! connection belongs to the last such moment before it, unless it was that of the extra slot that a target has at the
//! start, before its first one is due.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use crate::support::probed::Asked;
use crate::support::recorder::{Request, Requests, Sample};

/// The distance of slots, in milliseconds.
const INTERVAL: i64 = 1000;
/// What is lost at most before the end of a life, in milliseconds.
pub const WINDOW: i64 = 1000;
/// How far due times stray, in milliseconds: the wall clock is read for each anew.
const JITTER: i64 = 8;
/// Faults that are told.
const TOLD: usize = 25;

/// From a start to the kill, or to the end.
#[derive(Clone, Debug)]
pub struct Life {
    pub spawned: i64,
    pub ended: i64,
    /// The requests that were taken during it, by their numbers.
    pub requests: Range<usize>,
}

/// What is known.
pub struct Evidence {
    pub lives: Vec<Life>,
    pub asked: Vec<Asked>,
    pub requests: Requests,
}

/// What is to be said of it.
#[derive(Debug, Default)]
pub struct Verdict {
    pub faults: Vec<String>,
    pub faults_in_all: usize,
    /// Connections whose sample had to be there.
    pub judged: usize,
    /// Connections within [`WINDOW`] of an end.
    pub young: usize,
    /// How long before the end of a life the oldest sample was that was lost, in milliseconds.
    pub oldest_lost: i64,
    /// Connections of which nobody knows whether a slot had come due.
    pub unclear: usize,
    /// Requests that were sent again.
    pub resent: usize,
    /// Different samples that were taken.
    pub unique: u64,
    /// Slots that found their target down.
    pub down: usize,
    /// From each start to its first connection, in milliseconds.
    pub starts: Vec<i64>,
}

impl Verdict {
    fn fault(&mut self, text: impl FnOnce() -> String) {
        self.faults_in_all += 1;
        if self.faults.len() < TOLD {
            self.faults.push(text());
        }
    }
}

/// Looks at all of it.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    order(evidence, &mut verdict);
    connections(evidence, &mut verdict);
    verdict
}

/// Nothing comes twice but the last request before a kill, as a whole, and nothing goes back in time.
fn order(evidence: &Evidence, verdict: &mut Verdict) {
    let Requests { list, names, .. } = &evidence.requests;
    let life = |request: usize| evidence.lives.partition_point(|l| l.requests.end <= request);
    let mut seen: HashMap<(u32, i64), usize> = HashMap::new();
    let mut last: Vec<i64> = vec![i64::MIN; names.len()];
    for (n, request) in list.iter().enumerate() {
        let mut own: Vec<(u32, i64)> = request.samples.iter().map(|s| (s.series, s.at)).collect();
        own.sort_unstable();
        if let Some(pair) = own.windows(2).find(|pair| pair[0] == pair[1]) {
            verdict.fault(|| {
                format!("request {n} has {} twice at {}", names[pair[0].0 as usize], pair[0].1)
            });
        }
        let known: Vec<usize> = own.iter().filter_map(|key| seen.get(key).copied()).collect();
        if !known.is_empty() {
            let whole = n > 0 && same(&list[n - 1], request) && life(n - 1) < life(n);
            if whole {
                verdict.resent += 1;
                continue;
            }
            verdict.fault(|| {
                let from: BTreeSet<usize> = known.iter().copied().collect();
                let sizes: Vec<(usize, usize, usize)> =
                    from.iter().map(|q| (*q, life(*q), list[*q].samples.len())).collect();
                format!(
                    "request {n} of life {} (the first of it is {}) has {} samples, of which {} were there before, \
                     in requests (number, life, samples) {sizes:?}",
                    life(n),
                    evidence.lives[life(n)].requests.start,
                    request.samples.len(),
                    known.len()
                )
            });
        }
        for Sample { series, at, .. } in &request.samples {
            let last = &mut last[*series as usize];
            if *at < *last && !seen.contains_key(&(*series, *at)) {
                verdict.fault(|| {
                    format!(
                        "request {n} of life {} goes back from {last} to {at}: {}",
                        life(n),
                        names[*series as usize]
                    )
                });
            }
            *last = (*last).max(*at);
        }
        seen.extend(own.into_iter().map(|key| (key, n)));
    }
    verdict.unique = seen.len() as u64;
}

fn same(one: &Request, other: &Request) -> bool {
    let sorted = |request: &Request| {
        let mut samples = request.samples.clone();
        samples.sort_unstable();
        samples
    };
    one.samples.len() == other.samples.len() && sorted(one) == sorted(other)
}

/// When slots of a target were due, and whether it was up.
fn slots(requests: &Requests) -> BTreeMap<u32, BTreeMap<i64, Option<bool>>> {
    let target = |name: &String| {
        let rest = name.strip_prefix("probe_success{")?.split("humanname=\"t").nth(1)?;
        rest.split('"').next()?.parse::<u32>().ok()
    };
    let targets: Vec<Option<u32>> = requests.names.iter().map(target).collect();
    let mut slots: BTreeMap<u32, BTreeMap<i64, Option<bool>>> = BTreeMap::new();
    for sample in requests.list.iter().flat_map(|request| &request.samples) {
        if let Some(target) = targets[sample.series as usize] {
            let up = (!sample.value().is_nan()).then(|| sample.value() == 1.0);
            slots.entry(target).or_default().insert(sample.at, up);
        }
    }
    slots
}

/// Each connection has its sample, and each sample its connection.
fn connections(evidence: &Evidence, verdict: &mut Verdict) {
    let slots = slots(&evidence.requests);
    let mut asked: BTreeMap<u32, BTreeSet<i64>> = BTreeMap::new();
    for Asked { target, at } in &evidence.asked {
        asked.entry(*target).or_default().insert(*at);
    }
    let first = |life: &Life| {
        let all = asked.values().filter_map(|at| at.range(life.spawned..life.ended).next());
        all.min().copied()
    };
    let firsts: Vec<Option<i64>> = evidence.lives.iter().map(first).collect();
    let starts = evidence.lives.iter().zip(&firsts);
    verdict.starts = starts.filter_map(|(life, first)| Some((*first)? - life.spawned)).collect();
    for (target, asked) in &asked {
        let Some(slots) = slots.get(target) else {
            verdict
                .fault(|| format!("nothing came of target {target}, asked {} times", asked.len()));
            continue;
        };
        let base = slots.keys().next().copied().unwrap_or_default();
        let stray: Vec<i64> = slots.keys().map(|at| centred(at - base)).collect();
        let (least, most) = (stray.iter().min().copied(), stray.iter().max().copied());
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        if most - least > JITTER {
            let text = "the slots of a target are due at the same time of each second (was the clock set?)";
            verdict.fault(|| format!("{text}: target {target}, {} ms apart", most - least));
            continue;
        }
        let phase = base + i64::midpoint(least, most);
        let ended = |due| slots.range(due - JITTER..=due + JITTER).any(|(_, up)| up.is_none());
        for (life, first) in evidence.lives.iter().zip(&firsts) {
            let Some(first) = *first else { continue };
            // A slot may have two connections when an extra attempt gives way to it.
            let mut judged = i64::MIN;
            for at in asked.range(life.spawned..life.ended) {
                let due = at + 1 - (at + 1 - phase).rem_euclid(INTERVAL);
                if due < life.spawned || due == judged {
                    continue;
                }
                judged = due;
                let age = life.ended - at;
                if slots.range(due - JITTER..=due + JITTER).next().is_some() {
                    *if age > WINDOW { &mut verdict.judged } else { &mut verdict.young } += 1;
                } else if due <= first || ended(due + INTERVAL) {
                    // The schedule was made between the start and the first connection; and where an attempt that is late
                    // meets the next slot, that one is skipped, its series end, and they do not go back behind that.
                    verdict.unclear += 1;
                } else {
                    verdict.oldest_lost = verdict.oldest_lost.max(age);
                    if age > WINDOW {
                        verdict.judged += 1;
                        verdict.fault(|| {
                            format!(
                                "target {target} was asked at {at}, {age} ms before the end of a life of {} ms, \
                                 and its slot of {due} never came",
                                life.ended - life.spawned
                            )
                        });
                    } else {
                        verdict.young += 1;
                    }
                }
            }
        }
        for (due, up) in slots {
            verdict.down += usize::from(*up == Some(false));
            if *up == Some(true) && asked.range(due - JITTER..due + INTERVAL).next().is_none() {
                verdict.fault(|| {
                    format!("target {target} was up at {due}, and nobody has asked for it")
                });
            }
        }
    }
}

/// How far a time is from the nearest whole interval.
fn centred(span: i64) -> i64 {
    (span + INTERVAL / 2).rem_euclid(INTERVAL) - INTERVAL / 2
}

/// A story of two lives with a kill between them, in which nothing went wrong: targets 0 to 9, slots at
/// `100·target` of each second, a request for each half second.
fn story() -> Evidence {
    let mut requests = Requests::default();
    let mut asked = Vec::new();
    let mut lives = Vec::new();
    for (spawned, ended) in [(10_000, 14_000), (14_020, 20_000)] {
        let begin = requests.list.len();
        for half in (spawned / 500)..(ended / 500) {
            let mut samples = Vec::new();
            for at in (half * 500)..(half * 500 + 500) {
                let target = at / 100 % 10;
                if at % 100 == 0 && at >= spawned {
                    let series =
                        requests.number(&format!("probe_success{{humanname=\"t{target}\"}}"));
                    samples.push(Sample { series, at, bits: 1f64.to_bits() });
                    asked.push(Asked { target: target as u32, at: at + 3 });
                }
            }
            requests.list.push(Request { at: half * 500 + 510, samples });
        }
        lives.push(Life { spawned, ended, requests: begin..requests.list.len() });
    }
    Evidence { lives, asked, requests }
}

/// What is found when something of the story is changed.
fn found(change: impl FnOnce(&mut Evidence)) -> String {
    let mut evidence = story();
    change(&mut evidence);
    judge(&evidence).faults.join("\n")
}

#[test]
fn the_judge_knows_good_from_bad() {
    assert_eq!(found(|_| {}), "");
    // Sent again as a whole behind a kill: good. By half, or in one life, or with more in it: bad.
    let again = |e: &mut Evidence, request: Request| {
        let at = e.lives[0].requests.end;
        e.requests.list.insert(at, request);
        e.lives[1].requests.end += 1;
    };
    let last = |e: &Evidence| e.requests.list[e.lives[0].requests.end - 1].clone();
    assert_eq!(found(|e| again(e, last(e))), "");
    assert_eq!(judge(&story()).resent, 0);
    let text = found(|e| {
        let mut half = last(e);
        half.samples.truncate(2);
        again(e, half);
    });
    assert!(text.contains("has 2 samples, of which 2 were there before"), "{text}");
    let text = found(|e| again(e, e.requests.list[1].clone()));
    assert!(text.contains("were there before, in requests (number, life, samples) [(1, 0, 5)]"));
    let text = found(|e| {
        let request = last(e);
        e.requests.list.insert(e.lives[0].requests.end, request);
        e.lives[0].requests.end += 1;
        e.lives[1].requests = e.lives[1].requests.start + 1..e.lives[1].requests.end + 1;
    });
    assert!(text.contains("were there before"), "{text}");
    let text = found(|e| {
        let more = e.requests.list[e.lives[1].requests.start].samples[0];
        let mut request = last(e);
        request.samples.push(more);
        again(e, request);
    });
    assert!(text.contains("has 6 samples, of which 5 were there before"), "{text}");
    // Something lost in the middle; at the end it is excused.
    let drop_at = |e: &mut Evidence, at: i64| {
        e.requests.list.iter_mut().for_each(|r| r.samples.retain(|s| s.at != at));
    };
    assert!(found(|e| drop_at(e, 12_300)).contains("target 3 was asked at 12303"));
    assert!(found(|e| drop_at(e, 12_900)).contains("its slot of 12900 never came"));
    assert_eq!(found(|e| drop_at(e, 13_300)), "");
    assert!(found(|e| drop_at(e, 18_000)).contains("target 0 was asked at 18003"));
    // Two requests in the wrong order, and a sample that nobody has measured.
    assert!(found(|e| e.requests.list.swap(2, 4)).contains("goes back from"));
    let text = found(|e| e.asked.retain(|a| a.at != 12_303));
    assert!(text.contains("target 3 was up at 12300, and nobody has asked for it"), "{text}");
    // An extra attempt at a start has no sample of its own.
    assert_eq!(found(|e| e.asked.push(Asked { target: 9, at: 14_150 })), "");
}
