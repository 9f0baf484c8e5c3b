//! Exports of spans in protobuf (`opentelemetry/proto/collector/trace/v1/trace_service.proto`). Whole messages are
//! not needed, so a part of a body can be read.

#![forbid(unsafe_code)]

use crate::exchange::{ExportedSpan, ExportedSpans};

/// Numbers of the fields that are read, by message.
mod field {
    /// `ExportTraceServiceRequest.resource_spans`
    pub(super) const RESOURCE_SPANS: u64 = 1;
    /// `ResourceSpans.resource` and `.scope_spans`
    pub(super) const RESOURCE: u64 = 1;
    pub(super) const SCOPE_SPANS: u64 = 2;
    /// `Resource.attributes`
    pub(super) const ATTRIBUTES: u64 = 1;
    /// `KeyValue.key` and `.value`, `AnyValue.string_value`
    pub(super) const KEY: u64 = 1;
    pub(super) const VALUE: u64 = 2;
    pub(super) const STRING_VALUE: u64 = 1;
    /// `ScopeSpans.spans`
    pub(super) const SPANS: u64 = 2;
    /// Fields of `Span`.
    pub(super) const SPAN_ID: u64 = 2;
    pub(super) const PARENT_SPAN_ID: u64 = 4;
    pub(super) const KIND: u64 = 6;
    /// `Span.SpanKind.SPAN_KIND_SERVER`
    pub(super) const KIND_SERVER: u64 = 2;
}

/// Adds what an `ExportTraceServiceRequest`, or its first part, tells.
pub(super) fn read(request: &[u8], found: &mut ExportedSpans) {
    for (_, resource_spans, _) in Fields(request).of(field::RESOURCE_SPANS) {
        for (number, message, is_whole) in Fields(resource_spans) {
            let Value::Bytes(message) = message else { continue };
            match number {
                field::RESOURCE if is_whole => resource(message, found),
                field::SCOPE_SPANS => {
                    for (_, span, is_whole) in Fields(message).of(field::SPANS) {
                        if is_whole && let Some(span) = span_of(span) {
                            found.add(span);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn resource(resource: &[u8], found: &mut ExportedSpans) {
    for (_, attribute, _) in Fields(resource).of(field::ATTRIBUTES) {
        let is_name = Fields(attribute).of(field::KEY).any(|(_, key, _)| key == b"service.name");
        if !is_name {
            continue;
        }
        let values = Fields(attribute).of(field::VALUE);
        for (_, text, _) in values.flat_map(|(_, value, _)| Fields(value).of(field::STRING_VALUE)) {
            found.name(&String::from_utf8_lossy(text));
        }
    }
}

fn span_of(span: &[u8]) -> Option<ExportedSpan> {
    let id = |wanted: u64| Fields(span).of(wanted).find_map(|(_, id, _)| <[u8; 8]>::try_from(id).ok());
    let is_server = Fields(span).any(|(number, value, _)| {
        number == field::KIND && matches!(value, Value::Number(field::KIND_SERVER))
    });
    Some(ExportedSpan { span_id: id(field::SPAN_ID)?, parent_id: id(field::PARENT_SPAN_ID), is_server })
}

/// Value of a field.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message: number, value, and whether the value is whole. They end where the bytes end or make no
/// sense.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Those with this number that are messages, texts or bytes.
    fn of(self, wanted: u64) -> impl Iterator<Item = (u64, &'a [u8], bool)> {
        self.filter_map(move |(number, value, is_whole)| match value {
            Value::Bytes(bytes) if number == wanted => Some((number, bytes, is_whole)),
            _ => None,
        })
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
            if byte & 0x80 == 0 {
                self.0 = self.0.get(at + 1..)?;
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: u64) -> (&'a [u8], bool) {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at(wanted.min(self.0.len()));
        self.0 = rest;
        (bytes, bytes.len() == wanted)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>, bool);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.varint()?;
        let number = tag >> 3;
        match tag & 7 {
            0 => Some((number, Value::Number(self.varint()?), true)),
            wire @ (1 | 5) => {
                let (bytes, is_whole) = self.bytes(if wire == 1 { 8 } else { 4 });
                Some((number, Value::Bytes(bytes), is_whole))
            }
            2 => {
                let length = self.varint()?;
                let (bytes, is_whole) = self.bytes(length);
                Some((number, Value::Bytes(bytes), is_whole))
            }
            // Groups are not used, and the rest is no protobuf.
            _ => None,
        }
    }
}
