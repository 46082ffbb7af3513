//! What series are called where they go: names and labels, by the rules of Prometheus.

use std::collections::BTreeMap;

use crate::base::place::{At, Problems, given as get};
use crate::signal::series::{
    Resource, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE, Series,
};
use crate::wire::naming::{self, Naming};

/// What decides under which names and labels a series is known: a change of it ends all series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Labels of every series that does not have them.
    pub external_labels: BTreeMap<String, String>,
    /// Whether resource attributes become labels of every series.
    pub resource_to_telemetry: bool,
    /// Whether `target_info` is written.
    pub target_info: bool,
    /// How names are made.
    pub naming: Naming,
}

/// The keys as an exporter has read them.
pub(super) struct RawIdentity<'a> {
    pub(super) labels: &'a BTreeMap<String, At<String>>,
    pub(super) namespace: &'a Option<At<String>>,
    pub(super) add_metric_suffixes: &'a Option<At<bool>>,
    pub(super) translation_strategy: &'a Option<At<String>>,
    pub(super) resource_to_telemetry: Option<bool>,
    pub(super) target_info: Option<bool>,
}

impl RawIdentity<'_> {
    /// Turns what is written into what will run.
    pub(super) fn settle(&self, problems: &mut Problems) -> Identity {
        let mut suffixes = get(self.add_metric_suffixes).copied().unwrap_or(true);
        if let Some(at) = self.translation_strategy
            && let Some(strategy) = at.as_ref()
        {
            match strategy.as_str() {
                "UnderscoreEscapingWithSuffixes" => suffixes = true,
                "UnderscoreEscapingWithoutSuffixes" => suffixes = false,
                "NoUTF8EscapingWithSuffixes" | "NoTranslation" => {
                    problems.unsupported(&at.place, format!("{strategy} is not supported yet"));
                }
                other => problems.error(&at.place, format!("unknown strategy {other:?}")),
            }
        }
        let mut external_labels = BTreeMap::new();
        for (name, at) in self.labels {
            let Some(value) = at.as_ref() else { continue };
            if name.starts_with("__") {
                problems.error(&at.place, "names that begin with __ are reserved");
            } else if naming::label(name) != *name {
                problems.error(&at.place, format!("{name:?} is not a label name"));
            } else if value.is_empty() {
                problems.error(&at.place, "a label without a value is no label");
            } else {
                external_labels.insert(name.clone(), value.clone());
            }
        }
        Identity {
            external_labels,
            resource_to_telemetry: self.resource_to_telemetry.unwrap_or(false),
            target_info: self.target_info.unwrap_or(true),
            naming: Naming {
                namespace: naming::word(get(self.namespace).map_or("", String::as_str)),
                add_metric_suffixes: suffixes,
            },
        }
    }
}

impl Identity {
    /// The labels of a series, but for its name.
    #[must_use]
    pub fn labels(&self, series: &Series) -> BTreeMap<String, String> {
        let mut labels = self.external_labels.clone();
        if self.resource_to_telemetry {
            labels.extend(naming::labels(series.resource.attributes.iter()));
        }
        labels.extend(naming::labels(series.attributes()));
        identify(&series.resource, &mut labels);
        labels
    }

    /// The labels of `target_info`, when the resource has more to say than `job` and `instance`, and
    /// one of these.
    #[must_use]
    pub fn info(&self, resource: &Resource) -> Option<BTreeMap<String, String>> {
        let own = [SERVICE_NAME, SERVICE_INSTANCE_ID, SERVICE_NAMESPACE];
        let others: Vec<_> =
            resource.attributes.iter().filter(|(name, _)| !own.contains(name)).collect();
        let identified = naming::job(resource).is_some() || naming::instance(resource).is_some();
        if !self.target_info || others.is_empty() || !identified {
            return None;
        }
        let mut labels = self.external_labels.clone();
        labels.extend(naming::labels(others));
        identify(resource, &mut labels);
        Some(labels)
    }

    /// The name of `target_info`.
    #[must_use]
    pub fn info_name(&self) -> String {
        match self.naming.namespace.as_str() {
            "" => "target_info".to_owned(),
            namespace => format!("{namespace}_target_info"),
        }
    }
}

/// Adds `job` and `instance`: no other label of these names stands against them.
fn identify(resource: &Resource, labels: &mut BTreeMap<String, String>) {
    labels.extend(naming::job(resource).map(|job| ("job".to_owned(), job)));
    labels.extend(naming::instance(resource).map(|id| ("instance".to_owned(), id.to_owned())));
}
