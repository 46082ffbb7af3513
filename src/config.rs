//! Configuration: text becomes a tree of places, the tree becomes what may be written (`Raw`), and
//! that becomes what will run ([`plan::Plan`]). All problems are told in one go, each with its place.

mod builtin;
mod check;
mod decode;
mod expand;
pub mod plan;
mod raw;
pub mod targets;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use watchpost_targets::yaml::{self, YamlError};

use crate::base::fs;
use crate::base::place::{Place, Problem, Problems};
pub use expand::Strictness;
use plan::Plan;

/// The largest configuration file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Variables by name, as the process was started with them.
pub type Environment = BTreeMap<String, String>;

/// What came of loading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// What will run; none when there is an error among the problems.
    pub plan: Option<Plan>,
    /// Everything that was found wrong, in the order of the text.
    pub problems: Vec<Problem>,
}

/// Reads a configuration file.
#[must_use]
pub fn load(path: &Path, environment: &Environment, strictness: Strictness) -> Loaded {
    match fs::read_text(path, MAX_BYTES) {
        Ok(text) => parse(&text, path, environment, strictness),
        Err(message) => {
            let mut problems = Problems::default();
            // The message names the file already.
            let message =
                message.split_once(": ").map_or(message.clone(), |(_, why)| why.to_owned());
            problems.error(
                &Place { file: path.display().to_string().into(), ..Place::default() },
                message,
            );
            Loaded { plan: None, problems: problems.sorted() }
        }
    }
}

/// Reads the text of a configuration; `path` names it, and relative paths begin at its folder.
#[must_use]
pub fn parse(text: &str, path: &Path, environment: &Environment, strictness: Strictness) -> Loaded {
    let mut problems = Problems::default();
    let file = path.display().to_string();
    let folder = path.parent().unwrap_or(Path::new(""));
    let plan = match yaml::parse_all(text) {
        Err(error) => {
            let place = Place {
                file: file.into(),
                line: error.mark.line,
                column: error.mark.column,
                path: String::new(),
            };
            problems.error(&place, error.message);
            None
        }
        Ok((document, duplicates)) => {
            for YamlError { mark, message } in duplicates {
                let (line, column, path) = (mark.line, mark.column, String::new());
                problems.error(&Place { file: file.clone().into(), line, column, path }, message);
            }
            let mut expander =
                expand::Expander::new(&file, folder, environment, strictness, &mut problems);
            let document = expander.expand(&document);
            let told = RefCell::new(problems);
            let plan = check::plan(&document, &file, folder, &told);
            problems = told.into_inner();
            plan
        }
    };
    let plan = plan.filter(|_| !problems.has_errors());
    Loaded { plan, problems: problems.sorted() }
}

/// What runs when there is no configuration: nothing yet, on a page that takes the next free port.
/// The caller fills the receivers in with what it finds on this machine.
#[must_use]
pub fn embedded() -> Plan {
    Plan {
        receivers: Vec::new(),
        modules: check::builtin(),
        exporters: Vec::new(),
        http: check::default_http(true),
        storage: None,
        vantage: String::new(),
        resolver: crate::net::resolve::ResolverSettings::default(),
    }
}

#[cfg(test)]
mod tests;
