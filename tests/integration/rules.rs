//! The rules for Prometheus: they load, their own tests pass, and they speak of series that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use watchpost_targets::yaml::{Node, Value, parse};

use crate::support::promql::is_name;
use crate::support::{peers, promql, skip};

/// Names that are neither ours nor made by the rules.
const OTHERS: [&str; 2] = ["up", "ALERTS"];

struct Rule {
    name: String,
    expr: String,
    alert: bool,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

fn items(node: &Node, key: &str) -> Vec<Rc<Node>> {
    match &node.get(key).unwrap_or_else(|| panic!("no {key}")).value {
        Value::Sequence(items) => items.clone(),
        other => panic!("{key} is no list but {other:?}"),
    }
}

fn rules() -> Vec<Rule> {
    let text = fs::read_to_string(folder().join("watchpost.rules.yaml")).unwrap();
    let root = parse(&text).unwrap();
    let mut rules = Vec::new();
    for group in items(&root, "groups") {
        for rule in items(&group, "rules") {
            let text = |key: &str| rule.get(key).and_then(|node| node.text()).map(str::to_owned);
            let alert = text("alert");
            rules.push(Rule {
                alert: alert.is_some(),
                name: alert.or_else(|| text("record")).expect("an alert or a record"),
                expr: text("expr").expect("an expression"),
            });
        }
    }
    rules
}

/// Every series that a rule reads is one that Watchpost publishes, or that another rule makes. A rule
/// about a name that nobody publishes is silent for ever.
#[test]
fn rules_speak_of_series_that_exist() {
    let rules = rules();
    let mut known = promql::published();
    known.extend(OTHERS.iter().map(|name| (*name).to_owned()));
    known.extend(rules.iter().filter(|rule| !rule.alert).map(|rule| rule.name.clone()));
    let mut wrong = Vec::new();
    for rule in &rules {
        let read = promql::metrics(&rule.expr);
        if read.is_empty() {
            wrong.push(format!("{}: reads nothing", rule.name));
        }
        for name in read.difference(&known) {
            wrong.push(format!("{}: nobody publishes {name}", rule.name));
        }
    }
    assert!(rules.len() > 50, "only {} rules were read", rules.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every alert and every recorded series is named in a test at least; whether it fires is for promtool.
#[test]
fn every_rule_is_tested() {
    let tests = fs::read_to_string(folder().join("watchpost.test.yaml")).unwrap();
    let words: BTreeSet<&str> = tests.split(|c: char| !is_name(c)).collect();
    let rules = rules();
    let missing: Vec<&str> =
        rules.iter().map(|rule| rule.name.as_str()).filter(|name| !words.contains(name)).collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() {
    let Some(promtool) = peers::find("promtool") else {
        return skip("promtool_takes_the_rules_and_their_tests_pass", "promtool is not installed");
    };
    for arguments in
        [["check", "rules", "watchpost.rules.yaml"], ["test", "rules", "watchpost.test.yaml"]]
    {
        let output =
            Command::new(&promtool).args(arguments).current_dir(folder()).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn vmalert_takes_the_rules() {
    let Some(vmalert) = peers::find("vmalert") else {
        return skip("vmalert_takes_the_rules", "vmalert is not installed");
    };
    let file = folder().join("watchpost.rules.yaml");
    let rule = format!("-rule={}", file.display());
    let output = Command::new(vmalert).args(["-dryRun", &rule]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
