//! A service of a compose project: what of it matters to who wants to know where it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use watchpost_targets::Origin;
use watchpost_targets::yaml::{Layer, Mark, Node, Value};

use crate::interpolate::{Filled, Variables, fill};

/// Files of one `env_file:` that are read; an alias makes many of them from a few bytes.
const MAX_ENV_FILES: usize = 64;

/// A text with the place where it stands and what its variables become.
#[derive(Clone, Debug)]
pub struct Written {
    /// The text as it is written.
    pub text: String,
    /// Where.
    pub origin: Origin,
    /// The variables that hold there.
    pub variables: Rc<Variables>,
}

impl Written {
    /// The text with its variables filled in.
    #[must_use]
    pub fn fill(&self) -> Filled {
        fill(&self.text, &|name| self.variables.get(name).cloned())
    }
}

/// A file that has been read, and the variables that hold in it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The file.
    pub file: Arc<str>,
    /// Its folder.
    pub folder: PathBuf,
    /// The variables.
    pub variables: Rc<Variables>,
}

impl Context {
    /// The place of a mark.
    #[must_use]
    pub fn origin(&self, mark: Mark) -> Origin {
        Origin { file: Arc::clone(&self.file), line: mark.line }
    }

    /// A text of this file.
    #[must_use]
    pub fn written(&self, text: &str, mark: Mark) -> Written {
        Written {
            text: text.to_owned(),
            origin: self.origin(mark),
            variables: Rc::clone(&self.variables),
        }
    }
}

/// A published port.
#[derive(Clone, Debug)]
pub enum Port {
    /// `"127.0.0.1:8080:80/tcp"`.
    Short(Written),
    /// A map with `published`, `host_ip`, `protocol`.
    Long {
        /// The port on the host.
        published: Option<Written>,
        /// The address on the host.
        host_ip: Option<Written>,
        /// `tcp` or `udp`.
        protocol: Option<Written>,
    },
}

/// A file with environment variables.
#[derive(Clone, Debug)]
pub struct EnvFile {
    /// The file.
    pub path: PathBuf,
    /// The variables that may stand in it.
    pub variables: Rc<Variables>,
}

/// What of a service is not merged with what is below it.
#[derive(Clone, Debug, Default)]
pub struct Replaced {
    /// Parts that stand in place of those below: `!override`, or `!reset` for none at all.
    parts: BTreeSet<&'static str>,
    /// Single entries that are taken away, by part.
    entries: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Replaced {
    /// A part, unless it only takes away.
    fn part<'n>(&mut self, name: &'static str, node: Option<&'n Rc<Node>>) -> Option<&'n Rc<Node>> {
        let node = node?;
        if node.layer != Layer::Merge {
            self.parts.insert(name);
        }
        (node.layer != Layer::Reset).then_some(node)
    }

    /// A part with a text.
    fn text(
        &mut self,
        name: &'static str,
        node: Option<&Rc<Node>>,
        context: &Context,
    ) -> Option<Written> {
        let node = self.part(name, node)?;
        Some(context.written(node.text()?, node.mark))
    }

    /// A part that is a map, or a list of `name=value`.
    fn pairs(
        &mut self,
        name: &'static str,
        node: Option<&Rc<Node>>,
        context: &Context,
    ) -> BTreeMap<String, Written> {
        let Some(node) = self.part(name, node) else { return BTreeMap::new() };
        let away = node.entries().iter().filter(|entry| entry.value.layer == Layer::Reset);
        self.entries.entry(name).or_default().extend(away.map(|entry| entry.key.clone()));
        pairs(node, context)
    }

    /// Lays the entries of a part over those below.
    fn merge(
        &self,
        name: &'static str,
        above: &mut BTreeMap<String, Written>,
        below: &BTreeMap<String, Written>,
    ) {
        if self.parts.contains(name) {
            return;
        }
        let away = self.entries.get(name);
        for (key, value) in below {
            if !away.is_some_and(|away| away.contains(key)) {
                above.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// The identity of a service, the same in a file and in the engine: its project and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The project, as Compose writes it.
    pub project: String,
    /// The service.
    pub service: String,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its project, where that is known.
    pub project: Option<String>,
    /// Whether the engine has told it.
    pub runs: bool,
    /// Where it stands.
    pub origin: Origin,
    /// Labels, by their names in small letters; once it is merged also those of `deploy`.
    pub labels: BTreeMap<String, Written>,
    /// Labels of `deploy`, until it is merged.
    pub deploy_labels: BTreeMap<String, Written>,
    /// Environment variables.
    pub environment: BTreeMap<String, Written>,
    /// Files with more of them; the last one wins.
    pub env_files: Vec<EnvFile>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// `network_mode`.
    pub network_mode: Option<Written>,
    /// The profiles that start it; none: it always starts.
    pub profiles: Vec<Written>,
    /// How many of it run.
    pub replicas: Option<Written>,
    /// The service that it extends: the file, if another one, and the name.
    pub extends: Option<(Option<Written>, String)>,
    /// What is not merged with what is below.
    pub replaced: Replaced,
}

impl Service {
    /// Reads a service. What makes no sense is passed over: it is Compose's business.
    #[must_use]
    pub fn read(name: &str, mark: Mark, node: &Node, context: &Context) -> Self {
        let mut replaced = Replaced::default();
        let deploy = replaced.part("deploy", node.get("deploy"));
        if replaced.parts.contains("deploy") {
            replaced.parts.extend(["deploy.labels", "replicas"]);
        }
        let of_deploy = |key: &str| deploy.and_then(|deploy| deploy.get(key));
        let labels = replaced.pairs("labels", node.get("labels"), context);
        let deploy_labels = replaced.pairs("deploy.labels", of_deploy("labels"), context);
        for part in ["labels", "deploy.labels"] {
            if let Some(away) = replaced.entries.get_mut(part) {
                *away = away.iter().map(|name| name.to_ascii_lowercase()).collect();
            }
        }
        let replicas = replaced.text("replicas", node.get("scale"), context);
        let replicas =
            replicas.or_else(|| replaced.text("replicas", of_deploy("replicas"), context));
        let text = |node: Option<&Rc<Node>>| {
            let node = node?;
            Some(context.written(node.text()?, node.mark))
        };
        let extends = node.get("extends").and_then(|node| match node.text() {
            Some(name) => Some((None, name.to_owned())),
            None => Some((text(node.get("file")), node.get("service")?.text()?.to_owned())),
        });
        Self {
            name: name.to_owned(),
            project: None,
            runs: false,
            origin: context.origin(mark),
            labels: lower(labels),
            deploy_labels: lower(deploy_labels),
            environment: replaced.pairs("environment", node.get("environment"), context),
            env_files: env_files(replaced.part("env_file", node.get("env_file")), context),
            ports: ports(replaced.part("ports", node.get("ports")), context),
            network_mode: replaced.text("network_mode", node.get("network_mode"), context),
            profiles: items(replaced.part("profiles", node.get("profiles")))
                .iter()
                .filter_map(|node| text(Some(node)))
                .collect(),
            replicas,
            extends,
            replaced,
        }
    }

    /// This service laid over another one: what it says wins, lists are added up, and what is tagged
    /// `!override` or `!reset` stands in place of what is below.
    #[must_use]
    pub fn over(mut self, below: &Service) -> Self {
        let replaced = &self.replaced;
        let whole = |part: &str| replaced.parts.contains(part);
        replaced.merge("labels", &mut self.labels, &below.labels);
        replaced.merge("deploy.labels", &mut self.deploy_labels, &below.deploy_labels);
        replaced.merge("environment", &mut self.environment, &below.environment);
        if !whole("ports") {
            self.ports.splice(0..0, below.ports.iter().cloned());
        }
        if !whole("env_file") {
            self.env_files.splice(0..0, below.env_files.iter().cloned());
        }
        if !whole("network_mode") {
            self.network_mode = self.network_mode.or_else(|| below.network_mode.clone());
        }
        if !whole("replicas") {
            self.replicas = self.replicas.or_else(|| below.replicas.clone());
        }
        if self.profiles.is_empty() && !whole("profiles") {
            self.profiles.clone_from(&below.profiles);
        }
        self
    }

    /// By what it is known in a file and in the engine.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        Some(Identity { project: self.project.clone()?, service: self.name.clone() })
    }

    /// The service once nothing more is laid over it or below it.
    pub(crate) fn merged(&mut self) {
        self.labels.append(&mut self.deploy_labels);
    }
}

fn lower(labels: BTreeMap<String, Written>) -> BTreeMap<String, Written> {
    labels.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

fn items(node: Option<&Rc<Node>>) -> &[Rc<Node>] {
    match node.map(|node| &node.value) {
        Some(Value::Sequence(items)) => items,
        _ => &[],
    }
}

/// A map, or a list of `name=value`.
fn pairs(node: &Rc<Node>, context: &Context) -> BTreeMap<String, Written> {
    let from_map = node.entries().iter().filter_map(|entry| {
        if entry.value.layer == Layer::Reset {
            return None;
        }
        let text = if entry.value.is_null() { "" } else { entry.value.text()? };
        Some((entry.key.clone(), context.written(text, entry.value.mark)))
    });
    let from_list = items(Some(node)).iter().filter_map(|item| {
        let text = item.text()?;
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Some((name.trim().to_owned(), context.written(value, item.mark)))
    });
    from_map.chain(from_list).collect()
}

/// `env_file:`, in all its forms. A path that cannot be known is passed over, as a file that is
/// missing.
fn env_files(node: Option<&Rc<Node>>, context: &Context) -> Vec<EnvFile> {
    let Some(node) = node else { return Vec::new() };
    let all = match &node.value {
        Value::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let read = all.iter().take(MAX_ENV_FILES).filter_map(|item| {
        let path = item.text().or_else(|| item.get("path")?.text())?;
        let filled = context.written(path, item.mark).fill();
        let known = filled.wrong.is_none() && filled.unset.is_empty();
        known.then(|| EnvFile {
            path: context.folder.join(filled.text),
            variables: Rc::clone(&context.variables),
        })
    });
    read.collect()
}

fn ports(node: Option<&Rc<Node>>, context: &Context) -> Vec<Port> {
    let read = items(node).iter().map(|item| match item.text() {
        Some(text) => Port::Short(context.written(text, item.mark)),
        None => {
            let field = |name| {
                let node = item.get(name)?;
                Some(context.written(node.text()?, node.mark))
            };
            Port::Long {
                published: field("published"),
                host_ip: field("host_ip"),
                protocol: field("protocol"),
            }
        }
    });
    read.collect()
}
