//! Jaeger's query JSON: spans as Jaeger's query service answers them, and saved answers to spans.
//!
//! The translation is the one that Jaeger 1.76 does with OTLP: what it writes of a span, the order in which it sorts, and the
//! warnings that it adds (Jaeger's `querysvc` and the Collector's `pkg/translator/jaeger`, both Apache-2.0, read for the
//! facts). What differs:
//! - The order of spans is theirs, not that of a hash table.
//! - A service without a name is `unknown_service`, as everywhere in this program; Jaeger calls it `missing-service-name`,
//!   `empty-service-name` or `service-name-wrong-type`.
//! - Bytes that are none are an empty text. Jaeger writes null.
//! - A double that JSON has not (NaN, infinities) is text. Jaeger fails to answer.

mod decode;
mod encode;
mod go_json;
mod skew;
#[cfg(test)]
mod tests;

pub(crate) use decode::{Decoder, ProcessJson, SpanJson};
pub use decode::{JaegerError, decode};
pub use encode::{raw_trace_of, trace_of};

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::{
    otlp::RequestJson,
    span::{Span, TraceId},
};

/// Envelope of each answer of Jaeger's `/api/…`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Answer<T> {
    /// What was asked for. Null if there is an error instead.
    pub data: Option<T>,
    /// Members of `data`. Of traces, Jaeger says 0.
    pub total: usize,
    /// Always 0.
    pub limit: usize,
    /// Always 0.
    pub offset: usize,
    /// What went wrong; null if nothing did.
    pub errors: Option<Vec<Problem>>,
}

impl<T> Answer<T> {
    /// Traces, or dependencies, which are not counted.
    pub fn of(data: T) -> Self {
        Self { data: Some(data), total: 0, limit: 0, offset: 0, errors: None }
    }

    /// An error, with its HTTP status.
    pub fn error(code: u16, message: impl Into<String>) -> Self {
        let problem = Problem { code, msg: message.into(), trace_id: String::new() };
        Self { data: None, total: 0, limit: 0, offset: 0, errors: Some(vec![problem]) }
    }
}

impl<T> Answer<Vec<T>> {
    /// Services or operations, which are counted.
    pub fn list(data: Vec<T>) -> Self {
        Self { total: data.len(), ..Self::of(data) }
    }
}

/// An error.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Problem {
    /// HTTP status; 0 is left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
    /// What is wrong.
    pub msg: String,
    /// The trace that it is about, in hexadecimal; empty is left out.
    #[serde(rename = "traceID", skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

/// A member of the answer to `/api/operations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Name of the spans.
    pub name: String,
    /// `client`, `server`, `producer`, `consumer`, `internal`; empty if not said.
    #[serde(rename = "spanKind")]
    pub span_kind: String,
}

/// A member of the answer to `/api/dependencies`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// Service that calls.
    pub parent: String,
    /// Service that is called.
    pub child: String,
    /// Calls.
    #[serde(rename = "callCount")]
    pub call_count: u64,
}

/// A trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trace {
    /// Its id; empty if it has no spans.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// Its spans.
    pub spans: Vec<JaegerSpan>,
    /// Service instances by the ids that spans name: `p1`, `p2`, …
    pub processes: BTreeMap<String, Process>,
    /// Always null.
    pub warnings: Option<Vec<String>>,
}

/// A span.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JaegerSpan {
    /// Its trace.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// It.
    #[serde(rename = "spanID")]
    pub span_id: String,
    /// Name.
    pub operation_name: String,
    /// Its parent, and the spans that it is linked to.
    pub references: Vec<Reference>,
    /// Start, microseconds since 1970.
    pub start_time: u64,
    /// Duration, microseconds.
    pub duration: u64,
    /// Attributes, and what else OTLP says of a span, by key.
    pub tags: Vec<Tag>,
    /// Events.
    pub logs: Vec<Log>,
    /// Its service instance.
    #[serde(rename = "processID")]
    pub process_id: String,
    /// What is odd about it; null if nothing is.
    pub warnings: Option<Vec<String>>,
}

/// A reference from a span to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// `CHILD_OF` or `FOLLOWS_FROM`.
    pub ref_type: &'static str,
    /// Trace of the other one.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// The other one.
    #[serde(rename = "spanID")]
    pub span_id: String,
}

/// A service instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Service.
    pub service_name: String,
    /// Attributes of the resource, by key.
    pub tags: Vec<Tag>,
}

/// What happened at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Log {
    /// When, microseconds since 1970.
    pub timestamp: u64,
    /// The event's name as `event`, then its attributes by key.
    pub fields: Vec<Tag>,
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tag {
    /// Name.
    pub key: String,
    /// `string`, `bool`, `int64`, `float64`, `binary`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Value.
    pub value: TagValue,
}

/// Value of a tag, in the order in which Jaeger sorts them.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum TagValue {
    /// Text; of lists and maps, their JSON.
    Str(String),
    /// Truth.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Number.
    Float(f64),
    /// Bytes in base64.
    Binary(String),
}

impl Serialize for TagValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// The greatest whole number below which JavaScript holds each one.
        const MAX_SAFE: u64 = (1 << 53) - 1;
        match self {
            Self::Str(text) | Self::Binary(text) => serializer.serialize_str(text),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) if number.unsigned_abs() > MAX_SAFE => serializer.collect_str(number),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) if number.is_finite() => serializer.serialize_f64(*number),
            Self::Float(number) => serializer.collect_str(number),
        }
    }
}

/// The answer of Jaeger's `/api/v3/traces` with these spans: OTLP JSON in `result`.
pub fn api_v3(spans: &[Span]) -> String {
    /// The gateway's envelope.
    #[derive(Serialize)]
    struct Gateway<'a> {
        result: RequestJson<'a>,
    }
    serde_json::to_string(&Gateway { result: RequestJson(spans) })
        .expect("maps have text as keys, and text takes any writing")
}

/// A trace's id as Jaeger writes it: without the upper half, if that is zero.
pub fn trace_id_text(id: TraceId) -> String {
    let id = u128::from_be_bytes(id.0);
    if id >> 64 == 0 { format!("{id:016x}") } else { format!("{id:032x}") }
}
