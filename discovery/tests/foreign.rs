//! Labels, rules and compose files are foreign: what they may reach, read and take is the job's to say.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use watchpost_discovery::hosts::Pattern;
use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{Report, Settings, compose};
use watchpost_targets::Target;
use watchpost_targets::label::MODULE_HINT;

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn settings(&self) -> Settings {
        Settings::new(vec![self.path("svc")])
    }

    fn look(&self, settings: &Settings) -> Report {
        let pairs = [("TOKEN", "CANARY_PROCESS"), ("ZONE", "zone.invalid"), ("HOME", "/root")];
        let process: Variables =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        compose(settings, &process)
    }
}

fn addresses(report: &Report) -> Vec<&str> {
    let mut all: Vec<&str> = report.targets.iter().map(|t| t.address.as_str()).collect();
    all.sort_unstable();
    all
}

fn reasons(report: &Report) -> String {
    let line = |s: &watchpost_discovery::dialects::Skipped| {
        let file = Path::new(&s.file).file_name().unwrap_or_default().to_string_lossy();
        format!("{} ({file}:{}): {}\n", s.service, s.line, s.reason)
    };
    report.skipped.iter().map(line).collect()
}

fn find<'r>(report: &'r Report, address: &str) -> &'r Target {
    report.targets.iter().find(|target| target.address == address).unwrap()
}

#[test]
fn labels_name_no_module_but_those_of_the_job() {
    let tree = Tree::new();
    let text = "services:\n  a:\n    labels:\n      watchpost.address: http://a.invalid/steal\n      watchpost.module: grafana\n      kuma.x.http.url: http://b.invalid\n  c: {labels: {watchpost.address: \"http://c.invalid\", watchpost.module: http_2xx}}\n";
    tree.write("svc/compose.yaml", text);
    let mut settings = tree.settings();
    settings.limits.modules.insert("http_2xx".to_owned());
    let report = tree.look(&settings);
    assert_eq!(addresses(&report), ["http://c.invalid"]);
    assert_eq!(find(&report, "http://c.invalid").hints[MODULE_HINT], "http_2xx");
    let expected = "a (compose.yaml:5): the module \"grafana\": labels may not name it (`modules:` of the job)\n";
    assert_eq!(reasons(&report), expected);
    settings.limits.modules.insert("grafana".to_owned());
    assert_eq!(tree.look(&settings).targets.len(), 2);
}

#[test]
fn labels_and_rules_lead_to_no_local_address() {
    let tree = Tree::new();
    let text = r#"
services:
  own: {labels: {watchpost.address: "http://169.254.169.254/latest/meta-data/iam"}}
  rule: {labels: {traefik.http.routers.r.rule: "Host(`0xa9fea9fe`) && PathPrefix(`/latest`)"}}
  tcp: {labels: {traefik.tcp.routers.r.rule: "HostSNI(`127.1`)", traefik.tcp.routers.r.entrypoints: https}}
  caddy: {labels: {caddy: "localhost:8080"}}
  nginx: {environment: [VIRTUAL_HOST=127.0.0.1.]}
  kuma: {labels: {kuma.x.port.hostname: "2130706433", kuma.x.port.port: 22}}
  home: {labels: {homepage.href: "http://[::ffff:7f00:1]/"}}
  udp: {labels: {kuma.x.ping.hostname: "fe80::1"}}
  here: {labels: {traefik.tcp.routers.r.rule: "HostSNI(`*`)", traefik.tcp.routers.r.entrypoints: https}}
  bound: {ports: ["127.0.0.1:8081:80"]}
  open: {ports: ["8082:80"]}
"#;
    tree.write("svc/compose.yaml", text);
    tree.write("svc/dynamic.toml", "[http.routers.file]\nrule = \"Host(`localhost`)\"\n");
    let mut settings = tree.settings();
    (settings.ports, settings.ports_host) = (true, "localhost".to_owned());
    let report = tree.look(&settings);
    // Published ports are this machine's, and so is a TCP rule that serves every name.
    assert_eq!(addresses(&report), ["127.0.0.1:8081", "localhost:443", "localhost:8082"]);
    let why = "loopback or link-local, which labels may not name (`allow:` of the job)\n";
    assert_eq!(reasons(&report).matches(why).count(), 9, "{}", reasons(&report));
    let pattern = |text: &str| Pattern::parse(text).unwrap();
    settings.limits.hosts.allow = vec![pattern("169.254.169.254"), pattern("localhost")];
    let expected = [
        "127.0.0.1:8081",
        "http://0xa9fea9fe/latest",
        "http://169.254.169.254/latest/meta-data/iam",
        "http://localhost",
        "https://localhost:8080",
        "localhost:443",
        "localhost:8082",
    ];
    assert_eq!(addresses(&tree.look(&settings)), expected);
    settings.limits.hosts.deny = vec![pattern("localhost"), pattern("169.254.0.0/16")];
    assert_eq!(addresses(&tree.look(&settings)), ["127.0.0.1:8081"]);
}

#[test]
fn compose_files_read_nothing_of_the_process_but_what_is_named() {
    let tree = Tree::new();
    let text = "services:\n  a: {labels: {watchpost.address: \"http://a.invalid/${TOKEN}/${HOME}\"}}\n  \
                b: {labels: {watchpost.address: \"http://b.${ZONE}\", watchpost.name: \"n-${TOKEN:-none}\"}}\n  \
                c: {labels: {watchpost.address: \"http://c.${OWN}\"}}\n";
    tree.write("svc/compose.yaml", text);
    tree.write("svc/.env", "OWN=own.invalid\nZONE=env.invalid\nLEAK=$TOKEN\n");
    tree.write("svc/dynamic.toml", "[http.routers.t]\nrule = \"Host(`t.{{env \"TOKEN\"}}`)\"\n");
    let mut settings = tree.settings();
    let report = tree.look(&settings);
    assert!(!format!("{report:?}").contains("CANARY"), "{report:?}");
    assert_eq!(addresses(&report), ["http://b.env.invalid", "http://c.own.invalid"]);
    assert_eq!(find(&report, "http://b.env.invalid").labels["humanname"], "n-none");
    assert!(reasons(&report).contains("the variables TOKEN, HOME are not set"));
    // Named variables win over `.env`, as in Compose.
    settings.limits.environment.insert("ZONE".to_owned());
    let report = tree.look(&settings);
    assert_eq!(addresses(&report), ["http://b.zone.invalid", "http://c.own.invalid"]);
    assert!(!format!("{report:?}").contains("CANARY"), "{report:?}");
}

#[test]
fn files_elsewhere_are_reported_and_not_read() {
    let tree = Tree::new();
    let service = |name: &str| {
        format!("services:\n  {name}: {{labels: {{watchpost.address: \"{name}.invalid:1\"}}}}\n")
    };
    tree.write("other/.env", "DB_PASSWORD=CANARY_OTHER\nVIRTUAL_HOST=canary-other.invalid\n");
    tree.write("other/compose.yaml", &service("other"));
    tree.write("other/stack/compose.yaml", &service("stack"));
    tree.write(
        "svc/a/compose.yaml",
        "include:\n  - {path: inner.yaml, env_file: ../../other/.env}\n  - ../../other/compose.yaml\n\
         services:\n  a: {extends: {file: ../../other/compose.yaml, service: other}, image: x}\n  \
         b:\n    env_file: ../../other/.env\n  \
         c: {env_file: link.env}\n",
    );
    tree.write(
        "svc/a/inner.yaml",
        "services: {i: {labels: {watchpost.address: \"http://i.invalid/${DB_PASSWORD}\"}}}",
    );
    symlink(tree.path("other/.env"), tree.path("svc/a/link.env")).unwrap();
    // `.env` itself may be a link.
    tree.write(
        "svc/d/compose.yaml",
        "services: {d: {labels: {watchpost.address: \"http://d.invalid/${DB_PASSWORD}\"}}}",
    );
    symlink(tree.path("other/.env"), tree.path("svc/d/.env")).unwrap();
    symlink(tree.path("other/stack"), tree.path("svc/stack")).unwrap();
    symlink("/", tree.path("svc/all")).unwrap();
    let report = tree.look(&tree.settings());
    assert!(!format!("{report:?}").to_lowercase().contains("canary"), "{report:?}");
    assert_eq!(addresses(&report), Vec::<&str>::new());
    let reasons = reasons(&report);
    for expected in [
        ".env (compose.yaml:2): ",
        "compose.yaml (compose.yaml:3): ",
        "compose.yaml (compose.yaml:5): ",
        ".env (compose.yaml:6): ",
        "link.env (compose.yaml:8): ",
        ".env (compose.yaml:0): ",
    ] {
        let line = reasons.lines().find(|line| line.starts_with(expected));
        let why = " is not below `paths:` of the job, and is not read";
        assert!(line.is_some_and(|line| line.ends_with(why)), "{expected}\n{reasons}");
    }
    for link in ["all (all:0): ", "stack (stack:0): "] {
        let expected = format!("{link}the link leads out of `paths:`, and is not followed");
        assert!(reasons.contains(&expected), "{reasons}");
    }
    // It is not a file that is broken: nothing keeps what is gone.
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    // Of a path that is a file its folder counts.
    let settings =
        Settings::new(vec![tree.path("svc/a/inner.yaml"), tree.path("other/compose.yaml")]);
    let report = tree.look(&settings);
    assert_eq!(addresses(&report), ["other.invalid:1"]);
    let mut settings = tree.settings();
    settings.paths.push(tree.path("other"));
    let found = tree.look(&settings);
    let expected = [
        "http://canary-other.invalid",
        "http://d.invalid/CANARY_OTHER",
        "http://i.invalid/CANARY_OTHER",
        "other.invalid:1",
        "stack.invalid:1",
    ];
    assert_eq!(addresses(&found), expected);
}

#[test]
fn an_address_belongs_to_who_serves_it() {
    let tree = Tree::new();
    let own = "watchpost.address: \"https://grafana.invalid/\", watchpost.interval: 24h, watchpost.name: mine";
    tree.write("svc/aaa/compose.yaml", &format!("services:\n  aaa: {{labels: {{{own}}}}}\n"));
    let rule = "traefik.http.routers.g.rule: Host(`grafana.invalid`), traefik.http.routers.g.tls: \"true\"";
    tree.write(
        "svc/grafana/compose.yaml",
        &format!("services:\n  grafana: {{labels: {{{rule}}}}}\n"),
    );
    let report = tree.look(&tree.settings());
    let target = find(&report, "https://grafana.invalid");
    assert_eq!((target.labels["humanname"].as_str(), target.hints.len()), ("grafana", 0));
    let place = tree.path("svc/grafana/compose.yaml").display().to_string();
    let why = format!(
        "aaa (compose.yaml:2): its address is that of grafana ({place}:2, traefik), which has it\n"
    );
    assert_eq!(reasons(&report), why);
    assert_eq!((report.sources["traefik"], report.sources["watchpost"]), (1, 0));

    // Each that is found later wins over those before it; the last one loses.
    let names = ["d.invalid:1", "http://d.invalid"];
    let tree = Tree::new();
    let mut text = String::from("services:\n  a: {ports: [\"192.0.2.1:1:1\"]}\n");
    text += "  b: {labels: {homepage.href: \"http://192.0.2.1:1\", kuma.x.port.hostname: 192.0.2.1, kuma.x.port.port: 1}}\n";
    text += "  c: {labels: {watchpost.address: \"192.0.2.1:1\"}}\n";
    text += "  d: {labels: {caddy: \"http://d.invalid\"}}\n  e: {labels: {homepage.href: \"http://d.invalid/\"}}\n";
    text += "  f: {environment: [VIRTUAL_HOST=d.invalid]}\n";
    tree.write("svc/compose.yaml", &text);
    tree.write("svc/z.toml", "[http.routers.z]\nrule = \"Host(`d.invalid`)\"\n");
    let mut settings = tree.settings();
    settings.ports = true;
    let report = tree.look(&settings);
    let told = reasons(&report);
    assert_eq!(find(&report, "192.0.2.1:1").origin.line, 3, "{told}");
    assert_eq!(find(&report, names[1]).origin.line, 5, "{told}");
    for expected in [
        "a (compose.yaml:2): its address is that of b (",
        "c (compose.yaml:4): its address is that of b (",
        "e (compose.yaml:6): its address is that of d (",
        "f (compose.yaml:7): its address is that of d (",
        "z (z.toml:2): its address is that of d (",
    ] {
        assert!(told.contains(expected), "{expected} in\n{told}");
    }
    assert_eq!(report.skipped.len(), 5, "{told}");
}

#[test]
fn what_labels_say_is_sanitised_and_cut() {
    let tree = Tree::new();
    let long = "x".repeat(3_000);
    let text = format!(
        "services:\n  a:\n    labels:\n      watchpost.address: a.invalid:1\n      watchpost.name: \"\\e[31mX\\u202e\\0{long}\"\n      watchpost.labels.team: \"\\a{long}\"\n      watchpost.labels.routing: stolen\n  \
         b: {{labels: {{kuma.x.http.url: \"http://b.invalid\", kuma.x.http.name: \"\\eB\"}}}}\n  \
         \"\\ec\": {{ports: [\"1:1\"]}}\n  \
         d: {{labels: {{homepage.href: \"http://d.invalid/\", homepage.name: \"\\eD\"}}}}\n  \
         e: {{labels: {{watchpost.address: \"http://e.invalid/\\u202e\"}}}}\n"
    );
    tree.write("svc/compose.yaml", &text);
    tree.write(
        "svc/dynamic.toml",
        &format!("[http.routers.t]\nrule = 'Host(`t.invalid`) && PathPrefix(`/{long}`)'\n"),
    );
    let mut settings = tree.settings();
    settings.ports = true;
    settings.labels = [("routing".to_owned(), "internal".to_owned())].into();
    let report = tree.look(&settings);
    let told = reasons(&report);
    for target in &report.targets {
        for value in target.labels.values() {
            assert!(value.len() <= 1_024, "{}", value.len());
            assert!(!value.chars().any(|c| c.is_control() || c == '\u{202e}'), "{value:?}");
        }
    }
    let a = find(&report, "a.invalid:1");
    assert!(a.labels["humanname"].starts_with("\u{fffd}[31mX\u{fffd}\u{fffd}xx"), "{a:?}");
    assert!(a.labels["humanname"].ends_with('…') && a.labels["team"].ends_with('…'));
    assert_eq!(a.labels["routing"], "internal");
    assert_eq!(find(&report, "http://b.invalid").labels["humanname"], "\u{fffd}B");
    assert_eq!(find(&report, "localhost:1").labels["humanname"], "\u{fffd}c");
    assert_eq!(find(&report, "http://d.invalid/").labels["humanname"], "\u{fffd}D");
    assert!(
        told.contains("e (compose.yaml:11): \"http://e.invalid/\\u{202e}\": its address has"),
        "{told}"
    );
    assert_eq!(report.targets.len(), 5, "{told}");
    // A container adds as many labels as one may read.
    let mut many =
        String::from("services:\n  m:\n    labels:\n      watchpost.address: m.invalid:1\n");
    for n in 0..100 {
        let _ = writeln!(many, "      watchpost.labels.l{n}: x");
    }
    tree.write("svc/compose.yaml", &many);
    let report = tree.look(&settings);
    assert_eq!(find(&report, "m.invalid:1").labels.len(), 32 + 2, "humanname and routing");
}

#[test]
fn a_flood_ends_at_the_jobs_limit() {
    let tree = Tree::new();
    let mut text = String::from("services:\n");
    for n in 0..1_500 {
        let _ = writeln!(
            text,
            "  s{n}: {{labels: {{kuma.a.http.url: \"http://{n}.invalid\", kuma.b.http.url: \"http://{n}.b.invalid\", kuma.c.json.x: y}}}}"
        );
    }
    for n in 0..8 {
        tree.write(
            &format!("svc/{n}/compose.yaml"),
            &text.replace(".invalid", &format!(".{n}.invalid")),
        );
    }
    let mut settings = tree.settings();
    let report = tree.look(&settings);
    assert_eq!((report.targets.len(), report.too_many), (5_000, 19_000));
    assert_eq!((report.skipped.len(), report.skipped_more), (10_000, 2_000));
    settings.limits.max_targets = 24_000;
    let report = tree.look(&settings);
    assert_eq!((report.targets.len(), report.too_many), (24_000, 0));
}
