//! What is probed and how, with nothing left to decide: hints resolved, addresses read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use watchpost_targets::{Labels, Origin};

use crate::probe::address::Address;
use crate::probe::module::Module;

/// The identity of a target within its receiver: the address as written and the module's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey {
    /// The address as written.
    pub address: String,
    /// The module's name.
    pub module: String,
}

/// A target and how it is probed.
#[derive(Clone, Debug)]
pub struct PlannedTarget {
    /// The identity.
    pub key: TargetKey,
    /// The address as it was read.
    pub address: Address,
    /// The module.
    pub module: Arc<Module>,
    /// How often.
    pub interval: Duration,
    /// How long an attempt may take: at most the interval.
    pub timeout: Duration,
    /// Labels for people, attributes of every point.
    pub labels: Labels,
    /// Its name for people, which may change while the target stays the same.
    pub name: Option<String>,
    /// What it is one of: the label `group`, else the subnet whose address it is.
    pub group: Option<String>,
    /// Whether somebody says that it is there; an address of a subnet may never have been.
    pub expected: bool,
    /// Where the target was written.
    pub origin: Origin,
}

impl PlannedTarget {
    /// Whether two plans of one target would publish the same series at the same times.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.labels == other.labels
            && self.name == other.name
            && self.expected == other.expected
            && self.interval == other.interval
            && self.timeout == other.timeout
            && Arc::ptr_eq(&self.module, &other.module)
    }
}

/// A receiver and its targets.
#[derive(Clone, Debug)]
pub struct ReceiverPlan {
    /// The receiver's whole name, such as `probe/services`.
    pub name: String,
    /// The job: the name after the slash.
    pub job: String,
    /// Where this instance stands, an attribute of every point; empty: nowhere in particular.
    pub vantage: String,
    /// Names of metrics that are switched off.
    pub disabled: BTreeSet<String>,
    /// The targets.
    pub targets: BTreeMap<TargetKey, PlannedTarget>,
}
