//! The `receivers:` section: times, labels, and the targets that the configuration itself names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use watchpost_targets::label::{HUMAN_NAME, INTERVAL_HINT, MODULE_HINT, TIMEOUT_HINT};
use watchpost_targets::yaml::{Node, Value};
use watchpost_targets::{
    Labels, Origin, expand_pattern, is_label_name, parse_line, without_userinfo,
};

use super::modules::Known;
use super::{Checker, DEFAULT_INTERVAL, MIN_INTERVAL};
use crate::base::duration::{self, GoDuration};
use crate::base::flight;
use crate::base::place::{At, Place, given};
use crate::config::decode::{decode, unknown_key};
use crate::config::plan::{Inline, Modules, Receiver};
use crate::config::raw::{RawReceiver, RawSwitch, RawTarget};
use crate::config::subnets::subnet;
use crate::config::targets::plan_target;
use crate::probe::address::default_module;
use crate::signal::names::off_by_default;

impl Checker<'_> {
    pub(super) fn receiver(
        &self,
        name: &str,
        node: &Rc<Node>,
        place: &Place,
        modules: &BTreeMap<String, Known>,
    ) -> Option<Receiver> {
        let path = place.path.as_str();
        let raw: RawReceiver = decode::<At<RawReceiver>>(node, path, &self.context)?.value?;
        let interval = self.interval(&raw.interval).unwrap_or(DEFAULT_INTERVAL);
        let timeout = self.timeout(&raw.timeout, interval);
        let mut receiver = Receiver {
            name: name.to_owned(),
            job: name.split_once('/').map_or(name, |(_, job)| job).to_owned(),
            interval,
            timeout,
            module: None,
            labels: self.labels(&raw.labels),
            disabled: self.disabled(&raw.metrics),
            inline: Vec::new(),
            files: Vec::new(),
        };
        if let Some(module) = node.get("module") {
            receiver.module = self.module_name(module, &format!("{path}.module"), modules);
            let known = receiver.module.as_ref().and_then(|name| modules.get(name)?.built.as_ref());
            if let Some(long) = known
                .and_then(|module| module.timeout)
                .filter(|long| *long > interval && timeout.is_none())
            {
                let at = raw.interval.as_ref().map_or_else(|| place.clone(), |at| at.place.clone());
                let (long, interval) = (duration::format(long), duration::format(interval));
                self.error(
                    &at,
                    format!("the interval {interval} is shorter than the module's timeout {long}"),
                );
            }
        }
        for at in &raw.target_files {
            let Some(text) = at.as_ref() else { continue };
            let file = at.place.beside(text);
            let pattern = file.clone();
            let look = move || {
                let there = |found: &[PathBuf]| found.iter().all(|f| f.exists());
                expand_pattern(&pattern).map(|found| there(&found) && !found.is_empty())
            };
            match flight::promptly(&file, look).unwrap_or(Ok(false)) {
                Ok(true) => {}
                Ok(false) => self.context.problems.borrow_mut().warning(
                    &at.place,
                    format!(
                        "{}: no such file; its targets are watched when it appears",
                        file.display()
                    ),
                ),
                Err(why) => self.error(&at.place, why),
            }
            receiver.files.push(file);
        }
        if let Some(targets) = node.get("targets") {
            self.targets(targets, &format!("{path}.targets"), &mut receiver, modules);
        }
        if receiver.inline.is_empty() && receiver.files.is_empty() && node.get("targets").is_none()
        {
            self.context
                .problems
                .borrow_mut()
                .warning(place, "no `targets:` and no `target_files:`: nothing is watched");
        }
        Some(receiver)
    }

    pub(super) fn interval(&self, at: &Option<At<GoDuration>>) -> Option<Duration> {
        let at = at.as_ref()?;
        let interval = at.as_ref()?.0;
        if interval < MIN_INTERVAL {
            self.error(&at.place, "must be at least 1s");
            return None;
        }
        Some(interval)
    }

    pub(super) fn timeout(
        &self,
        at: &Option<At<GoDuration>>,
        interval: Duration,
    ) -> Option<Duration> {
        let at = at.as_ref()?;
        let timeout = at.as_ref()?.0;
        if timeout.is_zero() || timeout > interval {
            let interval = duration::format(interval);
            self.error(
                &at.place,
                format!("must be more than 0s and at most the interval, {interval}"),
            );
            return None;
        }
        Some(timeout)
    }

    pub(super) fn labels(&self, raw: &BTreeMap<String, At<String>>) -> Labels {
        let mut labels = Labels::new();
        for (name, at) in raw {
            if name.starts_with("__") {
                self.error(&at.place, "names that begin with __ are reserved");
            } else if !is_label_name(name) {
                self.error(&at.place, format!("{name:?} is not a label name"));
            } else if let Some(value) = at.as_ref() {
                labels.insert(name.clone(), value.clone());
            }
        }
        labels
    }

    pub(super) fn disabled(&self, raw: &BTreeMap<String, At<RawSwitch>>) -> BTreeSet<String> {
        let known: Vec<&str> = crate::signal::names::ALL
            .iter()
            .map(|m| m.name)
            .filter(|name| name.starts_with("probe."))
            .collect();
        let mut disabled = off_by_default();
        for (name, at) in raw {
            if !known.contains(&name.as_str()) {
                self.error(
                    &at.place,
                    unknown_key(name, &known).replace("unknown key", "unknown metric"),
                );
            }
            let enabled =
                at.as_ref().and_then(|switch| switch.enabled.as_ref()?.value).unwrap_or(true);
            match enabled {
                true => disabled.remove(name),
                false => disabled.insert(name.clone()),
            };
        }
        disabled
    }

    pub(super) fn targets(
        &self,
        node: &Rc<Node>,
        path: &str,
        receiver: &mut Receiver,
        modules: &BTreeMap<String, Known>,
    ) {
        let Value::Sequence(items) = &node.value else {
            if !node.is_null() {
                self.error(
                    &self.place(node, path),
                    format!("a list is expected, found {}", node.kind()),
                );
            }
            return;
        };
        let built: Modules = modules
            .iter()
            .filter_map(|(name, known)| Some((name.clone(), Arc::clone(known.built.as_ref()?))))
            .collect();
        let mut seen: BTreeMap<(String, Option<String>), u32> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(inline) = self.target(item, &path, modules) else { continue };
            let place = self.place(item, &path);
            let named = inline.module.as_ref().map(|module| module.name.clone());
            let id = inline.target.id();
            if let Some(line) = seen.insert((id.address, named.or(id.module)), item.mark.line) {
                let message = format!(
                    "{} is a target already, in line {line}",
                    without_userinfo(&inline.target.address)
                );
                self.context.problems.borrow_mut().warning(&place, message);
            }
            // A wrong module of the receiver has been told; its targets are not blamed for it.
            let wrong = |name: &str| modules.get(name).is_some_and(|known| known.built.is_none());
            let hint = inline.target.id().module;
            let by_shape = default_module(&inline.target.address);
            let chosen = hint.as_deref().or(receiver.module.as_deref()).unwrap_or(by_shape);
            // So has a module that takes longer than the receiver's interval.
            let told = receiver.timeout.is_none()
                && receiver.module.as_deref() == Some(chosen)
                && built.get(chosen).and_then(|m| m.timeout) > Some(receiver.interval);
            // Of a subnet one address is tried: the others are as it is.
            let mut one = inline.target.clone();
            match subnet(&inline.target) {
                Some(Err(why)) => {
                    self.error(&place, why);
                    continue;
                }
                Some(Ok(range)) => {
                    one.address = range.addresses().next().map_or(one.address, |ip| ip.to_string());
                }
                None => {}
            }
            if !wrong(chosen)
                && !told
                && let Err(why) = plan_target(receiver, &built, &one, inline.module.as_ref())
            {
                self.error(&place, why);
            }
            receiver.inline.push(inline);
        }
    }

    pub(super) fn target(
        &self,
        item: &Rc<Node>,
        path: &str,
        modules: &BTreeMap<String, Known>,
    ) -> Option<Inline> {
        let place = self.place(item, path);
        let origin = Origin { file: place.file.to_string().into(), line: item.mark.line };
        if let Some(text) = item.text() {
            let target = parse_line(text, &Labels::new(), origin)
                .map_err(|problem| self.error(&place, problem.message));
            return Some(Inline { target: target.ok()?, module: None });
        }
        let raw: RawTarget = decode::<At<RawTarget>>(item, path, &self.context)?.value?;
        let Some(address) = &raw.address else {
            self.error(&place, "`address:` is missing");
            return None;
        };
        let mut labels = self.labels(&raw.labels);
        labels.extend(
            raw.name
                .as_ref()
                .and_then(At::as_ref)
                .map(|name| (HUMAN_NAME.to_owned(), name.clone())),
        );
        let mut target = match parse_line(address.as_ref()?, &labels, origin) {
            Ok(target) => target,
            Err(problem) => {
                self.error(&address.place, problem.message);
                return None;
            }
        };
        for (hint, at) in [(INTERVAL_HINT, &raw.interval), (TIMEOUT_HINT, &raw.timeout)] {
            if let Some(span) = given(at) {
                target.hints.insert(hint.to_owned(), duration::format(span.0));
            }
        }
        let mut module = None;
        match item.get("module") {
            Some(node) if matches!(node.value, Value::Mapping(_)) => {
                let path = format!("{path}.module");
                let own = BTreeMap::new();
                let extended = self.extended(node, &path, &own, modules, &mut Vec::new())?;
                let base = node.get("extends").and_then(|base| base.text()).unwrap_or("module");
                module = Some(self.module(&format!("{base}/inline"), &extended, &path)?);
            }
            Some(node) => {
                let name = self.module_name(node, &format!("{path}.module"), modules)?;
                target.hints.insert(MODULE_HINT.to_owned(), name);
            }
            None => {}
        }
        Some(Inline { target, module })
    }
}
