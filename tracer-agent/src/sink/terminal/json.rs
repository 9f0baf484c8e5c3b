//! An object per exchange, for programs. The fields are documented in `docs/output.md`; they are only
//! ever added to.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    sink::encode::json::Hex,
    span::{Attributes, Span, Status, ValueRef},
};

pub(super) fn line(out: &mut Vec<u8>, span: &Span) {
    let object = Object {
        service: &span.resource.service_name,
        pid: span.resource.pid,
        direction: if span.kind.is_incoming() { "in" } else { "out" },
        name: &span.name,
        trace_id: Hex(&span.trace_id),
        span_id: Hex(&span.span_id),
        parent_span_id: span.parent_span_id.as_ref().map(|id| Hex(id)),
        flags: span.flags,
        trace_state: &span.trace_state,
        start_unix_ns: span.start_unix_ns,
        end_unix_ns: span.end_unix_ns,
        duration_ns: span.duration_ns(),
        error: matches!(span.status, Status::Error(_)),
        local: span.local.to_string(),
        peer: span.peer.to_string(),
        attributes: ByName(&span.attributes),
    };
    // Writing to memory does not fail, and no value here does.
    let _ = serde_json::to_writer(&mut *out, &object);
    out.push(b'\n');
}

/// The fields in the order in which they are written.
#[derive(Serialize)]
struct Object<'a> {
    service: &'a str,
    pid: u32,
    direction: &'static str,
    name: &'a str,
    trace_id: Hex<'a>,
    span_id: Hex<'a>,
    parent_span_id: Option<Hex<'a>>,
    flags: u32,
    trace_state: &'a str,
    start_unix_ns: u64,
    end_unix_ns: u64,
    duration_ns: u64,
    error: bool,
    local: String,
    peer: String,
    attributes: ByName<'a>,
}

/// Attributes as an object. Of two with one name the last counts, at the place of the first.
struct ByName<'a>(&'a Attributes);

impl Serialize for ByName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list: Vec<(&str, ValueRef<'_>)> = Vec::with_capacity(24);
        for (key, value) in self.0.iter() {
            match list.iter_mut().find(|(known, _)| *known == key) {
                Some(known) => known.1 = value,
                None => list.push((key, value)),
            }
        }
        let mut map = serializer.serialize_map(Some(list.len()))?;
        for (key, value) in list {
            match value {
                ValueRef::Str(text) => map.serialize_entry(key, text),
                ValueRef::Int(number) => map.serialize_entry(key, &number),
                ValueRef::Bool(truth) => map.serialize_entry(key, &truth),
                ValueRef::Double(number) => map.serialize_entry(key, &number),
                ValueRef::Strings(texts) => map.serialize_entry(key, &texts.iter().collect::<Vec<_>>()),
            }?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{span::SpanKind, trace::tests::span};

    #[test]
    fn every_field_is_there_in_its_order() {
        let mut of = span("shop", SpanKind::Client, 1, None, (0, 5));
        of.attributes.clear();
        of.attributes.str("text", "a\"b");
        of.attributes.double("half", 0.5);
        of.attributes.strings("list", &["x", "y"]);
        of.attributes.bool("truth", true);
        of.attributes.str("text", "later");
        let mut out = Vec::new();
        line(&mut out, &of);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "{\"service\":\"shop\",\"pid\":1,\"direction\":\"out\",\"name\":\"GET /a\",\
             \"trace_id\":\"11111111111111111111111111111111\",\"span_id\":\"0000000000000001\",\
             \"parent_span_id\":null,\"flags\":257,\"trace_state\":\"\",\
             \"start_unix_ns\":3600000000000,\"end_unix_ns\":3600000005000,\"duration_ns\":5000,\
             \"error\":false,\"local\":\"127.0.0.1:8080\",\"peer\":\"127.0.0.1:51234\",\
             \"attributes\":{\"text\":\"later\",\"half\":0.5,\"list\":[\"x\",\"y\"],\"truth\":true}}\n"
        );
    }
}
