//! AutoKuma: `kuma.ID.TYPE.SETTING`, monitors of Uptime Kuma written as labels.

use std::collections::BTreeMap;

use super::{Finder, below, bracketed};
use crate::service::Written;

impl Finder<'_> {
    pub(super) fn kuma(&mut self) {
        let mut monitors: BTreeMap<(&str, &str), BTreeMap<&str, &Written>> = BTreeMap::new();
        for (rest, written) in below(&self.service.labels, "kuma.") {
            let mut parts = rest.splitn(3, '.');
            match (parts.next(), parts.next(), parts.next()) {
                (Some(id), Some(kind), Some(setting)) => {
                    monitors.entry((id, kind)).or_default().insert(setting, written);
                }
                // `kuma.__web: '"example.com", 443'`: snippets are templates of their owner.
                _ => self.skip(&written.origin, format!("kuma.{rest}: snippets are not read")),
            }
        }
        for ((id, kind), settings) in monitors {
            self.monitor(id, kind, &settings);
        }
    }

    fn monitor(&mut self, id: &str, kind: &str, settings: &BTreeMap<&str, &Written>) {
        let Some(first) = settings.values().next() else { return };
        let origin = first.origin.clone();
        let label = format!("kuma.{id}.{kind}");
        let mut get = |setting: &str| -> Option<String> {
            let text = self.value(&format!("{label}.{setting}"), settings.get(setting)?)?;
            Some(text.trim().trim_matches('"').to_owned())
        };
        let name = get("name");
        let written = get("interval");
        let interval =
            written.as_ref().and_then(|text| text.parse::<u64>().ok()).filter(|s| *s > 0);
        let address = match kind {
            "http" | "keyword" | "json-query" => get("url"),
            "ping" => get("hostname"),
            "port" => match (get("hostname"), get("port")) {
                (Some(host), Some(port)) => Some(format!("{}:{port}", bracketed(&host))),
                _ => None,
            },
            // A group has no address of its own.
            "group" => return,
            _ => {
                self.skip(&origin, format!("{label}: monitors of this type are not read"));
                return;
            }
        };
        if let Some(text) = written.filter(|_| interval.is_none()) {
            let why = format!("{label}.interval: {text:?} is no number of seconds above 0");
            self.skip(&origin, why);
        }
        match address {
            Some(address) if address.contains("{{") => {
                self.skip(&origin, format!("{label}: templates are not read"));
            }
            Some(address) if !address.is_empty() => {
                self.candidate(address.clone(), name, "kuma", &origin);
                if let Some(candidate) = self.candidates.iter_mut().find(|c| c.address == address) {
                    candidate.interval = interval.map(|seconds| format!("{seconds}s"));
                }
            }
            _ => self.skip(&origin, format!("{label}: no address")),
        }
    }
}
