//! Text, numbers and bytes of JSON, in each way in which senders write them.

use std::{borrow::Cow, fmt};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

/// Decodes base64 of either alphabet, with padding or without.
pub(crate) fn base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    match text.contains(['-', '_']) {
        true => ENGINE.decode(text.replace('-', "+").replace('_', "/")),
        false => ENGINE.decode(text),
    }
}

/// Text, borrowed if it has no escapes. It is read as bytes: what is not UTF-8, and half of a surrogate pair, which JavaScript
/// writes if a program cut a text there, become U+FFFD.
#[derive(Clone)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lossy;

        impl<'de> Visitor<'de> for Lossy {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("text")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_bytes(Lossy)
    }
}

/// A whole number, as a number or as text.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Unsigned(u64),
    Negative(i64),
}

impl Number {
    /// Zero for a negative number.
    pub(crate) fn unsigned(self) -> u64 {
        match self {
            Self::Unsigned(number) => number,
            Self::Negative(_) => 0,
        }
    }

    /// The greatest number for one that is too great.
    pub(crate) fn signed(self) -> i64 {
        match self {
            Self::Unsigned(number) => i64::try_from(number).unwrap_or(i64::MAX),
            Self::Negative(number) => number,
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Number;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number, as a number or as text")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number::Unsigned(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number, E> {
                Ok(u64::try_from(number).map_or(Number::Negative(number), Number::Unsigned))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Number, E> {
                match number.fract() == 0.0 && number.abs() < 2f64.powi(63) {
                    true => self.visit_i64(number as i64),
                    false => Err(E::invalid_value(de::Unexpected::Float(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                if let Ok(number) = text.parse() {
                    Ok(Number::Unsigned(number))
                } else if let Ok(number) = text.parse() {
                    Ok(Number::Negative(number))
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }

        deserializer.deserialize_any(Whole)
    }
}

/// A number with a fraction, as a number or as text.
pub(super) struct Double(pub(super) f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Double;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Double, E> {
                Ok(Double(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Double, E> {
                Ok(Double(number as f64))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Double, E> {
                Ok(Double(number as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Double, E> {
                // Rust reads "NaN", "Infinity" and "-Infinity" as Protobuf writes them.
                text.parse().map(Double).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The number of a kind or a status code, as a number or by name. Names that are not known are zero.
pub(super) struct Enumeration(pub(super) i64);

impl<'de> Deserialize<'de> for Enumeration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrName;

        impl Visitor<'_> for NumberOrName {
            type Value = Enumeration;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number, or a name such as SPAN_KIND_SERVER")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Enumeration, E> {
                Ok(Enumeration(i64::try_from(number).unwrap_or(0)))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Enumeration, E> {
                Ok(Enumeration(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Enumeration, E> {
                Ok(Enumeration(match text {
                    "SPAN_KIND_INTERNAL" | "STATUS_CODE_OK" => 1,
                    "SPAN_KIND_SERVER" | "STATUS_CODE_ERROR" => 2,
                    "SPAN_KIND_CLIENT" => 3,
                    "SPAN_KIND_PRODUCER" => 4,
                    "SPAN_KIND_CONSUMER" => 5,
                    _ => text.parse().unwrap_or(0),
                }))
            }
        }

        deserializer.deserialize_any(NumberOrName)
    }
}
