//! The old `include:` and `exclude:` of the filter: names of metrics and attributes of resources, the
//! same or by regular expressions.

use regex::bytes::Regex;

use crate::signal::series::{Metric, Resource};

/// How a text is matched.
#[derive(Debug)]
pub enum Matcher {
    /// It is the same.
    Strict(String),
    /// The expression is found in it.
    Regexp(Regex),
}

impl Matcher {
    fn matches(&self, text: &str) -> bool {
        match self {
            Matcher::Strict(wanted) => wanted == text,
            Matcher::Regexp(regex) => regex.is_match(text.as_bytes()),
        }
    }
}

/// One of the two blocks.
#[derive(Debug, Default)]
pub struct Block {
    /// Names of metrics: one of them has to match.
    pub metric_names: Vec<Matcher>,
    /// Attributes of the resource: all have to be there and to match.
    pub resource_attributes: Vec<(String, Matcher)>,
}

/// Both blocks.
#[derive(Debug, Default)]
pub struct Legacy {
    /// What is kept.
    pub include: Option<Block>,
    /// What of it is dropped.
    pub exclude: Option<Block>,
}

impl Block {
    fn resource(&self, resource: &Resource) -> bool {
        self.resource_attributes.iter().all(|(name, matcher)| {
            resource.attributes.get(name).is_some_and(|value| matcher.matches(&value.text()))
        })
    }

    fn name(&self, metric: &Metric) -> bool {
        self.metric_names.iter().any(|matcher| matcher.matches(metric.name))
    }
}

impl Legacy {
    /// Whether a metric of a resource is dropped.
    #[must_use]
    pub fn drops(&self, metric: &Metric, resource: &Resource) -> bool {
        let left_out = self.include.as_ref().is_some_and(|block| {
            (!block.resource_attributes.is_empty() && !block.resource(resource))
                || (!block.metric_names.is_empty() && !block.name(metric))
        });
        left_out
            || self.exclude.as_ref().is_some_and(|block| {
                (!block.resource_attributes.is_empty() && block.resource(resource))
                    || (!block.metric_names.is_empty() && block.name(metric))
            })
    }
}
