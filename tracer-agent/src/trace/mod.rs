//! Traces from spans: which spans belong together, in which order they stand, and which part of its time
//! is a span's own. It works on spans alone, for every sink alike.

#![forbid(unsafe_code)]

pub mod assembly;
pub mod order;
pub mod self_time;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use crate::{
        correlate::Evidence,
        span::{Attributes, Resource, Span, SpanKind, Status, semconv},
    };

    /// What became of a request.
    pub(crate) struct Said<'a> {
        pub(crate) method: &'a str,
        pub(crate) target: &'a str,
        /// Status code, or `error.type`.
        pub(crate) outcome: Result<u16, &'a str>,
        pub(crate) is_error: bool,
    }

    impl Default for Said<'_> {
        fn default() -> Self {
            Self { method: "GET", target: "/a", outcome: Ok(200), is_error: false }
        }
    }

    /// A span of the trace of all ones, its times in microseconds after an hour of 1970.
    pub(crate) fn span(
        service: &str,
        kind: SpanKind,
        id: u64,
        parent: Option<(u64, Evidence)>,
        time_us: (u64, u64),
    ) -> Span {
        span_that(service, kind, id, parent, time_us, &Said::default())
    }

    /// The same, of a request that went in this way.
    pub(crate) fn span_that(
        service: &str,
        kind: SpanKind,
        id: u64,
        parent: Option<(u64, Evidence)>,
        (start_us, end_us): (u64, u64),
        said: &Said<'_>,
    ) -> Span {
        const HOUR_US: u64 = 3_600_000_000;
        let mut attributes = Attributes::default();
        attributes.str(semconv::HTTP_REQUEST_METHOD, said.method);
        match kind {
            SpanKind::Server | SpanKind::Consumer | SpanKind::Internal => {
                attributes.str(semconv::URL_PATH, said.target)
            }
            SpanKind::Client | SpanKind::Producer => {
                attributes.str(semconv::URL_FULL, &format!("http://10.0.0.1:80{}", said.target));
            }
        }
        match said.outcome {
            Ok(status) => attributes.int(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status)),
            Err(error) => attributes.str(semconv::ERROR_TYPE, error),
        }
        attributes.int(semconv::HTTP_RESPONSE_BODY_SIZE, 7);
        if let Some((_, evidence)) = parent {
            attributes.str(semconv::TRACER_LINK_EVIDENCE, evidence.name());
        }
        Span {
            resource: Arc::new(Resource { service_name: service.to_owned(), pid: 1, attributes: Vec::new() }),
            trace_id: [0x11; 16],
            span_id: id.to_be_bytes(),
            parent_span_id: parent.map(|(id, _)| id.to_be_bytes()),
            flags: 0x101,
            trace_state: String::new(),
            name: "GET /a".into(),
            kind,
            local: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
            peer: std::net::SocketAddr::from(([127, 0, 0, 1], 51234)).into(),
            start_unix_ns: (HOUR_US + start_us) * 1_000,
            end_unix_ns: (HOUR_US + end_us) * 1_000,
            attributes,
            attachments: None,
            status: if said.is_error { Status::Error(String::new()) } else { Status::Unset },
        }
    }
}
