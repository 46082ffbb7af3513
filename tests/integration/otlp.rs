//! OTLP out, read by code that is not ours: the same samples go every way, and what a backend says is
//! heeded.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::certificates::{Authority, pem_file};
use crate::support::daemon::{Daemon, write};
use crate::support::otlp_reader::{MISSING, Point, Reader, Request};
use crate::support::servers::{Response, Server};
use crate::support::{Metrics, free_port, peers, skip, until};

mod compare;

/// Batches that go soon.
const QUEUE: &str = "sending_queue: {batch: {flush_timeout: 200ms}}";
/// Attempts that come soon.
const RETRY: &str = "retry_on_failure: {initial_interval: 100ms, max_interval: 200ms}";
/// Three ways to the same reader.
const WAYS: [(&str, &str); 3] =
    [("grpc", "otlp_grpc"), ("proto", "otlp_http"), ("json", "otlp_http/json")];

/// The lines of three exporters to a reader, named by a header; `more` goes to all of them.
fn three_ways(reader: &Reader, more: &str) -> String {
    let (grpc, http) = (reader.grpc, reader.http);
    format!(
        "  otlp_grpc: {{endpoint: '{grpc}', tls: {{insecure: true}}, headers: {{X-Way: grpc}}, {QUEUE}{more}}}\n\
         \x20 otlp_http: {{endpoint: 'http://{http}', headers: {{X-Way: proto}}, {QUEUE}{more}}}\n\
         \x20 otlp_http/json: {{endpoint: 'http://{http}/', encoding: json, compression: none, headers: {{X-Way: json}}, {QUEUE}{more}}}\n"
    )
}

/// A configuration with one receiver, these targets and these exporters.
fn config(targets: &str, exporters: &str) -> String {
    format!(
        "receivers:\n  probe/services: {{interval: 1s, targets: [{targets}]}}\n\
         exporters:\n{exporters}\nhttp: {{listen: '127.0.0.1:0'}}\n"
    )
}

/// A counter of an exporter, by what became of its samples or requests.
fn counter(metrics: &Metrics, what: &str, exporter: &str, result: &str) -> f64 {
    let series = format!(
        "watchpost_export_{what}_total{{exporter=\"{exporter}\",pipeline=\"metrics\",result=\"{result}\"}}"
    );
    metrics.get(&series).copied().unwrap_or_default()
}

/// Waits for a moment at which nothing moves between two lines of the page: then the books balance,
/// and what was sent or rejected is what the reader was given.
fn balanced(daemon: &Daemon, reader: &Reader, way: &str, exporter: &str) -> Metrics {
    until("books that balance", || {
        let metrics = daemon.metrics();
        let samples = |result| counter(&metrics, "samples", exporter, result);
        let queued = metrics
            [&format!("watchpost_queue_samples{{exporter=\"{exporter}\",pipeline=\"metrics\"}}")];
        let ended = samples("sent") + samples("rejected");
        let balance = samples("accepted") == ended + samples("dropped") + queued;
        let requests = reader.requests(way).into_iter().filter(|request| !request.refused);
        let read: usize = requests.map(|request| request.points).sum();
        (balance && ended == read as f64 && samples("dropped") == 0.0).then_some(metrics)
    })
}

/// Every point once: a series, and a time.
fn assert_nothing_twice(points: &[Point]) {
    let key = |p: &Point| (p.name.clone(), p.attributes.clone(), p.resource.clone(), p.time);
    let twice = points.windows(2).find(|pair| key(&pair[0]) == key(&pair[1]));
    assert!(twice.is_none(), "{twice:?}");
}

/// The same points came both ways, to the bit.
fn assert_same(reader: &Reader, one: &str, other: &str) {
    let (a, b) = (reader.points(one), reader.points(other));
    let differ = a.iter().zip(&b).find(|(a, b)| a != b);
    assert!(differ.is_none(), "{one} and {other}: {differ:#?}");
    assert_eq!(a.len(), b.len(), "{one} and {other}");
    assert!(a.len() > 50, "{}", a.len());
    assert_nothing_twice(&a);
}

#[test]
fn the_same_samples_go_every_way() {
    let name = "the_same_samples_go_every_way";
    let folder = tempfile::tempdir().unwrap();
    let Some(prometheus) = peers::prometheus(folder.path(), free_port()) else {
        return skip(name, "prometheus is not installed");
    };
    let Some(reader) = Reader::start(&[]) else { return skip(name, MISSING) };
    let web = Server::http(|_| Response::new(200, "welcome"));
    let tcp = Server::tcp(drop);
    let stays = format!(
        "'{};web;internal', '{};tcp;lan', 'http://127.0.0.1:{}/;refused'",
        web.url("/"),
        tcp.address,
        free_port()
    );
    let goes = format!(", '{};goes;internal'", web.url("/goes"));
    write(folder.path(), "t.yaml", &format!("- targets: [{stays}{goes}]\n"));
    let config = format!(
        "receivers:\n  probe/services: {{interval: 1s, target_files: [t.yaml], labels: {{site: 'Zürich \"1\"'}}, metrics: {{probe.latency: {{enabled: true}}}}}}\n\
         processors:\n\
         \x20 resource: {{attributes: [{{key: service.namespace, value: home, action: insert}}, {{key: host.cpu-count, value: 2, action: insert}}]}}\n\
         \x20 attributes: {{actions: [{{key: deploy.ring, value: 3, action: insert}}, {{key: canary, value: true, action: insert}}, {{key: 9.share, value: 0.25, action: insert}}]}}\n\
         exporters:\n{}  prometheus_remote_write: {{endpoint: 'http://{}/api/v1/write', {QUEUE}}}\n\
         http: {{listen: '127.0.0.1:0'}}\nvantage: here\n",
        three_ways(&reader, ""),
        prometheus.address
    );
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    for (way, _) in WAYS {
        until("failures", || reader.has(way, |p| p.is("probe.failures", "refused")).then_some(()));
        for target in ["web", "tcp", "goes"] {
            let again =
                |p: &Point| p.is("probe.latency", target) && p.count.is_some_and(|n| n >= 2);
            until("latencies", || reader.has(way, again).then_some(()));
        }
    }
    write(folder.path(), "t.yaml", &format!("- targets: [{stays}]\n"));
    for (way, _) in WAYS {
        until("its end", || {
            reader.has(way, |p| p.is("probe.target_info", "goes") && p.flags == 1).then_some(())
        });
    }
    until("its end in Prometheus", || {
        prometheus.query(&format!("{{instance=\"{}\"}}", web.url("/goes"))).is_empty().then_some(())
    });
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    assert!(!daemon.log().contains("lost"), "{}", daemon.log());
    reader.settle();

    assert_same(&reader, "grpc", "proto");
    assert_same(&reader, "grpc", "json");
    let points = reader.points("grpc");
    points.iter().for_each(compare::assert_sound);
    for (name, kind) in [
        ("probe.success", "gauge"),
        ("probe.failures", "sum"),
        ("probe.latency", "exponential_histogram"),
        ("watchpost.slot_lateness", "histogram"),
        ("watchpost.slots", "sum"),
    ] {
        assert!(points.iter().any(|p| p.name == name && p.kind == kind), "{name}");
    }
    // What stands in the body is as the exporters were told, and says who sent it.
    for (way, kind, gzip) in [
        ("grpc", "application/grpc", None),
        ("proto", "application/x-protobuf", Some(true)),
        ("json", "application/json", Some(false)),
    ] {
        for request in reader.requests(way) {
            assert_eq!((&*request.content_type, request.gzip), (kind, gzip));
            assert_eq!(request.transport == "grpc", way == "grpc");
            assert!(request.headers["user-agent"].starts_with("Watchpost/"), "{request:?}");
        }
    }
    compare::assert_prometheus_has(&prometheus, &points);
}

/// Stands before gRPC's server, which does not tell how a message came: what clients sent is kept.
fn relay(to: SocketAddr) -> (Server, Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let server = Server::tcp(move |mut client| {
        let Ok(mut server) = TcpStream::connect(to) else { return };
        let (Ok(mut answers), Ok(mut back)) = (server.try_clone(), client.try_clone()) else {
            return;
        };
        std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            keep.lock().unwrap().extend_from_slice(&buffer[..length]);
            if server.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    });
    (server, seen)
}

/// Whether a message of gRPC is compressed: its flag, its length, and how gzip begins.
fn is_zipped(bytes: &[u8]) -> bool {
    bytes.windows(7).any(|w| w[..2] == [1, 0] && w[5..] == [0x1f, 0x8b])
}

#[test]
fn headers_and_credentials_arrive() {
    let Some(reader) = Reader::start(&[]) else {
        return skip("headers_and_credentials_arrive", MISSING);
    };
    let ((through, zipped), (through_bare, bare)) = (relay(reader.grpc), relay(reader.grpc));
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "password", "pass:word\n");
    let auth = ", auth: {authenticator: basicauth}";
    let exporters = three_ways(&reader, auth).replace("X-Way:", "X-Scope-OrgID: home, X-Way:")
        + &format!(
            "  otlp_grpc/bare: {{endpoint: 'http://{}', headers: {{x-way: bare}}, compression: none, {QUEUE}}}\n",
            through_bare.address
        );
    let exporters = exporters.replace(&reader.grpc.to_string(), &through.address.to_string());
    let config = config("'127.0.0.1:1;t'", &exporters)
        + "extensions: {basicauth: {client_auth: {username: user, password_file: password}}}\n";
    let _daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    for (way, _) in WAYS {
        let headers = until("a request", || Some(reader.requests(way).pop()?.headers));
        assert_eq!(headers["authorization"], "Basic dXNlcjpwYXNzOndvcmQ=", "{headers:?}");
        assert_eq!(headers["x-scope-orgid"], "home", "{headers:?}");
    }
    let headers = until("a request", || Some(reader.requests("bare").pop()?.headers));
    assert!(!headers.contains_key("authorization"), "{headers:?}");
    assert!(is_zipped(&zipped.lock().unwrap()) && !is_zipped(&bare.lock().unwrap()));
}

/// How long after a refusal the same batch came again, by the order of the requests.
fn waits(requests: &[Request]) -> Vec<f64> {
    let refused = requests.windows(2).filter(|pair| pair[0].refused);
    let wait = |pair: &[Request]| {
        assert_eq!(pair[0].points, pair[1].points, "the same batch comes again: {pair:?}");
        pair[1].at - pair[0].at
    };
    refused.map(wait).collect()
}

#[test]
fn a_backend_that_asks_for_patience_gets_everything() {
    let Some(reader) = Reader::start(&[]) else {
        return skip("a_backend_that_asks_for_patience_gets_everything", MISSING);
    };
    for order in [
        json!({"over": "http", "way": "proto", "status": 503, "retry_after": "1"}),
        json!({"over": "http", "way": "proto", "status": 500}),
        json!({"over": "http", "way": "json", "status": 429, "times": 2}),
        json!({"over": "grpc", "code": "UNAVAILABLE", "retry_after": 0.75}),
        json!({"over": "grpc", "code": "UNAVAILABLE"}),
        json!({"over": "grpc", "code": "RESOURCE_EXHAUSTED", "message": "slow down"}),
    ] {
        reader.order(&order);
    }
    let folder = tempfile::tempdir().unwrap();
    let targets = "'127.0.0.1:1;a', '127.0.0.2:1;b'";
    let config = config(targets, &three_ways(&reader, &format!(", {RETRY}")));
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    for ((way, exporter), (asked, refused)) in WAYS.into_iter().zip([(3, 0), (1, 1), (2, 0)]) {
        until("more", || (reader.requests(way).len() > asked + refused + 2).then_some(()));
        let metrics = balanced(&daemon, &reader, way, exporter);
        assert_eq!(counter(&metrics, "requests", exporter, "retried"), asked as f64);
        // A 500 may be the backend's fault, or that of something in the batch.
        assert_eq!(counter(&metrics, "requests", exporter, "refused"), refused as f64);
        assert_eq!(counter(&metrics, "samples", exporter, "rejected"), 0.0);
    }
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    reader.settle();
    // At least as long as it was asked for, and not as long as nobody asked for.
    let [grpc, proto, json] = WAYS.map(|(way, _)| waits(&reader.requests(way)));
    assert!(grpc.len() == 3 && grpc[0] >= 0.75, "{grpc:?}");
    assert!(proto.len() == 2 && proto[0] >= 1.0, "{proto:?}");
    assert_eq!(json.len(), 2);
    for own in [grpc[1], grpc[2], proto[1], json[0], json[1]] {
        assert!((0.02..0.7).contains(&own), "{grpc:?} {proto:?} {json:?}");
    }
    assert_same(&reader, "grpc", "proto");
    assert_same(&reader, "grpc", "json");
}

#[test]
fn what_is_refused_in_part_is_counted_and_not_sent_again() {
    let Some(reader) = Reader::start(&[]) else {
        return skip("what_is_refused_in_part_is_counted_and_not_sent_again", MISSING);
    };
    for (n, (way, _)) in WAYS.iter().enumerate() {
        let over = if *way == "grpc" { "grpc" } else { "http" };
        let (rejected, message) = (n + 1, format!("too old,\nsays {way}"));
        reader.order(
            &json!({"over": over, "way": way, "times": 2, "rejected": rejected, "message": message}),
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let targets = "'127.0.0.1:1;a', '127.0.0.2:1;b'";
    let config = config(targets, &three_ways(&reader, &format!(", {RETRY}")));
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    for (n, (way, exporter)) in WAYS.into_iter().enumerate() {
        until("more", || (reader.requests(way).len() >= 4).then_some(()));
        let metrics = balanced(&daemon, &reader, way, exporter);
        assert_eq!(counter(&metrics, "samples", exporter, "rejected"), 2.0 * (n + 1) as f64);
        for result in ["retried", "refused", "split", "held"] {
            assert_eq!(counter(&metrics, "requests", exporter, result), 0.0, "{exporter} {result}");
        }
        let said = format!("the backend refuses them: too old, says {way}");
        assert!(daemon.log().contains(&said), "{}", daemon.log());
    }
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    reader.settle();
    assert_same(&reader, "grpc", "proto");
    assert_same(&reader, "grpc", "json");
}

/// The limit and the words are those of gRPC's own server.
#[test]
fn what_is_too_large_goes_in_parts() {
    let Some(reader) = Reader::start(&["--max-message", "3000"]) else {
        return skip("what_is_too_large_goes_in_parts", MISSING);
    };
    let folder = tempfile::tempdir().unwrap();
    let exporters = three_ways(&reader, "")
        + &format!(
            "  otlp_grpc/plain: {{endpoint: 'http://{}', headers: {{x-way: plain}}, compression: none, {QUEUE}}}\n",
            reader.grpc
        );
    let targets: Vec<String> = (1..=5).map(|n| format!("'127.0.0.{n}:1;t{n}'")).collect();
    let config = config(&targets.join(", "), &exporters);
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    for (way, exporter) in [("grpc", "otlp_grpc"), ("plain", "otlp_grpc/plain")] {
        until("all targets", || {
            let all = |n| reader.has(way, |p| p.is("probe.success", &format!("t{n}")));
            (1..=5).all(all).then_some(())
        });
        let metrics = balanced(&daemon, &reader, way, exporter);
        assert!(counter(&metrics, "requests", exporter, "split") >= 1.0, "{exporter} {metrics:?}");
        assert_eq!(counter(&metrics, "samples", exporter, "rejected"), 0.0, "{}", daemon.log());
    }
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    reader.settle();
    assert_same(&reader, "proto", "grpc");
    assert_same(&reader, "proto", "plain");
}

#[test]
fn tls_to_backends() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("home", 100);
    let (chain, key) = authority.leaf(&["127.0.0.1", "reader.test"], -1, 100).pem();
    let ca = pem_file(&folder, "ca.pem", &authority.pem());
    let chain = pem_file(&folder, "chain.pem", &chain);
    let key = pem_file(&folder, "key.pem", &key);
    let arguments = ["--cert", chain.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let Some(reader) = Reader::start(&arguments) else { return skip("tls_to_backends", MISSING) };
    let ca = ca.display();
    let kinds = BTreeMap::from([
        ("ca", format!("ca_file: {ca}")),
        ("named", format!("ca_file: {ca}, server_name_override: reader.test, min_version: '1.3'")),
        ("trusting", "insecure_skip_verify: true".to_owned()),
        ("doubting", "min_version: '1.2'".to_owned()),
        ("misled", format!("ca_file: {ca}, server_name_override: other.test")),
    ]);
    let mut exporters = String::new();
    for (name, tls) in &kinds {
        for (kind, endpoint) in [
            ("otlp_grpc", reader.grpc.to_string()),
            ("otlp_http", format!("https://{}", reader.http)),
        ] {
            exporters += &format!(
                "  {kind}/{name}: {{endpoint: '{endpoint}', tls: {{{tls}}}, headers: {{x-way: {kind}-{name}}}, {QUEUE}, {RETRY}}}\n"
            );
        }
    }
    let config = config("'127.0.0.1:1;t'", &exporters);
    let daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    for kind in ["otlp_grpc", "otlp_http"] {
        for name in ["ca", "named", "trusting"] {
            let way = format!("{kind}-{name}");
            until(&way, || (reader.requests(&way).len() >= 2).then_some(()));
            let metrics = balanced(&daemon, &reader, &way, &format!("{kind}/{name}"));
            assert!(counter(&metrics, "samples", &format!("{kind}/{name}"), "sent") > 0.0);
        }
        for name in ["doubting", "misled"] {
            let exporter = format!("{kind}/{name}");
            let metrics = until(&exporter, || {
                let metrics = daemon.metrics();
                (counter(&metrics, "requests", &exporter, "retried") >= 3.0).then_some(metrics)
            });
            for result in ["sent", "rejected", "dropped"] {
                assert_eq!(counter(&metrics, "samples", &exporter, result), 0.0, "{exporter}");
            }
            assert!(reader.requests(&format!("{kind}-{name}")).is_empty());
            let log = daemon.log();
            let line = log.lines().find(|line| line.contains(&format!("exporter={exporter} ")));
            let why = |line: &str| line.contains("certificate") || line.contains("Issuer");
            assert!(line.is_some_and(why), "{line:?}\n{log}");
        }
    }
}

/// Alone in its pipeline, the last value of a histogram and its end stand side by side in a request.
#[test]
fn a_histogram_that_is_alone_ends() {
    let name = "a_histogram_that_is_alone_ends";
    let folder = tempfile::tempdir().unwrap();
    let Some(prometheus) = peers::prometheus(folder.path(), free_port()) else {
        return skip(name, "prometheus is not installed");
    };
    let Some(reader) = Reader::start(&[]) else { return skip(name, MISSING) };
    let web = Server::http(|_| Response::new(200, "welcome"));
    write(folder.path(), "t.yaml", &format!("- targets: ['{};web']\n", web.url("/")));
    let config = format!(
        "receivers:\n  probe/services: {{interval: 1s, target_files: [t.yaml], metrics: {{probe.latency: {{enabled: true}}}}}}\n\
         processors: {{filter: {{metrics: {{metric: ['name != \"probe.latency\"']}}}}}}\n\
         exporters:\n{}  prometheus_remote_write: {{endpoint: 'http://{}/api/v1/write', sending_queue: {{batch: {{flush_timeout: 20s}}}}}}\n\
         http: {{listen: '127.0.0.1:0'}}\n",
        three_ways(&reader, ""),
        prometheus.address
    );
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    until("latencies", || reader.has("grpc", |p| p.count.is_some_and(|n| n >= 2)).then_some(()));
    write(folder.path(), "t.yaml", "- targets: []\n");
    until("its end", || reader.has("grpc", |p| p.flags == 1).then_some(()));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    reader.settle();
    assert!(!prometheus.results("probe_latency_seconds[1h]", None).is_empty());
    let after = prometheus.results("probe_latency_seconds", None);
    assert!(after.is_empty(), "{after:?}");
}
