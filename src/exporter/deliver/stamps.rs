//! The times of samples when they are sent: what was captured while the wall clock was wrong is stamped anew, as far
//! as the boot clock knows better; nothing is sent from the future, and no series goes backwards.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use crate::base::clock::{BootTime, Moment, PLAUSIBLE, Timestamp};
use crate::queue::cursor::Taken;
use crate::queue::log::backlog::Run;
use crate::queue::log::segment::Captured;
use crate::signal::batch::Sample;
use crate::signal::series::{Series, SeriesHasher, SeriesTable};

/// Nothing is sent whose time is further ahead.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// A clock that is set by less was not wrong.
const STEP: i64 = 100_000_000;
/// A series that was not sent for so long may begin anew.
const FORGET: Duration = Duration::from_secs(3600);

/// The clocks at the moment of sending.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// All clocks.
    pub(super) moment: Moment,
    /// Whether the wall clock is kept right.
    pub(super) synchronized: bool,
    /// Which boot of which machine this is.
    pub(super) boot_id: u128,
}

impl Now {
    /// By how much samples of a run have to be moved.
    fn shift(&self, run: &Run) -> i64 {
        let (now, captured) = (self.moment, run.captured);
        if run.boot_id != Some(self.boot_id) {
            return 0;
        }
        let shift = offset(now.wall, now.boot).wrapping_sub(offset(captured.wall, captured.boot));
        let wrong = captured.wall < PLAUSIBLE || (!captured.synchronized && self.synchronized);
        // A clock that was ahead and has been put back has made a future that never was.
        let future = captured.wall > after(now.wall, AHEAD);
        if (wrong || future) && shift.abs() >= STEP { shift } else { 0 }
    }

    /// What the clocks say, for what is put aside.
    pub(super) fn captured(&self) -> Captured {
        let (boot, wall) = (self.moment.boot, self.moment.wall);
        Captured { boot, wall, synchronized: self.synchronized }
    }

    /// Whether the clock cannot be right.
    pub(super) fn is_implausible(&self) -> bool {
        self.moment.wall < PLAUSIBLE
    }
}

/// The wall clock's time of the boot.
fn offset(wall: Timestamp, boot: BootTime) -> i64 {
    wall.0.wrapping_sub(boot.0.as_nanos() as u64) as i64
}

fn after(time: Timestamp, span: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(span.as_nanos() as u64))
}

/// What of a part can be sent.
pub(super) struct Stamped<'a> {
    /// The samples to be sent.
    pub(super) samples: Cow<'a, [Sample]>,
    /// How many are from the future, and stay so.
    pub(super) ahead: usize,
    /// How many are older than what was sent of their series.
    pub(super) behind: usize,
}

/// What was sent last of each series.
#[derive(Default)]
pub(super) struct Stamps {
    /// The place of each series in `last`.
    places: SeriesTable<u64>,
    /// By what a series is, whatever its number: the time sent last, and when that was.
    last: HashMap<u64, (Timestamp, BootTime), BuildHasherDefault<SeriesHasher>>,
    tidied: BootTime,
}

impl Stamps {
    /// The samples of a part with their right times. `strict`: no series goes backwards.
    pub(super) fn stamp<'a>(
        &mut self,
        taken: &'a Taken,
        part: &std::ops::Range<usize>,
        now: &Now,
        strict: bool,
    ) -> Stamped<'a> {
        let samples = &taken.samples[part.clone()];
        let limit = after(now.moment.wall, AHEAD);
        let shifts = taken.runs.iter().map(|run| (run.until, now.shift(run)));
        let shifts: Vec<(usize, i64)> = shifts.filter(|(until, _)| *until > part.start).collect();
        let moved = shifts.iter().any(|(_, shift)| *shift != 0);
        let (mut ahead, mut behind) = (0, 0);
        let mut kept: Option<Vec<Sample>> = moved.then(Vec::new);
        let mut shifts = shifts.into_iter().peekable();
        // Within a part, too: a clock that was put back between two samples.
        let mut within: HashMap<u64, Timestamp> = HashMap::new();
        let watch = now_differs(&taken.runs);
        for (n, sample) in samples.iter().enumerate() {
            while shifts.peek().is_some_and(|(until, _)| *until <= part.start + n) {
                shifts.next();
            }
            let shift = shifts.peek().map_or(0, |(_, shift)| *shift);
            let time = Timestamp(sample.time.0.saturating_add_signed(shift));
            let place = self.place(&sample.series);
            let before = self.last.get(&place).map(|(time, _)| *time);
            let before = before.max(within.get(&place).copied());
            let late = strict && before.is_some_and(|before| time < before);
            let early = time > limit;
            (ahead, behind) = (ahead + usize::from(early), behind + usize::from(late && !early));
            if late || early {
                kept.get_or_insert_with(|| samples[..n].to_vec());
                continue;
            }
            if watch {
                within.insert(place, time);
            }
            if let Some(kept) = &mut kept {
                let start = sample.start.map(|start| match shift {
                    0 => start,
                    shift => Timestamp(start.0.saturating_add_signed(shift)),
                });
                kept.push(Sample { time, start, ..sample.clone() });
            }
        }
        let samples = kept.map_or(Cow::Borrowed(samples), Cow::Owned);
        Stamped { samples, ahead, behind }
    }

    /// A series, whatever number it has.
    pub(super) fn place(&mut self, series: &Series) -> u64 {
        *self.places.entry(series.id).or_insert_with(|| {
            let mut hasher = DefaultHasher::new();
            series.metric.name.hash(&mut hasher);
            series.resource.attributes.hash(&mut hasher);
            series.shared.hash(&mut hasher);
            series.own.hash(&mut hasher);
            hasher.finish()
        })
    }

    /// These samples have been sent.
    pub(super) fn sent(&mut self, samples: &[Sample], now: BootTime) {
        for sample in samples {
            let place = self.place(&sample.series);
            let last = self.last.entry(place).or_insert((sample.time, now));
            *last = (last.0.max(sample.time), now);
        }
        if now.since(self.tidied) >= FORGET {
            self.tidied = now;
            self.last.retain(|_, (_, at)| now.since(*at) < FORGET);
            self.places = SeriesTable::default();
        }
    }
}

/// Whether a clock was set between samples of one batch.
fn now_differs(runs: &[Run]) -> bool {
    let offsets = runs.iter().map(|run| offset(run.captured.wall, run.captured.boot));
    let mut pairs = offsets.clone().zip(offsets.skip(1));
    pairs.any(|(one, other)| one.wrapping_sub(other).abs() >= STEP)
        || runs.windows(2).any(|pair| pair[0].boot_id != pair[1].boot_id)
}

#[cfg(test)]
mod tests;
