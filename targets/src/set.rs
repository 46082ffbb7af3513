//! A sorted set of targets: one per identity, duplicates named with both places.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::target::{Problem, Target, TargetId, without_userinfo};

/// Targets of one receiver, sorted by address and module hint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetSet {
    targets: BTreeMap<TargetId, Target>,
}

impl TargetSet {
    /// Puts a target in. The first of two with the same identity stays.
    ///
    /// # Errors
    /// A duplicate is not put in; the problem names both places.
    pub fn insert(&mut self, target: Target) -> Result<(), Problem> {
        match self.targets.entry(target.id()) {
            Entry::Vacant(entry) => {
                entry.insert(target);
                Ok(())
            }
            Entry::Occupied(entry) => Err(Problem {
                origin: target.origin,
                message: format!(
                    "{} is a target already, at {}; this one is left out",
                    without_userinfo(&target.address),
                    entry.get().origin
                ),
            }),
        }
    }

    /// The targets in order.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }

    /// The targets by identity.
    #[must_use]
    pub fn as_map(&self) -> &BTreeMap<TargetId, Target> {
        &self.targets
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Labels;
    use crate::target::{Origin, parse_line};

    #[test]
    fn sorted_and_duplicates_named() {
        let mut set = TargetSet::default();
        let line = |text: &str, line| {
            parse_line(text, &Labels::new(), Origin { file: "f".into(), line }).expect("valid")
        };
        assert!(set.insert(line("b;one", 1)).is_ok());
        assert!(set.insert(line("a;two", 2)).is_ok());
        assert!(set.insert(line("b;;;;icmp", 3)).is_ok(), "another module is another target");
        let problem = set.insert(line("b;three", 4)).expect_err("a duplicate");
        assert_eq!(problem.to_string(), "f:4: b is a target already, at f:1; this one is left out");
        let order: Vec<&str> = set.iter().map(|t| t.address.as_str()).collect();
        assert_eq!(order, ["a", "b", "b"]);
    }
}
