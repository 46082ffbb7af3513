//! The keys of the filter, in both forms that the Collector knows, and what they become.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::legacy::{Block, Legacy, Matcher};
use super::{ErrorMode, Rule};
use crate::base::place::{At, Place, Problems, given as get};
use crate::base::regexp;
use crate::processor::ottl::{Condition, Context};

/// Keys that are not built yet.
pub const LATER: &[(&str, &[&str])] = &[
    (
        "RawFilter",
        &[
            "traces",
            "logs",
            "profiles",
            "spans",
            "trace_conditions",
            "log_conditions",
            "profile_conditions",
        ],
    ),
    ("RawBlock", &["expressions"]),
];

/// The filter as it is written; the items of `metric_conditions:`, texts or maps, are read apart.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawFilter {
    error_mode: Option<At<String>>,
    metrics: Option<At<RawMetrics>>,
    #[serde(rename = "metric_conditions")]
    _conditions: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawMetrics {
    resource: Vec<At<String>>,
    metric: Vec<At<String>>,
    datapoint: Vec<At<String>>,
    include: Option<At<RawBlock>>,
    exclude: Option<At<RawBlock>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawBlock {
    match_type: Option<At<String>>,
    metric_names: Vec<At<String>>,
    resource_attributes: Vec<At<RawPair>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawPair {
    key: Option<At<String>>,
    value: Option<At<String>>,
}

/// An item of `metric_conditions:`.
#[derive(Debug)]
pub enum RawItem {
    /// A condition that says itself what it is about.
    Text(At<String>),
    /// Conditions about one thing.
    Group(RawGroup),
}

/// Conditions about one thing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawGroup {
    context: Option<At<String>>,
    conditions: Vec<At<String>>,
    error_mode: Option<At<String>>,
}

/// What runs.
#[derive(Debug, Default)]
pub struct Settings {
    /// The conditions: resource before metric before datapoint.
    pub rules: Vec<Rule>,
    /// Where each of them is written.
    pub places: Vec<Place>,
    /// The old blocks.
    pub legacy: Legacy,
}

impl RawFilter {
    /// Turns what is written into what will run; `items` is `metric_conditions:`.
    #[must_use]
    pub fn settle(
        &self,
        place: &Place,
        items: Option<Vec<RawItem>>,
        problems: &mut Problems,
    ) -> Settings {
        let default = mode(&self.error_mode, problems).unwrap_or(ErrorMode::Ignore);
        let mut found: Vec<(Rule, Place)> = Vec::new();
        let mut legacy = Legacy::default();
        if let Some(at) = &self.metrics {
            if items.is_some() {
                problems.error(&at.place, "`metrics:` and `metric_conditions:` exclude each other");
            }
            if let Some(metrics) = at.as_ref() {
                for (list, context) in [
                    (&metrics.resource, Context::Resource),
                    (&metrics.metric, Context::Metric),
                    (&metrics.datapoint, Context::Datapoint),
                ] {
                    found.extend(rules(list, Some(context), default, problems));
                }
                legacy.include = metrics.include.as_ref().and_then(|at| block(at, problems));
                legacy.exclude = metrics.exclude.as_ref().and_then(|at| block(at, problems));
                let old = metrics.include.as_ref().or(metrics.exclude.as_ref());
                if let (Some(at), false) = (old, found.is_empty()) {
                    let message = "conditions and include or exclude are not mixed in one filter";
                    problems.error(&at.place, message);
                }
            }
        }
        for item in items.iter().flatten() {
            match item {
                RawItem::Text(at) => {
                    found.extend(rules(std::slice::from_ref(at), None, default, problems));
                }
                RawItem::Group(group) => {
                    let context = get(&group.context).and_then(|word| {
                        let context = Context::of(word);
                        if context.is_none() {
                            let at = &group.context.as_ref().expect("it was given").place;
                            let message =
                                format!("{word:?} is none of resource, scope, metric, datapoint");
                            problems.error(at, message);
                        }
                        context
                    });
                    let errors = mode(&group.error_mode, problems).unwrap_or(default);
                    // A wrong context has been told; the conditions are not blamed for it.
                    if group.context.is_some() && context.is_none() {
                        continue;
                    }
                    found.extend(rules(&group.conditions, context, errors, problems));
                }
            }
        }
        let lists = |metrics: &RawMetrics| {
            metrics.resource.is_empty()
                && metrics.metric.is_empty()
                && metrics.datapoint.is_empty()
                && metrics.include.is_none()
                && metrics.exclude.is_none()
        };
        let nothing = items.as_ref().is_none_or(Vec::is_empty)
            && self.metrics.as_ref().is_none_or(|at| at.as_ref().is_some_and(lists));
        if nothing {
            problems.warning(place, "no conditions: nothing is filtered");
        }
        // The narrower a condition is, the later it is asked.
        found.sort_by_key(|(rule, _)| rule.condition.context);
        let (rules, places) = found.into_iter().unzip();
        Settings { rules, places, legacy }
    }
}

fn mode(at: &Option<At<String>>, problems: &mut Problems) -> Option<ErrorMode> {
    let at = at.as_ref()?;
    match at.as_ref()?.as_str() {
        "ignore" => Some(ErrorMode::Ignore),
        "silent" => Some(ErrorMode::Silent),
        "propagate" => Some(ErrorMode::Propagate),
        other => {
            problems.error(&at.place, format!("{other:?} is none of ignore, silent, propagate"));
            None
        }
    }
}

fn rules(
    list: &[At<String>],
    context: Option<Context>,
    errors: ErrorMode,
    problems: &mut Problems,
) -> Vec<(Rule, Place)> {
    let mut rules = Vec::new();
    for at in list {
        let Some(text) = at.as_ref() else { continue };
        match Condition::new(text, context) {
            Ok(condition) => rules.push((Rule { condition, errors }, at.place.clone())),
            Err(why) => problems.error(&at.place, why.to_string()),
        }
    }
    rules
}

fn block(at: &At<RawBlock>, problems: &mut Problems) -> Option<Block> {
    let raw = at.as_ref()?;
    let regexp = match get(&raw.match_type).map(String::as_str) {
        Some("strict") => false,
        Some("regexp") => true,
        other => {
            let place = raw.match_type.as_ref().map_or(&at.place, |at| &at.place);
            let message = match other {
                Some("expr") => {
                    "match_type expr is not supported yet: write a condition".to_owned()
                }
                Some(other) => format!("{other:?} is none of strict, regexp"),
                None => "`match_type:` is missing: strict or regexp".to_owned(),
            };
            problems.error(place, message);
            return None;
        }
    };
    let mut matcher = |at: &At<String>| {
        let text = at.as_ref()?;
        if !regexp {
            return Some(Matcher::Strict(text.clone()));
        }
        regexp::build(text).map_err(|why| problems.error(&at.place, why)).ok().map(Matcher::Regexp)
    };
    let metric_names = raw.metric_names.iter().filter_map(&mut matcher).collect();
    let mut resource_attributes = Vec::new();
    let mut incomplete = Vec::new();
    for pair_at in &raw.resource_attributes {
        let Some(pair) = pair_at.as_ref() else { continue };
        match (&pair.key, &pair.value) {
            (Some(key), Some(value)) => resource_attributes
                .extend(key.value.clone().and_then(|key| Some((key, matcher(value)?)))),
            _ => incomplete.push(&pair_at.place),
        }
    }
    for place in incomplete {
        problems.error(place, "`key:` and `value:` belong together");
    }
    if raw.metric_names.is_empty() && raw.resource_attributes.is_empty() {
        problems.warning(&at.place, "names no metrics and no resource attributes: matches nothing");
    }
    Some(Block { metric_names, resource_attributes })
}
