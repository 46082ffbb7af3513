//! Between the pipeline and its exporters: one bounded queue for each exporter of each pipeline. The
//! queues are in memory; a durable log takes their place at this seam.

pub mod log;
pub mod memory;
