//! Between the pipeline and its exporters: the writer thread that empties the ring, and one bounded
//! queue for each exporter. The queues are in memory; a durable log takes their place at this seam.

pub mod memory;
pub mod writer;
