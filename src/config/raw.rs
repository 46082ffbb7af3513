//! What may be written outside of components: receivers' common keys, `http`, `storage`, `resolver`.
//! Modules and exporters own what may be written in them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::duration::GoDuration;
use crate::base::place::At;

/// The keys of a document.
pub(super) const SECTIONS: [&str; 7] =
    ["receivers", "modules", "exporters", "http", "storage", "vantage", "resolver"];

/// Sections that exist in the Collector's language, or come here later.
pub(super) const SECTIONS_LATER: [&str; 6] =
    ["processors", "connectors", "extensions", "service", "discovery", "modules_file"];

/// A `probe/*` receiver, but for `module:` and `targets:`, which may be a text or a map.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawReceiver {
    pub(super) interval: Option<At<GoDuration>>,
    pub(super) timeout: Option<At<GoDuration>>,
    pub(super) labels: BTreeMap<String, At<String>>,
    pub(super) metrics: BTreeMap<String, At<RawSwitch>>,
    pub(super) target_files: Vec<At<String>>,
}

/// A target that is written as a map, but for `module:`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTarget {
    pub(super) address: Option<At<String>>,
    pub(super) name: Option<At<String>>,
    pub(super) interval: Option<At<GoDuration>>,
    pub(super) timeout: Option<At<GoDuration>>,
    pub(super) labels: BTreeMap<String, At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSwitch {
    pub(super) enabled: Option<At<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHttp {
    pub(super) listen: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStorage {
    pub(super) directory: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawResolver {
    pub(super) nameservers: Vec<At<String>>,
    pub(super) timeout: Option<At<GoDuration>>,
    pub(super) attempts: Option<At<u64>>,
}
