//! Values of attributes as text.

use std::{borrow::Cow, fmt::Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use crate::span::Value;

impl Value {
    /// The value as text: numbers in decimal, lists and maps as JSON, bytes as base64, nothing as nothing.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Str(text) => Cow::Borrowed(text),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Double(number) => Cow::Owned(decimal(*number)),
            Self::Bytes(bytes) => Cow::Owned(STANDARD.encode(bytes)),
            Self::Array(_) | Self::Map(_) => Cow::Owned(
                serde_json::to_string(&Plain(self))
                    .expect("maps have text as keys, and text takes any writing"),
            ),
            Self::Empty => Cow::Borrowed(""),
        }
    }

    /// What kind of value it is: `string`, `bool`, `int`, `double`, `bytes`, `array`, `map`, `empty`.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Str(_) => "string",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::Bytes(_) => "bytes",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Empty => "empty",
        }
    }
}

/// A number in decimal; one with many zeros has an exponent.
fn decimal(number: f64) -> String {
    let mut text = String::new();
    let magnitude = number.abs();
    let is_written = if number != 0.0 && number.is_finite() && !(1e-5..1e16).contains(&magnitude) {
        write!(text, "{number:e}")
    } else {
        write!(text, "{number}")
    };
    debug_assert!(is_written.is_ok(), "text takes any writing");
    text
}

/// A value as plain JSON, without the types that OTLP's JSON has. Numbers that JSON has not become text, bytes base64.
struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Str(text) => serializer.serialize_str(text),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Double(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Double(number) => serializer.collect_str(number),
            Value::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            Value::Array(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(&Plain(value))?;
                }
                list.end()
            }
            Value::Map(values) => {
                let mut map = serializer.serialize_map(Some(values.len()))?;
                for (key, value) in values {
                    map.serialize_entry(&**key, &Plain(value))?;
                }
                map.end()
            }
            Value::Empty => serializer.serialize_unit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_as_people_write_them() {
        let list = Value::Array(vec![
            Value::Str("a\"b".into()),
            Value::Map(vec![("k".into(), Value::Double(0.5)), ("n".into(), Value::Empty)]),
            Value::Double(f64::NAN),
            Value::Bytes([0xff].as_slice().into()),
        ]);
        for (value, text, kind) in [
            (Value::Str("x".into()), "x", "string"),
            (Value::Bool(true), "true", "bool"),
            (Value::Int(i64::MIN), "-9223372036854775808", "int"),
            (Value::Double(3.0), "3", "double"),
            (Value::Double(0.003), "0.003", "double"),
            (Value::Double(1e300), "1e300", "double"),
            (Value::Double(f64::NEG_INFINITY), "-inf", "double"),
            (Value::Bytes([1, 2].as_slice().into()), "AQI=", "bytes"),
            (Value::Array(Vec::new()), "[]", "array"),
            (list, r#"["a\"b",{"k":0.5,"n":null},"NaN","/w=="]"#, "array"),
            (Value::Map(Vec::new()), "{}", "map"),
            (Value::Empty, "", "empty"),
        ] {
            assert_eq!(value.to_text(), text);
            assert_eq!(value.kind_name(), kind);
        }
    }
}
