use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::plan::ExporterSettings;
use crate::config::targets::TargetReader;

/// Reads a text as if it stood in a file.
fn parse(text: &str, path: &Path, environment: &Environment, strictness: Strictness) -> Loaded {
    let problems = RefCell::default();
    let name = path.display().to_string();
    let read = sources::parse(text, &name, 0, &problems).map(|document| (document, vec![name]));
    settle(read, Default::default(), environment, strictness, problems)
}

fn problems(text: &str) -> Vec<String> {
    let environment = Environment::from([("SET".to_owned(), "x".to_owned())]);
    let loaded = parse(text, Path::new("w.yaml"), &environment, Strictness::Run);
    loaded.problems.iter().map(ToString::to_string).collect()
}

fn plan(text: &str) -> Plan {
    let loaded = parse(text, Path::new("w.yaml"), &Environment::new(), Strictness::Run);
    loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

const GOOD: &str = r#"
receivers:
  probe/services:
    interval: 15s
    module: http_service
    targets: ["http://127.0.0.1:1/;web;internal", {address: "https://user:secret@blog.invalid", name: Blog, interval: 30s,
              module: {extends: http_service, http: {fail_if_body_not_matches_regexp: [welcome]}}}]
  probe/mixed:
    targets: ["127.0.0.1;me", "127.0.0.1:22", "a.invalid;;;;http_2xx"]
modules:
  http_service: {prober: http, timeout: 5s, http: {valid_status_codes: [200, 401, 4xx, 500-502], preferred_ip_protocol: ip4}}
  stricter: {extends: http_service, http: {fail_if_not_ssl: true}}
exporters:
  prometheus_remote_write/home: {endpoint: "http://127.0.0.1:9090/api/v1/write", external_labels: {a: b}}
http: {listen: "127.0.0.1:0"}
storage: {directory: data}
vantage: home
resolver: {nameservers: ["127.0.0.1:5353", "::1"], timeout: 1s, attempts: 1}
"#;

#[test]
fn a_good_file_becomes_a_plan() {
    let plan = plan(GOOD);
    assert_eq!(plan.receivers.len(), 2);
    assert_eq!(plan.vantage, "home");
    assert_eq!(plan.resolver.nameservers.len(), 2);
    let exporter = &plan.exporters["prometheus_remote_write/home"].settings;
    let ExporterSettings::RemoteWrite(exporter) = exporter else { panic!("remote write") };
    assert_eq!(exporter.identity.external_labels["a"], "b");
    let targets = TargetReader::default().read(&plan.receivers, &plan);
    assert_eq!(targets.problems, Vec::<String>::new());
    let by_receiver: Vec<Vec<(&str, &str, u64, u64)>> = targets
        .receivers
        .iter()
        .map(|r| {
            r.targets
                .values()
                .map(|t| {
                    (
                        t.key.address.as_str(),
                        t.module.name.as_str(),
                        t.interval.as_secs(),
                        t.timeout.as_secs(),
                    )
                })
                .collect()
        })
        .collect();
    assert_eq!(
        by_receiver[1],
        [
            ("127.0.0.1", "icmp", 15, 10),
            ("127.0.0.1:22", "tcp_connect", 15, 10),
            ("a.invalid", "http_2xx", 15, 10)
        ]
    );
    assert_eq!(
        by_receiver[0],
        [
            ("http://127.0.0.1:1/", "http_service", 15, 5),
            ("https://user:secret@blog.invalid", "http_service/inline", 30, 5)
        ]
    );
    let crate::probe::module::Prober::Http(inline) =
        &targets.receivers[0].targets.values().last().expect("two").module.prober
    else {
        panic!("an http module")
    };
    assert_eq!(inline.fail_if_body_not_matches.len(), 1);
    assert_eq!(
        inline.valid_status_codes,
        [(200, 200), (401, 401), (400, 499), (500, 502)],
        "extended, not replaced"
    );
}

/// Every problem of a file, in one go, each with its place.
#[test]
fn all_problems_at_once() {
    let text = r#"
receivers:
  probe/a:
    intervall: 15s
    interval: 0.5s
    module: htpp_2xx
    targets: ["a;b;c;d;e;f", {adress: x}]
  otlp: {}
  prob: {}
modules:
  m: {prober: http, http: {compression: gzip, valid_status_codes: [99], fail_if_body_matches_regexp: ["("], method: "G T"}}
  n: {prober: dns}
  o: {http: {}}
  p: {extends: q}
  q: {extends: p}
exporters:
  prometheus_remote_write: {endpoint: "ftp://x", timeout: 5}
  otlphttp: {}
http: {listen: 9115}
http: {}
service: {pipelines: {metrics: {receivers: [otlp, probe/a, probe/b], exporters: [prometheus_remote_write]}, logs: {}}}
recievers: {}
"#;
    let found = problems(text);
    for (place, part) in [
        ("w.yaml:4:5: error: receivers.probe/a.intervall", "did you mean interval?"),
        ("w.yaml:5:15: error: receivers.probe/a.interval", "must be at least 1s"),
        ("w.yaml:6:13: error: receivers.probe/a.module", "did you mean http_2xx?"),
        ("w.yaml:7:15: error: receivers.probe/a.targets[0]", "6 fields"),
        ("w.yaml:7:31: error: receivers.probe/a.targets[1].adress", "did you mean address?"),
        ("w.yaml:8:3: error: receivers.otlp", "not supported yet"),
        ("w.yaml:9:3: error: receivers.prob", "did you mean probe?"),
        ("w.yaml:11:28: error: modules.m.http.compression", "not supported yet"),
        ("w.yaml:11:68: error: modules.m.http.valid_status_codes[0]", "not a status code"),
        ("w.yaml:11:103: error: modules.m.http.fail_if_body_matches_regexp[0]", "unclosed group"),
        ("w.yaml:11:117: error: modules.m.http.method", "not a method"),
        ("w.yaml:12:15: error: modules.n.prober", "not supported yet"),
        ("w.yaml:13:6: error: modules.o", "`prober:` is missing"),
        ("w.yaml:15:16: error: modules.q.extends", "circle"),
        ("w.yaml:17:39: error: exporters.prometheus_remote_write.endpoint", "http:// or https://"),
        ("w.yaml:17:59: error: exporters.prometheus_remote_write.timeout", "write 5s"),
        ("w.yaml:18:3: error: exporters.otlphttp", "`endpoint:` is missing"),
        ("w.yaml:19:16: error: http.listen", "127.0.0.1:9115"),
        ("w.yaml:20:1: error: the key \"http\" is here twice", "first in line 19"),
        ("w.yaml:21:60: error: service.pipelines.metrics.receivers[2]", "did you mean probe/a?"),
        ("w.yaml:21:109: error: service.pipelines.logs", "not supported yet"),
        ("w.yaml:21:109: error: service.pipelines.logs", "at least one receiver"),
        ("w.yaml:22:1: error: recievers", "did you mean receivers?"),
    ] {
        assert!(
            found.iter().any(|p| p.starts_with(place) && p.contains(part)),
            "{place} … {part}\n{}",
            found.join("\n")
        );
    }
}

#[test]
fn values_from_outside() {
    let text = "receivers: {probe: {module: '${env:M:-icmp}', interval: '${env:NONE}', labels: {cost: 5$$, x: '${env:SET}'}, targets: [a]}}\n\
        exporters: {prometheus_remote_write: {endpoint: 'http://127.0.0.1/${env:GONE}', headers: {Authorization: 'Basic ${env:GONE}'}}}\n";
    let found = problems(text);
    let errors: Vec<&String> = found.iter().filter(|p| p.contains(": error: ")).collect();
    assert!(
        errors.iter().any(|p| p.contains(
            "exporters.prometheus_remote_write.headers.Authorization: the variable GONE is not set"
        )),
        "{found:?}"
    );
    assert!(
        errors
            .iter()
            .any(|p| p.contains("exporters.prometheus_remote_write.endpoint: the variable GONE"))
    );
    assert!(
        found
            .iter()
            .any(|p| p.contains("warning: receivers.probe.interval: the variable NONE is not set"))
    );
    let loaded = parse(text, Path::new("w.yaml"), &Environment::new(), Strictness::Check);
    assert!(
        loaded
            .problems
            .iter()
            .all(|p| p.to_string().contains("warning") || p.to_string().contains("interval")),
        "{:?}",
        loaded.problems
    );

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "s3cret\n").expect("written");
    let text = "exporters: {prometheus_remote_write: {endpoint: 'http://127.0.0.1/', headers: {Authorization: 'Bearer ${file:token}'}}}";
    let loaded = parse(text, &folder.path().join("w.yaml"), &Environment::new(), Strictness::Run);
    let plan = loaded.plan.expect("valid");
    assert!(!format!("{plan:?}").contains("s3cret"), "secrets never print");
    let exporter = &plan.exporters.values().next().expect("one").settings;
    let ExporterSettings::RemoteWrite(exporter) = exporter else { panic!("remote write") };
    assert_eq!(
        secrecy::ExposeSecret::expose_secret(&exporter.client.headers[0].1),
        "Bearer s3cret"
    );
}

#[test]
fn dialogues_keep_their_groups() {
    let plan = plan(
        "modules: {x: {prober: tcp, tcp: {query_response: [{expect: '^(.*)$', send: 'got ${1}'}]}}}",
    );
    let crate::probe::module::Prober::Tcp(tcp) = &plan.modules["x"].prober else { panic!("tcp") };
    assert_eq!(tcp.query_response[0].send.as_deref(), Some("got ${1}"));
}

#[test]
fn timeouts_fit_their_intervals() {
    let found = problems(
        "modules: {slow: {prober: tcp, timeout: 20s}}\nreceivers:\n  probe: {module: slow, targets: ['a:1']}\n",
    );
    assert!(found[0].starts_with("w.yaml:3:3: error: receivers.probe: the interval 15s is shorter than the module's timeout 20s"), "{found:?}");
    let found = problems("receivers:\n  probe: {interval: 5s, timeout: 6s, targets: [a]}\n");
    assert!(found[0].contains("at most the interval, 5s"), "{found:?}");
    let plan = plan("receivers: {probe: {interval: 3s, targets: [a]}}");
    let targets = TargetReader::default().read(&plan.receivers, &plan);
    assert_eq!(
        targets.receivers[0].targets.values().next().expect("one").timeout,
        Duration::from_secs(3)
    );
}

#[test]
fn a_broken_file_keeps_its_last_good_targets() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("t.yaml");
    let text = "receivers: {probe: {target_files: [t.yaml]}}";
    let loaded = parse(text, &folder.path().join("w.yaml"), &Environment::new(), Strictness::Run);
    assert!(loaded.problems[0].message.contains("when it appears"), "{:?}", loaded.problems);
    let plan = loaded.plan.expect("a missing target file is a warning");
    let mut reader = TargetReader::default();
    let mut count = |content: Option<&str>| {
        match content {
            Some(content) => std::fs::write(&file, content).expect("written"),
            None => drop(std::fs::remove_file(&file)),
        }
        let targets = reader.read(&plan.receivers, &plan);
        (targets.receivers[0].targets.len(), targets.problems.len())
    };
    assert_eq!(count(None), (0, 1));
    assert_eq!(count(Some("- targets: [a, b]")), (2, 0));
    assert_eq!(count(Some("- targets: [a, b")), (2, 1), "broken: the last good set");
    assert_eq!(count(None), (2, 1), "vanished: the last good set");
    assert_eq!(
        count(Some("- targets: [a, a, 'b;;;;nope', c]")),
        (2, 2),
        "wrong lines leave the others alone"
    );
    assert_eq!(count(Some("[]")), (0, 0), "a valid empty list removes");
}

#[test]
fn a_missing_file_is_one_clear_line() {
    let loaded = load(
        &Sources::file(Path::new("/nonexistent/w.yaml")),
        &Environment::new(),
        Strictness::Run,
    );
    assert_eq!(loaded.problems[0].to_string(), "/nonexistent/w.yaml: error: no such file");
    assert!(loaded.plan.is_none());
}

/// What examples in the documentation name and leave to the reader.
const AROUND: &str = r#"
receivers: {probe/services: {targets: []}, probe/internet: {targets: []}}
exporters:
  prometheus_remote_write: {endpoint: "http://127.0.0.1:9090/api/v1/write", external_labels: {host: pi}}
"#;

/// Whether nobody is disturbed when a reader runs an example as it is: it names this machine, a name
/// that cannot exist, or a private network, of which there is an example because a sweep is of nothing else.
fn harmless(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or_default();
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => {
            ip.is_loopback() || (ip.is_private() && address.contains('/'))
        }
        Ok(ip) => ip.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".invalid"),
    }
}

#[test]
fn examples_in_the_documentation_pass_the_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for name in ["README.md", "docs/CONFIG.md", "docs/DISCOVERY.md"] {
        let text = crate::base::fs::read_text(&root.join(name), 1 << 20).unwrap();
        for (number, block) in text.split("```yaml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap();
            // What belongs to somebody else says so in its first line.
            if block.starts_with("# prometheus.yml") {
                continue;
            }
            seen += 1;
            let configs = vec![format!("yaml:{AROUND}"), format!("yaml:{block}")];
            let sources = Sources { configs, sets: Vec::new() };
            let loaded = load(&sources, &Environment::new(), Strictness::Check);
            // Files are the reader's.
            let told = loaded.problems.iter().filter(|problem| {
                !["no such file", "no such folder", "nothing is watched"]
                    .iter()
                    .any(|about| problem.message.contains(about))
            });
            wrong.extend(told.map(|problem| format!("{name}, block {}: {problem}", number + 1)));
            let Some(plan) = loaded.plan else { continue };
            let targets = plan.receivers.iter().flat_map(|receiver| &receiver.inline);
            let targets = targets.map(|inline| inline.target.address.clone());
            let backends =
                plan.exporters.values().filter_map(|exporter| match &exporter.settings {
                    ExporterSettings::RemoteWrite(settings) => Some(settings.endpoint.to_string()),
                    ExporterSettings::OtlpGrpc(settings) => Some(settings.endpoint.to_string()),
                    ExporterSettings::OtlpHttp(settings) => Some(settings.endpoint.to_string()),
                    ExporterSettings::Prometheus(_) | ExporterSettings::Debug(_) => None,
                });
            let strange = targets.chain(backends).filter(|address| !harmless(address));
            wrong.extend(
                strange.map(|address| {
                    format!("{name}, block {}: {address} is somebody's", number + 1)
                }),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 6, "only {seen} examples were found");
}
