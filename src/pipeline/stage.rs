//! What a pipeline is made of: processors, which judge series and samples, and sinks, which take what
//! is left. Both are called by the pipeline's own thread.

use std::sync::Arc;

use crate::base::clock::Moment;
use crate::signal::batch::{Batch, Sample};
use crate::signal::series::Series;

/// What a processor makes of a series. It is asked once for each series, not for each sample.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// It passes as it is.
    Keep,
    /// It passes as another series: the same metric with other attributes or another resource.
    Replace(Arc<Series>),
    /// None of its samples passes.
    Drop,
    /// It depends on the sample: [`Processor::keeps`] is asked for each.
    Ask,
}

/// A payload that a processor refuses as a whole (`error_mode: propagate`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A step of a pipeline. Synchronous; it never waits and reads no clock.
pub trait Processor: Send {
    /// What becomes of a series.
    ///
    /// # Errors
    /// When the payload in which it came is to be refused.
    fn judge(&mut self, series: &Arc<Series>) -> Result<Judgement, Refused>;

    /// Whether a sample passes, where [`Judgement::Ask`] was the answer.
    ///
    /// # Errors
    /// When the payload in which it came is to be refused.
    fn keeps(&mut self, _: &Sample) -> Result<bool, Refused> {
        Ok(true)
    }

    /// Whether it has to see payloads as a whole, too: [`Processor::whole`].
    fn wants_whole(&self) -> bool {
        false
    }

    /// Looks at a whole payload and removes what does not pass.
    ///
    /// # Errors
    /// When the payload is to be refused.
    fn whole(&mut self, _: &mut Batch) -> Result<(), Refused> {
        Ok(())
    }

    /// Time has passed. `true` when judgements may be others now: all series are judged again.
    fn tick(&mut self, _: Moment) -> bool {
        false
    }
}

/// Where a pipeline ends: the queue of an exporter, or a table of latest values.
pub trait Sink: Send + Sync {
    /// Takes payloads over. Never waits.
    fn append(&self, batches: &[Batch], now: Moment);

    /// From now on it is one of those that get what comes.
    fn open(&self) {}

    /// No more comes.
    fn close(&self);
}
