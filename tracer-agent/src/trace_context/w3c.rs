//! W3C Trace Context, level 2: `traceparent` and `tracestate`.

#![forbid(unsafe_code)]

use tracer_common::MAX_STATE;

use super::{carrier::Carrier, header_format::HeaderFormat, sample::SAMPLED};

/// A valid context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Trace.
    pub trace_id: [u8; 16],
    /// Span that made the call.
    pub parent_id: [u8; 8],
    /// Trace flags; none if the sender left the decision to others, as some formats can.
    pub flags: Option<u8>,
    /// `tracestate`, empty if there is none or it is not valid.
    pub state: String,
    /// None is W3C's.
    pub format: Option<HeaderFormat>,
}

/// Members of a `tracestate` (section 3.3.1.1).
const MAX_MEMBERS: usize = 32;

impl Incoming {
    /// Whether its sender samples it, or has left that to others.
    pub fn is_sampled(&self) -> bool {
        self.flags.is_none_or(|flags| flags & SAMPLED != 0)
    }

    /// The W3C context of a request. Exactly one valid `traceparent`, or none at all.
    pub fn of(carrier: &impl Carrier) -> Option<Self> {
        let (trace_id, parent_id, flags) = traceparent(carrier.only("traceparent")?)?;
        let state = tracestate(carrier.values("tracestate")).unwrap_or_default();
        Some(Self { trace_id, parent_id, flags: Some(flags), state, format: None })
    }
}

/// Section 3.2: `version-traceid-parentid-flags`.
fn traceparent(value: &[u8]) -> Option<([u8; 16], [u8; 8], u8)> {
    const LENGTH: usize = 55;
    let version = hex::<1>(value.get(..2)?)?[0];
    let known = version == 0;
    // A future version may have more behind a dash, and reads like version 0 up to there.
    let fits =
        if known { value.len() == LENGTH } else { value.len() == LENGTH || value.get(LENGTH) == Some(&b'-') };
    let dashes = [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
    if version == 0xff || !fits || !dashes {
        return None;
    }
    let trace_id = hex::<16>(value.get(3..35)?)?;
    let parent_id = hex::<8>(value.get(36..52)?)?;
    let flags = hex::<1>(value.get(53..55)?)?[0];
    if trace_id == [0; 16] || parent_id == [0; 8] {
        return None;
    }
    // Of an unknown version only the flags of this one are understood.
    Some((trace_id, parent_id, flags & 0x03))
}

/// Lower-case hexadecimal only.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    (text.len() == 2 * N).then_some(bytes)
}

/// Section 3.3: several headers are one list. None if it is not valid, or longer than what kernel programs pass on:
/// then it is as if absent. Members with one key are passed on as they came, as the specification allows.
fn tracestate<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut members: Vec<&'a str> = Vec::new();
    for value in values {
        let value = std::str::from_utf8(value).ok()?;
        for member in value.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            let (key, text) = member.split_once('=')?;
            if !is_key(key) || !is_value(text) || members.len() >= MAX_MEMBERS {
                return None;
            }
            members.push(member);
        }
    }
    let state = members.join(",");
    (state.len() <= MAX_STATE as usize).then_some(state)
}

/// Section 3.3.1.3.1. Level 2 has one rule for all keys: the sign of a tenant may stand anywhere but
/// first.
fn is_key(key: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    key.len() <= 256
        && key.bytes().next().is_some_and(is_plain)
        && key.bytes().all(|b| is_plain(b) || b"_-*/@".contains(&b))
}

/// Section 3.3.1.3.2.
fn is_value(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 256
        && value.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b',' && b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// Fields that stand apart.
    struct FieldPair<'a>(&'a [&'a [u8]], &'a [&'a [u8]]);

    impl Carrier for FieldPair<'_> {
        fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
            let values = match name {
                "traceparent" => self.0,
                "tracestate" => self.1,
                _ => &[],
            };
            values.iter().copied()
        }
    }

    fn read(parents: &[&str], states: &[&str]) -> Option<Incoming> {
        let parents: Vec<&[u8]> = parents.iter().map(|text| text.as_bytes()).collect();
        let states: Vec<&[u8]> = states.iter().map(|text| text.as_bytes()).collect();
        Incoming::of(&FieldPair(&parents, &states))
    }

    #[test]
    fn a_valid_context_is_taken() {
        let context = read(&[VALID], &["a=1, b=2", "c@d=3"]).expect("valid");
        assert_eq!(context.trace_id[..2], [0x0a, 0xf7]);
        assert_eq!(context.parent_id[7], 0x31);
        assert_eq!((context.flags, context.state.as_str()), (Some(1), "a=1,b=2,c@d=3"));
    }

    #[test]
    fn contexts_that_break_a_rule_are_none() {
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c.b7ad6b7169203331-01",
            "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.x",
        ] {
            assert_eq!(read(&[bad], &[]), None, "{bad}");
        }
        assert_eq!(read(&[VALID, VALID], &[]), None);
        assert_eq!(read(&[], &["a=1"]), None);
    }

    #[test]
    fn a_future_version_reads_like_the_first() {
        for future in [
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes",
        ] {
            assert_eq!(read(&[future], &[]).and_then(|context| context.flags), Some(1), "{future}");
        }
    }

    #[test]
    fn a_bad_tracestate_is_dropped_and_the_parent_stays() {
        let longest = format!("{}={}", "k".repeat(255), "v".repeat(256));
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        for bad in [
            "a",
            "A=1",
            "a=",
            "a=b=c",
            "a=\u{7f}",
            "@a=1",
            &format!("k{longest}"),
            &format!("k={}", "v".repeat(257)),
            &many.join(","),
        ] {
            assert_eq!(read(&[VALID], &[bad]).map(|context| context.state), Some(String::new()), "{bad}");
        }
        for good in ["1a@b@c=1", "a-b_c*d/e=~!", "a=1,a=2", longest.as_str()] {
            assert_eq!(read(&[VALID], &[good]).map(|context| context.state).as_deref(), Some(good));
        }
        assert_eq!(read(&[VALID], &["a=1,,b=2,"]).map(|c| c.state).as_deref(), Some("a=1,b=2"));
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_no_panic(parent: Vec<u8>, state: Vec<u8>) {
            let _ = Incoming::of(&FieldPair(&[&parent], &[&state]));
        }
    }
}
