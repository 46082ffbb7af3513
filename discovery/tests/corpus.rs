//! Real users' files, where they are at hand (WATCHPOST_INPUTS): the home lab that this was made for,
//! to the byte, and a corpus of compose files, each of which yields targets or a reason.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

#[path = "corpus/coverage.rs"]
mod coverage;

use std::path::{Path, PathBuf};

use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{Settings, compose};
use watchpost_discovery::output::{Format, Output, Trust, render};
use watchpost_targets::{Labels, Target};

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
    let report = compose(&settings, &Variables::new());
    let file = root.join("services/monitoring/prometheus/pinghosts.yaml");
    let old = std::fs::read_to_string(&file).unwrap();
    let output =
        Output { file, keep_until: Some("# SVC START".to_owned()), format: Format::default() };
    let rendered = render(&output, Some(&old), &report.targets, Trust::Whole).unwrap();
    let end = old.find("# SVC START\n").unwrap() + "# SVC START\n".len();
    assert_eq!(&rendered.text[..end], &old[..end], "the head is kept");
    let expected = std::fs::read_to_string(root.join("EXPECTED-script-output.txt")).unwrap();
    assert_eq!(&rendered.text[end..], expected, "{:#?}", report.skipped);
    // One file is no YAML, and stops nothing.
    assert!(report.problems.iter().any(|p| p.file.ends_with("_template/docker-compose.yaml")));
}

#[test]
fn every_file_yields_targets_or_a_reason() {
    let Some(inputs) = inputs("every_file_yields_targets_or_a_reason") else { return };
    let text = coverage::report(&inputs.join("compose"));
    println!("{text}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/DISCOVERY.md");
    let documented = std::fs::read_to_string(&path).unwrap_or_default();
    // The text above it is written by hand.
    let at = documented.find(coverage::BEGIN).expect("the report's place");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, documented[..at].to_owned() + &text).unwrap();
    }
    let documented = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(&documented[at..], text, "docs/DISCOVERY.md is out of date (UPDATE=1 writes it)");
}

/// A member of the family: its file, how many targets, the labels that their fields make, and one of
/// them in full.
type Member = (&'static str, usize, &'static [&'static str], [&'static str; 5]);

const FOUR: &[&str] = &["humanname", "routing", "switching"];
const NO: &str = "";
const MEMBERS: [Member; 10] = [
    (
        "maxandersen+internet-monitoring/prometheus/pinghosts.yaml",
        6,
        FOUR,
        ["http://192.168.1.42", "blackdata", "local", "orbirouter-attic", NO],
    ),
    (
        "crownandcoke+internet-monitoring/prometheus/pinghosts.yaml",
        8,
        FOUR,
        ["192.168.1.1", "internetbox", "local", "internetbox", "icmp"],
    ),
    (
        "crownandcoke+internet-monitoring/releases/internet-monitoring-stack-v1.1/prometheus/pinghosts.yaml",
        8,
        FOUR,
        ["https://claude.ai", "claude.ai", "external", "internetbox", "http_2xx_4xx"],
    ),
    (
        "JocyW+internet-monitor/prometheus/pinghosts.yaml",
        2,
        FOUR,
        ["192.168.178.1", "fritz.box", "local", "internetbox", NO],
    ),
    (
        "kgersen+blackbox-prom-grafana/prometheus/pinghosts.yaml",
        6,
        FOUR,
        ["any-in-2415.1e100.net", "Stadia", "external", "internetbox", NO],
    ),
    (
        "kgersen+blackbox-prom-grafana/prometheus/httphosts.yaml",
        3,
        FOUR,
        ["https://lafibre.info", "lafibre.info", "external", "internetbox", NO],
    ),
    (
        "redhcp+rpi-monitor-network/prometheus/pinghosts.yaml",
        3,
        FOUR,
        ["http://10.0.0.1", "internetbox", "local", "internetbox", NO],
    ),
    (
        "xeviff+internet-sla-monitoring/prometheus/pinghosts.yaml",
        3,
        FOUR,
        ["https://www.fibracat.cat/", "fibracat.cat", "external", "internetbox", NO],
    ),
    (
        "lle0x+kleinrock/prometheus/pinghosts.yaml",
        2,
        FOUR,
        ["http://www.nic.ar", "nic-ar", "external", "internetbox", NO],
    ),
    (
        "../svc/at-0281719-2023-06-15/services/monitoring/prometheus/pinghosts.yaml",
        0,
        &["humanname", "routing"],
        ["https://blog.heinrichhartmann.net", "blog", "internal", NO, NO],
    ),
];

fn fields(target: &Target) -> [&str; 5] {
    let label = |name: &str| target.labels.get(name).map_or(NO, String::as_str);
    let module = target.id().module.is_some().then(|| target.hints.values().next().unwrap());
    let module = module.map_or(NO, String::as_str);
    [&target.address, label("humanname"), label("routing"), label("switching"), module]
}

#[test]
fn pinghosts_members_are_read_and_written_back() {
    let Some(inputs) = inputs("pinghosts_members_are_read_and_written_back") else { return };
    let folder = inputs.join("pinghosts");
    for (name, count, labels, expected) in MEMBERS {
        let path = folder.join(name);
        let content = watchpost_targets::read(&path).unwrap();
        assert!(content.problems.is_empty(), "{name}: {:?}", content.problems);
        assert!(content.targets.len() == count || count == 0, "{name}: {}", content.targets.len());
        for target in &content.targets {
            let names: Vec<&str> = target.labels.keys().map(String::as_str).collect();
            assert_eq!(names, labels, "{name}: {}", target.address);
            assert_eq!(target.hints.is_empty(), expected[4] == NO, "{name}: {}", target.address);
        }
        let found = content.targets.iter().find(|target| target.address == expected[0]);
        assert_eq!(fields(found.unwrap_or_else(|| panic!("{name}: {expected:?}"))), expected);

        // With its own marker, or with one at the end.
        let mut text = std::fs::read_to_string(&path).unwrap();
        let marker = if text.contains("# SVC START") { "# SVC START" } else { "# FOUND START" };
        let own = text.contains(marker);
        if !own {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str("    # FOUND START\n");
        }
        let below = text.find(marker).unwrap();
        let line = text[..below].matches('\n').count() + 1;
        let found: Vec<Target> =
            content.targets.into_iter().filter(|t| t.origin.line as usize > line).collect();
        assert_eq!(found.is_empty(), !own, "{name}");
        let output =
            Output { file: path, keep_until: Some(marker.to_owned()), format: Format::default() };
        let rendered = render(&output, Some(&text), &found, Trust::Whole).unwrap();
        assert_eq!(rendered.text, text, "{name}: nothing changed, nothing is written");
        assert_eq!((rendered.written, rendered.kept), (found.len(), 0), "{name}");
    }
    let others = ["geerlingguy+internet-pi/example.config.yml"];
    for name in others {
        let error = watchpost_targets::read(&folder.join(name)).unwrap_err().to_string();
        assert!(error.contains("a list of groups"), "{name}: {error}");
    }
}
