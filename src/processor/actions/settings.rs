//! The keys of `resource` and `attributes`, and what they become.

use serde::Deserialize;

use super::{Action, Into, Source};
use crate::base::place::{At, Place, Problems, given as get};
use crate::base::regexp;
use crate::signal::any_value::AnyValue;

/// Keys that are not built yet.
pub const LATER: &[(&str, &[&str])] =
    &[("RawAction", &["from_context"]), ("RawAttributes", &["include", "exclude"])];

/// `resource` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawResource {
    attributes: Option<At<Vec<At<RawAction>>>>,
}

/// `attributes` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawAttributes {
    actions: Option<At<Vec<At<RawAction>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawAction {
    key: Option<At<String>>,
    action: Option<At<String>>,
    value: Option<At<AnyValue>>,
    from_attribute: Option<At<String>>,
    pattern: Option<At<String>>,
    converted_type: Option<At<String>>,
}

impl RawResource {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, place: &Place, problems: &mut Problems) -> Vec<Action> {
        actions(&self.attributes, "attributes", place, problems)
    }
}

impl RawAttributes {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, place: &Place, problems: &mut Problems) -> Vec<Action> {
        actions(&self.actions, "actions", place, problems)
    }
}

fn actions(
    list: &Option<At<Vec<At<RawAction>>>>,
    key: &str,
    place: &Place,
    problems: &mut Problems,
) -> Vec<Action> {
    // What could not be read has been told.
    let unread = list.as_ref().is_some_and(|at| at.value.is_none());
    let list = get(list).map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() && !unread {
        problems.error(place, format!("`{key}:` is missing: it is a list of actions"));
    }
    list.iter().filter_map(|at| action(at, problems)).collect()
}

fn action(at: &At<RawAction>, problems: &mut Problems) -> Option<Action> {
    let raw = at.as_ref()?;
    let Some(written) = &raw.action else {
        problems.error(&at.place, "`action:` is missing");
        return None;
    };
    let word = written.as_ref()?.to_ascii_lowercase();
    let pattern = match &raw.pattern {
        Some(at) => {
            let text = at.as_ref()?;
            Some(regexp::build(text).map_err(|why| problems.error(&at.place, why)).ok()?)
        }
        None => None,
    };
    let key = get(&raw.key).filter(|key| !key.is_empty()).cloned();
    let by_pattern = matches!(word.as_str(), "delete" | "hash") && pattern.is_some();
    if key.is_none() && !by_pattern {
        let place = raw.key.as_ref().map_or(&at.place, |at| &at.place);
        problems.error(place, "`key:` is missing");
        return None;
    }
    let name = key.clone().unwrap_or_default();
    let mut source = || match (&raw.value, &raw.from_attribute) {
        (Some(value), None) => value.value.clone().map(Source::Value),
        (None, Some(from)) => from.value.clone().map(Source::Attribute),
        _ => {
            let message = format!("{word} takes either `value:` or `from_attribute:`");
            problems.error(&at.place, message);
            None
        }
    };
    Some(match word.as_str() {
        "insert" => Action::Insert(name, source()?),
        "update" => Action::Update(name, source()?),
        "upsert" => Action::Upsert(name, source()?),
        "delete" => Action::Delete(key, pattern),
        "hash" => Action::Hash(key, pattern),
        "extract" => {
            let named = pattern.filter(|regex| regex.capture_names().flatten().next().is_some());
            let Some(pattern) = named else {
                let place = raw.pattern.as_ref().map_or(&at.place, |at| &at.place);
                problems
                    .error(place, "extract takes a `pattern:` with named groups, (?P<name>...)");
                return None;
            };
            Action::Extract(name, pattern)
        }
        "convert" => match get(&raw.converted_type).map(String::as_str) {
            Some("int") => Action::Convert(name, Into::Int),
            Some("double") => Action::Convert(name, Into::Double),
            Some("string") => Action::Convert(name, Into::Text),
            Some("boolean") => Action::Convert(name, Into::Bool),
            _ => {
                let place = raw.converted_type.as_ref().map_or(&at.place, |at| &at.place);
                problems
                    .error(place, "convert takes `converted_type:` int, double, string or boolean");
                return None;
            }
        },
        other => {
            let known = "insert, update, upsert, delete, hash, extract, convert";
            problems.error(&written.place, format!("{other:?} is none of {known}"));
            return None;
        }
    })
}
