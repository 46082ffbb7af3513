//! Bytes and signals: the names that Prometheus gives to OpenTelemetry's metrics, remote write, OTLP,
//! and the text that a scrape reads. Pure; every function returns an error or a value for any input.

pub mod exposition;
pub mod naming;
pub mod otlp;
pub mod remote_write;
