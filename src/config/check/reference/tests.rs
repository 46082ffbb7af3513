//! That the reference says what is so: its keys are those that the decoder takes, in both directions;
//! its defaults are those that run; the page is the one that is made; examples in the documentation pass.

use std::collections::BTreeSet;
use std::path::PathBuf;

use regex::Regex;

use super::*;
use crate::base::place::Severity;
use crate::config::raw::SECTIONS;
use crate::config::{Environment, Loaded, Sources, Strictness, load};

/// A key that nobody knows, and that is near to none.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzz";

/// Components with what they cannot do without.
const BASE: &str = r#"
receivers:
  probe: {targets: ["127.0.0.1"]}
  host_metrics: {scrapers: {cpu: , load: , disk: , filesystem: , network: }}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 100}
  resource_detection: {detectors: [system]}
  filter: {metrics: {metric: ['name == "a"']}}
  batch: {}
exporters:
  prometheus_remote_write: {endpoint: "http://127.0.0.1:9090/api/v1/write"}
  otlp_grpc: {endpoint: "127.0.0.1:4317"}
  otlp_http: {endpoint: "http://127.0.0.1:4318"}
  prometheus: {}
  debug: {}
extensions:
  health_check: {}
  bearertokenauth: {token: secret}
service: {extensions: [health_check, bearertokenauth]}
"#;

/// Below a path, what stands in a map on the way there, because nothing works without it.
const BESIDE: &[(&str, &str, &str)] = &[
    ("modules.NAME.http.", "modules.NAME", "prober: http"),
    ("modules.NAME.tcp.", "modules.NAME", "prober: tcp"),
    ("modules.NAME.icmp.", "modules.NAME", "prober: icmp"),
    ("modules.NAME.tcp.tls_config.", "modules.NAME.tcp", "tls: true"),
    ("modules.NAME.http.authorization.", "modules.NAME.http.authorization", "credentials: secret"),
    (
        "modules.NAME.http.fail_if_header_matches[]",
        "modules.NAME.http.fail_if_header_matches[]",
        "header: a, regexp: b",
    ),
    (
        "modules.NAME.http.fail_if_header_not_matches[]",
        "modules.NAME.http.fail_if_header_not_matches[]",
        "header: a, regexp: b",
    ),
    (
        "service.telemetry.traces.sampler.",
        "service.telemetry.traces",
        "processors: [{batch: {exporter: {otlp: {endpoint: \"http://127.0.0.1:4317\"}}}}]",
    ),
    (
        "service.telemetry.traces.processors[].batch.exporter.otlp.",
        "service.telemetry.traces.processors[].batch.exporter.otlp",
        "endpoint: \"127.0.0.1:4317\"",
    ),
    (
        "discovery.NAME.max_targets",
        "discovery.NAME",
        "compose: {paths: [/srv]}, output: {file: a.yaml}",
    ),
    ("discovery.NAME.output.", "discovery.NAME", "compose: {paths: [/srv]}"),
    ("discovery.NAME.output.", "discovery.NAME.output", "file: a.yaml"),
    ("discovery.NAME.compose.", "discovery.NAME", "output: {file: a.yaml}"),
    ("discovery.NAME.compose.", "discovery.NAME.compose", "paths: [/srv]"),
    ("discovery.NAME.docker.", "discovery.NAME", "output: {file: a.yaml}"),
    ("discovery.NAME.sweep.", "discovery.NAME", "output: {file: a.yaml}"),
    ("discovery.NAME.sweep.", "discovery.NAME.sweep", "subnets: [127.0.0.0/28]"),
];

/// A configuration with a value at a path, or with all but it, and what has to stand beside it.
fn written(path: &str, value: Option<&str>) -> String {
    let mut text = value.unwrap_or_default().to_owned();
    let mut rest = path;
    loop {
        let (above, key) = rest.rsplit_once('.').unwrap_or(("", rest));
        let left_out = rest == path && value.is_none();
        let mut entries: Vec<String> = BESIDE
            .iter()
            .filter(|(below, level, _)| path.starts_with(below) && *level == above)
            .map(|(_, _, beside)| (*beside).to_owned())
            .collect();
        match key.strip_suffix("[]") {
            _ if left_out => {}
            Some(key) => entries.push(format!("\"{key}\": [{text}]")),
            None => entries.push(format!("\"{key}\": {text}")),
        }
        text = format!("{{{}}}", entries.join(", "));
        if above.is_empty() {
            return text;
        }
        rest = above;
    }
}

fn loaded(texts: &[&str]) -> Loaded {
    let configs = texts.iter().map(|text| format!("yaml:{text}")).collect();
    let sources = Sources { configs, sets: Vec::new() };
    load(&sources, &Environment::new(), Strictness::Check)
}

/// What is said of a path.
fn said_of(path: &str, text: &str) -> Vec<String> {
    let numbered = path.replace("[]", "[0]");
    let problems = loaded(&[text]).problems;
    let own = problems.iter().filter(|problem| problem.place.path == numbered);
    own.map(|problem| problem.message.clone()).collect()
}

/// All that will run, without the order of sets and without places and fingerprints: the words of it.
fn runs(texts: &[&str]) -> Result<Vec<String>, String> {
    let loaded = loaded(texts);
    let Some(plan) = loaded.plan else {
        let errors = loaded.problems.iter().filter(|p| p.severity == Severity::Error);
        return Err(errors.map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    };
    let text = format!("{plan:?}");
    let text = Regex::new(r"fingerprint: \d+|Place \{[^}]*\}").unwrap().replace_all(&text, "");
    let words = text.split([' ', ',', '(', ')', '{', '}', '[', ']']).map(str::to_owned);
    let mut words: Vec<String> = words.collect();
    words.sort();
    Ok(words)
}

#[test]
fn every_component_and_section_is_described() {
    let parts = parts();
    let places: BTreeSet<&str> =
        parts.iter().map(|part| &*part.shape.blocks.first().unwrap().path).collect();
    for kinds in KINDS {
        for (name, _) in kinds.known.iter().filter(|(name, _)| *name != "memory_ballast") {
            let path = format!("{}.{name}", kinds.section);
            assert!(places.contains(&*path), "{path} is not among the parts of the reference");
        }
    }
    let keys = keys();
    for section in SECTIONS.iter().filter(|section| **section != "connectors") {
        let has = keys.iter().any(|(path, _)| path.split('.').next() == Some(section));
        assert!(has, "{section}: the reference has none of its keys");
    }
}

#[test]
fn every_key_has_one_meaning_and_every_meaning_a_key() {
    let meanings = meanings();
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for (path, _) in keys() {
        let Some(index) = meaning_of(&path, &meanings) else {
            wrong.push(format!("{path}: has no line in meanings.txt"));
            continue;
        };
        used.insert(index);
        let best = meanings[index].stars();
        if meanings.iter().filter(|m| m.fits(&path) && m.stars() == best).count() > 1 {
            wrong.push(format!("{path}: two lines of meanings.txt fit it as well"));
        }
    }
    for (index, meaning) in meanings.iter().enumerate() {
        if !used.contains(&index) {
            wrong
                .push(format!("{}: meanings.txt names a key that does not exist", meaning.pattern));
        }
        if !meaning.text.ends_with('.') {
            wrong.push(format!("{}: its meaning is no sentence", meaning.pattern));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The decoder tells which keys it knows where one stands that it does not: they are those of the reference.
#[test]
fn the_decoder_knows_these_keys_and_no_others() {
    let mut wrong = Vec::new();
    for part in parts() {
        for Block { path, fields, .. } in &part.shape.blocks {
            let at = format!("{path}.{UNKNOWN}");
            let known = format!("unknown key (known: {})", fields.join(", "));
            let said = said_of(&at, &written(&at, Some("1")));
            if said != [known.clone()] {
                wrong.push(format!("{at}: {said:?}, and not {known:?}"));
            }
        }
        for (tables, words) in [
            (&part.later, "this key is not supported yet"),
            (&part.idle, "this key has no effect here"),
        ] {
            for at in listed(&part, tables) {
                let said = said_of(&at, &written(&at, Some("1")));
                if said != [words] {
                    wrong.push(format!("{at}: {said:?}, and not {words:?}"));
                }
            }
        }
    }
    for (path, _) in APART {
        let said = said_of(path, &written(path, Some("{}")));
        if said.iter().any(|words| words.starts_with("unknown key")) {
            wrong.push(format!("{path}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A value that is certainly another one, right or wrong.
fn another(value: &str) -> String {
    match value {
        "true" => "false".to_owned(),
        "false" => "true".to_owned(),
        "\"\"" => "another".to_owned(),
        // A smaller number, where a larger one might be cut down to what is allowed.
        _ if value.len() > 1 && value.parse::<u64>().is_ok() => value[..value.len() - 1].to_owned(),
        _ if value.parse::<f64>().is_ok() => format!("{value}7"),
        _ if value.starts_with(|c: char| c.is_ascii_digit()) => format!("7{value}"),
        _ => format!("\"{}x\"", value.trim_matches('"')),
    }
}

/// A default that is written out changes nothing, and another value does.
#[test]
fn the_defaults_are_those_that_run() {
    let meanings = meanings();
    let mut wrong = Vec::new();
    let mut proved = 0;
    for (path, _) in keys() {
        let Some(index) = meaning_of(&path, &meanings) else { continue };
        let default = meanings[index].default;
        if default.is_empty() {
            continue;
        }
        // The block stands there both times: `batch: {}` may mean more than no block.
        let without = runs(&[BASE, &written(&path, None)]);
        let with = runs(&[BASE, &written(&path, Some(default))]);
        match (&without, &with) {
            (Ok(without), Ok(with)) if without == with => proved += 1,
            (Err(why), _) | (_, Err(why)) => wrong.push(format!("{path}: {default}: {why}")),
            (Ok(without), Ok(with)) => {
                let other = with.iter().filter(|word| !without.contains(word));
                let other = other.take(5).cloned().collect::<Vec<_>>();
                wrong.push(format!("{path}: {default} is not what runs without it: {other:?}"));
            }
        }
        if runs(&[BASE, &written(&path, Some(&another(default)))]) == with {
            wrong.push(format!("{path}: {} changes nothing", another(default)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(proved > 50, "{proved} defaults were proved");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// With UPDATE=1 this test writes it.
#[test]
fn the_documented_keys_are_those_that_are_read() {
    let path = root().join("docs/CONFIG_KEYS.md");
    let text = page::page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let have = crate::base::fs::read_text(&path, 1 << 20).unwrap_or_default();
    assert_eq!(have, text, "docs/CONFIG_KEYS.md is out of date: UPDATE=1 writes it");
}
