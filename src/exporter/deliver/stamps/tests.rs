use std::sync::Arc;

use super::*;
use crate::base::clock;
use crate::signal::names::PROBE_SUCCESS;
use crate::signal::series::{Attributes, Resource};

const HOUR: u64 = 3_600_000_000_000;
/// Some day in 2026.
const DAY: u64 = 1_790_000_000_000_000_000;

fn now(wall: u64, boot: u64, synchronized: bool) -> Now {
    let moment = Moment {
        boot: BootTime(Duration::from_nanos(boot)),
        monotonic: clock::instant(),
        wall: Timestamp(wall),
    };
    Now { moment, synchronized, boot_id: 7 }
}

fn series(name: &str) -> Arc<Series> {
    let resource = Arc::new(Resource::new("j", name, []));
    Series::new(&PROBE_SUCCESS, Attributes::default(), Attributes::default(), resource)
}

/// Samples at these times, captured when the clocks said so.
fn taken(times: &[u64], captured: Now, boot_id: Option<u128>) -> Taken {
    let series = series("a");
    let samples: Vec<Sample> =
        times.iter().map(|t| Sample::number(&series, Timestamp(*t), 1.0)).collect();
    let runs = vec![Run { until: samples.len(), captured: captured.captured(), boot_id }];
    Taken { samples, runs, ..Taken::default() }
}

fn times(stamps: &mut Stamps, taken: &Taken, now: &Now) -> (Vec<u64>, usize, usize) {
    let stamped = stamps.stamp(taken, &(0..taken.samples.len()), now, true);
    (stamped.samples.iter().map(|s| s.time.0).collect(), stamped.ahead, stamped.behind)
}

#[test]
fn what_was_captured_before_the_clock_was_set_is_stamped_anew() {
    // A Raspberry Pi starts in 1970, and learns the time an hour later.
    let early =
        taken(&[5_000_000_000, 6_000_000_000], now(6_500_000_000, 6_500_000_000, false), Some(7));
    let later = now(DAY + HOUR, HOUR, true);
    let mut stamps = Stamps::default();
    let anew = vec![DAY + 5_000_000_000, DAY + 6_000_000_000];
    assert_eq!(times(&mut stamps, &early, &later), (anew, 0, 0));
    // After another boot nobody knows.
    let other = taken(&[DAY], now(DAY, HOUR, false), Some(8));
    assert_eq!(times(&mut stamps, &other, &later), (vec![DAY], 0, 0));
    // While it is not kept right, it is not known either.
    let unsure = taken(&[DAY], now(DAY, HOUR, false), Some(7));
    assert_eq!(times(&mut stamps, &unsure, &now(DAY + 5 * HOUR, 2 * HOUR, false)).0, [DAY]);
    assert_eq!(
        times(&mut stamps, &unsure, &now(DAY + 5 * HOUR, 2 * HOUR, true)).0,
        [DAY + 4 * HOUR]
    );
    // A clock that was right is believed, whatever happened since (a virtual machine that slept).
    let sure = taken(&[DAY], now(DAY, HOUR, true), Some(7));
    assert_eq!(times(&mut stamps, &sure, &now(DAY + 5 * HOUR, 2 * HOUR, true)).0, [DAY]);
}

#[test]
fn nothing_is_sent_from_the_future() {
    let mut stamps = Stamps::default();
    // The clock was ten hours ahead, and is put back: the boot clock knows better.
    let ahead = taken(&[DAY + 10 * HOUR], now(DAY + 10 * HOUR, HOUR, true), Some(7));
    assert_eq!(times(&mut stamps, &ahead, &now(DAY + HOUR, 2 * HOUR, true)), (vec![DAY], 0, 0));
    // From another boot: it cannot be known, and is not sent.
    let foreign = taken(&[DAY + 10 * HOUR], now(DAY + 10 * HOUR, HOUR, true), Some(8));
    assert_eq!(times(&mut stamps, &foreign, &now(DAY, HOUR, true)), (vec![], 1, 0));
    // A little ahead is no harm.
    let little = taken(&[DAY + 1_000_000_000], now(DAY, HOUR, true), Some(8));
    assert_eq!(times(&mut stamps, &little, &now(DAY, HOUR, true)).0.len(), 1);
    assert!(now(5, 5, false).is_implausible() && !now(DAY, 5, false).is_implausible());
}

#[test]
fn no_series_goes_backwards() {
    let mut stamps = Stamps::default();
    let at = now(DAY + HOUR, HOUR, true);
    let first = taken(&[DAY, DAY + 2], at, Some(7));
    let sent: Vec<Sample> = stamps.stamp(&first, &(0..2), &at, true).samples.into_owned();
    stamps.sent(&sent, at.moment.boot);
    // Another number, as after reading from the disk, is the same series still.
    let next = taken(&[DAY + 1, DAY + 2, DAY + 3], at, Some(7));
    assert_eq!(times(&mut stamps, &next, &at), (vec![DAY + 2, DAY + 3], 0, 1));
    // What was not taken over may be sent again.
    assert_eq!(times(&mut stamps, &next, &at), (vec![DAY + 2, DAY + 3], 0, 1));
    let mut other = taken(&[DAY + 1], at, Some(7));
    other.samples[0].series = series("b");
    assert_eq!(times(&mut stamps, &other, &at), (vec![DAY + 1], 0, 0));
}

#[test]
fn a_clock_that_is_set_within_a_batch_makes_no_step_back() {
    let mut stamps = Stamps::default();
    let (before, after) = (now(DAY + HOUR, HOUR, true), now(DAY + 1, HOUR + 1, true));
    let mut both = taken(&[DAY + HOUR], before, Some(8));
    let later = taken(&[DAY + 1], after, Some(7));
    both.samples.push(later.samples[0].clone());
    both.runs.push(Run { until: 2, ..later.runs[0] });
    let at = now(DAY + HOUR + 2, HOUR + 2, true);
    assert_eq!(times(&mut stamps, &both, &at), (vec![DAY + HOUR], 0, 1));
}
