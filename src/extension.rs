//! The extensions: what stands beside the pipelines. Authenticators for exporters, and the health
//! check that orchestrators ask.

pub mod basicauth;
pub mod bearertokenauth;
pub mod health_check;
