//! One request to the receiver, and what its answer means: the OTLP specification's sections on
//! failures and throttling.

use std::{io::Write, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    ExportConfig, OtlpProtocol,
    address::OtlpAddress,
    answer::Answer,
    config::{self, Compression},
    grpc,
};
use crate::sink::encode::protobuf::{is_message, partial_success};

/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// The way to the receiver.
pub(super) struct OtlpTransport {
    client: Client<HttpConnector, Full<Bytes>>,
    address: OtlpAddress,
    protocol: OtlpProtocol,
    compression: Compression,
    headers: HeaderMap,
    timeout: Duration,
}

impl OtlpTransport {
    pub(super) fn new(config: &ExportConfig, address: OtlpAddress) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        let agent = concat!("tracer/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        if let Some(authorization) = address.authorization() {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        // The operator's word replaces ours.
        for (name, value) in &config.headers {
            let (name, value) =
                config::header(name, value).map_err(|error| format!("export.headers: {error}"))?;
            headers.insert(name, value);
        }
        let content = match config.protocol {
            OtlpProtocol::Grpc => "application/grpc",
            OtlpProtocol::HttpProtobuf => "application/x-protobuf",
            OtlpProtocol::HttpJson => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
        let encoding = match config.compression {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        };
        let is_grpc = config.protocol == OtlpProtocol::Grpc;
        if let Some(encoding) = encoding {
            let name =
                if is_grpc { HeaderName::from_static("grpc-encoding") } else { header::CONTENT_ENCODING };
            headers.insert(name, HeaderValue::from_static(encoding));
        }
        if is_grpc {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(config.timeout.0));
        // A connection that died in silence is found out, not waited for.
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .http2_only(is_grpc)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(config.timeout.0)
            .build(connector);
        Ok(Self {
            client,
            address,
            protocol: config.protocol,
            compression: config.compression,
            headers,
            timeout: config.timeout.0,
        })
    }

    pub(super) fn address(&self) -> &OtlpAddress {
        &self.address
    }

    pub(super) fn protocol(&self) -> OtlpProtocol {
        self.protocol
    }

    /// Sends one encoded request.
    pub(super) async fn send(&self, request: &[u8]) -> Answer {
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(answer) => self.named(answer),
            Err(_) => {
                let error = format!("no answer within {:?}", self.timeout);
                self.named(Answer::Again { error, after: None })
            }
        }
    }

    /// The answer, whose error names the address.
    fn named(&self, answer: Answer) -> Answer {
        let named = |error: String| format!("{}: {error}", self.address);
        match answer {
            Answer::Again { error, after } => Answer::Again { error: named(error), after },
            Answer::Refused { error } => Answer::Refused { error: named(error) },
            answer => answer,
        }
    }

    async fn exchange(&self, message: &[u8]) -> Answer {
        let compressed = match self.compress(message) {
            Ok(compressed) => compressed,
            Err(error) => return Answer::Refused { error: format!("cannot compress: {error}") },
        };
        let body = match self.protocol {
            OtlpProtocol::Grpc => grpc::frame(&compressed, self.compression != Compression::None),
            OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => compressed,
        };
        let mut request = match Request::post(self.address.uri().clone()).body(Full::new(Bytes::from(body))) {
            Ok(request) => request,
            Err(error) => return Answer::Refused { error: error.to_string() },
        };
        request.headers_mut().extend(self.headers.clone());
        if self.protocol == OtlpProtocol::Grpc
            && let Ok(limit) = HeaderValue::from_str(&format!("{}m", self.timeout.as_millis()))
        {
            request.headers_mut().insert("grpc-timeout", limit);
        }
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => return Answer::Again { error: self.connection_error(&error), after: None },
        };
        let (head, body) = response.into_parts();
        let read = tokio::time::timeout(self.timeout / 2, Limited::new(body, MAX_ANSWER).collect()).await;
        match read {
            Ok(Ok(collected)) => {
                let trailers = collected.trailers().cloned();
                let body = collected.to_bytes();
                self.understand(head.status, &head.headers, trailers.as_ref(), Some(&body))
            }
            // The status says enough if the body is too long, cut, or never ends; gRPC has its own
            // status behind it.
            _ if self.protocol != OtlpProtocol::Grpc => {
                self.understand(head.status, &head.headers, None, None)
            }
            Ok(Err(error)) => {
                Answer::Again { error: format!("the answer cannot be read: {error}"), after: None }
            }
            Err(_) => Answer::Again { error: "the answer does not end".to_owned(), after: None },
        }
    }

    /// Why there was no answer, with what is likely wrong.
    fn connection_error(&self, error: &hyper_util::client::legacy::Error) -> String {
        let text = chain(error);
        match self.protocol {
            // Whoever listens there closes a connection that begins with HTTP/2.
            OtlpProtocol::Grpc if !error.is_connect() => {
                format!(
                    "{text}: does the receiver take gRPC on this port? OTLP over HTTP has a port of its own, 4318"
                )
            }
            _ => text,
        }
    }

    fn compress(&self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        match self.compression {
            Compression::None => Ok(message.to_vec()),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(message)?;
                encoder.finish()
            }
            Compression::Zstd => zstd::encode_all(message, 1),
        }
    }

    /// What an answer means. Its body is none if it could not be read.
    fn understand(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        trailers: Option<&HeaderMap>,
        body: Option<&[u8]>,
    ) -> Answer {
        let is_absent = matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        if self.protocol == OtlpProtocol::Grpc && !is_absent {
            return grpc::understand(status, headers, trailers, body.unwrap_or_default());
        }
        if status.is_success() {
            let rejected = body.and_then(rejected);
            return Answer::Taken { rejected: rejected.unwrap_or(0), confirmed: rejected.is_some() };
        }
        let mut error = format!("the OTLP receiver answered {status}");
        if is_absent {
            error = format!("{error}: {}", self.address.likely_mistake(self.protocol));
        }
        if status.is_redirection() {
            let to =
                headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("another address");
            error = format!("{error}, to {to}: set the endpoint to where the receiver is");
        }
        match status.as_u16() {
            413 => Answer::TooLarge,
            429 | 502 | 503 | 504 => Answer::Again { error, after: retry_after(headers) },
            _ => Answer::Refused { error },
        }
    }
}

/// An error with its causes: a client's own says only that it failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Spans that an OTLP receiver refused, by the body of its answer: protobuf or JSON. Some answer a protobuf request in JSON.
/// None if the body is neither.
fn rejected(body: &[u8]) -> Option<u64> {
    if is_message(body) {
        return Some(partial_success(body).map_or(0, |(rejected, _)| rejected));
    }
    let answer: serde_json::Map<_, _> = serde_json::from_slice(body).ok()?;
    let rejected = answer.get("partialSuccess").and_then(|partial| partial.get("rejectedSpans"));
    let count = |value: &serde_json::Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    Some(rejected.and_then(count).unwrap_or(0))
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large for the type is a long time.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = http_date(value)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(at).saturating_sub(now))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7, the form to send).
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split([' ', ':']);
    let day: i64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as i64 + 1;
    let year: i64 = parts.next()?.parse().ok()?;
    let mut clock = || parts.next().and_then(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock()?, clock()?, clock()?);
    // 60 is a leap second.
    let is_date = (1970..10_000).contains(&year) && (1..=31).contains(&day);
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    if !is_date || !is_time {
        return None;
    }
    // Days since 1970: years begin in March here, so that a leap day is the last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::otlp::address::UrlKind;

    #[test]
    fn dates_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for bad in [
            "",
            "soon",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 9223372036854775807:00:00 GMT",
            "Sun, 9223372036854775807 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999 08:49:37 GMT",
        ] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_of_another_server_confirms_nothing() {
        let transport = to("http://a", &ExportConfig::default());
        let answer = |body| transport.understand(StatusCode::OK, &HeaderMap::new(), None, body);
        for (body, expected) in [
            (Some(&b""[..]), (0, true)),
            (Some(b"\x0a\x02\x08\x03"), (3, true)),
            (Some(b"{}"), (0, true)),
            (Some(b"{\"partialSuccess\":{\"rejectedSpans\":\"2\"}}"), (2, true)),
            (Some(b"OK"), (0, false)),
            (Some(b"<html>Welcome</html>"), (0, false)),
            (Some(b"\x0a\xff"), (0, false)),
            (None, (0, false)),
        ] {
            let (rejected, confirmed) = expected;
            assert_eq!(answer(body), Answer::Taken { rejected, confirmed }, "{body:?}");
        }
    }

    #[test]
    fn any_number_of_seconds_is_a_time_to_wait() {
        for (value, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("18446744073709551616", Some(u64::MAX)),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().expect("valid"))]);
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{value:?}");
        }
    }

    fn to(url: &str, config: &ExportConfig) -> OtlpTransport {
        let address = OtlpAddress::new(url, UrlKind::Base, config.protocol).expect("valid");
        OtlpTransport::new(config, address).expect("valid")
    }

    #[test]
    fn no_receiver_at_the_address_is_told_with_the_likely_mistake() {
        for (protocol, url, hint) in [
            (OtlpProtocol::HttpProtobuf, "http://a/x/v1/traces", "set export.traces_endpoint"),
            (OtlpProtocol::Grpc, "http://a/x/opentelemetry.proto", "set the protocol to http/protobuf"),
        ] {
            let config = ExportConfig { protocol, ..ExportConfig::default() };
            let transport = to("http://me:pass@a/x", &config);
            let answer = transport.understand(StatusCode::NOT_FOUND, &HeaderMap::new(), None, Some(&[]));
            let Answer::Refused { error } = transport.named(answer) else { panic!("refused") };
            assert!(
                error.contains(url) && error.contains("404 Not Found") && error.contains(hint),
                "{error}"
            );
            assert!(!error.contains("pass@"), "{error}");
        }
    }

    #[test]
    fn a_redirection_is_told_with_its_goal() {
        let transport = to("http://a", &ExportConfig::default());
        let headers =
            HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static("https://b/v1/traces"))]);
        let answer = transport.understand(StatusCode::TEMPORARY_REDIRECT, &headers, None, Some(&[]));
        let Answer::Refused { error } = answer else { panic!("refused") };
        assert!(error.ends_with(
            "307 Temporary Redirect, to https://b/v1/traces: set the endpoint to where the receiver is"
        ));
    }

    #[test]
    fn headers_of_the_operator_replace_the_exporters_own() {
        let headers = [("User-Agent", "mine"), ("authorization", "Bearer b")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = ExportConfig { headers: headers.into(), ..ExportConfig::default() };
        let transport = to("http://me:pass@a", &config);
        assert_eq!(transport.headers[header::USER_AGENT], "mine");
        assert_eq!(transport.headers[header::AUTHORIZATION], "Bearer b");
        let transport = to("http://me:pass@a", &ExportConfig::default());
        assert_eq!(transport.headers[header::AUTHORIZATION], "Basic bWU6cGFzcw==");
    }

    #[test]
    fn errors_are_told_apart_as_otlp_says() {
        let transport = to("http://a", &ExportConfig::default());
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        let answer = |status: u16| {
            let status = StatusCode::from_u16(status).expect("valid");
            transport.understand(status, &headers, None, Some(&[]))
        };
        assert_eq!(answer(200), Answer::Taken { rejected: 0, confirmed: true });
        for status in [429, 502, 503, 504] {
            assert!(
                matches!(answer(status), Answer::Again { after: Some(after), .. } if after.as_secs() == 7),
                "{status}"
            );
        }
        assert_eq!(answer(413), Answer::TooLarge);
        for status in [400, 401, 404, 500, 501, 301] {
            assert!(matches!(answer(status), Answer::Refused { .. }), "{status}");
        }
    }
}
