//! Real users' files, where they are at hand (WATCHPOST_INPUTS): the home lab that this was made for,
//! to the byte, and a corpus of compose files, each of which yields targets or a reason.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

use std::path::PathBuf;

use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{Settings, compose};
use watchpost_discovery::output::{Format, Output, render};
use watchpost_targets::Labels;

fn inputs(test: &str) -> Option<PathBuf> {
    let inputs = std::env::var_os("WATCHPOST_INPUTS").map(PathBuf::from);
    if inputs.is_none() {
        use std::io::Write as _;
        let line = format!("skipped {test}: WATCHPOST_INPUTS is not set");
        println!("{line}");
        if let Some(path) = std::env::var_os("WATCHPOST_SKIPS") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let _ = file.and_then(|mut file| writeln!(file, "{line}"));
        }
    }
    inputs
}

#[test]
fn the_home_lab_to_the_byte() {
    let Some(inputs) = inputs("the_home_lab_to_the_byte") else { return };
    let root = inputs.join("svc/at-0281719-2023-06-15");
    let mut settings = Settings::new(vec![root.join("services")]);
    settings.domain = Some("heinrichhartmann.net".to_owned());
    settings.scheme = Some("https".to_owned());
    settings.labels = Labels::from([("routing".to_owned(), "internal".to_owned())]);
    let report = compose(&settings, &Variables::new(), None);
    let file = root.join("services/monitoring/prometheus/pinghosts.yaml");
    let old = std::fs::read_to_string(&file).unwrap();
    let output =
        Output { file, keep_until: Some("# SVC START".to_owned()), format: Format::default() };
    let rendered = render(&output, Some(&old), &report.targets, false).unwrap();
    let end = old.find("# SVC START\n").unwrap() + "# SVC START\n".len();
    assert_eq!(&rendered.text[..end], &old[..end], "the head is kept");
    let expected = std::fs::read_to_string(root.join("EXPECTED-script-output.txt")).unwrap();
    assert_eq!(&rendered.text[end..], expected, "{:#?}", report.skipped);
    // One file is no YAML, and stops nothing.
    assert!(report.problems.iter().any(|p| p.file.ends_with("_template/docker-compose.yaml")));
}
