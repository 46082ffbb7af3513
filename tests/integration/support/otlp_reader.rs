//! A reader of OTLP that is not ours: `otlp_reader.py`, on the messages and servers of PyPI's packages.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::{Value, json};

use super::until;

/// A value with its type. Doubles are texts: those of JSON's readers are not exact.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Typed {
    String(String),
    Bool(bool),
    Int(i64),
    Double(String),
    Array(Vec<Typed>),
}

/// Buckets of an exponential histogram.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
pub struct Buckets {
    pub offset: i32,
    pub counts: Vec<u64>,
}

/// A data point with all that stands around it. Two of them are equal when everything is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub name: String,
    pub attributes: BTreeMap<String, Typed>,
    pub resource: BTreeMap<String, Typed>,
    pub time: u64,
    pub start: u64,
    pub flags: u32,
    pub value: Option<Typed>,
    pub scope: (String, String),
    pub unit: String,
    pub description: String,
    pub kind: String,
    pub temporality: Option<String>,
    pub monotonic: Option<bool>,
    pub count: Option<u64>,
    pub sum: Option<String>,
    #[serde(default)]
    pub counts: Vec<u64>,
    #[serde(default)]
    pub bounds: Vec<String>,
    pub scale: Option<i32>,
    pub zeros: Option<u64>,
    pub positive: Option<Buckets>,
    pub negative: Option<Buckets>,
}

impl Point {
    /// An attribute that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(Typed::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it is of this metric and of the target with this name.
    pub fn is(&self, metric: &str, target: &str) -> bool {
        self.name == metric && self.text("humanname") == Some(target)
    }
}

/// A request, and how it was answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Seconds by a clock that only grows.
    pub at: f64,
    pub transport: String,
    pub headers: BTreeMap<String, String>,
    pub content_type: String,
    /// Unknown over gRPC, whose server does not tell.
    pub gzip: Option<bool>,
    pub points: usize,
    pub refused: bool,
}

impl Request {
    /// The exporter that it came from: each has a name of its own in this header.
    fn way(&self) -> &str {
        self.headers.get("x-way").map_or("", String::as_str)
    }
}

#[derive(Default)]
struct Heard {
    ports: Option<(u16, u16)>,
    requests: Vec<Request>,
    /// By the way that they came.
    points: BTreeMap<String, Vec<Point>>,
    spans: Vec<Value>,
    broken: Vec<String>,
    done: usize,
}

/// The reader at work; it ends with the test.
pub struct Reader {
    child: Child,
    commands: Option<ChildStdin>,
    ordered: Mutex<usize>,
    heard: Arc<Mutex<Heard>>,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The end of its stdin is its end; nobody waits long for it.
        drop(self.commands.take());
        for _ in 0..40 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The interpreter of the environment that the test command has made.
fn python() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python3");
    let path = std::env::var_os("WATCHPOST_PYTHON").map_or(beside, PathBuf::from);
    path.exists().then_some(path)
}

/// Why a test cannot run where there is none.
pub const MISSING: &str = "opentelemetry-proto and grpcio of PyPI are not there: see test.sh";

impl Reader {
    /// Starts it, when it is there.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/support/otlp_reader.py");
        let mut child = Command::new(python()?)
            .arg("-B")
            .env("GRPC_VERBOSITY", "NONE")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let heard = Arc::new(Mutex::new(Heard::default()));
        std::thread::spawn({
            let heard = Arc::clone(&heard);
            move || lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().hear(&line))
        });
        let (grpc, http) = until("the reader of OTLP", || heard.lock().unwrap().ports);
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (grpc, http) = (at(grpc), at(http));
        Some(Self { child, commands, ordered: Mutex::new(0), heard, grpc, http })
    }

    /// Gives it a command, and waits until it is done: so is all that was said before.
    pub fn order(&self, command: &Value) {
        let mut ordered = self.ordered.lock().unwrap();
        writeln!(self.commands.as_ref().unwrap(), "{command}").unwrap();
        *ordered += 1;
        until("the reader's word", || (self.heard().done >= *ordered).then_some(()));
    }

    /// Waits until all is heard that has been answered.
    pub fn settle(&self) {
        self.order(&json!({}));
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        let heard = self.heard.lock().unwrap();
        if !heard.broken.is_empty() {
            let broken = heard.broken.clone();
            drop(heard);
            panic!("what came cannot be read: {broken:?}");
        }
        heard
    }

    /// The points that came this way, sorted.
    pub fn points(&self, way: &str) -> Vec<Point> {
        let mut points = self.heard().points.get(way).cloned().unwrap_or_default();
        points.sort();
        points
    }

    /// Whether a point like this came this way.
    pub fn has(&self, way: &str, like: impl Fn(&Point) -> bool) -> bool {
        self.heard().points.get(way).is_some_and(|points| points.iter().any(like))
    }

    /// The spans that came.
    pub fn spans(&self) -> Vec<Value> {
        self.heard().spans.clone()
    }

    /// The requests that came this way, in order.
    pub fn requests(&self, way: &str) -> Vec<Request> {
        self.heard().requests.iter().filter(|request| request.way() == way).cloned().collect()
    }
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let mut line: Value =
            serde_json::from_str(line).unwrap_or_else(|_| json!({"broken": line}));
        if let Some(span) = line.get_mut("span") {
            self.spans.push(span.take());
        } else if let Some(broken) = line.get("broken") {
            self.broken.push(broken.to_string());
        } else if let Some(ports) = line.get("listening") {
            let port = |name: &str| ports[name].as_u64().unwrap() as u16;
            self.ports = Some((port("grpc"), port("http")));
        } else if line.get("done").is_some() {
            self.done += 1;
        } else {
            let request: Request = match serde_json::from_value(line["request"].take()) {
                Ok(request) => request,
                Err(error) => return self.broken.push(error.to_string()),
            };
            match line.get_mut("point").map(|point| serde_json::from_value(point.take())) {
                None => self.requests.push(request),
                Some(Ok(point)) => {
                    self.points.entry(request.way().to_owned()).or_default().push(point);
                }
                Some(Err(error)) => self.broken.push(error.to_string()),
            }
        }
    }
}
