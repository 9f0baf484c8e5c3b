//! OTLP over HTTP: which requests export telemetry.

#![forbid(unsafe_code)]

mod body;
mod json;
mod protobuf;

pub(crate) use self::body::{Form, read};

/// What an export carries. The path of its request ends in the name (OTLP specification, OTLP/HTTP request).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `/v1/traces`
    Traces,
    /// `/v1/metrics`
    Metrics,
    /// `/v1/logs`
    Logs,
}

impl Signal {
    /// By what the head of a request says. Protobuf at such a path is OTLP. JSON at such a path may be an application's
    /// own interface, so it counts only if the user agent is an exporter's.
    pub(crate) fn of_request<'a>(
        method: &[u8],
        target: &[u8],
        mut content_types: impl Iterator<Item = &'a [u8]>,
        user_agent: Option<&[u8]>,
    ) -> Option<Self> {
        if method != b"POST" {
            return None;
        }
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let signal = Self::of_path(path)?;
        let content_type = content_types.next()?;
        let is_otlp = media_type(content_type).eq_ignore_ascii_case(b"application/x-protobuf")
            || is_json(content_type) && user_agent.is_some_and(is_exporter);
        is_otlp.then_some(signal)
    }

    fn of_path(path: &[u8]) -> Option<Self> {
        if path.ends_with(b"/v1/traces") {
            Some(Self::Traces)
        } else if path.ends_with(b"/v1/metrics") {
            Some(Self::Metrics)
        } else if path.ends_with(b"/v1/logs") {
            Some(Self::Logs)
        } else {
            None
        }
    }
}

/// A content type without its parameters.
fn media_type(content_type: &[u8]) -> &[u8] {
    content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Whether a content type is JSON's.
pub(crate) fn is_json(content_type: &[u8]) -> bool {
    media_type(content_type).eq_ignore_ascii_case(b"application/json")
}

/// Whether a user agent is an exporter's: `OTel-OTLP-Exporter-Python/1.30` and `OTel OTLP Exporter Go/1.30` (OTLP
/// exporter specification, User Agent), `OpenTelemetry Collector/0.120`, and this agent.
fn is_exporter(user_agent: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 3] = [b"otel", b"opentelemetry", b"tracer/"];
    BEGINNINGS.iter().any(|beginning| {
        user_agent.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_told_by_method_path_content_type_and_of_json_by_the_user_agent() {
        const PROTOBUF: &str = "application/x-protobuf";
        const JSON: &str = "application/json; charset=utf-8";
        for (method, target, content_type, agent, expected) in [
            ("POST", "/v1/traces", PROTOBUF, "", Some(Signal::Traces)),
            ("POST", "/otlp/v1/metrics?tenant=1", PROTOBUF, "curl/8", Some(Signal::Metrics)),
            ("POST", "http://collector:4318/v1/logs", "Application/X-Protobuf", "", Some(Signal::Logs)),
            ("POST", "/v1/traces", JSON, "OTel-OTLP-Exporter-JavaScript/0.200.0", Some(Signal::Traces)),
            ("POST", "/v1/traces", JSON, "OTel OTLP Exporter Go/1.35.0", Some(Signal::Traces)),
            ("POST", "/v1/logs", JSON, "OpenTelemetry Collector/0.120.0", Some(Signal::Logs)),
            ("POST", "/v1/traces", JSON, "tracer/0.1.0", Some(Signal::Traces)),
            // An interface of the application.
            ("POST", "/api/v1/logs", JSON, "Mozilla/5.0", None),
            ("POST", "/v1/logs", JSON, "", None),
            ("PUT", "/v1/traces", PROTOBUF, "", None),
            ("POST", "/v1/traces/7", PROTOBUF, "", None),
            ("POST", "/api/v1/write", PROTOBUF, "", None),
            ("POST", "/v1/traces", "application/x-protobuffer", "", None),
            ("POST", "/v1/traces", "text/plain", "OTel-OTLP-Exporter-Python/1", None),
        ] {
            let found = Signal::of_request(
                method.as_bytes(),
                target.as_bytes(),
                [content_type.as_bytes()].into_iter(),
                Some(agent.as_bytes()),
            );
            assert_eq!(found, expected, "{method} {target} {content_type} {agent}");
        }
        assert_eq!(Signal::of_request(b"POST", b"/v1/traces", [].into_iter(), None), None);
    }
}
