//! The README, walked through as a new user would: its own commands, in a clean clone, in a network where
//! nobody else is. What `cargo` would build there is the program of this test; what `apt` would install is
//! Debian's VictoriaMetrics, which the test command has unpacked.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::alone::{alone, sh};
use crate::support::daemon::log_of;
use crate::support::grafana::{View, question, shown};
use crate::support::peers::{self, Peer};
use crate::support::servers::{Request, Response, Server};
use crate::support::{get, parse_metrics, send_signal, until};

/// What follows a title of the README, up to the next one.
fn section<'a>(readme: &'a str, title: &str) -> &'a str {
    let (_, rest) = readme.split_once(&format!("\n## {title}")).expect(title);
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The commands of a text.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split_once("\n```").unwrap().0.to_owned()).collect()
}

struct Walk {
    clone: PathBuf,
    path: String,
}

impl Walk {
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-ec", script]).current_dir(&self.clone).env("PATH", &self.path);
        command.env_remove("NO_COLOR").env_remove("NOTIFY_SOCKET");
        command
    }

    /// Runs a script to its end; returns what it says.
    fn run(&self, script: &str) -> String {
        let output = self.shell(script).output().unwrap();
        let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        assert!(output.status.success(), "{script}\n{said}");
        said
    }

    /// Runs a script whose last command goes on.
    fn start(&self, script: &str) -> Running {
        let (before, last) = script.trim_end().rsplit_once('\n').unwrap_or(("", script));
        let script = format!("{before}\nexec {last}");
        let mut command = self.shell(&script);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = log_of(&mut child);
        Running { child, log }
    }
}

struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Running {
    /// As Ctrl-C does.
    fn interrupt(&mut self) {
        send_signal(self.child.id(), "-INT");
        let code = self.child.wait().unwrap().code();
        let log = self.log.lock().unwrap();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts a program into the folder of those that stand in for the machine's.
fn stand_in(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn up(store: &Peer, name: &str) {
    let query = format!("probe_success{{humanname=\"{name}\"}} == 1");
    until(&query, || (!store.query(&query).is_empty()).then_some(()));
}

#[test]
fn from_nothing_to_a_timeline() {
    let name = "readme::from_nothing_to_a_timeline";
    if !alone(name, &["git", "ip", "victoria-metrics"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = env!("CARGO_BIN_EXE_watchpost");
    let clone = folder.path().join("watchpost");
    let shown_root = root.display();
    sh(&format!(
        "ip link set lo up
         git -c safe.directory='*' clone --quiet --no-hardlinks '{shown_root}' '{}'
         # What else is on this machine is not looked at: compose files, and who answers for names.
         for folder in /svc /srv /opt /root /home /data /etc/docker; do
             case '{shown_root}{program}' in *$folder/*) continue;; esac
             if [ -d $folder ]; then mount -t tmpfs tmpfs $folder; fi
         done
         echo 'nameserver 127.0.0.1' > '{}/resolv.conf'
         if [ -e /etc/resolv.conf ]; then mount --bind '{}/resolv.conf' /etc/resolv.conf; fi",
        clone.display(),
        folder.path().display(),
        folder.path().display()
    ));
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    stand_in(
        &bin,
        "cargo",
        &format!(
            "case \"$*\" in\n'run --release') exec {program};;\n\
             'build --release') mkdir -p target/release; ln -sf {program} target/release/watchpost;;\n\
             *) echo \"cargo $*: not expected\" >&2; exit 1;;\nesac"
        ),
    );
    stand_in(&bin, "sudo", "exec \"$@\"");
    stand_in(&bin, "apt", "test \"$*\" = 'install victoria-metrics'");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let walk = Walk { clone: clone.clone(), path };
    let readme = fs::read_to_string(clone.join("README.md")).unwrap();
    let page = ([127, 0, 0, 1], 9115).into();

    // The first command: this machine is watched, and a page says so.
    let [first, tests, ..] = &commands(&readme)[..] else { panic!("two commands") };
    assert_eq!((first.as_str(), tests.as_str()), ("cargo run --release", "./test.sh"));
    let mut running = walk.start(first);
    until("the loopback", || {
        let (_, text) = get(page, "/metrics/prometheus")?;
        let metrics = parse_metrics(&text);
        let mut loopback = metrics.iter().filter(|(series, _)| {
            series.starts_with("probe_success{") && series.contains("instance=\"127.0.0.1\"")
        });
        loopback.next().filter(|(_, value)| **value == 1.0).map(drop)
    });
    running.interrupt();

    // The five steps.
    let steps = section(&readme, "From nothing to a timeline");
    let [script, discover] = &commands(steps)[..] else { panic!("two blocks of commands") };
    assert_eq!(script.lines().filter(|line| line.starts_with("# ")).count(), 5, "{script}");
    let store = peers::victoria_metrics(folder.path(), 8428).unwrap();
    let _grafana = Server::tcp_on(([127, 0, 0, 1], 3000).into(), |mut stream| {
        if Request::read(&mut stream).is_some() {
            let _ = stream.write_all(&Response::new(200, "Grafana").bytes());
        }
    });
    let mut running = walk.start(script);
    up(&store, "Grafana");
    up(&store, "VictoriaMetrics");
    until("the host", || (!store.query("system_uptime_seconds").is_empty()).then_some(()));

    // Another line in the file: it is watched.
    let targets = clone.join("home/targets/pinghosts.yaml");
    let mut text = fs::read_to_string(&targets).unwrap();
    text.push_str("    - 127.0.0.1:9115;Watchpost itself;internal\n");
    fs::write(&targets, text).unwrap();
    up(&store, "Watchpost itself");

    // That is what the timeline shows.
    let services = question("watchpost-status.json", "Services", "A");
    until("all rows of the timeline", || {
        let now = store.query("time()")[0].1 as i64;
        let view = View::new(now - 60, now, 500, 15);
        let found =
            store.range(&services.asked(view, &[("job", "services"), ("vantage", ".*")]), view);
        let mut rows: Vec<String> =
            found.iter().map(|(labels, _)| shown(&services.legend, labels)).collect();
        rows.sort();
        (rows == ["Grafana", "VictoriaMetrics", "Watchpost itself"]).then_some(())
    });

    // What a job has found, and somebody took away, is found again; and again there is nothing to do.
    let example = clone.join("discovery/examples/pinghosts.yaml");
    let whole = fs::read_to_string(&example).unwrap();
    let marker = "# SVC START";
    let (by_hand, found) = whole.split_once(marker).unwrap();
    assert!(found.lines().count() > 1, "{whole}");
    fs::write(&example, format!("{by_hand}{marker}\n")).unwrap();
    let discover = format!("export PATH=\"$PWD/target/release:$PATH\"\n{discover}");
    let said = walk.run(&discover);
    assert!(!said.contains("nothing changes"), "{said}");
    assert_eq!(fs::read_to_string(&example).unwrap(), whole);
    let said = walk.run(&discover);
    assert!(said.contains("pinghosts.yaml: nothing changes"), "{said}");
    assert_eq!(fs::read_to_string(&example).unwrap(), whole);

    running.interrupt();
    // Nothing of the clone has changed but for what is one's own.
    let changed = walk.run("git status --porcelain");
    assert_eq!(changed, "?? home/\n");
}
