//! The lines of a head: of the fields that are read, their values; of all others, their names.

use crate::{
    protocol::{http1::head::is_token, interface::MaskRules},
    redact::mask::mask_user,
};

/// Fields whose values are recorded: those that framing, spans and links are made of. Of all others only the names are.
const KEPT: [(&str, LineKind); 25] = [
    ("amz-sdk-request", LineKind::Kept),
    ("b3", LineKind::Kept),
    ("connection", LineKind::Kept),
    ("content-length", LineKind::Kept),
    ("content-type", LineKind::Kept),
    ("host", LineKind::Authority),
    ("location", LineKind::Url),
    ("traceparent", LineKind::Kept),
    ("tracestate", LineKind::Kept),
    ("transfer-encoding", LineKind::Kept),
    ("uber-trace-id", LineKind::Kept),
    ("upgrade", LineKind::Kept),
    ("user-agent", LineKind::Kept),
    ("x-amzn-trace-id", LineKind::Kept),
    ("x-b3-flags", LineKind::Kept),
    ("x-b3-parentspanid", LineKind::Kept),
    ("x-b3-sampled", LineKind::Kept),
    ("x-b3-spanid", LineKind::Kept),
    ("x-b3-traceid", LineKind::Kept),
    ("x-datadog-parent-id", LineKind::Kept),
    ("x-datadog-sampling-priority", LineKind::Kept),
    ("x-datadog-tags", LineKind::Kept),
    ("x-datadog-trace-id", LineKind::Kept),
    ("x-envoy-attempt-count", LineKind::Kept),
    ("x-request-id", LineKind::Kept),
];

/// What a line is; the line before, for one that continues it (RFC 9112 section 5.2).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum LineKind {
    /// The first of a head.
    #[default]
    StartLine,
    /// Its value is recorded.
    Kept,
    /// Its value is a URL, and recorded without its secrets.
    Url,
    /// Its value is an authority, and recorded without its user.
    Authority,
    /// Its value is not recorded.
    Hidden,
}

/// Masks the secrets of a line, which is complete or the first part of one. `above` is the line before it. Returns
/// what it is.
pub(super) fn mask_line(above: LineKind, line: &mut [u8], is_whole: bool, rules: &MaskRules) -> LineKind {
    let end = line.len() - line.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let Some(text) = line.get_mut(..end) else { return LineKind::Hidden };
    if above == LineKind::StartLine {
        start_line(text, is_whole, rules);
        // What continues it belongs to no field.
        return LineKind::Hidden;
    }
    let (field, value) = if matches!(text.first(), Some(b' ' | b'\t')) {
        (above, text)
    } else if let Some(colon) = memchr::memchr(b':', text) {
        let (name, value) = text.split_at_mut(colon);
        (mask_name(name, rules), value.get_mut(1..).unwrap_or_default())
    } else {
        if is_whole || !is_prefix(text, rules) {
            hide(text);
        }
        return LineKind::Hidden;
    };
    let lead = value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let value = value.get_mut(lead..).unwrap_or_default();
    // Some take a lone CR for the end of a line.
    let control = value.iter().position(|byte| byte.is_ascii_control() && *byte != b'\t');
    let (value, behind) = value.split_at_mut(control.unwrap_or(value.len()));
    let is_whole = is_whole || control.is_some();
    match field {
        LineKind::Kept => {}
        LineKind::Url => rules.redactor.mask_url(value, is_whole),
        LineKind::Authority if is_whole => mask_user(value, true),
        // What stands behind a colon may be a password.
        LineKind::Authority => {
            let colon = memchr::memchr(b':', value).unwrap_or(value.len());
            hide(value.get_mut(colon..).unwrap_or_default());
        }
        LineKind::Hidden | LineKind::StartLine => hide(value),
    }
    hide(behind);
    field
}

/// Hides what cannot be a field's name; it may be anything. Returns what its value is.
fn mask_name(name: &mut [u8], rules: &MaskRules) -> LineKind {
    let exact = name.trim_ascii_end();
    if let Some(kind) = kept(exact, rules) {
        return kind;
    }
    // A name with other bytes makes the framing a guess if it would be one without them.
    let plain: Vec<u8> = exact.iter().copied().filter(|byte| is_token(*byte)).collect();
    if plain.len() != exact.len() && kept(&plain, rules).is_none() {
        hide(name);
    }
    LineKind::Hidden
}

/// What a field with this name is, if its value is recorded.
fn kept(name: &[u8], rules: &MaskRules) -> Option<LineKind> {
    let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
    let read = KEPT.iter().find(|(known, _)| is(known)).map(|(_, kind)| *kind);
    read.or_else(|| rules.fields.iter().any(|known| is(known)).then_some(LineKind::Url))
}

/// Whether this is the beginning of the name of a field whose value is recorded.
fn is_prefix(text: &[u8], rules: &MaskRules) -> bool {
    let text = text.trim_ascii_end();
    let begins = |known: &str| {
        known.as_bytes().get(..text.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(text))
    };
    KEPT.iter().any(|(known, _)| begins(known)) || rules.fields.iter().any(|known| begins(known))
}

/// Masks the target of a request line, or the reason phrase of a status line.
fn start_line(text: &mut [u8], is_whole: bool, rules: &MaskRules) {
    const STATUS: usize = "HTTP/1.1 200".len();
    const VERSION: &[u8] = b"HTTP/1.";
    if text.starts_with(b"HTTP/") {
        return hide(text.get_mut(STATUS..).unwrap_or_default());
    }
    let Some(method) = memchr::memchr(b' ', text) else { return };
    let (method, rest) = text.split_at_mut(method);
    let lead = rest.iter().take_while(|byte| **byte == b' ').count();
    let Some(rest) = rest.get_mut(lead..) else { return };
    let version = memchr::memrchr(b' ', rest).filter(|at| {
        let version = rest.get(at + 1..).unwrap_or_default();
        version.starts_with(VERSION) || !is_whole && VERSION.starts_with(version)
    });
    let is_whole = is_whole || version.is_some();
    let target = rest.get_mut(..version.unwrap_or(rest.len())).unwrap_or_default();
    if method == b"CONNECT" {
        mask_user(target, is_whole);
    } else {
        rules.redactor.mask_url(target, is_whole);
    }
}

/// Hides a value but for its white space.
pub(super) fn hide(value: &mut [u8]) {
    for byte in value.iter_mut().filter(|byte| !byte.is_ascii_whitespace()) {
        *byte = b'*';
    }
}
