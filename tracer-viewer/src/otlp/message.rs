//! Messages that an OTLP receiver answers, written out: two of OTLP's, three of Google's.

use std::time::Duration;

use prost::Message;
use serde_json::{Value, json};

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(crate) error_message: String,
}

impl Response {
    /// Protobuf's JSON: numbers of 64 bits are strings.
    pub(crate) fn json(&self) -> Value {
        match &self.partial_success {
            None => json!({}),
            Some(partial) => json!({"partialSuccess": {
                "rejectedSpans": partial.rejected_spans.to_string(),
                "errorMessage": partial.error_message,
            }}),
        }
    }
}

/// `google.rpc.Status`: body of an answer that is no success.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

impl Status {
    pub(crate) fn json(&self) -> Value {
        json!({"code": self.code, "message": self.message})
    }

    /// With the time after which the sender may come again.
    pub(crate) fn retry_after(mut self, time: Duration) -> Self {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let info = RetryInfo { retry_delay: Some(Span { seconds, nanos: 0 }) };
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        self.details.push(Any { type_url, value: info.encode_to_vec() });
        self
    }
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Span>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Span {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;

    use super::*;

    #[test]
    fn the_answer_is_that_of_the_protocol() {
        let partial = PartialSuccess { rejected_spans: 3, error_message: "why".to_owned() };
        let ours = Response { partial_success: Some(partial) };
        let theirs = ExportTraceServiceResponse::decode(ours.encode_to_vec().as_slice()).unwrap();
        let partial = theirs.partial_success.unwrap();
        assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (3, "why"));
        let json = r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"why"}}"#;
        assert_eq!(ours.json().to_string(), json);
    }

    #[test]
    fn a_full_success_is_empty() {
        assert!(Response::default().encode_to_vec().is_empty());
        assert_eq!(Response::default().json().to_string(), "{}");
    }
}
