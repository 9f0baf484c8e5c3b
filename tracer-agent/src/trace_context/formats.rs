//! Trace context in other headers than W3C's, and ids of requests. They are read only if the
//! configuration names them.

use super::{
    carrier::Carrier,
    header_format::{HeaderFormat, HeaderFormats},
    sample::SAMPLED,
    w3c::Incoming,
};

/// What a request carries besides a `traceparent`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Valid contexts, those of stronger formats first.
    pub contexts: Vec<Incoming>,
    /// Whether the trace is sampled, of a request that carries this and no ids (B3).
    pub sampled: Option<bool>,
    /// `x-request-id`.
    pub request_id: Option<Box<[u8]>>,
}

impl Carried {
    /// Reads what a request carries; none if that is nothing. A header that comes twice, or breaks a rule, is as if
    /// absent.
    pub fn of(carrier: &impl Carrier, formats: HeaderFormats) -> Option<Self> {
        let mut this = Self::default();
        for format in formats.iter() {
            let said = match format {
                HeaderFormat::B3 => b3_single(carrier).or_else(|| b3_multi(carrier)),
                HeaderFormat::Jaeger => jaeger(carrier),
                HeaderFormat::Datadog => datadog(carrier),
                HeaderFormat::Xray => xray(carrier),
                HeaderFormat::XRequestId => {
                    this.request_id =
                        carrier.only("x-request-id").filter(|id| is_request_id(id)).map(Box::from);
                    None
                }
            };
            match said {
                Some(FormatContext::Context { trace_id, parent_id, sampled }) => {
                    this.contexts.push(Incoming {
                        trace_id: trace_id.to_be_bytes(),
                        parent_id: parent_id.to_be_bytes(),
                        flags: sampled.map(|is| if is { SAMPLED } else { 0 }),
                        state: String::new(),
                        format: Some(format),
                    })
                }
                Some(FormatContext::Sampled(is)) => this.sampled = this.sampled.or(Some(is)),
                None => {}
            }
        }
        (this != Self::default()).then_some(this)
    }
}

/// What the headers of one format say.
enum FormatContext {
    /// A place in a trace; neither id is zero.
    Context { trace_id: u128, parent_id: u64, sampled: Option<bool> },
    /// Only whether it is sampled.
    Sampled(bool),
}

/// `{trace}-{span}`, `{trace}-{span}-{sampled}` or `{trace}-{span}-{sampled}-{parent}`; or only a decision.
fn b3_single(fields: &impl Carrier) -> Option<FormatContext> {
    let sampled = |text: &[u8]| match text {
        b"0" => Some(false),
        b"1" | b"d" => Some(true),
        _ => None,
    };
    let value = fields.only("b3")?;
    if let Some(is) = sampled(value) {
        return Some(FormatContext::Sampled(is));
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let (trace_id, parent_id) = b3_ids(parts.next()?, parts.next()?)?;
    let sampled = match parts.next() {
        Some(text) => Some(sampled(text)?),
        None => None,
    };
    if let Some(above) = parts.next() {
        hex(above, 16..=16)?;
    }
    parts.next().is_none().then_some(FormatContext::Context { trace_id, parent_id, sampled })
}

fn b3_multi(fields: &impl Carrier) -> Option<FormatContext> {
    let sampled = match (fields.only("x-b3-flags"), fields.only("x-b3-sampled")) {
        // Debug implies it.
        (Some(b"1"), _) => Some(true),
        // Words are of early versions.
        (_, Some(b"1" | b"true")) => Some(true),
        (_, Some(b"0" | b"false")) => Some(false),
        _ => None,
    };
    match (fields.only("x-b3-traceid"), fields.only("x-b3-spanid")) {
        (Some(trace), Some(span)) => {
            let (trace_id, parent_id) = b3_ids(trace, span)?;
            Some(FormatContext::Context { trace_id, parent_id, sampled })
        }
        (None, None) => sampled.map(FormatContext::Sampled),
        _ => None,
    }
}

fn b3_ids(trace: &[u8], span: &[u8]) -> Option<(u128, u64)> {
    let trace_id = hex(trace, 16..=32).filter(|_| matches!(trace.len(), 16 | 32))?;
    Some((trace_id, short(hex(span, 16..=16)?)?))
}

/// `{trace}:{span}:{parent}:{flags}`, leading zeros left out or not, the colons URL-encoded or not.
fn jaeger(fields: &impl Carrier) -> Option<FormatContext> {
    const SAMPLED_BIT: u128 = 1;
    let value = std::str::from_utf8(fields.only("uber-trace-id")?).ok()?;
    let value = value.replace("%3A", ":").replace("%3a", ":");
    let mut parts = value.split(':').map(str::as_bytes);
    let trace_id = hex(parts.next()?, 1..=32)?;
    let parent_id = short(hex(parts.next()?, 1..=16)?)?;
    let (_above, flags) = (digits(parts.next()?, 1..=16)?, digits(parts.next()?, 1..=2)?);
    let sampled = Some(flags & SAMPLED_BIT != 0);
    parts.next().is_none().then_some(FormatContext::Context { trace_id, parent_id, sampled })
}

/// Ids are decimal; `_dd.p.tid` among the tags is the upper half of the trace id, 16 hexadecimal digits. If
/// that is malformed the lower half stands alone, as Datadog's libraries have it.
fn datadog(fields: &impl Carrier) -> Option<FormatContext> {
    let lower = decimal(fields.only("x-datadog-trace-id")?)?;
    let parent_id = decimal(fields.only("x-datadog-parent-id")?)?;
    let tags = fields.only("x-datadog-tags").unwrap_or_default();
    let upper = tags
        .split(|byte| *byte == b',')
        .find_map(|tag| tag.trim_ascii().strip_prefix(b"_dd.p.tid="))
        .and_then(|text| hex(text, 16..=16))
        .unwrap_or_default();
    let sampled = match fields.only("x-datadog-sampling-priority") {
        Some(b"1" | b"2") => Some(true),
        Some(b"0" | b"-1") => Some(false),
        _ => None,
    };
    Some(FormatContext::Context { trace_id: upper << 64 | u128::from(lower), parent_id, sampled })
}

/// `Root=1-{8 digits}-{24 digits};Parent={16 digits};Sampled={0 or 1}` in any order, with other keys between.
fn xray(fields: &impl Carrier) -> Option<FormatContext> {
    let (mut root, mut parent, mut sampled) = (None, None, None);
    for pair in fields.only("x-amzn-trace-id")?.split(|byte| *byte == b';') {
        let pair = pair.trim_ascii();
        let slot = if let Some(value) = pair.strip_prefix(b"Root=") {
            root.replace(value)
        } else if let Some(value) = pair.strip_prefix(b"Parent=") {
            parent.replace(value)
        } else if let Some(value) = pair.strip_prefix(b"Sampled=") {
            sampled.replace(value)
        } else {
            None
        };
        if slot.is_some() {
            return None;
        }
    }
    let (time, random) = root?.strip_prefix(b"1-")?.split_at_checked(8)?;
    let random = random.strip_prefix(b"-")?;
    let trace_id = digits(time, 8..=8)? << 96 | digits(random, 24..=24)?;
    let parent_id = short(hex(parent?, 16..=16)?)?;
    let sampled = match sampled {
        Some(b"1") => Some(true),
        Some(b"0") => Some(false),
        _ => None,
    };
    (trace_id != 0).then_some(FormatContext::Context { trace_id, parent_id, sampled })
}

/// Whether a value is long enough to be one request's, and not too long to be kept.
fn is_request_id(value: &[u8]) -> bool {
    (8..=128).contains(&value.len())
}

/// A hexadecimal number of so many digits, which is not zero.
fn hex(text: &[u8], length: std::ops::RangeInclusive<usize>) -> Option<u128> {
    digits(text, length).filter(|number| *number != 0)
}

/// A hexadecimal number of so many digits, 32 at most.
fn digits(text: &[u8], length: std::ops::RangeInclusive<usize>) -> Option<u128> {
    if !length.contains(&text.len()) {
        return None;
    }
    text.iter().try_fold(0, |number, byte| Some(number << 4 | u128::from(char::from(*byte).to_digit(16)?)))
}

fn short(number: u128) -> Option<u64> {
    u64::try_from(number).ok()
}

/// A decimal number of 64 bits, which is not zero.
fn decimal(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let add = |number: u64, byte| number.checked_mul(10)?.checked_add(digit(byte)?);
    text.iter().try_fold(0, add).filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field that is read.
    const FIELDS: [&str; 12] = [
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-sampled",
        "x-b3-flags",
        "uber-trace-id",
        "x-datadog-trace-id",
        "x-datadog-parent-id",
        "x-datadog-sampling-priority",
        "x-datadog-tags",
        "x-amzn-trace-id",
        "x-request-id",
    ];
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read(formats: &[HeaderFormat], fields: &[&str]) -> Carried {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n"));
        Carried::of(&crate::protocol::http::Head(head.as_bytes()), HeaderFormats::new(formats))
            .unwrap_or_default()
    }

    /// Trace id, span id and sampled decision, as one text.
    fn context(format: HeaderFormat, fields: &[&str]) -> Option<String> {
        let carried = read(&[format], fields);
        let found = carried.contexts.first()?;
        assert_eq!((carried.contexts.len(), found.format), (1, Some(format)));
        let number = (u128::from_be_bytes(found.trace_id), u64::from_be_bytes(found.parent_id));
        let sampled = found.flags.map_or("?".to_owned(), |flags| flags.to_string());
        Some(format!("{:032x} {:016x} {sampled}", number.0, number.1))
    }

    fn expect(format: HeaderFormat, fields: &[&str], trace: &str, span: &str, sampled: &str) {
        assert_eq!(
            context(format, fields),
            Some(format!("{trace:0>32} {span:0>16} {sampled}")),
            "{fields:?}"
        );
    }

    #[test]
    fn b3_is_read_in_both_encodings() {
        let short = &TRACE[16..];
        for (value, trace, sampled) in [
            (format!("{TRACE}-{SPAN}-1"), TRACE, "1"),
            (format!("{TRACE}-{SPAN}-d-00f067aa0ba902b7"), TRACE, "1"),
            (format!("{short}-{SPAN}-0"), short, "0"),
            (format!("{short}-{SPAN}"), short, "?"),
        ] {
            expect(HeaderFormat::B3, &[&format!("B3: {value}")], trace, SPAN, sampled);
        }
        let (trace, span) = (format!("X-B3-TraceId: {TRACE}"), format!("X-B3-SpanId: {SPAN}"));
        for (more, sampled) in [
            ("x-b3-sampled: 1", "1"),
            ("x-b3-sampled: false", "0"),
            ("x-b3-flags: 1", "1"),
            ("x-b3-flags: 0", "?"),
            ("x-b3-parentspanid: 00f067aa0ba902b7", "?"),
        ] {
            expect(HeaderFormat::B3, &[&trace, &span, more], TRACE, SPAN, sampled);
        }
        let bad = "b3: no";
        expect(HeaderFormat::B3, &[bad, &trace, &span], TRACE, SPAN, "?");
        let single = format!("b3: {short}-{SPAN}-1");
        expect(HeaderFormat::B3, &[&trace, &span, "x-b3-sampled: 0", &single], short, SPAN, "1");
    }

    #[test]
    fn b3_may_tell_a_decision_alone() {
        for (field, sampled) in [
            ("b3: 0", Some(false)),
            ("b3: 1", Some(true)),
            ("b3: d", Some(true)),
            ("x-b3-sampled: 0", Some(false)),
        ] {
            let carried = read(&[HeaderFormat::B3], &[field]);
            assert_eq!((carried.sampled, carried.contexts.len()), (sampled, 0), "{field}");
        }
        assert!(read(&[HeaderFormat::B3], &["b3: 2"]) == Carried::default());
    }

    #[test]
    fn jaeger_is_read_with_and_without_leading_zeros_and_encoding() {
        for (value, trace, span, sampled) in [
            (format!("{TRACE}:{SPAN}:0:1"), TRACE, SPAN, "1"),
            (format!("{TRACE}%3A{SPAN}%3a0%3A01"), TRACE, SPAN, "1"),
            ("abc:d:e:0".to_owned(), "abc", "d", "0"),
            ("abc:d:0:3".to_owned(), "abc", "d", "1"),
        ] {
            expect(HeaderFormat::Jaeger, &[&format!("Uber-Trace-Id: {value}")], trace, span, sampled);
        }
    }

    #[test]
    fn datadog_is_read_with_the_upper_half_from_the_tags() {
        let ids = ["x-datadog-trace-id: 18446744073709551615", "X-Datadog-Parent-Id: 5"];
        let lower = "ffffffffffffffff";
        expect(HeaderFormat::Datadog, &ids, lower, "5", "?");
        let priority = |text: &str| format!("x-datadog-sampling-priority: {text}");
        for (text, sampled) in [("2", "1"), ("1", "1"), ("0", "0"), ("-1", "0"), ("9", "?")] {
            expect(HeaderFormat::Datadog, &[ids[0], ids[1], &priority(text)], lower, "5", sampled);
        }
        let tags = "x-datadog-tags: _dd.p.dm=-4,_dd.p.tid=640cfd8d00000000";
        expect(HeaderFormat::Datadog, &[ids[0], ids[1], tags], &format!("640cfd8d00000000{lower}"), "5", "?");
        let malformed = "x-datadog-tags: _dd.p.tid=640cfd8d";
        expect(HeaderFormat::Datadog, &[ids[0], ids[1], malformed], lower, "5", "?");
    }

    #[test]
    fn xray_is_read_in_any_order() {
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
        let trace = "5759e988bd862e3fe1be46a994272793";
        for (value, sampled) in [
            (format!("{root};Parent=53995c3f42cd8ad8;Sampled=1"), "1"),
            (format!("Sampled=0; Parent=53995c3f42cd8ad8; Self=1-5759e988-1; {root}"), "0"),
            (format!("{root};Parent=53995c3f42cd8ad8;Sampled=?;Lineage=a:0"), "?"),
        ] {
            let field = format!("X-Amzn-Trace-Id: {value}");
            expect(HeaderFormat::Xray, &[&field], trace, "53995c3f42cd8ad8", sampled);
        }
    }

    #[test]
    fn what_breaks_a_rule_is_as_if_absent() {
        let zeros = "0".repeat(32);
        let value = |name: &str, value: &str| format!("{name}: {value}");
        for (format, field) in [
            (HeaderFormat::B3, value("b3", "")),
            (HeaderFormat::B3, value("b3", &format!("{TRACE}-{SPAN}-x"))),
            (HeaderFormat::B3, value("b3", &format!("{TRACE}-{SPAN}-1-2"))),
            (HeaderFormat::B3, value("b3", &format!("{TRACE}-{SPAN}-1-{SPAN}-1"))),
            (HeaderFormat::B3, value("b3", &format!("{zeros}-{SPAN}-1"))),
            (HeaderFormat::B3, value("b3", &format!("{TRACE}-0000000000000000-1"))),
            (HeaderFormat::B3, value("b3", &format!("{}-{SPAN}-1", &TRACE[1..]))),
            (HeaderFormat::B3, value("x-b3-traceid", TRACE)),
            (HeaderFormat::Jaeger, value("uber-trace-id", &format!("{TRACE}:{SPAN}:0"))),
            (HeaderFormat::Jaeger, value("uber-trace-id", &format!("{TRACE}:{SPAN}:0:1:2"))),
            (HeaderFormat::Jaeger, value("uber-trace-id", &format!("0:{SPAN}:0:1"))),
            (HeaderFormat::Jaeger, value("uber-trace-id", &format!("{TRACE}0:{SPAN}:0:1"))),
            (HeaderFormat::Jaeger, value("uber-trace-id", &format!("+1:{SPAN}:0:1"))),
            (
                HeaderFormat::Xray,
                value("x-amzn-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"),
            ),
            (
                HeaderFormat::Xray,
                value("x-amzn-trace-id", &format!("Root=2-5759e988-{};Parent={SPAN}", &TRACE[8..])),
            ),
            (HeaderFormat::Xray, value("x-amzn-trace-id", &format!("Root=1-5759e988-bd862e;Parent={SPAN}"))),
        ] {
            assert_eq!(context(format, &[&field]), None, "{field}");
        }
        for (trace, parent) in
            [("0", "1"), ("1", "0"), ("18446744073709551616", "1"), ("-1", "1"), ("a", "1")]
        {
            let fields = [value("x-datadog-trace-id", trace), value("x-datadog-parent-id", parent)];
            assert_eq!(context(HeaderFormat::Datadog, &[&fields[0], &fields[1]]), None, "{fields:?}");
        }
        let twice = value("b3", &format!("{TRACE}-{SPAN}-1"));
        assert_eq!(context(HeaderFormat::B3, &[&twice, &twice]), None);
    }

    #[test]
    fn only_what_is_configured_is_read_in_the_order_of_the_list() {
        let fields = [&*format!("b3: {TRACE}-{SPAN}-1"), "uber-trace-id: a:b:0:1", "x-request-id: 01234567"];
        let formats = |list: &[HeaderFormat]| -> Vec<Option<HeaderFormat>> {
            read(list, &fields).contexts.iter().map(|context| context.format).collect()
        };
        assert_eq!(
            formats(&[HeaderFormat::B3, HeaderFormat::Jaeger]),
            [Some(HeaderFormat::B3), Some(HeaderFormat::Jaeger)]
        );
        assert_eq!(
            formats(&[HeaderFormat::Jaeger, HeaderFormat::B3, HeaderFormat::Jaeger]),
            [Some(HeaderFormat::Jaeger), Some(HeaderFormat::B3)]
        );
        assert_eq!(formats(&[HeaderFormat::Xray]), []);
        assert!(HeaderFormats::new(&[]).is_empty() && read(&[], &fields) == Carried::default());
        assert_eq!(read(&[HeaderFormat::XRequestId], &fields).request_id.as_deref(), Some(&b"01234567"[..]));
        for short_or_long in ["0123456", &"1".repeat(129)] {
            assert!(
                read(&[HeaderFormat::XRequestId], &[&format!("x-request-id: {short_or_long}")])
                    == Carried::default()
            );
        }
    }

    #[test]
    fn formats_are_known_by_their_names() {
        for format in HeaderFormat::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            let text = serde_json::to_value(format).expect("a text");
            assert_eq!(text, format.name());
        }
        assert!("zipkin".parse::<HeaderFormat>().expect_err("unknown").contains("b3, jaeger, datadog"));
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_no_panic(value: Vec<u8>, field in 0..FIELDS.len()) {
            let head = [b"GET / HTTP/1.1\r\n", FIELDS[field].as_bytes(), b": ", &value, b"\r\n\r\n"].concat();
            let _ = Carried::of(&crate::protocol::http::Head(&head), HeaderFormats::new(&HeaderFormat::ALL));
        }
    }
}
