//! Processes that are scraped: node_exporter, and Watchpost.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NODE_EXPORTER: &str = "prometheus-node-exporter";
/// How long a process may take until it answers.
const START_WITHIN: Duration = Duration::from_secs(20);

/// The collectors of node_exporter that bring what the default collection does. `stat` has the time of
/// the start, for `system.uptime`.
const SAME: [&str; 13] = [
    "--collector.disable-defaults",
    "--web.disable-exporter-metrics",
    "--collector.cpu",
    "--collector.loadavg",
    "--collector.meminfo",
    "--collector.vmstat",
    "--collector.diskstats",
    "--collector.filesystem",
    "--collector.netdev",
    "--collector.stat",
    "--collector.pressure",
    "--collector.hwmon",
    "--collector.thermal_zone",
];

/// Where it is: on the path, or unpacked where the tests unpack their peers.
fn node_exporter() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/usr/bin");
    let mut folders = std::env::split_paths(&path).chain([peers]);
    folders.find_map(|folder| Some(folder.join(NODE_EXPORTER)).filter(|file| file.exists()))
}

/// The peer's version, or how to get it.
pub(super) fn version() -> String {
    let Some(program) = node_exporter() else {
        return "node_exporter is missing and left out. Debian's package, unpacked, not installed:\n  \
            mkdir -p target/peers && cd target/peers && apt-get download prometheus-node-exporter \
            && dpkg-deb -x prometheus-node-exporter_*.deb ."
            .to_owned();
    };
    let told = Command::new(program).arg("--version").output().unwrap();
    let text =
        String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    text.lines().next().unwrap_or_default().to_owned()
}

/// A process that answers scrapes over one kept connection. It ends with this.
pub(super) struct Peer {
    child: Child,
    connection: BufReader<TcpStream>,
    request: String,
    body: Vec<u8>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free now.
pub(super) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Peer {
    /// node_exporter as it comes.
    pub(super) fn whole() -> Option<Self> {
        Self::node(&[])
    }

    /// node_exporter with only what the default collection has, too.
    pub(super) fn same() -> Option<Self> {
        Self::node(&SAME)
    }

    /// node_exporter with these arguments.
    pub(super) fn node(arguments: &[&str]) -> Option<Self> {
        let port = free_port();
        let mut command = Command::new(node_exporter()?);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).args(arguments);
        Some(Self::start(command, port))
    }

    /// Any process that serves `/metrics`.
    pub(super) fn start(mut command: Command, port: u16) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + START_WITHIN;
        let stream = loop {
            if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                break stream;
            }
            let status = child.try_wait().unwrap();
            assert!(
                status.is_none() && Instant::now() < end,
                "{command:?} does not start: {status:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        stream.set_read_timeout(Some(START_WITHIN)).unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        Self { child, connection: BufReader::new(stream), request, body: Vec::new() }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Scrapes once.
    pub(super) fn scrape(&mut self) {
        self.connection.get_mut().write_all(self.request.as_bytes()).unwrap();
        self.body.clear();
        let first = self.line();
        assert!(first.starts_with("HTTP/1.1 200"), "{first}");
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line().to_ascii_lowercase();
            let Some((name, value)) = line.split_once(": ") else { break };
            match name {
                "content-length" => length = value.parse().unwrap(),
                "transfer-encoding" => chunked = value == "chunked",
                _ => {}
            }
        }
        if !chunked {
            return self.take(length);
        }
        loop {
            let length = usize::from_str_radix(&self.line(), 16).unwrap();
            self.take(length);
            self.line();
            if length == 0 {
                return;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        line.truncate(line.trim_end().len());
        line
    }

    fn take(&mut self, length: usize) {
        let at = self.body.len();
        self.body.resize(at + length, 0);
        self.connection.read_exact(&mut self.body[at..]).unwrap();
    }

    /// Bytes of the last scrape.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Samples of the last scrape.
    pub(super) fn samples(&self) -> usize {
        let lines = self.body.split(|byte| *byte == b'\n');
        lines.filter(|line| !line.is_empty() && line[0] != b'#').count()
    }
}
