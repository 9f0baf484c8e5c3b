//! OTLP in protobuf to spans. Numbers of fields: `opentelemetry/proto/trace/v1/trace.proto`, `common.proto`, `resource.proto`.

use std::sync::Arc;

use super::{
    Decoded, MAX_DEPTH, OtlpError, WRONG_PARENT_ID, WRONG_SPAN_ID, WRONG_TRACE_ID,
    intern::Interner,
    wire::{Field, Fields},
};
use crate::span::{Attribute, Event, Kind, Link, Resource, Scope, Span, SpanId, StatusCode, TraceId, Value};

/// Decodes an `ExportTraceServiceRequest`, or `TracesData`.
pub fn decode_protobuf(bytes: &[u8]) -> Result<Decoded, OtlpError> {
    let mut decoder = Decoder::new();
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        if let (1, Field::Bytes(bytes)) = (number, field) {
            decoder.resource_spans(bytes)?;
        }
    }
    Ok(decoder.decoded)
}

struct Decoder {
    decoded: Decoded,
    /// Texts of which there are few: keys, names.
    names: Interner,
    /// Texts of values. Apart from the names, so that many different values do not drive those out.
    values: Interner,
    /// Attributes that are being read: a list of the right length is made of them when all are there.
    attributes: Vec<Attribute>,
}

impl Decoder {
    fn new() -> Self {
        Self {
            decoded: Decoded::default(),
            names: Interner::new(),
            values: Interner::new(),
            attributes: Vec::new(),
        }
    }

    fn resource_spans(&mut self, bytes: &[u8]) -> Result<(), OtlpError> {
        // The resource is needed for the spans, and may stand behind them.
        let mut resource = Resource::default();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(bytes)) => self.resource(bytes, &mut resource)?,
                (3, Field::Bytes(bytes)) => resource.schema_url = self.names.text(bytes),
                _ => {}
            }
        }
        let resource = Arc::new(resource);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            if let (2, Field::Bytes(bytes)) = field {
                self.scope_spans(bytes, &resource)?;
            }
        }
        Ok(())
    }

    fn resource(&mut self, bytes: &[u8], resource: &mut Resource) -> Result<(), OtlpError> {
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(bytes)) => resource.attributes.push(self.attribute(bytes, 0)?),
                (2, Field::Varint(count)) => resource.dropped_attributes = count as u32,
                _ => {}
            }
        }
        Ok(())
    }

    fn scope_spans(&mut self, bytes: &[u8], resource: &Arc<Resource>) -> Result<(), OtlpError> {
        let mut scope = Scope::default();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(bytes)) => self.scope(bytes, &mut scope)?,
                (3, Field::Bytes(bytes)) => scope.schema_url = self.names.text(bytes),
                _ => {}
            }
        }
        let scope = Arc::new(scope);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            if let (2, Field::Bytes(bytes)) = field {
                match self.span(bytes, resource, &scope)? {
                    Ok(span) => self.decoded.spans.push(span),
                    Err(reason) => self.decoded.refuse(reason),
                }
            }
        }
        Ok(())
    }

    fn scope(&mut self, bytes: &[u8], scope: &mut Scope) -> Result<(), OtlpError> {
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(bytes)) => scope.name = self.names.text(bytes),
                (2, Field::Bytes(bytes)) => scope.version = self.names.text(bytes),
                (3, Field::Bytes(bytes)) => scope.attributes.push(self.attribute(bytes, 0)?),
                (4, Field::Varint(count)) => scope.dropped_attributes = count as u32,
                _ => {}
            }
        }
        Ok(())
    }

    /// A span, or the reason why it is refused.
    fn span(
        &mut self,
        bytes: &[u8],
        resource: &Arc<Resource>,
        scope: &Arc<Scope>,
    ) -> Result<Result<Span, &'static str>, OtlpError> {
        let (mut trace_id, mut span_id, mut parent_id) = (&[][..], &[][..], &[][..]);
        let empty = self.names.text(b"");
        let mut span = Span {
            trace_id: TraceId([0; 16]),
            span_id: SpanId([0; 8]),
            parent_span_id: None,
            trace_state: Arc::clone(&empty),
            flags: 0,
            name: Arc::clone(&empty),
            kind: Kind::Unspecified,
            start_unix_ns: 0,
            end_unix_ns: 0,
            attributes: Vec::new(),
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            status: StatusCode::Unset,
            status_message: empty,
            resource: Arc::clone(resource),
            scope: Arc::clone(scope),
        };
        let begin = self.attributes.len();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(id)) => trace_id = id,
                (2, Field::Bytes(id)) => span_id = id,
                (3, Field::Bytes(state)) => span.trace_state = self.values.text(state),
                (4, Field::Bytes(id)) => parent_id = id,
                (5, Field::Bytes(name)) => span.name = self.names.text(name),
                (6, Field::Varint(kind)) => span.kind = Kind::from_number(kind as i64),
                (7, Field::Fixed64(time)) => span.start_unix_ns = time,
                (8, Field::Fixed64(time)) => span.end_unix_ns = time,
                (9, Field::Bytes(bytes)) => {
                    let attribute = self.attribute(bytes, 0)?;
                    self.attributes.push(attribute);
                }
                (10, Field::Varint(count)) => span.dropped_attributes = count as u32,
                (11, Field::Bytes(bytes)) => span.events.push(self.event(bytes)?),
                (12, Field::Varint(count)) => span.dropped_events = count as u32,
                (13, Field::Bytes(bytes)) => match self.link(bytes)? {
                    Some(link) => span.links.push(link),
                    None => span.dropped_links = span.dropped_links.saturating_add(1),
                },
                (14, Field::Varint(count)) => {
                    span.dropped_links = span.dropped_links.saturating_add(count as u32);
                }
                (15, Field::Bytes(bytes)) => self.status(bytes, &mut span)?,
                (16, Field::Fixed32(flags)) => span.flags = flags,
                _ => {}
            }
        }
        span.attributes = self.attributes.drain(begin..).collect();
        Ok(ids(trace_id, span_id, parent_id).map(|(trace_id, span_id, parent_span_id)| Span {
            trace_id,
            span_id,
            parent_span_id,
            ..span
        }))
    }

    fn status(&mut self, bytes: &[u8], span: &mut Span) -> Result<(), OtlpError> {
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (2, Field::Bytes(message)) => span.status_message = self.values.text(message),
                (3, Field::Varint(code)) => span.status = StatusCode::from_number(code as i64),
                _ => {}
            }
        }
        Ok(())
    }

    fn event(&mut self, bytes: &[u8]) -> Result<Event, OtlpError> {
        let mut event = Event {
            time_unix_ns: 0,
            name: self.names.text(b""),
            attributes: Vec::new(),
            dropped_attributes: 0,
        };
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Fixed64(time)) => event.time_unix_ns = time,
                (2, Field::Bytes(name)) => event.name = self.names.text(name),
                (3, Field::Bytes(bytes)) => event.attributes.push(self.attribute(bytes, 0)?),
                (4, Field::Varint(count)) => event.dropped_attributes = count as u32,
                _ => {}
            }
        }
        Ok(event)
    }

    /// A link; none if it has no valid ids.
    fn link(&mut self, bytes: &[u8]) -> Result<Option<Link>, OtlpError> {
        let (mut trace_id, mut span_id) = (None, None);
        let mut link = Link {
            trace_id: TraceId([0; 16]),
            span_id: SpanId([0; 8]),
            trace_state: self.names.text(b""),
            attributes: Vec::new(),
            dropped_attributes: 0,
            flags: 0,
        };
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(id)) => trace_id = not_zero(id).map(TraceId),
                (2, Field::Bytes(id)) => span_id = not_zero(id).map(SpanId),
                (3, Field::Bytes(state)) => link.trace_state = self.values.text(state),
                (4, Field::Bytes(bytes)) => link.attributes.push(self.attribute(bytes, 0)?),
                (5, Field::Varint(count)) => link.dropped_attributes = count as u32,
                (6, Field::Fixed32(flags)) => link.flags = flags,
                _ => {}
            }
        }
        Ok(trace_id.zip(span_id).map(|(trace_id, span_id)| Link { trace_id, span_id, ..link }))
    }

    fn attribute(&mut self, bytes: &[u8], depth: u32) -> Result<Attribute, OtlpError> {
        let mut key = &[][..];
        let mut value = Value::Empty;
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(text)) => key = text,
                (2, Field::Bytes(bytes)) => value = self.value(bytes, depth)?,
                _ => {}
            }
        }
        Ok((self.names.text(key), value))
    }

    /// A value that lies in `depth` lists and maps. Of several, which a message must not have, the last counts.
    fn value(&mut self, bytes: &[u8], depth: u32) -> Result<Value, OtlpError> {
        let mut value = Value::Empty;
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            value = match field {
                (1, Field::Bytes(text)) => Value::Str(self.values.text(text)),
                (2, Field::Varint(truth)) => Value::Bool(truth != 0),
                (3, Field::Varint(number)) => Value::Int(number as i64),
                (4, Field::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
                (5, Field::Bytes(bytes)) => Value::Array(self.list(bytes, deeper(depth)?)?),
                (6, Field::Bytes(bytes)) => Value::Map(self.map(bytes, deeper(depth)?)?),
                (7, Field::Bytes(bytes)) => Value::Bytes(bytes.into()),
                _ => continue,
            };
        }
        Ok(value)
    }

    fn list(&mut self, bytes: &[u8], depth: u32) -> Result<Vec<Value>, OtlpError> {
        let mut values = Vec::new();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            if let (1, Field::Bytes(bytes)) = field {
                values.push(self.value(bytes, depth)?);
            }
        }
        Ok(values)
    }

    fn map(&mut self, bytes: &[u8], depth: u32) -> Result<Vec<Attribute>, OtlpError> {
        let mut values = Vec::new();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            if let (1, Field::Bytes(bytes)) = field {
                values.push(self.attribute(bytes, depth)?);
            }
        }
        Ok(values)
    }
}

/// The depth of what lies in a list or map.
pub(super) fn deeper(depth: u32) -> Result<u32, OtlpError> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(OtlpError::TooDeep) }
}

/// Trace, span and parent.
pub(super) type Ids = (TraceId, SpanId, Option<SpanId>);

/// The ids of a span, or the reason why it is refused. No parent is no bytes; zeros, which some senders write, are too.
pub(super) fn ids(trace_id: &[u8], span_id: &[u8], parent_id: &[u8]) -> Result<Ids, &'static str> {
    let trace_id = not_zero(trace_id).map(TraceId).ok_or(WRONG_TRACE_ID)?;
    let span_id = not_zero(span_id).map(SpanId).ok_or(WRONG_SPAN_ID)?;
    if !matches!(parent_id.len(), 0 | 8) {
        return Err(WRONG_PARENT_ID);
    }
    Ok((trace_id, span_id, not_zero(parent_id).map(SpanId)))
}

/// An id of the right length that is not zero.
pub(super) fn not_zero<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    <[u8; N]>::try_from(bytes).ok().filter(|id| id.iter().any(|byte| *byte != 0))
}
