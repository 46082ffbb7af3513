//! Discovery: by command, as cron runs it, and inside the daemon. Trees of our own in the shapes of
//! home labs.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::support::daemon::Daemon;
use crate::support::servers::{Request, Response, Server};
use crate::support::{free_port, get, run, until};

/// A home lab: compose files, a file of traefik, and a target file with a hand-written head.
struct Lab {
    folder: tempfile::TempDir,
}

const HEAD: &str = "# by hand\n- targets:\n    # url;humanname;routing\n    - 127.0.0.1;Router;internal\n    # SVC START\n";

impl Lab {
    fn new() -> Self {
        let lab = Self { folder: tempfile::tempdir().unwrap() };
        lab.write("svc/blog/docker-compose.yaml", "services:\n  blog:\n    labels:\n      - traefik.http.routers.blog.rule=HostRegexp(`blog.{domain:.*}`)\n      - traefik.http.routers.blog.entrypoints=https\n");
        lab.write(
            "svc/db/docker-compose.yaml",
            "services:\n  db: {image: postgres, ports: [\"5432:5432\"]}\n",
        );
        lab.write("svc/traefik/conf/dynamic.toml", "[http.routers.zigbee]\nrule = \"HostRegexp(`zigbee.{domain:.*}`)\"\nentryPoints = [\"https\"]\n");
        lab.write("svc/_template/docker-compose.yaml", "services:\n  %HOST%:\n    image: x\n");
        lab.write("targets/pinghosts.yaml", HEAD);
        lab.write("watchpost.yaml", &lab.config(""));
        lab
    }

    fn config(&self, more: &str) -> String {
        format!(
            "receivers: {{probe/services: {{interval: 1s, target_files: [targets/pinghosts.yaml]}}}}\n\
             exporters: {{prometheus: {{}}}}\nhttp: {{listen: \"127.0.0.1:{}\"}}\n\
             discovery:\n  services:\n    compose: {{paths: [svc], domain: example.invalid, scheme: https, labels: {{routing: internal}}}}\n    \
             output: {{file: targets/pinghosts.yaml, keep_until: \"# SVC START\"}}\n{more}",
            free_port()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn discover(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let config = self.path("watchpost.yaml").display().to_string();
        let mut all = vec!["discover", "--config", &config];
        all.extend(arguments);
        let output = run(&all);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }
}

#[test]
fn what_cron_runs() {
    let lab = Lab::new();
    let (code, out) = lab.discover(&["--dry-run"]);
    assert_eq!(code, Some(0), "{out}");
    for expected in [
        "services: 3 files, 2 services (1 with a target), 1 routers of traefik's files: 2 targets",
        "_template/docker-compose.yaml:2: ",
        "no target db (",
        "it publishes ports (`ports: true` makes them targets)",
        "+    - https://blog.example.invalid;blog;internal",
        "would change",
    ] {
        assert!(out.contains(expected), "{expected:?} in\n{out}");
    }
    assert_eq!(lab.read("targets/pinghosts.yaml"), HEAD, "a dry run writes nothing");

    let textfile = lab.path("textfile/watchpost.prom").display().to_string();
    let (code, out) = lab.discover(&["--detailed-exitcode", "--textfile", &textfile]);
    assert_eq!(code, Some(2), "{out}");
    let expected = format!(
        "{HEAD}    - https://blog.example.invalid;blog;internal\n    - https://zigbee.example.invalid;zigbee;internal\n"
    );
    assert_eq!(lab.read("targets/pinghosts.yaml"), expected);
    let record = lab.read("textfile/watchpost.prom");
    for expected in [
        "watchpost_discovery_success{discovery_job=\"services\"} 1",
        "watchpost_discovery_targets{discovery_job=\"services\",source=\"traefik file\"} 1",
        "watchpost_discovery_file_errors{discovery_job=\"services\",file=",
        "# TYPE watchpost_discovery_last_success_timestamp_seconds gauge",
    ] {
        assert!(record.contains(expected), "{expected:?} in\n{record}");
    }
    // Nothing has changed: nothing is written.
    let before = fs::metadata(lab.path("targets/pinghosts.yaml")).unwrap().modified().unwrap();
    let (code, _) = lab.discover(&["--detailed-exitcode"]);
    let after = fs::metadata(lab.path("targets/pinghosts.yaml")).unwrap().modified().unwrap();
    assert_eq!((code, before), (Some(0), after));
    // One JSON object for each job.
    let (code, out) = lab.discover(&["--json", "services"]);
    let value: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!((code, value["targets"].as_array().unwrap().len()), (Some(0), 2), "{out}");
    assert_eq!(value["targets"][0]["labels"]["humanname"], "blog");
    let file = lab.path("no.prom").display().to_string();
    let (code, out) = lab.discover(&["--dry-run", "--textfile", &file]);
    assert!(code == Some(64) && out.contains("cannot be used with"), "{out}");
    assert!(!Path::new(&file).exists());
    let (code, out) = lab.discover(&["servces"]);
    assert!(code == Some(64) && out.contains("no job \"servces\" (known: services)"), "{out}");
}

#[test]
fn what_must_not_be_lost_is_not() {
    let lab = Lab::new();
    for n in 0..12 {
        let text = format!(
            "services:\n  s{n}: {{labels: {{watchpost.address: \"https://s{n}.example.invalid\"}}}}\n"
        );
        lab.write(&format!("svc/s{n}/compose.yml"), &text);
    }
    assert_eq!(lab.discover(&[]).0, Some(0));
    let full = lab.read("targets/pinghosts.yaml");
    assert_eq!(full.lines().count(), HEAD.lines().count() + 14);
    // A disk that is not there.
    fs::rename(lab.path("svc"), lab.path("away")).unwrap();
    let (code, out) = lab.discover(&[]);
    assert!(code == Some(1) && out.contains("none of its paths can be looked at"), "{out}");
    // A disk that is there and empty.
    fs::create_dir(lab.path("svc")).unwrap();
    let (code, out) = lab.discover(&[]);
    assert!(
        code == Some(1) && out.contains("14 targets would go, and too little could be read"),
        "{out}"
    );
    assert_eq!(lab.read("targets/pinghosts.yaml"), full);
    let (code, _) = lab.discover(&["--force"]);
    assert_eq!((code, lab.read("targets/pinghosts.yaml").as_str()), (Some(0), HEAD));
    // A file without the marker belongs to somebody else.
    lab.write("targets/pinghosts.yaml", "- targets: [127.0.0.1]\n");
    let (code, out) = lab.discover(&["--force"]);
    assert!(code == Some(1) && out.contains("\"# SVC START\""), "{out}");
    assert_eq!(lab.read("targets/pinghosts.yaml"), "- targets: [127.0.0.1]\n");
}

#[test]
fn what_cannot_be_probed_is_told() {
    let lab = Lab::new();
    let text = "services:\n  \
        often: {labels: {watchpost.address: \"https://a.invalid\", watchpost.interval: 10ms}}\n  \
        port: {labels: {watchpost.address: \"b.invalid:99999\"}}\n  \
        scheme: {labels: {watchpost.address: \"ftp://me:secret@c.invalid\"}}\n  \
        own: {labels: {watchpost.address: \"dns:d.invalid\", watchpost.module: my_dns}}\n  \
        known: {labels: {watchpost.address: \"e.invalid:53\", watchpost.module: tcp_connect}}\n";
    lab.write("svc/odd/compose.yml", text);
    let config = lab.config("").replace("[targets/pinghosts.yaml]", "[targets/*.yaml]");
    let config = config.replace(
        "keep_until: \"# SVC START\"",
        "template: \"address;humanname;routing;switching;module\"",
    );
    lab.write(
        "watchpost.yaml",
        &config.replace("{file: targets/pinghosts.yaml", "{file: targets/b.yaml"),
    );
    let (code, out) = lab.discover(&[]);
    assert_eq!(code, Some(0), "{out}");
    for expected in [
        "no target often (",
        "the interval 10ms is shorter than 1s",
        "\"b.invalid:99999\" is not host:port",
        "an http module knows http:// and https://, not ftp://",
        "the module \"my_dns\": labels may not name it",
    ] {
        assert!(out.contains(expected), "{expected:?} in\n{out}");
    }
    assert!(!out.contains("secret"), "{out}");
    let written = lab.read("targets/b.yaml");
    assert!(written.contains("e.invalid:53;e;internal;;tcp_connect"), "{written}");
    for address in ["a.invalid", "b.invalid", "c.invalid", "d.invalid"] {
        assert!(!written.contains(address), "{written}");
    }
}

#[test]
fn links_go_on_being_links() {
    let lab = Lab::new();
    fs::remove_file(lab.path("targets/pinghosts.yaml")).unwrap();
    fs::create_dir(lab.path("elsewhere")).unwrap();
    let link = lab.path("targets/pinghosts.yaml");
    std::os::unix::fs::symlink("../elsewhere/real.yaml", &link).unwrap();
    let (code, out) = lab.discover(&[]);
    assert_eq!(code, Some(0), "{out}");
    assert!(fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    assert!(lab.read("elsewhere/real.yaml").contains("https://blog.example.invalid"));
    // Two jobs of one file, by way of the link.
    let more = "  other: {compose: {paths: [svc]}, output: {file: elsewhere/real.yaml}}\n";
    lab.write("watchpost.yaml", &lab.config(more));
    let (code, out) = lab.discover(&[]);
    assert!(code == Some(64) && out.contains("writes the same file as the job services"), "{out}");
    let more = "  other: {compose: {paths: [svc]}, output: {file: ./new/../targets/none.yaml}}\n  \
        third: {compose: {paths: [svc]}, output: {file: targets/none.yaml}}\n";
    fs::create_dir(lab.path("new")).unwrap();
    lab.write("watchpost.yaml", &lab.config(more));
    let (code, out) = lab.discover(&[]);
    assert!(code == Some(64) && out.contains("writes the same file as the job other"), "{out}");
}

#[test]
fn in_the_daemon_a_new_service_is_probed() {
    let lab = Lab::new();
    let server = Server::http(|_| Response::new(200, "x"));
    let page = |daemon: &Daemon, path: &str| {
        get(daemon.page, path).map_or(String::new(), |(_, text)| text)
    };
    lab.write(
        "watchpost.yaml",
        &lab.config("    interval: 1s\n    allow: [\"*\", 127.0.0.1]\n")
            .replace("scheme: https", "scheme: http"),
    );
    let mut daemon = Daemon::start(&lab.path("watchpost.yaml"));
    let success = |daemon: &Daemon| {
        page(daemon, "/metrics")
            .contains("watchpost_discovery_success{discovery_job=\"services\"} 1")
    };
    until("the first run", || success(&daemon).then_some(()));
    assert!(
        lab.read("targets/pinghosts.yaml").contains("https://blog.example.invalid;blog;internal")
    );
    let address = server.address;
    let label = format!(
        "services:\n  new: {{labels: {{watchpost.address: \"{address}\", watchpost.name: New}}}}\n"
    );
    lab.write("svc/new/compose.yaml", &label);
    let up = format!(
        "probe_success{{humanname=\"New\",instance=\"{address}\",job=\"services\",routing=\"internal\"}} 1"
    );
    until("the new service is probed", || {
        page(&daemon, "/metrics/prometheus").contains(&up).then_some(())
    });
    // What goes ends.
    fs::remove_dir_all(lab.path("svc/new")).unwrap();
    until("it is gone", || (!page(&daemon, "/metrics/prometheus").contains(&up)).then_some(()));
    // A run that fails is told, and changes nothing.
    fs::rename(lab.path("svc"), lab.path("away")).unwrap();
    until("the failure", || (!success(&daemon)).then_some(()));
    assert!(lab.read("targets/pinghosts.yaml").contains("blog"));
    daemon.stop();
}

#[test]
fn odd_trees_end_quickly() {
    let lab = Lab::new();
    let deep = lab.path("svc/deep");
    let mut folder = deep.clone();
    for _ in 0..60 {
        folder = folder.join("d");
    }
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink("..", lab.path("svc/blog/loop")).unwrap();
    let fifo = |path: &Path| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    fifo(&lab.path("svc/pipe/compose.yaml"));
    lab.write("svc/binary/compose.yml", "");
    fs::write(lab.path("svc/binary/compose.yml"), [0xff, 0xfe, 0x00, 0x80]).unwrap();
    let large = fs::File::create(lab.path("svc/binary/large-compose.yml")).unwrap();
    large.set_len(100 << 20).unwrap();
    let bomb = (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        let before = n - 1;
        format!("{text}a{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}]\n")
    });
    lab.write("svc/bomb/compose.yml", &bomb);
    lab.write("svc/cycle/a-compose.yml", "include: [b-compose.yml]\nservices: {}\n");
    lab.write("svc/cycle/b-compose.yml", "include: [a-compose.yml]\nservices: {}\n");
    let (code, out) = lab.discover(&[]);
    assert_eq!(code, Some(0), "{out}");
    for expected in [
        "folders nest too deep",
        "is it encrypted?",
        "larger than 4 MiB",
        "bomb/compose.yml",
        "it includes itself",
    ] {
        assert!(out.contains(expected), "{expected:?} in\n{out}");
    }
    assert!(lab.read("targets/pinghosts.yaml").contains("https://zigbee.example.invalid"));
}

/// A stand-in for the Docker Engine: a list of containers that a test changes, and a stream of events.
struct Engine {
    containers: Arc<Mutex<String>>,
    streams: Arc<Mutex<Vec<UnixStream>>>,
}

impl Engine {
    fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let engine = Self { containers: Arc::default(), streams: Arc::default() };
        let (containers, streams) = (Arc::clone(&engine.containers), Arc::clone(&engine.streams));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (containers, streams) = (Arc::clone(&containers), Arc::clone(&streams));
                std::thread::spawn(move || answer(stream, &containers, &streams));
            }
        });
        engine
    }

    fn set(&self, containers: &str) {
        *self.containers.lock().unwrap() = containers.to_owned();
    }

    /// Tells an event to all who listen.
    fn tell(&self, event: &str) {
        for stream in self.streams.lock().unwrap().iter_mut() {
            let _ = write!(stream, "{:x}\r\n{event}\n\r\n", event.len() + 1);
        }
    }
}

fn answer(mut stream: UnixStream, containers: &Mutex<String>, streams: &Mutex<Vec<UnixStream>>) {
    let Some(request) = Request::read(&stream) else { return };
    if request.path.starts_with("/events?filters=") {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        streams.lock().unwrap().push(stream);
        return;
    }
    let (status, body) = match request.path.as_str() {
        "/containers/json" => ("200 OK", containers.lock().unwrap().clone()),
        // What a proxy says of everything else.
        _ => ("403 Forbidden", String::new()),
    };
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
}

/// A container as the engine lists it.
fn container(name: &str, labels: &str, status: &str) -> String {
    format!(
        "{{\"Id\": \"0123\", \"Names\": [\"/{name}\"], \"Image\": \"x\", \"State\": \"running\", \"Status\": \"{status}\", \
         \"Labels\": {{{labels}}}, \"Ports\": [{{\"IP\": \"0.0.0.0\", \"PrivatePort\": 80, \"PublicPort\": 8080, \"Type\": \"tcp\"}}]}}"
    )
}

#[test]
fn containers_that_run() {
    let lab = Lab::new();
    let socket = lab.path("docker.sock");
    let engine = Engine::start(&socket);
    let web = container(
        "web",
        "\"Traefik.http.routers.w.rule\": \"Host(`w.example.invalid`)\", \"com.docker.compose.service\": \"web\"",
        "Up 2 hours (unhealthy)",
    );
    let old = container("0123456789ab_web", "\"watchpost.address\": \"old:1\"", "Up");
    engine.set(&format!("[{web}, {old}]"));
    let jobs = format!(
        "discovery:\n  docker: {{docker: {{endpoint: \"unix://{}\", scheme: https, ports: true, ports_host: pi}}, output: {{file: docker.yaml, format: file_sd}}, interval: 1h}}\n",
        socket.display()
    );
    let config = lab.config("");
    let (head, _) = config.split_once("discovery:").unwrap();
    lab.write("watchpost.yaml", &format!("{head}{jobs}"));
    let textfile = lab.path("d.prom").display().to_string();
    let (code, out) = lab.discover(&["--textfile", &textfile]);
    assert_eq!(code, Some(0), "{out}");
    let written = lab.read("docker.yaml");
    assert!(
        written.contains("https://w.example.invalid") && written.contains("pi:8080"),
        "{written}"
    );
    assert!(!written.contains("old:1"), "what Compose is about to replace is none: {written}");
    let record = lab.read("d.prom");
    assert!(
        record.contains(
            "watchpost_discovery_containers{discovery_job=\"docker\",health=\"unhealthy\"} 1"
        ),
        "{record}"
    );

    // In the daemon an event is enough.
    let mut daemon = Daemon::start(&lab.path("watchpost.yaml"));
    until("somebody listens", || (!engine.streams.lock().unwrap().is_empty()).then_some(()));
    let new = container("new", "\"watchpost.address\": \"https://new.example.invalid\"", "Up");
    engine.set(&format!("[{web}, {new}]"));
    engine.tell("{\"Type\": \"container\", \"Action\": \"exec_start\"}");
    engine.tell("{\"Type\": \"container\", \"Action\": \"start\"}");
    until("the new container", || {
        lab.read("docker.yaml").contains("new.example.invalid").then_some(())
    });
    daemon.stop();

    // An engine that does not answer takes nothing away, and counts nothing.
    let before = lab.read("docker.yaml");
    fs::remove_file(&socket).unwrap();
    let (code, out) = lab.discover(&["--json", "--textfile", &textfile]);
    let value: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert!(code == Some(1) && value["error"].is_string(), "{out}");
    assert!(value.get("targets").is_none() && value.get("files").is_none(), "{out}");
    let record = lab.read("d.prom");
    assert!(record.contains("watchpost_discovery_success{discovery_job=\"docker\"} 0"), "{record}");
    assert!(record.contains("watchpost_discovery_last_run"), "{record}");
    for metric in ["targets", "skipped", "file_errors", "containers"] {
        assert!(!record.contains(&format!("watchpost_discovery_{metric}")), "{record}");
    }
    let (code, out) = lab.discover(&["--force"]);
    assert!(
        code == Some(1) && out.contains("docker.sock") && out.contains("nothing is written"),
        "{out}"
    );
    assert_eq!(lab.read("docker.yaml"), before);
}

/// The example is what the documentation says: checked, and up to date.
#[test]
fn the_example_works() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/discovery/examples/watchpost.yaml");
    let output = run(&["check", "--config", config]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = run(&["discover", "--config", config, "--dry-run", "--detailed-exitcode"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("nothing changes") && out.contains("no target backup"), "{out}");
    // Nobody's network is swept here.
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/discovery/examples/lan/watchpost.yaml");
    let output = run(&["check", "--config", config]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("0 warnings; 254 targets"), "{out}");
}
