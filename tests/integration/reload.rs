//! The whole configuration changes while the daemon runs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use watchpost::wire::remote_write::STALE_NAN;

use crate::support::daemon::{Daemon, Sink, write};
use crate::support::{free_port, get, until};

/// A POST with these headers: status and body.
fn post(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "POST {path} HTTP/1.0\r\nHost: {address}\r\n{headers}Content-Length: 0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A configuration with one receiver; `rest` comes behind it.
fn config(port: u16, sink: &Sink, exporter: &str, rest: &str) -> String {
    format!(
        "receivers: {{probe/x: {{interval: 1s, timeout: 500ms, metrics: {{}}, targets: ['127.0.0.1:{port};One', '127.0.0.2:{port};Two']}}}}\n\
         exporters: {{prometheus_remote_write: {{endpoint: '{}', sending_queue: {{batch: {{flush_timeout: 100ms}}}}, retry_on_failure: {{initial_interval: 100ms, max_interval: 200ms}}{exporter}}}}}\n\
         http: {{listen: '127.0.0.1:0'}}\n{rest}",
        sink.server.url("/api/v1/write"),
    )
}

/// Values of a series until it ended, and whether it has.
fn life(sink: &Sink, series: &str) -> (usize, bool) {
    let samples = sink.of(series);
    let ended = samples.last().is_some_and(|(value, _)| value.to_bits() == STALE_NAN);
    (samples.iter().filter(|(value, _)| !value.is_nan()).count(), ended)
}

const ONE: &str = "probe_success{humanname=\"One\",instance";

#[test]
fn a_series_that_changes_its_name_ends_under_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, port) = (Sink::new(), free_port());
    let path = write(folder.path(), "w.yaml", &config(port, &sink, "", ""));
    let mut daemon = Daemon::start(&path);
    until("samples", || (life(&sink, ONE).0 >= 2).then_some(()));

    // A processor: SIGHUP.
    let resource = "processors: {attributes: {actions: [{key: zone, action: upsert, value: a}]}}\n";
    write(folder.path(), "w.yaml", &config(port, &sink, "", resource));
    daemon.signal("-HUP");
    let zoned = "probe_success{humanname=\"One\",instance=\"127.0.0.1:";
    let zone = |part: &str| -> Vec<(f64, i64)> {
        let all = sink.samples.lock().unwrap();
        let of = |s: &&(String, f64, i64)| s.0.starts_with(zoned) && s.0.contains(part);
        all.iter().filter(of).map(|(_, value, time)| (*value, *time)).collect()
    };
    until("samples with a zone", || (zone("zone=\"a\"").len() >= 2).then_some(()));
    let plain: Vec<(f64, i64)> = sink
        .of(&format!("probe_success{{humanname=\"One\",instance=\"127.0.0.1:{port}\",job=\"x\"}}"));
    let stale = plain.iter().filter(|(value, _)| value.to_bits() == STALE_NAN).count();
    assert_eq!(stale, 1, "{plain:?}");
    assert!(plain.last().unwrap().0.to_bits() == STALE_NAN, "nothing follows the end");
    assert!(
        plain.last().unwrap().1 <= zone("zone=\"a\"")[1].1,
        "the end comes before what follows"
    );

    // The exporter's labels: the file watch.
    let labels = ", external_labels: {site: home}";
    write(folder.path(), "w.yaml", &config(port, &sink, labels, resource));
    until("samples with a site", || (zone("site=\"home\"").len() >= 2).then_some(()));
    let without: Vec<(f64, i64)> = {
        let all = sink.samples.lock().unwrap();
        let of = |s: &&(String, f64, i64)| {
            s.0.starts_with(zoned) && s.0.contains("zone") && !s.0.contains("site")
        };
        all.iter().filter(of).map(|(_, value, time)| (*value, *time)).collect()
    };
    assert_eq!(without.last().unwrap().0.to_bits(), STALE_NAN, "{without:?}");

    // Back to what it was, by POST; nothing has lost its phase or its counters.
    write(folder.path(), "w.yaml", &config(port, &sink, "", ""));
    assert_eq!(post(daemon.page, "/-/reload", "").0, 200);
    let before = plain.len();
    let series =
        format!("probe_success{{humanname=\"One\",instance=\"127.0.0.1:{port}\",job=\"x\"}}");
    until("the old name again", || (sink.of(&series).len() > before).then_some(()));
    let attempts = sink.of(&format!("probe_attempts_total{{humanname=\"One\",instance=\"127.0.0.1:{port}\",job=\"x\",kind=\"scheduled\"}}"));
    let numbers: Vec<f64> = attempts.iter().map(|(v, _)| *v).filter(|v| !v.is_nan()).collect();
    assert!(numbers.is_sorted() && numbers[0] == 1.0, "{numbers:?}");
    let phases: Vec<i64> =
        sink.of(ONE).iter().filter(|(v, _)| !v.is_nan()).map(|(_, t)| t % 1000).collect();
    assert!(phases.iter().all(|phase| (phase - phases[0]).abs() <= 1), "{phases:?}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_wrong_configuration_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, port) = (Sink::new(), free_port());
    let good = config(port, &sink, "", "");
    write(folder.path(), "w.yaml", &good);
    let mut daemon = Daemon::start(&folder.path().join("w.yaml"));
    until("samples", || (life(&sink, ONE).0 >= 1).then_some(()));
    assert_eq!(daemon.metrics()["watchpost_config_last_reload_successful"], 1.0);
    let taken = free_port();
    let holder = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
    for (text, complaint) in [
        (good.replace("interval: 1s", "intervall: 1s"), "did you mean interval?".to_owned()),
        (
            good.replace(
                "prometheus_remote_write: {",
                "prometheus_remote_write: {tls: {ca_file: none.pem}, ",
            ),
            "none.pem".to_owned(),
        ),
        (
            format!("{good}extensions: {{health_check: {{endpoint: '127.0.0.1:{taken}'}}}}\n"),
            format!("127.0.0.1:{taken}"),
        ),
        ("receivers: [".to_owned(), "w.yaml:1:".to_owned()),
    ] {
        write(folder.path(), "w.yaml", &text);
        let (status, body) = post(daemon.page, "/-/reload", "");
        assert_eq!(status, 500, "{body}");
        assert!(body.contains(&complaint), "{complaint}: {body}");
        assert_eq!(daemon.metrics()["watchpost_config_last_reload_successful"], 0.0);
        let before = life(&sink, ONE);
        until("samples as before", || (life(&sink, ONE).0 > before.0).then_some(()));
        assert!(!life(&sink, ONE).1, "no series has ended");
    }
    assert!(daemon.log().contains("the configuration is not taken over"));
    // What is mended is taken over by itself.
    write(folder.path(), "w.yaml", &good);
    until("the mended file", || {
        (daemon.metrics()["watchpost_config_last_reload_successful"] == 1.0).then_some(())
    });
    drop(holder);
    assert_eq!(post(daemon.page, "/-/reload", "Origin: http://evil.invalid\r\n").0, 403);
    assert_eq!(post(daemon.page, "/-/reload", "Sec-Fetch-Site: cross-site\r\n").0, 403);
    assert_eq!(get(daemon.page, "/-/reload").unwrap().0, 405);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_waits_goes_to_the_new_address_of_an_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let (down, up, port) = (Sink::new(), Sink::new(), free_port());
    *down.answer.lock().unwrap() = 503;
    let path = write(folder.path(), "w.yaml", &config(port, &down, "", ""));
    let mut daemon = Daemon::start(&path);
    let queued = || {
        let key =
            "watchpost_queue_samples{exporter=\"prometheus_remote_write\",pipeline=\"metrics\"}";
        daemon.metrics().get(key).copied().unwrap_or_default()
    };
    until("a backlog", || (queued() > 60.0).then_some(()));
    write(folder.path(), "w.yaml", &config(port, &up, "", ""));
    until("the backlog is gone", || (queued() == 0.0 && life(&up, ONE).0 > 4).then_some(()));
    assert_eq!(down.count(), 0);
    // Every second since the start, without a gap and in order.
    let times: Vec<i64> = up.of(ONE).iter().map(|(_, time)| *time).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1000), "{times:?}");
    let attempts = up.of("probe_attempts_total{humanname=\"One\"");
    assert!(attempts.iter().any(|(value, _)| *value == 1.0), "from the first attempt on");
    let metrics = daemon.metrics();
    let of = |result: &str| {
        metrics[&format!(
            "watchpost_export_samples_total{{exporter=\"prometheus_remote_write\",pipeline=\"metrics\",result=\"{result}\"}}"
        )]
    };
    let waiting = metrics["watchpost_queue_samples{exporter=\"prometheus_remote_write\",pipeline=\"metrics\"}"];
    assert_eq!(of("accepted"), of("sent") + of("rejected") + of("dropped") + waiting);
    assert_eq!(of("dropped") + of("rejected"), 0.0);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn pipelines_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, port) = (Sink::new(), Sink::new(), free_port());
    let text = |pipelines: &str| {
        format!(
            "receivers: {{probe/x: {{interval: 1s, targets: ['127.0.0.1:{port};One']}}, probe/y: {{interval: 1s, targets: ['127.0.0.2:{port};Two']}}}}\n\
             exporters: {{prometheus_remote_write/1: {{endpoint: '{}', sending_queue: {{batch: {{flush_timeout: 100ms}}}}}}, prometheus_remote_write/2: {{endpoint: '{}', sending_queue: {{batch: {{flush_timeout: 100ms}}}}}}}}\n\
             http: {{listen: '127.0.0.1:0'}}\nservice: {{pipelines: {{{pipelines}}}}}\n",
            first.server.url("/"),
            second.server.url("/"),
        )
    };
    let both = "metrics/1: {receivers: [probe/x, probe/y], exporters: [prometheus_remote_write/1]}, metrics/2: {receivers: [probe/y], exporters: [prometheus_remote_write/2]}";
    let path = write(folder.path(), "w.yaml", &text(both));
    let mut daemon = Daemon::start(&path);
    let two = "probe_success{humanname=\"Two\"";
    until("samples everywhere", || {
        (life(&first, ONE).0 > 0 && life(&first, two).0 > 0 && life(&second, two).0 > 0)
            .then_some(())
    });
    // A receiver leaves one pipeline, and the other pipeline goes.
    let fewer = "metrics/1: {receivers: [probe/x], exporters: [prometheus_remote_write/1]}, metrics/3: {receivers: [probe/y], exporters: [prometheus_remote_write/1]}";
    write(folder.path(), "w.yaml", &text(fewer));
    assert_eq!(post(daemon.page, "/-/reload", "").0, 200);
    until("the end in the second backend", || life(&second, two).1.then_some(()));
    let before = life(&second, two);
    let seen = life(&first, two).0;
    until("the new way", || (life(&first, two).0 > seen + 1).then_some(()));
    assert_eq!(life(&second, two), before, "nothing comes there any more");
    assert!(!life(&first, ONE).1, "what did not change did not end");
    let metrics = daemon.metrics();
    assert!(metrics.keys().any(|key| key.contains("pipeline=\"metrics/3\"")));
    let queued =
        "watchpost_queue_samples{exporter=\"prometheus_remote_write/2\",pipeline=\"metrics/2\"}";
    assert!(!metrics.contains_key(queued), "a queue that is gone is not shown");
    // Another address for the page.
    let listen = free_port();
    let moved = text(fewer).replace("127.0.0.1:0", &format!("127.0.0.1:{listen}"));
    write(folder.path(), "w.yaml", &moved);
    let page = SocketAddr::from(([127, 0, 0, 1], listen));
    until("the new page", || get(page, "/-/ready").filter(|(status, _)| *status == 200));
    until("the end of the old page", || get(daemon.page, "/-/ready").is_none().then_some(()));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn logs_follow_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, port) = (Sink::new(), free_port());
    let telemetry = |level: &str| {
        config(
            port,
            &sink,
            "",
            &format!("service: {{telemetry: {{logs: {{level: {level}, encoding: json}}}}}}\n"),
        )
    };
    let path = write(folder.path(), "w.yaml", &telemetry("info"));
    let mut daemon = Daemon::start_with(&path, |_| {});
    assert!(daemon.log().starts_with('{'), "{}", daemon.log());
    write(folder.path(), "w.yaml", &telemetry("error"));
    assert_eq!(post(daemon.page, "/-/reload", "").0, 200);
    let lines = daemon.log().lines().count();
    daemon.signal("-HUP");
    until("a quiet reload", || {
        let key = "watchpost_config_last_reload_success_timestamp_seconds";
        static FIRST: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
        let now = daemon.metrics()[key];
        (now > *FIRST.get_or_init(|| now)).then_some(()).or_else(|| {
            daemon.signal("-HUP");
            None
        })
    });
    assert_eq!(daemon.log().lines().count(), lines, "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
}

/// What a backend has lost count of: series that are still alive although nobody writes them.
#[test]
fn a_receiver_that_goes_ends_its_series_and_a_renamed_exporter_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, port) = (Sink::new(), free_port());
    let text = |receivers: &str, exporter: &str| {
        format!(
            "receivers: {{{receivers}}}\n\
             exporters: {{{exporter}: {{endpoint: '{}', retry_on_failure: {{initial_interval: 100ms, max_interval: 200ms}}, sending_queue: {{batch: {{flush_timeout: 100ms}}}}}}}}\n\
             http: {{listen: '127.0.0.1:0'}}\nservice: {{telemetry: {{metrics: {{level: none}}}}}}\n",
            sink.server.url("/"),
        )
    };
    let one = format!("probe/x: {{interval: 1s, targets: ['127.0.0.1:{port};One']}}");
    let both = format!("{one}, probe/y: {{interval: 1s, targets: ['127.0.0.2:{port};Two']}}");
    let path = write(folder.path(), "w.yaml", &text(&both, "prometheus_remote_write"));
    let mut daemon = Daemon::start(&path);
    let two = "probe_success{humanname=\"Two\"";
    until("samples", || (life(&sink, ONE).0 > 0 && life(&sink, two).0 > 0).then_some(()));
    write(folder.path(), "w.yaml", &text(&one, "prometheus_remote_write"));
    assert_eq!(post(daemon.page, "/-/reload", "").0, 200);
    until("the end of the receiver's series", || life(&sink, two).1.then_some(()));
    assert!(!life(&sink, ONE).1);

    // A backlog, and then another name: everything arrives, in order, before what follows.
    *sink.answer.lock().unwrap() = 503;
    let queued = |name: &str| {
        let key = format!("watchpost_queue_samples{{exporter=\"{name}\",pipeline=\"metrics\"}}");
        daemon.metrics().get(&key).copied().unwrap_or_default()
    };
    until("a backlog", || (queued("prometheus_remote_write") > 20.0).then_some(()));
    write(folder.path(), "w.yaml", &text(&one, "prometheus_remote_write/new"));
    assert_eq!(post(daemon.page, "/-/reload", "").0, 200);
    until("samples for the new name", || {
        (queued("prometheus_remote_write/new") > 10.0).then_some(())
    });
    assert!(
        queued("prometheus_remote_write") > 20.0,
        "the old name is in the books until it is empty"
    );
    *sink.answer.lock().unwrap() = 204;
    until("an empty queue", || (queued("prometheus_remote_write") == 0.0).then_some(()));
    let seen = life(&sink, ONE).0;
    until("more", || (life(&sink, ONE).0 > seen + 1).then_some(()));
    let times: Vec<i64> =
        sink.of(ONE).iter().filter(|(value, _)| !value.is_nan()).map(|(_, time)| *time).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1000), "{times:?}");
    assert!(!daemon.log().contains("lost"), "{}", daemon.log());

    // An empty file is not what anybody means.
    write(folder.path(), "w.yaml", "");
    assert_eq!(post(daemon.page, "/-/reload", "").0, 500);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_name_service_that_is_silent_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, port) = (Sink::new(), free_port());
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let detect = format!(
        "resolver: {{nameservers: ['{}'], timeout: 30s, attempts: 1}}\nprocessors: {{resource_detection: {{detectors: [system], timeout: 60s, system: {{hostname_sources: [lookup, cname]}}}}}}\n",
        silent.local_addr().unwrap()
    );
    write(folder.path(), "w.yaml", &config(port, &sink, "", ""));
    let mut daemon = Daemon::start(&folder.path().join("w.yaml"));
    write(folder.path(), "w.yaml", &config(port, &sink, "", &detect));
    daemon.signal("-HUP");
    until("the reload begins", || daemon.log().contains("reloading").then_some(()));
    let begin = std::time::Instant::now();
    assert_eq!(daemon.stop(), 0);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
