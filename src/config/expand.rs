//! `${env:NAME}`, `${env:NAME:-default}`, `${file:path}` and `$$` in values, as the Collector knows
//! them. A whole value that comes from outside and is a list or a map is read as one where no text is
//! expected.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

use watchpost_targets::yaml::{self, Entry, Mark, Node, Value};

use crate::base::fs;
use crate::base::place::{Place, Problems};
use crate::config::Environment;
use crate::config::foreign::Foreign;

/// How much has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// `check`: no secrets are needed; what is missing is a warning.
    Check,
    /// `run`: what is missing where it matters is an error.
    Run,
}

/// Keys below which an unset variable means that nothing can work.
const VITAL: [&str; 8] = [
    "headers",
    "authorization",
    "basic_auth",
    "endpoint",
    "nameservers",
    "token",
    "client_auth",
    "password",
];
/// How deep `${env:${env:X}}` may nest.
const MAX_DEPTH: u32 = 8;

/// How deep texts that are put in for a reference may refer to others.
const MAX_SPLICES: u32 = 8;

pub(super) struct Expander<'a> {
    files: &'a [String],
    environment: &'a Environment,
    strictness: Strictness,
    problems: &'a mut Problems,
    path: Vec<String>,
    splices: u32,
    /// Whether a reference led nowhere.
    missed: bool,
    /// Whether that was told as an error.
    failed: bool,
    /// The files that were referred to.
    pub(super) read: Vec<PathBuf>,
    /// Values from the environment and from files.
    pub(super) foreign: Vec<Foreign>,
    /// The variables that were referred to, set or not.
    pub(super) variables: BTreeSet<String>,
}

impl<'a> Expander<'a> {
    pub(super) fn new(
        files: &'a [String],
        environment: &'a Environment,
        strictness: Strictness,
        problems: &'a mut Problems,
    ) -> Self {
        Self {
            files,
            environment,
            strictness,
            problems,
            path: Vec::new(),
            splices: 0,
            missed: false,
            failed: false,
            read: Vec::new(),
            foreign: Vec::new(),
            variables: BTreeSet::new(),
        }
    }

    /// The tree with every scalar expanded.
    pub(super) fn expand(&mut self, node: &Rc<Node>) -> Rc<Node> {
        let value = match &node.value {
            Value::Null | Value::Unknown => return Rc::clone(node),
            Value::Scalar { text, .. } if !text.contains('$') => return Rc::clone(node),
            Value::Scalar { text, plain } => return self.scalar(node, text, *plain),
            Value::Sequence(items) => {
                let item = |(index, item): (usize, &Rc<Node>)| {
                    self.path.push(format!("[{index}]"));
                    let expanded = self.expand(item);
                    self.path.pop();
                    expanded
                };
                Value::Sequence(items.iter().enumerate().map(item).collect())
            }
            Value::Mapping(entries) => Value::Mapping(
                entries
                    .iter()
                    .map(|entry| {
                        self.path.push(entry.key.clone());
                        let value = self.expand(&entry.value);
                        self.path.pop();
                        Entry { value, ..entry.clone() }
                    })
                    .collect(),
            ),
        };
        Rc::new(Node { written: node.written.clone(), ..Node::new(node.mark, value) })
    }

    fn scalar(&mut self, node: &Node, text: &str, plain: bool) -> Rc<Node> {
        let reference = text.strip_prefix("${").and_then(matching);
        let whole = plain && reference.is_some_and(|(_, rest)| rest.is_empty());
        (self.missed, self.failed) = (false, false);
        let text = self.text(node, text, 0);
        // To `check` an unset variable may hold anything; what has been told is not told again.
        let unknown = self.failed || (self.missed && self.strictness == Strictness::Check);
        if unknown && text.is_empty() {
            return Rc::new(Node::new(node.mark, Value::Unknown));
        }
        // An unquoted variable that is unset or empty is nothing, so that the default stands.
        if whole && text.is_empty() {
            return Rc::new(Node::new(node.mark, Value::Null));
        }
        if whole && let Some(structure) = self.structure(node, &text) {
            return structure;
        }
        Rc::new(Node::new(node.mark, Value::Scalar { text, plain }))
    }

    /// The list or the map that a text from outside is; the text stays beside it, for where a text is
    /// meant.
    fn structure(&mut self, node: &Node, text: &str) -> Option<Rc<Node>> {
        if self.splices >= MAX_SPLICES {
            return None;
        }
        let read = yaml::parse(text).ok()?;
        matches!(read.value, Value::Sequence(_) | Value::Mapping(_)).then_some(())?;
        self.splices += 1;
        let expanded = self.expand(&moved(&read, node.mark));
        self.splices -= 1;
        let value = expanded.value.clone();
        Some(Rc::new(Node { written: Some(text.into()), ..Node::new(node.mark, value) }))
    }

    fn text(&mut self, node: &Node, text: &str, depth: u32) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(tail) = after.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some((inner, tail)) = after.strip_prefix('{').and_then(matching) {
                // `${1}` is a group of a regular expression, not a variable.
                if !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit()) {
                    out.push_str(&rest[at..rest.len() - tail.len()]);
                } else {
                    out.push_str(&self.reference(node, inner, depth));
                }
                rest = tail;
            } else {
                if after.starts_with("{env:") || after.starts_with("{file:") {
                    let place = self.place(node);
                    let message =
                        "the reference has no closing brace: it is taken as it is written";
                    self.problems.warning(&place, message);
                }
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        out
    }

    fn reference(&mut self, node: &Node, inner: &str, depth: u32) -> String {
        if depth >= MAX_DEPTH {
            self.error(node, "references nest too deep".to_owned());
            return String::new();
        }
        let inner = self.text(node, inner, depth + 1);
        if let Some(path) = inner.strip_prefix("file:") {
            let path = self.place(node).beside(path);
            let text = fs::read_secret(&path);
            self.read.push(path);
            return match text {
                Ok(text) => self.foreign(node, &inner, text),
                Err(why) => {
                    self.missing(node, why);
                    String::new()
                }
            };
        }
        let name = inner.strip_prefix("env:").unwrap_or(&inner);
        let (name, default) =
            name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
        let mut chars = name.chars();
        let sound = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !sound {
            self.error(node, format!("${{{inner}}} is none of ${{env:NAME}}, ${{env:NAME:-default}}, ${{file:path}}; write $$ for a $"));
            return String::new();
        }
        self.variables.insert(name.to_owned());
        match (self.environment.get(name), default) {
            (Some(value), _) => self.foreign(node, &format!("env:{name}"), value.clone()),
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                self.missing(node, format!("the variable {name} is not set"));
                String::new()
            }
        }
    }

    /// Notes a value that has come from outside, and hands it on.
    fn foreign(&mut self, node: &Node, reference: &str, value: String) -> String {
        let (place, reference) = (self.place(node), reference.to_owned());
        self.foreign.push(Foreign { place, reference, value: value.clone() });
        value
    }

    fn missing(&mut self, node: &Node, message: String) {
        self.missed = true;
        let vital = self.path.iter().any(|key| VITAL.contains(&key.as_str()));
        if vital && self.strictness == Strictness::Run {
            self.error(node, message);
        } else {
            let place = self.place(node);
            self.problems.warning(&place, message);
        }
    }

    fn error(&mut self, node: &Node, message: String) {
        self.failed = true;
        let place = self.place(node);
        self.problems.error(&place, message);
    }

    fn place(&self, node: &Node) -> Place {
        Place {
            file: self.files.get(node.mark.source as usize).map_or("", String::as_str).into(),
            line: node.mark.line,
            column: node.mark.column,
            path: self.path.join(".").replace(".[", "["),
        }
    }
}

/// The same tree, all of it at one place.
fn moved(node: &Rc<Node>, mark: Mark) -> Rc<Node> {
    let value = match &node.value {
        Value::Sequence(items) => {
            Value::Sequence(items.iter().map(|item| moved(item, mark)).collect())
        }
        Value::Mapping(entries) => {
            let entry = |entry: &Entry| Entry {
                key: entry.key.clone(),
                key_mark: mark,
                value: moved(&entry.value, mark),
            };
            Value::Mapping(entries.iter().map(entry).collect())
        }
        other => other.clone(),
    };
    Rc::new(Node { written: node.written.clone(), ..Node::new(mark, value) })
}

/// What stands before the brace that closes, and what after it.
fn matching(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    for (at, char) in text.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}
