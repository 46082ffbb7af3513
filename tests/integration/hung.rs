//! A file that hangs stops nothing but its own targets.

use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, write};
use crate::support::hung::{beside_hung, can_hang, child_of};
use crate::support::servers::Server;
use crate::support::{send_signal, skip, until};

#[test]
fn target_file_that_hangs_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let hung = folder.path().join("hung");
    std::fs::create_dir(&hung).unwrap();
    let hung = hung.to_str().unwrap();
    if let Err(why) = can_hang(hung) {
        return skip("target_file_that_hangs_stops_no_other", &why);
    }
    let server = Server::tcp(drop);
    let row =
        |label: &str| format!("- targets: ['{}']\n  labels: {{n: {label}}}\n", server.address);
    let targets = write(folder.path(), "targets.yaml", &row("one"));
    let configuration = format!(
        "receivers:
  probe/good: {{interval: 1s, module: tcp_connect, target_files: [targets.yaml]}}
  probe/tls: {{interval: 1s, module: tls, targets: ['{0}']}}
  probe/stuck: {{interval: 1s, module: tcp_connect, target_files: ['{hung}/targets.yaml']}}
modules:
  tls: {{prober: tcp, timeout: 500ms, tcp: {{tls: true, tls_config: {{ca_file: '{hung}/ca.pem'}}}}}}
exporters: {{prometheus: {{}}}}
http: {{listen: '127.0.0.1:0'}}
",
        server.address
    );
    let file = write(folder.path(), "watchpost.yaml", &configuration);
    let mut daemon = Daemon::start_with(&file, |command| beside_hung(hung, command));
    let count = |daemon: &Daemon, outcome: &str| -> f64 {
        let metrics = daemon.metrics();
        let slots = metrics.iter().filter(|(name, _)| {
            name.starts_with("watchpost_slots_total{")
                && name.contains(outcome)
                && name.contains("probe/good")
        });
        slots.map(|(_, count)| count).sum()
    };
    until("slots of the good target", || (count(&daemon, "\"ok\"") >= 3.0).then_some(()));
    // That a certificate cannot be read is no target's fault.
    let skipped = "watchpost_slots_total{outcome=\"skipped\",reason=\"no_credentials\",receiver=\"probe/tls\"}";
    until("a skipped slot", || (daemon.metrics().get(skipped)? >= &1.0).then_some(()));
    assert!(!daemon.metrics().keys().any(|name| name.contains("outcome=\"failed\"")));
    // Changes of the file beside it are seen.
    std::fs::write(&targets, row("two")).unwrap();
    let served =
        |daemon: &Daemon| crate::support::get(daemon.page, "/metrics/prometheus").unwrap().1;
    until("the changed label", || served(&daemon).contains("n=\"two\"").then_some(()));
    let process = child_of(daemon.child.id()).unwrap();
    send_signal(process, "-HUP");
    until("the reload", || daemon.log().contains("taken over").then_some(()));
    assert_eq!(count(&daemon, "skipped"), 0.0, "{}", daemon.log());
    assert!(
        daemon.log().contains(&format!("{hung}/targets.yaml: not read within")),
        "{}",
        daemon.log()
    );
    let begun = Instant::now();
    send_signal(process, "-TERM");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0), "{}", daemon.log());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[test]
fn many_files_that_hang_stop_no_start_and_no_reload() {
    const NAME: &str = "many_files_that_hang_stop_no_start_and_no_reload";
    let folder = tempfile::tempdir().unwrap();
    let hung = folder.path().join("hung");
    std::fs::create_dir(&hung).unwrap();
    let hung = hung.to_str().unwrap();
    if let Err(why) = can_hang(hung) {
        return skip(NAME, &why);
    }
    let server = Server::tcp(drop);
    // More modules than there are threads, all with the same certificates.
    let configuration = |interval: u32| {
        let modules = (0..40).map(|n| {
            format!("  tls{n}: {{prober: tcp, timeout: 400ms, tcp: {{tls: true, tls_config: {{ca_file: '{hung}/ca.pem', server_name: 'n{n}'}}}}}}\n")
        });
        let receivers = (0..40).map(|n| {
            format!(
                "  probe/tls{n}: {{interval: 1s, module: tls{n}, targets: ['{}']}}\n",
                server.address
            )
        });
        format!(
            "receivers:
  probe/good: {{interval: {interval}s, module: ip4, targets: ['localhost:{}']}}
{}modules:
  ip4: {{prober: tcp, tcp: {{preferred_ip_protocol: ip4}}}}
{}exporters:
  prometheus: {{}}
  otlp_http/stuck: {{endpoint: 'https://127.0.0.1:1', tls: {{ca_file: '{hung}/ca.pem'}}}}
service:
  pipelines:
    metrics: {{receivers: [probe/good], exporters: [prometheus, otlp_http/stuck]}}
http: {{listen: '127.0.0.1:0'}}
",
            server.address.port(),
            receivers.collect::<String>(),
            modules.collect::<String>(),
        )
    };
    let file = write(folder.path(), "watchpost.yaml", &configuration(1));
    let daemon = Daemon::start_with(&file, |command| beside_hung(hung, command));
    let slots = |outcome: &str| -> f64 {
        let metrics = daemon.metrics();
        let own = metrics.iter().filter(|(name, _)| {
            name.starts_with("watchpost_slots_total{")
                && name.contains(outcome)
                && name.contains("probe/good")
        });
        own.map(|(_, count)| count).sum()
    };
    let process = child_of(daemon.child.id()).unwrap();
    let threads = || {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
        line.trim().parse::<usize>().unwrap()
    };
    assert!(daemon.log().contains("certificates not read within 5 s"), "{}", daemon.log());
    let mut before = 0;
    for reload in 0..4 {
        let had = slots("\"ok\"");
        until("more of the good target", || (slots("\"ok\"") >= had + 3.0).then_some(()));
        if reload == 1 {
            before = threads();
        }
        std::fs::write(&file, configuration(1 + reload % 2)).unwrap();
        send_signal(process, "-HUP");
        let taken = |daemon: &Daemon| daemon.log().matches("taken over").count();
        until("the reload", || (taken(&daemon) > reload as usize).then_some(()));
    }
    assert!(threads() <= before + 1, "{} threads, {before} before", threads());
    let metrics = daemon.metrics();
    let failed = metrics.keys().filter(|name| {
        name.starts_with("watchpost_slots_total{") && name.contains("outcome=\"failed\"")
    });
    assert_eq!(failed.count(), 0, "{}", daemon.log());
    assert_eq!(slots("skipped"), 0.0, "{}", daemon.log());
}
