//! Values of attributes.

#![forbid(unsafe_code)]

use super::text::Text;

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Str(Text),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A number.
    Double(f64),
    /// A list of texts.
    Strings(Vec<String>),
}

/// A named value.
pub type KeyValue = (Text, Value);
