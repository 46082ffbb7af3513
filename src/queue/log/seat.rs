//! An exporter's seat at a log: where it stands, what it holds, and when it wants to be woken.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;

use super::backlog::Stretch;
use super::position::{OPEN, Position};
use crate::base::clock::Timestamp;
use crate::queue::books::{Batching, Books};
use crate::queue::cursor::Taken;
use crate::signal::batch::Sample;

/// What an exporter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Nothing.
    Nothing,
    /// So many samples of the log.
    Numbers(u64),
    /// So many samples beside the log.
    Extra(u64),
}

/// An exporter's seat.
pub struct Seat {
    /// Its name.
    pub name: String,
    /// Where it stands; `None`: it has not begun.
    pub position: Option<Position>,
    /// What it holds.
    pub holding: Holding,
    /// What it took and gave back: that comes first, as it was.
    pub returned: Option<Taken>,
    /// Samples for it alone, and the files that keep them.
    pub extra: VecDeque<(Vec<Sample>, Option<PathBuf>)>,
    /// The file out of which came what it holds.
    pub held: Option<PathBuf>,
    /// How it takes.
    pub batching: Batching,
    /// Samples that may wait for it; `None`: as many as the log can keep.
    pub capacity: Option<usize>,
    /// The time of the oldest sample that it holds.
    pub oldest: Option<Timestamp>,
    /// Wakes it.
    pub filled: Arc<Notify>,
    /// Its books.
    pub books: Books,
    /// How often its position has changed, and at which change it was saved.
    pub version: u64,
    /// See `version`.
    pub saved: u64,
    /// What it needs by the position that was saved.
    pub saved_needs: u64,
}

impl Seat {
    /// A seat on which nobody has begun.
    #[must_use]
    pub fn new(books: Books, batching: Batching, capacity: Option<usize>) -> Self {
        Self {
            name: books.exporter().to_owned(),
            position: None,
            holding: Holding::Nothing,
            returned: None,
            extra: VecDeque::new(),
            held: None,
            batching,
            capacity,
            oldest: None,
            filled: Arc::default(),
            books,
            version: 0,
            saved: 0,
            saved_needs: 0,
        }
    }

    /// Samples beside the log that wait or that it holds.
    fn aside(&self) -> u64 {
        let held = match self.holding {
            Holding::Extra(samples) => samples,
            Holding::Nothing | Holding::Numbers(_) => 0,
        };
        let returned = self.returned.as_ref().filter(|taken| taken.first.is_none());
        let returned = returned.map_or(0, |taken| taken.samples.len() as u64);
        held + returned + self.extra.iter().map(|(batch, _)| batch.len() as u64).sum::<u64>()
    }

    /// Samples without an outcome, in a log that ends there.
    #[must_use]
    pub fn queued(&self, log: u64) -> u64 {
        self.position.as_ref().map_or(0, |position| position.queued(log)) + self.aside()
    }

    /// Samples that were for it.
    #[must_use]
    pub fn accepted(&self, log: u64) -> u64 {
        self.position.as_ref().map_or(0, |position| position.accepted(log)) + self.aside()
    }

    /// Samples that it could take now.
    #[must_use]
    pub fn waiting(&self, log: u64) -> u64 {
        let position = self.position.as_ref();
        position.map_or(0, |p| p.end(log).saturating_sub(p.next))
    }

    /// Whether enough waits for a batch.
    #[must_use]
    pub fn has_enough(&self, log: u64) -> bool {
        self.waiting(log) >= self.batching.min_size as u64 || !self.is_open()
    }

    /// Takes samples of the log; they are there to be claimed. `again`: they had been taken before.
    pub fn take(&mut self, stretch: Stretch, again: bool) {
        let position = self.position.as_mut().expect("it has begun");
        if !again {
            position.take(stretch.end());
            self.version += 1;
        }
        self.oldest = stretch.samples.first().map(|sample| sample.time);
        let Stretch { first, samples, runs } = stretch;
        self.returned = Some(Taken { samples, runs, first: Some(first), again, file: None });
    }

    /// Claims what was taken.
    pub fn claim(&mut self) -> Option<Taken> {
        let taken = self.returned.take()?;
        self.held.clone_from(&taken.file);
        self.holding = match taken.first {
            Some(_) => Holding::Numbers(taken.samples.len() as u64),
            None => Holding::Extra(taken.samples.len() as u64),
        };
        Some(taken)
    }

    /// Whether more will come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.position.as_ref().is_none_or(|position| position.until == OPEN)
    }

    /// Drops what was taken before and has to be read once more, up to a number.
    pub fn lose_taken(&mut self, to: u64, reason: &str) -> u64 {
        let Some(position) = &mut self.position else { return 0 };
        let at_hand = self.holding != Holding::Nothing || self.returned.is_some();
        let lost = to.min(position.in_flight).saturating_sub(position.settled);
        if at_hand || lost == 0 {
            return 0;
        }
        position.settle(0, 0, lost);
        self.version += 1;
        self.books.drop(lost, reason);
        lost
    }

    /// Drops what waits up to a number.
    pub fn skip(&mut self, to: u64, reason: &str) -> u64 {
        let Some(position) = &mut self.position else { return 0 };
        let lost = position.skip(to.min(position.until));
        if lost > 0 {
            self.version += 1;
            self.books.drop(lost, reason);
        }
        lost
    }

    /// Drops what is more than may wait.
    pub fn fit(&mut self, log: u64) {
        let Some(position) = &self.position else { return };
        let Some(capacity) = self.capacity else { return };
        let over = position.queued(log).saturating_sub(capacity as u64);
        if over > 0 {
            self.skip(position.next + over.min(self.waiting(log)), "queue_full");
        }
    }
}
