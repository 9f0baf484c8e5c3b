//! What a person reads of a span.

use super::escape::{duration, printable};
use crate::span::{Span, Status, semconv};

/// Names that SDKs still write, of the conventions before those of HTTP were stable.
mod before {
    pub(super) const HTTP_METHOD: &str = "http.method";
    pub(super) const HTTP_STATUS_CODE: &str = "http.status_code";
    pub(super) const HTTP_TARGET: &str = "http.target";
    pub(super) const HTTP_URL: &str = "http.url";
}

/// Most characters of a target and of a host that are kept.
const MAX_TEXT: usize = 120;
/// Most characters of a method.
const MAX_METHOD: usize = 7;

/// How a span ended, as a colour says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Fine,
    /// A server's refusal: no error of its own.
    Odd,
    Error,
}

/// A span for people; its texts are printable.
pub(super) struct Row<'a> {
    pub(super) span: &'a Span,
    /// Empty if the span says nothing of HTTP.
    pub(super) method: String,
    /// Path and query; the name of a span that says nothing of HTTP.
    pub(super) target: String,
    /// Whom a client calls.
    pub(super) host: String,
    /// Status code, or why there is none.
    pub(super) status: String,
    pub(super) tone: Tone,
    /// Size of the response's body.
    pub(super) body_bytes: Option<i64>,
}

impl<'a> Row<'a> {
    pub(super) fn of(span: &'a Span) -> Self {
        let code =
            span.int(semconv::HTTP_RESPONSE_STATUS_CODE).or_else(|| span.int(before::HTTP_STATUS_CODE));
        let tone = match (&span.status, code) {
            (Status::Error(_), _) => Tone::Error,
            (Status::Unset, Some(400..)) => Tone::Odd,
            (Status::Unset, _) => Tone::Fine,
        };
        let (host, target) = host_and_target(span);
        let (method, target) = match (method(span), target) {
            (None, None) => ("", span.name.to_string()),
            (method, target) => (method.unwrap_or("-"), target.unwrap_or_else(|| "-".to_owned())),
        };
        Self {
            span,
            method: printable(method, MAX_METHOD),
            target: printable(&target, MAX_TEXT),
            host: printable(host, MAX_TEXT),
            status: status(span, code),
            tone,
            body_bytes: span.int(semconv::HTTP_RESPONSE_BODY_SIZE),
        }
    }

    /// The service's name, so many characters of it.
    pub(super) fn service(&self, most: usize) -> String {
        printable(&self.span.resource.service_name, most)
    }

    /// How long it took; with `>` if it took longer, because its end was not seen.
    pub(super) fn duration(&self) -> String {
        let least = if self.span.has_known_end() { "" } else { ">" };
        format!("{least}{}", duration(self.span.duration_ns()))
    }

    pub(super) fn is_error(&self) -> bool {
        self.tone == Tone::Error
    }
}

/// The method as it was sent.
fn method(span: &Span) -> Option<&str> {
    let original = span.text(semconv::HTTP_REQUEST_METHOD_ORIGINAL);
    original.or_else(|| span.text(semconv::HTTP_REQUEST_METHOD)).or_else(|| span.text(before::HTTP_METHOD))
}

/// The status code, or why there is no complete response.
fn status(span: &Span, code: Option<i64>) -> String {
    if span.attributes.get(semconv::TRACER_HTTP_END_UNKNOWN).is_some() {
        return "lost".to_owned();
    }
    if code.is_none() && span.attributes.get(semconv::TRACER_HTTP_RESPONSE_UNREAD).is_some() {
        return "unread".to_owned();
    }
    match (span.text(semconv::ERROR_TYPE), code) {
        (Some("timeout"), _) => "timeout".to_owned(),
        (Some("connection_reset"), _) => "reset".to_owned(),
        (Some("no_response"), _) => "no reply".to_owned(),
        (Some("truncated"), _) => "cut".to_owned(),
        (_, Some(code)) => code.to_string(),
        (_, None) => "-".to_owned(),
    }
}

/// Whom a client calls; path and query. As they are exported: secrets are gone.
fn host_and_target(span: &Span) -> (&str, Option<String>) {
    if let Some(full) = span.text(semconv::URL_FULL).or_else(|| span.text(before::HTTP_URL)) {
        let rest = full.split_once("://").map_or(full, |(_, rest)| rest);
        return match rest.find(['/', '?']) {
            Some(at) => (&rest[..at], Some(rest[at..].to_owned())),
            None => (rest, Some("/".to_owned())),
        };
    }
    let path = span.text(semconv::URL_PATH).or_else(|| span.text(before::HTTP_TARGET));
    let target = path.map(|path| match span.text(semconv::URL_QUERY) {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    });
    ("", target)
}

/// Time of day in the local zone, to the millisecond.
pub(crate) fn clock_time(unix_ns: u64) -> String {
    let seconds = (unix_ns / 1_000_000_000) as libc::time_t;
    let milliseconds = unix_ns / 1_000_000 % 1_000;
    let offset = crate::clock::local_offset_seconds(seconds);
    let day = (seconds + offset).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}.{milliseconds:03}", day / 3600, day / 60 % 60, day % 60)
}

/// The same with the date before it, if that is another one than `now_ns` has: `2026-11-30 23:59:59.999`.
pub(crate) fn dated_time(unix_ns: u64, now_ns: u64) -> String {
    let date = |unix_ns: u64| {
        let seconds = (unix_ns / 1_000_000_000) as libc::time_t;
        let local = seconds.saturating_add(crate::clock::local_offset_seconds(seconds));
        time::OffsetDateTime::from_unix_timestamp(local).ok().map(time::OffsetDateTime::date)
    };
    let time = clock_time(unix_ns);
    match date(unix_ns) {
        Some(day) if date(now_ns) != Some(day) => {
            format!("{:04}-{:02}-{:02} {time}", day.year(), u8::from(day.month()), day.day())
        }
        _ => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        span::{Attributes, SpanKind},
        trace::tests::span,
    };

    #[test]
    fn a_time_of_another_day_has_its_date() {
        const DAY_NS: u64 = 86_400_000_000_000;
        let now_ns = 1_700_000_000_000_000_000;
        assert_eq!(dated_time(now_ns, now_ns), clock_time(now_ns));
        assert!(dated_time(now_ns - 10 * DAY_NS, now_ns).starts_with("2023-11-0"));
        assert!(dated_time(now_ns - 400 * DAY_NS, now_ns).starts_with("2022-10-"));
        let absurd = dated_time(u64::MAX, now_ns);
        assert!(absurd.starts_with("2554-07-2") && absurd.ends_with(".709"), "{absurd}");
    }

    /// Method, host, target and status of a span with these texts.
    fn told(texts: &[(&str, &str)], status: Option<(&str, i64)>) -> [String; 4] {
        let mut attributes = Attributes::default();
        texts.iter().for_each(|(name, text)| attributes.str(name, text));
        if let Some((name, code)) = status {
            attributes.int(name, code);
        }
        let span = Span { attributes, ..span("shop", SpanKind::Client, 1, None, (0, 1)) };
        let Row { method, host, target, status, .. } = Row::of(&span);
        [method, host, target, status]
    }

    #[test]
    fn a_span_that_says_nothing_of_http_is_told_by_its_name() {
        assert_eq!(told(&[("db.system.name", "redis")], None), ["", "", "GET /a", "-"]);
        assert_eq!(told(&[(semconv::HTTP_REQUEST_METHOD, "PUT")], None), ["PUT", "", "-", "-"]);
        assert_eq!(told(&[(semconv::URL_PATH, "/x")], None), ["-", "", "/x", "-"]);
    }

    #[test]
    fn names_of_the_conventions_before_are_known() {
        let called = [("http.method", "GET"), ("http.url", "http://h:80/a?b=c")];
        assert_eq!(told(&called, Some(("http.status_code", 404))), ["GET", "h:80", "/a?b=c", "404"]);
        let served = [("http.method", "GET"), ("http.target", "/a?b=c")];
        assert_eq!(told(&served, None), ["GET", "", "/a?b=c", "-"]);
    }
}
