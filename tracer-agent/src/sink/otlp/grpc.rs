//! What gRPC puts around a protobuf message, and what its status means to OTLP.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::answer::Answer;
use crate::sink::encode::protobuf::{Content, fields, is_message, partial_success};

/// Status codes: `google/rpc/code.proto`.
mod code {
    pub(super) const OK: u32 = 0;
    pub(super) const CANCELLED: u32 = 1;
    pub(super) const DEADLINE_EXCEEDED: u32 = 4;
    pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(super) const ABORTED: u32 = 10;
    pub(super) const OUT_OF_RANGE: u32 = 11;
    pub(super) const UNAVAILABLE: u32 = 14;
    pub(super) const DATA_LOSS: u32 = 15;
}

/// A length-prefixed message.
pub(super) fn frame(message: &[u8], compressed: bool) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 5);
    frame.push(u8::from(compressed));
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// What an answer means. The status is in the trailers, or in the headers of an answer without body.
pub(super) fn understand(
    http_status: StatusCode,
    headers: &HeaderMap,
    trailers: Option<&HeaderMap>,
    body: &[u8],
) -> Answer {
    let find = |name: &str| {
        trailers
            .and_then(|map| map.get(name))
            .or_else(|| headers.get(name))
            .and_then(|value| value.to_str().ok())
    };
    let Some(status) = find("grpc-status").and_then(|text| text.trim().parse::<u32>().ok()) else {
        // Something in between answered: the mapping of gRPC's own documents.
        let error = format!("the OTLP receiver answered HTTP {http_status} without a gRPC status");
        return match http_status.as_u16() {
            429 | 502 | 503 | 504 => Answer::Again { error, after: None },
            _ => Answer::Refused { error },
        };
    };
    let message: String = find("grpc-message").unwrap_or_default().chars().take(200).collect();
    let message = crate::percent::percent_decoded(&message);
    let error = format!("the OTLP receiver answered gRPC status {status}: {message}");
    let after = find("grpc-status-details-bin").and_then(retry_info);
    match status {
        code::OK => {
            let message = body.get(5..).filter(|message| body.first() == Some(&0) && is_message(message));
            let partial = partial_success(message.unwrap_or_default());
            let rejected = partial.map_or(0, |(rejected, _)| rejected);
            Answer::Taken { rejected, confirmed: message.is_some() || body.is_empty() }
        }
        code::RESOURCE_EXHAUSTED if after.is_none() => Answer::TooLarge,
        code::CANCELLED
        | code::DEADLINE_EXCEEDED
        | code::RESOURCE_EXHAUSTED
        | code::ABORTED
        | code::OUT_OF_RANGE
        | code::UNAVAILABLE
        | code::DATA_LOSS => Answer::Again { error, after },
        _ => Answer::Refused { error },
    }
}

/// The delay of a `google.rpc.RetryInfo` in a `google.rpc.Status`, base64-encoded.
fn retry_info(text: &str) -> Option<Duration> {
    let status = base64(text)?;
    let bytes = |content| if let Content::Bytes(bytes) = content { Some(bytes) } else { None };
    for detail in fields(&status).filter(|(field, _)| *field == 3).filter_map(|(_, content)| bytes(content)) {
        let part = |number| {
            fields(detail).find(|(field, _)| *field == number).and_then(|(_, content)| bytes(content))
        };
        if !part(1)?.ends_with(b"google.rpc.RetryInfo") {
            continue;
        }
        let info = part(2)?;
        let delay = fields(info).find(|(field, _)| *field == 1).and_then(|(_, content)| bytes(content))?;
        let number = |number| match fields(delay).find(|(field, _)| *field == number) {
            Some((_, Content::Number(n))) => n,
            _ => 0,
        };
        return Some(Duration::new(number(1).min(86_400), (number(2) % 1_000_000_000) as u32));
    }
    None
}

/// Base64 of either alphabet, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count) as u8);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("valid")))
            .collect()
    }

    #[test]
    fn statuses_mean_what_otlp_says() {
        let answer = |status: &str| {
            let trailers = trailers(&[("grpc-status", status), ("grpc-message", "no%20room")]);
            understand(StatusCode::OK, &HeaderMap::new(), Some(&trailers), &[0, 0, 0, 0, 0])
        };
        assert_eq!(answer("0"), Answer::Taken { rejected: 0, confirmed: true });
        for status in ["1", "4", "10", "11", "14", "15"] {
            assert!(
                matches!(answer(status), Answer::Again { error, .. } if error.ends_with("no room")),
                "{status}"
            );
        }
        assert_eq!(answer("8"), Answer::TooLarge);
        for status in ["2", "3", "5", "7", "12", "13", "16", "99"] {
            assert!(matches!(answer(status), Answer::Refused { .. }), "{status}");
        }
    }

    #[test]
    fn a_retry_delay_is_found_in_the_details() {
        // Status { code: 8, details: [Any { RetryInfo { 3.5 s } }] }
        let delay = [8, 3, 16, 0x80, 0xca, 0xb5, 0xee, 1];
        let info = [&[10, delay.len() as u8][..], &delay].concat();
        let kind = b"type.googleapis.com/google.rpc.RetryInfo";
        let any = [&[10, kind.len() as u8][..], kind, &[18, info.len() as u8], &info].concat();
        let status = [&[8, 8, 26, any.len() as u8][..], &any].concat();
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in status.chunks(3) {
            let bits = chunk
                .iter()
                .chain([0; 2].iter())
                .take(3)
                .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
            for index in 0..=chunk.len() {
                text.push(alphabet[(bits >> (18 - 6 * index) & 63) as usize] as char);
            }
        }
        assert_eq!(retry_info(&text), Some(Duration::from_millis(3_500)));
        assert_eq!(retry_info("!!"), None);
        assert_eq!(retry_info(""), None);
    }
}
