//! An HTTP exchange.

#![forbid(unsafe_code)]

use bytes::Bytes;

use super::{
    fields::{Noted, header_values},
    otlp::{self, Signal},
};
use crate::exchange::ExportedSpans;

/// An HTTP exchange. Heads are kept as they were on the wire, start line included, up to the empty
/// line; they parsed once and parse again with `httparse`.
#[derive(Clone, Debug)]
pub struct HttpExchange {
    /// Head of the request.
    pub request_head: Bytes,
    /// Where in `request_head` the method stands.
    pub method: std::ops::Range<usize>,
    /// Where in `request_head` the request target stands.
    pub target: std::ops::Range<usize>,
    /// What was noted of the request's header fields.
    pub noted: Noted,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1, of the request.
    pub minor_version: u8,
    /// Head of the final response.
    pub response_head: Option<Bytes>,
    /// Status code of the final response; 101 for an upgrade.
    pub status: Option<u16>,
    /// The first bytes of the body of a request that exports spans, as they were sent.
    pub export_body: Option<Bytes>,
    /// Size of the request's body without chunk framing, bytes; none if it is not known.
    pub request_body_bytes: Option<u64>,
    /// Size of the response's body without chunk framing, bytes; none if it is not known.
    pub response_body_bytes: Option<u64>,
}

impl HttpExchange {
    /// The method as it was sent.
    pub fn method(&self) -> &[u8] {
        self.request_head.get(self.method.clone()).unwrap_or_default()
    }

    /// The request target as it was sent.
    pub fn target(&self) -> &[u8] {
        self.request_head.get(self.target.clone()).unwrap_or_default()
    }

    /// Values of the request's header fields called `name` (compared without case), in order,
    /// whitespace around them removed.
    pub fn request_header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header_values(&self.request_head, name)
    }

    /// What the request exports by OTLP over HTTP, if it does.
    #[inline]
    pub fn exported(&self) -> Option<Signal> {
        if self.method() == b"POST" { self.exported_by_post() } else { None }
    }

    #[inline(never)]
    fn exported_by_post(&self) -> Option<Signal> {
        let content_types = self.request_header("content-type");
        Signal::of_request(self.method(), self.target(), content_types, self.user_agent())
    }

    /// What the spans say that the request exports, if its body was kept and can be read.
    pub(super) fn exported_spans(&self) -> Option<ExportedSpans> {
        let body = self.export_body.as_ref()?;
        let is = |name: &str, value: &str| {
            self.request_header(name).any(|field| field.eq_ignore_ascii_case(value.as_bytes()))
        };
        let is_gzip = is("content-encoding", "gzip") || is("content-encoding", "x-gzip");
        let mut codings = self.request_header("content-encoding").map(<[u8]>::trim_ascii);
        let is_packed_otherwise =
            !is_gzip && codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
        let form = otlp::Form {
            is_chunked: is("transfer-encoding", "chunked"),
            is_gzip,
            is_json: self.request_header("content-type").any(otlp::is_json),
        };
        (!is_packed_otherwise).then(|| otlp::read(body, form))
    }

    /// The first `Host`.
    pub fn host(&self) -> Option<&[u8]> {
        self.noted.host.of(&self.request_head)
    }

    /// The first `User-Agent`.
    pub fn user_agent(&self) -> Option<&[u8]> {
        self.noted.user_agent.of(&self.request_head)
    }

    /// Values of the response's header fields called `name`; see [`Self::request_header`].
    pub fn response_header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header_values(self.response_head.as_deref().unwrap_or_default(), name)
    }
}
