//! The Docker Engine's API as a source: which containers run, with their labels and ports, and word
//! when that changes. Two requests, no more: a list, and the stream of events. Reading the socket is
//! as good as being root, so that it is asked only when somebody says so; a proxy that lets nothing
//! but these two requests through does as well.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use watchpost_targets::Origin;

use crate::interpolate::Variables;
use crate::service::{Port, Replaced, Service, Written};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest list that is read, in bytes.
const MAX_BYTES: usize = 16 << 20;
/// The longest line of the stream of events.
const MAX_EVENT: usize = 1 << 20;

/// Where the engine is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A proxy.
    Tcp(SocketAddr),
}

impl Endpoint {
    /// Reads `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Endpoint::Unix(path.into()));
        }
        let address = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://"));
        address
            .and_then(|address| address.trim_end_matches('/').parse().ok())
            .map(Endpoint::Tcp)
            .ok_or_else(|| "unix:///PATH or tcp://IP:PORT is expected".to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Endpoint::Unix(path) => format!("unix://{}", path.display()),
            Endpoint::Tcp(address) => format!("tcp://{address}"),
        }
    }
}

/// What runs.
#[derive(Debug, Default)]
pub struct Containers {
    /// As services of a compose file.
    pub services: Vec<Service>,
    /// How many there are, by health: healthy, unhealthy, starting, none.
    pub health: BTreeMap<&'static str, usize>,
}

/// Asks which containers run.
///
/// # Errors
/// Why it is not known, without the endpoint.
pub async fn list(endpoint: &Endpoint) -> Result<Containers, String> {
    let answer = async {
        let answer = get(endpoint, "/containers/json").await?;
        let body = Limited::new(answer.body, MAX_BYTES).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    };
    let bytes = tokio::time::timeout(TIMEOUT, answer)
        .await
        .map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))??;
    let list: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| format!("this is no list: {error}"))?;
    let list = list.as_array().ok_or("this is no list of containers")?;
    let mut found = Containers::default();
    for container in list {
        *found.health.entry(health(container)).or_default() += 1;
        found.services.extend(service(container, endpoint));
    }
    Ok(found)
}

/// Waits until a container starts, ends, or changes its health; goes on for ever.
///
/// # Errors
/// When the stream ends, or cannot be had.
pub async fn watch(endpoint: &Endpoint, mut changed: impl FnMut()) -> Result<(), String> {
    // Of all events those of containers.
    let filter = "%7B%22type%22%3A%5B%22container%22%5D%7D";
    let path = format!("/events?filters={filter}");
    let stream = tokio::time::timeout(TIMEOUT, get(endpoint, &path));
    let mut stream = stream.await.map_err(|_| "no answer".to_owned())??;
    // What happened while nobody listened is seen by looking.
    changed();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = stream.body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Some(data) = frame.data_ref() else { continue };
        rest.extend_from_slice(data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if matters(&line) {
                changed();
            }
        }
        if rest.len() > MAX_EVENT {
            return Err("an event without an end".to_owned());
        }
    }
    Err("the stream has ended".to_owned())
}

/// Whether an event changes what runs.
fn matters(line: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(line) else { return false };
    let action = event["Action"].as_str().or_else(|| event["status"].as_str()).unwrap_or_default();
    let kind = event["Type"].as_str().unwrap_or("container");
    let actions = ["start", "die", "destroy", "rename", "update", "pause", "unpause"];
    kind == "container" && (actions.contains(&action) || action.starts_with("health_status"))
}

/// An answer; its connection ends with it.
struct Answer {
    body: Incoming,
    _connection: JoinSet<()>,
}

async fn get(endpoint: &Endpoint, path: &str) -> Result<Answer, String> {
    match endpoint {
        Endpoint::Unix(socket) => {
            let denied =
                "permission denied (the group docker may read it, which is as good as root)";
            let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
                std::io::ErrorKind::PermissionDenied => denied.to_owned(),
                _ => error.to_string(),
            })?;
            ask(stream, path).await
        }
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            ask(stream, path).await
        }
    }
}

async fn ask<S>(stream: S, path: &str) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let explain = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(explain)?;
    let mut owner = JoinSet::new();
    owner.spawn(async move {
        // What ends it is told to whoever reads the body.
        let _ = connection.await;
    });
    let request = Request::get(path)
        .header("host", "docker")
        .header("user-agent", concat!("Watchpost/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(explain)?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("the engine, or the proxy before it, answers {status}"));
    }
    Ok(Answer { body: response.into_body(), _connection: owner })
}

fn health(container: &serde_json::Value) -> &'static str {
    let status = container["Status"].as_str().unwrap_or_default();
    match status {
        _ if status.contains("(unhealthy)") => "unhealthy",
        _ if status.contains("(healthy)") => "healthy",
        _ if status.contains("(health: starting)") => "starting",
        _ => "none",
    }
}

/// A container as a service.
fn service(container: &serde_json::Value, endpoint: &Endpoint) -> Option<Service> {
    let name = container["Names"][0].as_str()?.trim_start_matches('/').to_owned();
    // While Compose replaces a container, the old one has its number before its name.
    let temporary = name.len() > 13
        && name.as_bytes()[12] == b'_'
        && name.as_bytes()[..12].iter().all(u8::is_ascii_hexdigit);
    if temporary {
        return None;
    }
    let origin = Origin { file: endpoint.text().into(), line: 0 };
    // Compose has filled in the variables; a dollar is a dollar.
    let written = |text: &str| Written {
        text: text.replace('$', "$$"),
        origin: origin.clone(),
        variables: std::rc::Rc::new(Variables::new()),
    };
    let labels: BTreeMap<String, Written> = container["Labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), written(value.as_str()?))))
        .collect();
    let ports = container["Ports"].as_array().into_iter().flatten().filter_map(|port| {
        let number = port["PublicPort"].as_u64()?;
        Some(Port::Long {
            published: Some(written(&number.to_string())),
            host_ip: port["IP"].as_str().filter(|ip| !ip.is_empty()).map(written),
            protocol: port["Type"].as_str().map(written),
        })
    });
    let service = container["Labels"]["com.docker.compose.service"].as_str();
    Some(Service {
        name: service.map_or(name, str::to_owned),
        origin: origin.clone(),
        labels,
        deploy_labels: BTreeMap::new(),
        environment: BTreeMap::new(),
        env_files: Vec::new(),
        ports: ports.collect(),
        network_mode: None,
        profiles: Vec::new(),
        replicas: None,
        extends: None,
        replaced: Replaced::default(),
    })
}
