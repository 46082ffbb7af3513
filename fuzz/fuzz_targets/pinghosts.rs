//! Any text is a target file or an error, never a panic; what is written of it is read as the same.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use watchpost_targets::{TargetSet, file, render_file_sd};

fuzz_target!(|text: &str| {
    let path = Path::new("pinghosts.yaml");
    let Ok(content) = file::parse(text, path) else { return };
    let mut set = TargetSet::default();
    for target in content.targets {
        assert!(!target.address.is_empty());
        let _ = set.insert(target);
    }
    let written = render_file_sd(&set);
    let again = file::parse(&written, path).expect("what is written is read");
    assert!(again.problems.is_empty(), "{:?} in {written}", again.problems);
    assert_eq!(again.targets.len(), set.len());
});
