//! Our own labels, which win over all others: `watchpost.enable`, `.name`, `.module`, `.interval`,
//! `.address`, `.labels.NAME` (or `.labels` as `name=value,name=value`).

use watchpost_targets::{Labels, Origin, is_label_name};

use super::{Finder, below};

/// Labels that one service may add to its targets.
const MAX_LABELS: usize = 32;
/// The longest name of such a label.
const MAX_NAME: usize = 128;

/// What our own labels say of a service.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) enable: Option<bool>,
    pub(super) name: Option<String>,
    pub(super) module: Option<(String, Origin)>,
    pub(super) interval: Option<String>,
    pub(super) address: Option<(String, Origin)>,
    pub(super) labels: Labels,
}

impl Finder<'_> {
    pub(super) fn own(&mut self) -> Own {
        let mut own = Own::default();
        for (key, written) in below(&self.service.labels, "watchpost.") {
            let Some(text) = self.value(&format!("watchpost.{key}"), written) else { continue };
            let text = text.trim().to_owned();
            let label = |own: &mut Own, name: &str, value: &str| {
                let good = is_label_name(name)
                    && !name.starts_with("__")
                    && name.len() <= MAX_NAME
                    && (own.labels.len() < MAX_LABELS || own.labels.contains_key(name));
                if good {
                    own.labels.insert(name.to_owned(), value.to_owned());
                }
                good
            };
            let good = match key {
                "enable" => {
                    own.enable = match text.to_ascii_lowercase().as_str() {
                        "true" | "yes" | "on" | "1" => Some(true),
                        "false" | "no" | "off" | "0" => Some(false),
                        _ => None,
                    };
                    own.enable.is_some()
                }
                "name" => {
                    own.name = (!text.is_empty()).then_some(text.clone());
                    true
                }
                "module" => {
                    own.module = (!text.is_empty()).then(|| (text.clone(), written.origin.clone()));
                    true
                }
                "interval" => {
                    own.interval = (!text.is_empty()).then_some(text.clone());
                    true
                }
                "address" => {
                    if !text.is_empty() {
                        own.address = Some((text.clone(), written.origin.clone()));
                    }
                    !text.is_empty()
                }
                "labels" => text.split(',').filter(|pair| !pair.trim().is_empty()).all(|pair| {
                    pair.split_once('=')
                        .is_some_and(|(name, value)| label(&mut own, name.trim(), value.trim()))
                }),
                _ => match key.strip_prefix("labels.") {
                    Some(name) => label(&mut own, name, &text),
                    None => {
                        let known = "enable, name, module, interval, address, labels";
                        self.skip(&written.origin, format!("watchpost.{key}: there is {known}"));
                        continue;
                    }
                },
            };
            if !good {
                self.skip(
                    &written.origin,
                    format!("watchpost.{key}: {text:?} makes no sense here"),
                );
            }
        }
        own
    }
}
