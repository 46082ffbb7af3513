//! The value of an attribute: OpenTelemetry's `AnyValue`, without maps and bytes, which nothing here
//! has yet.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// Text that is shared: names and values of attributes.
pub type Text = Arc<str>;

/// The value of an attribute.
#[derive(Clone)]
pub enum AnyValue {
    /// Text.
    Text(Text),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Several values in order.
    List(Arc<[AnyValue]>),
}

impl AnyValue {
    /// The text, when this is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            AnyValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as a label has it: text as it is, everything else as JSON writes it.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            AnyValue::Text(text) => Cow::Borrowed(text),
            other => Cow::Owned(other.to_string()),
        }
    }

    /// Bytes that it takes in memory beside itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            AnyValue::Text(text) => text.len(),
            AnyValue::List(list) => list.iter().map(|v| v.bytes() + size_of::<AnyValue>()).sum(),
            _ => 0,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            AnyValue::Text(_) => 0,
            AnyValue::Bool(_) => 1,
            AnyValue::Int(_) => 2,
            AnyValue::Double(_) => 3,
            AnyValue::List(_) => 4,
        }
    }
}

impl Ord for AnyValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (AnyValue::Text(a), AnyValue::Text(b)) => a.cmp(b),
            (AnyValue::Bool(a), AnyValue::Bool(b)) => a.cmp(b),
            (AnyValue::Int(a), AnyValue::Int(b)) => a.cmp(b),
            (AnyValue::Double(a), AnyValue::Double(b)) => a.total_cmp(b),
            (AnyValue::List(a), AnyValue::List(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for AnyValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for AnyValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for AnyValue {}

impl Hash for AnyValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            AnyValue::Text(text) => text.hash(state),
            AnyValue::Bool(bool) => bool.hash(state),
            AnyValue::Int(int) => int.hash(state),
            AnyValue::Double(double) => double.to_bits().hash(state),
            AnyValue::List(list) => list.hash(state),
        }
    }
}

impl fmt::Display for AnyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyValue::Text(text) => f.write_str(text),
            AnyValue::Bool(bool) => write!(f, "{bool}"),
            AnyValue::Int(int) => write!(f, "{int}"),
            AnyValue::Double(double) => write!(f, "{double}"),
            AnyValue::List(list) => {
                f.write_char('[')?;
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        f.write_char(',')?;
                    }
                    match value {
                        AnyValue::Text(text) => json_text(f, text)?,
                        other => write!(f, "{other}")?,
                    }
                }
                f.write_char(']')
            }
        }
    }
}

fn json_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for char in text.chars() {
        match char {
            '"' | '\\' => write!(f, "\\{char}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

impl fmt::Debug for AnyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyValue::Text(text) => write!(f, "{text:?}"),
            other => write!(f, "{other}"),
        }
    }
}

impl From<&str> for AnyValue {
    fn from(text: &str) -> Self {
        AnyValue::Text(text.into())
    }
}

impl From<String> for AnyValue {
    fn from(text: String) -> Self {
        AnyValue::Text(text.into())
    }
}

impl From<Text> for AnyValue {
    fn from(text: Text) -> Self {
        AnyValue::Text(text)
    }
}

impl From<i64> for AnyValue {
    fn from(int: i64) -> Self {
        AnyValue::Int(int)
    }
}

impl From<bool> for AnyValue {
    fn from(bool: bool) -> Self {
        AnyValue::Bool(bool)
    }
}

impl From<f64> for AnyValue {
    fn from(double: f64) -> Self {
        AnyValue::Double(double)
    }
}

/// The name by which a value asks the configuration's deserializer for its kind: `5` is a number,
/// `"5"` is text.
pub const ANY_VALUE: &str = "$watchpost::AnyValue";

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = AnyValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true, false or a list of them")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<AnyValue, D::Error> {
                deserializer.deserialize_any(Any)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<AnyValue, E> {
                Ok(text.into())
            }
            fn visit_bool<E: de::Error>(self, bool: bool) -> Result<AnyValue, E> {
                Ok(bool.into())
            }
            fn visit_i64<E: de::Error>(self, int: i64) -> Result<AnyValue, E> {
                Ok(int.into())
            }
            fn visit_f64<E: de::Error>(self, double: f64) -> Result<AnyValue, E> {
                Ok(double.into())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<AnyValue, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = items.next_element()? {
                    list.push(value);
                }
                Ok(AnyValue::List(list.into()))
            }
        }
        deserializer.deserialize_newtype_struct(ANY_VALUE, Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_text_or_json() {
        let list = AnyValue::List([AnyValue::from("a \"b\"\n"), 1.into(), true.into()].into());
        for (value, text) in [
            (AnyValue::from("as it is \"\n"), "as it is \"\n"),
            (AnyValue::Int(-3), "-3"),
            (AnyValue::Double(0.5), "0.5"),
            (AnyValue::Bool(false), "false"),
            (list, "[\"a \\\"b\\\"\\n\",1,true]"),
        ] {
            assert_eq!(value.text(), text);
        }
    }

    #[test]
    fn kinds_are_never_equal() {
        assert_ne!(AnyValue::Int(1), AnyValue::Double(1.0));
        assert_ne!(AnyValue::Int(1), AnyValue::from("1"));
        assert!(AnyValue::Double(f64::NAN) == AnyValue::Double(f64::NAN));
    }
}
