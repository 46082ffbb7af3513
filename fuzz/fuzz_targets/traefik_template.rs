//! Any text has its templates filled in or is refused, without a panic and within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::traefik_file::templates;

fuzz_target!(|text: &str| {
    let long = "x".repeat(100_000);
    let environment =
        Variables::from([("A".to_owned(), "a".to_owned()), ("LONG".to_owned(), long)]);
    if let Ok(filled) = templates(text, &environment) {
        assert!(filled.len() <= (4 << 20) + 100_000 + text.len());
        assert!(text.contains("{{") || filled == text, "without a template nothing changes");
    }
});
