//! The small HTTP server behind `http.listen`: axum routes over hyper. It bounds the connections in
//! total and for each client, and the time for a request's head and for the progress of an answer.

mod clients;
mod monitored;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use crate::base::turn;
use clients::{Client, Clients};
use monitored::Monitored;

/// Connections of one address that we listen on, at most; more wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 136;
/// One connection in so many is kept free for `/-/*`: the last 8 of 136.
const URGENT_SHARE: usize = 17;
/// Connections of one client without a complete request head; it may have four times as many in all.
const MAX_WAITING: usize = 16;
/// How long a client may take to send its request's head, and to idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The same for the connections that are kept free for `/-/*`.
const URGENT_HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// The same for a client that has [`MAX_WAITING`] silent connections already.
const HASTY_HEAD_TIMEOUT: Duration = Duration::from_millis(100);

/// Reads an address to listen on, as Go has it: `:9115` means every address.
#[must_use]
pub fn address(text: &str) -> Option<SocketAddr> {
    match text.rsplit_once(':')? {
        ("localhost", port) => format!("127.0.0.1:{port}"),
        ("", port) => format!("[::]:{port}"),
        _ => text.to_owned(),
    }
    .parse()
    .ok()
}

/// A host in the one spelling in which hosts are compared: small letters, no final dot, and an IP
/// address as it is usually written. IPv6 addresses stand in brackets. `None`: it is no host.
#[must_use]
pub fn host_name(text: &str) -> Option<String> {
    match url::Host::parse(text).ok()? {
        url::Host::Domain(name) => Some(name.strip_suffix('.').unwrap_or(&name).to_owned()),
        url::Host::Ipv4(ip) => Some(ip.to_string()),
        url::Host::Ipv6(ip) => Some(std::net::IpAddr::V6(ip).to_canonical().to_string()),
    }
}

/// Opens the listening socket.
///
/// # Errors
/// The kernel's error; the caller says which setting to change.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// How many connections a server may hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of this server; at least 2.
    pub connections: usize,
    /// Of all servers of this process: one permit is one descriptor.
    pub all: Arc<Semaphore>,
}

impl Limits {
    /// From this number of open connections on, only `/-/*` is answered.
    fn ordinary(&self) -> usize {
        self.connections - self.connections.div_ceil(URGENT_SHARE).min(self.connections / 2)
    }
}

/// Serves until `stop`, then lets the answers under way finish.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let clients = Arc::new(Clients::new(MAX_WAITING.min(limits.connections / 2)));
    let tracker = TaskTracker::new();
    loop {
        let held = async {
            let own = Arc::clone(&slots).acquire_owned().await;
            (own, Arc::clone(&limits.all).acquire_owned().await)
        };
        let held = tokio::select! {
            () = stop.cancelled() => break,
            held = held => held,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give others the time to close some.
                tracing::debug!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let close = stop.child_token();
        let mut admitted = clients.admit(peer.ip(), close.clone());
        if admitted.is_none() {
            // Those that came together with this one may have said something by now.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            admitted = clients.admit(peer.ip(), close.clone());
        }
        // A client that holds enough silent connections: this one is closed at once.
        let Some(client) = admitted else { continue };
        let open = limits.connections - slots.available_permits();
        let connection = Connection {
            router: router.clone(),
            client: Arc::new(client),
            urgent: open > limits.ordinary(),
            close,
        };
        turn::track(&tracker, connection.serve(stream, held));
    }
    tracker.close();
    let _ = tokio::time::timeout(Duration::from_secs(1), tracker.wait()).await;
}

/// The permits that a connection holds.
type Held = (
    Result<OwnedSemaphorePermit, tokio::sync::AcquireError>,
    Result<OwnedSemaphorePermit, tokio::sync::AcquireError>,
);

struct Connection {
    router: Router,
    client: Arc<Client>,
    /// Most connections are taken: only `/-/*` is answered, and the client has to be quick.
    urgent: bool,
    close: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream, held: Held) {
        let _held = held;
        let Self { router, client, urgent, close } = self;
        let timeout = match (client.is_hasty(), urgent) {
            (true, _) => HASTY_HEAD_TIMEOUT,
            (_, true) => URGENT_HEAD_TIMEOUT,
            _ => HEAD_TIMEOUT,
        };
        let io = Monitored::new(stream, Arc::clone(&client), |stream| {
            // Bytes that the client does not read are not kept in the kernel either.
            let _ = stream.set_zero_linger();
        });
        let service = service_fn(move |request: Request<Incoming>| {
            let (router, client) = (router.clone(), Arc::clone(&client));
            async move {
                client.asked();
                let answer = answer(router, request, urgent).await;
                client.answered();
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(timeout)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        tokio::select! {
            _ = &mut connection => {}
            () = close.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(monitored::WRITE_TIMEOUT, connection).await;
            }
        }
    }
}

async fn answer(mut router: Router, request: Request<Incoming>, urgent: bool) -> Response {
    let refused = urgent && !request.uri().path().starts_with("/-/");
    let mut answer = if refused {
        let why = "Too many connections: only /-/* is answered.\n";
        (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    } else {
        let called: Result<Response, Infallible> = router.call(request.map(Body::new)).await;
        match called {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    };
    if urgent {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

#[cfg(test)]
mod tests;
