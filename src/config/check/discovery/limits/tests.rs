use std::collections::BTreeSet;

use watchpost_discovery::limits::Limits;

use crate::base::place::Severity;
use crate::config::{Environment, Loaded, Sources, Strictness, load};
use crate::discover::Source;

const JOB: &str = "compose: {paths: [/srv]}, output: {file: a.yaml, format: file_sd}";

fn read(text: &str) -> Loaded {
    let sources = Sources { configs: vec![format!("yaml:{text}")], sets: Vec::new() };
    let environment = Environment::from([("NAME".to_owned(), "USED".to_owned())]);
    load(&sources, &environment, Strictness::Check)
}

/// The limits of a job with these keys.
fn limits(keys: &str, more: &str) -> Limits {
    let loaded = read(&format!("discovery: {{j: {{{JOB}{keys}}}}}\n{more}"));
    let plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    match &plan.discovery[0].source {
        Source::Services(settings) => settings.limits.clone(),
        Source::Lan(_) => panic!("a sweep"),
    }
}

/// The errors of a configuration.
fn errors(text: &str) -> String {
    let loaded = read(text);
    let errors = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(|problem| format!("{problem}\n")).collect()
}

const MODULES: &str = r#"
modules:
  plain: {prober: http}
  headers: {prober: http, http: {headers: {Accept: "*/*", Accept-Language: de, User-Agent: x}, fail_if_body_matches_regexp: [x]}}
  basic: {prober: http, http: {basic_auth: {username: u, password: p}}}
  bearer: {prober: http, http: {authorization: {credentials: c}}}
  token: {prober: http, http: {headers: {X-Api-Key: k}}}
  cookie: {prober: http, http: {headers: {Cookie: k}}}
  posts: {prober: http, http: {method: POST, body: x}}
  mtls: {prober: http, http: {tls_config: {cert_file: a.pem, key_file: a.key}}}
  tcp_mtls: {prober: tcp, tcp: {tls: true, tls_config: {cert_file: a.pem, key_file: a.key}}}
  sends: {prober: tcp, tcp: {query_response: [{expect: x}, {send: y}]}}
  expects: {prober: tcp, tcp: {query_response: [{expect: x}]}}
  echo: {prober: icmp}
"#;

#[test]
fn labels_name_modules_that_give_nothing_away() {
    let own = ["plain", "headers", "basic", "bearer", "token", "cookie", "posts", "mtls"];
    let own = own.into_iter().chain(["tcp_mtls", "sends", "expects", "echo"]);
    let own: BTreeSet<String> = own.map(str::to_owned).collect();
    let found = limits("", MODULES).modules;
    let found: Vec<&str> = found.intersection(&own).map(String::as_str).collect();
    assert_eq!(found, ["echo", "expects", "headers", "plain"]);
    let built_in = limits("", "").modules;
    for name in ["http_2xx", "tcp_connect", "icmp"] {
        assert!(built_in.contains(name), "{built_in:?}");
    }
    let listed = limits(", modules: [basic, icmp]", MODULES).modules;
    assert_eq!(listed, BTreeSet::from(["basic".to_owned(), "icmp".to_owned()]));
    assert!(limits(", modules: []", MODULES).modules.is_empty());
    let wrong = errors(&format!("discovery:\n  j: {{{JOB}, modules: [icmp, plian]}}\n{MODULES}"));
    assert!(wrong.starts_with("yaml:2:"), "{wrong}");
    let why = "discovery.j.modules[1]: there is no module \"plian\"";
    assert!(wrong.contains(why), "{wrong}");
}

#[test]
fn hosts_and_the_number_of_targets() {
    let all = limits(", allow: [10.0.0.0/8, '*.lan'], deny: [10.0.0.1], max_targets: 7", "");
    assert_eq!((all.hosts.allow.len(), all.hosts.deny.len(), all.max_targets), (2, 1, 7));
    assert!(all.hosts.judge("10.0.0.2:80").is_ok() && all.hosts.judge("10.0.0.1:80").is_err());
    assert_eq!(limits("", "").max_targets, 5_000);
    let wrong = errors(&format!(
        "discovery: {{j: {{{JOB}, allow: ['http://a'], deny: ['a:80'], max_targets: 0}}}}"
    ));
    for expected in
        ["j.allow[0]: a subnet, an", "j.deny[0]: a subnet, an", "j.max_targets: must be 1 to"]
    {
        assert!(wrong.contains(expected), "{wrong}");
    }
    assert_eq!(wrong.lines().count(), 3, "{wrong}");
}

#[test]
fn a_variable_that_the_configuration_uses_is_not_handed_on() {
    let kept = limits(", environment: [DOMAIN, _X1]", "vantage: \"${env:TOKEN:-x}\"").environment;
    assert_eq!(kept, BTreeSet::from(["DOMAIN".to_owned(), "_X1".to_owned()]));
    for (used, more) in [
        ("TOKEN", "vantage: \"${env:TOKEN}\""),
        ("TOKEN", "vantage: \"${TOKEN:-x}\""),
        ("USED", "vantage: \"${env:${env:NAME}}\""),
        (
            "TOKEN",
            "exporters: {debug: {}}\nmodules: {a: {prober: http, http: {headers: {X: \"a ${env:TOKEN}\"}}}}",
        ),
    ] {
        let wrong =
            errors(&format!("discovery: {{j: {{{JOB}, environment: [A, {used}]}}}}\n{more}"));
        let expected = "discovery.j.environment[1]: this configuration uses the variable itself";
        assert!(wrong.contains(expected), "{more}: {wrong}");
        assert_eq!(wrong.lines().count(), 1, "{wrong}");
    }
    for name in ["'*'", "A=B", "1A", "''", "a-b"] {
        let wrong = errors(&format!("discovery: {{j: {{{JOB}, environment: [{name}]}}}}"));
        assert!(wrong.contains("must be the name of one variable"), "{name}: {wrong}");
    }
    // A configuration may itself be a variable.
    let text = format!("discovery: {{j: {{{JOB}, environment: [WHOLE]}}}}");
    let sources = Sources { configs: vec!["env:WHOLE".to_owned()], sets: Vec::new() };
    let environment = Environment::from([("WHOLE".to_owned(), text)]);
    assert!(load(&sources, &environment, Strictness::Check).plan.is_none());
}

#[test]
fn a_sweep_has_no_limits_of_labels() {
    let keys = "allow: [a], deny: [a], environment: [A], modules: [icmp], max_targets: 5";
    let text = format!(
        "discovery: {{j: {{sweep: {{subnets: [127.0.0.0/28]}}, output: {{file: a.yaml}}, {keys}}}}}"
    );
    assert_eq!(errors(&text).matches("a sweep reads no labels").count(), 5, "{}", errors(&text));
}
