//! Places in configuration files, and the problems found there: all of them, each with its place.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A place in a configuration: file, line and column from 1, and the dotted path of the key.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The file as it was given.
    pub file: Arc<str>,
    /// The line, from 1; 0 when the place is no text.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// The path of keys, such as `receivers.probe/lan.interval`.
    pub path: String,
}

impl Place {
    /// A path as it is written here: relative ones begin at the folder of this file.
    #[must_use]
    pub fn beside(&self, path: &str) -> PathBuf {
        Path::new(&*self.file).parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A value of a configuration file and its place. A value that could not be read is `None`, and the
/// problem has been told already: one wrong value never hides another.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// Where it stands.
    pub place: Place,
    /// What stands there, if it could be read.
    pub value: Option<T>,
}

impl<T> At<T> {
    /// The value, where it could be read.
    pub fn as_ref(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

/// The value of an optional key, where it is written and could be read.
pub fn given<T>(at: &Option<At<T>>) -> Option<&T> {
    at.as_ref().and_then(At::as_ref)
}

/// The struct name by which [`At`] asks the configuration's deserializer for place and value.
pub const AT: &str = "$watchpost::At";
/// The fields of that struct, in the order in which they are handed over.
pub const AT_FIELDS: [&str; 5] = ["file", "line", "column", "path", "value"];

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = At<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<At<T>, A::Error> {
                let mut place = Place::default();
                let mut value = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "file" => place.file = map.next_value::<String>()?.into(),
                        "line" => place.line = map.next_value()?,
                        "column" => place.column = map.next_value()?,
                        "path" => place.path = map.next_value()?,
                        // The deserializer has told the problem; the other values live on.
                        _ => value = map.next_value().ok(),
                    }
                }
                Ok(At { place, value })
            }
        }
        deserializer.deserialize_struct(AT, &AT_FIELDS, Fields(PhantomData))
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is started.
    Error,
    /// Said, and gone on.
    Warning,
}

/// Something wrong in a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// What, in one sentence without a full stop.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column, path } = &self.place;
        f.write_str(file)?;
        if *line > 0 {
            write!(f, ":{line}:{column}")?;
        }
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {word}: ")?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// All problems found so far.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    /// What exists in the Collector and not here is left out, and only said.
    skip: bool,
    skipped: Vec<String>,
}

impl Problems {
    /// Adds an error.
    pub fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.add(place, Severity::Error, message.into());
    }

    /// Adds a warning.
    pub fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.add(place, Severity::Warning, message.into());
    }

    /// Leaves out from now on what exists in the Collector and not here.
    pub fn skip_unsupported(&mut self) {
        self.skip = true;
    }

    /// Whether what exists in the Collector and not here is left out.
    #[must_use]
    pub fn is_skipping(&self) -> bool {
        self.skip
    }

    /// Adds something that exists in the Collector and not here: an error, unless such things are to
    /// be left out.
    pub fn unsupported(&mut self, place: &Place, message: impl Into<String>) {
        let message = message.into();
        if self.skip {
            let path = if place.path.is_empty() { &message } else { &place.path };
            if !self.skipped.contains(path) {
                self.skipped.push(path.clone());
            }
            self.warning(place, format!("{message}: it is left out"));
        } else {
            self.error(place, message);
        }
    }

    /// The paths of everything that has been left out.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    fn add(&mut self, place: &Place, severity: Severity, message: String) {
        let problem = Problem { place: place.clone(), severity, message };
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// Whether there is an error among them.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All of them, in the order of the text.
    #[must_use]
    pub fn sorted(mut self) -> Vec<Problem> {
        self.list.sort_by(|a, b| {
            (&a.place.file, a.place.line, a.place.column).cmp(&(
                &b.place.file,
                b.place.line,
                b.place.column,
            ))
        });
        self.list
    }
}

/// ` (did you mean X?)` where a known word is near a wrong one, else nothing.
#[must_use]
pub fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, known).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

/// The known word nearest to a wrong one, for "did you mean".
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + wrong.chars().count() / 4;
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&wrong, &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_read_well_and_come_in_order() {
        let place = |line| Place { file: "w.yaml".into(), line, column: 3, path: "a.b".into() };
        let mut problems = Problems::default();
        problems.warning(&place(9), "late");
        problems.error(&place(2), "must be at least 1s");
        problems.error(&place(2), "must be at least 1s");
        assert!(problems.has_errors());
        let texts: Vec<String> = problems.sorted().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["w.yaml:2:3: error: a.b: must be at least 1s", "w.yaml:9:3: warning: a.b: late"]
        );
    }

    #[test]
    fn nearest_words() {
        let known = ["interval", "module", "targets", "target_files"];
        assert_eq!(nearest("intervall", known), Some("interval"));
        assert_eq!(nearest("target_file", known), Some("target_files"));
        assert_eq!(nearest("completely_else", known), None);
    }
}
