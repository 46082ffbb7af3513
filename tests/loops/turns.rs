//! Nothing that a peer sends keeps a loop for longer than 20 ms of CPU time, and the targets beside it are probed in
//! time.

use std::time::Duration;

use crate::alone;
use crate::corpus::Corpus;
use crate::support::daemon::{Daemon, write};
use crate::support::servers::{Request, Server};
use crate::support::until;

/// The longest turn that is allowed, in seconds of CPU time.
const LONGEST: f64 = 0.020;
/// Slots of the witness.
const SLOTS: f64 = 20.0;

#[test]
fn hostile_peers_keep_no_loop_for_long() {
    let _alone = alone();
    let corpus = Corpus::new();
    let folder = tempfile::tempdir().unwrap();
    let witness = Server::tcp(drop);
    let endless = Server::tcp(|mut stream| {
        use std::io::Write as _;
        let _ = Request::read(&mut stream);
        let begun = std::time::Instant::now();
        let piece = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(500);
        while begun.elapsed() < Duration::from_secs(3) && stream.write_all(&piece).is_ok() {}
    });
    let targets = corpus.list.iter().map(|h| format!("\"{};{};;;{}\"", h.target, h.name, h.module));
    let many = (0..6_000).map(|n| format!("\"127.0.{}.{}:1;many;;;tcp\"", n / 250, n % 250 + 1));
    let many: Vec<String> = many.collect();
    let configuration = format!(
        "resolver: {{nameservers: ['{dns}'], timeout: 500ms, attempts: 1}}
modules:
{modules}
receivers:
  probe/hostile: {{interval: 2s, targets: [{targets}]}}
  probe/witness: {{interval: 1s, module: tcp, targets: ['{witness}']}}
  probe/many: {{interval: 1h, target_files: [many.yaml]}}
exporters:
  prometheus_remote_write/junk: {{endpoint: 'https://{junk}/', tls: {{ca_file: '{ca}'}}}}
  prometheus_remote_write/endless: {{endpoint: 'http://{endless}/'}}
  prometheus: {{}}
http: {{listen: '127.0.0.1:0'}}
",
        dns = corpus.dns,
        modules = corpus.modules(),
        targets = targets.collect::<Vec<_>>().join(", "),
        witness = witness.address,
        junk = corpus.junk,
        ca = corpus.ca.display(),
        endless = endless.address,
    );
    write(folder.path(), "many.yaml", "[]");
    let file = write(folder.path(), "watchpost.yaml", &configuration);
    let daemon = Daemon::start(&file);
    let probe = thread_named(daemon.child.id(), "probe");
    let delayed = run_queue_delay(&probe);
    let due =
        |daemon: &Daemon| daemon.metrics()["watchpost_slots_due_total{receiver=\"probe/witness\"}"];
    until("half of the slots", || (due(&daemon) >= SLOTS / 2.0).then_some(()));
    write(folder.path(), "many.yaml", &format!("- targets: [{}]\n", many.join(", ")));
    until("the witness's slots", || (due(&daemon) >= SLOTS).then_some(()));
    let metrics = daemon.metrics();
    let delayed = (run_queue_delay(&probe) - delayed).as_secs_f64();
    assert_eq!(metrics["watchpost_targets{receiver=\"probe/many\"}"], 6_000.0);
    for name in ["probe", "main"] {
        let longest = metrics[&format!("watchpost_loop_longest_turn_seconds{{loop=\"{name}\"}}")];
        let turns = metrics[&format!("watchpost_loop_turn_seconds_count{{loop=\"{name}\"}}")];
        eprintln!("{name}: {turns} turns, the longest {:.1} ms", longest * 1e3);
        assert!(turns > 100.0 && longest <= LONGEST, "{name}: a turn of {longest} s");
    }
    let of_witness = |name: &str, more: &str| {
        let series = format!("{name}{{{more}receiver=\"probe/witness\"}}");
        metrics.get(&series).copied().unwrap_or_default()
    };
    let ok = of_witness("watchpost_slots_total", "outcome=\"ok\",");
    let ended = of_witness("watchpost_slot_lateness_seconds_count", "");
    assert!(ok >= ended && ended >= SLOTS - 2.0, "{ok} of {ended} slots were ok");
    // CPU time that others took is not the loop's fault.
    let late = of_witness("watchpost_slot_lateness_seconds_sum", "");
    eprintln!("witness: late by {late:.3} s in all, of which the run queue {delayed:.3} s");
    assert!(late - delayed <= LONGEST * ended, "late by {late} s, delayed by {delayed} s");
    assert!(daemon.child.id() > 0);
}

/// The `/proc` folder of a thread of a process.
fn thread_named(process: u32, name: &str) -> std::path::PathBuf {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut threads = threads.map(|thread| thread.unwrap().path());
    let is = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    threads.find(is).expect("there is such a thread")
}

fn run_queue_delay(thread: &std::path::Path) -> Duration {
    let text = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0))
}
