use proptest::prelude::*;

use super::*;
use crate::base::hash::stable_64;

fn at(millis: u64) -> BootTime {
    BootTime(Duration::from_millis(millis))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn slots_stay_on_their_grid_whatever_happens_before() {
    let hash = stable_64(b"a target");
    let one = next_due(hash, seconds(15), at(1_000));
    let later = next_due(hash, seconds(15), at(1_000_000_000));
    assert_eq!((later.0 - one.0).as_nanos() % seconds(15).as_nanos(), 0);
    assert_eq!(next_due(hash, seconds(15), one), one, "a slot at this very moment counts");
    assert!(phase(u64::MAX, seconds(15)) < seconds(15));
}

#[test]
fn a_stall_is_counted_and_not_caught_up() {
    let mut schedule = Schedule::new();
    for n in 0..100 {
        schedule.insert(Key(n), stable_64(&n.to_be_bytes()), seconds(5), at(0), None);
    }
    assert!(schedule.due(at(4_999), false).len() >= 99);
    let slots = schedule.due(at(65_000), true);
    let run = slots.iter().filter(|slot| slot.decision.is_ok()).count();
    assert!(slots.len() >= 1_190, "{}", slots.len());
    assert!(run <= 40, "{run} at once after a stall");
    assert!(
        slots.iter().all(|slot| slot.decision.is_ok() || slot.decision == Err(Skip::Suspended))
    );
}

#[test]
fn slow_asking_is_overload_and_not_suspension() {
    let mut schedule = Schedule::new();
    schedule.insert(Key(1), 0, seconds(1), at(0), None);
    let mut decisions = Vec::new();
    for now in [0, 1_900, 3_800] {
        decisions.extend(schedule.due(at(now), false).into_iter().map(|slot| slot.decision));
    }
    assert_eq!(decisions, [Ok(()), Err(Skip::Overload), Err(Skip::Overload), Err(Skip::Overload)]);
}

#[test]
fn a_first_slot_comes_only_before_a_scheduled_one() {
    let mut schedule = Schedule::new();
    let hash = u64::MAX / 2; // half an interval
    schedule.insert(Key(1), hash, seconds(10), at(0), Some(at(1_000)));
    schedule.insert(Key(2), hash, seconds(10), at(0), Some(at(6_000)));
    let mut kinds = Vec::new();
    for now in (0..=10_000).step_by(500) {
        kinds.extend(schedule.due(at(now), false).into_iter().map(|slot| (slot.key.0, slot.kind)));
    }
    assert_eq!(kinds, [(1, Kind::First), (1, Kind::Scheduled), (2, Kind::Scheduled)]);
}

#[test]
fn removed_targets_are_silent_and_come_back_on_their_grid() {
    let mut schedule = Schedule::new();
    schedule.insert(Key(1), 0, seconds(1), at(0), None);
    schedule.remove(Key(1));
    assert!(schedule.due(at(1_500), false).is_empty());
    assert!(schedule.is_empty());
    schedule.insert(Key(1), 0, seconds(1), at(1_500), None);
    let slots = schedule.due(at(2_000), false);
    assert_eq!(slots.iter().map(|slot| slot.due).collect::<Vec<_>>(), [at(2_000)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every slot of the grid comes up exactly once, run or skipped, however the shell asks.
    #[test]
    fn the_books_balance(
        hashes in prop::collection::vec(any::<u64>(), 1..20),
        interval in 1_u64..120,
        steps in prop::collection::vec(1_u64..40_000, 1..60),
    ) {
        let interval = seconds(interval);
        let start = at(777_123);
        let mut schedule = Schedule::new();
        for (n, hash) in hashes.iter().enumerate() {
            schedule.insert(Key(n as u32), *hash, interval, start, None);
        }
        let mut now = start;
        let mut seen = std::collections::BTreeMap::<Key, Vec<BootTime>>::new();
        for step in steps {
            now = now + Duration::from_millis(step);
            for slot in schedule.due(now, false) {
                prop_assert!(slot.due <= now);
                let late = now.since(slot.due);
                prop_assert!(slot.decision.is_err() || late <= tolerance(interval), "{late:?} late and run");
                seen.entry(slot.key).or_default().push(slot.due);
            }
            prop_assert!(schedule.next().is_some_and(|next| next > now));
        }
        for (n, hash) in hashes.iter().enumerate() {
            let first = next_due(*hash, interval, start);
            let expected: Vec<BootTime> = (0..)
                .map(|k| first + interval * k)
                .take_while(|due| *due <= now)
                .collect();
            prop_assert_eq!(seen.remove(&Key(n as u32)).unwrap_or_default(), expected);
        }
    }

    /// Phases are spread: no tenth of the interval holds more than a fair share of many targets.
    #[test]
    fn phases_are_spread(receiver in "[a-z]{1,8}") {
        let mut bins = [0_u32; 10];
        for n in 0..1_000 {
            let hash = stable_64(format!("{receiver}\u{0}10.0.{}.{}", n / 250, n % 250).as_bytes());
            let share = phase(hash, seconds(15)).as_millis() / 1_500;
            bins[share as usize] += 1;
        }
        // Six standard deviations: chance does not go so far.
        prop_assert!(bins.iter().all(|n| (43..=157).contains(n)), "{:?}", bins);
    }
}
