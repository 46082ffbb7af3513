//! The network below HTTP and TLS, for probes and exporters alike: names, connections, certificates,
//! a pooled client and a small server. Knows nothing of targets and outcomes: its faults are its own.

pub mod auth;
pub mod budget;
pub(crate) mod detached;
pub mod dial;
pub mod grpc_client;
pub mod http_client;
pub mod http_server;
pub mod paced;
pub mod resolve;
pub mod tls;
pub mod x509;

/// How we name ourselves to HTTP servers, probed ones and backends alike.
pub const AGENT: &str = concat!("Watchpost/", env!("CARGO_PKG_VERSION"));
