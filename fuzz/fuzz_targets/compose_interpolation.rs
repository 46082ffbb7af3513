//! Any text is filled in, and any `.env` file is read, without a panic and within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost_discovery::interpolate::{Variables, env_file, fill};

fuzz_target!(|text: &str| {
    let environment = Variables::from([
        ("A".to_owned(), "a".to_owned()),
        ("EMPTY".to_owned(), String::new()),
        ("LONG".to_owned(), "x".repeat(100_000)),
    ]);
    let filled = fill(text, &|name| environment.get(name).cloned());
    assert!(filled.text.len() <= (64 << 10) + 100_000 + text.len());
    let plain = text.replace('$', "$$");
    assert_eq!(fill(&plain, &|_| None).text, text, "what is escaped is as it was");
    let found = env_file(text, &environment);
    assert!(found.values().map(String::len).sum::<usize>() <= 4 << 20);
});
