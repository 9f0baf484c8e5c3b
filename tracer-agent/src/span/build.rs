//! From an exchange to its span.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attributes, Resource, Span, SpanKind, http::HttpNames, semconv};
use crate::{
    context::Incoming,
    exchange::{ConnectionFacts, Exchange, HttpExchange, Outcome, Payload, Role},
    ledger::Counter,
    redact::Redactor,
};

/// How spans are made of exchanges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpanConfig {
    /// HTTP methods that are told by name; others become `_OTHER`.
    pub known_methods: Vec<String>,
    /// Patterns of paths, such as `/users/{id}` or `/files/*`: the first that matches becomes
    /// `http.route` of server spans and `url.template` of client spans.
    pub routes: Vec<String>,
    /// Guess a name of low cardinality from paths that match no pattern.
    pub route_guess: bool,
    /// Different guessed names per service; beyond them a span is named by its method alone.
    pub route_guess_limit: usize,
    /// Query keys whose values are replaced by REDACTED, compared without case.
    pub redact_query_keys: Vec<String>,
    /// Request headers that become attributes. Credentials and cookies never do.
    pub request_headers: Vec<String>,
    /// Response headers that become attributes.
    pub response_headers: Vec<String>,
    /// Believe Forwarded and X-Forwarded-* headers: for services behind a proxy of one's own.
    pub trust_forwarded: bool,
}

impl Default for SpanConfig {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            known_methods: owned(&[
                "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
            ]),
            routes: Vec::new(),
            route_guess: true,
            route_guess_limit: 200,
            redact_query_keys: owned(crate::redact::DEFAULT_KEYS),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            trust_forwarded: false,
        }
    }
}

/// Turns `CLOCK_MONOTONIC` into Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Unix time minus `CLOCK_MONOTONIC`, nanoseconds.
    pub offset_ns: i64,
}

impl Clock {
    /// Unix time of a moment, nanoseconds.
    pub fn unix_ns(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add_signed(self.offset_ns)
    }
}

/// Makes trace and span ids from a seed: xoshiro256++ (Blackman, Vigna: Scrambled Linear Pseudorandom
/// Number Generators, 2021). Ids need to be spread well, not to be secret; the state is wide enough
/// that the streams of many agents do not meet, as those of a 64-bit state would.
#[derive(Clone, Debug)]
pub struct IdGenerator([u64; 4]);

impl IdGenerator {
    /// The same seed gives the same ids. The state is filled by SplitMix64 (Steele, Lea, Flood: Fast
    /// Splittable Pseudorandom Number Generators, 2014), as the authors advise; it is never all zero.
    pub fn new(seed: u64) -> Self {
        let mut counter = seed;
        Self(std::array::from_fn(|_| {
            counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (counter ^ counter >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        }))
    }

    fn next(&mut self) -> u64 {
        let [mut a, mut b, mut c, mut d] = self.0;
        let value = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        self.0 = [a, b, c, d.rotate_left(45)];
        value
    }

    /// A span id, never zero.
    pub fn span_id(&mut self) -> [u8; 8] {
        loop {
            let id = self.next();
            if id != 0 {
                return id.to_be_bytes();
            }
        }
    }

    /// A trace id, never zero; all its bits are random.
    pub fn trace_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.span_id());
        id[8..].copy_from_slice(&self.span_id());
        id
    }
}

/// Trace flags of a root: sampled, and its trace id is random (W3C trace context level 2).
const ROOT_FLAGS: u32 = 0x03;
/// OTLP span flags: whether the parent is remote is known, and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Makes spans of exchanges.
pub struct SpanBuilder {
    names: HttpNames,
    ids: IdGenerator,
    /// Memory of the span before, for the next one's attributes.
    spare: Attributes,
}

impl SpanBuilder {
    /// A builder by the operator's rules.
    pub fn new(config: SpanConfig, ids: IdGenerator) -> Self {
        let redactor = Redactor::new(&config.redact_query_keys);
        Self { names: HttpNames::new(config, redactor), ids, spare: Attributes::default() }
    }

    /// The span of an exchange; none for one that is not to be seen: the target's own export of
    /// telemetry.
    pub fn build(
        &mut self,
        exchange: &Exchange,
        facts: &ConnectionFacts,
        resource: &Arc<Resource>,
        clock: &Clock,
        count: &mut dyn FnMut(Counter, u64),
    ) -> Option<Span> {
        let Payload::Http(http) = &exchange.payload;
        if facts.role == Role::Client && is_export(http) {
            count(Counter::ExchangesOwnExport, 1);
            return None;
        }
        let mut attributes = std::mem::take(&mut self.spare);
        let described = self.names.describe(exchange, http, facts, resource, &mut attributes);
        if described.is_unnamed {
            count(Counter::SpansUnnamed, 1);
        }
        let incoming = match facts.role {
            Role::Server if http.has_trace_context() => {
                Incoming::of(http.request_header("traceparent"), http.request_header("tracestate"))
            }
            // The header that a client sends names a span of the application's own making.
            Role::Server | Role::Client => None,
        };
        let (trace_id, parent_span_id, flags, trace_state) = match incoming {
            Some(context) => {
                attributes.str(semconv::TRACER_LINK_EVIDENCE, "header");
                let flags = u32::from(context.flags) | HAS_IS_REMOTE | IS_REMOTE;
                (context.trace_id, Some(context.parent_id), flags, context.state)
            }
            None => (self.ids.trace_id(), None, ROOT_FLAGS | HAS_IS_REMOTE, String::new()),
        };
        let start_unix_ns = clock.unix_ns(exchange.start_ns);
        Some(Span {
            resource: Arc::clone(resource),
            trace_id,
            span_id: self.ids.span_id(),
            parent_span_id,
            flags,
            trace_state,
            name: described.name,
            kind: match facts.role {
                Role::Client => SpanKind::Client,
                Role::Server => SpanKind::Server,
            },
            start_unix_ns,
            end_unix_ns: clock.unix_ns(exchange.end_ns).max(start_unix_ns),
            attributes,
            status: described.status,
        })
    }
}

impl SpanBuilder {
    /// Takes back a span that was handed on: the next one has its memory.
    pub fn recycle(&mut self, span: Span) {
        self.spare = span.attributes;
        self.spare.clear();
    }
}

/// `error.type` of exchanges that did not come to their end: the whole list.
pub(super) fn failure(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Complete => None,
        Outcome::Timeout => Some("timeout"),
        Outcome::Reset => Some("connection_reset"),
        Outcome::NoResponse => Some("no_response"),
        Outcome::Truncated => Some("truncated"),
        Outcome::Lost => Some("lost"),
    }
}

/// Whether a request is an OTLP export of the target's own.
fn is_export(http: &HttpExchange) -> bool {
    let target = http.target();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    http.method() == b"POST"
        && [&b"/v1/traces"[..], b"/v1/metrics", b"/v1/logs"].iter().any(|end| path.ends_with(end))
        && http
            .request_header("content-type")
            .any(|kind| kind.starts_with(b"application/x-protobuf") || kind.starts_with(b"application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_generator_s_published_values() {
        let mut ids = IdGenerator([1, 2, 3, 4]);
        let values: [u64; 4] = std::array::from_fn(|_| ids.next());
        assert_eq!(values, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn the_same_seed_gives_the_same_ids_and_another_seed_others() {
        let ids = |seed| {
            let mut ids = IdGenerator::new(seed);
            (ids.trace_id(), ids.span_id())
        };
        assert_eq!(ids(7), ids(7));
        assert_ne!(ids(7), ids(8));
        assert_ne!(ids(0).0, [0; 16]);
    }
}
