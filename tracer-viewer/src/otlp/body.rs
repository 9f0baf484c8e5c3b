//! The body of a request, within bounds.

use std::{
    fmt,
    io::{self, Read},
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::{room::Lease, settings::Limits};

/// Window of zstd, as a power of two: 8 MiB is the most that a Content-Encoding may need (RFC 9659, section 3).
const ZSTD_WINDOW_LOG: u32 = 23;

/// What a sender is told that must come again.
pub(super) const TOO_MANY: &str = "too many requests at once: come again";

/// Why a body is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The sender must come again.
    pub(super) fn late() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY)
    }

    fn too_large(limit: usize) -> Self {
        let message = format!("the request has more than {limit} bytes: send smaller batches");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Identity,
    Gzip,
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Compression that the headers name.
pub(super) fn compression(headers: &HeaderMap) -> Result<Compression, Refused> {
    let Some(name) = headers.get(header::CONTENT_ENCODING) else { return Ok(Compression::Identity) };
    match name.as_bytes().trim_ascii().to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(Compression::Identity),
        b"gzip" => Ok(Compression::Gzip),
        b"zstd" => Ok(Compression::Zstd),
        _ => {
            let message = "this Content-Encoding is not taken: use gzip, zstd or none";
            Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

/// Reads a body: no longer than bounds allow, in bytes and in time, and within its share of the room.
pub(super) async fn read(mut body: Body, limits: &Limits, lease: &Lease) -> Result<Bytes, Refused> {
    let reading = async {
        let (mut read, mut pace) = (BytesMut::new(), lease.pace());
        loop {
            lease.awaits(&pace);
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = lease.ended() => return Err(Refused::late()),
            };
            lease.works();
            let Some(frame) = frame else { return Ok(read.freeze()) };
            let early = |_| Refused::new(StatusCode::BAD_REQUEST, "the request ends too early");
            let Ok(data) = frame.map_err(early)?.into_data() else { continue };
            pace.did(data.len());
            take(&mut read, &data, limits.otlp_request_bytes, lease)?;
        }
    };
    let late = || Refused::new(StatusCode::REQUEST_TIMEOUT, "the request did not come in time");
    timeout(limits.body_time, reading).await.unwrap_or_else(|_| Err(late()))
}

/// Adds what came to what was read. Copied: parts of a byte each would hold the buffers of the connection.
fn take(read: &mut BytesMut, data: &[u8], limit: usize, lease: &Lease) -> Result<(), Refused> {
    let length = read.len() + data.len();
    if length > limit {
        return Err(Refused::too_large(limit));
    }
    if length > read.capacity() {
        let wanted = length.max(read.capacity() * 2).min(limit);
        if !lease.grow(wanted - read.capacity()) {
            return Err(Refused::late());
        }
        let mut larger = BytesMut::with_capacity(wanted);
        larger.extend_from_slice(read);
        *read = larger;
    }
    read.extend_from_slice(data);
    Ok(())
}

/// Decompresses a body. It may not become longer than the bound. Blocks.
pub(super) fn decompress(bytes: Bytes, compression: Compression, limit: usize) -> Result<Bytes, Refused> {
    let wrong = |_: io::Error| {
        let message = format!("the body is not whole {compression}, as its Content-Encoding says it is");
        Refused::new(StatusCode::BAD_REQUEST, message)
    };
    let reader: Box<dyn Read + '_> = match compression {
        Compression::Identity => return Ok(bytes),
        Compression::Gzip => Box::new(MultiGzDecoder::new(&*bytes)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(&*bytes).map_err(wrong)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(wrong)?;
            Box::new(decoder)
        }
    };
    let mut plain = Vec::with_capacity(bytes.len().saturating_mul(4).min(limit));
    reader.take(limit as u64 + 1).read_to_end(&mut plain).map_err(wrong)?;
    if plain.len() > limit { Err(Refused::too_large(limit)) } else { Ok(plain.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let zstd = Bytes::from(zstd::encode_all(&b"spans"[..], 1).unwrap());
        for (bytes, compression) in [
            (gzip(b"spans"), Compression::Gzip),
            (zstd, Compression::Zstd),
            (Bytes::from_static(b"spans"), Compression::Identity),
        ] {
            assert_eq!(decompress(bytes, compression, 5).unwrap(), Bytes::from_static(b"spans"));
        }
    }

    #[test]
    fn a_bomb_is_not_decompressed() {
        let bomb = gzip(&vec![0; 8 << 20]);
        assert!(bomb.len() < 16_384);
        let refused = decompress(bomb, Compression::Gzip, 1 << 20).expect_err("it is too large");
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn a_frame_that_asks_for_a_large_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(ZSTD_WINDOW_LOG + 1).unwrap();
        encoder.write_all(b"spans").unwrap();
        let refused =
            decompress(encoder.finish().unwrap().into(), Compression::Zstd, 1024).expect_err("it is refused");
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn cut_and_wrong_bytes_are_the_senders_fault() {
        let whole = gzip(&(0..=255).collect::<Vec<u8>>());
        for bytes in [whole.slice(..whole.len() / 2), Bytes::from_static(b"no gzip"), Bytes::new()] {
            let refused = decompress(bytes, Compression::Gzip, 1024).expect_err("it is wrong");
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
            assert_eq!(refused.message, "the body is not whole gzip, as its Content-Encoding says it is");
        }
        assert!(decompress(Bytes::from_static(b"no zstd"), Compression::Zstd, 1024).is_err());
    }
}
