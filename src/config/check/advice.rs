//! Warnings of `check` besides mistakes: secrets that others may read, credentials without TLS,
//! certificates that nobody checks, addresses that other machines reach.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::rc::Rc;

use http::Uri;
use watchpost_targets::yaml::{Node, Value};
use watchpost_targets::{is_named_by, without_userinfo};

use super::components::Id;
use super::context;
use crate::base::place::Problem;
use crate::config::decode::Context;
use crate::config::plan::{ExporterSettings, ExtensionSettings, Plan};
use crate::discover::Source;
use crate::probe::ReceiverPlan;
use crate::probe::address::Address;
use crate::probe::module::{Http, Prober};

/// Keys whose value is a secret.
const SECRETS: [&str; 7] =
    ["password", "token", "credentials", "secret", "client_secret", "api_key", "bearer_token"];
/// The values below these keys are public.
const LABELS: [&str; 4] = ["labels", "external_labels", "resource", "attributes"];

/// Warns of what a configuration says. `written` is the tree before its references were expanded.
pub(in crate::config) fn of_plan(
    plan: &Plan,
    written: &Rc<Node>,
    document: &Rc<Node>,
    files: &[String],
) -> Vec<Problem> {
    let problems = RefCell::default();
    let advice = Advice { context: context(files, &[], &problems) };
    advice.secrets(written, &mut Vec::new());
    advice.certificates(document, "");
    advice.listeners(plan, document);
    advice.backends(plan, document);
    advice.found(plan, document);
    problems.into_inner().sorted()
}

struct Advice<'a> {
    context: Context<'a>,
}

impl Advice<'_> {
    fn warn(&self, node: &Node, path: &str, message: impl Into<String>) {
        let place = self.context.place(node.mark, path);
        self.context.problems.borrow_mut().warning(&place, message);
    }

    /// Secrets that are written where others may read them.
    fn secrets<'n>(&self, node: &'n Rc<Node>, path: &mut Vec<&'n str>) {
        match &node.value {
            Value::Null | Value::Unknown => {}
            Value::Scalar { text, .. } => {
                if is_secret(path, text)
                    && let Some(who) = self.readers(node)
                {
                    let path = path.join(".").replace(".[]", "[]");
                    let message = format!("the secret {who}: use ${{file:path}} or ${{env:NAME}}");
                    self.warn(node, &path, message);
                }
            }
            Value::Sequence(items) => {
                path.push("[]");
                items.iter().for_each(|item| self.secrets(item, path));
                path.pop();
            }
            Value::Mapping(entries) => {
                for entry in entries.iter().filter(|entry| !LABELS.contains(&entry.key.as_str())) {
                    path.push(&entry.key);
                    self.secrets(&entry.value, path);
                    path.pop();
                }
            }
        }
    }

    /// The other readers of the value at a node; `None`: nobody.
    fn readers(&self, node: &Node) -> Option<&'static str> {
        let file = self.context.files.get(node.mark.source as usize)?;
        if file.starts_with("--set ") || file == "yaml" {
            return Some("stands in the command line, which all users of this machine may read");
        }
        all_may_read(file).then_some("stands in a file that all users of this machine may read")
    }

    fn certificates(&self, node: &Rc<Node>, path: &str) {
        let on = |node: &Node| {
            node.text().is_some_and(|text| {
                matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on")
            })
        };
        for entry in node.entries() {
            let path =
                if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            if entry.key == "insecure_skip_verify" && on(&entry.value) {
                let message = "any certificate is accepted, also that of somebody in between: \
                    name the right one with ca_file";
                self.warn(&entry.value, &path, message);
            }
            self.certificates(&entry.value, &path);
        }
        if let Value::Sequence(items) = &node.value {
            for (index, item) in items.iter().enumerate() {
                self.certificates(item, &format!("{path}[{index}]"));
            }
        }
    }

    /// Addresses that other machines reach.
    fn listeners(&self, plan: &Plan, document: &Rc<Node>) {
        if let Some((node, path)) = find(document, "http", &["listen"]) {
            self.listener(plan.http.listen, node, &path);
        }
        for address in &plan.telemetry.listeners {
            if let Some((node, path)) = find(document, "service", &["telemetry", "metrics"]) {
                self.listener(*address, node, &path);
            }
        }
        for (name, exporter) in &plan.exporters {
            if let ExporterSettings::Prometheus(settings) = &exporter.settings
                && let Some(address) = settings.endpoint
                && let Some((node, path)) = component(document, "exporters", name, "endpoint")
            {
                self.listener(address, node, &path);
            }
        }
        for (name, extension) in &plan.extensions {
            if let ExtensionSettings::HealthCheck(settings) = &extension.settings
                && let Some((node, path)) = component(document, "extensions", name, "endpoint")
            {
                self.listener(settings.endpoint, node, &path);
            }
        }
    }

    fn listener(&self, address: SocketAddr, node: &Node, path: &str) {
        let ip = address.ip().to_canonical();
        if ip.is_loopback() {
            return;
        }
        let at = if ip.is_unspecified() { "every address".to_owned() } else { ip.to_string() };
        let message = format!(
            "listens on {at} without authentication and without TLS: \
             other machines can read everything here"
        );
        self.warn(node, path, message);
    }

    /// Credentials that go wherever labels say.
    fn found(&self, plan: &Plan, document: &Rc<Node>) {
        for receiver in &plan.receivers {
            let module = receiver.module.as_ref().and_then(|name| plan.modules.get(name));
            let Some(module) = module.filter(|module| !module.gives_nothing_away()) else {
                continue;
            };
            let open = plan.discovery.iter().find(|job| {
                let anywhere = match &job.source {
                    Source::Services(settings) => settings.limits.hosts.allow.is_empty(),
                    Source::Lan(_) => false,
                };
                let mut files = receiver.files.iter();
                anywhere && files.any(|pattern| is_named_by(&job.output.file, pattern))
            });
            if let Some(job) = open
                && let Some((node, path)) =
                    component(document, "receivers", &receiver.name, "module")
            {
                let message = format!(
                    "the module {} sends what is meant for one host, and labels that the job {} reads \
                     decide where to: give the job `allow:`",
                    module.name, job.name
                );
                self.warn(node, &path, message);
            }
        }
    }

    /// Credentials that go to another machine without TLS.
    fn backends(&self, plan: &Plan, document: &Rc<Node>) {
        let message = "credentials are sent without TLS: whoever is on the way can read them";
        for (name, exporter) in &plan.exporters {
            let (endpoint, client) = match &exporter.settings {
                ExporterSettings::RemoteWrite(settings) => (&settings.endpoint, &settings.client),
                ExporterSettings::OtlpGrpc(settings) => (&settings.endpoint, &settings.client),
                ExporterSettings::OtlpHttp(settings) => (&settings.endpoint, &settings.client),
                ExporterSettings::Prometheus(_) | ExporterSettings::Debug(_) => continue,
            };
            // Their values may be unknown here.
            let headers = component(document, "exporters", name, "headers");
            let headers = headers.map(|(node, _)| node.entries()).unwrap_or_default();
            let credentials =
                client.auth.is_some() || headers.iter().any(|header| is_credential(&header.key));
            let place = component(document, "exporters", name, "metrics_endpoint")
                .or_else(|| component(document, "exporters", name, "endpoint"));
            if credentials
                && is_open_uri(endpoint)
                && let Some((node, path)) = place
            {
                self.warn(node, &path, message);
            }
        }
        if let Some(traces) = &plan.telemetry.traces
            && traces.headers.keys().any(|name| is_credential(name))
            && traces.endpoint.parse().is_ok_and(|endpoint: Uri| is_open_uri(&endpoint))
            && let Some((node, path)) = find(document, "service", &["telemetry", "traces"])
        {
            self.warn(node, &path, message);
        }
    }
}

/// Warns of what targets say: `FILE:LINE: message`.
#[must_use]
pub fn of_targets(receivers: &[ReceiverPlan]) -> Vec<String> {
    let mut warnings = Vec::new();
    for target in receivers.iter().flat_map(|receiver| receiver.targets.values()) {
        let address = target.key.address.as_str();
        let bare = without_userinfo(address);
        let shown = bare.split(['?', '#']).next().unwrap_or_default();
        let mut warn =
            |message: String| warnings.push(format!("{}: {shown}: {message}", target.origin));
        if let Some(key) = secret_parameter(address) {
            warn(format!(
                "the query has {key}=…: the whole address becomes the label instance; send it as a header of the module"
            ));
        }
        let password = has_password(address);
        if password && all_may_read(&target.origin.file) {
            let why = "the password stands in a file that all users of this machine may read";
            warn(format!("{why}: use basic_auth with password_file in the module"));
        }
        let credentials = match &target.module.prober {
            Prober::Http(http) => has_credentials(http),
            Prober::Tcp(_) | Prober::Icmp(_) => false,
        };
        let open = match &target.address {
            Address::Url(url) => is_open(url.scheme(), url.host_str()),
            Address::HostPort(..) | Address::Host(_) => false,
        };
        if (password || credentials) && open {
            let module = &target.module.name;
            warn(format!("the credentials of the module {module} are sent without TLS"));
        }
    }
    warnings
}

fn has_credentials(http: &Http) -> bool {
    http.credentials.is_some() || http.headers.iter().any(|(name, _)| is_credential(name.as_str()))
}

/// The node below a section, and its path.
fn find<'n>(
    document: &'n Rc<Node>,
    section: &str,
    keys: &[&str],
) -> Option<(&'n Rc<Node>, String)> {
    let node = keys.iter().try_fold(document.get(section)?, |node, key| node.get(key))?;
    Some((node, format!("{section}.{}", keys.join("."))))
}

/// A key of a component, by the component's name as plans have it.
fn component<'n>(
    document: &'n Rc<Node>,
    section: &str,
    name: &str,
    key: &str,
) -> Option<(&'n Rc<Node>, String)> {
    let entries = document.get(section)?.entries();
    let entry =
        entries.iter().find(|entry| Id::parse(&entry.key).is_ok_and(|id| id.text() == name))?;
    Some((entry.value.get(key)?, format!("{section}.{}.{key}", entry.key)))
}

/// Whether a text that is written at a path is a secret, and not a reference to one.
fn is_secret(path: &[&str], text: &str) -> bool {
    let (key, above) = match path {
        [.., above, key] => (*key, *above),
        [key] => (*key, ""),
        [] => return false,
    };
    let named = match above {
        "headers" => is_credential(key),
        _ => SECRETS.contains(&key),
    };
    let written = !text.trim().is_empty() && !text.contains("${");
    // Targets are looked at one by one, those of target files too.
    written && (named || (has_password(text) && !path.contains(&"targets")))
}

/// Whether a header carries credentials, by its name.
fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parts = ["auth", "token", "secret", "password", "cookie", "key"];
    parts.iter().any(|part| name.contains(part))
}

/// Whether an address holds a password: `scheme://user:password@host`.
fn has_password(address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else { return false };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    rest[..end]
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, p)| !p.is_empty())
}

/// The first parameter of a query that seems to be a secret.
fn secret_parameter(address: &str) -> Option<String> {
    let (_, query) = address.split('#').next()?.split_once('?')?;
    query.split(['&', ';']).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let key = key.to_ascii_lowercase();
        let whole = ["key", "sig", "signature", "pwd", "pass", "auth", "apikey"];
        let parts = ["token", "secret", "password", "passwd", "_key", "-key", "api_key"];
        let is_secret =
            whole.contains(&key.as_str()) || parts.iter().any(|part| key.contains(part));
        (is_secret && !value.is_empty()).then_some(key)
    })
}

/// Whether others can read what is sent there: another machine, and no TLS.
fn is_open(scheme: &str, host: Option<&str>) -> bool {
    let host = host.unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    scheme == "http" && !local
}

fn is_open_uri(uri: &Uri) -> bool {
    is_open(uri.scheme_str().unwrap_or_default(), uri.host())
}

/// Whether every user of this machine may read a file.
fn all_may_read(file: &str) -> bool {
    std::fs::metadata(Path::new(file)).is_ok_and(|meta| meta.permissions().mode() & 0o004 > 0)
}

#[cfg(test)]
mod tests;
