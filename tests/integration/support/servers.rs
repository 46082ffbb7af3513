//! Servers on loopback. Each connection gets a thread; a server ends when it is dropped.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// Connections so far.
    pub connections: Arc<AtomicUsize>,
}

impl Server {
    /// Serves each connection with a function of its own thread.
    pub fn tcp(handler: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::tcp_on("127.0.0.1:0".parse().unwrap(), handler)
    }

    /// The same at a certain address.
    pub fn tcp_on(
        address: SocketAddr,
        handler: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let handler = Arc::new(handler);
        std::thread::spawn({
            let (stop, connections) = (Arc::clone(&stop), Arc::clone(&connections));
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    connections.fetch_add(1, Ordering::SeqCst);
                    // A forgotten peer must not keep a thread for ever.
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                    let _ = stream.set_write_timeout(Some(Duration::from_secs(30)));
                    let handler = Arc::clone(&handler);
                    std::thread::spawn(move || handler(stream));
                }
            }
        });
        Self { address, stop, connections }
    }

    /// Serves TLS.
    pub fn tls(
        config: ServerConfig,
        handler: impl Fn(&mut TlsStream) + Send + Sync + 'static,
    ) -> Self {
        let config = Arc::new(config);
        Self::tcp(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            handler(&mut stream);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })
    }

    /// Serves HTTP/1.1, one request a connection.
    pub fn http(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::tcp(move |mut stream| {
            if let Some(request) = Request::read(&mut stream) {
                let _ = stream.write_all(&answer(&request).bytes());
            }
        })
    }

    /// Serves HTTPS.
    pub fn https(
        config: ServerConfig,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::tls(config, move |stream| {
            if let Some(request) = Request::read(&mut *stream) {
                let _ = stream.write_all(&answer(&request).bytes());
            }
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The listener wakes up, sees the flag and closes.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

pub type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// A request as it came.
#[derive(Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn read(stream: impl Read) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let mut request = Request {
            method: words.next()?.into(),
            path: words.next()?.into(),
            ..Default::default()
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        request.body = vec![0; length];
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// An answer; `Content-Length` is added.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self { status, headers: Vec::new(), body: body.as_ref().to_vec() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} Some\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}
