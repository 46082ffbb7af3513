//! The daemon as a test runs it, and a receiver of what it writes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use watchpost::wire::remote_write::decode;

use super::servers::{Request, Response, Server};
use super::{get, parse_metrics, send_signal, until, watchpost};

/// What a process says on its standard error, as it comes.
pub fn log_of(child: &mut Child) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    std::thread::spawn({
        let log = Arc::clone(&log);
        move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().push_str(&(line + "\n"));
            }
        }
    });
    log
}

/// A daemon that ends with the test.
pub struct Daemon {
    pub child: Child,
    pub log: Arc<Mutex<String>>,
    pub page: SocketAddr,
}

impl Daemon {
    /// Starts it with this configuration, and waits until its page answers.
    pub fn start(config: &Path) -> Self {
        Self::start_with(config, |_| {})
    }

    /// As [`Daemon::start`], with a command line that is changed before.
    pub fn start_with(config: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut daemon = Self::spawn(config, change);
        daemon.ready();
        daemon
    }

    /// Starts it, and waits for nothing: its page is not known yet.
    pub fn spawn(config: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = watchpost();
        command.args(["run", "--config", config.to_str().unwrap(), "--color", "never"]);
        change(&mut command);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = log_of(&mut child);
        Self { child, log, page: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }

    /// Waits until its page answers.
    pub fn ready(&mut self) {
        self.page = until("the page", || {
            let ended = self.child.try_wait().unwrap();
            let log = self.log();
            assert!(ended.is_none(), "{ended:?}\n{log}");
            let text = log.split("address=").nth(1).map(|rest| rest.split_whitespace().next());
            let json = || log.split("\"address\":\"").nth(1).map(|rest| rest.split('"').next());
            text.or_else(json)??.parse().ok()
        });
    }

    /// Ends it as a power cut ends a process: with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: &str) {
        send_signal(self.child.id(), signal);
    }

    /// Asks it to stop; returns its exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal("-TERM");
        self.child.wait().unwrap().code().expect("an exit code, not a signal")
    }

    pub fn metrics(&self) -> BTreeMap<String, f64> {
        parse_metrics(&get(self.page, "/metrics").unwrap().1)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A receiver of remote write that keeps what it gets, and answers as it is told.
pub struct Sink {
    pub server: Server,
    /// Series with their labels (as `name{label="value"}`), value and time in milliseconds.
    pub samples: Arc<Mutex<Vec<(String, f64, i64)>>>,
    pub answer: Arc<Mutex<u16>>,
}

impl Sink {
    pub fn new() -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new(204));
        let server = Server::http({
            let (samples, answer) = (Arc::clone(&samples), Arc::clone(&answer));
            move |request: &Request| {
                let status = *answer.lock().unwrap();
                if status / 100 == 2 {
                    samples.lock().unwrap().extend(flatten(&request.body));
                }
                Response::new(status, "")
            }
        });
        Self { server, samples, answer }
    }

    pub fn exporters(&self) -> String {
        format!(
            "exporters: {{prometheus_remote_write: {{endpoint: '{}'}}}}\nhttp: {{listen: '127.0.0.1:0'}}\n",
            self.server.url("/api/v1/write")
        )
    }

    pub fn count(&self) -> usize {
        self.samples.lock().unwrap().len()
    }

    pub fn of(&self, series: &str) -> Vec<(f64, i64)> {
        self.samples
            .lock()
            .unwrap()
            .iter()
            .filter(|(s, ..)| s.starts_with(series))
            .map(|(_, v, t)| (*v, *t))
            .collect()
    }
}

fn flatten(body: &[u8]) -> Vec<(String, f64, i64)> {
    let request = decode(body).expect("a remote write request");
    let mut list = Vec::new();
    for series in request.timeseries {
        assert!(series.labels.is_sorted_by(|a, b| a.name < b.name), "labels are sorted and unique");
        let name = series.labels.iter().find(|l| l.name == "__name__").unwrap().value.clone();
        let labels: Vec<String> = series
            .labels
            .iter()
            .filter(|l| l.name != "__name__")
            .map(|l| format!("{}=\"{}\"", l.name, l.value))
            .collect();
        let series_name = format!("{name}{{{}}}", labels.join(","));
        list.extend(series.samples.iter().map(|s| (series_name.clone(), s.value, s.timestamp)));
    }
    list
}

pub fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
