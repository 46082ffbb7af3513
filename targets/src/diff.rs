//! What changed between two sorted sets, by identity.

use std::collections::BTreeMap;

/// The result of [`diff`]: keys in sorted order.
#[derive(Debug, PartialEq, Eq)]
pub struct Diff<K> {
    /// In the new set alone.
    pub added: Vec<K>,
    /// In the old set alone.
    pub removed: Vec<K>,
    /// In both, with another value.
    pub changed: Vec<K>,
}

impl<K> Diff<K> {
    /// Whether nothing changed at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Compares two maps by key; `same` says whether two values of one key count as unchanged.
pub fn diff<K: Ord + Clone, A, B>(
    old: &BTreeMap<K, A>,
    new: &BTreeMap<K, B>,
    same: impl Fn(&A, &B) -> bool,
) -> Diff<K> {
    let mut out = Diff { added: Vec::new(), removed: Vec::new(), changed: Vec::new() };
    for (key, value) in new {
        match old.get(key) {
            None => out.added.push(key.clone()),
            Some(before) if !same(before, value) => out.changed.push(key.clone()),
            Some(_) => {}
        }
    }
    out.removed.extend(old.keys().filter(|key| !new.contains_key(*key)).cloned());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_lands_in_one_place() {
        let old = BTreeMap::from([("a", 1), ("b", 2), ("c", 3)]);
        let new = BTreeMap::from([("b", 2), ("c", 4), ("d", 5)]);
        let found = diff(&old, &new, |a, b| a == b);
        assert_eq!(found, Diff { added: vec!["d"], removed: vec!["a"], changed: vec!["c"] });
        assert!(diff(&old, &old, |a, b| a == b).is_empty());
    }
}
