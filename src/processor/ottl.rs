//! The conditions of the OpenTelemetry Transformation Language, as the Collector's filter processor
//! reads them: `metric.name == "a" and attributes["state"] != "idle"`.
//!
//! A text becomes an expression ([`parser`]), the expression is bound to what it may name where it
//! stands (`bind`), and a bound condition is asked with what is known of a point (`eval`). What is
//! not known makes the answer unknown, not wrong: so one evaluator serves samples, series (verdicts
//! that are kept) and `check` (metrics of which only the description is known).

pub mod ast;
mod bind;
mod eval;
mod functions;
mod lexer;
pub mod parser;
mod value;

pub use bind::{Condition, Context};
pub use eval::{Answer, View};

/// What is wrong with a condition, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", .offset + 1)]
pub struct OttlError {
    /// Where, in characters from the begin.
    pub offset: usize,
    /// What.
    pub message: String,
}

impl OttlError {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
