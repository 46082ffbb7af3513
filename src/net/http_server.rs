//! The small HTTP server behind `http.listen`: axum routes over hyper, with bounds on connections and
//! on the time that a client may take to say what it wants.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::turn;

/// Connections at one time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 128;
/// How long a client may take to send its request's head, and to idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

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

/// Opens the listening socket.
///
/// # Errors
/// The kernel's error; the caller says which setting to change.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop`, then lets the answers under way finish.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tracker = TaskTracker::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: give others the time to close some.
                tracing::debug!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let stop = stop.clone();
        turn::track(&tracker, async move {
            let _slot = slot;
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        });
    }
    tracker.close();
    let _ = tokio::time::timeout(Duration::from_secs(1), tracker.wait()).await;
}
