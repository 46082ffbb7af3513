//! What flows: series, samples and batches on their way out, outcomes and events on the tap, and the
//! one table of every name that we publish. Knows no cache and no component.

pub mod any_value;
pub mod batch;
pub mod names;
pub mod outcome;
pub mod payload;
pub mod series;
