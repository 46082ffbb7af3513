//! Target files: Prometheus `file_sd` in YAML or JSON, and the pinghosts family, read and written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::folder::{MAX_LINKS, Place};
use crate::label::{Labels, is_label_name};
use crate::set::TargetSet;
use crate::target::{Origin, Problem, Target, parse_line};
use crate::yaml::{self, Mark, Node, Value};

/// The largest target file that is read, in bytes (about 200,000 targets).
pub const MAX_BYTES: u64 = 32 << 20;

/// What a target file holds: the targets that could be read, and what could not.
#[derive(Debug, Default, PartialEq)]
pub struct FileContent {
    /// The targets in the order of the file.
    pub targets: Vec<Target>,
    /// Lines that could not be read.
    pub problems: Vec<Problem>,
}

/// A file that could not be read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is not there.
    #[error("{0}: no such file")]
    Missing(PathBuf),
    /// The file could not be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, io::Error),
    /// The file is larger than [`MAX_BYTES`].
    #[error("{0}: larger than 32 MiB")]
    TooLarge(PathBuf),
    /// The text is not YAML or JSON, or not a list of groups.
    #[error("{file}:{}:{}: {message}", mark.line, mark.column)]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The place in it.
        mark: Mark,
        /// What is wrong.
        message: String,
    },
}

/// Reads one target file. The extension does not matter: JSON is read as the YAML that it is.
///
/// # Errors
/// When the file as a whole cannot be read; wrong lines are in [`FileContent::problems`] instead.
pub fn read(path: &Path) -> Result<FileContent, ReadError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Missing(path.to_owned()),
        _ => ReadError::Unreadable(path.to_owned(), error),
    };
    // Opening a pipe would wait for somebody to write.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("not a regular file")));
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    parse(&text, path)
}

/// Reads the text of a target file; `path` names it in places and messages.
///
/// # Errors
/// When the text is not YAML or JSON, or not a list of groups.
pub fn parse(text: &str, path: &Path) -> Result<FileContent, ReadError> {
    let syntax = |mark, message| ReadError::Syntax { file: path.to_owned(), mark, message };
    let document = match yaml::parse(text) {
        Ok(document) => document,
        // JSON knows escapes that YAML does not (surrogate pairs): what serde_json reads is read.
        Err(error) => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) => Rc::new(from_json(&value)),
            Err(_) => return Err(syntax(error.mark, error.message)),
        },
    };
    let file: Arc<str> = path.display().to_string().into();
    let groups = match &document.value {
        Value::Null => return Ok(FileContent::default()),
        Value::Sequence(groups) => groups,
        _ => {
            let message = format!(
                "a list of groups (`- targets: [...]`) is expected, found {}",
                document.kind()
            );
            return Err(syntax(document.mark, message));
        }
    };
    let mut reader = GroupReader { file, content: FileContent::default() };
    for group in groups {
        reader.group(group);
    }
    Ok(reader.content)
}

struct GroupReader {
    file: Arc<str>,
    content: FileContent,
}

impl GroupReader {
    fn origin(&self, mark: Mark) -> Origin {
        Origin { file: Arc::clone(&self.file), line: mark.line }
    }

    fn problem(&mut self, mark: Mark, message: String) {
        let origin = self.origin(mark);
        self.content.problems.push(Problem { origin, message });
    }

    fn group(&mut self, group: &Node) {
        if !matches!(group.value, Value::Mapping(_)) {
            let message = format!("a group with `targets:` is expected, found {}", group.kind());
            return self.problem(group.mark, message);
        }
        for entry in group.entries().iter().filter(|e| e.key != "targets" && e.key != "labels") {
            let message =
                format!("unknown key {:?} in a group (known: targets, labels)", entry.key);
            self.problem(entry.key_mark, message);
        }
        let labels = group.get("labels").map(|node| self.labels(node)).unwrap_or_default();
        let Some(targets) = group.get("targets") else {
            return self.problem(group.mark, "a group without `targets:`".to_owned());
        };
        match &targets.value {
            Value::Null => {}
            Value::Sequence(items) => {
                for item in items {
                    self.target(item, &labels);
                }
            }
            _ => self.problem(
                targets.mark,
                format!("`targets:` must be a list, found {}", targets.kind()),
            ),
        }
    }

    fn target(&mut self, item: &Node, labels: &Labels) {
        let Some(text) = item.text() else {
            return self
                .problem(item.mark, format!("a target must be a text, found {}", item.kind()));
        };
        match parse_line(text, labels, self.origin(item.mark)) {
            Ok(target) => self.content.targets.push(target),
            Err(problem) => self.content.problems.push(problem),
        }
    }

    fn labels(&mut self, node: &Node) -> Labels {
        let mut labels = Labels::new();
        if !matches!(node.value, Value::Mapping(_) | Value::Null) {
            self.problem(node.mark, format!("`labels:` must be a map, found {}", node.kind()));
        }
        for entry in node.entries() {
            if !is_label_name(&entry.key) {
                self.problem(entry.key_mark, format!("{:?} is not a label name", entry.key));
            } else if let Some(text) = entry.value.text() {
                labels.insert(entry.key.clone(), text.to_owned());
            } else if !entry.value.is_null() {
                let message = format!(
                    "the label {:?} must be a text, found {}",
                    entry.key,
                    entry.value.kind()
                );
                self.problem(entry.value.mark, message);
            }
        }
        labels
    }
}

fn from_json(value: &serde_json::Value) -> Node {
    use serde_json::Value as Json;
    let mark = Mark { line: 1, column: 1, source: 0 };
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(_) | Json::Number(_) => Value::Scalar { text: value.to_string(), plain: true },
        Json::String(text) => Value::Scalar { text: text.clone(), plain: false },
        Json::Array(items) => {
            Value::Sequence(items.iter().map(|item| Rc::new(from_json(item))).collect())
        }
        Json::Object(map) => Value::Mapping(
            map.iter()
                .map(|(key, value)| yaml::Entry {
                    key: key.clone(),
                    key_mark: mark,
                    value: Rc::new(from_json(value)),
                })
                .collect(),
        ),
    };
    Node::new(mark, value)
}

/// The files that a `target_files` entry names: itself, or what a `*` in its last path segment
/// matches, sorted.
///
/// # Errors
/// A sentence, when the pattern is not one, or has `*` elsewhere than in the last segment.
pub fn expand_pattern(path: &Path) -> Result<Vec<PathBuf>, String> {
    let text = path.to_string_lossy();
    if !text.contains('*') {
        return Ok(vec![path.to_owned()]);
    }
    if path.parent().is_some_and(|parent| parent.to_string_lossy().contains('*')) {
        return Err(format!("{text}: `*` may stand in the last path segment only"));
    }
    let paths = glob::glob(&text).map_err(|error| format!("{text}: {error}"))?;
    let mut found: Vec<PathBuf> = paths.filter_map(Result::ok).collect();
    found.sort();
    Ok(found)
}

/// Whether a path is one of those that a pattern names.
#[must_use]
pub fn is_named_by(path: &Path, pattern: &Path) -> bool {
    let glob = glob::Pattern::new(&pattern.to_string_lossy());
    path == pattern || glob.is_ok_and(|glob| glob.matches_path(path))
}

/// Writes targets as `file_sd` YAML: one group for each set of labels, sorted, strings quoted as
/// JSON does it, which is YAML too.
#[must_use]
pub fn render_file_sd(targets: &TargetSet) -> String {
    let mut groups: BTreeMap<Labels, Vec<&str>> = BTreeMap::new();
    for target in targets.iter() {
        let mut labels = target.labels.clone();
        labels.extend(target.hints.clone());
        groups.entry(labels).or_default().push(&target.address);
    }
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = String::new();
    if groups.is_empty() {
        out.push_str("[]\n");
    }
    for (labels, addresses) in groups {
        out.push_str("- targets:\n");
        for address in addresses {
            let _ = writeln!(out, "    - {}", quoted(address));
        }
        if !labels.is_empty() {
            out.push_str("  labels:\n");
        }
        for (name, value) in labels {
            let _ = writeln!(out, "    {name}: {}", quoted(&value));
        }
    }
    out
}

/// Where a path leads once all links are followed, also where nothing is yet: links that lead nowhere
/// lead to what they name.
#[must_use]
pub fn destination(path: &Path) -> PathBuf {
    follow(path, MAX_LINKS)
}

fn follow(path: &Path, links: usize) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    let Some(name) = path.file_name() else { return path.to_owned() };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::read_link(path) {
        Ok(target) if links > 0 => follow(&folder.join(target), links - 1),
        _ => follow(folder, links).join(name),
    }
}

/// Replaces a file in one step: a reader sees the old text or the new one, never a part. Links are
/// followed, so that they go on being links; root follows only links that no other user controls, and writes with the
/// permissions of the folder's owner.
/// The mode of the old file is kept, that of a new one is 0644; nothing is written when the text is the same.
///
/// # Errors
/// The error of the file system; the old file is then untouched. Returns whether it was written.
pub fn write_atomic(path: &Path, text: &str) -> io::Result<bool> {
    put(path, text, None)
}

/// As [`write_atomic`], when the file still has the text from which the new one was made (`None`:
/// there was none). Another process, or somebody's editor, may have written meanwhile.
///
/// # Errors
/// As [`write_atomic`], and when the file has changed.
pub fn write_over(path: &Path, text: &str, old: Option<&str>) -> io::Result<bool> {
    put(path, text, Some(old))
}

fn put(path: &Path, text: &str, expected: Option<Option<&str>>) -> io::Result<bool> {
    let place = Place::find(path)?;
    let mode = place.mode()?;
    // The old file is read as the caller, and the new one written as the owner of the folder.
    let have = place.read(text.len());
    if have.as_ref().is_ok_and(|have| have.as_deref() == Some(text.as_bytes())) {
        return Ok(false);
    }
    let (mut file, temporary) = place.folder.as_owner(|| place.temporary())?;
    let written = (|| {
        file.write_all(text.as_bytes())?;
        // Another program reads it, whatever the mask of the one that writes (cron's may be strict).
        file.set_permissions(fs::Permissions::from_mode(mode.unwrap_or(0o644)))?;
        file.sync_all()?;
        if let Some(old) = expected {
            let now = place.read(old.map_or(0, str::len))?;
            unchanged(now.as_deref(), old)?;
        }
        place.folder.as_owner(|| place.replace_by(&temporary))
    })();
    if written.is_err() {
        let _ = place.folder.as_owner(|| {
            place.remove(&temporary);
            Ok(())
        });
    }
    written.map(|()| true)
}

fn unchanged(now: Option<&[u8]>, old: Option<&str>) -> io::Result<()> {
    if now == old.map(str::as_bytes) {
        return Ok(());
    }
    Err(io::Error::other("it has changed meanwhile: nothing is written"))
}

#[cfg(test)]
mod tests;
