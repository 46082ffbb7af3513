//! Between a pipeline and its exporters: one log for each pipeline, on the disk where there is one, and a
//! cursor for each exporter.

pub mod books;
pub mod cursor;
pub mod log;
pub mod quarantine;
pub mod report;

#[cfg(test)]
mod tests;
