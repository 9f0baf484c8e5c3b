//! A document read while it is decoded: it may be larger than memory.
//!
//! What is said of a resource or a scope after its spans belongs to them. So spans wait for the end of their resource, unless
//! there are too many. Then they go with what was said until then.

use std::{collections::HashMap, fmt, mem, sync::Arc};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Kind, Sink};
use crate::{
    jaeger::{self, ProcessJson},
    otlp::{Decoded, JsonDecoder, ResourceJson, ScopeJson, SpanJson, Text},
    span::{Resource, Scope, Span},
};

/// Spans that wait for the end of their resource.
const MOST_WAITING: usize = 10_000;

/// What decodes both forms.
pub(super) struct Decoders {
    otlp: JsonDecoder,
    jaeger: jaeger::Decoder,
}

impl Decoders {
    pub(super) fn new() -> Self {
        Self { otlp: JsonDecoder::new(), jaeger: jaeger::Decoder::new() }
    }
}

/// A document. Tells what it is.
pub(super) struct Document<'to, 'take> {
    pub(super) decoders: &'to mut Decoders,
    pub(super) sink: &'to mut Sink<'take>,
    pub(super) found: &'to mut Option<Kind>,
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a document with traces")
    }

    /// Jaeger's traces, without anything around them.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.found.get_or_insert(Kind::Jaeger);
        let mut traces = JaegerTraces { decoder: &mut self.decoders.jaeger, sink: self.sink };
        while traces.next(&mut list)? {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { decoders, sink, found } = self;
        let mut trace = Trace::default();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "resourceSpans" | "resource_spans" => {
                    found.get_or_insert(Kind::Otlp);
                    map.next_value_seed(ListOf(Resources { decoder: &mut decoders.otlp, sink }))?;
                }
                "result" => {
                    found.get_or_insert(Kind::OtlpInResult);
                    map.next_value_seed(Document { decoders, sink, found })?;
                }
                "data" => {
                    found.get_or_insert(Kind::Jaeger);
                    map.next_value_seed(JaegerData { decoder: &mut decoders.jaeger, sink })?;
                }
                "resourceMetrics" | "resource_metrics" | "resourceLogs" | "resource_logs" => {
                    found.get_or_insert(Kind::Otlp);
                    map.next_value::<IgnoredAny>()?;
                }
                name => {
                    if name == "spans" {
                        found.get_or_insert(Kind::Jaeger);
                    }
                    trace.field(name, &mut map, &mut decoders.jaeger, sink)?;
                }
            }
        }
        trace.finish(sink);
        Ok(())
    }
}

/// Members of a list, one after the other.
trait Members<'de> {
    /// Takes the next one. False at the end.
    fn next<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error>;
}

/// A list, or null.
struct ListOf<M>(M);

impl<'de, M: Members<'de>> DeserializeSeed<'de> for ListOf<M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, M: Members<'de>> Visitor<'de> for ListOf<M> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a sequence")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while self.0.next(&mut list)? {}
        Ok(())
    }
}

/// OTLP's `resourceSpans`.
struct Resources<'to, 'take> {
    decoder: &'to mut JsonDecoder,
    sink: &'to mut Sink<'take>,
}

impl<'de> Members<'de> for Resources<'_, '_> {
    fn next<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        let resource = OfResource { decoder: self.decoder, sink: self.sink, waiting: Waiting::default() };
        Ok(list.next_element_seed(resource)?.is_some())
    }
}

/// Spans of one resource.
#[derive(Default)]
struct Waiting {
    spans: Vec<Span>,
    /// Where those of the scope begin that is read.
    of_scope: usize,
    resource: Option<Arc<Resource>>,
    scope: Option<Arc<Scope>>,
}

impl Waiting {
    /// The scope is known.
    fn end_scope(&mut self) {
        if let Some(scope) = &self.scope {
            for span in &mut self.spans[self.of_scope..] {
                span.scope = Arc::clone(scope);
            }
        }
        self.of_scope = self.spans.len();
    }

    /// The resource is known.
    fn end(&mut self, sink: &mut Sink<'_>) {
        self.end_scope();
        if let Some(resource) = &self.resource {
            for span in &mut self.spans {
                span.resource = Arc::clone(resource);
            }
        }
        self.of_scope = 0;
        sink.append(Decoded { spans: mem::take(&mut self.spans), refused: Vec::new() });
    }
}

struct OfResource<'to, 'take> {
    decoder: &'to mut JsonDecoder,
    sink: &'to mut Sink<'take>,
    waiting: Waiting,
}

impl<'de> DeserializeSeed<'de> for OfResource<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfResource<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("spans of a resource")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut schema_url = None;
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "resource" => {
                    let json = map.next_value::<Option<ResourceJson<'_>>>()?.unwrap_or_default();
                    self.waiting.resource =
                        Some(self.decoder.resource(json, None).map_err(A::Error::custom)?);
                }
                "scopeSpans" | "scope_spans" => {
                    let Self { decoder, sink, waiting } = &mut self;
                    map.next_value_seed(ListOf(Scopes { decoder, sink, waiting }))?;
                }
                "schemaUrl" | "schema_url" => schema_url = map.next_value::<Option<Text<'_>>>()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let resource = self.waiting.resource.take().unwrap_or_default();
        let resource = self.decoder.with_schema_of_resource(resource, schema_url);
        self.waiting.resource = Some(resource);
        self.waiting.end(self.sink);
        Ok(())
    }
}

/// OTLP's `scopeSpans`.
struct Scopes<'to, 'take> {
    decoder: &'to mut JsonDecoder,
    sink: &'to mut Sink<'take>,
    waiting: &'to mut Waiting,
}

impl<'de> Members<'de> for Scopes<'_, '_> {
    fn next<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        self.waiting.scope = None;
        let scope = OfScope { decoder: self.decoder, sink: self.sink, waiting: self.waiting };
        Ok(list.next_element_seed(scope)?.is_some())
    }
}

struct OfScope<'to, 'take> {
    decoder: &'to mut JsonDecoder,
    sink: &'to mut Sink<'take>,
    waiting: &'to mut Waiting,
}

impl<'de> DeserializeSeed<'de> for OfScope<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfScope<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("spans of a scope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { decoder, sink, waiting } = self;
        let mut schema_url = None;
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "scope" => {
                    let json = map.next_value::<Option<ScopeJson<'_>>>()?.unwrap_or_default();
                    waiting.scope = Some(decoder.scope(json, None).map_err(A::Error::custom)?);
                }
                "spans" => map.next_value_seed(ListOf(Spans { decoder, sink, waiting }))?,
                "schemaUrl" | "schema_url" => schema_url = map.next_value::<Option<Text<'_>>>()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let scope = waiting.scope.take().unwrap_or_default();
        waiting.scope = Some(decoder.with_schema_of_scope(scope, schema_url));
        waiting.end_scope();
        Ok(())
    }
}

/// OTLP's `spans`.
struct Spans<'to, 'take> {
    decoder: &'to mut JsonDecoder,
    sink: &'to mut Sink<'take>,
    waiting: &'to mut Waiting,
}

impl<'de> Members<'de> for Spans<'_, '_> {
    fn next<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        let Some(json) = list.next_element::<SpanJson<'de>>()? else { return Ok(false) };
        match json.ids() {
            Ok(ids) => {
                // Who made it is put in when that is known.
                let (resource, scope) = (Arc::default(), Arc::default());
                let span = self.decoder.span(ids, json, &resource, &scope).map_err(A::Error::custom)?;
                self.waiting.spans.push(span);
            }
            Err(reason) => self.sink.refuse(reason),
        }
        let waiting = &mut *self.waiting;
        let is_known = waiting.resource.is_some() && waiting.scope.is_some();
        if is_known && waiting.spans.len() >= MOST_WAITING {
            waiting.end(self.sink);
        }
        Ok(true)
    }
}

/// Jaeger's `data`: traces, or one.
struct JaegerData<'to, 'take> {
    decoder: &'to mut jaeger::Decoder,
    sink: &'to mut Sink<'take>,
}

impl<'de> DeserializeSeed<'de> for JaegerData<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JaegerData<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a trace or a list of traces")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut traces = JaegerTraces { decoder: self.decoder, sink: self.sink };
        while traces.next(&mut list)? {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        JaegerTrace { decoder: self.decoder, sink: self.sink }.visit_map(map)
    }
}

/// A list of Jaeger's traces.
struct JaegerTraces<'to, 'take> {
    decoder: &'to mut jaeger::Decoder,
    sink: &'to mut Sink<'take>,
}

impl<'de> Members<'de> for JaegerTraces<'_, '_> {
    fn next<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        let trace = JaegerTrace { decoder: self.decoder, sink: self.sink };
        Ok(list.next_element_seed(trace)?.is_some())
    }
}

struct JaegerTrace<'to, 'take> {
    decoder: &'to mut jaeger::Decoder,
    sink: &'to mut Sink<'take>,
}

impl<'de> DeserializeSeed<'de> for JaegerTrace<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for JaegerTrace<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a trace")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut trace = Trace::default();
        while let Some(Text(name)) = map.next_key()? {
            trace.field(&name, &mut map, self.decoder, self.sink)?;
        }
        trace.finish(self.sink);
        Ok(())
    }
}

/// What was read of one of Jaeger's traces: its processes follow upon its spans.
#[derive(Default)]
struct Trace {
    /// Spans, and the process that each names.
    spans: Vec<(Span, Option<Box<str>>)>,
    processes: HashMap<Box<str>, Arc<Resource>>,
}

impl Trace {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        decoder: &mut jaeger::Decoder,
        sink: &mut Sink<'_>,
    ) -> Result<(), A::Error> {
        match name {
            "spans" => map.next_value_seed(ListOf(JaegerSpans { decoder, sink, spans: &mut self.spans })),
            "processes" => {
                let processes = map.next_value::<Option<HashMap<Box<str>, ProcessJson<'_>>>>()?;
                for (id, process) in processes.unwrap_or_default() {
                    self.processes.insert(id, Arc::new(decoder.resource(process)));
                }
                Ok(())
            }
            _ => map.next_value::<IgnoredAny>().map(|_| ()),
        }
    }

    fn finish(self, sink: &mut Sink<'_>) {
        let processes = self.processes;
        let spans = self.spans.into_iter().map(|(mut span, process)| {
            if let Some(resource) = process.and_then(|id| processes.get(&id)) {
                span.resource = Arc::clone(resource);
            }
            span
        });
        sink.append(Decoded { spans: spans.collect(), refused: Vec::new() });
    }
}

struct JaegerSpans<'to, 'take> {
    decoder: &'to mut jaeger::Decoder,
    sink: &'to mut Sink<'take>,
    spans: &'to mut Vec<(Span, Option<Box<str>>)>,
}

impl<'de> Members<'de> for JaegerSpans<'_, '_> {
    fn next<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        let Some(mut json) = list.next_element::<jaeger::SpanJson<'de>>()? else { return Ok(false) };
        let (resource, process) = self.decoder.process_of(&mut json);
        match self.decoder.span(json, resource) {
            Ok(span) => self.spans.push((span, process)),
            Err(reason) => self.sink.refuse(reason),
        }
        Ok(true)
    }
}
