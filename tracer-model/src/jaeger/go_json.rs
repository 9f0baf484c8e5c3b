//! JSON of lists and maps as Go writes it, which Jaeger gives as text: keys sorted, `<`, `>` and `&` escaped, numbers in
//! Go's way (`encoding/json`).

use std::{collections::BTreeMap, fmt::Write};

use crate::span::Value;

/// The value as JSON.
pub(super) fn go_json(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// Recurses: no value that was decoded lies deeper than `otlp::MAX_DEPTH`.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Double(number) => *text += &double(*number),
        Value::Array(values) => {
            let mut begin = '[';
            for value in values {
                text.push(begin);
                write(value, text);
                begin = ',';
            }
            *text += if values.is_empty() { "[]" } else { "]" };
        }
        Value::Map(values) => {
            // Of equal keys, the last counts.
            let values: BTreeMap<&str, &Value> = values.iter().map(|(key, value)| (&**key, value)).collect();
            let mut begin = '{';
            for (key, value) in &values {
                text.push(begin);
                write_string(key, text);
                text.push(':');
                write(value, text);
                begin = ',';
            }
            *text += if values.is_empty() { "{}" } else { "}" };
        }
        Value::Bytes(bytes) if bytes.is_empty() => *text += "null",
        Value::Empty => *text += "null",
        Value::Bool(_) | Value::Int(_) => *text += &value.to_text(),
        Value::Str(_) | Value::Bytes(_) => write_string(&value.to_text(), text),
    }
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => *text += "\\\"",
            '\\' => *text += "\\\\",
            '\n' => *text += "\\n",
            '\r' => *text += "\\r",
            '\t' => *text += "\\t",
            '\u{8}' => *text += "\\b",
            '\u{c}' => *text += "\\f",
            '<' | '>' | '&' | '\0'..' ' | '\u{2028}' | '\u{2029}' => {
                let is_written = write!(text, "\\u{:04x}", u32::from(character));
                debug_assert!(is_written.is_ok(), "text takes any writing");
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

fn double(number: f64) -> String {
    let magnitude = number.abs();
    if !number.is_finite() {
        // JSON has no such number: Go gives up.
        "null".to_owned()
    } else if number == 0.0 || (1e-6..1e21).contains(&magnitude) {
        number.to_string()
    } else {
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_go_writes_them() {
        let numbers = [1.0, -0.0, 1e20, 1e21, 1e-6, 1e-7, f64::NAN].map(Value::Double);
        for (value, text) in [
            (Value::Array(numbers.into()), "[1,-0,100000000000000000000,1e+21,0.000001,1e-7,null]"),
            (Value::Str("<a&b>\u{1}\u{2028}\"\\\n".into()), r#""\u003ca\u0026b\u003e\u0001\u2028\"\\\n""#),
            (
                Value::Map(vec![
                    ("b".into(), Value::Bytes([1].as_slice().into())),
                    ("a".into(), Value::Empty),
                    ("b".into(), Value::Int(2)),
                    ("c".into(), Value::Map(Vec::new())),
                ]),
                r#"{"a":null,"b":2,"c":{}}"#,
            ),
            (Value::Array(Vec::new()), "[]"),
        ] {
            assert_eq!(go_json(&value), text);
        }
    }
}
