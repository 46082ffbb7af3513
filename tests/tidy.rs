//! Habits of the house, checked: who may import whom, what git ignores, which crates may not come in,
//! and that the table of metrics is the one in the documentation.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use watchpost::signal::names::{self, host::HostMetric};
use watchpost::signal::series::Metric;
use watchpost::wire::naming::Naming;

/// Lines of a source file; a longer one wants to be two.
const MAX_LINES: usize = 500;

/// Crates that may not come in, not even by way of another.
const BANNED: [&str; 15] = [
    "openssl-sys",
    "native-tls",
    "aws-lc-sys",
    "aws-lc-rs",
    "trust-dns-proto",
    "trust-dns-resolver",
    "serde_yaml",
    "serde_yml",
    "libyml",
    "sled",
    "figment",
    "reqwest",
    "rustls-pemfile",
    "async-std",
    "openssl",
];

/// Crates that one place alone may name, because the rest of the house must not notice when they
/// change, and where that is.
const DOORS: [(&str, &[&str]); 10] = [
    ("opentelemetry_proto", &["src/wire/otlp.rs", "src/wire/otlp/json.rs"]),
    ("opentelemetry_sdk", &["src/pipeline/selftrace.rs", "src/app/spans.rs"]),
    ("serde_saphyr", &["targets/src/yaml.rs"]),
    ("hickory_resolver", &["src/net/resolve.rs", "src/net/resolve/runtime.rs"]),
    ("tokio_rustls", &["src/net/tls.rs", "src/net/tls/judge.rs"]),
    ("x509_parser", &["src/net/x509.rs"]),
    ("surge_ping", &["src/probe/icmp.rs"]),
    ("sd_notify", &["src/app/shutdown.rs"]),
    ("tokio::signal", &["src/app/shutdown.rs"]),
    ("std::env", &["src/app/facts.rs"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The source files of both crates, by their path from the root.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    for folder in ["src", "targets/src", "discovery/src", "dashboards/src"] {
        walk(&root().join(folder), &mut found);
    }
    found
}

/// The layer table of ARCHITECTURE.md: module, and what it may import.
fn layers() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text
        .split("| module | may import |")
        .nth(1)
        .expect("the layer table is in ARCHITECTURE.md");
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let may = cells[1]
                .split(", ")
                .filter(|m| *m != "nothing of ours")
                .map(str::to_owned)
                .collect();
            (cells[0].to_owned(), may)
        })
        .collect()
}

/// The modules that a text imports from its own crate, and the crates of ours that it names.
fn imports(text: &str) -> BTreeSet<String> {
    let word = |rest: &str| {
        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "watchpost::"] {
        for (at, _) in text.match_indices(prefix) {
            // `watchpost::` in the middle of a word, or of a text, is no import.
            let before = text[..at].chars().next_back();
            if !before.is_some_and(|c| {
                c.is_alphanumeric() || c == '_' || c == '`' || c == '"' || c == '$'
            }) {
                found.insert(word(&text[at + prefix.len()..]));
            }
        }
    }
    for name in ["watchpost_targets", "watchpost_discovery"] {
        if text.contains(name) {
            found.insert(name.trim_start_matches("watchpost_").to_owned());
        }
    }
    found
}

#[test]
fn imports_point_down() {
    let layers = layers();
    let mut wrong = Vec::new();
    for (path, text) in
        sources().iter().filter(|(path, _)| path.starts_with("src/") && *path != "src/lib.rs")
    {
        let module = path["src/".len()..].split(['/', '.']).next().unwrap();
        let Some(may) = layers.get(module) else {
            wrong.push(format!("{path}: the module {module} is not in the layer table"));
            continue;
        };
        for import in imports(text) {
            if import != module
                && !may.contains(&import)
                && import.chars().next().is_some_and(char::is_lowercase)
            {
                wrong.push(format!("{path}: {module} may not import {import}"));
            }
        }
    }
    for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("discovery/")) {
        if text.contains("watchpost::") {
            wrong.push(format!("{path}: discovery imports targets alone"));
        }
    }
    for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("targets/")) {
        if text.contains("watchpost::") {
            wrong.push(format!("{path}: targets imports no crate of ours"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table itself has no circle: every module can be reached only from above.
#[test]
fn the_layer_table_has_no_circle() {
    let layers = layers();
    fn visit<'a>(
        at: &'a str,
        layers: &'a BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<&'a str>,
    ) {
        assert!(!path.contains(&at), "a circle: {path:?} and {at}");
        path.push(at);
        for below in layers.get(at).into_iter().flatten() {
            visit(below, layers, path);
        }
        path.pop();
    }
    for module in layers.keys() {
        visit(module, &layers, &mut Vec::new());
    }
}

#[test]
fn one_door_for_each_crate_that_may_change() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (name, doors) in DOORS {
            let named = text.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//") && line.contains(&format!("{name}::"))
            });
            if named && !doors.contains(&path.as_str()) && !path.ends_with("tests.rs") {
                wrong.push(format!("{path}: only {doors:?} may name {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every task of a loop is spawned where its polls are timed.
#[test]
fn tasks_are_spawned_in_one_place() {
    const DOOR: &str = "src/base/turn.rs";
    // Closures are spawned as threads; what is not async has no polls.
    let is_thread = |after: &str| after.starts_with(['|', ')']) || after.starts_with("move |");
    let mut wrong = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("src/")) {
        for (number, line) in text.lines().enumerate() {
            let mut spawns =
                line.match_indices(".spawn(").map(|(at, found)| &line[at + found.len()..]);
            let others = ["tokio::spawn(", "spawn_local(", "TokioExecutor"];
            if path != DOOR
                && !line.contains("thread::Builder")
                && (spawns.any(|after| !is_thread(after))
                    || others.iter().any(|o| line.contains(o)))
            {
                wrong.push(format!("{path}:{}: only {DOOR} spawns tasks", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let tests = path.ends_with("tests.rs");
        if !tests && !text.starts_with("//!") {
            wrong.push(format!("{path}: the first line says what the file owns (//!)"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{path}: {lines} lines, at most {MAX_LINES}"));
        }
        if path.ends_with("/mod.rs") {
            wrong.push(format!("{path}: a module stands beside its folder, not in it"));
        }
    }
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 80, "main.rs stays under 80 lines");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn git_keeps_the_targets_crate() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    assert!(
        ignored.lines().any(|line| line == "/target/"),
        "the build folder is ignored, anchored"
    );
    for line in ignored.lines().filter(|line| !line.starts_with('#')) {
        assert!(!line.contains("target") || line == "/target/", "{line:?} could hide targets/");
    }
    if root().join(".git").exists() {
        let check = std::process::Command::new("git")
            .args(["check-ignore", "--quiet", "targets/src/lib.rs"])
            .current_dir(root())
            .status();
        assert!(
            check.is_ok_and(|status| status.code() == Some(1)),
            "git ignores targets/src/lib.rs"
        );
    }
}

#[test]
fn every_crate_takes_up_the_lints() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let mut seen = 0;
    for member in members.split(',').map(|m| m.trim().trim_matches('"')).filter(|m| !m.is_empty()) {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{member} does not take up the workspace's lints"
        );
        seen += 1;
    }
    assert!(seen >= 2);
    for name in
        fs::read_dir(root()).unwrap().flatten().filter(|e| e.path().join("Cargo.toml").exists())
    {
        let name = name.file_name().into_string().unwrap();
        // Fuzz targets need flags of their own.
        assert!(
            members.contains(&format!("\"{name}\"")) || name == "fuzz",
            "{name} is a crate and no member of the workspace"
        );
    }
}

#[test]
fn no_banned_crate_comes_in() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let names: BTreeSet<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(names.len() > 100, "the lock file was read");
    let found: Vec<&&str> = BANNED.iter().filter(|name| names.contains(**name)).collect();
    assert!(found.is_empty(), "banned: {found:?}");
}

/// `job` and `instance` are those of the resource: an attribute of this name would be lost in Prometheus.
#[test]
fn no_metric_has_an_attribute_that_prometheus_gives_itself() {
    let taken = |name: &&str| matches!(*name, "job" | "instance");
    let wrong = names::ALL.iter().filter(|metric| metric.attributes.iter().any(taken));
    let wrong: Vec<&str> = wrong.map(|metric| metric.name).collect();
    assert_eq!(wrong, Vec::<&str>::new());
}

/// `docs/METRICS.md` is made from the table in `signal/names.rs`: with UPDATE=1 this test writes it.
#[test]
fn the_documented_metrics_are_the_published_ones() {
    let mut text = String::from(
        "# Metrics\n\nEvery metric that Watchpost publishes. Made from `src/signal/names.rs` by \
         `UPDATE=1 cargo test --profile ci --test tidy`.\n\n\
         | OpenTelemetry | Prometheus | kind, unit | attributes | what it is |\n|---|---|---|---|---|\n",
    );
    let row = |metric: &Metric, more: &str| {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let unit =
            if metric.unit.is_empty() { String::new() } else { format!(", {}", metric.unit) };
        let name = Naming::default().metric(metric);
        let attributes = metric.attributes.join(", ");
        let Metric { name: own, description, .. } = metric;
        format!("| {own} | {name} | {kind}{unit} | {attributes} | {description} |{more}\n")
    };
    names::ALL.iter().for_each(|metric| text.push_str(&row(metric, "")));
    text.push_str(
        "\n## The host\n\nOf `host_metrics`: under which scraper each is switched, and whether it is on by default. Metrics \
         of things that a machine does not have are absent.\n\n\
         | OpenTelemetry | Prometheus | kind, unit | attributes | what it is | scraper |\n|---|---|---|---|---|---|\n",
    );
    for HostMetric { metric, scrapers, .. } in names::host::TABLE {
        let word = |on: &bool| if *on { "on" } else { "off" };
        let scrapers: Vec<String> =
            scrapers.iter().map(|(name, on)| format!("{name}: {}", word(on))).collect();
        text.push_str(&row(metric, &format!(" {} |", scrapers.join(", "))));
    }
    let path = root().join("docs/METRICS.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        text,
        "docs/METRICS.md is out of date"
    );
}
