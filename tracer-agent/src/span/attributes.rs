//! Attributes of spans, kept as they go on the wire: a span is mostly attributes, and nearly all spans
//! leave by OTLP.

use super::value::{KeyValue, Value};

/// Wire types of protobuf.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;

/// Each attribute is the field `attributes` of a `Span` (`opentelemetry/proto/trace/v1/trace.proto`): a
/// `KeyValue` with its tag and length before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    bytes: Vec<u8>,
}

/// An attribute's value, where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// Text.
    Str(&'a str),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A number.
    Double(f64),
    /// A list of texts.
    Strings(Texts<'a>),
}

/// A list of texts, where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Texts<'a>(&'a [u8]);

/// Field `attributes` of `Span`.
const ATTRIBUTES: u8 = 9 << 3 | LENGTH;
/// Fields of `KeyValue`.
const KEY: u8 = 1 << 3 | LENGTH;
const VALUE: u8 = 2 << 3 | LENGTH;
/// Fields of `AnyValue`, and those of the lists in it.
const STRING: u8 = 1 << 3 | LENGTH;
const BOOL: u8 = 2 << 3 | VARINT;
const INT: u8 = 3 << 3 | VARINT;
const DOUBLE: u8 = 4 << 3 | FIXED64;
const ARRAY: u8 = 5 << 3 | LENGTH;
const ARRAY_VALUES: u8 = 1 << 3 | LENGTH;

/// A key and a value that are shorter together have lengths of one byte, with all that is around them.
const SHORT: usize = 0x70;

/// Bytes of a varint.
#[inline(always)]
fn varint_length(value: u64) -> usize {
    if value < 0x80 { 1 } else { (64 - value.leading_zeros() as usize).div_ceil(7) }
}

/// Bytes of a field of so many bytes, with its tag and length.
#[inline(always)]
fn field_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

// The keys are known where these are called: inlined, most of what they write is a constant.
impl Attributes {
    /// Adds a text.
    #[inline(always)]
    pub fn str(&mut self, key: &str, value: &str) {
        if key.len() + value.len() < SHORT {
            let length = value.len() as u8;
            self.begin_short(key, [STRING, length], length + 2);
            self.bytes.extend_from_slice(value.as_bytes());
        } else {
            self.long_str(key, value);
        }
    }

    #[inline(never)]
    fn long_str(&mut self, key: &str, value: &str) {
        self.begin(key, field_length(value.len()));
        self.field(STRING, value.as_bytes());
    }

    /// Adds an integer.
    #[inline(always)]
    pub fn int(&mut self, key: &str, value: i64) {
        if key.len() < SHORT && (0..1 << 21).contains(&value) {
            // Up to three groups of seven bits, the lowest first; all but the last have the highest bit set.
            let groups = [value as u8, (value >> 7) as u8, (value >> 14) as u8];
            if value < 1 << 7 {
                self.begin_short(key, [INT, groups[0]], 2);
            } else if value < 1 << 14 {
                self.begin_short(key, [INT, groups[0] | 0x80, groups[1]], 3);
            } else {
                self.begin_short(key, [INT, groups[0] | 0x80, groups[1] | 0x80, groups[2]], 4);
            }
        } else {
            self.long_int(key, value);
        }
    }

    #[inline(never)]
    fn long_int(&mut self, key: &str, value: i64) {
        self.begin(key, 1 + varint_length(value as u64));
        self.bytes.push(INT);
        self.varint(value as u64);
    }

    /// Adds a truth value.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.begin(key, 2);
        self.bytes.extend_from_slice(&[BOOL, u8::from(value)]);
    }

    /// Adds a number.
    #[inline(always)]
    pub fn double(&mut self, key: &str, value: f64) {
        let mut field = [DOUBLE; 9];
        field[1..].copy_from_slice(&value.to_le_bytes());
        if key.len() < SHORT {
            self.begin_short(key, field, field.len() as u8);
        } else {
            self.begin(key, field.len());
            self.bytes.extend_from_slice(&field);
        }
    }

    /// Adds a list of texts.
    pub fn strings<S: AsRef<str>>(&mut self, key: &str, values: &[S]) {
        let of = |value: &S| field_length(field_length(value.as_ref().len()));
        let list: usize = values.iter().map(of).sum();
        self.begin(key, field_length(list));
        self.bytes.push(ARRAY);
        self.varint(list as u64);
        for value in values {
            let text = value.as_ref().as_bytes();
            self.bytes.push(ARRAY_VALUES);
            self.varint(field_length(text.len()) as u64);
            self.field(STRING, text);
        }
    }

    /// Adds attributes that were written before.
    pub fn append(&mut self, written: &[u8]) {
        self.bytes.extend_from_slice(written);
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (tag, mut attribute) = read_field(&mut rest)?;
            let (key_tag, key) = read_field(&mut attribute)?;
            let (value_tag, value) = read_field(&mut attribute)?;
            if (tag, key_tag, value_tag) != (ATTRIBUTES, KEY, VALUE) {
                return None;
            }
            Some((std::str::from_utf8(key).ok()?, read_value(value)?))
        })
    }

    /// The first of this name.
    pub fn get(&self, name: &str) -> Option<ValueRef<'_>> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// As they go on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets them, and keeps the memory unless it is much.
    pub fn clear(&mut self) {
        const KEPT: usize = 64 * 1024;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes.shrink_to(KEPT);
        }
    }

    /// What comes before a value of `content` bytes, if each length takes one byte, and the value's first bytes:
    /// put together where nobody asks for room.
    #[inline(always)]
    fn begin_short<const N: usize>(&mut self, key: &str, first: [u8; N], content: u8) {
        let mut put = [0; SHORT + 16];
        let behind = 4 + key.len();
        put[..4].copy_from_slice(&[ATTRIBUTES, key.len() as u8 + content + 4, KEY, key.len() as u8]);
        put[4..behind].copy_from_slice(key.as_bytes());
        put[behind..behind + 2].copy_from_slice(&[VALUE, content]);
        put[behind + 2..behind + 2 + N].copy_from_slice(&first);
        self.bytes.extend_from_slice(&put[..behind + 2 + N]);
    }

    /// What comes before a value of `content` bytes.
    fn begin(&mut self, key: &str, content: usize) {
        let whole = field_length(key.len()) + field_length(content);
        self.bytes.reserve(field_length(whole));
        self.bytes.push(ATTRIBUTES);
        self.varint(whole as u64);
        self.field(KEY, key.as_bytes());
        self.bytes.push(VALUE);
        self.varint(content as u64);
    }

    fn field(&mut self, tag: u8, content: &[u8]) {
        self.bytes.push(tag);
        self.varint(content.len() as u64);
        self.bytes.extend_from_slice(content);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

impl From<&[KeyValue]> for Attributes {
    fn from(list: &[KeyValue]) -> Self {
        let mut this = Self::default();
        for (key, value) in list {
            match value {
                Value::Str(text) => this.str(key, text),
                Value::Int(number) => this.int(key, *number),
                Value::Bool(truth) => this.bool(key, *truth),
                Value::Double(number) => this.double(key, *number),
                Value::Strings(list) => this.strings(key, list),
            }
        }
        this
    }
}

impl<'a> Texts<'a> {
    /// The texts.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (_, mut value) = read_field(&mut rest)?;
            let (_, text) = read_field(&mut value)?;
            std::str::from_utf8(text).ok()
        })
    }
}

/// A tag, and the content of the field if that has a length.
fn read_field<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, behind) = rest.split_first()?;
    *rest = behind;
    let length = usize::try_from(read_varint(rest)?).ok()?;
    let (content, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some((*tag, content))
}

fn read_value(mut value: &[u8]) -> Option<ValueRef<'_>> {
    let whole = value;
    let (tag, behind) = value.split_first()?;
    value = behind;
    Some(match *tag {
        BOOL => ValueRef::Bool(read_varint(&mut value)? != 0),
        INT => ValueRef::Int(read_varint(&mut value)? as i64),
        DOUBLE => ValueRef::Double(f64::from_le_bytes(*value.first_chunk()?)),
        tag => {
            value = whole;
            let (_, content) = read_field(&mut value)?;
            match tag {
                STRING => ValueRef::Str(std::str::from_utf8(content).ok()?),
                ARRAY => ValueRef::Strings(Texts(content)),
                _ => return None,
            }
        }
    })
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_there() {
        let long = "x".repeat(300);
        let mut attributes = Attributes::default();
        attributes.str("text", "hello");
        for length in SHORT - 8..SHORT + 20 {
            attributes.str("text", &long[..length]);
            attributes.str(&long[..length], "");
            attributes.int(&long[..length], 5);
            attributes.double(&long[..length], 0.5);
        }
        let between = attributes.iter().count();
        assert_eq!(between, 1 + 4 * 28, "lengths of one and of two bytes");
        attributes.clear();
        attributes.str("text", "hello");
        attributes.str("empty", "");
        attributes.str(&long, &long);
        for number in [0, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, i64::MAX, -5] {
            attributes.int("number", number);
        }
        attributes.bool("truth", true);
        attributes.double("part", 0.25);
        attributes.strings("list", &["a", "", &long]);
        attributes.strings::<&str>("none", &[]);
        let found: Vec<_> = attributes
            .iter()
            .map(|(key, value)| {
                let value = match value {
                    ValueRef::Str(text) => text.to_owned(),
                    ValueRef::Strings(list) => list.iter().collect::<Vec<_>>().join(","),
                    other => format!("{other:?}"),
                };
                format!("{key}={value}")
            })
            .collect();
        assert_eq!(
            found,
            [
                "text=hello",
                "empty=",
                &format!("{long}={long}"),
                "number=Int(0)",
                "number=Int(127)",
                "number=Int(128)",
                "number=Int(16383)",
                "number=Int(16384)",
                "number=Int(2097151)",
                "number=Int(2097152)",
                "number=Int(9223372036854775807)",
                "number=Int(-5)",
                "truth=Bool(true)",
                "part=Double(0.25)",
                &format!("list=a,,{long}"),
                "none=",
            ]
        );
        assert_eq!(attributes.get("number"), Some(ValueRef::Int(0)));
        assert_eq!(attributes.get("other"), None);
    }
}
