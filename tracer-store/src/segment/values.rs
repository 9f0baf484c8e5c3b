//! Values of attributes as codes of 32 bits.

use std::{hash::RandomState, sync::Arc};

use tracer_model::span::{Attribute, Link, Span, Value};

use super::dictionary::{Codes, Strings};

/// A value: what it is in the upper three bits, the number or the place of it in the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ValueCode(u32);

const PAYLOAD_BITS: u32 = 29;
const PAYLOAD: u32 = (1 << PAYLOAD_BITS) - 1;

/// What a code stands for.
pub(crate) enum Coded<'values> {
    /// Text that says what was asked for; its code among such texts.
    Target(usize, &'values str),
    /// Other text.
    Str(&'values str),
    /// A whole number.
    Int(i64),
    /// Anything else.
    Other(Value),
}

#[derive(Default)]
pub(crate) struct Values {
    /// Texts that free text is looked for in.
    pub(crate) targets: Strings,
    strings: Strings,
    ints: Vec<i64>,
    doubles: Vec<f64>,
    others: Vec<Value>,
    others_bytes: usize,
}

/// Tables that find the code of a text, while a segment grows.
#[derive(Default)]
pub(crate) struct ValueTables {
    targets: Codes,
    strings: Codes,
}

impl ValueTables {
    pub(crate) fn bytes(&self) -> usize {
        self.targets.bytes() + self.strings.bytes()
    }
}

impl Values {
    pub(crate) fn code(
        &mut self,
        tables: &mut ValueTables,
        keys: &RandomState,
        value: &Value,
        is_target: bool,
    ) -> ValueCode {
        let code = |tag: u32, payload: usize| ValueCode(tag << PAYLOAD_BITS | (payload as u32 & PAYLOAD));
        match value {
            Value::Str(text) if is_target => {
                code(0, self.targets.intern(&mut tables.targets, keys, text) as usize)
            }
            Value::Str(text) => code(1, self.text(tables, keys, text) as usize),
            Value::Bool(value) => code(2, usize::from(*value)),
            Value::Int(number) => {
                // A small number is its own code: zigzag, so that the sign is in the lowest bit.
                let zigzag = ((number << 1) ^ (number >> 63)) as u64;
                if zigzag <= u64::from(PAYLOAD) {
                    return code(3, zigzag as usize);
                }
                self.ints.push(*number);
                code(4, self.ints.len() - 1)
            }
            Value::Double(number) => {
                self.doubles.push(*number);
                code(5, self.doubles.len() - 1)
            }
            Value::Empty => code(7, 0),
            Value::Bytes(_) | Value::Array(_) | Value::Map(_) => {
                self.others_bytes += heap_bytes(value);
                self.others.push(value.clone());
                code(6, self.others.len() - 1)
            }
        }
    }

    /// The code of a text that is no value of a target.
    pub(crate) fn text(&mut self, tables: &mut ValueTables, keys: &RandomState, text: &str) -> u32 {
        self.strings.intern(&mut tables.strings, keys, text)
    }

    /// The text of such a code.
    pub(crate) fn text_of(&self, code: u32) -> &str {
        self.strings.get(code as usize)
    }

    pub(crate) fn get(&self, code: ValueCode) -> Coded<'_> {
        let payload = (code.0 & PAYLOAD) as usize;
        match code.0 >> PAYLOAD_BITS {
            0 => Coded::Target(payload, self.targets.get(payload)),
            1 => Coded::Str(self.strings.get(payload)),
            2 => Coded::Other(Value::Bool(payload == 1)),
            3 => {
                let zigzag = payload as i64;
                Coded::Int((zigzag >> 1) ^ -(zigzag & 1))
            }
            4 => Coded::Int(self.ints[payload]),
            5 => Coded::Other(Value::Double(self.doubles[payload])),
            6 => Coded::Other(self.others[payload].clone()),
            _ => Coded::Other(Value::Empty),
        }
    }

    pub(crate) fn value(&self, code: ValueCode) -> Value {
        match self.get(code) {
            Coded::Target(_, text) | Coded::Str(text) => Value::Str(text.into()),
            Coded::Int(number) => Value::Int(number),
            Coded::Other(value) => value,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.targets.bytes()
            + self.strings.bytes()
            + self.ints.capacity() * size_of::<i64>()
            + self.doubles.capacity() * size_of::<f64>()
            + self.others.capacity() * size_of::<Value>()
            + self.others_bytes
    }

    pub(crate) fn shrink(&mut self) {
        self.targets.shrink();
        self.strings.shrink();
        self.ints.shrink_to_fit();
        self.doubles.shrink_to_fit();
        self.others.shrink_to_fit();
    }
}

/// What an allocation costs besides its bytes: the allocator's header and rounding.
const ALLOCATION_BYTES: usize = 16;

/// Bytes of a shared text: counters, text, allocation.
pub(crate) fn shared_bytes(text: &Arc<str>) -> usize {
    if text.is_empty() { 0 } else { text.len() + 2 * size_of::<usize>() + ALLOCATION_BYTES }
}

/// Bytes that a value takes besides itself.
pub(crate) fn heap_bytes(value: &Value) -> usize {
    match value {
        Value::Str(text) => shared_bytes(text),
        Value::Bytes(bytes) => bytes.len() + 2 * size_of::<usize>() + ALLOCATION_BYTES,
        Value::Array(values) => {
            let of_values: usize = values.iter().map(heap_bytes).sum();
            ALLOCATION_BYTES + values.capacity() * size_of::<Value>() + of_values
        }
        Value::Map(entries) => {
            let of_entries: usize =
                entries.iter().map(|(key, value)| shared_bytes(key) + heap_bytes(value)).sum();
            ALLOCATION_BYTES + entries.capacity() * size_of::<Attribute>() + of_entries
        }
        Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => 0,
    }
}

/// Bytes that attributes take besides the vector itself.
pub(crate) fn attributes_bytes(attributes: &[Attribute]) -> usize {
    let of_each = attributes.iter().map(|(key, value)| shared_bytes(key) + heap_bytes(value));
    ALLOCATION_BYTES + size_of_val(attributes) + of_each.sum::<usize>()
}

/// Bytes of a span as it came, for what one span may be.
pub(crate) fn span_bytes(span: &Span) -> usize {
    let of_events = span.events.iter().map(|event| attributes_bytes(&event.attributes) + event.name.len());
    let of_links = span.links.iter().map(|link| attributes_bytes(&link.attributes) + link.trace_state.len());
    let of_extras: usize = of_events.chain(of_links).map(|bytes| bytes + size_of::<Link>()).sum();
    let of_texts = span.name.len() + span.trace_state.len() + span.status_message.len();
    size_of::<Span>() + attributes_bytes(&span.attributes) + of_extras + of_texts
}
