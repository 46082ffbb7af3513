//! Exporters: each takes batches from its queue, in its own time, and sees them through.

pub mod client;
pub mod debug;
pub mod deliver;
pub mod health;
pub mod identity;
pub mod otlp;
pub mod prometheus;
pub mod prometheus_remote_write;
pub mod retry;
