//! The sides: which processes they are, and how they are told the same.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::servers::{Responder, Sink};

const PROMETHEUS: &str = "prometheus";
const BLACKBOX: &str = "prometheus-blackbox-exporter";
/// How long a process may take until it answers.
const START_WITHIN: Duration = Duration::from_secs(20);

/// What is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    Tcp,
    Icmp,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Http, Self::Tcp, Self::Icmp];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Icmp => "icmp",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Self::Http => "http_2xx",
            Self::Tcp => "tcp_connect",
            Self::Icmp => "icmp",
        }
    }
}

/// What all measurements share.
pub(super) struct World {
    folder: PathBuf,
    targets: usize,
    interval: u64,
    port: u16,
    sink: String,
    sink_bytes: Arc<AtomicU64>,
}

/// The n-th target's address: 127.0.1.1 to 127.0.1.250, 127.0.2.1 and so on.
pub(super) fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, (1 + n / 250) as u8, (1 + n % 250) as u8)
}

impl World {
    pub(super) fn new(
        folder: &Path,
        targets: usize,
        interval: u64,
        responder: &Responder,
        sink: &Sink,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            targets,
            interval,
            port: responder.port,
            sink: format!("http://{}/api/v1/write", sink.address),
            sink_bytes: Arc::clone(&sink.bytes),
        }
    }

    pub(super) fn sink_bytes(&self) -> u64 {
        self.sink_bytes.load(Ordering::Relaxed)
    }

    /// One file of targets, read by both sides.
    fn target_file(&self, kind: Kind, port: u16) -> PathBuf {
        let mut text = "- targets:\n".to_owned();
        for n in 0..self.targets {
            let address = address(n);
            let _ = match kind {
                Kind::Http => writeln!(text, "    - \"http://{address}:{port}/\""),
                Kind::Tcp => writeln!(text, "    - \"{address}:{port}\""),
                Kind::Icmp => writeln!(text, "    - \"{address}\""),
            };
        }
        let file = self.folder.join(format!("{}-{port}.yml", kind.word()));
        fs::write(&file, text).unwrap();
        file
    }

    /// Watchpost's configuration; its page listens on the second port.
    pub(super) fn watchpost(&self, kind: Kind, port: u16, page: u16, write_to: &str) -> PathBuf {
        let targets = self.target_file(kind, port);
        let text = format!(
            "receivers:\n  probe/bench: {{interval: {}s, module: {}, target_files: [\"{}\"]}}\n\
             exporters:\n  prometheus_remote_write: {{endpoint: \"{write_to}\"}}\n\
             http: {{listen: \"127.0.0.1:{page}\"}}\n",
            self.interval,
            kind.module(),
            targets.display()
        );
        let file = self.folder.join("watchpost.yaml");
        fs::write(&file, text).unwrap();
        file
    }
}

/// Watchpost, as cargo has just built it.
pub(super) fn watchpost(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
    command.arg("run").arg("--config").arg(config).stdin(Stdio::null());
    command.env("WATCHPOST_DUMPABLE", "1");
    command
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Peers that are not there.
pub(super) fn missing() -> Vec<&'static str> {
    [PROMETHEUS, BLACKBOX].into_iter().filter(|program| !installed(program)).collect()
}

/// Who watches, and where the results go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    OursSink,
    TheirsSink,
    OursStore,
    TheirsStore,
}

/// The processes of a side; they end with this.
pub(super) struct Processes {
    children: Vec<(Child, u16)>,
}

impl Processes {
    pub(super) fn ids(&self) -> Vec<u32> {
        self.children.iter().map(|(child, _)| child.id()).collect()
    }

    fn add(&mut self, mut command: Command, port: u16, ready: &str) {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let name = format!("{:?}", command.get_program());
        self.children.push((command.spawn().unwrap(), port));
        let (child, _) = self.children.last_mut().unwrap();
        let end = Instant::now() + START_WITHIN;
        while !get(port, ready).is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            let status = child.try_wait().unwrap();
            assert!(status.is_none() && Instant::now() < end, "{name} does not start: {status:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (child, _) in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OursSink => "watchpost",
            Self::TheirsSink => "blackbox + prometheus agent",
            Self::OursStore => "watchpost + prometheus receiver",
            Self::TheirsStore => "blackbox + prometheus",
        }
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::OursSink | Self::OursStore)
    }

    /// Starts the side and waits until it answers; `None` when a program is missing.
    pub(super) fn start(self, world: &World, kind: Kind) -> Option<Processes> {
        if self != Self::OursSink && !installed(PROMETHEUS)
            || !self.is_ours() && !installed(BLACKBOX)
        {
            return None;
        }
        let mut processes = Processes { children: Vec::new() };
        let data =
            tempfile::Builder::new().prefix("data").tempdir_in(&world.folder).unwrap().keep();
        let page = free_port();
        match self {
            Self::OursSink => {
                let config = world.watchpost(kind, world.port, page, &world.sink);
                processes.add(watchpost(&config), page, "/-/ready");
            }
            Self::OursStore => {
                let port = free_port();
                let config = world.folder.join("prometheus.yml");
                fs::write(&config, "global: {}\n").unwrap();
                let mut command = prometheus(&config, port);
                command.arg("--web.enable-remote-write-receiver");
                command.arg(format!("--storage.tsdb.path={}", data.display()));
                processes.add(command, port, "/-/ready");
                let receiver = format!("http://127.0.0.1:{port}/api/v1/write");
                let config = world.watchpost(kind, world.port, page, &receiver);
                processes.add(watchpost(&config), page, "/-/ready");
            }
            Self::TheirsSink | Self::TheirsStore => {
                processes.add(blackbox(world, page), page, "/-/healthy");
                let port = free_port();
                let agent = self == Self::TheirsSink;
                let config = scraping(world, kind, page, agent);
                let mut command = prometheus(&config, port);
                if agent {
                    command.arg("--enable-feature=agent");
                    command.arg(format!("--storage.agent.path={}", data.display()));
                } else {
                    command.arg(format!("--storage.tsdb.path={}", data.display()));
                }
                processes.add(command, port, "/-/ready");
            }
        }
        Some(processes)
    }

    /// Slots that ended and slots that ended well, as Watchpost's page tells them.
    pub(super) fn slots(self, processes: &Processes) -> Option<(u64, u64)> {
        let (_, page) = processes.children.last().filter(|_| self.is_ours())?;
        let text = get(*page, "/metrics")?;
        let slots = text.lines().filter(|line| line.starts_with("watchpost_slots_total{"));
        let mut sums = (0, 0);
        for line in slots {
            let value = line.rsplit(' ').next()?.parse::<f64>().ok()? as u64;
            sums.0 += value;
            sums.1 += if line.contains("outcome=\"ok\"") { value } else { 0 };
        }
        Some(sums)
    }
}

fn prometheus(config: &Path, port: u16) -> Command {
    let mut command = Command::new(PROMETHEUS);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command
}

fn blackbox(world: &World, port: u16) -> Command {
    let file = world.folder.join("blackbox.yml");
    let text = "modules:\n  http_2xx: {prober: http, http: {preferred_ip_protocol: ip4}}\n  \
        tcp_connect: {prober: tcp, tcp: {preferred_ip_protocol: ip4}}\n  \
        icmp: {prober: icmp, icmp: {preferred_ip_protocol: ip4}}\n";
    fs::write(&file, text).unwrap();
    let mut command = Command::new(BLACKBOX);
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command
}

/// Prometheus' configuration in the way of blackbox_exporter's own manual.
fn scraping(world: &World, kind: Kind, blackbox: u16, write: bool) -> PathBuf {
    let targets = world.target_file(kind, world.port);
    let mut text = format!(
        "global: {{scrape_interval: {0}s, scrape_timeout: {1}s}}\n\
         scrape_configs:\n\
         - job_name: bench\n  metrics_path: /probe\n  params: {{module: [{2}]}}\n  \
         file_sd_configs: [{{files: [\"{3}\"]}}]\n  relabel_configs:\n  \
         - {{source_labels: [__address__], target_label: __param_target}}\n  \
         - {{source_labels: [__param_target], target_label: instance}}\n  \
         - {{target_label: __address__, replacement: \"127.0.0.1:{blackbox}\"}}\n",
        world.interval,
        world.interval.min(10),
        kind.module(),
        targets.display()
    );
    if write {
        let _ = writeln!(text, "remote_write: [{{url: \"{}\"}}]", world.sink);
    }
    let file = world.folder.join("scraping.yml");
    fs::write(&file, text).unwrap();
    file
}

/// A port that is free now; in a namespace of our own it stays so.
pub(super) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The whole answer to a GET.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}
