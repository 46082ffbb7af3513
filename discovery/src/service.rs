//! A service of a compose project: what of it matters to who wants to know where it answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use watchpost_targets::Origin;
use watchpost_targets::yaml::{Mark, Node, Value};

use crate::interpolate::{Filled, Variables, fill};

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

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub origin: Origin,
    /// Labels, by their names in small letters; also those of `deploy`.
    pub labels: BTreeMap<String, Written>,
    /// Environment variables.
    pub environment: BTreeMap<String, Written>,
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
}

impl Service {
    /// Reads a service. What makes no sense is passed over: it is Compose's business.
    #[must_use]
    pub fn read(name: &str, mark: Mark, node: &Node, context: &Context) -> Self {
        let mut labels = pairs(node.get("labels"), context);
        if let Some(deploy) = node.get("deploy") {
            labels.extend(pairs(deploy.get("labels"), context));
        }
        let lower = labels.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let text = |node: Option<&Rc<Node>>| {
            let node = node?;
            Some(context.written(node.text()?, node.mark))
        };
        let replicas = text(node.get("scale"))
            .or_else(|| text(node.get("deploy").and_then(|deploy| deploy.get("replicas"))));
        let extends = node.get("extends").and_then(|node| match node.text() {
            Some(name) => Some((None, name.to_owned())),
            None => Some((text(node.get("file")), node.get("service")?.text()?.to_owned())),
        });
        Self {
            name: name.to_owned(),
            origin: context.origin(mark),
            labels: lower.collect(),
            environment: pairs(node.get("environment"), context),
            ports: ports(node.get("ports"), context),
            network_mode: text(node.get("network_mode")),
            profiles: items(node.get("profiles"))
                .iter()
                .filter_map(|node| text(Some(node)))
                .collect(),
            replicas,
            extends,
        }
    }

    /// This service laid over another one: what it says wins, lists are added up.
    #[must_use]
    pub fn over(mut self, below: &Service) -> Self {
        for (name, value) in &below.labels {
            self.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for (name, value) in &below.environment {
            self.environment.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let mut ports = below.ports.clone();
        ports.append(&mut self.ports);
        self.ports = ports;
        self.network_mode = self.network_mode.or_else(|| below.network_mode.clone());
        self.replicas = self.replicas.or_else(|| below.replicas.clone());
        if self.profiles.is_empty() {
            self.profiles.clone_from(&below.profiles);
        }
        self
    }
}

fn items(node: Option<&Rc<Node>>) -> &[Rc<Node>] {
    match node.map(|node| &node.value) {
        Some(Value::Sequence(items)) => items,
        _ => &[],
    }
}

/// A map, or a list of `name=value`.
fn pairs(node: Option<&Rc<Node>>, context: &Context) -> BTreeMap<String, Written> {
    let Some(node) = node else { return BTreeMap::new() };
    let from_map = node.entries().iter().filter_map(|entry| {
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
