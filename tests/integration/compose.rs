//! `deploy/compose` and `deploy/grafana`: their files fit each other. No container is started: there is no Docker here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{Settings, compose};
use watchpost_targets::yaml::{Node, Value, parse};

use crate::support::run;

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    source().join("deploy/compose")
}

fn read(path: &Path) -> Rc<Node> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    parse(&text).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()))
}

/// The node at the end of these keys.
fn at(node: &Rc<Node>, keys: &[&str]) -> Rc<Node> {
    keys.iter().fold(Rc::clone(node), |node, key| {
        Rc::clone(node.get(key).unwrap_or_else(|| panic!("no {key} of {keys:?}")))
    })
}

/// The text at the end of these keys.
fn text(node: &Rc<Node>, keys: &[&str]) -> String {
    at(node, keys).text().unwrap_or_else(|| panic!("{keys:?} is no text")).to_owned()
}

fn items(node: &Rc<Node>, key: &str) -> Vec<Rc<Node>> {
    match &at(node, &[key]).value {
        Value::Sequence(items) => items.clone(),
        other => panic!("{key} is no list but {other:?}"),
    }
}

fn texts(node: &Rc<Node>, key: &str) -> Vec<String> {
    items(node, key).iter().map(|item| item.text().unwrap().to_owned()).collect()
}

/// The services of the compose file, by name.
fn services() -> Vec<(String, Rc<Node>)> {
    let root = read(&folder().join("compose.yaml"));
    let services = at(&root, &["services"]);
    services.entries().iter().map(|entry| (entry.key.clone(), Rc::clone(&entry.value))).collect()
}

fn service(name: &str) -> Rc<Node> {
    services().into_iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no {name}")).1
}

/// What is mounted into a service: where it comes from, and where it goes.
fn mounts(service: &Rc<Node>) -> Vec<(String, String)> {
    let split = |text: &String| {
        let (from, rest) = text.split_once(':').unwrap();
        let to = rest.split(':').next().unwrap();
        (from.to_owned(), to.to_owned())
    };
    texts(service, "volumes").iter().map(split).collect()
}

/// The path outside of what a service sees under `inside`.
fn outside(service: &Rc<Node>, inside: &str) -> PathBuf {
    let found = mounts(service).into_iter().find_map(|(from, to)| {
        let rest = Path::new(inside).strip_prefix(&to).ok()?.to_owned();
        from.starts_with('.').then(|| folder().join(from).join(rest))
    });
    found.unwrap_or_else(|| panic!("{inside} is not mounted"))
}

/// A mount that is not there becomes an empty folder, made by Docker, and nobody is told.
#[test]
fn what_is_mounted_is_there() {
    let volumes = at(&read(&folder().join("compose.yaml")), &["volumes"]);
    for (name, service) in services() {
        for (from, _) in mounts(&service) {
            let there = match from.chars().next() {
                Some('.') => folder().join(&from).exists(),
                Some('/') => from == "/",
                _ => volumes.get(&from).is_some(),
            };
            assert!(there, "{name}: {from} is not there");
        }
    }
}

#[test]
fn nobody_has_more_than_he_needs() {
    let services = services();
    assert_eq!(services.len(), 3);
    for (name, service) in services {
        assert_eq!(text(&service, &["read_only"]), "true", "{name}");
        assert_eq!(texts(&service, "cap_drop"), ["ALL"], "{name}");
        assert_eq!(texts(&service, "security_opt"), ["no-new-privileges:true"], "{name}");
        for key in ["privileged", "cap_add", "devices", "pid", "network_mode", "user"] {
            assert!(service.get(key).is_none(), "{name}: {key}");
        }
        for port in texts(&service, "ports") {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to others");
        }
        for volume in texts(&service, "volumes") {
            let own = volume.chars().next().is_some_and(char::is_alphabetic);
            let read_only = volume.split([':', ',']).any(|word| word == "ro");
            assert_ne!(own, read_only, "{name}: {volume}");
        }
        at(&service, &["healthcheck", "test"]);
    }
}

/// What waits for the backend outlives the container: the program is told of the folder, which is a volume, and its own.
#[test]
fn what_waits_is_in_a_volume() {
    let image = fs::read_to_string(folder().join("Dockerfile")).unwrap();
    let place = image.lines().find_map(|line| line.strip_prefix("ENV STATE_DIRECTORY=")).unwrap();
    let to = |(from, to): (String, String)| (to == place).then_some(from);
    let volume = mounts(&service("watchpost")).into_iter().find_map(to);
    assert_eq!(volume.as_deref(), Some("watchpost"));
    let user = image.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(image.contains(&format!("--chown={user} {place} {place}\n")), "{image}");
}

/// A tag that moves would be another program tomorrow.
#[test]
fn images_are_pinned() {
    for (name, service) in services() {
        let image = text(&service, &["image"]);
        let tag = image.split_once(':').unwrap_or_else(|| panic!("{name}: {image} has no tag")).1;
        let number = tag.trim_start_matches('v').split('.').all(|part| part.parse::<u32>().is_ok());
        assert!(number || (name == "watchpost" && service.get("build").is_some()), "{image}");
        let host = image.split('/').next().unwrap();
        assert!(!host.contains('.'), "{name}: {image} names a registry");
    }
}

/// Who writes and who asks name the same service and the port that it listens on.
#[test]
fn samples_go_where_they_are_asked_for() {
    let metrics = service("victoria-metrics");
    let port = texts(&metrics, "ports")[0].rsplit(':').next().unwrap().to_owned();
    let server = format!("http://victoria-metrics:{port}");
    let config = read(&folder().join("watchpost.yaml"));
    let endpoint = text(&config, &["exporters", "prometheus_remote_write", "endpoint"]);
    assert_eq!(endpoint, format!("{server}/api/v1/write"));

    let grafana = service("grafana");
    let inside = "/etc/grafana/provisioning/datasources/watchpost.yaml";
    let sources = items(&read(&outside(&grafana, inside)), "datasources");
    assert_eq!(sources.len(), 1);
    assert_eq!(text(&sources[0], &["url"]), server);
    assert_eq!(text(&sources[0], &["type"]), "prometheus");

    let page = text(&config, &["http", "listen"]);
    let page = page.strip_prefix("0.0.0.0:").expect("a page that can be reached from outside");
    let watchpost = service("watchpost");
    assert_eq!(texts(&watchpost, "ports"), [format!("127.0.0.1:{page}:{page}")]);
    let health = texts(&at(&watchpost, &["healthcheck"]), "test");
    assert_eq!(health[..3], ["CMD", "watchpost", "probe"]);
    assert_eq!(health[3], format!("http://127.0.0.1:{page}/-/healthy"));

    let root = text(&config, &["receivers", "host_metrics", "root_path"]);
    let mounted = mounts(&watchpost).into_iter().find(|(from, _)| from == "/").unwrap().1;
    assert_eq!(root, mounted, "the host is mounted elsewhere");
}

/// Grafana finds what is to be provisioned, and that finds the dashboards.
#[test]
fn dashboards_are_where_they_are_looked_for() {
    let grafana = service("grafana");
    let inside = "/etc/grafana/provisioning/dashboards/watchpost.yaml";
    let providers = items(&read(&outside(&grafana, inside)), "providers");
    assert_eq!(providers.len(), 1);
    let path = text(&providers[0], &["options", "path"]);
    assert_eq!(outside(&grafana, &path).canonicalize().unwrap(), source().join("dashboards"));
    let manifest = fs::read_to_string(source().join("Cargo.toml")).unwrap();
    let packaged = format!("\"dashboards/*.json\", \"{}/\"", path.trim_start_matches('/'));
    assert!(manifest.contains(&packaged), "the Debian package has them elsewhere: {packaged}");
}

/// `check` takes the configuration where the container has it. It warns that the host is not
/// mounted here.
#[test]
fn the_configuration_is_good() {
    let watchpost = service("watchpost");
    let config = outside(&watchpost, "/etc/watchpost/watchpost.yaml");
    assert_eq!(config.canonicalize().unwrap(), folder().join("watchpost.yaml"));
    let output = run(&["check", "--config", config.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(" 0 errors, ") && said.contains("; 4 targets"), "{said}");
    let warning = "receivers.host_metrics.root_path: /hostfs: no such folder";
    let told = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(told.contains(warning), "{told}");
}

/// Our own discovery reads the file: the pages that are opened are what it would watch.
#[test]
fn discovery_reads_it() {
    let mut settings = Settings::new(vec![folder()]);
    settings.ports = true;
    let report = compose(&settings, &Variables::new());
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!((report.files, report.services), (1, 3));
    let found: BTreeSet<&str> = report.targets.iter().map(|t| t.address.as_str()).collect();
    assert_eq!(found, BTreeSet::from(["127.0.0.1:3000", "127.0.0.1:8428", "127.0.0.1:9115"]));
}

/// The image is built by the compiler that Cargo.toml asks for, and the files which the build gets to see are enough
/// for cargo to know all crates and their programs.
#[test]
fn the_image_gets_what_it_is_built_from() {
    let dockerfile = fs::read_to_string(folder().join("Dockerfile")).unwrap();
    let manifest = fs::read_to_string(source().join("Cargo.toml")).unwrap();
    let version = manifest.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    let images: Vec<&str> =
        dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(images, [&format!("rust:{version}-bookworm AS build"), "debian:bookworm-slim"]);

    let context = tempfile::tempdir().unwrap();
    let ignored = fs::read_to_string(folder().join("Dockerfile.dockerignore")).unwrap();
    for name in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        copy(&source().join(name), &context.path().join(name));
    }
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"])
        .current_dir(context.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    for path in ["src/main.rs", "targets/src/lib.rs", "discovery/src/lib.rs"] {
        let path = context.path().canonicalize().unwrap().join(path);
        assert!(said.contains(path.to_str().unwrap()), "{} is not known", path.display());
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}
