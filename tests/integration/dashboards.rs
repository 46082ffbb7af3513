//! The dashboards, asked as Grafana asks: each of their queries, of a real Prometheus and a real
//! VictoriaMetrics, fed by a daemon with a known outage, and filled with thirty days of a known past.

mod past;
mod vantages;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::certificates::{Authority, pem_file};
use crate::support::daemon::{Daemon, write};
use crate::support::grafana::{Question, View, question, questions, shown};
use crate::support::peers::{self, Peer};
use crate::support::servers::{Request, Response, Server};
use crate::support::{free_port, promql, skip, until};

/// What asks for what is wrong, and is empty while nothing is.
const NOTHING_WRONG: [&str; 7] = [
    // The lines through all panels, for what did not happen.
    "watchpost-host.json: Watchpost / Host: : system_uptime_seconds",
    "watchpost-status.json: Watchpost / Status timeline: : process_start_time_seconds",
    "watchpost-host.json: Errors: A: system_filesystem_linux_readonly",
    "watchpost-host.json: Errors: C: hw_network_up",
    "watchpost-host.json: Errors: A: hw_status",
    "watchpost-host.json: Utilization: A: hw_network_bandwidth_limit_bytes_per_second",
    "watchpost-host.json: Time of an operation: A: system_disk_operation_time_seconds_total",
];

fn ours() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    assert_eq!(files.len(), 4);
    files
}

/// The metrics of every query are ours; that of a name nobody publishes is empty for ever.
#[test]
fn dashboards_speak_of_series_that_exist() {
    let known = promql::published();
    let mut asked = 0;
    for file in ours() {
        for question in questions(&file) {
            let read = promql::metrics(&question.written);
            let wrong: Vec<&String> = read.difference(&known).collect();
            assert!(wrong.is_empty(), "{}: nobody publishes {wrong:?}", question.place);
            assert!(!read.is_empty(), "{}", question.place);
            asked += 1;
        }
    }
    assert!(asked > 120, "only {asked} queries");
}

/// What a question is answered with, as a list of labels.
fn answer(peer: &Peer, question: &Question, view: View, variables: &[(&str, &str)]) -> Vec<Value> {
    let asked = question.asked(view, variables);
    if question.instant {
        let found = peer.results(&asked, Some(view.to * 1000));
        found.into_iter().map(|mut series| series["metric"].take()).collect()
    } else {
        peer.range(&asked, view).into_iter().map(|(labels, _)| labels).collect()
    }
}

/// A web server that can be started again where it was.
fn web_at(address: SocketAddr) -> Server {
    Server::tcp_on(address, |mut stream| {
        if Request::read(&mut stream).is_some() {
            let _ = stream.write_all(&Response::new(200, "welcome").bytes());
        }
    })
}

struct Home {
    _folder: tempfile::TempDir,
    _servers: Vec<Server>,
    _daemon: Daemon,
    backends: Vec<(&'static str, Peer)>,
    /// When the shop was closed, and when it was opened again.
    outage: (i64, i64),
    view: View,
}

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A home with services, a line to the outside, two networks and itself, watched for half a minute.
fn home() -> Option<Home> {
    let folder = tempfile::tempdir().unwrap();
    let prometheus = peers::prometheus(folder.path(), free_port())?;
    let victoria = peers::victoria_metrics(folder.path(), free_port())?;
    let authority = Authority::new("home", 100);
    let ca = pem_file(&folder, "ca.pem", &authority.pem());
    let web = Server::https(authority.leaf(&["127.0.0.1"], -30, 20).server(&[], &[]), |_| {
        Response::new(200, "welcome")
    });
    let shop = web_at(([127, 0, 0, 1], 0).into());
    let shop_at = shop.address;
    let refused = free_port();
    // Three devices of a network are there, one has never been.
    let port = free_port();
    let devices: Vec<Server> =
        [2, 10, 1].map(|last| Server::tcp_on(([127, 0, 3, last], port).into(), drop)).into();
    let lan: String = [2, 10, 11, 1]
        .iter()
        .zip(["nas", "printer", "ghost", "-"])
        .map(|(last, name)| format!("    - 127.0.3.{last}:{port};{name};lan\n"))
        .collect();
    write(folder.path(), "ping-lan.yaml", &format!("- targets:\n{lan}"));
    write(
        folder.path(),
        "pinghosts.yaml",
        &format!(
            "- targets:\n    - https://{}/;web;internal\n    - http://{shop_at}/;shop;internal\n    - http://127.0.0.1:{refused}/;dead;internal\n",
            web.address
        ),
    );
    let config = format!(
        "receivers:
  probe/services: {{interval: 1s, module: web, target_files: [pinghosts.yaml]}}
  probe/ports: {{interval: 1s, targets: ['{shop_at};shop port;internal']}}
  probe/blackbox-ping: {{interval: 1s, module: icmp, targets: ['127.0.0.1;Router;external']}}
  probe/blackbox-ping-lan: {{interval: 1s, module: tcp_connect, target_files: [ping-lan.yaml]}}
  probe/lan: {{interval: 2s, module: icmp, targets: [127.0.2.0/28]}}
  host_metrics: {{collection_interval: 1s, scrapers: {{cpu: , load: , memory: , disk: , filesystem: , network: , paging: , processes: , sockets: , system: , pressure: , thermal: , linux: }}}}
modules:
  web: {{prober: http, timeout: 800ms, http: {{preferred_ip_protocol: ip4, tls_config: {{ca_file: {}}}}}}}
exporters:
  prometheus_remote_write: {{endpoint: 'http://{}/api/v1/write'}}
  prometheus_remote_write/victoria: {{endpoint: 'http://{}/api/v1/write'}}
http: {{listen: '127.0.0.1:0'}}
",
        ca.display(),
        prometheus.address,
        victoria.address
    );
    let config = write(folder.path(), "watchpost.yaml", &config);
    let begin = now();
    let daemon = Daemon::start(&config);
    let backends = vec![("Prometheus", prometheus), ("VictoriaMetrics", victoria)];
    for (name, backend) in &backends {
        let all = "count(probe_success) == 23";
        until(&format!("all targets in {name}"), || (!backend.query(all).is_empty()).then_some(()));
    }
    std::thread::sleep(Duration::from_secs(6));
    drop(shop);
    let closed = now();
    std::thread::sleep(Duration::from_secs(8));
    let opened = now();
    let shop = web_at(shop_at);
    std::thread::sleep(Duration::from_secs(8));
    for (name, backend) in &backends {
        until(&format!("the end in {name}"), || {
            let up = backend.query("probe_success{humanname=\"shop\"} == 1");
            (!up.is_empty()).then_some(())
        });
    }
    let servers = devices.into_iter().chain([web, shop]).collect();
    let view = View::new(begin, now() - 1, 500, 2);
    Some(Home {
        _folder: folder,
        _servers: servers,
        _daemon: daemon,
        backends,
        outage: (closed, opened),
        view,
    })
}

#[test]
fn every_panel_of_a_home_that_is_watched() {
    let name = "every_panel_of_a_home_that_is_watched";
    let Some(home) = home() else {
        return skip(name, "prometheus or victoria-metrics is not installed");
    };
    for (backend, peer) in &home.backends {
        every_query_is_answered(backend, peer, home.view);
        variables_find_what_there_is(backend, peer);
        the_outage_is_there(backend, peer, &home);
        addresses_stand_in_order(backend, peer, home.view);
        tables_have_the_right_cells(backend, peer, home.view);
    }
    dashboards_of_others(&home);
}

/// The variables that a dashboard has for a target or a host of this home.
fn variables<'a>(file: &str, host: &'a str, target: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    match file {
        "watchpost-target.json" => {
            vec![("job", target.0), ("instance", target.1), ("vantage", ".*")]
        }
        // The longer name first: it begins with the other one.
        "watchpost-host.json" => vec![("host_name", ".*"), ("host", host)],
        "watchpost-lan.json" => vec![("job", "lan|blackbox-ping-lan"), ("vantage", ".*")],
        _ => vec![("job", ".*"), ("vantage", ".*")],
    }
}

fn instance_of(peer: &Peer, name: &str) -> String {
    let found = peer.query(&format!("probe_success{{humanname=\"{name}\",job=\"services\"}}"));
    found[0].0["instance"].as_str().unwrap().to_owned()
}

/// Every query is understood; and answered, if what it reads is there at all.
fn every_query_is_answered(backend: &str, peer: &Peer, view: View) {
    let host = peer.query("system_uptime_seconds")[0].0["instance"].as_str().unwrap().to_owned();
    let (web, dead) = (instance_of(peer, "web"), instance_of(peer, "dead"));
    let shop = peer.query("probe_success{job=\"ports\"}")[0].0["instance"].to_string();
    let targets = [
        ("services", web.as_str()),
        ("services", dead.as_str()),
        ("ports", shop.trim_matches('"')),
        ("blackbox-ping", "127.0.0.1"),
    ];
    let (mut asked, mut answered, mut empty) = (0, 0, Vec::new());
    for file in ours() {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        for question in questions(&file) {
            asked += 1;
            // A target has what its prober brings: one of them answers each question.
            let tried = if name == "watchpost-target.json" { &targets[..] } else { &targets[..1] };
            let found = tried.iter().any(|target| {
                let variables = variables(&name, &host, *target);
                let series = answer(peer, &question, view, &variables);
                for labels in &series {
                    let legend = shown(&question.legend, labels);
                    assert!(
                        question.legend.is_empty() || !legend.is_empty(),
                        "{backend}: {}: {labels} has no name",
                        question.place
                    );
                }
                !series.is_empty()
            });
            if found {
                answered += 1;
                continue;
            }
            let read = promql::metrics(&question.written);
            let missing =
                read.iter().any(|metric| peer.query(&format!("count({metric})")).is_empty());
            let first = read.first().unwrap();
            let known = NOTHING_WRONG.contains(&format!("{}: {first}", question.place).as_str());
            if !missing && !known {
                empty.push(format!("{}\n    {}", question.place, question.written));
            }
        }
    }
    assert!(empty.is_empty(), "{backend} has nothing to say to\n{}", empty.join("\n"));
    assert!(answered * 4 > asked * 3, "{backend}: {answered} of {asked} are answered");
}

fn variables_find_what_there_is(backend: &str, peer: &Peer) {
    let values = |file: &str, name: &str, others: &[(&str, &str)]| -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(file);
        let dashboard: Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let list = dashboard["templating"]["list"].as_array().unwrap().clone();
        let variable = list.iter().find(|variable| variable["name"] == name).unwrap();
        let mut query = variable["query"].as_str().unwrap().to_owned();
        for (name, value) in others {
            query = query.replace(&format!("${name}"), value);
        }
        let (label, expr) = match query.strip_prefix("query_result(") {
            Some(rest) => {
                let label = variable["regex"].as_str().unwrap();
                let label = label.strip_prefix('/').unwrap().split_once('=').unwrap().0.to_owned();
                (label, rest.strip_suffix(')').unwrap().to_owned())
            }
            None => {
                let inner = query.strip_prefix("label_values(").unwrap();
                let (series, label) = inner.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
                (label.to_owned(), series.to_owned())
            }
        };
        let found = peer.query(&expr);
        found.iter().map(|(labels, _)| labels[&label].as_str().unwrap().to_owned()).collect()
    };
    let set = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        values("watchpost-lan.json", "job", &[]),
        set(&["blackbox-ping-lan", "lan"]),
        "{backend}"
    );
    assert_eq!(
        values("watchpost-status.json", "job", &[]),
        set(&["blackbox-ping", "blackbox-ping-lan", "lan", "ports", "services"])
    );
    assert_eq!(values("watchpost-target.json", "instance", &[("job", "services")]).len(), 3);
    assert_eq!(values("watchpost-host.json", "host", &[]).len(), 1);
}

fn the_outage_is_there(backend: &str, peer: &Peer, home: &Home) {
    let services = question("watchpost-status.json", "Services", "A");
    let rows = |view: View| -> BTreeMap<String, BTreeMap<i64, f64>> {
        let found = peer.range(&services.asked(view, &[("job", ".*"), ("vantage", ".*")]), view);
        for (labels, _) in &found {
            // The link to a target's own dashboard is made of them.
            assert!(labels["job"].is_string() && labels["instance"].is_string(), "{labels}");
        }
        found.into_iter().map(|(labels, cells)| (shown(&services.legend, &labels), cells)).collect()
    };
    let cells = rows(home.view);
    let names: Vec<&str> = cells.keys().map(String::as_str).collect();
    assert_eq!(names, ["dead", "shop", "shop port", "web"], "{backend}");
    assert!(cells["web"].values().all(|cell| *cell == 2.0), "{backend}: {:?}", cells["web"]);
    assert!(cells["dead"].values().all(|cell| *cell == 0.0), "{backend}: {:?}", cells["dead"]);
    let (closed, opened) = home.outage;
    let step = home.view.step;
    let (mut before, mut within, mut after) = (0, 0, 0);
    for (at, cell) in &cells["shop"] {
        if *at < closed {
            (before, _) = (before + 1, assert_eq!(*cell, 2.0, "{backend}: before, at {at}"));
        } else if at - step > closed + 1 && *at < opened {
            (within, _) = (within + 1, assert_eq!(*cell, 0.0, "{backend}: within, at {at}"));
        } else if at - step > opened + 2 {
            (after, _) = (after + 1, assert_eq!(*cell, 2.0, "{backend}: after, at {at}"));
        }
    }
    assert!(before > 1 && within > 0 && after > 0, "{backend}: {before} {within} {after}");
    // Seen from far away, in one step from the begin to the end, it is still there.
    let (from, to) = (home.view.from, home.view.to);
    let far = View { from: to, to, step: to - from };
    let cells = rows(far);
    let last = |name: &str| cells[name].values().next_back().copied();
    assert_eq!(
        [last("shop"), last("web"), last("dead")],
        [Some(1.0), Some(2.0), Some(0.0)],
        "{backend}"
    );
    let internet = question("watchpost-status.json", "Internet", "A");
    let found =
        peer.range(&internet.asked(home.view, &[("job", ".*"), ("vantage", ".*")]), home.view);
    let names: Vec<String> =
        found.iter().map(|(labels, _)| shown(&internet.legend, labels)).collect();
    assert_eq!(names, ["Router"], "{backend}");
}

/// Those that answered, in the order of their numbers, as the backend itself answers.
fn addresses_stand_in_order(backend: &str, peer: &Peer, view: View) {
    let addresses = question("watchpost-lan.json", "Addresses", "A");
    let rows = |job: &str| -> Vec<String> {
        let found = peer.range(&addresses.asked(view, &[("job", job), ("vantage", ".*")]), view);
        found.iter().map(|(labels, _)| shown(&addresses.legend, labels)).collect()
    };
    let listed: Vec<String> = rows("blackbox-ping-lan")
        .iter()
        .map(|row| {
            let (address, name) = row.split_once(' ').unwrap_or((row, ""));
            format!("{} {name}", address.split(':').next().unwrap()).trim().to_owned()
        })
        .collect();
    assert_eq!(listed, ["127.0.3.1", "127.0.3.2 nas", "127.0.3.10 printer"], "{backend}");
    let subnet: Vec<String> = (1..=14).map(|last| format!("127.0.2.{last}")).collect();
    assert_eq!(rows("lan"), subnet, "{backend}");
}

fn tables_have_the_right_cells(backend: &str, peer: &Peer, view: View) {
    let column = |file: &str, title: &str, letter: &str, job: &str| -> BTreeMap<String, f64> {
        let asked = question(file, title, letter).asked(view, &[("job", job), ("vantage", ".*")]);
        peer.results(&asked, Some(view.to * 1000))
            .iter()
            .map(|series| {
                let labels = &series["metric"];
                let value = series["value"][1].as_str().unwrap().parse().unwrap();
                (labels["instance"].as_str().unwrap().to_owned(), value)
            })
            .collect()
    };
    let services = |letter| column("watchpost-status.json", "Targets", letter, "services");
    let expect = |values: [f64; 3]| -> BTreeMap<String, f64> {
        ["dead", "shop", "web"]
            .map(|name| instance_of(peer, name))
            .into_iter()
            .zip(values)
            .collect()
    };
    assert_eq!(services("A"), expect([0.0, 1.0, 1.0]), "{backend}: now");
    assert_eq!(services("E"), expect([0.0, 1.0, 0.0]), "{backend}: outages");
    for letter in ["B", "C", "D"] {
        let share = services(letter);
        let of = |name| share[&instance_of(peer, name)];
        assert!(of("shop") > 0.4 && of("shop") < 0.9, "{backend}: {share:?}");
        assert_eq!((of("web"), of("dead")), (1.0, 0.0), "{backend}");
    }
    let wrong = question("watchpost-status.json", "What went wrong", "A");
    let found = peer.results(
        &wrong.asked(view, &[("job", "services"), ("vantage", ".*")]),
        Some(view.to * 1000),
    );
    for name in ["dead", "shop"] {
        let row = found.iter().find(|series| series["metric"]["name"] == name).unwrap();
        assert_eq!(row["metric"]["reason"], "connection_refused", "{backend}: {row}");
        assert_eq!(row["metric"]["phase"], "connect", "{backend}: {row}");
    }
    let lan = |letter| column("watchpost-lan.json", "Availability", letter, "blackbox-ping-lan");
    let there = lan("A");
    assert_eq!(there.len(), 3, "{backend}: who never answered is no row: {there:?}");
    assert!(lan("C").values().all(|share| *share == 1.0), "{backend}");
}

/// Dashboards that others have published show our data: what they ask of probes is answered.
fn dashboards_of_others(home: &Home) {
    let Some(inputs) = std::env::var_os("WATCHPOST_INPUTS") else {
        return skip("dashboards_of_others", "WATCHPOST_INPUTS is not set");
    };
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => files(&path, found),
                false if path.extension().is_some_and(|end| end == "json") => found.push(path),
                false => {}
            }
        }
    }
    let mut all = Vec::new();
    files(&Path::new(&inputs).join("grafana"), &mut all);
    let variables =
        [("cluster", ""), ("job", ".*"), ("instance", ".*"), ("project", ".*"), ("app", ".*")];
    let mut asked = 0;
    for file in all {
        for question in questions(&file) {
            if !promql::metrics(&question.written).iter().any(|name| name.starts_with("probe_")) {
                continue;
            }
            asked += 1;
            for (backend, peer) in &home.backends {
                let expr = question.asked(home.view, &variables);
                let found = peer.range(&expr, home.view);
                // This one hides rows where all were up, and rows where none was.
                let hides = expr.contains("unless sum without");
                assert!(
                    hides || !found.is_empty(),
                    "{backend}: {}: {}: {expr}",
                    file.display(),
                    question.place
                );
            }
        }
    }
    assert!(asked > 50, "only {asked} queries");
}
