//! Limits of labels, rules and compose files. They are foreign: whoever starts a container or writes a
//! compose file has written them, and the job decides what they may reach.

use std::collections::BTreeSet;

use crate::hosts::Hosts;
use crate::interpolate::Variables;

/// Targets of a job, unless it says otherwise.
pub const MAX_TARGETS: usize = 5_000;

/// Limits of the labels, rules and compose files of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Modules that labels may name.
    pub modules: BTreeSet<String>,
    /// Hosts that their addresses may have.
    pub hosts: Hosts,
    /// Variables of the process that they may read.
    pub environment: BTreeSet<String>,
    /// The most targets of the job.
    pub max_targets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            modules: BTreeSet::new(),
            hosts: Hosts::default(),
            environment: BTreeSet::new(),
            max_targets: MAX_TARGETS,
        }
    }
}

impl Limits {
    /// The variables of a process that compose files may read.
    #[must_use]
    pub fn of_process(&self, environment: &Variables) -> Variables {
        let named = |name: &String| Some((name.clone(), environment.get(name)?.clone()));
        self.environment.iter().filter_map(named).collect()
    }
}
