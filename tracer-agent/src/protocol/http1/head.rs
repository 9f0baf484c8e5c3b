//! Heads of HTTP/1 messages: RFC 9112 sections 2 to 6, read as tolerantly as servers do.

use std::ops::Range;

use crate::protocol::{
    http::Noted,
    lines::{FieldName, Lines},
};

/// A request line and what of its header fields decides about framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    pub(super) minor_version: u8,
    pub(super) fields: FramingFields,
    pub(super) noted: Noted,
}

/// A status line and what of its header fields decides about framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) fields: FramingFields,
}

/// Header fields that decide about framing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FramingFields {
    pub(super) content_length: Option<u64>,
    /// `Transfer-Encoding` is there.
    pub(super) transfer_encoding: bool,
    /// Its last coding is chunked.
    pub(super) chunked: bool,
    /// `Connection: close`.
    pub(super) close: bool,
}

/// What one pass over a head has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Where the head ends.
    pub(super) end: usize,
    /// Length of its first line, without LF.
    line: usize,
    /// Its fields about framing, unless they contradict each other.
    pub(super) fields: Option<FramingFields>,
    noted: Noted,
}

/// What a line may be, by its first byte: a field about framing. Their names begin with C or T, or
/// with something odd that some servers pass over.
const FRAMING: u8 = 1;
/// A field that is noted.
const NOTED: u8 = 2;
/// The empty line.
const EMPTY: u8 = 4;

const BEGINS: [u8; 256] = {
    let mut table = [FRAMING; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        // White space continues a line that was read or passed over (RFC 9112 section 5.2).
        if is_token(byte) || matches!(byte, b' ' | b'\t') {
            table[at] = match byte.to_ascii_lowercase() {
                b'c' => FRAMING,
                b'a' | b'b' | b'h' | b'u' | b'x' => NOTED,
                b't' => FRAMING | NOTED,
                _ => 0,
            };
        }
        at += 1;
    }
    table[b'\r' as usize] |= EMPTY;
    table
};

/// Reads a head in bytes that came. None while it is not complete.
pub(super) fn scan(bytes: &[u8]) -> Option<Scanned> {
    let mut lines = Lines::new(bytes);
    let first = lines.next()?.len();
    let mut fields = Some(FramingFields::default());
    let mut noted = Noted::default();
    loop {
        let at = lines.at();
        let line = lines.next()?;
        let begins = line.first().map_or(EMPTY, |byte| BEGINS[usize::from(*byte)]);
        if begins == 0 {
            continue;
        }
        if begins & EMPTY != 0 && line.len() <= 1 {
            return Some(Scanned { end: lines.at(), line: first, fields, noted });
        }
        if begins & NOTED != 0 {
            noted.line(line, at);
        }
        if begins & FRAMING != 0
            && let Some(known) = &mut fields
            && known.line(line, lines).is_none()
        {
            fields = None;
        }
    }
}

/// Where the head in `bytes` ends, if it does. `from` is how far an earlier call has looked.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from.saturating_sub(3);
    while let Some(found) = memchr::memchr(b'\n', bytes.get(at..)?) {
        let line = at + found + 1;
        match bytes.get(line..)? {
            [b'\n', ..] => return Some(line + 1),
            [b'\r', b'\n', ..] => return Some(line + 2),
            _ => at = line,
        }
    }
    None
}

/// Reads the first line of a request's head.
pub(super) fn request(head: &[u8], scanned: Scanned) -> Option<RequestHead> {
    let Scanned { line, fields, noted, .. } = scanned;
    let fields = fields?;
    let line = head.get(..line)?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let method = line.iter().position(|byte| *byte == b' ')?;
    if method == 0 || !line.get(..method)?.iter().all(|byte| is_token(*byte)) {
        return None;
    }
    let version = line.iter().rposition(|byte| *byte == b' ')?;
    let minor_version = version_of(line.get(version + 1..)?)?;
    let target = method + 1..version;
    let text = line.get(target.clone())?;
    // More than one space between the parts is tolerated by servers; nothing else that is white is.
    let lead = text.iter().take_while(|byte| **byte == b' ').count();
    let trail = text.iter().rev().take_while(|byte| **byte == b' ').count();
    let target = target.start + lead..(target.end - trail).max(target.start + lead);
    if target.is_empty()
        || line.get(target.clone())?.iter().any(|byte| byte.is_ascii_control() || *byte == b' ')
    {
        return None;
    }
    Some(RequestHead { method: 0..method, target, minor_version, fields, noted })
}

/// Reads the first line of a response's head.
pub(super) fn response(head: &[u8], scanned: Scanned) -> Option<ResponseHead> {
    let fields = scanned.fields?;
    let line = head.get(..scanned.line)?;
    version_of(line.get(..8)?)?;
    if line.get(8) != Some(&b' ') {
        return None;
    }
    let digits = line.get(9..12)?;
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(line.get(12), None | Some(b' ' | b'\r')) {
        return None;
    }
    let status = digits.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
    (status >= 100).then_some(ResponseHead { status, fields })
}

fn version_of(text: &[u8]) -> Option<u8> {
    match text {
        b"HTTP/1.0" => Some(0),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', digit] if digit.is_ascii_digit() => Some(1),
        _ => None,
    }
}

/// RFC 9110 section 5.6.2.
pub(in crate::protocol) const fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let others = b"!#$%&'*+-.^_`|~";
        let mut at = 0;
        while at < 256 {
            table[at] = (at as u8).is_ascii_alphanumeric();
            at += 1;
        }
        at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        table
    };
    TOKEN[byte as usize]
}

/// A field about framing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    ContentLength,
    TransferEncoding,
    Connection,
}

const CONTENT_LENGTH: FieldName<14> = FieldName::new(b"content-length");
const CONNECTION: FieldName<10> = FieldName::new(b"connection");
const TRANSFER_ENCODING: FieldName<17> = FieldName::new(b"transfer-encoding");

impl Framing {
    fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("content-length") {
            Some(Self::ContentLength)
        } else if is("connection") {
            Some(Self::Connection)
        } else {
            is("transfer-encoding").then_some(Self::TransferEncoding)
        }
    }

    /// The field of a line, and its value; the inner none if it is about something else. None if the
    /// framing becomes a guess.
    fn of(line: &[u8]) -> Option<Option<(Self, &[u8])>> {
        // The usual case: the colon stands right behind the name.
        if let Some(value) = CONTENT_LENGTH.value_of(line) {
            return Some(Some((Self::ContentLength, value)));
        }
        if let Some(value) = CONNECTION.value_of(line) {
            return Some(Some((Self::Connection, value)));
        }
        if let Some(value) = TRANSFER_ENCODING.value_of(line) {
            return Some(Some((Self::TransferEncoding, value)));
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Some(None) };
        let (name, value) = (line.get(..colon)?.trim_ascii_end(), line.get(colon + 1..)?);
        if name.len() <= b"content-length".len() || name.iter().all(|byte| is_token(*byte)) {
            return Some(Self::named(name).map(|field| (field, value)));
        }
        // What some take for a framing field, and others do not, makes the framing a guess.
        let plain: Vec<u8> = name.iter().copied().filter(|byte| is_token(*byte)).collect();
        match Self::named(&plain) {
            Some(Self::ContentLength | Self::TransferEncoding) => None,
            Some(Self::Connection) | None => Some(None),
        }
    }
}

impl FramingFields {
    /// Reads a line if it is about framing; `behind` are the lines after it. Other lines are passed
    /// over, whatever they hold, as servers do that ignore what they cannot read. None if the framing
    /// becomes a guess.
    fn line(&mut self, line: &[u8], mut behind: Lines<'_>) -> Option<()> {
        let Some((field, value)) = Framing::of(line)? else { return Some(()) };
        let mut value = value.trim_ascii();
        let mut folded = Vec::new();
        while matches!(behind.peek(), Some(b' ' | b'\t'))
            && let Some(next) = behind.next()
        {
            if folded.is_empty() {
                folded.extend_from_slice(value);
            }
            folded.push(b' ');
            folded.extend_from_slice(next.trim_ascii());
        }
        if !folded.is_empty() {
            value = folded.trim_ascii();
        }
        self.take(field, value)
    }

    /// None if the field makes the framing ambiguous.
    fn take(&mut self, field: Framing, value: &[u8]) -> Option<()> {
        match field {
            // Several equal values are one: RFC 9110 section 8.6.
            Framing::ContentLength => {
                for text in value.split(|byte| *byte == b',') {
                    let length = decimal(text.trim_ascii())?;
                    if self.content_length.is_some_and(|known| known != length) {
                        return None;
                    }
                    self.content_length = Some(length);
                }
            }
            // RFC 2616 section 3.6: no coding. Later RFCs dropped the word, and servers still send it.
            Framing::TransferEncoding if value.trim_ascii().eq_ignore_ascii_case(b"identity") => (),
            Framing::TransferEncoding => {
                let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
                self.transfer_encoding = true;
                self.chunked = last.eq_ignore_ascii_case(b"chunked");
            }
            Framing::Connection => {
                self.close |= !value.eq_ignore_ascii_case(b"keep-alive")
                    && value
                        .split(|byte| *byte == b',')
                        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
        }
        Some(())
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &[u8]) -> Option<RequestHead> {
        super::request(head, scan(head)?)
    }

    #[test]
    fn request_lines_of_every_form_are_read() {
        for (line, method, target, minor) in [
            ("GET / HTTP/1.1", "GET", "/", 1),
            ("OPTIONS * HTTP/1.1", "OPTIONS", "*", 1),
            ("CONNECT a.example:443 HTTP/1.1", "CONNECT", "a.example:443", 1),
            ("GET http://a.example/x?y HTTP/1.0", "GET", "http://a.example/x?y", 0),
            ("M-SEARCH /é HTTP/1.1", "M-SEARCH", "/é", 1),
            ("GET  /two HTTP/1.1", "GET", "/two", 1),
        ] {
            for end in ["\r\n\r\n", "\n\n", "\n\r\n"] {
                let head = format!("{line}{end}");
                let read = request(head.as_bytes()).expect(line);
                assert_eq!(&head[read.method], method);
                assert_eq!(&head[read.target], target);
                assert_eq!(read.minor_version, minor);
            }
        }
        for line in
            ["GET /", "GET / HTTP/2.0", " / HTTP/1.1", "GET  HTTP/1.1", "G(T / HTTP/1.1", "GET /a b HTTP/1.1"]
        {
            assert_eq!(request(format!("{line}\r\n\r\n").as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn framing_fields_are_read_with_folds_lists_and_any_case() {
        let read = |text: &str| {
            request(format!("P / HTTP/1.1\r\n{text}\r\n\r\n").as_bytes()).map(|head| head.fields)
        };
        assert_eq!(read("content-LENGTH:  12 ").expect("valid").content_length, Some(12));
        assert_eq!(read("Content-Length: 5, 5\r\nContent-Length: 5").expect("valid").content_length, Some(5));
        assert_eq!(read("Content-Length: 5\r\nContent-Length: 6"), None);
        assert_eq!(read("Content-Length: -1"), None);
        assert_eq!(read("Content-Length: 99999999999999999999"), None);
        let chunked = read("Transfer-Encoding: gzip,\r\n\tchunked\r\nConnection: x, CLOSE").expect("valid");
        assert!(chunked.chunked && chunked.transfer_encoding && chunked.close);
        assert!(!read("Transfer-Encoding: chunked, gzip").expect("valid").chunked);
        // nginx passes over lines that it cannot read, and so do others.
        for odd in ["no colon", "X[y]: 1", "C d: 1", ": 2"] {
            assert_eq!(read(&format!("{odd}\r\nContent-Length: 3")).expect(odd).content_length, Some(3));
        }
        for smuggled in ["Content-Length[: 5", "\u{1}Transfer-Encoding: chunked"] {
            assert_eq!(read(smuggled), None, "{smuggled}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_the_search_goes_on() {
        for head in ["A\r\nB\r\n\r\n", "A\nB\n\n", "A\r\nB\n\r\n"] {
            let bytes = head.as_bytes();
            for from in 0..bytes.len() {
                assert_eq!(end_of_head(bytes, from), Some(bytes.len()), "{head:?} from {from}");
                assert_eq!(end_of_head(&bytes[..from], 0), None);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn what_httparse_accepts_is_read_alike(
            method in "[A-Z]{1,8}",
            target in "/[a-z0-9/._~?=&-]{0,30}",
            fields in proptest::collection::vec(("[A-Za-z-]{1,12}", "[ -9;-~]{0,20}"), 0..8),
        ) {
            let mut head = format!("{method} {target} HTTP/1.1\r\n");
            for (name, value) in &fields {
                head += &format!("X-{name}: {value}\r\n");
            }
            head += "\r\n";
            let mut slots = [httparse::EMPTY_HEADER; 16];
            let mut oracle = httparse::Request::new(&mut slots);
            let complete = oracle.parse(head.as_bytes()).is_ok_and(|status| status.is_complete());
            proptest::prop_assert!(complete);
            let read = request(head.as_bytes()).expect("the oracle accepts it");
            proptest::prop_assert_eq!(Some(&head[read.method]), oracle.method);
            proptest::prop_assert_eq!(Some(&head[read.target]), oracle.path);
            proptest::prop_assert_eq!(end_of_head(head.as_bytes(), 0), Some(head.len()));
        }

        #[test]
        fn garbage_is_no_panic(bytes: Vec<u8>) {
            let _ = request(&bytes);
            let _ = scan(&bytes).and_then(|scanned| response(&bytes, scanned));
            let _ = end_of_head(&bytes, bytes.len() / 2);
        }
    }
}
