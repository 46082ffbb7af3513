//! OpenTelemetry's names as Prometheus writes them, by the translation of the Collector's exporters
//! (the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility").

use crate::signal::any_value::AnyValue;
use crate::signal::series::{
    Kind, Metric, Resource, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE,
};

/// How names are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Naming {
    /// Stands before every name, with `_`; empty: nothing.
    pub namespace: String,
    /// Whether units and `_total` are added.
    pub add_metric_suffixes: bool,
}

impl Default for Naming {
    fn default() -> Self {
        Self { namespace: String::new(), add_metric_suffixes: true }
    }
}

impl Naming {
    /// The name of a metric.
    #[must_use]
    pub fn metric(&self, metric: &Metric) -> String {
        let mut tokens: Vec<&str> = metric
            .name
            .split(|c: char| !c.is_ascii_alphanumeric() && c != ':')
            .filter(|t| !t.is_empty())
            .collect();
        if self.add_metric_suffixes {
            let (main, per) = unit_words(metric.unit);
            for word in [main, per] {
                // A unit that the name has already is not said twice.
                let parts: Vec<&str> = word.split('_').filter(|p| !p.is_empty()).collect();
                if !parts.is_empty() && !parts.iter().all(|part| tokens.contains(part)) {
                    tokens.extend(parts);
                }
            }
            let last = match (metric.kind, metric.unit) {
                (Kind::Counter, _) => Some("total"),
                (Kind::Gauge, "1") => Some("ratio"),
                _ => None,
            };
            if let Some(last) = last {
                tokens.retain(|token| *token != last);
                tokens.push(last);
            }
        }
        let mut name = tokens.join("_");
        if !self.namespace.is_empty() {
            name = format!("{}_{name}", self.namespace);
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert(0, '_');
        }
        name
    }
}

/// The main and the "per" part of a unit in words.
fn unit_words(unit: &'static str) -> (&'static str, &'static str) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let main = match main.trim() {
        braces if braces.contains('{') => "",
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" | "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        "1" => "",
        other => other,
    };
    let per = match per.trim() {
        "s" => "per_second",
        "m" => "per_minute",
        "h" => "per_hour",
        "d" => "per_day",
        "w" => "per_week",
        "mo" => "per_month",
        "y" => "per_year",
        _ => "",
    };
    (main, per)
}

/// A part of a metric's name: what cannot stand in one becomes `_`.
#[must_use]
pub fn word(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// The name of a label: letters, digits and single `_`.
#[must_use]
pub fn label(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for char in name.chars() {
        if char.is_ascii_alphanumeric() {
            out.push(char);
        } else if !out.ends_with('_') || (char == '_' && name.starts_with("__")) {
            out.push('_');
        }
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert_str(0, "key_");
    }
    out
}

/// Prometheus' `job` of a resource.
#[must_use]
pub fn job(resource: &Resource) -> Option<String> {
    let name = resource.attributes.text(SERVICE_NAME).filter(|name| !name.is_empty())?;
    Some(match resource.attributes.text(SERVICE_NAMESPACE) {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    })
}

/// Prometheus' `instance` of a resource.
#[must_use]
pub fn instance(resource: &Resource) -> Option<&str> {
    resource.attributes.text(SERVICE_INSTANCE_ID).filter(|id| !id.is_empty())
}

/// Labels from attributes, sorted by name; values whose names collide are joined with `;`, empty ones
/// left out.
#[must_use]
pub fn labels<'a>(
    attributes: impl IntoIterator<Item = (&'a str, &'a AnyValue)>,
) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = Vec::new();
    for (name, value) in attributes {
        let (name, value) = (label(name), value.text());
        if name.is_empty() || value.is_empty() {
            continue;
        }
        match list.iter_mut().find(|(have, _)| *have == name) {
            Some((_, joined)) => {
                joined.push(';');
                joined.push_str(&value);
            }
            None => list.push((name, value.into_owned())),
        }
    }
    list.sort();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::signal::series::Attributes;

    fn check(name: &'static str, unit: &'static str, kind: Kind, with: &str, without: &str) {
        let metric = Metric { name, unit, kind, description: "", attributes: &[] };
        assert_eq!(Naming::default().metric(&metric), with);
        let bare = Naming { add_metric_suffixes: false, ..Naming::default() };
        assert_eq!(bare.metric(&metric), without);
    }

    #[test]
    fn metric_names() {
        use Kind::{Counter, Gauge, Histogram};
        check("system.cpu.time", "s", Counter, "system_cpu_time_seconds_total", "system_cpu_time");
        check(
            "system.cpu.utilization",
            "1",
            Gauge,
            "system_cpu_utilization_ratio",
            "system_cpu_utilization",
        );
        check(
            "system.network.io",
            "By",
            Counter,
            "system_network_io_bytes_total",
            "system_network_io",
        );
        check(
            "system.network.packets",
            "{packets}",
            Counter,
            "system_network_packets_total",
            "system_network_packets",
        );
        check("hw.temperature", "Cel", Gauge, "hw_temperature_celsius", "hw_temperature");
        check("hw.fan.speed", "rpm", Gauge, "hw_fan_speed_rpm", "hw_fan_speed");
        check(
            "http.client.request.duration",
            "s",
            Histogram,
            "http_client_request_duration_seconds",
            "http_client_request_duration",
        );
        check("x.rate", "By/s", Gauge, "x_rate_bytes_per_second", "x_rate");
        check("a.total.b", "", Counter, "a_b_total", "a_total_b");
        check("probe.success", "", Gauge, "probe_success", "probe_success");
        check(
            "probe.x_timestamp_seconds",
            "s",
            Gauge,
            "probe_x_timestamp_seconds",
            "probe_x_timestamp_seconds",
        );
        check("9lives", "", Gauge, "_9lives", "_9lives");
        let spaced = Naming { namespace: "home".into(), ..Naming::default() };
        assert_eq!(
            spaced.metric(&crate::signal::names::PROBE_DURATION),
            "home_probe_duration_seconds"
        );
    }

    #[test]
    fn what_blackbox_dashboards_query() {
        let names: Vec<String> =
            crate::signal::names::ALL.iter().map(|m| Naming::default().metric(m)).collect();
        for name in [
            "probe_success",
            "probe_duration_seconds",
            "probe_dns_lookup_time_seconds",
            "probe_http_duration_seconds",
            "probe_http_status_code",
            "probe_http_uncompressed_body_length",
            "probe_icmp_duration_seconds",
            "probe_ssl_earliest_cert_expiry",
            "probe_ssl_last_chain_expiry_timestamp_seconds",
            "probe_tls_version_info",
            "probe_failures_total",
            "probe_target_info",
            "watchpost_slots_total",
            "watchpost_slot_lateness_seconds",
            "watchpost_export_samples_total",
            "watchpost_queue_samples",
            "watchpost_queue_oldest_age_seconds",
            "watchpost_config_last_reload_successful",
            "process_cpu_time_seconds_total",
        ] {
            assert!(names.iter().any(|have| have == name), "{name}");
        }
    }

    #[test]
    fn label_names_and_collisions() {
        assert_eq!(label("server.address"), "server_address");
        assert_eq!(label("a..b--c"), "a_b_c");
        assert_eq!(label("9x"), "key_9x");
        assert_eq!(label("ä"), "_");
        let joined = labels(Attributes::new([("a.b", "1"), ("a-b", "2"), ("c", "")]).iter());
        assert_eq!(joined, [("a_b".to_owned(), "2;1".to_owned())], "by the order of the originals");
    }
}
