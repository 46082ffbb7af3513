//! From numbers to metrics, by the names, attributes and formulas of the Collector's hostmetrics, and
//! OpenTelemetry's semantic conventions for what it lacks. A second naming stands beside this folder
//! and leaves the readers as they are.

pub mod cpu;
pub mod disk;
pub mod faults;
pub mod filesystem;
pub mod memory;
pub mod network;
pub mod pressure;
pub mod processes;
pub mod sockets;
pub mod system;
pub mod thermal;
pub mod throttle;
