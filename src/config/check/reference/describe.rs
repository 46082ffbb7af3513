//! What may be written, as the decoder's own types tell it: a deserializer that asks each struct for
//! its fields and each field for the value that it expects. It decodes nothing.

use std::cell::RefCell;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::base::place::{AT, AT_FIELDS};

/// A key that takes a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Its path, with `NAME` for what users name and `[]` for an item of a list.
    pub(super) path: String,
    /// What stands there, such as `duration`; `None`: it is read apart, by code of its own.
    pub(super) form: Option<String>,
}

/// A map with fields of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Its path.
    pub(super) path: String,
    /// The name of the struct, by which keys are known that come later.
    pub(super) name: &'static str,
    /// Its keys.
    pub(super) fields: &'static [&'static str],
}

/// Everything that may be written at a place, in the order in which it is declared.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The keys.
    pub(super) keys: Vec<Key>,
    /// The maps that hold them.
    pub(super) blocks: Vec<Block>,
}

/// Describes what may be written at a path.
pub(super) fn describe<T: for<'de> Deserialize<'de>>(path: &str) -> Shape {
    let shape = RefCell::default();
    // What it decodes to is of no use, nor that it is wrong: each field has been asked.
    let _ = T::deserialize(Describer { path: path.to_owned(), shape: &shape });
    shape.into_inner()
}

struct Describer<'a> {
    path: String,
    shape: &'a RefCell<Shape>,
}

impl<'a> Describer<'a> {
    fn below(&self, more: &str) -> Describer<'a> {
        Describer { path: format!("{}{more}", self.path), shape: self.shape }
    }

    fn key(&self, form: Option<String>) {
        self.shape.borrow_mut().keys.push(Key { path: self.path.clone(), form });
    }

    /// A key that takes what a visitor expects: `a duration such as 15s` is a duration.
    fn value(&self, expected: &dyn Expected) {
        let words = expected.to_string();
        let words = words.split(" such as").next().unwrap_or_default();
        let words = words.trim_start_matches("an ").trim_start_matches("a ");
        self.key(Some(words.to_owned()));
    }

    fn form(&self, form: &str) {
        self.key(Some(form.to_owned()));
    }
}

macro_rules! values {
    ($($method:ident $form:literal $visit:ident $value:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.form($form);
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Describer<'_> {
    type Error = Error;

    values! {
        deserialize_bool "true or false" visit_bool false;
        deserialize_i64 "whole number" visit_i64 0;
        deserialize_u32 "whole number" visit_u32 0;
        deserialize_u64 "whole number" visit_u64 0;
        deserialize_f64 "number" visit_f64 0.0;
        deserialize_string "text" visit_str "";
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value(&visitor);
        visitor.visit_str("")
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value(&visitor);
        visitor.visit_str("")
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Once { step: 0, names: &["[]"], inside: Inside::Map, describer: &self })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Once { step: 0, names: &["NAME"], inside: Inside::Map, describer: &self })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == AT {
            let describer = &self;
            return visitor.visit_map(Once {
                step: 0,
                names: &AT_FIELDS,
                inside: Inside::At,
                describer,
            });
        }
        if fields.is_empty() {
            self.form("{}");
        }
        let block = Block { path: self.path.clone(), name, fields };
        self.shape.borrow_mut().blocks.push(block);
        visitor.visit_map(Once { step: 0, names: fields, inside: Inside::Map, describer: &self })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.key(None);
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("a kind of value that the reference does not know"))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum
        identifier
    }
}

/// Whose names are handed over.
#[derive(PartialEq)]
enum Inside {
    /// Those of a map or a list.
    Map,
    /// Those of a value with its place.
    At,
}

/// Hands each name over once.
struct Once<'a> {
    step: usize,
    names: &'static [&'static str],
    inside: Inside,
    describer: &'a Describer<'a>,
}

impl<'de> MapAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.names.get(self.step) else { return Ok(None) };
        let key: StrDeserializer<'_, Error> = (*name).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let name = self.names[self.step];
        self.step += 1;
        match (&self.inside, name) {
            (Inside::At, "value") => seed.deserialize(self.describer.below("")),
            (Inside::At, "line" | "column") => seed.deserialize(0_u32.into_deserializer()),
            (Inside::At, _) => seed.deserialize("".into_deserializer()),
            (Inside::Map, _) => seed.deserialize(self.describer.below(&format!(".{name}"))),
        }
    }
}

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(name) = self.names.get(self.step) else { return Ok(None) };
        self.step += 1;
        seed.deserialize(self.describer.below(name)).map(Some)
    }
}
