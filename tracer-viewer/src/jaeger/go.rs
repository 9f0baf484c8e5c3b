//! Values as Go's standard library reads them, and its words for those that it cannot read: Jaeger passes them on.

use std::{
    num::{IntErrorKind, ParseIntError},
    str::FromStr,
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracer_model::span::TraceId;

/// `strconv.ParseInt`, base 10.
pub(super) fn integer(text: &str) -> Result<i64, String> {
    parsed("ParseInt", text)
}

/// `strconv.ParseInt`, base 10, of 32 bits.
pub(super) fn integer_of_32_bits(text: &str) -> Result<i64, String> {
    parsed::<i32>("ParseInt", text).map(i64::from)
}

/// `strconv.Atoi`.
pub(super) fn atoi(text: &str) -> Result<i64, String> {
    parsed("Atoi", text)
}

fn parsed<T: FromStr<Err = ParseIntError>>(function: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.{function}: parsing {text:?}: {why}")
    })
}

/// `strconv.ParseBool`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// `time.ParseDuration`, nanoseconds: numbers with units, such as `1.5s` or `1m30s`.
pub(super) fn duration_ns(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(rest.len());
        let scale = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        rest = &rest[end..];
        sum += number * scale;
    }
    if sum > i64::MAX as f64 {
        return Err(invalid());
    }
    let nanoseconds = sum.round() as i64;
    Ok(if is_negative { -nanoseconds } else { nanoseconds })
}

/// `time.Parse` of RFC 3339, microseconds since 1970.
pub(super) fn moment_us(text: &str) -> Result<i64, String> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339);
    let moment = parsed.map_err(|error| format!("parsing time {text:?} as RFC 3339: {error}"))?;
    Ok(i64::try_from(moment.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX))
}

/// `model.TraceIDFromString`. None for the id that is zero: there is no such trace.
pub(super) fn trace_id(text: &str) -> Result<Option<TraceId>, String> {
    if text.len() > 32 {
        return Err(format!("TraceID cannot be longer than 32 hex characters: {text}"));
    }
    match TraceId::parse(text) {
        Some(trace_id) => Ok(Some(trace_id)),
        None if !text.is_empty() && text.bytes().all(|byte| byte == b'0') => Ok(None),
        None => Err(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("1ns", 1),
            ("1.5ms", 1_500_000),
            ("2us", 2_000),
            ("2µs", 2_000),
            ("1h2m3s", 3_723_000_000_000),
            ("-1s", -1_000_000_000),
            (".5s", 500_000_000),
        ] {
            assert_eq!(duration_ns(text), Ok(expected), "{text}");
        }
        assert_eq!(duration_ns("5"), Err("time: missing unit in duration \"5\"".to_owned()));
        assert_eq!(duration_ns("5x"), Err("time: unknown unit \"x\" in duration \"5x\"".to_owned()));
        for wrong in ["", "s", "1..2s", "-", "9999999999h", "1s2", "é", "1sé"] {
            assert!(duration_ns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_in_gos_words() {
        assert_eq!(integer("x"), Err("strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()));
        let large = "99999999999999999999";
        assert_eq!(integer(large), Err(format!("strconv.ParseInt: parsing {large:?}: value out of range")));
        let beyond = "strconv.ParseInt: parsing \"2147483648\": value out of range";
        assert_eq!(integer_of_32_bits("2147483648"), Err(beyond.to_owned()));
        assert_eq!(integer_of_32_bits("-2147483648"), Ok(-(1 << 31)));
        assert_eq!(atoi("1.5"), Err("strconv.Atoi: parsing \"1.5\": invalid syntax".to_owned()));
        assert_eq!(boolean("yes"), Err("strconv.ParseBool: parsing \"yes\": invalid syntax".to_owned()));
        assert_eq!(trace_id("zz"), Err("strconv.ParseUint: parsing \"zz\": invalid syntax".to_owned()));
    }

    #[test]
    fn ids_may_be_short_or_zero() {
        assert_eq!(trace_id("0"), Ok(None));
        assert_eq!(trace_id("ab").unwrap().unwrap().hex(), format!("{:032x}", 0xab));
        assert!(trace_id(&"a".repeat(33)).is_err() && trace_id("").is_err());
    }

    #[test]
    fn moments_have_fractions_and_zones() {
        assert_eq!(moment_us("1970-01-01T00:00:01.000002Z"), Ok(1_000_002));
        assert_eq!(moment_us("1970-01-01T01:00:00+01:00"), Ok(0));
        assert!(moment_us("yesterday").is_err());
    }
}
