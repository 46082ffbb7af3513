//! The rules for Prometheus: they load, their own tests pass, and they speak of series that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use watchpost::signal::names;
use watchpost::wire::naming::Naming;
use watchpost_targets::yaml::{Node, Value, parse};

use crate::support::{peers, skip};

/// What PromQL itself says: operators, modifiers, and the constants that look like names.
const WORDS: [&str; 16] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "atan2",
    "start",
    "end",
    "inf",
    "nan",
];

/// Behind these stand names of labels, in parentheses.
const LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

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

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The text after what is in parentheses at its begin.
fn after_parentheses(text: &str) -> &str {
    match text.trim_start().strip_prefix('(').and_then(|inner| inner.split_once(')')) {
        Some((_, rest)) => rest,
        None => text,
    }
}

/// The metrics that an expression reads. Comments, texts, matchers (`{...}`), ranges (`[...]`), numbers,
/// durations, functions (what a parenthesis follows), keywords and lists of labels are left out.
fn metrics(expr: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        let tail = &rest[first.len_utf8()..];
        rest = match first {
            '#' => tail.split_once('\n').map_or("", |(_, next)| next),
            '{' => after_matchers(tail),
            '[' => tail.split_once(']').map_or("", |(_, next)| next),
            '"' | '\'' | '`' => after_text(tail, first),
            c if is_name(c) => {
                let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                let (word, next) = rest.split_at(end);
                let lower = word.to_ascii_lowercase();
                if LABELS.contains(&lower.as_str()) {
                    after_parentheses(next)
                } else {
                    let function = next.trim_start().starts_with('(');
                    let keyword = WORDS.contains(&lower.as_str());
                    // An aggregation may have its labels first: `sum by (job) (...)`.
                    let aggregation = ["by", "without"].iter().any(|word| {
                        let labels = next.trim_start().strip_prefix(word);
                        labels.is_some_and(|labels| labels.starts_with([' ', '(']))
                    });
                    if !c.is_ascii_digit() && !function && !keyword && !aggregation {
                        found.insert(word.to_owned());
                    }
                    next
                }
            }
            _ => tail,
        };
    }
    found
}

/// The text after a quoted one, whose opening quote has been read.
fn after_text(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            return &text[at + c.len_utf8()..];
        }
    }
    ""
}

/// The text after matchers, whose opening brace has been read; a brace in a text ends nothing.
fn after_matchers(text: &str) -> &str {
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'', '`', '}']) {
        let (found, tail) = (rest.as_bytes()[at], &rest[at + 1..]);
        if found == b'}' {
            return tail;
        }
        rest = after_text(tail, char::from(found));
    }
    ""
}

#[test]
fn metrics_are_told_from_the_rest_of_an_expression() {
    let check = |expr: &str, expected: &[&str]| {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(metrics(expr), expected, "{expr}");
    };
    check("up == 0", &["up"]);
    check("rate(a_total{b=\"}c\", d=~'e'}[5m]) > 1e3", &["a_total"]);
    check("sum by (job, le) (a) / on (job) group_left () b offset 5m", &["a", "b"]);
    check(
        "topk by (job) (1, a:b:c) or label_replace(d, \"e\", \"$1\", \"f\", \"(.+)\")",
        &["a:b:c", "d"],
    );
    check(
        "sum(a) without (b) + max by(c) (e) # c\n and ignoring(d) max_over_time(e[7d:1h])",
        &["a", "e"],
    );
}

/// Every series that a rule reads is one that Watchpost publishes, or that another rule makes. A rule
/// about a name that nobody publishes is silent for ever.
#[test]
fn rules_speak_of_series_that_exist() {
    let rules = rules();
    let naming = Naming::default();
    let host = names::host::TABLE.iter().map(|entry| &entry.metric);
    let mut known: BTreeSet<String> = OTHERS.iter().map(|name| (*name).to_owned()).collect();
    for metric in names::ALL.iter().copied().chain(host.copied()) {
        let name = naming.metric(metric);
        for suffix in ["_bucket", "_sum", "_count"] {
            known.insert(format!("{name}{suffix}"));
        }
        known.insert(name);
    }
    known.extend(rules.iter().filter(|rule| !rule.alert).map(|rule| rule.name.clone()));
    let mut wrong = Vec::new();
    for rule in &rules {
        let read = metrics(&rule.expr);
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
