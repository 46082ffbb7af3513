//! The keys of the exporter, in the Collector's words, and what they become.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems};
use crate::exporter::client::{
    Client, RawAuth, RawClient, RawEnabled, RawQueue, RawRetry, RawTls, enabled, url,
};
use crate::exporter::identity::{Identity, RawIdentity};

/// Keys of the Collector's exporter that are not built yet.
pub const LATER: &[(&str, &[&str])] = &[(
    "RawRemoteWrite",
    &[
        "wal",
        "http",
        "send_metadata",
        "proxy_url",
        "protobuf_message",
        "cookies",
        "convert_explicit_histograms_to_nhcb",
        "keep_classic_histograms",
    ],
)];

/// Keys of the Collector's exporter that change nothing here.
pub const IDLE: &[(&str, &[&str])] = &[(
    "RawRemoteWrite",
    &[
        "remote_write_queue",
        "compression",
        "read_buffer_size",
        "write_buffer_size",
        "max_batch_size_bytes",
        "max_batch_request_parallelism",
        "export_created_metric",
        "http2_ping_timeout",
        "http2_read_idle_timeout",
        "idle_conn_timeout",
        "max_idle_conns",
        "max_idle_conns_per_host",
        "max_conns_per_host",
        "disable_keep_alives",
        "disable_scope_info",
    ],
)];

/// The exporter as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawRemoteWrite {
    endpoint: Option<At<String>>,
    headers: BTreeMap<String, At<String>>,
    external_labels: BTreeMap<String, At<String>>,
    resource_to_telemetry_conversion: Option<At<RawEnabled>>,
    target_info: Option<At<RawEnabled>>,
    add_metric_suffixes: Option<At<bool>>,
    translation_strategy: Option<At<String>>,
    namespace: Option<At<String>>,
    timeout: Option<At<GoDuration>>,
    tls: Option<At<RawTls>>,
    auth: Option<At<RawAuth>>,
    retry_on_failure: Option<At<RawRetry>>,
    sending_queue: Option<At<RawQueue>>,
}

/// What runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where requests go.
    pub endpoint: Uri,
    /// How they get there.
    pub client: Client,
    /// What series are called.
    pub identity: Identity,
}

impl RawRemoteWrite {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(self, place: &Place, problems: &mut Problems) -> Option<Settings> {
        let example = "http://127.0.0.1:9090/api/v1/write";
        let endpoint = url(&self.endpoint, place, example, problems);
        let client = RawClient {
            headers: &self.headers,
            timeout: &self.timeout,
            tls: &self.tls,
            auth: &self.auth,
            retry: &self.retry_on_failure,
            queue: &self.sending_queue,
        };
        let client = client.settle(place, Duration::from_secs(5), problems);
        let identity = RawIdentity {
            labels: &self.external_labels,
            namespace: &self.namespace,
            add_metric_suffixes: &self.add_metric_suffixes,
            translation_strategy: &self.translation_strategy,
            resource_to_telemetry: enabled(&self.resource_to_telemetry_conversion),
            target_info: enabled(&self.target_info),
        };
        let identity = identity.settle(problems);
        Some(Settings { endpoint: endpoint?, client, identity })
    }
}
