use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::base::place::Severity;
use crate::config::targets::TargetReader;
use crate::config::{Environment, Loaded, Sources, Strictness, load};

fn check(folder: &Path, text: &str, mode: u32) -> Loaded {
    let file = folder.join("w.yaml");
    std::fs::write(&file, text).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("changed");
    load(&Sources::file(&file), &Environment::new(), Strictness::Check)
}

/// The warnings about a file of this mode, without the folder's name.
fn advice(text: &str, mode: u32) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let loaded = check(folder.path(), text, mode);
    let errors = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error);
    assert_eq!(errors.count(), 0, "{:?}", loaded.problems);
    let plan = loaded.plan.expect("a good configuration");
    let targets = TargetReader::default().read(&plan.receivers, &plan);
    let of_targets = super::of_targets(&targets.receivers);
    let lines = loaded.advice.iter().map(ToString::to_string).chain(of_targets);
    lines.map(|line| line.replace(&format!("{}/", folder.path().display()), "")).collect()
}

fn has(lines: &[String], expected: &[(&str, &str)]) {
    for (place, part) in expected {
        let found = lines.iter().any(|line| line.starts_with(place) && line.contains(part));
        assert!(found, "{place} … {part}\n{}", lines.join("\n"));
    }
    assert_eq!(lines.len(), expected.len(), "{}", lines.join("\n"));
}

const SECRETS: &str = r#"
receivers:
  probe:
    labels: {token: not-a-secret}
    targets: ["http://127.0.0.1/"]
modules:
  m: {prober: http, http: {basic_auth: {username: u, password: hunter2}, headers: {Private-Token: abc, Accept: text/html}}}
exporters:
  prometheus_remote_write:
    endpoint: http://127.0.0.1/w
    headers: {Authorization: "Bearer ${env:TOKEN}", X-Scope-OrgID: me}
    auth: {authenticator: bearertokenauth}
extensions: {bearertokenauth: {token: abc}}
service: {extensions: [bearertokenauth]}
"#;

#[test]
fn secrets_in_a_file_that_all_may_read() {
    has(
        &advice(SECRETS, 0o644),
        &[
            (
                "w.yaml:7:64: warning: modules.m.http.basic_auth.password: the secret stands in a file",
                "${file:path}",
            ),
            ("w.yaml:7:99: warning: modules.m.http.headers.Private-Token", "all users"),
            ("w.yaml:13:39: warning: extensions.bearertokenauth.token", "all users"),
        ],
    );
    has(&advice(SECRETS, 0o640), &[]);
}

#[test]
fn secrets_on_the_command_line() {
    let sources = Sources {
        configs: vec!["yaml:receivers: {probe: {targets: [127.0.0.1]}}".to_owned()],
        sets: vec!["exporters.prometheus_remote_write.headers.Authorization=Basic abc".to_owned()],
    };
    let endpoint = "exporters.prometheus_remote_write.endpoint=http://127.0.0.1/".to_owned();
    let sources = Sources { sets: [sources.sets, vec![endpoint]].concat(), ..sources };
    let loaded = load(&sources, &Environment::new(), Strictness::Check);
    let lines: Vec<String> = loaded.advice.iter().map(ToString::to_string).collect();
    has(&lines, &[("--set exporters", "stands in the command line")]);
}

#[test]
fn listeners_that_are_not_loopback() {
    let listening = |ip: &str| {
        format!(
            r#"
receivers: {{probe: {{targets: [127.0.0.1]}}}}
http: {{listen: "{ip}:9115"}}
exporters: {{prometheus/x: {{endpoint: "{ip}:9116"}}}}
extensions: {{health_check: {{endpoint: "{ip}:9117"}}}}
service: {{extensions: [health_check], telemetry: {{metrics: {{address: "{ip}:9118"}}}}}}
"#
        )
    };
    let all = [
        ("w.yaml:3:16: warning: http.listen: listens on ", "without authentication"),
        ("w.yaml:4:38: warning: exporters.prometheus/x.endpoint: listens on ", "without TLS"),
        ("w.yaml:5:39: warning: extensions.health_check.endpoint: listens on ", "other machines"),
        ("w.yaml:6:60: warning: service.telemetry.metrics: listens on ", "without"),
    ];
    has(&advice(&listening("0.0.0.0"), 0o600), &all);
    has(&advice(&listening("192.0.2.1"), 0o600), &all);
    has(&advice(&listening("127.0.0.1"), 0o600), &[]);
    has(&advice(&listening("[::1]"), 0o600), &[]);
}

#[test]
fn credentials_without_tls_and_certificates_that_nobody_checks() {
    let text = r#"
receivers:
  probe:
    module: m
    targets: ["http://a.invalid/", "https://a.invalid/", "http://127.0.0.1/", "http://u:pw@127.0.0.1/x"]
modules:
  m: {prober: http, http: {authorization: {credentials_file: x}, tls_config: {insecure_skip_verify: true}}}
exporters:
  prometheus_remote_write/1: {endpoint: "http://b.invalid/w", headers: {Authorization: "${env:X}"}}
  prometheus_remote_write/2: {endpoint: "http://b.invalid/w", headers: {X-Scope-OrgID: me}}
  otlp_http: {endpoint: "http://localhost:4318", headers: {Authorization: "${env:X}"}}
  otlp_grpc: {endpoint: "b.invalid:4317", headers: {Api-Key: "${env:X}"}, tls: {insecure: true, insecure_skip_verify: yes}}
"#;
    has(
        &advice(text, 0o600),
        &[
            (
                "w.yaml:7:101: warning: modules.m.http.tls_config.insecure_skip_verify",
                "any certificate",
            ),
            ("w.yaml:9:41: warning: exporters.prometheus_remote_write/1.endpoint", "without TLS"),
            ("w.yaml:12:25: warning: exporters.otlp_grpc.endpoint", "without TLS"),
            (
                "w.yaml:12:119: warning: exporters.otlp_grpc.tls.insecure_skip_verify",
                "any certificate",
            ),
            ("w.yaml:5: http://a.invalid/: ", "module m are sent without TLS"),
        ],
    );
}

#[test]
fn secrets_in_queries_of_targets() {
    let text = r#"
receivers:
  probe:
    targets:
      - "https://a.invalid/x?a=1&access_token=CANARY"
      - "https://a.invalid/y?SIG=CANARY#f"
      - "https://a.invalid/z?monkey=1&token="
      - {address: "https://u:CANARY@a.invalid/"}
"#;
    let lines = advice(text, 0o644);
    has(
        &lines,
        &[
            ("w.yaml:5: https://a.invalid/x: ", "access_token=…: "),
            ("w.yaml:6: https://a.invalid/y: ", "sig=…: "),
            ("w.yaml:8: https://a.invalid/: ", "password_file"),
        ],
    );
    assert!(!lines.concat().contains("CANARY"), "{lines:?}");
}

#[test]
fn credentials_for_whatever_labels_name() {
    let text = |module: &str, allow: &str| {
        format!(
            r#"
receivers:
  probe/found: {{module: {module}, target_files: ["found/*.yaml"]}}
  probe/other: {{module: secret, target_files: ["other.yaml"]}}
modules:
  secret: {{prober: http, http: {{authorization: {{credentials_file: x}}}}}}
  plain: {{prober: http}}
discovery:
  stacks: {{compose: {{paths: [/srv]}}, output: {{file: found/a.yaml, format: file_sd}}{allow}}}
"#
        )
    };
    let about = |text: &str| {
        let lines = advice(text, 0o600);
        lines.into_iter().filter(|line| line.contains("allow:")).collect::<Vec<_>>()
    };
    let place = "w.yaml:3:25: warning: receivers.probe/found.module";
    has(&about(&text("secret", "")), &[(place, "the job stacks")]);
    has(&about(&text("secret", ", allow: [10.0.0.0/8]")), &[]);
    has(&about(&text("plain", "")), &[]);
}
