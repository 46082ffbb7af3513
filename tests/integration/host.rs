//! The metrics of the host: beside node_exporter's, through a real user's pipeline, while a mount
//! hangs, when the configuration changes, and when something cannot be read.

mod node_exporter;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use watchpost::wire::remote_write::STALE_NAN;

use crate::support::daemon::{Daemon, Sink, write};
use crate::support::hung::{beside_hung, can_hang, child_of};
use crate::support::{free_port, peers, send_signal, skip, until};

/// A remote-write exporter to this sink that does not wait, a free page, no metrics of our own.
fn sends_to(sink: &Sink) -> String {
    format!(
        "exporters: {{prometheus_remote_write: {{endpoint: '{}', sending_queue: {{batch: {{flush_timeout: 100ms}}}}}}}}\n\
         http: {{listen: '127.0.0.1:0'}}\nservice: {{telemetry: {{metrics: {{level: none}}}}}}\n",
        sink.server.url("/api/v1/write")
    )
}

/// The first seed, sending to this port: nothing else in it is changed but how long one must wait,
/// and the name of the interface.
fn first_seed(text: &str, port: u16) -> String {
    let line = |line: &str| match line.split_once("endpoint: ") {
        Some((indent, _)) => format!("{indent}endpoint: http://127.0.0.1:{port}/api/v1/write\n"),
        None => format!("{line}\n"),
    };
    let text: String = text.lines().map(line).collect();
    let text =
        text.replace("60m", "1s").replace("collection_interval: 1m", "collection_interval: 1s");
    let text = text.replace("end0", "lo");
    assert_eq!(text.matches("collection_interval: 1s").count(), 2, "{text}");
    assert_eq!(text.matches("://").count(), 1, "it speaks to nobody else: {text}");
    text
}

/// A series as Prometheus tells it: its name and its labels, sorted.
fn series(metric: &Value) -> String {
    let labels = metric.as_object().unwrap().iter().filter(|(name, _)| *name != "__name__");
    let labels: BTreeSet<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
    let labels: Vec<String> = labels.into_iter().collect();
    format!("{}{{{}}}", metric["__name__"].as_str().unwrap(), labels.join(","))
}

/// Mount points of disks, the shortest of each, with device, type, and whether it is read-only.
fn disks() -> Vec<(String, String, String, bool)> {
    let read = |path| std::fs::read_to_string(path);
    let text = read("/proc/1/mounts").or_else(|_| read("/proc/self/mounts")).unwrap();
    let mut found: Vec<(String, String, String, bool)> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (device, path, kind) = (words[0], words[1], words[2]);
        if !device.starts_with("/dev/") || matches!(kind, "squashfs" | "erofs" | "iso9660") {
            continue;
        }
        let mount =
            (path.to_owned(), device.to_owned(), kind.to_owned(), words[3].starts_with("ro"));
        match found.iter_mut().find(|(_, have, ..)| have == device) {
            Some(have) if have.0.len() > path.len() => *have = mount,
            Some(_) => {}
            None => found.push(mount),
        }
    }
    found
}

/// All that the first seed lets through on this machine.
fn expected() -> BTreeSet<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = format!("host_name=\"{}\"", host.trim());
    let mut expected = BTreeSet::new();
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    for line in stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")) {
        let cpu = line.split(' ').next().unwrap();
        for state in ["user", "system", "idle", "wait"] {
            expected.insert(format!(
                "system_cpu_utilization_ratio{{cpu=\"{cpu}\",{host},state=\"{state}\"}}"
            ));
        }
    }
    let states = ["used", "free", "buffered", "cached", "slab_reclaimable", "slab_unreclaimable"];
    for state in states {
        expected.insert(format!("system_memory_utilization_ratio{{{host},state=\"{state}\"}}"));
    }
    for direction in ["receive", "transmit"] {
        expected.insert(format!(
            "system_network_io_bytes_total{{device=\"lo\",direction=\"{direction}\",{host}}}"
        ));
    }
    for state in ["ESTABLISHED", "LISTEN"] {
        expected.insert(format!(
            "system_network_connections{{{host},protocol=\"tcp\",state=\"{state}\"}}"
        ));
    }
    for (path, device, kind, readonly) in disks() {
        let mode = if readonly { "ro" } else { "rw" };
        expected.insert(format!(
            "system_filesystem_utilization_ratio{{device=\"{device}\",{host},mode=\"{mode}\",mountpoint=\"{path}\",type=\"{kind}\"}}"
        ));
    }
    expected
}

#[test]
fn the_first_seed_against_prometheus() {
    let mut texts = vec![include_str!("../cases/first_seed.yaml").to_owned()];
    if let Some(inputs) = std::env::var_os("WATCHPOST_INPUTS") {
        let path = Path::new(&inputs).join("otel/first-seed/config.yaml");
        texts.push(std::fs::read_to_string(path).unwrap());
    }
    for text in texts {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let Some(prometheus) = peers::prometheus(folder.path(), port) else {
            return skip("the_first_seed_against_prometheus", "prometheus is not installed");
        };
        let path = write(folder.path(), "w.yaml", &first_seed(&text, port));
        let mut daemon = Daemon::start_with(&path, |command| {
            command.args(["--set", "http.listen=127.0.0.1:0"]);
            for variable in ["ORG", "TOKEN", "OPEN_OBSERVE_ORG", "OPEN_OBSERVE_TOKEN"] {
                command.env(variable, "home");
            }
        });
        let all = || -> BTreeSet<String> {
            let found = prometheus.query("{__name__!=\"\"}");
            let found = found.iter().map(|(metric, _)| series(metric));
            let own = |series: &String| {
                ["watchpost_", "process_", "target_info"].iter().any(|own| series.starts_with(own))
            };
            found.filter(|series| !own(series)).collect()
        };
        // The last ones to come: one needs two readings, the other is read by a thread of its own.
        let late = ["system_cpu_utilization", "system_filesystem_utilization"];
        until("all metrics", || {
            let all = all();
            let has = |late: &&str| all.iter().any(|series| series.starts_with(late));
            (late.iter().all(has) || (disks().is_empty() && has(&late[0]))).then_some(())
        });
        assert_eq!(all(), expected());
        // Values that make sense.
        let sum = prometheus.query("sum(system_memory_utilization_ratio{state!~\"slab.*\"})")[0].1;
        assert!((sum - 1.0).abs() < 0.05, "{sum}");
        let listening = prometheus.query("system_network_connections{state=\"LISTEN\"}")[0].1;
        assert!(listening >= 2.0, "{listening}");
        for (series, value) in prometheus.query("{__name__=~\"system_.*_ratio\"}") {
            assert!((0.0..=1.0).contains(&value), "{series} {value}");
        }
        assert_eq!(daemon.stop(), 0);
    }
}

#[test]
fn a_mount_that_hangs_delays_nothing() {
    let name = "a_mount_that_hangs_delays_nothing";
    let folder = tempfile::tempdir().unwrap();
    let hung = folder.path().join("hung");
    std::fs::create_dir(&hung).unwrap();
    let hung = hung.to_str().unwrap();
    if let Err(why) = can_hang(hung) {
        return skip(name, &why);
    }
    let sink = Sink::new();
    let config = format!(
        "receivers: {{hostmetrics: {{collection_interval: 1s, initial_delay: 0s, scrapers: \
           {{cpu: , memory: , filesystem: {{include_virtual_filesystems: true}}, linux: }}}}}}\n{}",
        sends_to(&sink).replace("level: none", "level: normal")
    );
    let path = write(folder.path(), "w.yaml", &config);
    let mut daemon = Daemon::start_with(&path, |command| beside_hung(hung, command));
    let of = |name: &str, part: &str| -> Vec<(f64, i64)> {
        let samples = sink.samples.lock().unwrap();
        let fits = |series: &str| series.starts_with(name) && series.contains(part);
        let fitting = samples.iter().filter(|(series, ..)| fits(series));
        fitting.map(|(_, value, time)| (*value, *time)).collect()
    };
    let mount_point = format!("mountpoint=\"{hung}\"");
    let error = || of("system_filesystem_linux_error{", &mount_point);
    until("the mount that hangs", || (!error().is_empty()).then_some(()));
    until("readings of both", || {
        let cpu = of("system_cpu_time_seconds_total{cpu=\"cpu0\"", "state=\"idle\"").len();
        let memory = of("system_memory_usage_bytes{", "state=\"free\"").len();
        (cpu >= 8 && memory >= 8 && error().len() >= 3).then_some(())
    });
    // Nobody waited for it: these are read every second, from the first one on, in no time.
    for (series, state) in [
        ("system_cpu_time_seconds_total{cpu=\"cpu0\"", "state=\"idle\""),
        ("system_memory_usage_bytes{", "state=\"free\""),
    ] {
        let times: Vec<i64> = of(series, state).iter().map(|(_, time)| *time).collect();
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        assert!((900..=1100).contains(&gaps[gaps.len() / 2]), "{series}: {times:?}");
    }
    let metrics = daemon.metrics();
    for scraper in ["cpu", "memory"] {
        let series = format!(
            "watchpost_scraper_duration_seconds{{receiver=\"hostmetrics\",scraper=\"{scraper}\"}}"
        );
        assert!(metrics[&series] < 1.0, "{series} {}", metrics[&series]);
    }
    // Other mounts are read, and of this one it is said why not.
    assert!(of("system_filesystem_usage_bytes{", "mountpoint=\"/\"").len() >= 3);
    assert!(of("system_filesystem_usage_bytes{", &mount_point).is_empty());
    let timeout = of(
        "system_filesystem_linux_error{",
        &format!("error_type=\"timeout\",{},{mount_point},type=\"fuse\"", this_machine()),
    );
    assert_eq!(timeout.len(), error().len(), "{timeout:?}");
    assert!(timeout.iter().all(|(value, _)| *value == 1.0), "{timeout:?}");
    let told = format!("{hung}: ");
    assert_eq!(daemon.log().matches(&told).count(), 1, "{}", daemon.log());
    // Nor does the end wait.
    let process = child_of(daemon.child.id()).unwrap();
    let begin = Instant::now();
    send_signal(process, "-TERM");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0), "{}", daemon.log());
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert!(!Path::new(&format!("/proc/{process}")).exists(), "it hangs in the kernel");
}

/// The labels of host metrics where no pipeline is written: they say which machine they are of.
fn this_machine() -> String {
    format!("instance=\"{}\",job=\"host_metrics\"", watchpost::host::kernel::host_name())
}

/// Values of a series, and whether it has ended.
fn life(sink: &Sink, series: &str) -> (usize, bool) {
    let samples = sink.of(series);
    let ended = samples.last().is_some_and(|(value, _)| value.to_bits() == STALE_NAN);
    (samples.iter().filter(|(value, _)| !value.is_nan()).count(), ended)
}

#[test]
fn hostmetrics_are_taken_over_by_reloads() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    let text = |first: &str| {
        format!(
            "receivers:\n  hostmetrics: {{collection_interval: 1s, initial_delay: 0s, scrapers: {{{first}}}}}\n\
             \x20 hostmetrics/other: {{collection_interval: 1s, initial_delay: 0s, scrapers: {{paging: }}}}\n{}",
            sends_to(&sink)
        )
    };
    let path = write(folder.path(), "w.yaml", &text("load: , memory: "));
    let mut daemon = Daemon::start(&path);
    let memory = format!("system_memory_usage_bytes{{{},state=\"free\"", this_machine());
    let paging = format!("system_paging_faults_total{{{},type=\"major\"", this_machine());
    let (load, memory) = ("system_cpu_load_average_1m{", memory.as_str());
    let (cpu, paging) = ("system_cpu_time_seconds_total{", paging.as_str());
    let go_on = |series: &[&str]| {
        let before: Vec<usize> = series.iter().map(|series| life(&sink, series).0).collect();
        until("readings that go on", || {
            let mut both = series.iter().zip(&before);
            let goes_on = |(series, before): (&&str, &usize)| {
                let (count, ended) = life(&sink, series);
                count >= before + 2 && !ended
            };
            both.all(goes_on).then_some(())
        });
    };
    go_on(&[load, memory, paging]);

    // A scraper goes, another one comes.
    write(folder.path(), "w.yaml", &text("memory: , cpu: "));
    daemon.signal("-HUP");
    until("the end of the load", || life(&sink, load).1.then_some(()));
    let ended = life(&sink, load);
    go_on(&[cpu, memory, paging]);
    assert_eq!(life(&sink, load), ended, "nothing comes any more");
    let times: Vec<i64> = sink.of(memory).iter().map(|(_, time)| *time).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "the end and what follows are apart: {times:?}");

    // What is wrong changes nothing.
    for (wrong, complaint) in [
        ("memory: , gpu: ", "gpu"),
        ("memory: {metrics: {system.memory.usagee: }}", "system.memory.usage?"),
    ] {
        write(folder.path(), "w.yaml", &text(wrong));
        daemon.signal("-HUP");
        until(complaint, || daemon.log().contains(complaint).then_some(()));
        go_on(&[cpu, memory, paging]);
    }

    // A receiver that goes ends what it told, and only that; the other one never ended.
    let only = text("memory: , cpu: ");
    let (head, tail) = only.split_once("  hostmetrics/other").unwrap();
    let tail = tail.split_once('\n').unwrap().1;
    write(folder.path(), "w.yaml", &format!("{head}{tail}"));
    let stale = |series| sink.of(series).iter().filter(|(v, _)| v.to_bits() == STALE_NAN).count();
    assert_eq!(stale(paging), 0);
    daemon.signal("-HUP");
    until("the end of a receiver", || life(&sink, paging).1.then_some(()));
    go_on(&[cpu, memory]);
    assert_eq!(stale(paging), 1);
    assert_eq!(daemon.stop(), 0);
}

/// Lays a made-up host out, without one of its files. The format is told in `cases/host/README.md`.
fn lay_out(tree: &str, root: &Path, without: &str) {
    for entry in tree.split("\n@ ").skip(1) {
        let (path, content) = entry.split_once('\n').unwrap_or((entry, ""));
        assert!(
            !content.contains("\\x") && !path.contains('\\'),
            "{path}: a tree without raw bytes"
        );
        if path == without {
            continue;
        }
        let (path, target) = path.split_once(" -> ").map_or((path, None), |(p, t)| (p, Some(t)));
        let full = root.join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        match target {
            Some(target) => std::os::unix::fs::symlink(target, full).unwrap(),
            None if path.ends_with('/') => std::fs::create_dir_all(full).unwrap(),
            None => std::fs::write(full, format!("{content}\n")).unwrap(),
        }
    }
}

#[test]
fn what_cannot_be_read_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("host");
    lay_out(include_str!("../cases/host/rpi5.tree"), &root, "proc/stat");
    let config = format!(
        "receivers: {{hostmetrics: {{collection_interval: 1s, initial_delay: 0s, root_path: '{}', scrapers: {{cpu: , memory: , load: , thermal: }}}}}}\n\
         exporters: {{prometheus: {{}}}}\nhttp: {{listen: '127.0.0.1:0'}}\n",
        root.display()
    );
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    let errors = "watchpost_scraper_errors_total{error_type=\"ENOENT\",receiver=\"hostmetrics\",scraper=\"cpu\"}";
    until("several attempts", || {
        daemon.metrics().get(errors).copied().filter(|count| *count >= 3.0)
    });
    let log = daemon.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("/proc/stat")).collect();
    assert_eq!(said.len(), 1, "{log}");
    for part in ["WARN", "No such file", "scraper=\"cpu\"", "mount /proc"] {
        assert!(said[0].contains(part), "{part}: {}", said[0]);
    }
    // Everything else is read.
    let page = crate::support::get(daemon.page, "/metrics/prometheus").unwrap().1;
    let own = this_machine();
    for series in [
        format!("system_memory_usage_bytes{{{own},state=\"buffered\"}} 49152000"),
        format!("system_cpu_load_average_1m{{{own}}} 0.08"),
        "hw_fan_speed_rpm{".to_owned(),
    ] {
        assert!(page.contains(&series), "{series}: {page}");
    }
    assert!(!page.contains("system_cpu_time_seconds_total"), "{page}");
    let metrics = daemon.metrics();
    let others =
        metrics.keys().filter(|series| series.starts_with("watchpost_scraper_errors_total"));
    assert_eq!(others.count(), 1, "{metrics:?}");
    for scraper in ["memory", "load", "thermal"] {
        let success = format!(
            "watchpost_scraper_last_success_timestamp_seconds{{receiver=\"hostmetrics\",scraper=\"{scraper}\"}}"
        );
        assert!(metrics[&success] > 0.0, "{success}");
    }
    assert_eq!(daemon.stop(), 0);
}
