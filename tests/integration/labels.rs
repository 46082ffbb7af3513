//! Labels of containers and compose files get little from a whole Watchpost: no module with credentials, no variable of
//! the process, no file elsewhere, and no more targets than the job may have.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};

use crate::support::daemon::Daemon;
use crate::support::servers::{Response, Server};
use crate::support::{free_port, until, watchpost};

const SECRETS: [(&str, &str); 3] = [
    ("GRAFANA_PASSWORD", "CANARY_GRAFANA"),
    ("SECRET_IN_ENV", "CANARY_PROCESS"),
    ("ZONE", "zone.invalid"),
];

struct Lab(tempfile::TempDir);

impl Lab {
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

    /// A configuration whose job has these keys.
    fn configure(&self, keys: &str) {
        let text = format!(
            "modules: {{grafana: {{prober: http, http: {{basic_auth: {{username: admin, password: \"${{env:GRAFANA_PASSWORD}}\"}}}}}}}}\n\
             receivers: {{probe/found: {{interval: 1s, target_files: [found.yaml]}}}}\n\
             exporters: {{prometheus: {{}}}}\nhttp: {{listen: \"127.0.0.1:{}\"}}\n\
             discovery:\n  found:\n    compose: {{paths: [svc]}}\n    output: {{file: found.yaml, format: file_sd}}\n    interval: 1s\n{keys}",
            free_port()
        );
        self.write("watchpost.yaml", &text);
    }

    fn discover(&self) -> (Option<i32>, String) {
        let output = self.run(&["discover", "--config"]);
        let code = output.status.code();
        (code, String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = watchpost();
        command.args(arguments).arg(self.path("watchpost.yaml")).envs(SECRETS);
        command.output().unwrap()
    }

    fn found(&self) -> String {
        fs::read_to_string(self.path("found.yaml")).unwrap_or_default()
    }
}

#[test]
fn labels_get_no_credentials_and_no_variables() {
    let lab = Lab::new();
    let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let paths = Arc::clone(&asked);
    let server = Server::http(move |request| {
        paths.lock().unwrap().insert(request.path.clone());
        Response::new(200, "")
    });
    let url = server.url("");
    let url = url.trim_end_matches('/');
    lab.write("elsewhere/.env", "DB_PASSWORD=CANARY_OTHER\n");
    lab.write(
        "svc/inner.yaml",
        &format!(
            "services: {{i: {{labels: {{watchpost.address: \"{url}/inc/${{DB_PASSWORD}}\"}}}}}}\n"
        ),
    );
    lab.write(
        "svc/compose.yaml",
        &format!(
            "include: [{{path: inner.yaml, env_file: ../elsewhere/.env}}]\nservices:\n  \
             steal: {{labels: {{watchpost.address: \"{url}/steal\", watchpost.module: grafana}}}}\n  \
             leak: {{labels: {{watchpost.address: \"{url}/env/${{SECRET_IN_ENV}}/${{GRAFANA_PASSWORD}}\"}}}}\n  \
             zone: {{labels: {{watchpost.address: \"{url}/zone/${{ZONE:-none}}\", watchpost.module: http_2xx}}}}\n"
        ),
    );
    // By default this machine is out of reach.
    lab.configure("");
    let (code, out) = lab.discover();
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("/zone/none\": the host 127.0.0.1 is loopback or link-local"), "{out}");
    assert!(!lab.found().contains("127.0.0.1"), "{}", lab.found());

    lab.configure("    allow: [127.0.0.1]\n    environment: [ZONE]\n");
    let (code, out) = lab.discover();
    assert_eq!(code, Some(0), "{out}");
    for expected in [
        "no target steal (",
        "the module \"grafana\": labels may not name it (`modules:` of the job)",
        "the variables SECRET_IN_ENV, GRAFANA_PASSWORD are not set",
        "elsewhere/.env is not below `paths:` of the job, and is not read",
    ] {
        assert!(out.contains(expected), "{expected} in\n{out}");
    }
    assert!(!out.contains("CANARY"), "{out}");
    let found = lab.found();
    assert!(found.contains(&format!("{url}/zone/zone.invalid")), "{found}");
    assert_eq!(found.matches(url).count(), 1, "{found}");

    // In the daemon it is the same.
    fs::remove_file(lab.path("found.yaml")).unwrap();
    let mut daemon = Daemon::start_with(&lab.path("watchpost.yaml"), |command| {
        command.envs(SECRETS);
    });
    until("a probe", || (!asked.lock().unwrap().is_empty()).then_some(()));
    daemon.stop();
    assert_eq!(*asked.lock().unwrap(), BTreeSet::from(["/zone/zone.invalid".to_owned()]));
    assert!(!lab.found().contains("CANARY"), "{}", lab.found());
}

#[test]
fn a_variable_of_the_configuration_and_a_module_that_is_none_are_refused() {
    let lab = Lab::new();
    lab.write("svc/compose.yaml", "services: {}\n");
    lab.configure("    environment: [ZONE, GRAFANA_PASSWORD]\n    modules: [grafana, no_such]\n");
    let output = lab.run(&["check", "--config"]);
    let out = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(64), "{out}");
    for expected in [
        "watchpost.yaml:10:25: error: discovery.found.environment[1]: this configuration uses the variable itself",
        "watchpost.yaml:11:24: error: discovery.found.modules[1]: there is no module \"no_such\"",
    ] {
        assert!(out.contains(expected), "{expected} in\n{out}");
    }
}

#[test]
fn a_flood_of_services_writes_nothing() {
    let lab = Lab::new();
    lab.configure("    max_targets: 10\n");
    let write = |services: usize| {
        let mut text = String::from("services:\n");
        for n in 0..services {
            let _ = writeln!(text, "  s{n}: {{labels: {{watchpost.address: \"s{n}.invalid:1\"}}}}");
        }
        lab.write("svc/compose.yaml", &text);
    };
    write(10);
    let (code, out) = lab.discover();
    assert_eq!(code, Some(0), "{out}");
    let before = lab.found();
    assert_eq!(before.matches(".invalid:1").count(), 10, "{before}");
    write(25);
    for arguments in [&["discover", "--config"][..], &["discover", "--force", "--config"]] {
        let output = lab.run(arguments);
        let out = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{out}");
        let expected = "found.yaml: more than 10 targets were found (15 more): nothing is written (`max_targets:` of the job)";
        assert!(out.contains(expected), "{out}");
    }
    assert_eq!(lab.found(), before);
}
