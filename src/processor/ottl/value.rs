//! Values of expressions, and how they compare and reckon.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ast::{Comparison, Operator};
use crate::signal::any_value::AnyValue;

/// A value, borrowed where it can be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Val<'a> {
    /// What is asked for is not known yet: whatever depends on it is not, either.
    Unknown,
    Nil,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    List(Vec<Val<'a>>),
    Map(Vec<(Cow<'a, str>, Val<'a>)>),
    /// Nanoseconds since 1970.
    Time(i64),
    /// Nanoseconds.
    Span(i64),
}

impl<'a> Val<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Val::Text(Cow::Borrowed(text))
    }

    pub(super) fn of(value: &'a AnyValue) -> Self {
        match value {
            AnyValue::Text(text) => Val::text(text),
            AnyValue::Bool(bool) => Val::Bool(*bool),
            AnyValue::Int(int) => Val::Int(*int),
            AnyValue::Double(double) => Val::Double(*double),
            AnyValue::List(list) => Val::List(list.iter().map(Val::of).collect()),
        }
    }

    /// What kind of value it is, in the words of an error.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Val::Unknown => "unknown",
            Val::Nil => "nil",
            Val::Bool(_) => "a boolean",
            Val::Int(_) => "a whole number",
            Val::Double(_) => "a number",
            Val::Text(_) => "a text",
            Val::Bytes(_) => "bytes",
            Val::List(_) => "a list",
            Val::Map(_) => "a map",
            Val::Time(_) => "a time",
            Val::Span(_) => "a duration",
        }
    }

    /// What an index picks out of it; nothing there is nil.
    pub(super) fn pick(&self, index: &Val<'_>) -> Result<Val<'a>, String> {
        match (self, index) {
            (Val::Unknown, _) | (_, Val::Unknown) => Ok(Val::Unknown),
            (Val::Nil, _) => Ok(Val::Nil),
            (Val::Map(entries), Val::Text(key)) => Ok(entries
                .iter()
                .find(|(have, _)| have == key)
                .map_or(Val::Nil, |(_, value)| value.clone())),
            (Val::List(list), Val::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| list.get(at).cloned())
                .ok_or_else(|| format!("the index {at} is outside of a list of {}", list.len())),
            (value, index) => {
                Err(format!("{} has no index that is {}", value.kind(), index.kind()))
            }
        }
    }
}

/// How two values compare: `None` when they have no order among them; `Err` when their kinds differ.
fn order(left: &Val<'_>, right: &Val<'_>) -> Result<Option<Ordering>, ()> {
    Ok(match (left, right) {
        (Val::Nil, Val::Nil) => Some(Ordering::Equal),
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Int(a), Val::Double(b)) => (*a as f64).partial_cmp(b),
        (Val::Double(a), Val::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Val::Text(a), Val::Text(b)) => Some(a.cmp(b)),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Time(a), Val::Time(b)) | (Val::Span(a), Val::Span(b)) => Some(a.cmp(b)),
        // Lists and maps are equal or not; none is less than another.
        (Val::List(a), Val::List(b)) => {
            let same = a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| compare(a, Comparison::Equal, b) == Some(true));
            same.then_some(Ordering::Equal)
        }
        (Val::Map(a), Val::Map(b)) => {
            let same = a.len() == b.len()
                && a.iter().all(|(key, value)| {
                    let other = b.iter().find(|(have, _)| have == key);
                    other.is_some_and(|(_, o)| compare(value, Comparison::Equal, o) == Some(true))
                });
            same.then_some(Ordering::Equal)
        }
        _ => return Err(()),
    })
}

/// Compares; values of different kinds are unequal, and in no order. `None`: one is not known.
pub(super) fn compare(left: &Val<'_>, how: Comparison, right: &Val<'_>) -> Option<bool> {
    if matches!(left, Val::Unknown) || matches!(right, Val::Unknown) {
        return None;
    }
    let collection = matches!(left, Val::List(_) | Val::Map(_));
    let order = order(left, right).unwrap_or(None);
    Some(match how {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        _ if collection => false,
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

/// Reckons.
pub(super) fn reckon(
    left: &Val<'_>,
    how: Operator,
    right: &Val<'_>,
) -> Result<Val<'static>, String> {
    let wide = |a: i64, b: i64| match how {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide => a.checked_div(b),
    };
    let double = |a: f64, b: f64| match how {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
    };
    let beyond = || "the result does not fit 64 bits, or something is divided by 0".to_owned();
    Ok(match (left, how, right) {
        (Val::Unknown, _, _) | (_, _, Val::Unknown) => Val::Unknown,
        (Val::Int(a), _, Val::Int(b)) => Val::Int(wide(*a, *b).ok_or_else(beyond)?),
        (Val::Double(a), _, Val::Double(b)) => Val::Double(double(*a, *b)),
        (Val::Int(a), _, Val::Double(b)) => Val::Double(double(*a as f64, *b)),
        (Val::Double(a), _, Val::Int(b)) => Val::Double(double(*a, *b as f64)),
        (Val::Time(a), Operator::Subtract, Val::Time(b)) => {
            Val::Span(wide(*a, *b).ok_or_else(beyond)?)
        }
        (Val::Time(a), Operator::Add | Operator::Subtract, Val::Span(b)) => {
            Val::Time(wide(*a, *b).ok_or_else(beyond)?)
        }
        (Val::Span(a), Operator::Add, Val::Time(b)) => {
            Val::Time(a.checked_add(*b).ok_or_else(beyond)?)
        }
        (Val::Span(a), Operator::Add | Operator::Subtract, Val::Span(b)) => {
            Val::Span(wide(*a, *b).ok_or_else(beyond)?)
        }
        (a, _, b) => return Err(format!("cannot reckon with {} and {}", a.kind(), b.kind())),
    })
}
