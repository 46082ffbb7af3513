//! Traefik's file provider: `http.routers` and `tcp.routers` of TOML and YAML files.

use std::collections::BTreeSet;
use std::path::Path;

use watchpost_targets::label::INTERVAL_HINT;
use watchpost_targets::yaml::{self, Node, Value};
use watchpost_targets::{Origin, Target};

use crate::claims::Claimant;
use crate::dialects::{self, Skipped, short_name};
use crate::interpolate::Variables;
use crate::job::{Check, Report, Settings};
use crate::reading::MAX_BYTES;
use crate::service::{Context, Service};
use crate::text;
use crate::within::Within;

/// Routers of one file.
const MAX_ROUTERS: usize = 2_000;

/// A router.
#[derive(Debug, Default)]
struct Router {
    protocol: &'static str,
    name: String,
    rule: String,
    entry_points: Vec<String>,
    tls: bool,
    line: u32,
}

/// The context in which traefik's files are read.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) settings: &'a Settings,
    /// Variables of the process that templates may read.
    pub(crate) environment: &'a Variables,
    pub(crate) within: &'a Within,
    pub(crate) check: Check<'a>,
}

/// Reads a file, when there are routers in it.
pub(crate) fn read(path: &Path, around: &Around<'_>, report: &mut Report) {
    let Around { settings, environment, within, check } = *around;
    let Ok(text) = within.read(path) else { return };
    // Most files of a home lab are something else.
    if !text.contains("routers") || !text.contains("rule") {
        return;
    }
    let mut used = BTreeSet::new();
    let text = match filled(&text, environment, &mut used) {
        Ok(text) => text,
        Err(why) => return report.problem(path, 0, why),
    };
    // What is as short is no secret, and is in many words.
    used.retain(|value| value.len() > 3 && settings.domain.as_ref() != Some(value));
    let toml = path.extension().is_some_and(|extension| extension == "toml");
    let routers = if toml { from_toml(&text) } else { from_yaml(&text) };
    let routers = match routers {
        Ok(routers) => routers,
        Err((line, mut why)) => {
            dialects::hide(&used, &mut why);
            return report.problem(path, line, why);
        }
    };
    if !routers.is_empty() {
        report.files += 1;
    }
    if routers.len() > MAX_ROUTERS {
        let why = format!("more than {MAX_ROUTERS} routers: the rest is not looked at");
        report.problem(path, 0, why);
    }
    for router in routers.into_iter().take(MAX_ROUTERS) {
        report.routers += 1;
        one(path, &router, settings, check, &used, report);
    }
}

/// Adds what a router tells. No reason shows a text of `used`, which may be secret.
fn one(
    path: &Path,
    router: &Router,
    settings: &Settings,
    check: Check<'_>,
    used: &BTreeSet<String>,
    report: &mut Report,
) {
    // A router of a file is told as the label of a service would be.
    let context = Context {
        file: path.display().to_string().into(),
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        variables: std::rc::Rc::default(),
    };
    let mark = yaml::Mark { line: router.line, column: 1, source: 0 };
    let empty = Node::new(mark, Value::Null);
    let mut service = Service::read(&router.name, mark, &empty, &context);
    let key = |setting: &str| format!("traefik.{}.routers.r.{setting}", router.protocol);
    // A dollar is a dollar in these files.
    let value = |text: &str| context.written(&text.replace('$', "$$"), mark);
    service.labels.insert(key("rule"), value(&router.rule));
    service.labels.insert(key("entrypoints"), value(&router.entry_points.join(",")));
    service.labels.insert(key("tls"), value(if router.tls { "true" } else { "false" }));
    let claimant = Claimant { name: router.name.as_str().into(), identity: None, runs: false };
    let (targets, skipped) = dialects::find_checked(&service, settings, check, used.clone());
    for (mut target, _) in targets {
        target.hints.remove(INTERVAL_HINT);
        let name = text::foreign(&short_name(&target.address));
        target.labels.insert("humanname".to_owned(), name);
        let origin = Origin { file: context.file.clone(), line: router.line };
        report.add(Target { origin, ..target }, "traefik file", &claimant, settings);
    }
    let named = skipped.into_iter().map(|skipped| {
        let reason = skipped.reason.replacen("router r:", "the router:", 1);
        Skipped { reason, ..skipped }
    });
    report.skip(named);
}

/// Fills in `{{env "NAME"}}`; other templates of Go are not read.
///
/// # Errors
/// A template that is not read, or whose variable is not set, outside of comments.
pub fn templates(text: &str, environment: &Variables) -> Result<String, String> {
    filled(text, environment, &mut BTreeSet::new())
}

/// As [`templates`]; `used` gets the values that were filled in.
fn filled(
    text: &str,
    environment: &Variables,
    used: &mut BTreeSet<String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut comment = false;
    while let Some(open) = rest.find("{{") {
        let inner = &rest[open + 2..];
        let Some(close) = inner.find("}}") else {
            return Err("a {{ without its }}".to_owned());
        };
        let action = inner[..close].trim_matches('-').trim();
        // Within a comment nobody reads it. One line may have several.
        let begin = rest[..open].rfind('\n').map(|at| at + 1);
        if begin.is_some() || rest.len() == text.len() {
            comment = rest[begin.unwrap_or(0)..open].trim_start().starts_with('#');
        }
        let value = env_action(action).map(|name| environment.get(name).cloned());
        out.push_str(&rest[..open]);
        match value {
            Some(Some(value)) => {
                out.push_str(&value);
                used.insert(value);
            }
            Some(None) if !comment => {
                let name = env_action(action).unwrap_or_default();
                return Err(format!("{{{{env {name:?}}}}}: the variable is not set"));
            }
            None if !comment => {
                return Err(format!(
                    "the template {{{{{action}}}}} is not read (only {{{{env \"NAME\"}}}})"
                ));
            }
            _ => {}
        }
        if out.len() as u64 > MAX_BYTES {
            return Err(format!("its templates make it larger than {} MiB", MAX_BYTES >> 20));
        }
        rest = &inner[close + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The variable of `env "NAME"`.
fn env_action(action: &str) -> Option<&str> {
    let name = action.strip_prefix("env")?.trim();
    let quote = name.chars().next().filter(|c| matches!(c, '"' | '`'))?;
    name.strip_prefix(quote)?.strip_suffix(quote)
}

type Wrong = (u32, String);

fn from_toml(text: &str) -> Result<Vec<Router>, Wrong> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before =
            error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count());
        let line = u32::try_from(before.max(1)).unwrap_or(0);
        (line, error.message().to_owned())
    })?;
    let mut routers = Vec::new();
    for protocol in ["http", "tcp"] {
        let Some(found) = get(&table, protocol).and_then(|t| get(t.as_table()?, "routers")) else {
            continue;
        };
        for (name, router) in found.as_table().into_iter().flatten() {
            let Some(router) = router.as_table() else { continue };
            let rule = get(router, "rule").and_then(|rule| rule.as_str()).unwrap_or_default();
            let points = get(router, "entrypoints").and_then(|list| list.as_array());
            let entry_points =
                points.into_iter().flatten().filter_map(|p| Some(p.as_str()?.to_owned())).collect();
            let tls = get(router, "tls").is_some_and(|tls| tls.as_bool() != Some(false));
            let head = format!("routers.{name}");
            if routers.len() > MAX_ROUTERS {
                break;
            }
            let line = text.lines().position(|line| !rule.is_empty() && line.contains(rule));
            let line = line.or_else(|| text.lines().position(|line| line.contains(&head)));
            let line = line.map_or(0, |line| u32::try_from(line + 1).unwrap_or(0));
            let (name, rule) = (name.clone(), rule.to_owned());
            routers.push(Router { protocol, name, rule, entry_points, tls, line });
        }
    }
    Ok(routers)
}

/// A value by its key, whatever its case.
fn get<'t>(table: &'t toml::Table, key: &str) -> Option<&'t toml::Value> {
    table.iter().find(|(have, _)| have.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

fn from_yaml(text: &str) -> Result<Vec<Router>, Wrong> {
    let (document, _) = yaml::parse_all(text).map_err(|error| (error.mark.line, error.message))?;
    let child = |node: &Node, key: &str| {
        let entries = node.entries().iter();
        entries.filter(|entry| entry.key.eq_ignore_ascii_case(key)).map(|e| e.value.clone()).next()
    };
    let mut routers = Vec::new();
    for protocol in ["http", "tcp"] {
        let Some(found) = child(&document, protocol).and_then(|node| child(&node, "routers"))
        else {
            continue;
        };
        for entry in found.entries() {
            let Some(rule) = child(&entry.value, "rule") else { continue };
            let points = child(&entry.value, "entrypoints");
            let entry_points = match points.as_ref().map(|node| &node.value) {
                Some(Value::Sequence(items)) => {
                    items.iter().filter_map(|item| Some(item.text()?.to_owned())).collect()
                }
                _ => Vec::new(),
            };
            let tls = child(&entry.value, "tls").is_some_and(|tls| tls.text() != Some("false"));
            routers.push(Router {
                protocol,
                name: entry.key.clone(),
                rule: rule.text().unwrap_or_default().to_owned(),
                entry_points,
                tls,
                line: rule.mark.line,
            });
        }
    }
    Ok(routers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn report(name: &str, text: &str) -> Report {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        let mut settings = Settings::new(Vec::new());
        settings.domain = Some("example.net".to_owned());
        let environment = Variables::from([("ZONE".to_owned(), "example.org".to_owned())]);
        let mut report = Report::default();
        let mut within = Within::default();
        within.folder(folder.path());
        let (settings, environment, within) = (&settings, &environment, &within);
        let around = Around { settings, environment, within, check: &|_| Ok(()) };
        read(&path, &around, &mut report);
        report
    }

    fn addresses(report: &Report) -> Vec<&str> {
        report.targets.iter().map(|target| target.address.as_str()).collect()
    }

    #[test]
    fn toml_and_yaml() {
        let text = "[http.routers]\n  [http.routers.zigbee]\n    rule = \"HostRegexp(`zigbee.{domain:.*}`)\"\n    \
            entryPoints = [\"https\"]\n    service = \"zigbee\"\n    [http.routers.zigbee.tls]\n[http.routers.dash]\n\
            rule = 'Host(`dash.{{env \"ZONE\"}}`)'\nentryPoints = ['web']\n# {{ range .Hosts }} {{ end }}\n";
        let found = report("dynamic.toml", text);
        assert_eq!(
            addresses(&found),
            ["http://dash.example.org", "https://zigbee.example.net"],
            "{found:?}"
        );
        assert_eq!((found.routers, found.files), (2, 1));
        assert_eq!(found.targets[1].origin.line, 3);
        let text = "http:\n  routers:\n    a:\n      rule: \"Host(`a.{{env `ZONE`}}`) && PathPrefix(`/x`)\"\n      entryPoints: [websecure]\n      tls: {}\n    b:\n      rule: Header(`X`, `y`)\n";
        let found = report("dynamic.yml", text);
        assert_eq!(addresses(&found), ["https://a.example.org/x"]);
        assert_eq!(found.skipped.len(), 1);
        assert!(
            found.skipped[0].reason.contains("the router: the rule has a condition"),
            "{found:?}"
        );
    }

    #[test]
    fn values_of_variables_stay_out_of_reasons() {
        let text = "[http.routers.a]\nrule = 'Host(`*.{{env \"ZONE\"}}`)'\n\
            [http.routers.b]\nrule = 'Header(`{{env \"ZONE\"}}`'\n";
        let found = report("dynamic.toml", text);
        let reasons = format!("{:?}", found.skipped);
        assert!(reasons.contains("Host(`*.…`)") && !reasons.contains("example.org"), "{reasons}");
        assert_eq!(found.skipped.len(), 2);
        let found = report(
            "dynamic.toml",
            "[routers.\"{{env \"ZONE\"}}\"]\nrule = 1\nrule = {{env \"ZONE\"}}\n",
        );
        assert!(!format!("{:?}", found.problems).contains("example.org"), "{found:?}");
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (text, expected) in [
            ("routers rule {{ range .X }}", "is not read"),
            ("routers rule {{env \"NOT_SET\"}}", "is not set"),
            ("routers rule {{", "without its"),
            ("[http.routers]\nrule = ", ""),
        ] {
            let report = report("dynamic.toml", text);
            assert!(
                report.problems.len() == 1 && report.problems[0].message.contains(expected),
                "{report:?}"
            );
        }
        assert!(report("values.yaml", "nothing: here").problems.is_empty());
    }
}
