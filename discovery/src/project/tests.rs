use std::fs;
use std::path::Path;

use crate::interpolate::Variables;
use crate::job::{Report, Settings, compose};

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    fs::write(path, text).expect("a file");
}

fn sorted(report: &Report) -> Vec<&str> {
    let mut found: Vec<&str> = report.targets.iter().map(|t| t.address.as_str()).collect();
    found.sort_unstable();
    found
}

fn look(folder: &Path) -> Report {
    let mut settings = Settings::new(vec![folder.to_owned()]);
    settings.ports = true;
    settings.ports_host = "pi".to_owned();
    compose(&settings, &Variables::new())
}

/// What is found when the second text is laid over the first.
fn laid(below: &str, above: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "compose.yaml", below);
    write(folder.path(), "compose.override.yaml", above);
    let report = look(folder.path());
    assert!(report.problems.is_empty(), "{report:?}");
    let names = report.targets.iter().map(|target| {
        format!("{} {}", target.address, target.labels.get("humanname").map_or("", String::as_str))
    });
    names.collect::<Vec<_>>().join(", ")
}

#[test]
fn tags_reset_and_override() {
    let labels = "services: {a: {labels: {watchpost.address: \"a:1\", Watchpost.Name: A}}}";
    let ports = "services: {a: {ports: [\"1:1\", \"2:2\"]}}";
    let variables = "services: {a: {environment: [VIRTUAL_HOST=a.test, VIRTUAL_PATH=/x]}}";
    let deployed = "services: {a: {deploy: {replicas: 0, labels: {watchpost.address: \"d:1\"}}, labels: [watchpost.name=D]}}";
    let profiled = "services: {a: {profiles: [x], labels: {watchpost.address: \"p:1\"}}}";
    let shared = "services: {a: {network_mode: \"service:b\", ports: [\"1:1\"]}}";
    for (below, above, expected) in [
        (labels, "labels: {watchpost.name: B}", "a:1 B"),
        (labels, "labels: !reset {}", ""),
        (labels, "labels: !reset null", ""),
        (labels, "labels: !override {watchpost.address: \"b:1\"}", "b:1 b"),
        (labels, "labels: !override [\"watchpost.address=b:1\"]", "b:1 b"),
        (labels, "labels: {watchpost.name: !reset null}", "a:1 a"),
        (labels, "image: x", "a:1 A"),
        (ports, "ports: [\"3:3\"]", "pi:1 a, pi:2 a, pi:3 a"),
        (ports, "ports: !override [\"3:3\"]", "pi:3 a"),
        (ports, "ports: !reset []", ""),
        (variables, "environment: {VIRTUAL_PATH: !reset null}", "http://a.test a"),
        (variables, "environment: !override {VIRTUAL_HOST: b.test}", "http://b.test b"),
        (variables, "environment: !reset null", ""),
        (deployed, "image: x", ""),
        (deployed, "deploy: {replicas: !reset null}", "d:1 D"),
        (deployed, "deploy: !override {labels: {watchpost.address: \"e:1\"}}", "e:1 D"),
        (deployed, "deploy: {replicas: 1, labels: !reset {}}", ""),
        (deployed, "deploy: !reset null", ""),
        (profiled, "profiles: !reset []", "p:1 p"),
        (profiled, "profiles: !override []", "p:1 p"),
        (profiled, "profiles: []", ""),
        (shared, "network_mode: bridge", "pi:1 a"),
        (shared, "network_mode: !reset null", "pi:1 a"),
    ] {
        let above = format!("services:\n  a:\n    {above}\n");
        assert_eq!(laid(below, &above), expected, "{below}\n{above}");
    }
    let two = "services:\n  a: {labels: {watchpost.address: \"a:1\"}}\n  b: {labels: {watchpost.address: \"b:1\"}}\n";
    for (above, expected) in [
        ("services: {a: !reset null}", "b:1 b"),
        ("services: {a: !reset {labels: {x: y}}}", "b:1 b"),
        ("services: {a: !override {ports: [\"1:1\"]}}", "pi:1 a, b:1 b"),
        ("services: !override {c: {labels: {watchpost.address: \"c:1\"}}}", "c:1 c"),
        ("services: !reset {}", ""),
        ("services: {}", "a:1 a, b:1 b"),
    ] {
        assert_eq!(laid(two, above), expected, "{above}");
    }
}

#[test]
fn tags_in_what_extends() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "services:\n  base: {labels: {watchpost.address: \"base:1\", watchpost.name: Base}}\n  \
        a: {extends: base, labels: !override {watchpost.address: \"a:1\"}}\n  \
        b: {extends: base, labels: {watchpost.address: \"b:1\", watchpost.name: !reset null}}\n";
    write(folder.path(), "compose.yaml", text);
    let report = look(folder.path());
    let names: Vec<&str> = report.targets.iter().map(|t| t.labels["humanname"].as_str()).collect();
    assert_eq!((sorted(&report), names), (vec!["a:1", "b:1", "base:1"], vec!["a", "b", "Base"]));
}

#[test]
fn one_plain_file_of_a_folder_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let service = |name: &str| {
        format!("services:\n  {name}: {{labels: {{watchpost.address: \"{name}:1\"}}}}\n")
    };
    write(root, "a/compose.yml", &service("new"));
    write(root, "a/docker-compose.yml", &service("old"));
    write(root, "a/docker-compose.yaml", &service("older"));
    write(root, "a/docker-compose.local.yml", &service("local"));
    write(root, "a/compose.override.yml", "services: {new: {labels: [watchpost.name=over]}}");
    write(root, "b/docker-compose.yaml", &service("alone"));
    write(root, "c/compose.yaml", &(service("c") + "include: [docker-compose.yml]\n"));
    write(root, "c/docker-compose.yml", &service("included"));
    write(
        root,
        "d/compose.yaml",
        "services: {d: {extends: {file: docker-compose.yml, service: e}}}",
    );
    write(root, "d/docker-compose.yml", &service("e"));
    let report = look(root);
    assert_eq!(sorted(&report), ["alone:1", "c:1", "e:1", "included:1", "local:1", "new:1"]);
    assert!(report.targets.iter().any(|target| target.labels["humanname"] == "over"));
    let told: Vec<String> =
        report.skipped.iter().map(|s| format!("{}: {}", s.service, s.reason)).collect();
    let why = |name: &str, first: &str| {
        format!("{name}: Compose reads {first} of this folder, and not this file")
    };
    let expected = [
        why("docker-compose.yaml", "compose.yml"),
        why("docker-compose.yml", "compose.yml"),
        why("docker-compose.yml", "compose.yaml"),
    ];
    assert_eq!(told, expected);
    assert!(report.problems.is_empty(), "{report:?}");
    // What somebody names is read.
    let paths = vec![root.join("a"), root.join("a/docker-compose.yml")];
    let report = compose(&Settings::new(paths), &Variables::new());
    assert_eq!(sorted(&report), ["local:1", "new:1", "old:1"]);
}

#[test]
fn variables_from_files_of_a_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let text = "services:\n  one: {env_file: web.env}\n  \
        two: {env_file: [web.env, {path: env/two.env, required: true}, {path: none.env, required: false}]}\n  \
        three: {env_file: {path: web.env}, environment: {VIRTUAL_HOST: three.test}}\n  \
        four: {env_file: \"$NOT_SET\"}\n  five: {env_file: [pipe, missing.env]}\n  \
        six: {extends: one, env_file: six.env}\n";
    write(root, "compose.yaml", text);
    write(root, ".env", "ZONE=zone.test\n");
    write(root, "web.env", "# web\nVIRTUAL_HOST=web.$ZONE\nTOKEN=s3cr3t\n");
    write(root, "env/two.env", "export VIRTUAL_HOST='two.test'\nVIRTUAL_PATH=/$${x\n");
    write(root, "six.env", "LETSENCRYPT_HOST=web.zone.test\n");
    let made = std::process::Command::new("mkfifo").arg(root.join("pipe")).status();
    assert!(made.expect("mkfifo").success());
    let report = look(root);
    let expected = [
        "http://three.test",
        "http://two.test/${x",
        "http://web.zone.test",
        "https://web.zone.test",
    ];
    assert_eq!(sorted(&report), expected, "{report:#?}");
    assert!(report.problems.is_empty(), "a file that is missing is no problem: {report:?}");
    let place = |address: &str| {
        let target = report.targets.iter().find(|t| t.address == address).expect("found");
        (target.origin.file.to_string(), target.origin.line)
    };
    assert_eq!(place("http://web.zone.test"), (root.join("web.env").display().to_string(), 2));
    assert_eq!(place("http://two.test/${x").1, 1);
    assert_eq!(report.services, 6);
}
