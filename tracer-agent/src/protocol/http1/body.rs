//! Bodies of HTTP/1 messages: where they end, told from bytes and from lengths alone.

use crate::protocol::interface::Call;

/// How a body is framed: RFC 9112 section 6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are left.
    Length { left: u64, size: u64 },
    /// Chunks.
    Chunked(Chunks),
    /// The end of the connection ends it.
    UntilClose { size: u64 },
}

/// What a segment of a body came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyProgress {
    /// All of it belongs to the body, which goes on.
    More,
    /// So many bytes of the segment end the body.
    Done(u64),
    /// The framing makes no sense.
    Invalid,
}

impl Body {
    /// A body of which nobody knows where it ends.
    pub(super) fn lost() -> Self {
        let mut chunks = Chunks::new();
        chunks.lose();
        Self::Chunked(chunks)
    }

    /// Bytes without framing, if they are known.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Length { size, .. } | Self::UntilClose { size } => Some(*size),
            Self::Chunked(chunks) => chunks.size,
        }
    }

    /// Bytes that were copied.
    pub(super) fn data(&mut self, bytes: &[u8], call: &Call) -> BodyProgress {
        match self {
            Self::Chunked(chunks) => chunks.data(bytes, call),
            Self::Length { .. } | Self::UntilClose { .. } => self.skip(bytes.len() as u64, call),
        }
    }

    /// As [`Self::data`]; of the bytes only what tells where the body ends stays, and all else becomes zero.
    pub(super) fn mask(&mut self, bytes: &mut [u8], call: &Call) -> BodyProgress {
        if let Self::Chunked(chunks) = self {
            return chunks.mask(bytes, call);
        }
        let progress = self.data(bytes, call);
        match progress {
            BodyProgress::Done(taken) => bytes.get_mut(..taken as usize).unwrap_or_default().fill(0),
            BodyProgress::More | BodyProgress::Invalid => bytes.fill(0),
        }
        progress
    }

    /// Bytes that moved uncopied.
    pub(super) fn skip(&mut self, length: u64, call: &Call) -> BodyProgress {
        match self {
            Self::Length { left, .. } if length >= *left => BodyProgress::Done(std::mem::take(left)),
            Self::Length { left, .. } => {
                *left -= length;
                BodyProgress::More
            }
            Self::UntilClose { size } => {
                *size += length;
                BodyProgress::More
            }
            Self::Chunked(chunks) => chunks.skip(length, call),
        }
    }

    /// When the last call brought what looks like the end of a body whose chunks were lost from sight.
    pub(super) fn tentative_end(&self) -> Option<u64> {
        match self {
            Self::Chunked(Chunks { state: Chunk::Lost { tentative_ns, .. }, .. }) => *tentative_ns,
            _ => None,
        }
    }

    /// Whether nobody knows where it ends.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Chunked(Chunks { state: Chunk::Lost { tentative_ns: None, .. }, .. }))
    }

    /// More bytes came after a tentative end.
    pub(super) fn revoke(&mut self) {
        if let Self::Chunked(Chunks { state: Chunk::Lost { tentative_ns, .. }, .. }) = self {
            *tentative_ns = None;
        }
    }
}

/// Chunked framing: RFC 9112 section 7.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    state: Chunk,
    /// Bytes of data so far; none once the framing was lost from sight.
    size: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the digits of a size.
    Size { value: u64, digits: u8 },
    /// Behind them, up to the line's end.
    Extension { value: u64, length: u32 },
    /// In data.
    Data { left: u64 },
    /// In the line end behind data.
    DataEnd,
    /// In a line of the trailer, so many bytes long.
    Trailer { length: u32, total: u32 },
    /// A size went by uncopied. The last bytes tell where the body may end.
    Lost { window: [u8; 7], tentative_ns: Option<u64> },
}

/// How a chunked body ends, whatever came before: the end of a chunk and the last chunk.
const LAST_CHUNK: &[u8; 7] = b"\r\n0\r\n\r\n";

impl Chunks {
    /// Longest line of extensions.
    const MAX_LINE: u32 = 16 * 1024;
    /// Bytes of trailers in which their end is looked for.
    const MAX_TRAILERS: u32 = 64 * 1024;

    /// Before the first chunk.
    pub(super) fn new() -> Self {
        Self { state: Chunk::Size { value: 0, digits: 0 }, size: Some(0) }
    }

    /// The framing goes out of sight.
    pub(super) fn lose(&mut self) {
        self.size = None;
        self.state = Chunk::Lost { window: [0; 7], tentative_ns: None };
    }

    fn data(&mut self, bytes: &[u8], call: &Call) -> BodyProgress {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            match &mut self.state {
                Chunk::Data { left } => {
                    let there = (bytes.len() - at) as u64;
                    let taken = there.min(*left);
                    *left -= taken;
                    at += taken as usize;
                    if *left == 0 {
                        self.state = Chunk::DataEnd;
                    }
                    continue;
                }
                Chunk::Lost { window, tentative_ns } => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    for byte in rest.iter().rev().take(window.len()).rev() {
                        window.rotate_left(1);
                        window[window.len() - 1] = *byte;
                    }
                    let alone = call.first && at == 0 && bytes == b"0\r\n\r\n";
                    let ends = call.after == 0 && (window == LAST_CHUNK || alone);
                    *tentative_ns = ends.then_some(call.end_ns);
                    return BodyProgress::More;
                }
                Chunk::Size { value, digits } => match (byte as char).to_digit(16) {
                    Some(digit) if *digits < 16 => {
                        *value = *value << 4 | u64::from(digit);
                        *digits += 1;
                    }
                    Some(_) => return BodyProgress::Invalid,
                    None if *digits > 0 && matches!(byte, b';' | b'\r' | b'\n' | b' ' | b'\t') => {
                        let value = *value;
                        self.state = Chunk::Extension { value, length: 0 };
                        continue;
                    }
                    None => return BodyProgress::Invalid,
                },
                Chunk::Extension { value, length } => {
                    *length += 1;
                    if *length > Self::MAX_LINE {
                        return BodyProgress::Invalid;
                    }
                    if byte == b'\n' {
                        let value = *value;
                        self.size = self.size.and_then(|size| size.checked_add(value));
                        self.state = match value {
                            0 => Chunk::Trailer { length: 0, total: 0 },
                            left => Chunk::Data { left },
                        };
                    }
                }
                Chunk::DataEnd => match byte {
                    b'\r' => {}
                    b'\n' => self.state = Chunk::Size { value: 0, digits: 0 },
                    _ => return BodyProgress::Invalid,
                },
                Chunk::Trailer { length, total } => {
                    *total += 1;
                    match byte {
                        b'\n' if *length == 0 => return BodyProgress::Done(at as u64 + 1),
                        b'\n' => *length = 0,
                        b'\r' => {}
                        _ => *length += 1,
                    }
                    if *total > Self::MAX_TRAILERS {
                        // The next message tells where it ends.
                        self.lose();
                    }
                }
            }
            at += 1;
        }
        BodyProgress::More
    }

    /// See [`Body::mask`]: the lines' ends and the sizes stay.
    fn mask(&mut self, bytes: &mut [u8], call: &Call) -> BodyProgress {
        let is_line_end = |byte: u8| matches!(byte, b'\r' | b'\n');
        let mut at = 0;
        while at < bytes.len() {
            let (length, is_kept): (usize, &dyn Fn(u8) -> bool) = match &self.state {
                Chunk::Data { left } => (usize::try_from(*left).unwrap_or(usize::MAX), &|_| false),
                // What ends the last chunk.
                Chunk::Lost { .. } => (usize::MAX, &|byte| is_line_end(byte) || byte == b'0'),
                Chunk::Size { .. } => (1, &|_| true),
                Chunk::Extension { .. } | Chunk::DataEnd | Chunk::Trailer { .. } => (1, &is_line_end),
            };
            let end = at.saturating_add(length).min(bytes.len());
            let part = bytes.get_mut(at..end).unwrap_or_default();
            let mut call = *call;
            call.first &= at == 0;
            let progress = self.data(part, &call);
            if progress == BodyProgress::Invalid {
                bytes.get_mut(at..).unwrap_or_default().fill(0);
                return progress;
            }
            for byte in part.iter_mut().filter(|byte| !is_kept(**byte)) {
                *byte = 0;
            }
            if let BodyProgress::Done(taken) = progress {
                return BodyProgress::Done(at as u64 + taken);
            }
            at = end;
        }
        BodyProgress::More
    }

    fn skip(&mut self, length: u64, _call: &Call) -> BodyProgress {
        match &mut self.state {
            Chunk::Data { left } if length < *left => *left -= length,
            Chunk::Data { left } if length == *left => self.state = Chunk::DataEnd,
            // The line end behind the data too; what comes next begins a size.
            Chunk::Data { left } if length == *left + 2 => self.state = Chunk::Size { value: 0, digits: 0 },
            _ => self.lose(),
        }
        BodyProgress::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(first: bool, after: u64) -> Call {
        Call { end_ns: 9, first, after, ..Call::default() }
    }

    const CHUNKED: &[u8] = b"5\r\nhello\r\nA;name=\"v\"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nNEXT";

    #[test]
    fn chunks_with_extensions_and_trailers_end_where_they_end_however_cut() {
        for cut in 0..CHUNKED.len() {
            let mut body = Body::Chunked(Chunks::new());
            let (first, second) = CHUNKED.split_at(cut);
            let mut end = None;
            let mut before = 0;
            for part in [first, second] {
                if let (BodyProgress::Done(at), None) = (body.data(part, &call(true, 0)), end) {
                    end = Some(before + at);
                    break;
                }
                before += part.len() as u64;
            }
            assert_eq!(end, Some(CHUNKED.len() as u64 - 4), "cut at {cut}");
            assert_eq!(body.size(), Some(15));
        }
    }

    #[test]
    fn data_of_a_chunk_may_go_by_uncopied() {
        let mut body = Body::Chunked(Chunks::new());
        assert_eq!(body.data(b"1000\r\nabcdefgh", &call(true, 4100)), BodyProgress::More);
        assert_eq!(body.skip(4096 - 8 - 6, &call(false, 8)), BodyProgress::More);
        assert_eq!(body.data(b"uvwxyz\r\n", &call(false, 0)), BodyProgress::More);
        assert_eq!(body.data(b"0\r\n\r\n", &call(true, 0)), BodyProgress::Done(5));
        assert_eq!(body.size(), Some(4096));
    }

    #[test]
    fn a_lost_framing_ends_tentatively_with_a_call_that_ends_like_a_body() {
        let mut body = Body::Chunked(Chunks::new());
        body.data(b"10\r\nabcdefgh", &call(true, 5000));
        body.skip(4992, &call(false, 8));
        assert_eq!(body.size(), None);
        body.data(b"a\r\n0\r\n\r\n", &call(false, 0));
        assert_eq!(body.tentative_end(), Some(9));
        body.data(b"more", &call(true, 0));
        assert_eq!(body.tentative_end(), None);
        body.data(b"0\r\n\r\n", &call(true, 0));
        assert_eq!(body.tentative_end(), Some(9));
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for bad in [&b"x\r\n"[..], b"\r\n", b"11111111111111111\r\n", b"2\r\nabX"] {
            assert_eq!(Chunks::new().data(bad, &call(true, 0)), BodyProgress::Invalid, "{bad:?}");
        }
    }

    #[test]
    fn lengths_count_down_over_copied_and_uncopied_bytes() {
        let mut body = Body::Length { left: 10, size: 10 };
        assert_eq!(body.data(b"abc", &call(true, 0)), BodyProgress::More);
        assert_eq!(body.skip(6, &call(true, 0)), BodyProgress::More);
        assert_eq!(body.data(b"dGET", &call(true, 0)), BodyProgress::Done(1));
    }
}
