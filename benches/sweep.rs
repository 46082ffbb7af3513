//! A sweep beside `fping -g`, in network namespaces that this bench makes for itself (as root).
//!
//! ```text
//! cargo bench --bench sweep                        # about 4 minutes
//! cargo bench --bench sweep -- --rounds 3 --parts lan,loss
//! ```
//!
//! * `lan`: a /24 on a cable, 43 of 254 addresses alive, three of them without ICMP, one with TCP 22
//!   alone. Ours and fping, with its defaults and tuned, take turns; before each the kernel forgets its
//!   neighbours. Wall time and CPU time (user and system, of the process) are medians, *found* is how
//!   many addresses were found, from the fewest to the most: fping cannot know the four that drop ICMP,
//!   so that 39 is all for it.
//! * `loss`: the same with 5 % of all packets lost each way, ARP too.
//! * `large`: a /16 of answering addresses at 2,000 packets a second, with the resident memory while it
//!   goes.
//! * `watch`: the daemon probes 254 addresses every minute: its CPU time in a minute, and its memory.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs
)]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Set where the bench has a network of its own.
const ALONE: &str = "WATCHPOST_BENCH_ALONE";
const OURS: &str = env!("CARGO_BIN_EXE_watchpost");

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let rounds: usize = after("--rounds").and_then(|text| text.parse().ok()).unwrap_or(10);
    let parts = after("--parts").unwrap_or_else(|| "lan,loss,large,watch".to_owned());
    if std::env::var_os(ALONE).is_none() {
        for part in parts.split(',') {
            // A namespace for each part: nothing is left over.
            let status = Command::new("unshare")
                .args(["--net", "--mount"])
                .arg(std::env::current_exe().unwrap())
                .args(["--rounds", &rounds.to_string(), "--parts", part])
                .env(ALONE, "1")
                .status();
            if !status.is_ok_and(|status| status.success()) {
                println!("{part}: left out: no namespace, or nft, fping or python3 is missing");
            }
        }
        return;
    }
    sh("ip link set lo up");
    match parts.as_str() {
        "lan" => beside("without loss", rounds, 0),
        "loss" => beside("with 5 % loss each way", rounds, 5),
        "large" => large(),
        "watch" => watch(),
        other => panic!("lan, loss, large and watch are parts, {other:?} is none"),
    }
}

fn sh(script: &str) {
    assert!(Command::new("sh").args(["-ec", script]).status().unwrap().success(), "{script}");
}

/// The other machine; it ends with the bench.
struct Other(Child);

impl Other {
    fn new(loss: u8) -> Self {
        let other = Self(Command::new("unshare").args(["--net", "sleep", "1200"]).spawn().unwrap());
        std::thread::sleep(Duration::from_millis(500));
        let number = other.0.id();
        sh(&format!(
            "ip link add wpa type veth peer name wpb netns {number}; \
             ip addr add 10.66.0.254/24 dev wpa; ip link set wpa up"
        ));
        other.run("ip link set lo up; ip link set wpb up; ip route add 10.66.0.254/32 dev wpb");
        for n in 0..43 {
            other.run(&format!("ip addr add 10.66.0.{}/32 dev wpb", 1 + n * 5));
        }
        other.run(
            "printf \"table inet f { chain i { type filter hook input priority 0; \
             ip daddr { 10.66.0.1, 10.66.0.6, 10.66.0.11, 10.66.0.16 } icmp type echo-request drop; }\\n}\\n\" | nft -f -",
        );
        if loss > 0 {
            let table = |device: &str| {
                format!(
                    "printf \"table netdev l {{ chain c {{ type filter hook ingress device {device} priority 0; \
                     numgen random mod 100 < {loss} drop; }}\\n}}\\n\" | nft -f -"
                )
            };
            sh(&table("wpa"));
            other.run(&table("wpb"));
        }
        other
    }

    fn run(&self, script: &str) {
        sh(&format!("nsenter --net=/proc/{}/ns/net sh -ec '{script}'", self.0.id()));
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One run: wall and CPU time in seconds, and how many were found.
fn timed(command: &str) -> (f64, f64, usize) {
    let script = format!("TIMEFORMAT='%R %U %S'; time {command} 2>/dev/null");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout).lines().count();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let numbers: Vec<f64> = errors
        .lines()
        .last()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|text| text.parse().ok())
        .collect();
    assert_eq!(numbers.len(), 3, "{errors}");
    (numbers[0], numbers[1] + numbers[2], found)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn beside(title: &str, rounds: usize, loss: u8) {
    let _other = Other::new(loss);
    let sides = [
        (
            "watchpost sweep",
            format!(
                "{OURS} sweep 10.66.0.0/24 --no-dns --json | grep '\"up\":true' | grep -vF 10.66.0.254"
            ),
        ),
        (
            "watchpost sweep --effort quick",
            format!(
                "{OURS} sweep 10.66.0.0/24 --no-dns --effort quick --json | grep '\"up\":true' | grep -vF 10.66.0.254"
            ),
        ),
        ("fping -g, defaults", "fping -a -g 10.66.0.1 10.66.0.253".to_owned()),
        (
            "fping -g -i 1 -r 1 -t 500",
            "fping -a -g -i 1 -r 1 -t 500 10.66.0.1 10.66.0.253".to_owned(),
        ),
    ];
    let mut results = vec![Vec::new(); sides.len()];
    for _ in 0..rounds {
        for ((_, command), results) in sides.iter().zip(&mut results) {
            sh("ip neigh flush all");
            results.push(timed(command));
        }
    }
    println!("\nA /24 {title}, 43 there, {rounds} rounds in turn");
    println!("{:<32} {:>8} {:>9} {:>9}", "", "wall s", "CPU ms", "found");
    for ((name, _), results) in sides.iter().zip(results) {
        let wall = median(results.iter().map(|r| r.0).collect());
        let cpu = median(results.iter().map(|r| r.1 * 1e3).collect());
        let (least, most) = (
            results.iter().map(|r| r.2).min().unwrap(),
            results.iter().map(|r| r.2).max().unwrap(),
        );
        let found = if least == most { format!("{most}") } else { format!("{least}..{most}") };
        println!("{name:<32} {wall:>8.2} {cpu:>9.0} {found:>9}");
    }
}

/// Resident memory of a process in KiB, and the CPU time that it has used, in seconds.
fn state(process: u32) -> Option<(u64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let memory = line.split_whitespace().nth(1)?.parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?;
    Some((memory, ticks / 100.0))
}

fn large() {
    sh("ip route add local 10.200.0.0/16 dev lo");
    let began = std::time::Instant::now();
    let mut child = Command::new(OURS)
        .args(["sweep", "10.200.0.0/16", "--force", "--rate", "2000", "--no-dns"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut states = Vec::new();
    while child.try_wait().unwrap().is_none() {
        states.extend(state(child.id()));
        std::thread::sleep(Duration::from_millis(500));
    }
    let wall = began.elapsed().as_secs_f64();
    let memory: Vec<String> = (1..=4)
        .filter_map(|n| states.get((states.len() * n / 4).saturating_sub(1)))
        .map(|(memory, _)| format!("{:.1}", *memory as f64 / 1024.0))
        .collect();
    let cpu = states.last().map_or(0.0, |(_, cpu)| *cpu);
    println!("\nA /16 of answering addresses at 2,000 packets/s");
    println!(
        "wall {wall:.1} s, CPU {cpu:.2} s, resident MiB at each quarter: {}",
        memory.join(" ")
    );
}

fn watch() {
    let _other = Other::new(0);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("watchpost.yaml");
    let text = "receivers: {probe/lan: {interval: 60s, module: icmp, targets: [10.66.0.0/24]}}\n\
                modules: {icmp: {prober: icmp, timeout: 2s}}\n\
                exporters: {prometheus: }\nhttp: {listen: '127.0.0.1:0'}\n";
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(OURS)
        .args(["run", "--config", config.to_str().unwrap(), "--log-level", "error"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(15));
    let before = state(child.id()).unwrap();
    std::thread::sleep(Duration::from_secs(60));
    let after = state(child.id()).unwrap();
    let _ = child.kill();
    let _ = child.wait();
    println!("\n254 addresses by ICMP every minute, 43 of them there");
    println!(
        "CPU {:.0} ms in a minute (in steps of 10), {:.1} MiB resident",
        (after.1 - before.1) * 1e3,
        after.0 as f64 / 1024.0
    );
}
