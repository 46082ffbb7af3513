//! Labels: sorted names and values, and which names are reserved.

use std::collections::BTreeMap;

/// Labels by name, sorted bytewise, as Prometheus wants them on the wire.
pub type Labels = BTreeMap<String, String>;

/// The hint that names the module of a target (Prometheus' own name for a blackbox parameter).
pub const MODULE_HINT: &str = "__param_module";
/// The hint that sets how often a target is probed (a Go duration, such as `30s`).
pub const INTERVAL_HINT: &str = "__scrape_interval__";
/// The hint that sets how long an attempt at a target may take (a Go duration).
pub const TIMEOUT_HINT: &str = "__scrape_timeout__";

/// The hint that says on which day an address of a network was seen last, such as `2026-11-21`.
pub const LAST_SEEN_HINT: &str = "__meta_last_seen";
/// The label that is a target's name for people.
pub const HUMAN_NAME: &str = "humanname";

/// Whether a label is a hint: reserved, carried by a target, never on a series.
#[must_use]
pub fn is_hint(name: &str) -> bool {
    name.starts_with("__")
}

/// Whether Prometheus accepts the text as a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prometheus() {
        for good in ["a", "_", "humanname", "A9_", "__param_module"] {
            assert!(is_label_name(good), "{good}");
        }
        for bad in ["", "9a", "a-b", "a.b", "ä", "a b"] {
            assert!(!is_label_name(bad), "{bad}");
        }
        assert!(is_hint("__param_module") && !is_hint("_x"));
    }
}
