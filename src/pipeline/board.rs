//! What is now: the latest result of every target, and a short past of each. Fed by the tap before
//! any processor, read by whoever shows it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::signal::outcome::SlotResult;
use crate::signal::payload::{Event, TargetRef, What};

/// Slots that are kept of each target.
pub const RECENT: usize = 30;

/// One slot as a short past keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recent {
    /// Up, and how long the attempt took.
    Up(Duration),
    /// Down.
    Down,
    /// Not watched.
    Skipped,
}

/// A target and what is known of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The target.
    pub target: Arc<TargetRef>,
    /// The due time and the result of the last slot that ended.
    pub last: Option<(Timestamp, Arc<SlotResult>)>,
    /// Since when the last verdict has been the same.
    pub since: Option<Timestamp>,
    /// The recent slots, oldest first.
    pub recent: VecDeque<Recent>,
    /// Whether it has ever been up.
    pub answered: bool,
}

/// All rows.
#[derive(Default)]
pub struct Board {
    rows: Mutex<BTreeMap<Arc<TargetRef>, Row>>,
}

impl Board {
    /// Takes events in.
    pub fn apply(&self, events: &[Event]) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            match &event.what {
                What::Disappeared => {
                    rows.remove(&event.target);
                }
                What::Appeared => {
                    rows.entry(Arc::clone(&event.target))
                        .or_insert_with(|| Row::new(&event.target));
                }
                What::Slot { result, .. } => {
                    let row = rows
                        .entry(Arc::clone(&event.target))
                        .or_insert_with(|| Row::new(&event.target));
                    row.apply(event.due, result);
                }
            }
        }
    }

    /// A copy of all rows, sorted by job and instance.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Row {
    fn new(target: &Arc<TargetRef>) -> Self {
        Self {
            target: Arc::clone(target),
            last: None,
            since: None,
            recent: VecDeque::new(),
            answered: false,
        }
    }

    /// Whether it is an address of a subnet that has never answered.
    #[must_use]
    pub fn is_never_seen(&self) -> bool {
        !self.target.expected && !self.answered
    }

    fn apply(&mut self, due: Timestamp, result: &Arc<SlotResult>) {
        let recent = match &**result {
            SlotResult::Outcome(outcome) if outcome.verdict.is_up() => Recent::Up(outcome.duration),
            SlotResult::Outcome(_) => Recent::Down,
            SlotResult::Skipped(..) => Recent::Skipped,
            SlotResult::Cancelled => return,
        };
        let up = |recent: &Recent| matches!(recent, Recent::Up(_));
        self.answered |= up(&recent);
        let same = self.recent.back().is_some_and(|before| up(before) == up(&recent));
        if !same {
            self.since = Some(due);
        }
        self.recent.push_back(recent);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.last = Some((due, Arc::clone(result)));
    }
}
