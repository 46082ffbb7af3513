//! Any text is a condition or an error, never a panic; what is read is printed as what is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::processor::ottl::{Condition, Context, View, parser};

fuzz_target!(|text: &str| {
    for context in [None, Some(Context::Metric), Some(Context::Datapoint)] {
        if let Ok(condition) = Condition::new(text, context) {
            let _ = condition.ask(&View::default());
        }
    }
    if let Ok(tree) = parser::parse(text) {
        let printed = tree.to_string();
        let again = parser::parse(&printed).expect("what is printed is read");
        assert_eq!(again.to_string(), printed);
    }
});
