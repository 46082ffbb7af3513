//! Real peers from Debian's packages, started on free loopback ports and ended with the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::grafana::View;
use super::{Metrics, encode, free_port, get, parse_metrics, until};

/// A process that ends with the test.
pub struct Peer {
    child: Child,
    pub address: SocketAddr,
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program is, on the path or where the test command has unpacked it.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists())
}

/// Starts blackbox_exporter with these modules (the whole text of its file).
pub fn blackbox(config: &str) -> Option<Peer> {
    let program = find("prometheus-blackbox-exporter")?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blackbox.yml");
    std::fs::write(&file, config).unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--web.listen-address={address}"));
    Some(start(command, address, Some(folder), "blackbox_exporter", "/-/healthy"))
}

/// Starts a peer, and waits until this page of its says that it is ready.
fn start(
    mut command: Command,
    address: SocketAddr,
    folder: Option<tempfile::TempDir>,
    name: &str,
    page: &str,
) -> Peer {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let peer = Peer { child, address, _folder: folder };
    until(name, || get(address, page).filter(|(status, _)| *status == 200));
    peer
}

impl Peer {
    /// What blackbox_exporter finds.
    pub fn probe(&self, module: &str, target: &str) -> Metrics {
        let (status, body) =
            get(self.address, &format!("/probe?module={module}&target={}", encode(target)))
                .unwrap();
        assert_eq!(status, 200, "{body}");
        parse_metrics(&body)
    }

    /// The instant vector that Prometheus answers a query with: labels and values.
    pub fn query(&self, query: &str) -> Vec<(Value, f64)> {
        self.results(query, None)
            .iter()
            .map(|r| (r["metric"].clone(), r["value"][1].as_str().unwrap().parse().unwrap()))
            .collect()
    }

    /// What Prometheus answers a query with, as of now or of a time in milliseconds.
    pub fn results(&self, query: &str, at: Option<i64>) -> Vec<Value> {
        let at = at.map(|at| format!("&time={}.{:03}", at / 1000, at % 1000)).unwrap_or_default();
        let path = format!("/api/v1/query?query={}{at}", encode(query));
        self.answer(&path)
    }

    /// What it answers for each step of a view: labels, and values by their times in seconds.
    pub fn range(&self, query: &str, view: View) -> Vec<(Value, BTreeMap<i64, f64>)> {
        let View { from, to, step } = view;
        let query = encode(query);
        let path = format!("/api/v1/query_range?query={query}&start={from}&end={to}&step={step}");
        self.answer(&path)
            .into_iter()
            .map(|series| {
                let points: Vec<(f64, String)> =
                    serde_json::from_value(series["values"].clone()).unwrap();
                let points =
                    points.into_iter().map(|(at, value)| (at as i64, value.parse().unwrap()));
                (series["metric"].clone(), points.collect())
            })
            .collect()
    }

    fn answer(&self, path: &str) -> Vec<Value> {
        // A backend that does not answer has not said that there is nothing.
        let (_, body) = get(self.address, path).unwrap_or_else(|| panic!("no answer to {path}"));
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{path}\n{body}");
        serde_json::from_value(answer["data"]["result"].take()).unwrap()
    }
}

/// Starts Prometheus as a receiver of remote write, with its data below `folder`, on this port.
pub fn prometheus(folder: &Path, port: u16) -> Option<Peer> {
    prometheus_with(folder, port, "global: {}\n")
}

/// As [`prometheus`], with a configuration of its own.
pub fn prometheus_with(folder: &Path, port: u16, config: &str) -> Option<Peer> {
    let program = find("prometheus")?;
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--web.enable-remote-write-receiver")
        .arg("--storage.tsdb.retention.time=10y")
        .arg("--enable-feature=native-histograms");
    Some(start(command, address, None, "Prometheus", "/-/ready"))
}

/// Starts VictoriaMetrics with its data below `folder`. What comes can be asked for at once.
pub fn victoria_metrics(folder: &Path, port: u16) -> Option<Peer> {
    let program = find("victoria-metrics")?;
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let mut command = Command::new(program);
    command
        .arg(format!("-storageDataPath={}", folder.join("victoria").display()))
        .arg(format!("-httpListenAddr={address}"))
        .args(["-retentionPeriod=10y", "-search.latencyOffset=0s", "-search.disableCache"])
        .args(["-memory.allowedBytes=256MB", "-search.maxQueryDuration=60s"]);
    Some(start(command, address, None, "VictoriaMetrics", "/health"))
}
