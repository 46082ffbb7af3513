//! One batch on its way: what is still to be sent, what became of the rest, and whether something in it is to blame.

use std::ops::Range;
use std::time::Duration;

use super::ledger::Ledger;
use crate::base::clock::{self, BootTime};
use crate::queue::cursor::Taken;

/// How often a batch is refused before it is looked into.
const MAX_REFUSED: u32 = 10;
/// Requests that finding the refused samples of one batch may cost; what is left then is refused as
/// a whole.
const MAX_BISECT: u32 = 64;
/// Requests that one trial may cost.
const MAX_TRIAL: u32 = 256;

/// Whether the backend takes anything at all.
#[derive(Default)]
pub(super) struct Trial {
    /// It took something.
    pub(super) accepted: bool,
    /// What it has refused.
    pub(super) suspects: Vec<Range<usize>>,
    asked: u32,
}

/// One batch on its way.
pub(super) struct Round {
    pub(super) taken: Taken,
    /// Parts that are to be sent, the next one last.
    pub(super) work: Vec<Range<usize>>,
    pub(super) ledger: Ledger,
    pub(super) began: BootTime,
    /// Failures since the last success.
    pub(super) failures: u32,
    /// Refusals of the batch, and since when.
    refusals: u32,
    since: BootTime,
    asked: u32,
    pub(super) trial: Option<Trial>,
    /// Later samples have been tried, too: once is enough.
    pub(super) extended: bool,
    /// The backend takes other samples, and refuses these.
    pub(super) guilty: bool,
    /// It stays in the queue for the next start.
    pub(super) stays: bool,
}

impl Round {
    pub(super) fn new(taken: Taken) -> Self {
        let began = clock::now().boot;
        let whole = 0..taken.samples.len();
        Self {
            taken,
            work: Vec::from([whole]),
            ledger: Ledger::default(),
            began,
            failures: 0,
            refusals: 0,
            since: began,
            asked: 0,
            trial: None,
            extended: false,
            guilty: false,
            stays: false,
        }
    }

    pub(super) fn next(&mut self) -> Option<Range<usize>> {
        self.work.pop()
    }

    /// Something was accepted.
    pub(super) fn accepted(&mut self) {
        (self.failures, self.refusals) = (0, 0);
        if let Some(trial) = &mut self.trial {
            trial.accepted = true;
        }
    }

    /// Whether one more request may be spent on finding what is refused.
    pub(super) fn may_ask(&mut self) -> bool {
        self.asked += 1;
        self.asked <= MAX_BISECT
    }

    pub(super) fn halve(&mut self, part: &Range<usize>) {
        let half = part.start + part.len() / 2;
        self.work.push(half..part.end);
        self.work.push(part.start..half);
    }

    /// It was refused once more; `true`: often enough, and for long enough.
    pub(super) fn refused(&mut self, now: BootTime, long: Duration) -> bool {
        if self.refusals == 0 {
            self.since = now;
        }
        self.refusals += 1;
        self.failures += 1;
        let persists = self.refusals >= MAX_REFUSED && now.since(self.since) >= long;
        if persists {
            self.refusals = 0;
        }
        persists
    }

    /// Looks for what is to blame. From here on a part is of few series, not of a short time: so no series goes
    /// backwards when the innocent ones of it are sent after others.
    pub(super) fn begin_trial(&mut self, part: Range<usize>) {
        self.trial = Some(Trial::default());
        self.asked = 0;
        self.work.push(part);
        self.sort();
    }

    /// Sorts what is left by series.
    pub(super) fn sort(&mut self) {
        let told = self.ledger.told();
        let mut parts = self.work.clone();
        parts.sort_by_key(|part| part.start);
        let whole = parts.windows(2).all(|pair| pair[0].end == pair[1].start)
            && parts.first().is_some_and(|part| part.start == told)
            && parts.last().is_some_and(|part| part.end == self.taken.samples.len());
        // Where a later part has its outcome already, the others stay as they are.
        if whole {
            self.ledger.hold();
            self.taken.sort_by_series(told);
            let rest: Range<usize> = told..self.taken.samples.len();
            self.work.clear();
            self.work.push(rest);
        }
    }

    /// A part is refused while it is found out whether that is the backend's fault.
    pub(super) fn suspect(&mut self, part: Range<usize>) {
        let Some(trial) = &mut self.trial else { return };
        trial.asked += 1;
        if part.len() > 1 && trial.asked <= MAX_TRIAL {
            self.halve(&part);
        } else {
            trial.suspects.push(part);
        }
    }

    /// The trial is over: what was refused is to be sent once more.
    pub(super) fn judge(&mut self, trial: Trial) {
        self.guilty = trial.accepted;
        self.work.extend(trial.suspects);
        self.work.sort_by_key(|part| part.start);
        if !self.guilty {
            // In as few requests as before.
            self.work =
                self.work.drain(..).fold(Vec::new(), |mut parts: Vec<Range<usize>>, part| {
                    match parts.last_mut().filter(|last| last.end == part.start) {
                        Some(last) => last.end = part.end,
                        None => parts.push(part),
                    }
                    parts
                });
        }
        self.work.reverse();
    }

    /// The backend cannot be asked any more: everything is to be sent as before.
    pub(super) fn end_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.judge(Trial { accepted: false, ..trial });
        }
    }
}
