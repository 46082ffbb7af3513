//! Remote write on loopback: what both sides write to, and what speaks to them. Neither is counted.

use std::collections::HashSet;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use watchpost::wire::remote_write::{WriteRequest, decode};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Takes remote write on a thread of its own, and answers 204.
pub(super) fn receive(take: impl FnMut(WriteRequest, usize) + Send + 'static) -> SocketAddr {
    let take = Arc::new(Mutex::new(take));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let take = Arc::clone(&take);
                let service = service_fn(move |request: Request<Incoming>| {
                    let take = Arc::clone(&take);
                    async move {
                        let body = request.into_body().collect().await.map(|b| b.to_bytes());
                        let body = body.unwrap_or_default();
                        let status = match decode(&body) {
                            Ok(request) => {
                                (take.lock().unwrap())(request, body.len());
                                StatusCode::NO_CONTENT
                            }
                            Err(_) => StatusCode::BAD_REQUEST,
                        };
                        let mut response = Response::new(Empty::<Bytes>::new());
                        *response.status_mut() = status;
                        Ok::<_, Infallible>(response)
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    told.recv().unwrap()
}

/// What has arrived.
#[derive(Default)]
pub(super) struct Arrived {
    pub(super) samples: usize,
    pub(super) bytes: usize,
    pub(super) requests: usize,
    /// A hash of the labels of each series.
    pub(super) series: HashSet<u64>,
}

/// The sink of both sides.
pub(super) struct Sink {
    pub(super) address: SocketAddr,
    arrived: Arc<Mutex<Arrived>>,
}

impl Sink {
    pub(super) fn start() -> Self {
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let books = Arc::clone(&arrived);
        let address = receive(move |request, bytes| {
            let mut books = books.lock().unwrap();
            books.bytes += bytes;
            books.requests += 1;
            for series in &request.timeseries {
                books.samples += series.samples.len();
                let mut labels: Vec<_> = series.labels.iter().collect();
                labels.sort_by_key(|label| label.name.as_str());
                let mut hasher = DefaultHasher::new();
                for label in labels {
                    (&label.name, &label.value).hash(&mut hasher);
                }
                books.series.insert(hasher.finish());
            }
        });
        Self { address, arrived }
    }

    pub(super) fn samples(&self) -> usize {
        self.arrived.lock().unwrap().samples
    }

    /// What has arrived since the last time.
    pub(super) fn take(&self) -> Arrived {
        std::mem::take(&mut *self.arrived.lock().unwrap())
    }
}

/// One connection that posts one request after the other.
pub(super) struct Poster {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Poster {
    pub(super) fn connect(host: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(host).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
        Some(Self { stream: BufReader::new(stream), host })
    }

    /// The status of the answer.
    pub(super) fn post(&mut self, body: &[u8]) -> std::io::Result<u16> {
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n\
             Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap_or(0);
            } else if line.starts_with("http/1.1 ") {
                status = line.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        self.stream.read_exact(&mut vec![0; length])?;
        Ok(status)
    }
}
