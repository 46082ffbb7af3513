//! The pooled HTTP client of exporters. Probes do not use it: they need a fresh connection each time.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::net::budget::{Budget, Budgeted};
use crate::net::detached::Detached;
use crate::net::dial;
use crate::net::resolve::{Family, Resolver};
use crate::net::tls::{self, TlsClient};

/// The longest body of an answer; the rest is not read.
const MAX_ANSWER: usize = 64 << 10;
/// Bytes that are read for one request, head and framing included.
const MAX_BYTES: u64 = 1 << 20;
/// Reads for one request. The windows of a large body over HTTP/2 take some hundred.
const MAX_READS: u64 = 8192;

/// The budget of a client for the request under way, on all of its connections. A client sends one request after the
/// other, and renews it: a flood of 1xx heads, of frames or of single bytes ends long before the request's timeout.
#[must_use]
pub fn budget() -> Arc<Budget> {
    Arc::new(Budget::new(MAX_BYTES, MAX_READS))
}

/// A client that keeps its connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    inner: Client<Connector, Full<Bytes>>,
    budget: Arc<Budget>,
}

/// Why a request had no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No connection, or it broke.
    #[error("{}", chain(.0))]
    Transport(#[from] Error),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Body(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// All causes of an error in one line: the outermost says only that the client failed.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors say only what their cause says.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

impl HttpClient {
    /// A client that speaks TLS by these settings to `https` endpoints.
    #[must_use]
    pub fn new(resolver: Resolver, tls: TlsClient) -> Self {
        let budget = budget();
        let connector = Connector { resolver, tls, secure: None, budget: Arc::clone(&budget) };
        let inner = Client::builder(Detached)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(2)
            .build(connector);
        Self { inner, budget }
    }

    /// Sends a request and reads the answer, at most 64 KiB of it.
    ///
    /// # Errors
    /// When no whole answer came within `timeout`.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, RequestError> {
        self.budget.renew();
        let work = async {
            let (head, body) = self.inner.request(request).await?.into_parts();
            let body = match Limited::new(body, MAX_ANSWER).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => Bytes::new(),
                Err(error) => return Err(RequestError::Body(error.to_string())),
            };
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(timeout, work).await.map_err(|_| RequestError::Timeout(timeout))?
    }
}

/// Makes connections, over TLS where that is wanted.
#[derive(Clone, Debug)]
pub struct Connector {
    resolver: Resolver,
    tls: TlsClient,
    /// Whether TLS is spoken; `None`: as the scheme says.
    secure: Option<bool>,
    budget: Arc<Budget>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.connect(&uri).await })
    }
}

impl Connector {
    /// A connector that speaks TLS, or does not, whatever the scheme of a URI is. The budget bounds
    /// what is read on all of its connections.
    #[must_use]
    pub fn new(resolver: Resolver, tls: TlsClient, secure: bool, budget: Arc<Budget>) -> Self {
        Self { resolver, tls, secure: Some(secure), budget }
    }

    async fn connect(&self, uri: &Uri) -> io::Result<Stream> {
        let host = uri.host().ok_or_else(|| io::Error::other("the endpoint has no host"))?;
        let secure = self.secure.unwrap_or_else(|| uri.scheme_str() == Some("https"));
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let family = Family { prefer_ip6: false, fallback: true };
        let address: IpAddr = self
            .resolver
            .resolve(host, family)
            .await
            .map_err(|error| io::Error::other(format!("{host}: {error}")))?;
        let stream = dial::connect((address, port).into(), None).await?;
        let budget = Arc::clone(&self.budget);
        if !secure {
            return Ok(Stream::Plain(TokioIo::new(Budgeted::new(stream, budget))));
        }
        let (stream, shown) = self.tls.handshake(stream, host).await.map_err(io::Error::other)?;
        shown.verdict.map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(TokioIo::new(Budgeted::new(stream, budget)))))
    }
}

/// A connection, plain or not.
#[allow(missing_debug_implementations)]
pub enum Stream {
    /// Plain.
    Plain(TokioIo<Budgeted<dial::Connection>>),
    /// Over TLS.
    Tls(Box<TokioIo<Budgeted<tls::Stream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Stream::Tls(io) => Pin::new(&mut **io).poll_read(cx, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Stream::Tls(io) => Pin::new(&mut **io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_flush(cx),
            Stream::Tls(io) => Pin::new(&mut **io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Tls(io) => Pin::new(&mut **io).poll_shutdown(cx),
        }
    }
}
