//! `${env:NAME}`, `${env:NAME:-default}`, `${file:path}` and `$$` in values, as the Collector knows
//! them. A value that comes from outside is never read as structure.

use std::path::Path;
use std::rc::Rc;

use watchpost_targets::yaml::{Entry, Node, Value};

use crate::base::fs;
use crate::base::place::{Place, Problems};
use crate::config::Environment;

/// How much has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// `check`: no secrets are needed; what is missing is a warning.
    Check,
    /// `run`: what is missing where it matters is an error.
    Run,
}

/// Keys below which an unset variable means that nothing can work.
const VITAL: [&str; 5] = ["headers", "authorization", "basic_auth", "endpoint", "nameservers"];
/// How deep `${env:${env:X}}` may nest.
const MAX_DEPTH: u32 = 8;

pub(super) struct Expander<'a> {
    file: &'a str,
    folder: &'a Path,
    environment: &'a Environment,
    strictness: Strictness,
    problems: &'a mut Problems,
    path: Vec<String>,
}

impl<'a> Expander<'a> {
    pub(super) fn new(
        file: &'a str,
        folder: &'a Path,
        environment: &'a Environment,
        strictness: Strictness,
        problems: &'a mut Problems,
    ) -> Self {
        Self { file, folder, environment, strictness, problems, path: Vec::new() }
    }

    /// The tree with every scalar expanded.
    pub(super) fn expand(&mut self, node: &Rc<Node>) -> Rc<Node> {
        let value = match &node.value {
            Value::Null => return Rc::clone(node),
            Value::Scalar { text, .. } if !text.contains('$') => return Rc::clone(node),
            Value::Scalar { text, plain } => self.scalar(node, text, *plain),
            Value::Sequence(items) => {
                Value::Sequence(items.iter().map(|item| self.expand(item)).collect())
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
        Rc::new(Node { mark: node.mark, value })
    }

    fn scalar(&mut self, node: &Node, text: &str, plain: bool) -> Value {
        let whole = text.starts_with("${") && text.find('}') == Some(text.len() - 1);
        let text = self.text(node, text, 0);
        // An unquoted variable that is unset or empty is nothing, so that the default stands.
        if whole && plain && text.is_empty() { Value::Null } else { Value::Scalar { text, plain } }
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
            return fs::read_secret(&self.folder.join(path)).unwrap_or_else(|why| {
                self.missing(node, why);
                String::new()
            });
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
        match (self.environment.get(name), default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                self.missing(node, format!("the variable {name} is not set"));
                String::new()
            }
        }
    }

    fn missing(&mut self, node: &Node, message: String) {
        let vital = self.path.iter().any(|key| VITAL.contains(&key.as_str()));
        if vital && self.strictness == Strictness::Run {
            self.error(node, message);
        } else {
            let place = self.place(node);
            self.problems.warning(&place, message);
        }
    }

    fn error(&mut self, node: &Node, message: String) {
        let place = self.place(node);
        self.problems.error(&place, message);
    }

    fn place(&self, node: &Node) -> Place {
        Place {
            file: self.file.into(),
            line: node.mark.line,
            column: node.mark.column,
            path: self.path.join("."),
        }
    }
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
