//! The processors: what may be written about them, and what they make of series and samples.
//! Synchronous and without I/O; what they have to know of this machine is handed to them.

pub mod actions;
pub mod filter;
pub mod memory_limiter;
pub mod ottl;
pub mod resource_detection;
