//! Spans as a Zstandard frame that holds one line of OTLP JSON.

use std::io::{self, Read, Write};

use tracer_model::{
    otlp::{decode_json, encode_json},
    span::Span,
};
use zstd::stream::{Decoder, Encoder};

/// Spans of a frame.
pub(super) const MAX_FRAME_SPANS: usize = 1000;

/// Longest line that is read: more than a frame of the largest spans.
const MAX_LINE_BYTES: u64 = 1 << 30;

/// The level that is quickest: what comes again and again in spans, even that one finds.
const LEVEL: i32 = 1;

/// Spans as a frame with a checksum.
pub(super) fn frame(spans: &[Span]) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.write_all(encode_json(spans).as_bytes())?;
    encoder.write_all(b"\n")?;
    encoder.finish()
}

/// What begins with the next whole frame, behind one that is damaged. None if there is no more.
pub(super) fn next_frame(damaged: &[u8]) -> Option<&[u8]> {
    /// The first bytes of a frame (RFC 8878, section 3.1.1).
    const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
    let starts = (1..damaged.len()).filter(|at| damaged[*at..].starts_with(&MAGIC));
    starts.map(|at| &damaged[at..]).find(|rest| read_frame(rest).is_some())
}

/// The spans of the first frame, and what follows it. None if the frame is not whole.
pub(super) fn read_frame(bytes: &[u8]) -> Option<(Vec<Span>, &[u8])> {
    let mut decoder = Decoder::with_buffer(bytes).ok()?.single_frame();
    let mut lines = Vec::new();
    let length = decoder.by_ref().take(MAX_LINE_BYTES).read_to_end(&mut lines).ok()?;
    if length as u64 == MAX_LINE_BYTES {
        return None;
    }
    let rest = decoder.finish();
    let mut spans = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        spans.extend(decode_json(line).ok()?.spans);
    }
    Some((spans, rest))
}
