//! The spine, from a pinghosts file to a Prometheus that nobody here wrote.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use watchpost::wire::remote_write::STALE_NAN;

use crate::support::certificates::{Authority, pem_file};
use crate::support::daemon::{Daemon, Sink, write};
use crate::support::peers::{self, Peer};
use crate::support::servers::{Response, Server};
use crate::support::{free_port, get, parse_metrics, send_signal, skip, until, watchpost};

fn one(prometheus: &Peer, query: &str) -> Option<f64> {
    let found = prometheus.query(query);
    assert!(found.len() <= 1, "{query}: {found:?}");
    found.first().map(|(_, value)| *value)
}

#[test]
fn targets_of_every_kind_are_found_in_a_real_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let Some(prometheus) = peers::prometheus(folder.path(), free_port()) else {
        return skip(
            "targets_of_every_kind_are_found_in_a_real_prometheus",
            "prometheus is not installed",
        );
    };
    let web = Server::http(|_| Response::new(200, "welcome"));
    let silent = Server::tcp(|stream| {
        std::thread::sleep(Duration::from_secs(3));
        drop(stream);
    });
    let authority = Authority::new("home", 100);
    let expired = Server::tls(authority.leaf(&["127.0.0.1"], -30, -2).server(&[], &[]), |_| {});
    let ca = pem_file(&folder, "ca.pem", &authority.pem());
    let web_at = web.address;
    let refused = free_port();
    let file = format!(
        "- targets:  # url;humanname;routing;switch;module\n\
         \x20   - {web};web;internal\n\
         \x20   - http://127.0.0.1:{refused}/;refused;internal\n\
         \x20   - {silent};silent;lan\n\
         \x20   - http://nobody.invalid/;nobody;external\n\
         \x20   - https://{expired}/;expired;internal\n\
         \x20   - {web_at};port;internal;attic;tcp_connect\n\
         \x20   - one;two;three;four;five;six\n",
        web = web.url("/"),
        silent = silent.url("/"),
        expired = expired.address,
    );
    write(folder.path(), "pinghosts.yaml", &file);
    let config = format!(
        "receivers:\n  probe/services: {{interval: 1s, module: quick, target_files: [pinghosts.yaml], metrics: {{probe.latency: {{enabled: true}}}}}}\n\
         modules:\n  quick: {{prober: http, timeout: 800ms, http: {{preferred_ip_protocol: ip4, tls_config: {{ca_file: {}}}}}}}\n\
         exporters: {{prometheus_remote_write: {{endpoint: 'http://{}/api/v1/write'}}}}\n\
         http: {{listen: '127.0.0.1:0'}}\nvantage: here\n",
        ca.display(),
        prometheus.address
    );
    let config = write(folder.path(), "watchpost.yaml", &config);
    let mut daemon = Daemon::start(&config);

    // Every target, with its labels, and the reason of each that is down.
    until("all targets", || (prometheus.query("probe_success").len() == 6).then_some(()));
    for (name, expected) in [
        ("web", 1.0),
        ("refused", 0.0),
        ("silent", 0.0),
        ("nobody", 0.0),
        ("expired", 0.0),
        ("port", 1.0),
    ] {
        assert_eq!(
            one(&prometheus, &format!("probe_success{{humanname=\"{name}\"}}")),
            Some(expected),
            "{name}"
        );
    }
    let (labels, _) = prometheus.query("probe_success{humanname=\"web\"}").remove(0);
    assert_eq!(labels["job"], "services");
    assert_eq!(labels["instance"], web.url("/"));
    assert_eq!(labels["routing"], "internal");
    assert_eq!(labels["vantage"], "here");
    let port = prometheus.query("probe_success{humanname=\"port\"}").remove(0).0;
    assert_eq!(port["switching"], "attic");
    for (name, reason, phase) in [
        ("refused", "connection_refused", "connect"),
        ("silent", "read_timeout", "processing"),
        ("nobody", "dns_nxdomain", "resolve"),
        ("expired", "tls_expired", "tls"),
    ] {
        let query = format!(
            "probe_failures_total{{humanname=\"{name}\",reason=\"{reason}\",phase=\"{phase}\"}}"
        );
        until(&query, || one(&prometheus, &query).filter(|n| *n >= 1.0));
        let others = prometheus
            .query(&format!("probe_failures_total{{humanname=\"{name}\",reason!=\"{reason}\"}}"));
        assert!(others.is_empty(), "{others:?}");
    }
    until("a first failure that increase() sees", || {
        one(&prometheus, "increase(probe_failures_total{humanname=\"refused\"}[1m])")
            .filter(|n| *n >= 1.0)
    });
    assert!(
        one(&prometheus, "probe_ssl_earliest_cert_expiry{humanname=\"expired\"} < time()")
            .is_some()
    );
    assert!(
        one(&prometheus, "probe_http_duration_seconds{humanname=\"web\",phase=\"transfer\"}")
            .is_some()
    );
    // A native histogram: its median is what the probes took, some hundred microseconds to some 100 ms.
    let median = "histogram_quantile(0.5, probe_latency_seconds{humanname=\"web\"})";
    until(median, || one(&prometheus, median).filter(|m| (1e-5..1.0).contains(m)));
    assert!(one(&prometheus, "target_info{job=\"services\",server_port=\"80\"}").is_some());
    until("own metrics", || {
        one(&prometheus, "watchpost_targets{job=\"watchpost\",receiver=\"probe/services\"}")
    });
    assert!(daemon.log().contains("pinghosts.yaml:8: 6 fields"), "{}", daemon.log());

    // A server stops: the change is seen, and no phase of the old answer stays.
    drop(web);
    until("the change", || one(&prometheus, "probe_success{humanname=\"web\"} == 0"));
    until("no stale phase", || {
        let phases =
            prometheus.query("probe_http_duration_seconds{humanname=\"web\",phase!=\"resolve\"}");
        phases.is_empty().then_some(())
    });
    assert_eq!(one(&prometheus, "probe_http_status_code{humanname=\"web\"}"), Some(0.0));

    // The end: what was accepted is there.
    let attempts =
        || prometheus.query("sum(probe_attempts_total)").first().map_or(0.0, |(_, v)| *v);
    let before = attempts();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("stopped") && !log.contains("lost"), "{log}");
    assert!(attempts() >= before);
    assert!(prometheus.query("watchpost_slots_total{reason=\"unclassified\"}").is_empty());
}

/// What the daemon says that it sent is what the other side has, to the sample.
#[test]
fn nothing_accepted_is_lost_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    let targets: Vec<String> = (1..=40).map(|n| format!("'127.0.0.{n}:1;t{n}'")).collect();
    let config = format!(
        "receivers:\n  probe: {{interval: 1s, targets: [{}]}}\n{}",
        targets.join(", "),
        sink.exporters()
    );
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    until("samples", || (sink.count() > 2_000).then_some(()));
    let metrics = daemon.metrics();
    let result = |result: &str| {
        metrics[&format!(
            "watchpost_export_samples_total{{exporter=\"prometheus_remote_write\",pipeline=\"metrics\",result=\"{result}\"}}"
        )]
    };
    let queued = metrics["watchpost_queue_samples{exporter=\"prometheus_remote_write\",pipeline=\"metrics\"}"];
    // Read one after the other while it runs: the books are exact only when nothing moves.
    assert!((result("accepted") - result("sent") - queued).abs() <= 2_000.0, "{metrics:?}");
    assert_eq!(daemon.stop(), 0);
    // Every slot that was run has its sample, on the grid of seconds, up to the end; only a machine
    // that stood still may have left one out, and that has then been counted as skipped.
    let values = |n: u32| -> Vec<(f64, i64)> {
        let all = sink.of(&format!("probe_success{{humanname=\"t{n}\""));
        all.into_iter().filter(|(value, _)| !value.is_nan()).collect()
    };
    let times: Vec<i64> = values(7).iter().map(|(_, t)| *t).collect();
    let on_grid = |pair: &[i64]| pair[1] - pair[0] >= 999 && (pair[1] - pair[0] + 1) % 1_000 <= 2;
    assert!(times.windows(2).all(on_grid), "{times:?}");
    let attempts: f64 = (1..=40)
        .map(|n| sink.of(&format!("probe_attempts_total{{humanname=\"t{n}\",instance=\"127.0.0.{n}:1\",job=\"probe\",kind=\"scheduled\"")).last().map_or(0.0, |(v, _)| *v))
        .sum();
    let successes = (1..=40).map(|n| values(n).len() as f64).sum::<f64>();
    assert_eq!(attempts, successes, "each attempt that was counted has its sample");
}

#[test]
fn a_backend_that_is_down_delays_nothing_and_gets_everything_later() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    *sink.answer.lock().unwrap() = 503;
    let retry = ", retry_on_failure: {initial_interval: 100ms, max_interval: 200ms}}}\nhttp";
    let exporters = sink.exporters().replace("}}\nhttp", retry);
    let config =
        format!("receivers:\n  probe: {{interval: 1s, targets: ['127.0.0.1:1;t']}}\n{exporters}");
    let daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    let retried = "watchpost_export_requests_total{exporter=\"prometheus_remote_write\",pipeline=\"metrics\",result=\"retried\"}";
    until("retries", || daemon.metrics().get(retried).copied().filter(|n| *n >= 3.0));
    let slots = "watchpost_slots_total{outcome=\"failed\",reason=\"connection_refused\",receiver=\"probe\"}";
    until("probes that go on", || daemon.metrics().get(slots).copied().filter(|n| *n >= 4.0));
    assert!(
        daemon.metrics()["watchpost_queue_samples{exporter=\"prometheus_remote_write\",pipeline=\"metrics\"}"]
            > 0.0
    );
    assert_eq!(
        daemon.log().matches("sending failed").count(),
        1,
        "one line a minute\n{}",
        daemon.log()
    );
    *sink.answer.lock().unwrap() = 204;
    until("what had waited", || (sink.of("probe_success").len() >= 4).then_some(()));
    assert!(sink.of("probe_success").is_sorted_by(|a, b| a.1 <= b.1));
    until("the good news", || daemon.log().contains("sending works again").then_some(()));
}

#[test]
fn what_is_lost_at_the_end_is_said_and_the_end_is_not_late() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "receivers:\n  probe: {{interval: 1s, targets: ['127.0.0.1:1;t']}}\n\
         exporters: {{prometheus_remote_write: {{endpoint: 'http://127.0.0.1:{}/'}}}}\nhttp: {{listen: '127.0.0.1:0'}}\n",
        free_port()
    );
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    until("something to lose", || {
        daemon
            .metrics()
            .get("watchpost_queue_samples{exporter=\"prometheus_remote_write\",pipeline=\"metrics\"}")
            .copied()
            .filter(|n| *n > 10.0)
    });
    let begin = std::time::Instant::now();
    assert_eq!(daemon.stop(), 0, "a backend that is away is no fault of ours");
    assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());
    let log = until("the last line", || Some(daemon.log()).filter(|log| log.contains("stopped")));
    assert!(log.contains("lost: the backend did not take them"), "{log}");
}

#[test]
fn target_files_are_taken_over_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    let config = format!(
        "receivers:\n  probe/x: {{interval: 1s, target_files: [t.yaml]}}\n{}",
        sink.exporters()
            .replace("}}\nhttp", ", sending_queue: {batch: {flush_timeout: 100ms}}}}\nhttp")
    );
    write(
        folder.path(),
        "t.yaml",
        "- targets: ['127.0.0.1:1;stays', '127.0.0.2:1;goes', '127.0.0.3:1;old name']\n",
    );
    let daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    for name in ["stays", "goes", "old name"] {
        until(name, || {
            (sink.of(&format!("probe_success{{humanname=\"{name}\"")).len() >= 2).then_some(())
        });
    }
    write(
        folder.path(),
        "t.yaml",
        "- targets: ['127.0.0.1:1;stays', '127.0.0.3:1;new name', '127.0.0.4:1;comes']\n",
    );
    until("the new target", || {
        (!sink.of("probe_success{humanname=\"comes\"").is_empty()).then_some(())
    });
    until("the new name", || {
        (!sink.of("probe_success{humanname=\"new name\"").is_empty()).then_some(())
    });

    // What is gone has ended, each series with one stale marker, and nothing comes after it.
    let stale =
        |series: &str| sink.of(series).last().is_some_and(|(v, _)| v.to_bits() == STALE_NAN);
    for series in [
        "probe_success{humanname=\"goes\"",
        "probe_target_info{humanname=\"goes\"",
        "probe_success{humanname=\"old name\"",
    ] {
        until(series, || stale(series).then_some(()));
        let ended = sink.of(series);
        let twice = ended.windows(2).any(|pair| pair.iter().all(|(v, _)| v.to_bits() == STALE_NAN));
        assert!(!twice, "{series}: {ended:?}");
    }
    // Counters live on under the new name; the phase does not move.
    let attempts = sink.of("probe_attempts_total{humanname=\"new name\",instance=\"127.0.0.3:1\",job=\"x\",kind=\"scheduled\"");
    assert!(attempts[0].0 >= 3.0, "{attempts:?}");
    let phase = |series: &str| {
        sink.of(series)
            .iter()
            .filter(|(v, _)| !v.is_nan())
            .map(|(_, t)| t % 1000)
            .collect::<Vec<_>>()
    };
    let times = [
        phase("probe_success{humanname=\"old name\""),
        phase("probe_success{humanname=\"new name\""),
        phase("probe_success{humanname=\"stays\""),
    ];
    assert!((times[0][0] - times[1][0]).abs() <= 1, "{times:?}");
    assert!(times[2].iter().all(|t| (t - times[2][0]).abs() <= 1), "{times:?}");

    // A broken file changes nothing, and is said; SIGHUP reads again.
    write(folder.path(), "t.yaml", "- targets: ['127.0.0.9:1\n");
    until("the complaint", || daemon.log().contains("its last 3 targets stay").then_some(()));
    assert_eq!(daemon.metrics()["watchpost_target_file_problems"], 1.0);
    assert_eq!(daemon.metrics()["watchpost_targets{receiver=\"probe/x\"}"], 3.0);
    std::fs::remove_file(folder.path().join("t.yaml")).unwrap();
    daemon.signal("-HUP");
    until("the second complaint", || {
        daemon.log().contains("no such file; its last 3 targets stay").then_some(())
    });
    write(folder.path(), "t.yaml", "[]\n");
    until("an empty list", || {
        (daemon.metrics()["watchpost_targets{receiver=\"probe/x\"}"] == 0.0).then_some(())
    });
    assert_eq!(daemon.metrics()["watchpost_target_file_problems"], 0.0);

    // slots due = Σ outcomes, once nothing is in flight.
    let metrics = daemon.metrics();
    let ended: f64 = metrics
        .iter()
        .filter(|(k, _)| k.starts_with("watchpost_slots_total"))
        .map(|(_, v)| v)
        .sum();
    assert_eq!(metrics["watchpost_slots_due_total{receiver=\"probe/x\"}"], ended, "{metrics:?}");
}

#[test]
fn a_stopped_process_counts_what_it_missed() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    let config = format!(
        "receivers:\n  probe: {{interval: 1s, targets: ['127.0.0.1:1;t']}}\n{}",
        sink.exporters()
    );
    let daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    until("a first slot", || (!sink.of("probe_success").is_empty()).then_some(()));
    daemon.signal("-STOP");
    std::thread::sleep(Duration::from_secs(4));
    daemon.signal("-CONT");
    let skipped =
        "watchpost_slots_total{outcome=\"skipped\",reason=\"suspended\",receiver=\"probe\"}";
    // A busy machine may have skipped one before, and counts the others one after another.
    let count = || daemon.metrics().get(skipped).copied().filter(|missed| *missed >= 3.0);
    let missed = until("the missed slots", count);
    assert!(missed <= 8.0, "{missed}");
    until("a stale marker: time not watched is never up", || {
        sink.of("probe_success").iter().any(|(v, _)| v.to_bits() == STALE_NAN).then_some(())
    });
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // A backend that takes the connection and never answers keeps the drain busy.
    let deaf = Server::tcp(|stream| {
        std::thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let config = format!(
        "receivers:\n  probe: {{interval: 1s, targets: ['127.0.0.1:1;t']}}\n\
         exporters: {{prometheus_remote_write: {{endpoint: '{}', timeout: 30s}}}}\nhttp: {{listen: '127.0.0.1:0'}}\n",
        deaf.url("/")
    );
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    until("a request", || {
        (deaf.connections.load(std::sync::atomic::Ordering::SeqCst) > 0).then_some(())
    });
    daemon.signal("-TERM");
    until("the drain", || daemon.log().contains("stopping").then_some(()));
    daemon.signal("-INT");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
}

#[test]
fn systemd_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let socket = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let config = write(
        folder.path(),
        "w.yaml",
        "receivers: {probe: {targets: ['127.0.0.1:1']}}\nhttp: {listen: '127.0.0.1:0'}\n",
    );
    let mut child = watchpost()
        .args(["--config", config.to_str().unwrap(), "--log-level", "error"])
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .env("WATCHDOG_USEC", "400000")
        .spawn()
        .unwrap();
    let heard = |wanted: &str| {
        let mut buffer = [0; 4096];
        for _ in 0..50 {
            let length = socket.recv(&mut buffer).unwrap();
            if String::from_utf8_lossy(&buffer[..length]).contains(wanted) {
                return;
            }
        }
        panic!("{wanted} was never said");
    };
    heard("READY=1");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    send_signal(child.id(), "-TERM");
    heard("STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_page_is_well_and_survives_nonsense() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(
        folder.path(),
        "w.yaml",
        "receivers: {probe: {targets: ['127.0.0.1:1']}}\nhttp: {listen: '127.0.0.1:0'}\n",
    );
    let daemon = Daemon::start(&config);
    for (path, status) in
        [("/-/healthy", 200), ("/-/ready", 200), ("/metrics", 200), ("/", 200), ("/nothing", 404)]
    {
        assert_eq!(get(daemon.page, path).unwrap().0, status, "{path}");
    }
    for nonsense in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: -1\r\n\r\n",
    ] {
        let mut stream = std::net::TcpStream::connect(daemon.page).unwrap();
        let _ = stream.write_all(nonsense);
    }
    assert_eq!(get(daemon.page, "/-/healthy").unwrap().0, 200);
}

/// Found by a reviewer: with a timeout as long as the interval, as it is by default up to 10 s, the
/// next slot came before the attempt had ended.
#[test]
fn a_silent_target_is_down_also_when_the_timeout_is_the_interval() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    let silent = Server::tcp(|mut stream| drop(std::io::Read::read(&mut stream, &mut [0; 1])));
    let mute = Server::tcp(|stream| {
        std::thread::sleep(Duration::from_secs(10));
        drop(stream);
    });
    let config = format!(
        "receivers:\n  probe: {{interval: 1s, targets: ['{};silent', '{};deaf']}}\n{}",
        silent.url("/"),
        mute.url("/"),
        sink.exporters()
    );
    let daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    let deaf = || sink.of("probe_success{humanname=\"deaf\"");
    until("zeros", || (deaf().iter().filter(|(v, _)| *v == 0.0).count() >= 3).then_some(()));
    assert!(deaf().iter().all(|(value, _)| *value == 0.0 || value.is_nan()), "{:?}", deaf());
    let metrics = daemon.metrics();
    let timeouts =
        "watchpost_slots_total{outcome=\"failed\",reason=\"read_timeout\",receiver=\"probe\"}";
    assert!(metrics[timeouts] >= 3.0, "{metrics:?}");
}

/// Found by a reviewer: a credential file that blocks, and a reader of the log that does not read,
/// each stopped all probing.
#[test]
fn nothing_that_blocks_stops_probing_or_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let web = Server::http(|_| Response::new(200, ""));
    let port = free_port();
    let config = format!(
        "receivers:\n  probe/pipe: {{interval: 1s, module: secret, targets: ['{web}']}}\n\
         \x20 probe/well: {{interval: 1s, module: http_2xx, targets: ['{web}']}}\n\
         modules: {{secret: {{prober: http, http: {{basic_auth: {{username: a, password_file: pipe}}}}}}}}\n\
         http: {{listen: '127.0.0.1:{port}'}}\n",
        web = web.url("/")
    );
    let config = write(folder.path(), "w.yaml", &config);
    // Nobody reads what it logs, and it logs a lot.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = watchpost()
        .args(["--config", config.to_str().unwrap(), "--log-level", "trace"])
        .stderr(writer)
        .spawn()
        .unwrap();
    let page: SocketAddr = ([127, 0, 0, 1], port).into();
    let ok = "watchpost_slots_total{outcome=\"ok\",receiver=\"probe/well\"}";
    let skipped = "watchpost_slots_total{outcome=\"skipped\",reason=\"no_credentials\",receiver=\"probe/pipe\"}";
    for (series, count) in [(ok, 6.0), (skipped, 3.0)] {
        until(series, || {
            let metrics = parse_metrics(&get(page, "/metrics")?.1);
            metrics.get(series).copied().filter(|n| *n >= count)
        });
    }
    assert_eq!(get(page, "/-/healthy").unwrap().0, 200);
    send_signal(child.id(), "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(reader);
}

#[test]
fn a_file_in_a_folder_that_comes_later_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let config = "receivers: {probe: {interval: 1s, target_files: [one/two/t.yaml]}}\nhttp: {listen: '127.0.0.1:0'}\n";
    let daemon = Daemon::start(&write(folder.path(), "w.yaml", config));
    assert!(daemon.log().contains("one/two/t.yaml: no such file"), "{}", daemon.log());
    std::fs::create_dir_all(folder.path().join("one/two")).unwrap();
    write(&folder.path().join("one/two"), "t.yaml", "- targets: ['127.0.0.1:1']\n");
    let count = "watchpost_targets{receiver=\"probe\"}";
    until("its target", || daemon.metrics().get(count).copied().filter(|n| *n == 1.0));
}

/// Passwords in addresses are nobody's business: not in the log, not in the metrics.
#[test]
fn secrets_stay_secret() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    let targets = "'http://user:S3CRET@127.0.0.1:1/;a', 'user:S3CRET@127.0.0.1:1/x;b;;;http_2xx', \
         'http://user:S3CRET@127.0.0.1:1/;again', 'http://u:S3CRET/x@127.0.0.1:1', 'a:S3CRET@b;c;d;e;f;g', 'u:S3CRET@h;x;;;icmp'";
    write(folder.path(), "t.yaml", &format!("- targets: [{targets}]\n"));
    let config = format!(
        "receivers: {{probe: {{interval: 1s, target_files: [t.yaml]}}}}\n{}",
        sink.exporters()
    );
    let config = write(folder.path(), "w.yaml", &config);
    let daemon = Daemon::start(&config);
    until("two targets", || (sink.of("probe_success{humanname=\"b\"").len() >= 2).then_some(()));
    until("both are down", || (daemon.log().matches("target is down").count() >= 2).then_some(()));
    let output = watchpost()
        .args(["check", "--print", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    let check = String::from_utf8(output.stdout).unwrap();
    let sent = format!("{:?}", sink.samples.lock().unwrap());
    for (what, text) in [("log", daemon.log()), ("check", check), ("samples", sent)] {
        assert!(!text.contains("S3CRET"), "{what}: {text}");
        assert!(text.contains("127.0.0.1:1"), "{what}: {text}");
    }
}
