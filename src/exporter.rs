//! Exporters: each takes batches from its queue, in its own time, and sees them through.

pub mod prometheus_remote_write;
pub mod retry;
