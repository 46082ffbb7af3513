//! Configuration: text becomes a tree of places, the tree becomes what may be written (`Raw`), and
//! that becomes what will run ([`plan::Plan`]). All problems are told in one go, each with its place.

mod builtin;
mod check;
mod decode;
mod expand;
mod foreign;
pub mod plan;
mod raw;
mod sources;
mod subnets;
pub mod targets;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use watchpost_targets::yaml::Node;

use crate::base::place::{Problem, Problems};
pub use check::advice::of_targets as advice;
pub use expand::Strictness;
pub use foreign::Outside;
use plan::Plan;
pub use sources::Sources;

/// The largest configuration file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Variables by name, as the process was started with them.
pub type Environment = BTreeMap<String, String>;

/// What came of loading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// What will run; none when there is an error among the problems.
    pub plan: Option<Plan>,
    /// Everything that was found wrong, in the order of the texts.
    pub problems: Vec<Problem>,
    /// Warnings about what is no mistake and may be dangerous, for `check`.
    pub advice: Vec<Problem>,
    /// The files that were read: a change of one of them is a change of the configuration.
    pub files: Vec<PathBuf>,
    /// Values that came from outside: errors at run time do not show them.
    pub outside: Outside,
}

/// Reads a configuration out of all its sources.
#[must_use]
pub fn load(sources: &Sources, environment: &Environment, strictness: Strictness) -> Loaded {
    let problems = RefCell::default();
    let read = sources::read(sources, environment, &problems);
    let own = sources.variables();
    settle(read, (sources.files(), own), environment, strictness, problems)
}

/// Turns a tree, and the names of its texts, into what will run. The tree came out of these files and variables.
fn settle(
    read: Option<(Rc<Node>, Vec<String>)>,
    (mut files, mut variables): (Vec<PathBuf>, BTreeSet<String>),
    environment: &Environment,
    strictness: Strictness,
    problems: RefCell<Problems>,
) -> Loaded {
    let (mut foreign, mut advice) = (Vec::new(), Vec::new());
    let plan = read.and_then(|(written, names)| {
        let mut told = problems.borrow_mut();
        let mut expander = expand::Expander::new(&names, environment, strictness, &mut told);
        let document = expander.expand(&written);
        files.append(&mut expander.read);
        foreign = expander.foreign;
        variables.append(&mut expander.variables);
        drop(told);
        let plan = check::plan(&document, &names, &variables, &problems)?;
        advice = check::advice::of_plan(&plan, &written, &document, &names);
        Some(plan)
    });
    let outside = Outside::new(foreign);
    let problems = problems.into_inner();
    let plan = plan.filter(|_| !problems.has_errors());
    let problems = problems.sorted().into_iter();
    let problems = problems.map(|problem| foreign::hidden(problem, &outside));
    let mut problems: Vec<Problem> = problems.collect();
    problems.dedup();
    Loaded { plan, problems, advice, files, outside }
}

/// What runs when there is no configuration: this machine's metrics, served on a page that takes the
/// next free port. The caller fills in the targets that it finds on this machine.
///
/// # Panics
/// Never: a test reads the text.
#[must_use]
pub fn embedded() -> Plan {
    let sources =
        Sources { configs: vec![format!("yaml:{}", builtin::EMBEDDED)], sets: Vec::new() };
    let loaded = load(&sources, &Environment::new(), Strictness::Run);
    let plan = loaded.plan.expect("the embedded default is a good configuration");
    Plan { http: check::default_http(true), ..plan }
}

#[cfg(test)]
mod tests;
