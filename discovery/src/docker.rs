//! The Docker Engine's API as a source: which containers run, with their labels and ports, and word
//! when that changes. Labels and names of containers are foreign: what is read of a list is bounded, and
//! events are not looked at while a run is due anyway. Two requests, no more: a list, and the stream of events. Reading the socket is
//! as good as being root, so that it is asked only when somebody says so; a proxy that lets nothing
//! but these two requests through does as well.

mod events;
mod list;

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
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::service::Service;
use events::{Events, Next};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest list that is read, in bytes.
const MAX_BYTES: usize = 16 << 20;

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
    containers(&bytes, endpoint)
}

/// Reads a list of containers, as the engine answers it.
///
/// # Errors
/// The problem with the list. A list with too many containers or labels is not used at all.
pub fn containers(bytes: &[u8], endpoint: &Endpoint) -> Result<Containers, String> {
    list::read(bytes, endpoint)
}

/// Sets `due` when a container starts, ends, or changes its health; goes on for ever. While it is set, events are
/// dropped, and when there are too many of them they are not even read.
///
/// # Errors
/// When the stream ends, or cannot be had.
pub async fn watch(endpoint: &Endpoint, due: &watch::Sender<bool>) -> Result<(), String> {
    // Of all events those of containers.
    let filter = "%7B%22type%22%3A%5B%22container%22%5D%7D";
    let path = format!("/events?filters={filter}");
    let stream = tokio::time::timeout(TIMEOUT, get(endpoint, &path));
    let mut stream = stream.await.map_err(|_| "no answer".to_owned())??;
    let mut is_due = due.subscribe();
    // What happened while nobody listened is seen by looking.
    due.send_replace(true);
    let mut events = Events::default();
    while let Some(frame) = stream.body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Some(data) = frame.data_ref() else { continue };
        let set = *due.borrow();
        match events.read(data, set, tokio::time::Instant::now()) {
            Next::Read => {}
            Next::Due => drop(due.send_replace(true)),
            Next::Wait => {
                // The sender is held by the caller.
                let _ = is_due.wait_for(|due| !due).await;
            }
            Next::Endless => return Err("an event without an end".to_owned()),
        }
    }
    Err("the stream has ended".to_owned())
}

/// Parses one whole event, for fuzz targets.
#[must_use]
pub fn event_matters(line: &[u8]) -> bool {
    events::matters(line)
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
