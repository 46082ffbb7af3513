//! What is probed and what is written to: neither is counted.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The first argument of the process that answers probes.
pub(super) const ROLE: &str = "respond";
/// What every GET gets.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
/// The longest request head that is read.
const MAX_HEAD: usize = 8 << 10;

/// A process that answers HTTP on every address of 127/8, and counts connections.
pub(super) struct Responder {
    child: Child,
    talk: Mutex<BufReader<std::process::ChildStdout>>,
    pub(super) port: u16,
}

impl Responder {
    pub(super) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([ROLE, "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut talk = BufReader::new(child.stdout.take().unwrap());
        let port = number(&mut talk) as u16;
        Self { child, talk: Mutex::new(talk), port }
    }

    /// Connections accepted so far.
    pub(super) fn accepted(&self) -> u64 {
        self.child.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
        number(&mut *self.talk.lock().unwrap())
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(talk: &mut impl std::io::BufRead) -> u64 {
    let mut line = String::new();
    talk.read_line(&mut line).unwrap();
    line.trim().parse().unwrap()
}

/// The process that answers: says its port, then the number of connections whenever it is asked, and
/// ends when nobody can ask any more.
pub(super) fn respond(port: u16) {
    let accepted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&accepted);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = listen((Ipv4Addr::UNSPECIFIED, port).into());
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(stream));
            }
        });
    });
    println!("{}", told.recv().unwrap());
    for _ in std::io::stdin().lock().lines() {
        println!("{}", accepted.load(Ordering::Relaxed));
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(4096).unwrap()
}

async fn answer(mut stream: tokio::net::TcpStream) {
    let mut head = Vec::with_capacity(1024);
    while head.len() < MAX_HEAD {
        // A TCP probe says nothing and leaves.
        if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
        if head.ends_with(b"\r\n\r\n") {
            let _ = stream.write_all(ANSWER).await;
            return;
        }
    }
}

/// Takes whatever is posted and answers 204, on a thread of this process.
pub(super) struct Sink {
    pub(super) address: SocketAddr,
    pub(super) bytes: Arc<AtomicU64>,
}

impl Sink {
    pub(super) fn start() -> Self {
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = listen((Ipv4Addr::LOCALHOST, 0).into());
                tell.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let counter = Arc::clone(&counter);
                    let service = service_fn(move |request| take(request, Arc::clone(&counter)));
                    let server = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
                }
            });
        });
        Self { address: told.recv().unwrap(), bytes }
    }
}

async fn take(
    request: Request<hyper::body::Incoming>,
    bytes: Arc<AtomicU64>,
) -> Result<Response<Empty<bytes::Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.fetch_add(frame.data_ref().map_or(0, bytes::Bytes::len) as u64, Ordering::Relaxed);
    }
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
