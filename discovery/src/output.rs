//! What a job writes: the hand-written head of a file as it is, and below it what was found, in an
//! order that stays the same.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use watchpost_targets::folder::Folder;
use watchpost_targets::label::{HUMAN_NAME, LAST_SEEN_HINT, MODULE_HINT};
use watchpost_targets::{Target, TargetSet, file, render_file_sd};

use crate::address::{is_address, normal};
use crate::lan::{leaving, remark};

/// A field of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The address.
    Address,
    /// The label `humanname`.
    HumanName,
    /// The label `routing`.
    Routing,
    /// The label `switching`.
    Switching,
    /// The module.
    Module,
}

impl Field {
    /// The field of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "address" | "url" => Field::Address,
            "humanname" => Field::HumanName,
            "routing" => Field::Routing,
            "switching" | "switch" => Field::Switching,
            "module" => Field::Module,
            _ => return None,
        })
    }

    fn of(self, target: &Target) -> &str {
        let label = |name: &str| target.labels.get(name).map_or("", String::as_str);
        match self {
            Field::Address => &target.address,
            Field::HumanName => label(HUMAN_NAME),
            Field::Routing => label("routing"),
            Field::Switching => label("switching"),
            Field::Module => target.hints.get(MODULE_HINT).map_or("", String::as_str),
        }
    }
}

/// How targets are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One string a target, its fields with `;` between.
    Pinghosts(Vec<Field>),
    /// Prometheus' form: groups of targets with labels.
    FileSd,
}

impl Format {
    /// Whether a target's label can be said in it.
    #[must_use]
    pub fn has_label(&self, name: &str) -> bool {
        match self {
            Format::FileSd => true,
            Format::Pinghosts(fields) => Field::parse(name).is_some_and(|f| fields.contains(&f)),
        }
    }
}

impl Default for Format {
    fn default() -> Self {
        Format::Pinghosts(vec![Field::Address, Field::HumanName, Field::Routing])
    }
}

/// Where a job writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The file.
    pub file: PathBuf,
    /// The line that ends what is written by hand; `None`: the whole file is the job's.
    pub keep_until: Option<String>,
    /// How targets are written.
    pub format: Format,
}

/// Why nothing is written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// The marker is not in the file.
    #[error("{0}: the line {1:?}, which ends what is kept, is not in it: nothing is written")]
    NoMarker(PathBuf, String),
    /// The marker is there twice: nobody knows which of them is meant.
    #[error("{0}: the line {1:?} is in it more than once: nothing is written")]
    TwoMarkers(PathBuf, String),
    /// The file was not made by a job.
    #[error(
        "{0}: it was not written by a job: nothing is written without --force (`keep_until:` keeps what is there)"
    )]
    NotOurs(PathBuf),
    /// What is there cannot be read, so that nobody knows what would be lost.
    #[error("{0}: what is there cannot be read: nothing is written without --force: {1}")]
    Broken(PathBuf, String),
    /// Not all files could be read, and they may hold what would go.
    #[error(
        "{file}: {gone} targets would go, and too little could be read: nothing is written without --force"
    )]
    Doubtful {
        /// The file.
        file: PathBuf,
        /// How many would go.
        gone: usize,
    },
    /// So many targets would go that the scan is to be doubted.
    #[error("{file}: {gone} of {before} targets would go: nothing is written without --force")]
    Shrunk {
        /// The file.
        file: PathBuf,
        /// How many there are.
        before: usize,
        /// How many would go.
        gone: usize,
    },
    /// Nothing of what was found can be said in this format.
    #[error("{0}: nothing that was found can be written: {1}: nothing is written without --force")]
    Nothing(PathBuf, String),
    /// What is kept cannot be read.
    #[error("{0}: what is kept cannot be read: {1}")]
    Head(PathBuf, String),
    /// What is kept does not end where targets may follow.
    #[error("{0}: nothing can be written below what is kept: {1}")]
    Below(PathBuf, String),
}

/// How a file begins that is wholly a job's.
const OWN: &str = "# Written by watchpost discover";
/// What of it stays.
const ALL_LOST: &str = ": changes are lost.\n";
const NAMES_STAY: &str = ": names stay, other changes are lost.\n";

/// How far a scan is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It has seen all there is.
    Whole,
    /// Some files could not be read: nothing may go.
    Doubtful,
    /// Somebody wants it written whatever it has seen.
    Forced,
}

/// A file as it would be.
#[derive(Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The whole text.
    pub text: String,
    /// How many targets are written below the head.
    pub written: usize,
    /// Targets that the head has already.
    pub kept: usize,
    /// Targets that this format cannot express: the address and why.
    pub inexpressible: Vec<(String, String)>,
}

/// Renders a file anew.
///
/// # Errors
/// Why nothing may be written.
///
/// `trust` says how far the scan is to be believed.
pub fn render(
    output: &Output,
    old: Option<&str>,
    targets: &[Target],
    trust: Trust,
) -> Result<Rendered, Refused> {
    let force = trust == Trust::Forced;
    let foreign = |old: &str| !old.trim().is_empty() && !old.starts_with(OWN);
    if !force && output.keep_until.is_none() && old.is_some_and(foreign) {
        return Err(Refused::NotOurs(output.file.clone()));
    }
    let (head, below) = split(output, old)?;
    let there = |text: &str| {
        let content = file::parse(text, &output.file);
        content
            .map(|content| content.targets)
            .map_err(|error| Refused::Head(output.file.clone(), error.to_string()))
    };
    let kept_addresses: BTreeSet<String> =
        there(&head)?.into_iter().map(|target| normal(&target.address)).collect();
    let (mut new, mut kept, mut inexpressible) = (Vec::new(), 0, Vec::new());
    for target in targets {
        if kept_addresses.contains(&normal(&target.address)) {
            kept += 1;
            continue;
        }
        match expressible(&output.format, target) {
            Ok(()) => new.push(target),
            Err(why) => inexpressible.push((target.address.clone(), why)),
        }
    }
    // What was there before, to see what would go.
    let whole = match old.map(there).transpose() {
        Ok(whole) => whole.unwrap_or_default(),
        Err(_) if force => Vec::new(),
        Err(error) => return Err(Refused::Broken(output.file.clone(), error.to_string())),
    };
    let before: BTreeSet<String> = match below {
        Some(below) => {
            // Those that are gone already, and whose time is over, are expected to go.
            let leaving = leaving(below);
            whole
                .into_iter()
                .filter(|target| !target.hints.contains_key(LAST_SEEN_HINT))
                .map(|target| normal(&target.address))
                .filter(|address| !kept_addresses.contains(address) && !leaving.contains(address))
                .collect()
        }
        None => BTreeSet::new(),
    };
    let now: BTreeSet<String> = new.iter().map(|target| normal(&target.address)).collect();
    let gone = before.difference(&now).count();
    if trust == Trust::Doubtful && gone > 0 {
        return Err(Refused::Doubtful { file: output.file.clone(), gone });
    }
    if !force && gone > 5 && gone * 2 > before.len() {
        return Err(Refused::Shrunk { file: output.file.clone(), before: before.len(), gone });
    }
    if let (true, false, false, Some((_, why))) =
        (new.is_empty(), before.is_empty(), force, inexpressible.first())
    {
        return Err(Refused::Nothing(output.file.clone(), why.clone()));
    }
    let written = new.len();
    let body = match &output.format {
        Format::Pinghosts(fields) => lines(&head, fields, &new),
        Format::FileSd => {
            let mut set = TargetSet::default();
            for target in &new {
                let _ = set.insert((*target).clone());
            }
            if set.is_empty() && !head.trim().is_empty() {
                String::new()
            } else {
                render_file_sd(&set)
            }
        }
    };
    let text = head + &body;
    // Lines below a head that does not end in a list of targets would be lost, or something else.
    let content = file::parse(&text, &output.file)
        .map_err(|error| Refused::Below(output.file.clone(), error.to_string()))?;
    let there: BTreeSet<String> = content.targets.iter().map(|t| normal(&t.address)).collect();
    if let Some(lost) = now.difference(&there).next() {
        return Err(Refused::Below(output.file.clone(), format!("{lost} would not be a target")));
    }
    Ok(Rendered { text, written, kept, inexpressible })
}

impl Rendered {
    /// As it is for a job that keeps names.
    #[must_use]
    pub fn with_names(mut self) -> Self {
        let head = format!("{OWN}{ALL_LOST}");
        if self.text.starts_with(&head) {
            self.text.replace_range(..head.len(), &format!("{OWN}{NAMES_STAY}"));
        }
        self
    }
}

/// What is kept, and what stands below it.
pub(crate) fn split<'o>(
    output: &Output,
    old: Option<&'o str>,
) -> Result<(String, Option<&'o str>), Refused> {
    let fresh = matches!(output.format, Format::Pinghosts(_));
    let Some(marker) = &output.keep_until else {
        let list = if fresh { "- targets:\n" } else { "" };
        return Ok((format!("{OWN}{ALL_LOST}{list}"), old));
    };
    let Some(old) = old else {
        let head =
            if fresh { format!("- targets:\n    {marker}\n") } else { format!("{marker}\n") };
        return Ok((head, None));
    };
    // The line says this and nothing else: what merely has it in it is not the end of what is kept.
    let (mut end, mut ends) = (0, Vec::new());
    for line in old.split_inclusive('\n') {
        end += line.len();
        if line.trim() == marker.trim() {
            ends.push(end);
        }
    }
    match ends[..] {
        [] => Err(Refused::NoMarker(output.file.clone(), marker.clone())),
        [end] => {
            let mut head = old[..end].to_owned();
            if !head.ends_with('\n') {
                head.push('\n');
            }
            Ok((head, Some(&old[end..])))
        }
        _ => Err(Refused::TwoMarkers(output.file.clone(), marker.clone())),
    }
}

/// Why a format cannot hold all that a target says.
fn expressible(format: &Format, target: &Target) -> Result<(), String> {
    is_address(&target.address)?;
    let Format::Pinghosts(fields) = format else { return Ok(()) };
    let has = |field| fields.contains(&field);
    // That is a comment of its line.
    for name in target.hints.keys().filter(|name| *name != LAST_SEEN_HINT) {
        if name != MODULE_HINT {
            return Err("lines cannot say an interval of its own: `format: file_sd` can".to_owned());
        }
        if !has(Field::Module) {
            return Err("the lines have no field for a module: add it to `template:`, or write `format: file_sd`".to_owned());
        }
    }
    for (name, value) in &target.labels {
        // A name is made for every target; that there is no room for it is the user's wish.
        if !format.has_label(name) && name != HUMAN_NAME {
            return Err(format!(
                "the lines have no field for the label {name}: `format: file_sd` has"
            ));
        }
        if value.contains(';') {
            return Err(format!(
                "the label {name} has a ; in it, which parts the fields of a line"
            ));
        }
    }
    if target.hints.get(MODULE_HINT).is_some_and(|module| module.contains(';')) {
        return Err("its module has a ; in it, which parts the fields of a line".to_owned());
    }
    Ok(())
}

/// The lines, sorted by their bytes, or by their numbers where all are addresses of hosts; indented as
/// those of the head are.
fn lines(head: &str, fields: &[Field], targets: &[&Target]) -> String {
    let mut item = head.lines().filter(|line| line.trim_start().starts_with("- "));
    let item = item.rfind(|line| !line.trim_start().starts_with("- targets"));
    let indent = item.map_or("    ", |line| &line[..line.len() - line.trim_start().len()]);
    let line = |target: &&Target| {
        let mut fields: Vec<&str> = fields.iter().map(|field| field.of(target)).collect();
        // Fields at the end that say nothing are left out; a name in between is written as none.
        while fields.last().is_some_and(|field| field.is_empty()) {
            fields.pop();
        }
        if let Some(name) = fields.get_mut(1).filter(|name| name.is_empty()) {
            *name = "-";
        }
        let row = format!("{indent}- {}{}\n", scalar(&fields.join(";")), remark(target));
        (target.address.parse::<IpAddr>().ok(), row)
    };
    let rows: BTreeSet<(Option<IpAddr>, String)> = targets.iter().map(line).collect();
    if rows.iter().all(|(address, _)| address.is_some()) {
        return rows.into_iter().map(|(_, row)| row).collect();
    }
    let rows: BTreeSet<String> = rows.into_iter().map(|(_, row)| row).collect();
    rows.into_iter().collect()
}

/// A text as YAML writes it: plain where that means the same.
fn scalar(text: &str) -> String {
    let same = watchpost_targets::yaml::parse(&format!("- {text}")).is_ok_and(|node| {
        let watchpost_targets::yaml::Value::Sequence(items) = &node.value else { return false };
        items.len() == 1 && items[0].text() == Some(text)
    });
    if same { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// Writes a file in one step; a new one is readable for all.
///
/// # Errors
/// The error of the file system, with the path. Returns whether it was written.
pub fn write(path: &Path, text: &str) -> Result<bool, String> {
    with_folder(path, || file::write_atomic(path, text))
}

/// As [`write()`], when the file is still as it was (`None`: there was none).
///
/// # Errors
/// The error of the file system, with the path, or that the file has changed.
pub fn write_over(path: &Path, text: &str, old: Option<&str>) -> Result<bool, String> {
    with_folder(path, || file::write_over(path, text, old))
}

fn with_folder(path: &Path, write: impl FnOnce() -> io::Result<bool>) -> Result<bool, String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), |folder| Folder::make(folder).map(drop));
    made.and_then(|()| write()).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
