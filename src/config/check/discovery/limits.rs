//! Limits of labels, rules and compose files of a job: `modules`, `allow`, `deny`, `environment`, `max_targets`.

use std::collections::BTreeSet;

use watchpost_discovery::hosts::{Hosts, Pattern};
use watchpost_discovery::limits::{Limits, MAX_TARGETS};

use super::{Around, Checker};
use crate::base::place::{At, Place, hint};
use crate::config::raw::RawJob;

/// The most that `max_targets` may say.
const MOST: u64 = 1_000_000;

impl Checker<'_> {
    pub(super) fn limits(&self, raw: &RawJob, around: &Around<'_>) -> Limits {
        let pattern = |at: &At<String>| {
            Pattern::parse(at.as_ref()?).map_err(|why| self.error(&at.place, why)).ok()
        };
        let patterns = |all: &[At<String>]| all.iter().filter_map(pattern).collect();
        Limits {
            modules: self.modules_of_labels(raw, around),
            hosts: Hosts { allow: patterns(&raw.allow), deny: patterns(&raw.deny) },
            environment: raw
                .environment
                .iter()
                .filter_map(|at| self.variable(at, around))
                .collect(),
            max_targets: self.max_targets(raw),
        }
    }

    /// The modules that labels may name: those that are written, else those that give nothing away.
    fn modules_of_labels(&self, raw: &RawJob, around: &Around<'_>) -> BTreeSet<String> {
        let Some(written) = &raw.modules else {
            let harmless = around.modules.iter().filter(|(_, module)| module.gives_nothing_away());
            return harmless.map(|(name, _)| name.clone()).collect();
        };
        let name = |at: &At<String>| {
            let name = at.as_ref()?;
            if !around.known.contains(name) {
                let hint = hint(name, around.known.iter().map(String::as_str));
                self.error(&at.place, format!("there is no module {name:?}{hint}"));
                return None;
            }
            Some(name.clone())
        };
        written.as_ref().into_iter().flatten().filter_map(name).collect()
    }

    /// A variable of the process that compose files may read.
    fn variable(&self, at: &At<String>, around: &Around<'_>) -> Option<String> {
        let name = at.as_ref()?;
        let mut chars = name.chars();
        let sound = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        let wrong = if !sound {
            "must be the name of one variable"
        } else if around.variables.contains(name) {
            "this configuration uses the variable itself: compose files would read it, too; give theirs another name"
        } else {
            return Some(name.clone());
        };
        self.error(&at.place, wrong);
        None
    }

    fn max_targets(&self, raw: &RawJob) -> usize {
        let Some(at) = &raw.max_targets else { return MAX_TARGETS };
        let Some(written) = at.as_ref() else { return MAX_TARGETS };
        let most = usize::try_from(*written).ok().filter(|_| (1..=MOST).contains(written));
        if most.is_none() {
            self.error(&at.place, format!("must be 1 to {MOST}"));
        }
        most.unwrap_or(MAX_TARGETS)
    }

    /// Refuses limits of labels in a job that reads none.
    pub(super) fn no_limits(&self, raw: &RawJob) {
        let places =
            [&raw.allow, &raw.deny, &raw.environment].into_iter().filter_map(|list| list.first());
        let modules = raw.modules.as_ref().map(|at| &at.place);
        let most = raw.max_targets.as_ref().map(|at| &at.place);
        let places: Vec<&Place> = places.map(|at| &at.place).chain(modules).chain(most).collect();
        for place in places {
            self.error(place, "is for `compose:` and `docker:`: a sweep reads no labels");
        }
    }
}

#[cfg(test)]
mod tests;
