//! `resource` and `attributes`: actions on attributes, one after the other. What becomes of a resource
//! or of a target's attributes is found once and shared by its series.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

use crate::base::clock::{BootTime, Moment};
use crate::pipeline::stage::{Judgement, Processor, Refused};
use crate::signal::any_value::{AnyValue, Text};
use crate::signal::series::{Attributes, Resource, Series};

pub mod settings;

/// How often tables are looked through for what nobody uses any more.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// It is written in the configuration.
    Value(AnyValue),
    /// Another attribute; nothing happens where that is missing.
    Attribute(String),
}

/// What is done to an attribute.
#[derive(Clone, Debug)]
pub enum Action {
    /// Added where it is missing.
    Insert(String, Source),
    /// Changed where it is there.
    Update(String, Source),
    /// Added or changed.
    Upsert(String, Source),
    /// Removed: by its name, and every other whose name the expression matches.
    Delete(Option<String>, Option<Regex>),
    /// Its value is replaced by the SHA-256 of it.
    Hash(Option<String>, Option<Regex>),
    /// Named groups of the expression become attributes.
    Extract(String, Regex),
    /// Its value is turned into another kind.
    Convert(String, Into),
}

/// Kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// Whole numbers.
    Int,
    /// Numbers.
    Double,
    /// Texts.
    Text,
    /// True or false.
    Bool,
}

/// What is left of attributes after all actions.
#[must_use]
pub fn apply(actions: &[Action], attributes: &Attributes) -> Attributes {
    let mut list: Vec<(Text, AnyValue)> =
        attributes.iter().map(|(name, value)| (name.into(), value.clone())).collect();
    for action in actions {
        step(action, &mut list);
    }
    Attributes::new(list)
}

fn get<'l>(list: &'l [(Text, AnyValue)], key: &str) -> Option<&'l AnyValue> {
    list.iter().find(|(name, _)| **name == *key).map(|(_, value)| value)
}

fn set(list: &mut Vec<(Text, AnyValue)>, key: &str, value: AnyValue) {
    match list.iter_mut().find(|(name, _)| **name == *key) {
        Some(entry) => entry.1 = value,
        None => list.push((key.into(), value)),
    }
}

fn step(action: &Action, list: &mut Vec<(Text, AnyValue)>) {
    let value_of = |list: &[(Text, AnyValue)], source: &Source| match source {
        Source::Value(value) => Some(value.clone()),
        Source::Attribute(name) => get(list, name).cloned(),
    };
    let meant = |name: &str, key: &Option<String>, pattern: &Option<Regex>| {
        key.as_deref() == Some(name)
            || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name.as_bytes()))
    };
    match action {
        Action::Insert(key, source) | Action::Update(key, source) | Action::Upsert(key, source) => {
            let there = get(list, key).is_some();
            let wanted = match action {
                Action::Insert(..) => !there,
                Action::Update(..) => there,
                _ => true,
            };
            if let (true, Some(value)) = (wanted, value_of(list, source)) {
                set(list, key, value);
            }
        }
        Action::Delete(key, pattern) => list.retain(|(name, _)| !meant(name, key, pattern)),
        Action::Hash(key, pattern) => {
            for (_, value) in list.iter_mut().filter(|(name, _)| meant(name, key, pattern)) {
                let digest = ring::digest::digest(&ring::digest::SHA256, value.text().as_bytes());
                let hex: String =
                    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
                *value = hex.into();
            }
        }
        Action::Extract(key, pattern) => {
            let Some(text) = get(list, key).and_then(AnyValue::as_text).map(str::to_owned) else {
                return;
            };
            let Some(found) = pattern.captures(text.as_bytes()) else { return };
            for name in pattern.capture_names().flatten() {
                if let Some(part) = found.name(name) {
                    set(list, name, String::from_utf8_lossy(part.as_bytes()).into_owned().into());
                }
            }
        }
        Action::Convert(key, into) => {
            if let Some(value) = get(list, key).and_then(|value| convert(value, *into)) {
                set(list, key, value);
            }
        }
    }
}

/// A value as another kind; `None` when it cannot be read as one: it stays as it is.
fn convert(value: &AnyValue, into: Into) -> Option<AnyValue> {
    Some(match (into, value) {
        (Into::Text, value) => value.text().into_owned().into(),
        (Into::Int, AnyValue::Double(double)) => AnyValue::Int(*double as i64),
        (Into::Int, AnyValue::Bool(bool)) => AnyValue::Int(i64::from(*bool)),
        (Into::Int, AnyValue::Text(text)) => AnyValue::Int(text.parse().ok()?),
        (Into::Double, AnyValue::Int(int)) => AnyValue::Double(*int as f64),
        (Into::Double, AnyValue::Bool(bool)) => AnyValue::Double(f64::from(u8::from(*bool))),
        (Into::Double, AnyValue::Text(text)) => AnyValue::Double(text.parse().ok()?),
        (Into::Bool, AnyValue::Int(int)) => AnyValue::Bool(*int != 0),
        (Into::Bool, AnyValue::Double(double)) => AnyValue::Bool(*double != 0.0),
        (Into::Bool, AnyValue::Text(text)) => AnyValue::Bool(text.parse().ok()?),
        (_, same) => same.clone(),
    })
}

/// Resources and what they have become.
#[derive(Default)]
pub(super) struct Resources {
    known: HashMap<usize, (Arc<Resource>, Arc<Resource>)>,
    swept: BootTime,
}

impl Resources {
    /// What a series becomes when its resource is changed.
    pub(super) fn change(
        &mut self,
        series: &Arc<Series>,
        change: impl FnOnce(&Attributes) -> Attributes,
    ) -> Judgement {
        let key = Arc::as_ptr(&series.resource) as usize;
        let (_, next) = self.known.entry(key).or_insert_with(|| {
            let attributes = change(&series.resource.attributes);
            let before = Arc::clone(&series.resource);
            if attributes == before.attributes {
                (Arc::clone(&before), before)
            } else {
                (before, Arc::new(Resource { attributes }))
            }
        });
        if Arc::ptr_eq(next, &series.resource) {
            return Judgement::Keep;
        }
        let (shared, own) = (series.shared.clone(), series.own.clone());
        Judgement::Replace(Series::new(series.metric, shared, own, Arc::clone(next)))
    }

    /// Forgets resources that nobody else has.
    pub(super) fn sweep(&mut self, now: BootTime) {
        if now.since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.known.retain(|_, (before, after)| {
                let own = if Arc::ptr_eq(before, after) { 2 } else { 1 };
                Arc::strong_count(before) > own
            });
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

/// `resource`: actions on the attributes of resources.
pub struct ResourceActions {
    actions: Vec<Action>,
    resources: Resources,
}

impl ResourceActions {
    /// A processor with these actions.
    #[must_use]
    pub fn new(actions: Vec<Action>) -> Self {
        Self { actions, resources: Resources::default() }
    }
}

impl Processor for ResourceActions {
    fn judge(&mut self, series: &Arc<Series>) -> Result<Judgement, Refused> {
        let actions = &self.actions;
        Ok(self.resources.change(series, |attributes| apply(actions, attributes)))
    }

    fn tick(&mut self, now: Moment) -> bool {
        self.resources.sweep(now.boot);
        false
    }
}

/// `attributes`: actions on the attributes of points.
pub struct PointActions {
    actions: Vec<Action>,
    /// The attributes that the last series had in common with its target's others, and what they have
    /// become: the series of a target come one after the other.
    last: Option<(Attributes, Attributes)>,
}

impl PointActions {
    /// A processor with these actions.
    #[must_use]
    pub fn new(actions: Vec<Action>) -> Self {
        Self { actions, last: None }
    }
}

impl Processor for PointActions {
    fn judge(&mut self, series: &Arc<Series>) -> Result<Judgement, Refused> {
        let shared = match &self.last {
            Some((before, after)) if before.is(&series.shared) => after.clone(),
            _ => {
                let after = apply(&self.actions, &series.shared);
                self.last = Some((series.shared.clone(), after.clone()));
                after
            }
        };
        let before = series.attributes();
        let all = Attributes::new(before.iter().map(|(name, value)| (*name, (*value).clone())));
        let all = apply(&self.actions, &all);
        if all.iter().eq(before.iter().map(|(name, value)| (*name, *value))) {
            return Ok(Judgement::Keep);
        }
        // What all series of the target have stays in one piece, unless this one has not all of it.
        let has = |(name, _): (&str, &AnyValue)| all.get(name).is_some();
        let (shared, own) = if shared.iter().all(has) {
            let own = all.iter().filter(|(name, value)| shared.get(name) != Some(*value));
            let own = Attributes::new(own.map(|(name, value)| (name, value.clone())));
            (shared, own)
        } else {
            (Attributes::default(), all)
        };
        let resource = Arc::clone(&series.resource);
        Ok(Judgement::Replace(Series::new(series.metric, shared, own, resource)))
    }
}

#[cfg(test)]
mod tests;
