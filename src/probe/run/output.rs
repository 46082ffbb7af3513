//! What one turn of the prober's loop has to say.

use std::sync::Arc;
use std::time::Duration;

use crate::signal::batch::{Batch, Sample};
use crate::signal::payload::Event;

/// What one turn of the loop has to say.
#[derive(Default)]
pub(super) struct Output {
    /// One payload for each receiver.
    pub(super) batches: Vec<(Arc<str>, Batch)>,
    pub(super) events: Vec<Event>,
}

impl Output {
    /// Where the samples of a receiver are put, which hold for this long.
    pub(super) fn samples(&mut self, receiver: &Arc<str>, lifetime: Duration) -> &mut Vec<Sample> {
        let at = self.batches.iter().position(|(name, _)| name == receiver).unwrap_or_else(|| {
            self.batches.push((Arc::clone(receiver), Batch::default()));
            self.batches.len() - 1
        });
        let batch = &mut self.batches[at].1;
        batch.lifetime = batch.lifetime.max(Some(lifetime));
        &mut batch.samples
    }
}
