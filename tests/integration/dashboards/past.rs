//! Thirty days of a known past, written into both backends: what happened weeks ago is still there when a
//! month is in view.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::now;
use crate::support::daemon::write;
use crate::support::grafana::{View, question, shown};
use crate::support::peers::{self, Peer};
use crate::support::{free_port, get, skip};

/// The variables of a dashboard that shows everything.
const ALL: [(&str, &str); 2] = [("job", ".*"), ("vantage", ".*")];
const DAY: i64 = 86_400;
const MINUTE: i64 = 60;

/// A series of the past.
struct Past {
    name: &'static str,
    labels: String,
    every: i64,
    /// Its value at a time; `None`: nobody watched.
    value: Box<dyn Fn(i64) -> Option<f64>>,
}

impl Past {
    /// When it was measured, in (from, to]: seven seconds after the full minute, where no step ends.
    fn times(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, f64)> + '_ {
        let first = (from - 7).div_euclid(self.every) * self.every + self.every + 7;
        (0..)
            .map(move |n| first + n * self.every)
            .take_while(move |at| *at <= to)
            .filter_map(|at| Some((at, (self.value)(at)?)))
    }
}

/// Thirty days of a home: services with a short outage, a long one and a time in which nobody watched; a
/// network with a guest of three hours and an address that never answered; a host that restarted.
fn month(end: i64) -> Vec<Past> {
    let within = move |at: i64, days_ago: i64, seconds: i64| {
        let begin = end - days_ago * DAY + 1000;
        (begin..begin + seconds).contains(&at)
    };
    let mut all = Vec::new();
    let mut add = |name, labels: String, every, value: Box<dyn Fn(i64) -> Option<f64>>| {
        all.push(Past { name, labels, every, value });
    };
    let info = |labels: &str, sort: &str, name: &str| {
        format!("{labels},module=\"m\",name=\"{name}\",sort=\"{sort}\"")
    };
    let service = |name: &str| {
        format!(
            "humanname=\"{name}\",instance=\"http://{name}.invalid/\",job=\"services\",routing=\"internal\""
        )
    };
    let up = |up: bool| Some(f64::from(u8::from(up)));
    add("probe_success", service("short"), MINUTE, Box::new(move |at| up(!within(at, 20, 120))));
    add(
        "probe_success",
        service("long"),
        MINUTE,
        Box::new(move |at| up(!within(at, 10, 26 * 3600))),
    );
    add(
        "probe_success",
        service("unwatched"),
        MINUTE,
        Box::new(move |at| (!within(at, 15, 6 * 3600)).then_some(1.0)),
    );
    let device = |last: i64| format!("instance=\"192.0.2.{last}\",job=\"lan\",routing=\"lan\"");
    for last in 1..=12 {
        add(
            "probe_success",
            device(last),
            4 * MINUTE,
            Box::new(move |at| match last {
                11 => up(within(at, 25, 3 * 3600)),
                12 => up(false),
                _ => up(true),
            }),
        );
    }
    for name in ["short", "long", "unwatched"] {
        let labels = info(&service(name), &format!("{name}.invalid"), name);
        add("probe_target_info", labels, 4 * MINUTE, Box::new(|_| Some(1.0)));
    }
    for last in 1..=12 {
        let labels =
            info(&device(last), &format!("192.000.002.{last:03}"), &format!("device {last}"));
        add("probe_target_info", labels, 4 * MINUTE, Box::new(|_| Some(1.0)));
    }
    let restarted = end - 5 * DAY;
    add(
        "system_uptime_seconds",
        "instance=\"pi\",job=\"host_metrics\"".to_owned(),
        MINUTE,
        Box::new(move |at| match at - restarted {
            before if before < -600 => Some((at - end + 90 * DAY) as f64),
            // Ten minutes until it is back.
            before if before < 0 => None,
            after => Some(after as f64),
        }),
    );
    all
}

/// The past as a text that is imported: times in seconds, or in milliseconds.
fn exposition(past: &[Past], from: i64, to: i64, milliseconds: bool) -> String {
    let mut text = String::new();
    let mut last = "";
    for series in past {
        if series.name != last && !milliseconds {
            let _ = writeln!(text, "# TYPE {} gauge", series.name);
        }
        last = series.name;
        for (at, value) in series.times(from, to) {
            let at = if milliseconds { at * 1000 } else { at };
            let _ = writeln!(text, "{}{{{}}} {value} {at}", series.name, series.labels);
        }
    }
    if !milliseconds {
        text.push_str("# EOF\n");
    }
    text
}

fn post(address: SocketAddr, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n")
        .unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What a timeline must show of a series at the end of a step.
fn cell(series: &Past, at: i64, step: i64) -> Option<f64> {
    let values: Vec<f64> = series.times(at - step, at).map(|(_, value)| value).collect();
    let least = values.iter().copied().reduce(f64::min)?;
    Some(least + values.iter().copied().reduce(f64::max)?)
}

/// What a timeline must show of a series.
fn cells(series: &Past, view: View) -> BTreeMap<i64, f64> {
    (0..)
        .map(|n| view.from + n * view.step)
        .take_while(|at| *at <= view.to)
        .filter_map(|at| Some((at, cell(series, at, view.step)?)))
        .collect()
}

#[test]
fn thirty_days_of_the_past() {
    let name = "thirty_days_of_the_past";
    let folder = tempfile::tempdir().unwrap();
    let Some(promtool) = peers::find("promtool") else {
        return skip(name, "promtool is not installed");
    };
    let end = now() / 3600 * 3600;
    let begin = end - 30 * DAY;
    let past = month(end);
    // promtool reads the whole text once for each block of two hours: a day at a time it is thirty times as fast.
    let data = folder.path().join("data");
    let mut from = begin - DAY;
    while from < end {
        let to = (((from + 1) / DAY + 1) * DAY - 1).min(end);
        let file = write(folder.path(), "past.txt", &exposition(&past, from, to, false));
        let made = Command::new(&promtool)
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
            .args([&file, &data])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        from = to;
    }
    let Some(prometheus) = peers::prometheus(folder.path(), free_port()) else {
        return skip(name, "prometheus is not installed");
    };
    let Some(victoria) = peers::victoria_metrics(folder.path(), free_port()) else {
        return skip(name, "victoria-metrics is not installed");
    };
    let answer = post(
        victoria.address,
        "/api/v1/import/prometheus",
        &exposition(&past, begin - DAY, end, true),
    );
    assert!(answer.starts_with("HTTP/1.1 204") || answer.starts_with("HTTP/1.0 204"), "{answer}");
    let _ = get(victoria.address, "/internal/force_flush");
    let view = View::new(begin, end, 500, 15);
    for (backend, peer) in [("Prometheus", &prometheus), ("VictoriaMetrics", &victoria)] {
        the_past_of_services(backend, peer, &past, view);
        the_past_of_a_network(backend, peer, &past, view);
        the_past_of_a_host(backend, peer, &past, view);
    }
}

fn the_past_of_services(backend: &str, peer: &Peer, past: &[Past], view: View) {
    let services = question("watchpost-status.json", "Services", "A");
    let found = peer.range(&services.asked(view, &ALL), view);
    assert_eq!(found.len(), 3, "{backend}");
    for (labels, cells) in &found {
        let name = shown(&services.legend, labels);
        let series = past
            .iter()
            .find(|series| {
                series.name == "probe_success"
                    && series.labels.contains(&format!("humanname=\"{name}\""))
            })
            .unwrap();
        assert_eq!(cells, &self::cells(series, view), "{backend}: {name}");
        let count = |value: f64| cells.values().filter(|cell| **cell == value).count();
        let steps = ((view.to - view.from) / view.step + 1) as usize;
        match name.as_str() {
            // Two minutes of thirty days are one cell, or two.
            "short" => assert!((1..=2).contains(&count(1.0)) && count(0.0) == 0, "{backend}"),
            "long" => assert!(count(0.0) >= 16 && (1..=2).contains(&count(1.0)), "{backend}"),
            _ => {
                assert!(cells.len() < steps && cells.values().all(|cell| *cell == 2.0), "{backend}")
            }
        }
    }
    let month = question("watchpost-status.json", "Targets", "D");
    let found = peer.results(&month.asked(view, &ALL), Some(view.to * 1000));
    assert_eq!(found.len(), 3, "{backend}");
    for series in found {
        let name = series["metric"]["instance"].as_str().unwrap();
        let share: f64 = series["value"][1].as_str().unwrap().parse().unwrap();
        let down = match name {
            "http://short.invalid/" => 2.0,
            "http://long.invalid/" => 26.0 * 60.0,
            _ => 0.0,
        };
        assert!((share - (1.0 - down / (30.0 * 1440.0))).abs() < 1e-9, "{backend}: {name} {share}");
    }
    let outages = question("watchpost-status.json", "Targets", "E");
    let found = peer.results(&outages.asked(view, &ALL), Some(view.to * 1000));
    assert_eq!(found.len(), 3, "{backend}");
    for series in found {
        let expected =
            if series["metric"]["instance"] == "http://unwatched.invalid/" { "0" } else { "1" };
        assert_eq!(series["value"][1], expected, "{backend}: {series}");
    }
}

fn the_past_of_a_network(backend: &str, peer: &Peer, past: &[Past], view: View) {
    let addresses = question("watchpost-lan.json", "Addresses", "A");
    let found = peer.range(&addresses.asked(view, &[("job", "lan"), ("vantage", ".*")]), view);
    let names: Vec<String> =
        found.iter().map(|(labels, _)| shown(&addresses.legend, labels)).collect();
    let expected: Vec<String> =
        (1..=11).map(|last| format!("192.0.2.{last} device {last}")).collect();
    assert_eq!(names, expected, "{backend}: natural order, and nobody who never answered");
    let guest = past.iter().find(|series| series.labels.contains("192.0.2.11\"")).unwrap();
    let expected: BTreeMap<i64, f64> = cells(guest, view);
    assert_eq!(found[10].1, expected, "{backend}: the guest");
    assert!(expected.values().any(|value| *value > 0.0), "{backend}");
}

fn the_past_of_a_host(backend: &str, peer: &Peer, past: &[Past], view: View) {
    let uptime = question("watchpost-status.json", "Uptime of hosts, and of Watchpost", "A");
    let found = peer.range(&uptime.asked(view, &[]), view);
    assert_eq!(found.len(), 1, "{backend}");
    let (labels, cells) = &found[0];
    assert_eq!(shown(&uptime.legend, labels), "pi", "{backend}");
    // Red in the cell in which it started anew; and in the next one, where that begins within ten minutes of it.
    let uptime = past.iter().find(|series| series.name == "system_uptime_seconds").unwrap();
    let is_red = |at: &i64| uptime.times(at - view.step, *at).any(|(_, uptime)| uptime < 600.0);
    let steps = (0..).map(|n| view.from + n * view.step).take_while(|at| *at <= view.to);
    let expected: Vec<i64> = steps.filter(is_red).collect();
    assert!(matches!(expected.len(), 1 | 2), "{expected:?}");
    let red = cells.iter().filter(|(_, uptime)| **uptime < 600.0).map(|(at, _)| *at);
    assert_eq!(red.collect::<Vec<_>>(), expected, "{backend}");
}
