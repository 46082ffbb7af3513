//! What becomes of the samples of one batch, told to the queue in their order.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::queue::cursor::{Cursor, Outcome};

/// Outcomes of the parts of a batch; those that are known too early wait.
#[derive(Default)]
pub(super) struct Ledger {
    /// What is before has been told.
    told: usize,
    /// Where parts begin, with what became of how many samples.
    known: BTreeMap<usize, (usize, Vec<(usize, Outcome)>)>,
    /// Nothing is told before all is known: the samples are not in the order of their numbers.
    held: bool,
}

impl Ledger {
    /// Notes what became of a part: so many samples of each kind.
    pub(super) fn note(
        &mut self,
        cursor: &Cursor,
        part: &Range<usize>,
        outcomes: impl IntoIterator<Item = (usize, Outcome)>,
    ) {
        self.known.insert(part.start, (part.len(), outcomes.into_iter().collect()));
        if !self.held {
            self.tell(cursor);
        }
    }

    /// Tells nothing from now on, until [`Ledger::tell`].
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Tells what is known.
    pub(super) fn tell(&mut self, cursor: &Cursor) {
        while let Some((length, outcomes)) = self.known.remove(&self.told) {
            self.told += length;
            for (samples, outcome) in outcomes {
                if samples > 0 {
                    cursor.settle(samples, outcome);
                }
            }
        }
    }

    /// Samples from the first one on whose outcome has been told.
    pub(super) fn told(&self) -> usize {
        self.told
    }
}
