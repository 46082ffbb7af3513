//! The `modules:` section: built-in modules, what extends what, and each module settled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use watchpost_targets::yaml::{self, Entry, Node};

use super::{Checker, context, without};
use crate::base::place::{At, Problems, hint};
use crate::config::builtin;
use crate::config::decode::decode;
use crate::probe::module::Module;
use crate::probe::module::raw::{LATER, RawModule, settle};

/// A module as it is written, for those that extend it, and built, unless it is wrong.
pub(super) struct Known {
    pub(super) node: Rc<Node>,
    pub(super) built: Option<Arc<Module>>,
}

/// The modules that exist without being declared.
pub(super) fn builtin_modules() -> BTreeMap<String, Known> {
    let problems = RefCell::new(Problems::default());
    let document = yaml::parse(builtin::MODULES).expect("the built-in modules are valid");
    let mut modules = BTreeMap::new();
    let files = ["built-in".to_owned()];
    Checker { context: context(&files, &[LATER], &problems), renamed: RefCell::default() }
        .modules(&document, &mut modules);
    debug_assert!(!problems.borrow().has_errors(), "the built-in modules are valid");
    modules
}

impl Checker<'_> {
    pub(super) fn modules(&self, section: &Rc<Node>, modules: &mut BTreeMap<String, Known>) {
        let own: BTreeMap<&str, &Entry> =
            section.entries().iter().map(|entry| (entry.key.as_str(), entry)).collect();
        for entry in section.entries() {
            let path = format!("modules.{}", entry.key);
            let mut seen = vec![entry.key.clone()];
            let Some(node) = self.extended(&entry.value, &path, &own, modules, &mut seen) else {
                continue;
            };
            let built = self.module(&entry.key, &node, &path);
            modules.insert(entry.key.clone(), Known { node, built });
        }
    }

    /// A module with what it extends laid below it.
    pub(super) fn extended(
        &self,
        node: &Rc<Node>,
        path: &str,
        own: &BTreeMap<&str, &Entry>,
        known: &BTreeMap<String, Known>,
        seen: &mut Vec<String>,
    ) -> Option<Rc<Node>> {
        let Some(base) = node.get("extends") else { return Some(Rc::clone(node)) };
        let place = self.place(base, &format!("{path}.extends"));
        let Some(name) = base.text() else {
            self.error(&place, format!("the name of a module is expected, found {}", base.kind()));
            return None;
        };
        let own_module = own.get(name).filter(|_| !seen.iter().any(|s| s == name));
        let below = if let Some(entry) = own_module {
            seen.push(name.to_owned());
            self.extended(&entry.value, &format!("modules.{name}"), own, known, seen)?
        } else if let Some(known) = known
            .get(name)
            .filter(|_| !own.contains_key(name) || seen.first().is_some_and(|s| s == name))
        {
            Rc::clone(&known.node)
        } else if seen.iter().any(|s| s == name) {
            self.error(
                &place,
                format!("the modules extend each other in a circle: {}", seen.join(", ")),
            );
            return None;
        } else {
            let names = own.keys().copied().chain(known.keys().map(String::as_str));
            let hint = hint(name, names);
            self.error(&place, format!("there is no module {name:?}{hint}"));
            return None;
        };
        Some(below.overlaid(&without(node, &["extends"])))
    }

    pub(super) fn module(&self, name: &str, node: &Rc<Node>, path: &str) -> Option<Arc<Module>> {
        let raw: RawModule = decode::<At<RawModule>>(node, path, &self.context)?.value?;
        let place = self.place(node, path);
        let mut problems = self.context.problems.borrow_mut();
        settle(name, &place, raw, &mut problems).map(Arc::new)
    }

    pub(super) fn module_name(
        &self,
        node: &Rc<Node>,
        path: &str,
        modules: &BTreeMap<String, Known>,
    ) -> Option<String> {
        let place = self.place(node, path);
        let Some(name) = node.text() else {
            self.error(&place, format!("the name of a module is expected, found {}", node.kind()));
            return None;
        };
        if !modules.contains_key(name) {
            let hint = hint(name, modules.keys().map(String::as_str));
            self.error(&place, format!("there is no module {name:?}{hint}"));
            return None;
        }
        Some(name.to_owned())
    }
}
