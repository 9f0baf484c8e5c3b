//! Exports of spans in JSON (OTLP specification, JSON Protobuf Encoding). What was read before the bytes end is told.

#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::exchange::{ExportedSpan, ExportedSpans};

/// Adds what an `ExportTraceServiceRequest`, or its first part, tells.
pub(super) fn read(request: &[u8], found: &mut ExportedSpans) {
    let mut deserializer = serde_json::Deserializer::from_slice(request);
    // Of a part, the end is missing: an error behind what was read.
    let _ = At { place: Place::Request, found }.deserialize(&mut deserializer);
}

/// Where in the request a value stands.
#[derive(Clone, Copy)]
enum Place {
    Request,
    ResourceSpans,
    Resource,
    Attribute,
    ScopeSpans,
    Span,
}

impl Place {
    /// Where the objects of this field stand.
    fn below(self, field: &str) -> Option<Self> {
        match (self, field) {
            (Self::Request, "resourceSpans") => Some(Self::ResourceSpans),
            (Self::ResourceSpans, "resource") => Some(Self::Resource),
            (Self::ResourceSpans, "scopeSpans") => Some(Self::ScopeSpans),
            (Self::Resource, "attributes") => Some(Self::Attribute),
            (Self::ScopeSpans, "spans") => Some(Self::Span),
            _ => None,
        }
    }
}

/// A value at a place, or a list of such values.
struct At<'a> {
    place: Place,
    found: &'a mut ExportedSpans,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list of them")
    }

    /// `null` is the same as no field.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { place, found } = self;
        while list.next_element_seed(At { place, found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let Self { place, found } = self;
        match place {
            Place::Span => return span(fields, found),
            Place::Attribute => return attribute(fields, found),
            _ => {}
        }
        while let Some(field) = fields.next_key::<String>()? {
            match place.below(&field) {
                Some(place) => fields.next_value_seed(At { place, found: &mut *found })?,
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

fn span<'de, A: MapAccess<'de>>(mut fields: A, found: &mut ExportedSpans) -> Result<(), A::Error> {
    let (mut span_id, mut parent_id, mut is_server) = (None, None, false);
    while let Some(field) = fields.next_key::<String>()? {
        match &*field {
            "spanId" => span_id = id(&fields.next_value::<String>()?),
            "parentSpanId" => parent_id = fields.next_value::<Option<String>>()?.and_then(|text| id(&text)),
            "kind" => {
                let kind: serde_json::Value = fields.next_value()?;
                is_server = kind == 2 || kind == "SPAN_KIND_SERVER";
            }
            _ => drop(fields.next_value::<IgnoredAny>()?),
        }
    }
    if let Some(span_id) = span_id {
        found.add(ExportedSpan { span_id, parent_id, is_server });
    }
    Ok(())
}

fn attribute<'de, A: MapAccess<'de>>(mut fields: A, found: &mut ExportedSpans) -> Result<(), A::Error> {
    let (mut is_name, mut text) = (false, None);
    while let Some(field) = fields.next_key::<String>()? {
        match &*field {
            "key" => is_name = fields.next_value::<String>()? == "service.name",
            "value" => {
                let value: serde_json::Value = fields.next_value()?;
                text = value.get("stringValue").and_then(|text| text.as_str()).map(str::to_owned);
            }
            _ => drop(fields.next_value::<IgnoredAny>()?),
        }
    }
    if let (true, Some(text)) = (is_name, text) {
        found.name(&text);
    }
    Ok(())
}

/// An id of 8 bytes from its hexadecimal digits, in either case.
fn id(text: &str) -> Option<[u8; 8]> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(u64::to_be_bytes)
}
