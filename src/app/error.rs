//! Why the daemon does not start.

use std::net::SocketAddr;

/// Why the daemon could not start: one line, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken.
    #[error("{0} {1}: {2}: end the program that has it, or set {0} to another port")]
    Listen(String, SocketAddr, std::io::Error),
    /// An address is wanted twice.
    #[error("{0} is wanted by {1} and by {2}: set one of them to another port")]
    Twice(SocketAddr, String, String),
    /// A certificate or key cannot be read.
    #[error("exporters.{0}: {1}")]
    Exporter(String, String),
    /// A signal came before the start was over.
    #[error("stopped while it was starting")]
    Stopped,
    /// One of our own addresses is in the way.
    #[error("{0} {1}: our own {2} has this port: that needs a restart")]
    Ours(String, SocketAddr, SocketAddr),
    /// Our own spans cannot be sent.
    #[error("{0}")]
    Spans(String),
    /// The system gives no more threads or sockets.
    #[error("the system refuses a thread: {0}")]
    Thread(std::io::Error),
}
