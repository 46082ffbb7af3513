//! What a source hands to the pipeline.

use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::signal::batch::Batch;
use crate::signal::outcome::{Kind, SlotResult};

/// What travels through a pipeline. Traces and logs join as bytes when their receivers come.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Samples for the exporters.
    Metrics(Batch),
    /// Outcomes for whoever watches what is now: they leave on a tap before any processor.
    Events(Vec<Event>),
}

/// Something that happened to a target.
#[derive(Clone, Debug)]
pub struct Event {
    /// The identity of the target within the process: receiver, address, module.
    pub target: Arc<TargetRef>,
    /// The slot's due time on the wall clock.
    pub due: Timestamp,
    /// What happened.
    pub what: What,
}

/// What happened to a target.
#[derive(Clone, Debug)]
pub enum What {
    /// It is watched from now on.
    Appeared,
    /// A slot ended.
    Slot {
        /// The kind of the slot.
        kind: Kind,
        /// How it ended.
        result: Arc<SlotResult>,
    },
    /// It is no longer watched.
    Disappeared,
}

/// A target as events name it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetRef {
    /// The receiver's name: the job.
    pub job: String,
    /// The address as written, without userinfo: the instance.
    pub instance: String,
    /// The module's name.
    pub module: String,
    /// The name for people, when it has one.
    pub name: Option<String>,
    /// Whether somebody says that it is there: an address of a subnet that never answers is not down.
    pub expected: bool,
}
