//! Real peers from Debian's packages, started on free loopback ports and ended with the test.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

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
    let child = Command::new(program)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let peer = Peer { child, address, _folder: Some(folder) };
    until("blackbox_exporter", || get(address, "/-/healthy").filter(|(status, _)| *status == 200));
    Some(peer)
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
        let Some((_, body)) = get(self.address, &format!("/api/v1/query?query={}", encode(query)))
        else {
            return Vec::new();
        };
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{body}");
        let results = answer["data"]["result"].as_array().unwrap();
        results
            .iter()
            .map(|r| (r["metric"].clone(), r["value"][1].as_str().unwrap().parse().unwrap()))
            .collect()
    }
}

/// Starts Prometheus as a receiver of remote write, with its data below `folder`, on this port.
pub fn prometheus(folder: &Path, port: u16) -> Option<Peer> {
    let program = find("prometheus")?;
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, "global: {}\n").unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let child = Command::new(program)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--web.enable-remote-write-receiver")
        .arg("--enable-feature=native-histograms")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let peer = Peer { child, address, _folder: None };
    until("Prometheus", || get(address, "/-/ready").filter(|(status, _)| *status == 200));
    Some(peer)
}
