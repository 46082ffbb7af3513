//! The newest samples of a log, in memory: exporters that keep up read them here and never from the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use super::segment::Captured;
use crate::signal::batch::{ALLOWANCE, Sample};

/// Samples that were appended at once.
#[derive(Clone, Debug)]
pub struct Lot {
    /// The number of the first one.
    pub first: u64,
    /// When they were captured.
    pub captured: Captured,
    /// The samples.
    pub samples: Vec<Sample>,
    /// Bytes of memory that they take, about.
    bytes: usize,
}

impl Lot {
    /// Samples that are appended at once.
    #[must_use]
    pub fn new(first: u64, captured: Captured, samples: Vec<Sample>) -> Self {
        let bytes = samples.iter().map(Sample::bytes).sum();
        Self { first, captured, samples, bytes }
    }

    /// The number after the last one.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.samples.len() as u64
    }
}

/// The newest samples.
#[derive(Default)]
pub struct Tail {
    lots: VecDeque<Arc<Lot>>,
    samples: usize,
    bytes: usize,
}

impl Tail {
    /// Appends samples.
    pub fn push(&mut self, lot: Lot) {
        self.samples += lot.samples.len();
        self.bytes += lot.bytes;
        self.lots.push_back(Arc::new(lot));
    }

    /// The oldest.
    #[must_use]
    pub fn front(&self) -> Option<&Arc<Lot>> {
        self.lots.front()
    }

    /// Removes the oldest.
    pub fn pop(&mut self) -> Option<Arc<Lot>> {
        let lot = self.lots.pop_front()?;
        self.samples -= lot.samples.len();
        self.bytes -= lot.bytes;
        Some(lot)
    }

    /// Samples that it holds.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Bytes of memory that they take, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it holds more than so many samples, or the bytes that are reckoned for them.
    #[must_use]
    pub fn exceeds(&self, samples: usize) -> bool {
        self.samples > samples || self.bytes > samples.saturating_mul(ALLOWANCE)
    }

    /// The lots from that on which has a number or comes after it.
    pub fn from(&self, number: u64) -> impl Iterator<Item = &Arc<Lot>> {
        let at = self.lots.partition_point(|lot| lot.end() <= number);
        self.lots.range(at..)
    }
}
