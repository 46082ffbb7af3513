//! Where configurations come from: several texts, read one after the other and laid over each other,
//! and single values from the command line on top.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

use watchpost_targets::yaml::{self, Entry, Mark, Node, Value};

use super::{Environment, MAX_BYTES};
use crate::base::fs;
use crate::base::place::{Place, Problems};

/// What is read, in this order; what comes later wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Files, or `file:PATH`, `env:NAME`, `yaml:TEXT`.
    pub configs: Vec<String>,
    /// Single values: `KEY.KEY=VALUE`.
    pub sets: Vec<String>,
}

impl Sources {
    /// One file.
    #[must_use]
    pub fn file(path: &std::path::Path) -> Self {
        Self { configs: vec![path.display().to_string()], sets: Vec::new() }
    }

    /// The files among them.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.configs.iter().filter_map(|config| file_of(config).map(PathBuf::from)).collect()
    }

    /// The variables of the process among them.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<String> {
        let name = |config: &String| Some(config.strip_prefix("env:")?.to_owned());
        self.configs.iter().filter_map(name).collect()
    }

    /// What they are called, for people.
    #[must_use]
    pub fn title(&self) -> String {
        let names: Vec<String> = self.configs.iter().map(|config| title(config)).collect();
        names.join(", ")
    }
}

fn title(config: &str) -> String {
    match (file_of(config), config.split_once(':')) {
        (Some(path), _) => path.to_owned(),
        (None, Some(("yaml", _))) => "yaml".to_owned(),
        // A URL may hold credentials.
        (None, Some((scheme @ ("http" | "https"), _))) => format!("{scheme}:"),
        _ => config.to_owned(),
    }
}

/// The path, when it is a file that is meant.
fn file_of(config: &str) -> Option<&str> {
    match config.split_once(':') {
        Some(("file", path)) => Some(path),
        Some(("env" | "yaml" | "http" | "https", _)) => None,
        _ => Some(config),
    }
}

/// A tree out of all sources, and their names by the numbers that the marks have. `None`: one of them
/// could not be read, which has been told.
pub(super) fn read(
    sources: &Sources,
    environment: &Environment,
    problems: &RefCell<Problems>,
) -> Option<(Rc<Node>, Vec<String>)> {
    let mut names = Vec::new();
    let mut document: Option<Rc<Node>> = None;
    let mut whole = true;
    let mut lay = |name: String, read: &mut dyn FnMut(u32) -> Option<Rc<Node>>| {
        let number = u32::try_from(names.len()).unwrap_or(u32::MAX);
        names.push(name);
        match read(number) {
            Some(node) => {
                document = Some(match document.take() {
                    // A text without anything in it takes nothing away.
                    Some(below) if node.is_null() => below,
                    Some(below) => below.overlaid(&node),
                    None => node,
                });
            }
            None => whole = false,
        }
    };
    for config in &sources.configs {
        let name = title(config);
        lay(name.clone(), &mut |number| {
            let place = Place { file: name.as_str().into(), ..Place::default() };
            let text = text(config, environment)
                .map_err(|why| problems.borrow_mut().error(&place, why))
                .ok()?;
            parse(&text, &name, number, problems)
        });
    }
    for set in &sources.sets {
        let (key, value) = set.split_once('=').unwrap_or((set, ""));
        let name = format!("--set {key}");
        lay(name.clone(), &mut |number| {
            if key.split('.').any(|part| part.trim().is_empty()) || !set.contains('=') {
                let place = Place { file: name.as_str().into(), ..Place::default() };
                problems.borrow_mut().error(&place, "must be KEY.KEY=VALUE");
                return None;
            }
            let value = parse(value, &name, number, problems)?;
            let mark = Mark { line: 1, column: 1, source: number };
            Some(key.rsplit('.').fold(value, |value, part| {
                let entry = Entry { key: part.trim().to_owned(), key_mark: mark, value };
                Rc::new(Node::new(mark, Value::Mapping(vec![entry])))
            }))
        });
    }
    let document = document.unwrap_or_else(|| Rc::new(Node::new(Mark::default(), Value::Null)));
    whole.then_some((document, names))
}

fn text(config: &str, environment: &Environment) -> Result<String, String> {
    match config.split_once(':') {
        Some(("env", name)) => {
            environment.get(name).cloned().ok_or_else(|| format!("the variable {name} is not set"))
        }
        Some(("yaml", text)) => Ok(text.to_owned()),
        Some((scheme @ ("http" | "https"), _)) => {
            Err(format!("a configuration is not fetched by {scheme}: download it first"))
        }
        _ => {
            let path = file_of(config).unwrap_or(config);
            // The message names the file already.
            fs::read_text(std::path::Path::new(path), MAX_BYTES).map_err(|message| {
                message.split_once(": ").map_or(message.clone(), |(_, why)| why.to_owned())
            })
        }
    }
}

pub(super) fn parse(
    text: &str,
    name: &str,
    number: u32,
    problems: &RefCell<Problems>,
) -> Option<Rc<Node>> {
    let place = |mark: Mark| Place {
        file: name.into(),
        line: mark.line,
        column: mark.column,
        path: String::new(),
    };
    match yaml::parse_source(text, number) {
        Err(error) => {
            let line = text.lines().nth(error.mark.line.saturating_sub(1) as usize);
            let hint =
                match line.is_some_and(|line| line.contains("${") && line.contains(['{', '['])) {
                    true => " (a ${...} within { } or [ ] needs quotes)",
                    false => "",
                };
            problems.borrow_mut().error(&place(error.mark), format!("{}{hint}", error.message));
            None
        }
        Ok((document, duplicates)) => {
            for duplicate in duplicates {
                problems.borrow_mut().error(&place(duplicate.mark), duplicate.message);
            }
            Some(document)
        }
    }
}
