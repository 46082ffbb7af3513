//! `watchpost queue`, and exporters that come, go and change while samples wait for them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Scene;
use crate::support::daemon::{Daemon, Sink, write};
use crate::support::recorder::Mood;
use crate::support::servers::{Response, Server};
use crate::support::{get, run, until};

/// The rows of `queue ls`, by exporter. The books of each balance.
fn rows(directory: &Path) -> BTreeMap<String, Value> {
    let output = run(&["queue", "ls", "--json", "--directory", directory.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows: BTreeMap<String, Value> =
        rows.map(|row| (row["exporter"].as_str().unwrap().to_owned(), row)).collect();
    for row in rows.values() {
        let of = |name: &str| row[name].as_u64().unwrap();
        assert!(row["put_aside"].is_u64(), "{row}");
        assert_eq!(
            of("accepted"),
            of("sent") + of("rejected") + of("dropped") + of("queued"),
            "{row}"
        );
    }
    rows
}

fn queue(directory: &Path, arguments: &[&str]) -> String {
    let directory = directory.to_str().unwrap();
    let output = run(&[&["queue"], arguments, &["--directory", directory]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Points in lines of OTLP's JSON.
fn points(dump: &str) -> usize {
    let mut count = 0;
    for line in dump.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for resource in line["resourceMetrics"].as_array().unwrap() {
            for scope in resource["scopeMetrics"].as_array().unwrap() {
                for metric in scope["metrics"].as_array().unwrap() {
                    let data = metric.get("gauge").or(metric.get("sum")).unwrap();
                    count += data["dataPoints"].as_array().unwrap().len();
                }
            }
        }
    }
    count
}

/// Starts a daemon whose backend is away; samples wait for this exporter.
fn begin(scene: &Scene, exporter: &str) -> Daemon {
    scene.recorder.set(Mood::Unavailable);
    let daemon = Daemon::start(&scene.config());
    let queued = || rows(&scene.directory()).get(exporter)?["queued"].as_u64();
    until("samples", || (queued()? > 100).then_some(()));
    daemon
}

/// What waits is shown, dumped and given up, of a daemon that runs and of files alone.
#[test]
fn what_waits_can_be_seen_dumped_and_given_up() {
    let scene = Scene::new(5, "min_free_mib: 0");
    let directory = scene.directory();
    let name = "prometheus_remote_write";
    let mut daemon = begin(&scene, name);
    let row = rows(&directory)[name].clone();
    assert_eq!(row["state"], "disk");
    assert!(row["oldest_age_seconds"].as_f64().unwrap() > 0.5, "{row}");
    assert!(queue(&directory, &["ls"]).contains(name));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    assert!(daemon.log().contains("kept for the next start"), "{}", daemon.log());
    let stopped = rows(&directory)[name].clone();
    assert_eq!(stopped["state"], "stopped");
    let waits = stopped["queued"].as_u64().unwrap();
    assert!(
        waits >= row["queued"].as_u64().unwrap()
            && stopped["oldest_age_seconds"].as_f64() > Some(0.5)
    );
    assert_eq!(points(&queue(&directory, &["dump"])) as u64, waits);
    let wrong = |arguments: &[&str], directory: &Path| {
        let at = directory.to_str().unwrap();
        let output = run(&[&["queue"], arguments, &["--directory", at]].concat());
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for order in ["dump", "purge", "replay"] {
        let why = wrong(&[order, "--exporter", "prometheus_remote_wriet"], &directory);
        assert!(why.contains("there is prometheus_remote_write in metrics"), "{why}");
    }
    assert!(wrong(&["ls"], &directory.join("queue")).contains("the directory above it is meant"));
    assert!(wrong(&["ls"], &scene.config()).contains("Not a directory"));
    // Of files.
    assert!(queue(&directory, &["purge"]).starts_with(&format!("{waits} samples")));
    let purged = rows(&directory)[name].clone();
    assert_eq!((&purged["queued"], &purged["dropped"]), (&Value::from(0), &Value::from(waits)));
    // Of a daemon: what is on its way stays.
    let mut daemon = Daemon::start(&scene.config());
    until("more", || (rows(&directory)[name]["queued"].as_u64()? > 100).then_some(()));
    queue(&directory, &["purge"]);
    let dropped = rows(&directory)[name]["dropped"].as_u64().unwrap();
    assert!(dropped > waits, "{dropped}");
    scene.recorder.set(Mood::Takes);
    until("the rest", || (rows(&directory)[name]["sent"].as_u64()? > 0).then_some(()));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    assert!(!directory.join("queue/control.sock").exists());
}

/// What a backend refuses for good is put aside, dumped, and sent once more.
#[test]
fn what_was_put_aside_can_be_sent_once_more() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let scene = Scene::new(3, "min_free_mib: 0");
    let strict = Arc::new(AtomicBool::new(true));
    let mind = Arc::clone(&strict);
    let backend = Server::http(move |request| {
        let mut decoder = snap::raw::Decoder::new();
        let body = decoder.decompress_vec(&request.body).unwrap_or_default();
        let poison = body.windows(8).any(|eight| eight == b"probe_su");
        match poison && mind.load(Ordering::SeqCst) {
            true => Response::new(500, "no idea"),
            false => Response::new(204, ""),
        }
    });
    let text = std::fs::read_to_string(scene.config()).unwrap();
    let at = text.find("endpoint: ").unwrap() + "endpoint: ".len();
    let end = at + text[at..].find([',', '\n', '}']).unwrap();
    write(
        scene.folder.path(),
        "watchpost.yaml",
        &text.replace(&text[at..end], &format!("'{}'", backend.url("/"))),
    );
    let directory = scene.directory();
    let name = "prometheus_remote_write";
    let mut daemon = Daemon::start(&scene.config());
    until("something put aside", || {
        (rows(&directory).get(name)?["rejected"].as_u64()? > 0).then_some(())
    });
    strict.store(false, Ordering::SeqCst);
    let rejected = rows(&directory)[name]["rejected"].as_u64().unwrap();
    let dump = queue(&directory, &["dump", "--rejected"]);
    assert!(points(&dump) as u64 >= rejected && dump.contains("probe.success"), "{dump}");
    let said = queue(&directory, &["replay"]);
    assert!(said.contains("are sent once more"), "{said}");
    until("an empty quarantine", || {
        queue(&directory, &["dump", "--rejected"]).is_empty().then_some(())
    });
    assert_eq!(rows(&directory)[name]["dropped"], 0, "what was sent once more was sent");
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    rows(&directory);
}

/// Exporters are added, pointed elsewhere, renamed and taken away while samples wait for them; the daemon is killed in
/// between: what each backend has is what the books say.
#[test]
fn books_stay_exact_while_exporters_come_and_go() {
    let scene = Scene::new(20, "min_free_mib: 0");
    let (one, two) = (Sink::new(), Sink::new());
    let directory = scene.directory();
    let whole = std::fs::read_to_string(scene.config()).unwrap();
    let begin = whole.find("exporters:").unwrap();
    let end = whole.find("storage:").unwrap();
    let configure = |exporters: &str| {
        let text = format!("{}exporters:\n{exporters}{}", &whole[..begin], &whole[end..]);
        write(scene.folder.path(), "watchpost.yaml", &text);
    };
    let exporter = |name: &str, endpoint: &str| {
        format!(
            "  prometheus_remote_write/{name}: {{endpoint: '{endpoint}', target_info: {{enabled: false}}, \
             retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms}}}}\n"
        )
    };
    let endpoint = |sink: &Sink| {
        let text = sink.exporters();
        let at = text.find("http://").unwrap();
        text[at..].split(['\'', '"', ',', '}', '\n', ' ']).next().unwrap().to_owned()
    };
    let (one_at, two_at) = (endpoint(&one), endpoint(&two));
    let nowhere = "http://127.0.0.1:1/";
    // One that works, one whose backend is away.
    configure(&[exporter("a", &one_at), exporter("b", nowhere)].concat());
    let mut daemon = Daemon::start(&scene.config());
    let row =
        |name: &str| rows(&directory).get(&format!("prometheus_remote_write/{name}")).cloned();
    let more = |name: &str, key: &str, than: u64| {
        until(&format!("{name}: more than {than} {key}"), || {
            (row(name)?[key].as_u64()? > than).then_some(())
        });
    };
    more("b", "queued", 500);
    more("a", "sent", 500);
    // Another one is added: it begins with what comes next.
    configure(&[exporter("a", &one_at), exporter("b", nowhere), exporter("c", &two_at)].concat());
    more("c", "sent", 100);
    let (b, c) = (row("b").unwrap(), row("c").unwrap());
    assert!(c["accepted"].as_u64() < b["accepted"].as_u64(), "{b} {c}");
    // The second is pointed to the backend of the third: what waits goes there.
    let before = two.count();
    configure(&[exporter("a", &one_at), exporter("b", &two_at), exporter("c", &two_at)].concat());
    more("b", "sent", 500);
    assert!(two.count() > before);
    // The daemon is killed, and the first has gone meanwhile: what it had not sent is kept for it.
    configure(&[exporter("b", &two_at), exporter("c", nowhere)].concat());
    more("c", "queued", 300);
    daemon.kill();
    let kept = row("c").unwrap();
    drop(daemon);
    configure(&[exporter("b", &two_at), exporter("d", &two_at)].concat());
    let mut daemon = Daemon::start(&scene.config());
    more("d", "sent", 100);
    let orphan = row("c").expect("it is kept");
    assert_eq!(orphan["state"], "orphan", "{orphan}");
    assert!(orphan["queued"].as_u64() >= kept["queued"].as_u64(), "{orphan} {kept}");
    // It comes back, and goes on where it was.
    configure(&[exporter("b", &two_at), exporter("c", &two_at), exporter("d", &two_at)].concat());
    more("c", "sent", kept["accepted"].as_u64().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    let c = row("c").unwrap();
    assert_eq!((c["dropped"].as_u64(), c["rejected"].as_u64()), (Some(0), Some(0)), "{c}");
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    for row in rows(&directory).values() {
        assert_eq!(row["dropped"], 0, "{row}");
    }
}

/// Whoever asks whether all is well learns that exports have failed for long, and that they work again.
#[test]
fn readiness_tells_of_exports_that_fail_for_long() {
    let scene = Scene::new(2, "min_free_mib: 0");
    scene.recorder.set(Mood::Unavailable);
    let health = crate::support::free_port();
    let text = std::fs::read_to_string(scene.config()).unwrap();
    let text = text
        .replace(
            "http: {listen: '127.0.0.1:0'}",
            "http: {listen: '127.0.0.1:0', export_failure_limit: 2s}",
        )
        .replace("service: {", "service: {extensions: [health_check], ")
        + &format!(
            "extensions: {{health_check: {{endpoint: '127.0.0.1:{health}', \
             check_collector_pipeline: {{enabled: true, exporter_failure_threshold: 3}}}}}}\n"
        );
    write(scene.folder.path(), "watchpost.yaml", &text);
    let mut daemon = Daemon::start(&scene.config());
    let collector = std::net::SocketAddr::from(([127, 0, 0, 1], health));
    let page = daemon.page;
    assert_eq!(get(page, "/-/ready").map(|(status, _)| status), Some(200), "{}", daemon.log());
    let said = until("the truth", || get(page, "/-/ready").filter(|(status, _)| *status == 503));
    assert!(said.1.starts_with("Exporter prometheus_remote_write has failed for "), "{said:?}");
    until("the same at the health check", || {
        get(collector, "/").filter(|(status, _)| *status == 503)
    });
    let name = "watchpost_export_failing_time_seconds{exporter=\"prometheus_remote_write\",pipeline=\"metrics\"}";
    assert!(daemon.metrics()[name] >= 2.0);
    assert_eq!(
        get(page, "/-/healthy").map(|(status, _)| status),
        Some(200),
        "a restart mends nothing"
    );
    scene.recorder.set(Mood::Takes);
    until("readiness", || get(page, "/-/ready").filter(|(status, _)| *status == 200));
    until("the same at the health check", || {
        get(collector, "/").filter(|(status, _)| *status == 200)
    });
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

/// Somebody removes the folder of a daemon that runs: it is made again, with its lock and its socket, and what is in memory
/// is in it.
#[test]
fn a_folder_that_is_removed_is_made_again() {
    let scene = Scene::new(5, "min_free_mib: 0");
    let directory = scene.directory();
    let name = "prometheus_remote_write";
    let mut daemon = begin(&scene, name);
    let before = rows(&directory)[name]["queued"].as_u64().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let again = ["queue/control.sock", "queue/metrics/lock"].map(|file| directory.join(file));
    until("its files", || again.iter().all(|file| file.exists()).then_some(()));
    until("the disk", || (rows(&directory).get(name)?["state"] == "disk").then_some(()));
    until("more", || (rows(&directory)[name]["queued"].as_u64()? > before + 100).then_some(()));
    // Nobody else can take it.
    let other = scene.folder.path().join("other.yaml");
    std::fs::write(&other, std::fs::read_to_string(scene.config()).unwrap()).unwrap();
    let mut second = Daemon::start(&other);
    until("a refusal", || second.log().contains("another process has it").then_some(()));
    assert_eq!(second.stop(), 0);
    daemon.kill();
    let kept = rows(&directory)[name].clone();
    assert!(kept["queued"].as_u64().unwrap() > before && kept["dropped"] == 0, "{kept}");
}

/// Who was killed, and has another name since, is not owed what comes after that.
#[test]
fn who_is_gone_after_a_kill_is_owed_what_was_there() {
    let scene = Scene::new(5, "min_free_mib: 0");
    let directory = scene.directory();
    let (old, new) = ("prometheus_remote_write", "prometheus_remote_write/new");
    let mut daemon = begin(&scene, old);
    daemon.kill();
    let waits = rows(&directory)[old]["queued"].clone();
    let text = std::fs::read_to_string(scene.config()).unwrap();
    let text = text.replace("prometheus_remote_write:", &format!("{new}:"));
    std::fs::write(scene.config(), text).unwrap();
    let mut daemon = Daemon::start(&scene.config());
    until("the new one", || (rows(&directory).get(new)?["queued"].as_u64()? > 200).then_some(()));
    assert_eq!(
        (&rows(&directory)[old]["queued"], &rows(&directory)[old]["state"]),
        (&waits, &Value::from("orphan"))
    );
    // Whole it is given up, what was on its way included.
    let purged = queue(&directory, &["purge", "--exporter", old]);
    assert!(purged.starts_with(&format!("{waits} samples")), "{purged}");
    assert_eq!(rows(&directory)[old]["dropped"], waits);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

/// Who asks in the moment in which a daemon is killed is answered out of its files.
#[test]
fn who_asks_while_it_ends_is_answered() {
    let scene = Scene::new(5, "min_free_mib: 0");
    let directory = scene.directory();
    let name = "prometheus_remote_write";
    for _ in 0..5 {
        let mut daemon = begin(&scene, name);
        daemon.child.kill().unwrap();
        assert!(rows(&directory)[name]["queued"].as_u64().unwrap() > 100);
        daemon.child.wait().unwrap();
        assert_eq!(rows(&directory)[name]["state"], "stopped");
    }
}
