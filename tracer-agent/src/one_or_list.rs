//! Keys of the configuration that take a list: one value alone is a list of it.

#![forbid(unsafe_code)]

use std::{fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer, SeqAccess, Visitor, value::Error as ValueError},
};

/// For `deserialize_with`.
///
/// # Errors
/// A value is none of the list's.
pub fn read<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(OneOrList(PhantomData))
}

/// For `schema_with`.
pub fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [generator.subschema_for::<Vec<T>>(), generator.subschema_for::<T>()] })
}

struct OneOrList<T>(PhantomData<T>);

impl<T> OneOrList<T> {
    fn one<'de, E: Error>(value: impl IntoDeserializer<'de, ValueError>) -> Result<Vec<T>, E>
    where
        T: Deserialize<'de>,
    {
        // The YAML reader knows the place of an error of its own only.
        T::deserialize(value.into_deserializer()).map(|value| vec![value]).map_err(E::custom)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrList<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value or a list such as [a, b]")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Vec<T>, E> {
        Self::one(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Vec<T>, E> {
        Self::one(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Vec<T>, E> {
        Self::one(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Vec<T>, E> {
        Self::one(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(values)
    }
}
