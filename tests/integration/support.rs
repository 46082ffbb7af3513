//! What the tests share: servers that behave and servers that do not, certificates, a name server,
//! real peers from Debian's packages, and ways to run the program. Everything listens on loopback, on
//! ports that the kernel chose, and ends with the test.

pub mod alone;
pub mod backend;
pub mod certificates;
pub mod daemon;
pub mod dns;
pub mod grafana;
pub mod hung;
pub mod otlp_reader;
pub mod peers;
pub mod probed;
pub mod promql;
pub mod recorder;
pub mod servers;
pub mod units;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use watchpost::config::{self, Environment, Sources, Strictness};
use watchpost::net::resolve::Resolver;
use watchpost::probe::readings::{Own, readings};
use watchpost::probe::{Tools, attempt};
use watchpost::signal::outcome::{Outcome, SlotResult};
use watchpost::wire::naming::Naming;

/// The longest that a test waits for something to become true.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The program, as it was built for this test.
pub fn watchpost() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
    command.env_remove("NO_COLOR").env_remove("NOTIFY_SOCKET");
    // Tests look into /proc of the daemon, which belongs to root otherwise.
    command.env("WATCHPOST_DUMPABLE", "1");
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    watchpost().args(arguments).output().unwrap()
}

/// Says by name that a test cannot run here. In CI a missing peer is a failure.
pub fn skip(name: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{name} must run in CI: {reason}");
    eprintln!("skipped {name}: {reason}");
    if let Some(path) = std::env::var_os("WATCHPOST_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "skipped {name}: {reason}").unwrap();
    }
}

/// Waits until something is there.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends a signal, by its name on the command line of `kill`, which not every machine has.
pub fn send_signal(process: u32, name: &str) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match name {
        "-TERM" => Signal::TERM,
        "-INT" => Signal::INT,
        "-HUP" => Signal::HUP,
        "-STOP" => Signal::STOP,
        "-CONT" => Signal::CONT,
        other => panic!("{other}"),
    };
    let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

/// A port that nobody listens on, and that nobody is given by the kernel: it is below the range from
/// which ports are chosen for those who ask for any, and no two calls get the same.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 100) as u16 * 100;
    loop {
        let port = 15_000 + (first + NEXT.fetch_add(1, Ordering::SeqCst)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A small HTTP client: status and body, or nothing when nobody answers.
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// Percent-encodes a query's value.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }
        })
        .collect()
}

/// Values by series, as `name{label="value",...}` with sorted labels.
pub type Metrics = BTreeMap<String, f64>;

/// Reads Prometheus' text format.
pub fn parse_metrics(text: &str) -> Metrics {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let series = match series.split_once('{') {
                None => series.to_owned(),
                Some((name, labels)) => {
                    // No value of ours or of blackbox_exporter's in tests holds `",`.
                    let inner = labels.trim_end_matches('}').trim_end_matches(',');
                    let mut pairs: Vec<&str> =
                        inner.split_inclusive("\",").map(|p| p.trim_end_matches(',')).collect();
                    pairs.sort_unstable();
                    format!("{name}{{{}}}", pairs.join(","))
                }
            };
            (series, value.parse().unwrap())
        })
        .collect()
}

/// A receiver without targets or wishes of its own.
pub fn receiver() -> config::plan::Receiver {
    config::plan::Receiver {
        name: "probe".into(),
        job: "probe".into(),
        interval: Duration::from_secs(60),
        timeout: None,
        module: None,
        labels: Default::default(),
        disabled: Default::default(),
        inline: Vec::new(),
        files: Vec::new(),
    }
}

/// One attempt by the library: what happened, and what would be published about it.
/// `modules` is the text of a `modules:` section, indented by two; `resolver` names a server.
pub fn attempt_with(
    modules: &str,
    resolver: Option<SocketAddr>,
    module: &str,
    target: &str,
) -> Result<(Outcome, Metrics), String> {
    let resolver = resolver.map_or_else(String::new, |a| {
        format!("resolver: {{nameservers: ['{a}'], timeout: 2s, attempts: 1}}\n")
    });
    let text = format!("{resolver}modules:\n{modules}\n");
    let sources = Sources { configs: vec![format!("yaml:{text}")], sets: Vec::new() };
    let loaded = config::load(&sources, &Environment::new(), Strictness::Run);
    let plan = loaded.plan.ok_or_else(|| format!("{:?}", loaded.problems))?;
    let line = format!("{target};;;;{module}");
    let origin = watchpost_targets::Origin { file: "test".into(), line: 1 };
    let target = watchpost_targets::parse_line(&line, &Default::default(), origin)
        .map_err(|p| p.to_string())?;
    let receiver = receiver();
    let planned = config::targets::plan_target(&receiver, &plan.modules, &target, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let tools =
            Tools { resolver: Resolver::new(plan.resolver.clone()), icmp: Default::default() };
        attempt(&planned.module, &planned.address, planned.timeout, &tools).await
    });
    let SlotResult::Outcome(outcome) = result else { return Err(format!("{result:?}")) };
    let naming = Naming::default();
    let metrics = readings(&planned.module.prober, &outcome, planned.timeout)
        .into_iter()
        .map(|reading| {
            let mut pairs: Vec<String> = match &reading.own {
                Own::None => Vec::new(),
                Own::Phase(phase) => vec![format!("phase=\"{}\"", phase.word())],
                Own::Pairs(pairs) => {
                    pairs.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect()
                }
            };
            pairs.sort();
            let name = naming.metric(reading.metric);
            let series =
                if pairs.is_empty() { name } else { format!("{name}{{{}}}", pairs.join(",")) };
            (series, reading.value)
        })
        .collect();
    Ok((*outcome, metrics))
}
