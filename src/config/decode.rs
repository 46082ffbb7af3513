//! From the tree to what may be written: a serde deserializer that goes on after a problem. A wrong
//! value is told at its place and becomes an empty `At`; an unknown key is told with the nearest
//! known one and passed over.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use watchpost_targets::yaml::{Entry, Mark, Node, Value};

use crate::base::place::{AT, AT_FIELDS, Place, Problems, nearest};
use crate::signal::any_value::ANY_VALUE;

/// What stands below these keys is never shown.
const SECRET: [&str; 9] = [
    "headers",
    "authorization",
    "basic_auth",
    "auth",
    "client_auth",
    "token",
    "tokens",
    "password",
    "credentials",
];

/// Keys by the struct where they would stand.
pub(super) type Keys = &'static [(&'static str, &'static [&'static str])];

/// What all decoders of one document share.
pub(super) struct Context<'a> {
    /// The names of the texts, by the numbers that marks have.
    pub(super) files: &'a [String],
    /// Keys that exist elsewhere and not here yet, by the struct where they would stand.
    pub(super) later: &'a [Keys],
    /// Keys that exist elsewhere and change nothing here.
    pub(super) idle: &'a [Keys],
    /// What has been found wrong.
    pub(super) problems: &'a RefCell<Problems>,
}

impl Context<'_> {
    fn file(&self, mark: Mark) -> &str {
        self.files.get(mark.source as usize).map_or("", String::as_str)
    }

    pub(super) fn place(&self, mark: Mark, path: &str) -> Place {
        Place {
            file: self.file(mark).into(),
            line: mark.line,
            column: mark.column,
            path: path.to_owned(),
        }
    }

    fn error(&self, mark: Mark, path: &str, message: String) -> Failed {
        self.problems.borrow_mut().error(&self.place(mark, path), message);
        Failed::Told
    }
}

/// Decodes a node; `None` when the whole of it could not be read, which has been told.
pub(super) fn decode<'de, T: Deserialize<'de>>(
    node: &Rc<Node>,
    path: &str,
    context: &Context<'_>,
) -> Option<T> {
    T::deserialize(Decoder { node, path: path.to_owned(), context }).ok()
}

/// Why a value could not be read.
#[derive(Debug)]
pub(super) enum Failed {
    /// The problem has been told.
    Told,
    /// The problem has yet to be told, where the place is known.
    Untold(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Told => f.write_str("told"),
            Failed::Untold(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Failed {}

impl de::Error for Failed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Failed::Untold(message.to_string())
    }
}

struct Decoder<'a> {
    node: &'a Rc<Node>,
    path: String,
    context: &'a Context<'a>,
}

impl Decoder<'_> {
    fn fail<T>(&self, expected: &str) -> Result<T, Failed> {
        let secret = self.path.split('.').any(|key| SECRET.contains(&key));
        let found = match &self.node.value {
            Value::Scalar { .. } if secret => "something else".to_owned(),
            Value::Scalar { text, .. } => format!("{text:?}"),
            _ => self.node.kind().to_owned(),
        };
        let message = format!("{expected} is expected, found {found}");
        Err(self.context.error(self.node.mark, &self.path, message))
    }

    /// Tells what a visitor complained about.
    fn tell<T>(&self, result: Result<T, Failed>) -> Result<T, Failed> {
        result.map_err(|failed| match failed {
            Failed::Untold(message) => self.context.error(self.node.mark, &self.path, message),
            Failed::Told => Failed::Told,
        })
    }

    fn number<T: std::str::FromStr>(&self, expected: &str) -> Result<T, Failed> {
        match self.node.text().map(|text| text.trim().parse()) {
            Some(Ok(number)) => Ok(number),
            _ => self.fail(expected),
        }
    }

    /// A value of the kind that it is written as, by YAML's core schema.
    fn typed<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let read = match &self.node.value {
            Value::Scalar { text, plain: true } => match text.as_str() {
                "true" | "True" | "TRUE" => visitor.visit_bool(true),
                "false" | "False" | "FALSE" => visitor.visit_bool(false),
                text => match (text.parse::<i64>(), text.parse::<f64>()) {
                    (Ok(int), _) => visitor.visit_i64(int),
                    (_, Ok(double)) if !text.contains(|c: char| c.is_alphabetic() && c != 'e') => {
                        visitor.visit_f64(double)
                    }
                    _ => visitor.visit_str(text),
                },
            },
            Value::Scalar { text, .. } => visitor.visit_str(text),
            Value::Sequence(items) => {
                visitor.visit_seq(Items { items, at: 0, path: &self.path, context: self.context })
            }
            Value::Mapping(_) | Value::Null | Value::Unknown => return self.fail("a value"),
        };
        self.tell(read)
    }

    fn child_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $kind:ty, $expected:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            let number: $kind = self.number($expected)?;
            self.tell(visitor.$visit(number))
        }
    )*};
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match &self.node.value {
            Value::Null | Value::Unknown => visitor.visit_unit(),
            Value::Scalar { text, .. } => self.tell(visitor.visit_str(text)),
            Value::Sequence(_) => self.deserialize_seq(visitor),
            Value::Mapping(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        // YAML 1.1 also knows these words, and so does the library that the peers use.
        let value = match self.node.text().map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on") => true,
            Some("false" | "no" | "off") => false,
            _ => return self.fail("true or false"),
        };
        self.tell(visitor.visit_bool(value))
    }

    numbers! {
        deserialize_i8 visit_i8 i8, "a whole number";
        deserialize_i16 visit_i16 i16, "a whole number";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u8 u8, "a whole number of at least 0";
        deserialize_u16 visit_u16 u16, "a whole number of at least 0";
        deserialize_u32 visit_u32 u32, "a whole number of at least 0";
        deserialize_u64 visit_u64 u64, "a whole number of at least 0";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.node.text() {
            Some(text) => self.tell(visitor.visit_str(text)),
            None => self.fail("a text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if name == ANY_VALUE { self.typed(visitor) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let items: &[Rc<Node>] = match &self.node.value {
            Value::Sequence(items) => items,
            Value::Null => &[],
            _ => {
                // Told; what stands beside it is read all the same.
                let _ = self.fail::<()>("a list");
                &[]
            }
        };
        let access = Items { items, at: 0, path: &self.path, context: self.context };
        let read = visitor.visit_seq(access);
        self.tell(read)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if !matches!(self.node.value, Value::Mapping(_) | Value::Null) {
            // Told; what stands beside it is read all the same.
            let _ = self.fail::<()>("a map");
        }
        let entries: Vec<&Entry> = self.node.entries().iter().collect();
        let access = Entries { entries, at: 0, decoder: &self };
        let read = visitor.visit_map(access);
        self.tell(read)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if name == AT {
            return visitor.visit_map(AtAccess { field: 0, decoder: &self });
        }
        if !matches!(self.node.value, Value::Mapping(_) | Value::Null) {
            return self.fail("a map");
        }
        let (known, unknown): (Vec<&Entry>, Vec<&Entry>) =
            self.node.entries().iter().partition(|entry| fields.contains(&entry.key.as_str()));
        for entry in unknown {
            let path = self.child_path(&entry.key);
            let place = self.context.place(entry.key_mark, &path);
            tell_unknown(&entry.key, name, fields, self.context, &place);
        }
        let access = Entries { entries: known, at: 0, decoder: &self };
        let read = visitor.visit_map(access);
        self.tell(read)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier }
}

/// Tells of a key that is not known, or not supported yet.
fn tell_unknown(key: &str, name: &str, known: &[&str], context: &Context<'_>, place: &Place) {
    let among = |tables: &[Keys]| {
        let mut blocks = tables.iter().flat_map(|table| table.iter());
        blocks.any(|(block, keys)| *block == name && keys.contains(&key))
    };
    let mut problems = context.problems.borrow_mut();
    if among(context.later) {
        problems.unsupported(place, "this key is not supported yet");
    } else if among(context.idle) {
        problems.warning(place, "this key has no effect here");
    } else {
        problems.error(place, unknown_key(key, known));
    }
}

/// What to say about a key that is not known.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key (did you mean {near}?)"),
        None => format!("unknown key (known: {})", known.join(", ")),
    }
}

struct Items<'a> {
    items: &'a [Rc<Node>],
    at: usize,
    path: &'a str,
    context: &'a Context<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failed;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failed> {
        let Some(node) = self.items.get(self.at) else { return Ok(None) };
        let path = format!("{}[{}]", self.path, self.at);
        self.at += 1;
        seed.deserialize(Decoder { node, path, context: self.context }).map(Some)
    }
}

struct Entries<'a> {
    entries: Vec<&'a Entry>,
    at: usize,
    decoder: &'a Decoder<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failed> {
        let Some(entry) = self.entries.get(self.at) else { return Ok(None) };
        let key: StrDeserializer<'_, Failed> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failed> {
        let entry = self.entries[self.at];
        self.at += 1;
        let path = self.decoder.child_path(&entry.key);
        seed.deserialize(Decoder { node: &entry.value, path, context: self.decoder.context })
    }
}

/// Hands the place of a node over, then the node itself.
struct AtAccess<'a> {
    field: usize,
    decoder: &'a Decoder<'a>,
}

impl<'de> MapAccess<'de> for AtAccess<'_> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failed> {
        let Some(name) = AT_FIELDS.get(self.field) else { return Ok(None) };
        let key: StrDeserializer<'_, Failed> = (*name).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failed> {
        let Decoder { node, path, context } = self.decoder;
        self.field += 1;
        match AT_FIELDS[self.field - 1] {
            "file" => seed.deserialize(context.file(node.mark).into_deserializer()),
            "line" => seed.deserialize(node.mark.line.into_deserializer()),
            "column" => seed.deserialize(node.mark.column.into_deserializer()),
            "path" => seed.deserialize(path.as_str().into_deserializer()),
            // What cannot be known cannot be wrong.
            _ if node.value == Value::Unknown => Err(Failed::Told),
            _ => seed.deserialize(Decoder { node, path: path.clone(), context }),
        }
    }
}
