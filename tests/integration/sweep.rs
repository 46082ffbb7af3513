//! A sweep of networks that each test makes for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::alone::{Lan, alone, sh};
use crate::support::daemon::{Daemon, write};
use crate::support::dns::{Answer, Dns};
use crate::support::{peers, run, until, watchpost};

/// Addresses of the other machine that are there.
fn alive() -> Vec<u8> {
    (0..43).map(|n| 1 + n * 5).collect()
}

/// Some of them say nothing to ICMP.
const SILENT: [u8; 3] = [1, 6, 11];
/// One answers at its port 22 alone.
const ONLY_22: u8 = 16;

/// The network of the issue: 43 of 254 addresses, three of them without ICMP, one with port 22 alone.
fn network() -> (Lan, Server) {
    let lan = Lan::new();
    lan.add(alive());
    lan.there(
        "printf 'table inet f { chain i { type filter hook input priority 0; \
         ip daddr { 10.66.0.1, 10.66.0.6, 10.66.0.11, 10.66.0.16 } icmp type echo-request drop; \
         ip daddr { 10.66.0.1, 10.66.0.6, 10.66.0.11 } tcp dport 1-65535 drop; \
         ip daddr 10.66.0.16 tcp dport != 22 drop; }\\n}\\n' | nft -f -",
    );
    let listener = "import socket,time\ns=socket.socket()\ns.setsockopt(1,2,1)\ns.bind((\"10.66.0.16\",22))\ns.listen(64)\ntime.sleep(900)";
    let server = Server::start(&lan, listener);
    (lan, server)
}

/// A program at the other machine that ends with the test.
struct Server(Child);

impl Server {
    fn start(lan: &Lan, python: &str) -> Self {
        let child = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", lan.process()))
            .args(["python3", "-c", python])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self(child);
        until("the port", || {
            let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", server.0.id())).ok()?;
            table.contains(":0016 00000000:0000 0A").then_some(())
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a sweep finds, by the last number of the address.
fn sweep(arguments: &[&str]) -> BTreeMap<u8, Value> {
    let all = [&["sweep", "--json"], arguments].concat();
    let output = run(&all);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let hosts = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let hosts = hosts.map(|host| {
        let address = host["address"].as_str().unwrap();
        (address.rsplit('.').next().unwrap().parse().unwrap(), host)
    });
    hosts.collect()
}

fn up(found: &BTreeMap<u8, Value>) -> Vec<u8> {
    found.iter().filter(|(_, host)| host["up"] == true).map(|(n, _)| *n).collect()
}

fn expected() -> Vec<u8> {
    alive().into_iter().chain([254]).collect()
}

/// The kernel knows nobody.
fn forget() {
    sh("ip neigh flush all");
}

#[test]
fn the_exact_set_twenty_times() {
    if !alone("sweep::the_exact_set_twenty_times", &["nft", "python3", "fping"]) {
        return;
    }
    let (_lan, _server) = network();
    for n in 0..20 {
        let found = sweep(&["10.66.0.0/24", "--no-dns"]);
        assert_eq!(found.len(), 254);
        assert_eq!(up(&found), expected(), "run {n}");
        for (last, host) in &found {
            let by = match last {
                254 => Some("icmp"),
                last if SILENT.contains(last) || *last == ONLY_22 => Some("arp"),
                last if alive().contains(last) => Some("icmp"),
                _ => None,
            };
            assert_eq!(host["by"].as_str(), by, "{host}");
            assert_eq!(host["rtt"].is_number(), by == Some("icmp"), "{host}");
            assert_eq!(host["mac"].is_string(), by.is_some(), "{host}");
        }
        if n % 5 == 0 {
            // A second witness, as far as it can know.
            let output = Command::new("fping")
                .args(["-a", "-g", "-i", "1", "-r", "1", "-t", "500", "10.66.0.1", "10.66.0.254"])
                .output()
                .unwrap();
            let seen = String::from_utf8(output.stdout).unwrap();
            let seen: BTreeSet<&str> = seen.lines().collect();
            let ours = found.values().filter(|host| host["by"] == "icmp");
            let ours: BTreeSet<&str> = ours.map(|host| host["address"].as_str().unwrap()).collect();
            assert_eq!(ours, seen);
        }
        forget();
    }
}

#[test]
fn the_exact_set_twenty_times_with_loss() {
    if !alone("sweep::the_exact_set_twenty_times_with_loss", &["nft", "python3"]) {
        return;
    }
    let (lan, _server) = network();
    lan.lose(5);
    // By its own promise one sweep in three thousand may miss somebody: one of twenty is bad luck, two are a fault.
    let mut missed = Vec::new();
    for n in 0..20 {
        let found = sweep(&["10.66.0.0/24", "--no-dns"]);
        let up = up(&found);
        assert!(up.iter().all(|n| expected().contains(n)), "run {n}: nobody is made up");
        let gone = expected().into_iter().filter(|n| !up.contains(n));
        missed.extend(gone.map(|gone| format!("run {n}: {}", found[&gone])));
        forget();
    }
    assert!(missed.len() <= 1, "{missed:?}");
    missed.iter().for_each(|missed| eprintln!("missed by chance: {missed}"));
}

#[test]
fn ports_of_those_who_are_there() {
    if !alone("sweep::ports_of_those_who_are_there", &["nft", "python3"]) {
        return;
    }
    let (lan, _server) = network();
    let found = sweep(&["10.66.0.0/24", "--no-dns", "--ports", "22,80"]);
    assert_eq!(up(&found), expected());
    assert_eq!(found[&ONLY_22]["by"], "tcp");
    for (last, host) in &found {
        let ports: &[u16] = if *last == ONLY_22 { &[22] } else { &[] };
        assert_eq!(host["ports"], serde_json::json!(ports), "{host}");
    }
    // Beyond a router nobody tells who is there; the port does.
    sh("ip neigh flush all; ip addr add 10.99.0.1/32 dev lo");
    lan.there(
        "ip addr add 10.77.0.16/32 dev lo; ip route add 10.66.0.254/32 dev wpb 2>/dev/null || true",
    );
    sh("ip route add 10.77.0.0/24 via 10.66.0.21");
    let refused = run(&["sweep", "10.77.0.0/29"]);
    assert_eq!(refused.status.code(), Some(64));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("is not attached to this machine") && why.contains("--force"), "{why}");
    let found = sweep(&["10.77.0.16", "10.77.0.17", "--force", "--no-dns", "--effort", "quick"]);
    assert_eq!(up(&found), [16]);
}

#[test]
fn one_sweep_at_a_time_and_refusals() {
    if !alone("sweep::one_sweep_at_a_time_and_refusals", &["ip"]) {
        return;
    }
    let _lan = Lan::new();
    // Whoever has read enough ends it.
    let mut read = watchpost()
        .args(["sweep", "10.66.0.0/24", "--no-dns", "--json", "--rate", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(read.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    drop(lines);
    let end = until("its end", || read.try_wait().unwrap());
    assert!(end.success(), "{end}");
    let mut first = watchpost()
        .args(["sweep", "10.66.0.0/24", "--no-dns", "--effort", "thorough"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the first one to begin", || {
        let names = std::fs::read_to_string("/proc/net/unix").unwrap();
        names.contains("@watchpost-sweep").then_some(())
    });
    let second = run(&["sweep", "10.66.0.1", "--no-dns", "--effort", "quick"]);
    let why = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(1) && why.contains("another sweep goes on"), "{why}");
    assert!(first.wait().unwrap().success());
    for (arguments, why) in [
        (&["sweep"][..], "attached to 10.66.0.0/24 (wpa)"),
        (&["sweep", "10.66.0.0/33"], "is no subnet"),
        (&["sweep", "10.66.0.0/21"], "not attached"),
        (&["sweep", "198.51.100.0/24"], "neither private nor link-local"),
        (&["sweep", "10.0.0.0/8", "--force"], "more than a sweep can hold"),
        (&["sweep", "10.66.0.0/24", "--leases", "/nowhere"], "/nowhere"),
    ] {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(why), "{said}");
    }
    sh("ip addr add 10.70.0.1/16 dev wpa");
    let large = run(&["sweep", "10.70.0.0/20"]);
    let said = String::from_utf8_lossy(&large.stderr).into_owned();
    assert!(said.contains("4094 addresses are more than the 1024 of a /22"), "{said}");
}

#[test]
fn old_neighbours_that_are_gone_are_gone() {
    if !alone("sweep::old_neighbours_that_are_gone_are_gone", &["nft", "python3"]) {
        return;
    }
    let (lan, _server) = network();
    // Reachable half a minute ago, says the kernel; one of them is still there.
    lan.remove([6]);
    sh("ip neigh add 10.66.0.6 lladdr 02:00:00:00:00:06 dev wpa nud stale; \
        ip neigh add 10.66.0.11 lladdr 02:00:00:00:00:11 dev wpa nud stale; \
        ip neigh add 10.66.0.77 lladdr 02:00:00:00:00:77 dev wpa nud permanent");
    let found = sweep(&["10.66.0.0/24", "--no-dns"]);
    let expected: Vec<u8> = expected().into_iter().filter(|n| *n != 6).collect();
    assert_eq!(up(&found), expected, "{:?} {:?}", found[&6], found[&77]);
}

#[test]
fn names_and_who_says_them() {
    if !alone("sweep::names_and_who_says_them", &["ip"]) {
        return;
    }
    let lan = Lan::new();
    lan.add([1, 2, 3, 4, 5]);
    let dns = Dns::new([
        ("4.0.66.10.in-addr.arpa", Answer::Name("printer.home.")),
        ("3.0.66.10.in-addr.arpa", Answer::Name("not-asked.home.")),
        ("5.0.66.10.in-addr.arpa", Answer::Silence),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let names = write(
        folder.path(),
        "lan.yaml",
        "- targets:\n  - 10.66.0.1;Router;lan\n  - 10.66.0.2;-;lan\n",
    );
    let leases = write(
        folder.path(),
        "leases",
        "0 02:00:00:00:00:01 10.66.0.1 no *\n0 02:00:00:00:00:02 10.66.0.2 phone *\n",
    );
    let hosts = write(folder.path(), "hosts", "127.0.0.1 localhost\n10.66.0.3 nas nas.home\n");
    sh(&format!("mount --bind {} /etc/hosts", hosts.display()));
    let config = format!("resolver: {{nameservers: ['{}']}}\n", dns.address);
    let config = write(folder.path(), "watchpost.yaml", &config);
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let found = sweep(&[
        "10.66.0.0/29",
        "--config",
        &path(&config),
        "--names",
        &path(&names),
        "--leases",
        &path(&leases),
    ]);
    let told = |n: u8| {
        let text = |key: &str| found[&n][key].as_str().unwrap_or("-").to_owned();
        format!("{} {}", text("name"), text("name_source"))
    };
    let all: Vec<String> = (1..=5).map(told).collect();
    assert_eq!(all, ["Router file", "phone dhcp", "nas hosts", "printer.home dns", "- -"]);
    // Many at once: each waits for its turn.
    lan.add(10..=90);
    let many: Vec<(&'static str, Answer)> = (10..=90)
        .map(|n| {
            let leak = |text: String| -> &'static str { text.leak() };
            let name = leak(format!("host-{n}.home."));
            (leak(format!("{n}.0.66.10.in-addr.arpa")), Answer::Name(name))
        })
        .collect();
    let dns = Dns::new(many);
    let text = format!("resolver: {{nameservers: ['{}']}}\n", dns.address);
    let other = write(folder.path(), "other.yaml", &text);
    let all = sweep(&["10.66.0.0/24", "--config", &path(&other)]);
    let named = (10..=90).filter(|n| all[n]["name"] == format!("host-{n}.home")).count();
    assert_eq!(named, 81);
    // A table for people has them, too.
    let output = watchpost()
        .args(["sweep", "10.66.0.0/29", "--no-dns", "--names", &path(&names)])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Router") && text.contains("5 of 6 addresses are there"), "{text}");
}

#[test]
fn a_job_keeps_the_file_of_a_network() {
    if !alone("sweep::a_job_keeps_the_file_of_a_network", &["ip", "nft"]) {
        return;
    }
    let lan = Lan::new();
    lan.add([1, 2, 9, 10]);
    let folder = tempfile::tempdir().unwrap();
    let head = "- targets:  # url;humanname;network\n  - 10.66.0.1;router;lan\n  # FOUND\n";
    let file = write(folder.path(), "ping-lan.yaml", head);
    let config = "discovery: {lan: {sweep: {subnets: [10.66.0.0/24], dns: false, effort: quick}, \
                  output: {file: ping-lan.yaml, keep_until: '# FOUND'}}}\n";
    let config = write(folder.path(), "watchpost.yaml", config);
    let discover = |code: i32| {
        let output =
            run(&["discover", "--config", config.to_str().unwrap(), "--detailed-exitcode"]);
        let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        assert_eq!(output.status.code(), Some(code), "{said}");
        (std::fs::read_to_string(&file).unwrap(), said)
    };
    let (text, said) = discover(2);
    let row = |n: u8| format!("  - 10.66.0.{n};-;lan\n");
    assert_eq!(text, format!("{head}{}{}{}{}", row(2), row(9), row(10), row(254)));
    assert!(said.contains("5 of 254 addresses are there"), "{said}");
    discover(0);
    let edited = text.replace("10.66.0.9;-", "10.66.0.9;Drucker");
    std::fs::write(&file, &edited).unwrap();
    assert_eq!(discover(0).0, edited);
    // One is gone, and comes back.
    lan.remove([9]);
    sh("ip neigh flush all");
    let gone = discover(2).0;
    assert!(gone.contains("  - 10.66.0.9;Drucker;lan  # last seen 2"), "{gone}");
    assert_eq!(discover(0).0, gone);
    lan.add([9]);
    assert_eq!(discover(2).0, edited);
    // All are gone: that says more of this machine. The gone one's week is over.
    let year = gone.replace("last seen 2", "last seen 1");
    lan.remove([9]);
    sh("ip neigh flush all");
    std::fs::write(&file, &year).unwrap();
    assert!(!discover(2).0.contains("Drucker"));
    // Many whose time is over go together.
    let old: String =
        (100..112).map(|n| format!("  - 10.66.0.{n};-;lan  # last seen 2026-01-01\n")).collect();
    std::fs::write(&file, format!("{head}{}{old}", row(10))).unwrap();
    let text = discover(2).0;
    assert!(text.contains("10.66.0.10;") && !text.contains("10.66.0.10;-;lan  #"), "{text}");
    assert!(!text.contains("10.66.0.105"), "{text}");
    // Who has one MAC with many others, and answers nothing, is taken for a router's; what was known stays.
    lan.add(120..140);
    lan.there(
        "printf 'table inet f { chain i { type filter hook input priority 0; \
         ip daddr 10.66.0.120-10.66.0.139 drop; }\\n}\\n' | nft -f -",
    );
    std::fs::write(&file, format!("{text}  - 10.66.0.125;known;lan\n")).unwrap();
    // In its order, which is all that changes.
    let (text, said) = discover(2);
    assert!(said.contains("taken for a router's"), "{said}");
    assert_eq!(discover(0).0, text);
    assert!(text.contains("10.66.0.125;known;lan\n") && !text.contains("10.66.0.126"), "{text}");
    // Not attached any more: the job fails, the file stays.
    sh("ip addr del 10.66.0.254/24 dev wpa");
    let (kept, said) = discover(1);
    assert!(said.contains("is not attached to this machine"), "{said}");
    assert!(kept.contains("10.66.0.10"));
}

#[test]
fn a_lan_is_watched_and_prometheus_has_it() {
    let test = "sweep::a_lan_is_watched_and_prometheus_has_it";
    if !alone(test, &["prometheus", "ip"]) {
        return;
    }
    let lan = Lan::new();
    lan.add(alive());
    let folder = tempfile::tempdir().unwrap();
    let prometheus = peers::prometheus(folder.path(), crate::support::free_port()).unwrap();
    write(
        folder.path(),
        "ping-lan.yaml",
        "- targets:\n  - 10.66.0.1;Router;lan\n  - 10.66.0.6;-;lan\n  - 10.66.0.200;Tablet;lan\n",
    );
    let config = format!(
        "receivers:\n  probe/lan: {{interval: 2s, timeout: 1s, module: icmp, targets: [10.66.0.0/24], target_files: [ping-lan.yaml], labels: {{routing: lan}}}}\n\
         discovery: {{lan: {{sweep: {{subnets: [10.66.0.0/24], dns: false}}, output: {{file: ping-lan.yaml, keep_until: '#'}}}}}}\n\
         exporters: {{prometheus_remote_write: {{endpoint: 'http://{}/api/v1/write'}}}}\n\
         http: {{listen: '127.0.0.1:0'}}\n",
        prometheus.address
    );
    let config = config.replace(", keep_until: '#'", "");
    let config = write(folder.path(), "watchpost.yaml", &config);
    let mut daemon = Daemon::start(&config);
    let value = |query: &str| prometheus.query(query).first().map(|(_, value)| *value);
    until("all rows", || value("count(probe_success{job=\"lan\"})").filter(|n| *n == 254.0));
    until("all of them up", || value("sum(probe_success)").filter(|n| *n == 44.0));
    // Rows have names and sort as addresses do.
    let rows = prometheus.query("probe_target_info{job=\"lan\"}");
    assert_eq!(rows.len(), 254);
    let mut sorts: Vec<(String, String)> = rows
        .iter()
        .map(|(labels, _)| {
            let text = |key: &str| labels[key].as_str().unwrap_or_default().to_owned();
            (text("sort"), text("instance"))
        })
        .collect();
    sorts.sort();
    let addresses: Vec<String> = sorts.into_iter().map(|(_, instance)| instance).collect();
    let natural: Vec<String> = (1..=254).map(|n| format!("10.66.0.{n}")).collect();
    assert_eq!(addresses, natural);
    let named =
        "probe_success * on (instance, job) group_left (name, sort) probe_target_info{name!=\"\"}";
    let names: BTreeMap<String, f64> = prometheus
        .query(named)
        .into_iter()
        .map(|(labels, value)| (labels["name"].as_str().unwrap().to_owned(), value))
        .collect();
    let expected = [("Router".to_owned(), 1.0), ("Tablet".to_owned(), 0.0)];
    assert_eq!(names, BTreeMap::from(expected));
    // A name is no label of what is measured: it may change.
    assert!(prometheus.query("probe_success{humanname=~\".+\"}").is_empty());
    assert_eq!(value("count(probe_success{routing=\"lan\"})"), Some(254.0));
    // Who was never there counts apart from who is down: the tablet is known, and not there.
    let state = |state: &str| {
        let own = format!("watchpost_targets_by_state{{receiver=\"probe/lan\",state=\"{state}\"}}");
        daemon.metrics().get(&own).copied()
    };
    until("the states", || (state("never_seen") == Some(209.0)).then_some(()));
    assert_eq!((state("up"), state("down"), state("waiting")), (Some(44.0), Some(1.0), Some(0.0)));

    // Ten go, and come back: the timeline says so.
    let ten = || alive().into_iter().skip(20).take(10);
    lan.remove(ten());
    until("ten to be down", || value("sum(probe_success)").filter(|n| *n == 34.0));
    until("the states", || (state("down") == Some(11.0)).then_some(()));
    lan.add(ten());
    until("ten to be up again", || value("sum(probe_success)").filter(|n| *n == 44.0));
    let those: Vec<String> = ten().map(|n| format!("10.66.0.{n}")).collect();
    let own = format!("{{instance=~\"{}\"}}[60s]", those.join("|"));
    let timeline = format!(
        "count(min_over_time(probe_success{own}) == 0 and max_over_time(probe_success{own}) == 1)"
    );
    until("the timeline", || value(&timeline).filter(|n| *n == 10.0));

    // A name is written: the rows go on, and have it.
    let file = folder.path().join("ping-lan.yaml");
    let text = std::fs::read_to_string(&file).unwrap().replace("10.66.0.6;-", "10.66.0.6;Drucker");
    std::fs::write(&file, text).unwrap();
    let drucker = "probe_target_info{instance=\"10.66.0.6\",name=\"Drucker\"}";
    until("the name", || value(drucker));
    until("no row without it", || {
        (prometheus.query("probe_target_info{instance=\"10.66.0.6\"}").len() == 1).then_some(())
    });
    let log = daemon.log();
    assert!(!log.contains("10.66.0.2 "), "who was never there is not told:\n{log}");
    assert_eq!(daemon.stop(), 0, "{log}");
}
