//! Names of components: how they are written, which exist, and which come later.

use std::rc::Rc;

use watchpost_targets::yaml::Node;

use super::Checker;
use crate::base::place::{Place, nearest};

/// The components of a section.
pub(super) struct Kinds {
    /// What one is called in messages.
    pub(super) what: &'static str,
    /// The section.
    pub(super) section: &'static str,
    /// What exists here: the present name, and older ones.
    pub(super) known: &'static [(&'static str, &'static [&'static str])],
    /// What exists in the Collector and not here.
    pub(super) later: &'static [&'static str],
}

pub(super) const RECEIVERS: Kinds = Kinds {
    what: "receiver",
    section: "receivers",
    known: &[("probe", &[]), ("host_metrics", &["hostmetrics"])],
    later: &[
        "otlp",
        "prometheus",
        "prometheusremotewrite",
        "filelog",
        "file_log",
        "journald",
        "jaeger",
        "fluentforward",
        "fluent_forward",
        "kubeletstats",
        "k8s_cluster",
        "k8s_events",
        "zipkin",
        "docker_stats",
        "httpcheck",
        "loki",
        "statsd",
        "syslog",
        "redis",
        "postgresql",
        "mysql",
        "nginx",
        "snmp",
        "carbon",
        "influxdb",
        "kafka",
        "opencensus",
        "tcplog",
        "udplog",
        "sqlquery",
        "tcpcheck",
        "icmpcheckreceiver",
        "dns_lookup",
        "otlpjsonfile",
        "datadog",
        "podman_stats",
        "smartprom",
        "vcenter",
        "windowsperfcounters",
        "windowseventlog",
    ],
};

pub(super) const PROCESSORS: Kinds = Kinds {
    what: "processor",
    section: "processors",
    known: &[
        ("memory_limiter", &[]),
        ("resource_detection", &["resourcedetection"]),
        ("resource", &[]),
        ("attributes", &[]),
        ("filter", &[]),
        ("batch", &[]),
    ],
    later: &[
        "transform",
        "metricstransform",
        "metrics_transform",
        "k8sattributes",
        "k8s_attributes",
        "cumulativetodelta",
        "deltatocumulative",
        "deltatorate",
        "groupbyattrs",
        "groupbytrace",
        "interval",
        "metricsgeneration",
        "probabilistic_sampler",
        "tail_sampling",
        "redaction",
        "routing",
        "span",
        "remotetap",
        "logdedup",
        "schema",
        "sumologic",
        "geoip",
        "logstransform",
        "spanmetrics",
        "queuebatch",
        "isolationforest",
        "unroll",
    ],
};

pub(super) const EXPORTERS: Kinds = Kinds {
    what: "exporter",
    section: "exporters",
    known: &[
        ("prometheus_remote_write", &["prometheusremotewrite"]),
        ("otlp_grpc", &["otlp"]),
        ("otlp_http", &["otlphttp"]),
        ("prometheus", &[]),
        ("debug", &["logging"]),
    ],
    later: &[
        "file",
        "loki",
        "datadog",
        "awsemf",
        "awsxray",
        "awscloudwatchlogs",
        "jaeger",
        "zipkin",
        "kafka",
        "elasticsearch",
        "opensearch",
        "clickhouse",
        "splunk_hec",
        "signalfx",
        "googlecloud",
        "googlemanagedprometheus",
        "azuremonitor",
        "influxdb",
        "carbon",
        "syslog",
        "honeycombmarker",
        "loadbalancing",
        "load_balancing",
        "nop",
        "otelarrow",
        "pulsar",
        "rabbitmq",
        "sentry",
        "sumologic",
        "logicmonitor",
        "coralogix",
        "dataset",
        "mezmo",
        "opencensus",
    ],
};

pub(super) const EXTENSIONS: Kinds = Kinds {
    what: "extension",
    section: "extensions",
    known: &[
        ("health_check", &["healthcheck", "healthcheckv2"]),
        ("basicauth", &["basic_auth"]),
        ("bearertokenauth", &["bearer_token_auth"]),
        ("memory_ballast", &[]),
    ],
    later: &[
        "pprof",
        "zpages",
        "file_storage",
        "db_storage",
        "redis_storage",
        "headers_setter",
        "oauth2client",
        "oidc",
        "asapauth",
        "sigv4auth",
        "googleclientauth",
        "azureauth",
        "opamp",
        "host_observer",
        "docker_observer",
        "k8s_observer",
        "ecs_observer",
        "jaegerremotesampling",
        "http_forwarder",
        "ack",
        "remotetap",
        "k8s_leader_elector",
        "awsproxy",
        "text_encoding",
        "otlp_encoding",
        "json_log_encoding",
        "datadog",
    ],
};

pub(super) const CONNECTORS: Kinds = Kinds {
    what: "connector",
    section: "connectors",
    known: &[],
    later: &[
        "count",
        "forward",
        "spanmetrics",
        "span_metrics",
        "servicegraph",
        "service_graph",
        "datadog",
        "exceptions",
        "failover",
        "grafanacloud",
        "otlpjson",
        "roundrobin",
        "routing",
        "signaltometrics",
        "signal_to_metrics",
        "slowsql",
        "sum",
        "metricsaslogs",
    ],
};

/// The name of a component, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    /// The type as it is written.
    pub(super) kind: String,
    /// The name after the slash; empty: none.
    pub(super) name: String,
}

impl Id {
    /// Reads `type` or `type/name`, by the Collector's rules.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (kind.trim(), Some(name.trim())),
            None => (text.trim(), None),
        };
        let mut chars = kind.chars();
        let begins = chars.next().is_some_and(|c| c.is_ascii_alphabetic());
        if !begins || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') || kind.len() > 63 {
            return Err(format!(
                "{kind:?} is not a type: a letter, then at most 62 letters, digits and underscores"
            ));
        }
        let name = match name {
            Some("") => return Err("there is no name after the slash".to_owned()),
            Some(name) => name,
            None => "",
        };
        let wrong = |c: char| c.is_whitespace() || c.is_control() || "$<>\"'`\\".contains(c);
        if name.chars().count() > 1024 || name.contains(wrong) {
            return Err(format!(
                "{name:?} is not a name: at most 1024 characters without spaces and quotes"
            ));
        }
        Ok(Self { kind: kind.to_owned(), name: name.to_owned() })
    }

    /// The name as messages have it.
    pub(super) fn text(&self) -> String {
        if self.name.is_empty() {
            self.kind.clone()
        } else {
            format!("{}/{}", self.kind, self.name)
        }
    }

    /// With the present name of its type.
    pub(super) fn present(&self, kinds: &Kinds) -> Id {
        let kind = kinds.present(&self.kind).unwrap_or(&self.kind);
        Id { kind: kind.to_owned(), name: self.name.clone() }
    }
}

impl Kinds {
    /// The present name of a type that exists here.
    pub(super) fn present(&self, kind: &str) -> Option<&'static str> {
        let is = |(name, older): &&(&'static str, &'static [&'static str])| {
            *name == kind || older.contains(&kind)
        };
        self.known.iter().find(is).map(|(name, _)| *name)
    }
}

/// A component that is declared and exists here.
pub(super) struct Declared<'n> {
    /// Its name as it is written.
    pub(super) id: Id,
    /// The present name of its type.
    pub(super) kind: &'static str,
    /// Where it is written.
    pub(super) place: Place,
    /// What is written.
    pub(super) node: &'n Rc<Node>,
}

impl Checker<'_> {
    /// The components of a section that exist here, and the names of those that exist only in the
    /// Collector. `used` says which ones somebody needs: of the others it is enough to warn.
    pub(super) fn declared<'n>(
        &self,
        document: &'n Node,
        kinds: &Kinds,
        used: &dyn Fn(&Id) -> bool,
    ) -> (Vec<Declared<'n>>, Vec<Id>) {
        let (mut found, mut missing): (Vec<Declared<'n>>, Vec<Id>) = (Vec::new(), Vec::new());
        let entries = document.get(kinds.section).map(|node| node.entries()).unwrap_or_default();
        for entry in entries {
            let path = format!("{}.{}", kinds.section, entry.key);
            let place = self.context.place(entry.key_mark, &path);
            let id = match Id::parse(&entry.key) {
                Ok(id) => id,
                Err(why) => {
                    self.error(&place, why);
                    continue;
                }
            };
            match self.kind(&id, kinds, &place, used) {
                Some(kind) => {
                    let present = id.present(kinds);
                    let same = |have: &&Declared<'_>| have.id.present(kinds) == present;
                    if let Some(first) = found.iter().find(same) {
                        let message =
                            format!("is the same as {}: one name, two spellings", first.id.text());
                        self.error(&place, message);
                        continue;
                    }
                    found.push(Declared { id, kind, place, node: &entry.value });
                }
                None => missing.push(id),
            }
        }
        (found, missing)
    }

    fn kind(
        &self,
        id: &Id,
        kinds: &Kinds,
        place: &Place,
        used: &dyn Fn(&Id) -> bool,
    ) -> Option<&'static str> {
        if let Some(kind) = kinds.present(&id.kind) {
            if kind != id.kind {
                self.renamed.borrow_mut().insert(id.kind.clone(), kind.to_owned());
            }
            return Some(kind);
        }
        let what = kinds.what;
        if kinds.later.contains(&id.kind.as_str()) {
            let message = format!("the {what} {:?} is not supported yet", id.kind);
            let mut problems = self.context.problems.borrow_mut();
            if used(id) {
                problems.unsupported(place, message);
            } else {
                problems.warning(place, format!("{message}; nothing uses it"));
            }
        } else {
            let known = kinds.known.iter().map(|(name, _)| *name);
            let near = nearest(&id.kind, known.clone().chain(kinds.later.iter().copied()));
            let hint = match near {
                Some(near) => format!("did you mean {near}?"),
                None if kinds.known.is_empty() => "none exists yet".to_owned(),
                None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
            };
            self.error(place, format!("unknown {what} {:?} ({hint})", id.kind));
        }
        None
    }
}
