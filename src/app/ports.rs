//! The addresses that we listen on. What answers there can be exchanged while connections are open.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use crate::app::StartError;
use crate::app::guard::Guard;
use crate::base::turn;
use crate::net::http_server;

/// An address that somebody wants, and who.
pub(super) struct Wanted {
    pub(super) address: SocketAddr,
    /// The place in the configuration.
    pub(super) by: String,
    /// How many of the next ports may be taken instead.
    pub(super) others: u16,
}

/// All addresses.
pub(super) struct Ports {
    open: BTreeMap<SocketAddr, Open>,
    tasks: TaskTracker,
    /// Connections of all addresses together, and the permits for them.
    connections: usize,
    permits: Arc<Semaphore>,
}

struct Open {
    local: SocketAddr,
    served: Arc<Mutex<Served>>,
    stop: CancellationToken,
}

/// The router and the access rules of a listener now.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) guard: Guard,
    pub(super) router: Router,
}

impl Ports {
    /// No address yet; `tasks` owns those that serve, and all of them together hold at most so many
    /// connections.
    pub(super) fn new(tasks: TaskTracker, connections: usize) -> Self {
        let permits = Arc::new(Semaphore::new(connections));
        Self { open: BTreeMap::new(), tasks, connections, permits }
    }

    /// Opens what is wanted and not open yet. Nothing else changes.
    ///
    /// # Errors
    /// When an address is taken, or wanted twice.
    pub(super) async fn bind(
        &self,
        wanted: &[Wanted],
    ) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
        let mut bound = Vec::new();
        for (index, one) in wanted.iter().enumerate() {
            if let Some(first) = wanted[..index].iter().find(|have| have.address == one.address) {
                return Err(StartError::Twice(one.address, first.by.clone(), one.by.clone()));
            }
            if !self.open.contains_key(&one.address) {
                let listener = listen(one).await.map_err(|error| {
                    let port = one.address.port();
                    let own = self.open.keys().find(|open| open.port() == port && port > 0);
                    match (error, own) {
                        (StartError::Listen(by, address, _), Some(own)) => {
                            StartError::Ours(by, address, *own)
                        }
                        (error, _) => error,
                    }
                })?;
                bound.push((one.address, listener));
            }
        }
        Ok(bound)
    }

    /// Serves this from now on, and nothing else.
    pub(super) fn serve(
        &mut self,
        bound: Vec<(SocketAddr, TcpListener)>,
        wanted: Vec<(SocketAddr, Served)>,
    ) {
        self.open.retain(|address, open| {
            let kept = wanted.iter().any(|(wanted, _)| wanted == address);
            if !kept {
                open.stop.cancel();
            }
            kept
        });
        let mut bound: BTreeMap<SocketAddr, TcpListener> = bound.into_iter().collect();
        let share = self.connections / wanted.len().max(1);
        let limits = http_server::Limits {
            connections: share.clamp(2, http_server::MAX_CONNECTIONS),
            all: Arc::clone(&self.permits),
        };
        for (address, served) in wanted {
            if let Some(open) = self.open.get(&address) {
                *open.served.lock().unwrap_or_else(PoisonError::into_inner) = served;
            } else if let Some(listener) = bound.remove(&address) {
                let local = listener.local_addr().unwrap_or(address);
                let served = Arc::new(Mutex::new(served));
                let stop = CancellationToken::new();
                let dispatcher = dispatcher(&served);
                let serving =
                    http_server::serve(listener, dispatcher, limits.clone(), stop.clone());
                turn::track(&self.tasks, serving);
                self.open.insert(address, Open { local, served, stop });
            }
        }
    }

    /// Where an address that was wanted really is.
    pub(super) fn local(&self, wanted: SocketAddr) -> Option<SocketAddr> {
        self.open.get(&wanted).map(|open| open.local)
    }

    /// Stops listening everywhere.
    pub(super) fn close(&mut self) {
        for (_, open) in std::mem::take(&mut self.open) {
            open.stop.cancel();
        }
    }
}

/// Hands every request that is admitted to the router of now.
fn dispatcher(current: &Arc<Mutex<Served>>) -> Router {
    let current = Arc::clone(current);
    Router::new().fallback(move |request: Request| {
        let served = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async move {
            let Served { guard, mut router } = served;
            if let Err(refusal) = guard.admit(request.uri(), request.headers()) {
                return refusal.into_response();
            }
            let answer: Result<Response, Infallible> = router.call(request).await;
            match answer {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    })
}

async fn listen(wanted: &Wanted) -> Result<TcpListener, StartError> {
    let mut address = wanted.address;
    let mut others = wanted.others;
    loop {
        match http_server::listen(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if others == 0 || error.kind() != std::io::ErrorKind::AddrInUse => {
                return Err(StartError::Listen(wanted.by.clone(), address, error));
            }
            Err(_) => {
                others -= 1;
                address.set_port(address.port().saturating_add(1));
            }
        }
    }
}
