//! Which metrics an expression of PromQL reads, and which there are.

use std::collections::BTreeSet;

use watchpost::signal::names;
use watchpost::wire::naming::Naming;

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

/// Every name under which Prometheus has what we publish.
pub fn published() -> BTreeSet<String> {
    let naming = Naming::default();
    let host = names::host::TABLE.iter().map(|entry| entry.metric);
    let mut known = BTreeSet::new();
    for metric in names::ALL.iter().copied().chain(host) {
        let name = naming.metric(metric);
        for suffix in ["_bucket", "_sum", "_count"] {
            known.insert(format!("{name}{suffix}"));
        }
        known.insert(name);
    }
    known
}

pub fn is_name(c: char) -> bool {
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
pub fn metrics(expr: &str) -> BTreeSet<String> {
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
