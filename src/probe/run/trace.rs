//! A span of each attempt.

use crate::pipeline::selftrace::{self, Work};
use crate::signal::outcome::{Kind, Outcome, Verdict};
use crate::signal::payload::TargetRef;

/// A span of one attempt.
pub(super) fn trace(target: &TargetRef, kind: Kind, outcome: &Outcome) {
    selftrace::record("probe", Work::Client, outcome.started, outcome.duration, |attributes| {
        attributes.push(("watchpost.receiver", target.job.clone()));
        attributes.push(("watchpost.target", target.instance.clone()));
        attributes.push(("watchpost.module", target.module.clone()));
        attributes.push(("watchpost.kind", kind.word().to_owned()));
        let phases = outcome.phases.iter().map(|(phase, took)| format!("{phase} {took:?}"));
        attributes.push(("watchpost.phases", phases.collect::<Vec<_>>().join(", ")));
        match outcome.verdict {
            Verdict::Up => None,
            Verdict::Down { reason, phase } => {
                attributes.push(("error.type", reason.word().to_owned()));
                attributes.push(("watchpost.phase", phase.word().to_owned()));
                Some(outcome.detail.clone().into_owned())
            }
        }
    });
}
