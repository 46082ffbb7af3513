//! Watchpost: a synthetic probing and availability monitor.
//!
//! The modules in reading order; ARCHITECTURE.md has the map and says who may import whom.

pub mod app;
pub mod base;
pub mod cli;
pub mod command;
pub mod config;
pub mod discover;
pub mod exporter;
pub mod extension;
pub mod host;
pub mod net;
pub mod pipeline;
pub mod probe;
pub mod processor;
pub mod queue;
pub mod signal;
pub mod wire;
