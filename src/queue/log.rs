//! The durable log, in the making: how samples become bytes that can be read again, each segment alone and past
//! every damage. Nothing writes files yet: queues are those of `memory`.

pub mod bytes;
pub mod columns;
pub mod record;
pub mod segment;
pub mod series;
