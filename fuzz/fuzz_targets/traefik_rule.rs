//! Any text is a rule or an error, never a panic; its places are hosts, and not too many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost_discovery::rule::{is_host, parse, places, version_1};

fuzz_target!(|text: &str| {
    let mut all = Vec::new();
    if let Ok(rule) = parse(text) {
        for domain in [None, Some("example.net")] {
            if let Ok((places, reasons)) = places(&rule, domain) {
                assert!(!places.is_empty() && places.len() <= 64);
                reasons.iter().for_each(|reason| assert!(!reason.to_string().is_empty()));
                all.extend(places);
            }
        }
    }
    all.extend(version_1(text).unwrap_or_default());
    for place in all {
        assert!(is_host(&place.host), "{place:?}");
        assert!(place.path.is_empty() || place.path.starts_with('/'), "{place:?}");
    }
});
