//! The body of a request, within bounds.

use std::io::{self, Read};

use axum::body::Body;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::settings::Limits;

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

/// Reads a body: no longer than bounds allow, in bytes and in time.
pub(super) async fn read(body: Body, limits: &Limits) -> Result<Bytes, Refused> {
    let limit = limits.otlp_request_bytes;
    let collected = timeout(limits.body_time, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::too_large(limit)),
        Ok(Err(_)) => Err(Refused::new(StatusCode::BAD_REQUEST, "the request ends too early")),
        Err(_) => Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "the request did not come in time")),
    }
}

/// Decompresses a body. It may not become longer than the bound. Blocks.
pub(super) fn decompress(bytes: Bytes, compression: Compression, limit: usize) -> Result<Bytes, Refused> {
    let wrong = |error: io::Error| {
        Refused::new(StatusCode::BAD_REQUEST, format!("the request cannot be decompressed: {error}"))
    };
    let reader: Box<dyn Read + '_> = match compression {
        Compression::Identity => return Ok(bytes),
        Compression::Gzip => Box::new(MultiGzDecoder::new(&*bytes)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(&*bytes).map_err(wrong)?),
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
    fn cut_and_wrong_bytes_are_the_senders_fault() {
        let whole = gzip(&(0..=255).collect::<Vec<u8>>());
        for bytes in [whole.slice(..whole.len() / 2), Bytes::from_static(b"no gzip"), Bytes::new()] {
            let refused = decompress(bytes, Compression::Gzip, 1024).expect_err("it is wrong");
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        }
        assert!(decompress(Bytes::from_static(b"no zstd"), Compression::Zstd, 1024).is_err());
    }
}
