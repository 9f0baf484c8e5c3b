//! Heads of HTTP/1 messages: RFC 9112 sections 2 to 6, read as tolerantly as servers do.

use std::ops::Range;

use crate::exchange::newline;

/// A request line and what of its header fields decides about framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    pub(super) minor_version: u8,
    pub(super) fields: Fields,
}

/// A status line and what of its header fields decides about framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) fields: Fields,
}

/// Header fields that decide about framing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) content_length: Option<u64>,
    /// `Transfer-Encoding` is there.
    pub(super) transfer_encoding: bool,
    /// Its last coding is chunked.
    pub(super) chunked: bool,
    /// `Connection: close`.
    pub(super) close: bool,
}

/// A head in bytes that came: where it ends, and its fields about framing unless they contradict
/// each other. None while it is not complete.
pub(super) fn scan(bytes: &[u8]) -> Option<(usize, Option<Fields>)> {
    let mut lines = Lines { rest: bytes };
    lines.next()?;
    let mut fields = Some(Fields::default());
    loop {
        let line = lines.next()?;
        if matches!(line, [] | [b'\r']) {
            return Some((bytes.len() - lines.rest.len(), fields));
        }
        if let Some(known) = &mut fields
            && known.line(line, &lines).is_none()
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

/// Reads the head of a request, of which [`scan`] has read the fields.
pub(super) fn request(head: &[u8], fields: Fields) -> Option<RequestHead> {
    let line = head.get(..newline(head)?)?;
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
    Some(RequestHead { method: 0..method, target, minor_version, fields })
}

/// Reads the head of a response, of which [`scan`] has read the fields.
pub(super) fn response(head: &[u8], fields: Fields) -> Option<ResponseHead> {
    let line = head.get(..newline(head)?)?;
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
pub(in crate::protocol) fn is_token(byte: u8) -> bool {
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
    TOKEN[usize::from(byte)]
}

/// The lines of a head.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// The next line without its LF; none if that has not come yet.
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = newline(self.rest)?;
        let line = self.rest.get(..end)?;
        self.rest = self.rest.get(end + 1..)?;
        Some(line)
    }
}

impl Fields {
    /// Reads a line if it is about framing; `behind` are the lines after it. Other lines are passed
    /// over, whatever they hold, as servers do that ignore what they cannot read. None if the framing
    /// becomes a guess.
    fn line(&mut self, line: &[u8], behind: &Lines<'_>) -> Option<()> {
        // Names of framing fields begin with C or T, if nothing odd stands before them; white space
        // continues a line that was read or passed over (RFC 9112 section 5.2).
        match line.first() {
            Some(b'c' | b'C' | b't' | b'T') => {}
            Some(byte) if !is_token(*byte) && !matches!(byte, b' ' | b'\t') => {}
            _ => return Some(()),
        }
        let Some(colon) = memchr::memchr(b':', line) else { return Some(()) };
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        let name = name.trim_ascii_end();
        // None that matters is shorter, with odd bytes in it or without.
        if name.len() < b"connection".len() || name.len() == b"content-type".len() {
            return Some(());
        }
        if !name.iter().all(|byte| is_token(*byte)) {
            // What some take for a framing field, and others do not, makes the framing a guess.
            let plain: Vec<u8> = name.iter().copied().filter(|byte| is_token(*byte)).collect();
            return (Self::default().take(&plain, b"0") == Some(false)).then_some(());
        }
        let mut value = value.trim_ascii();
        let mut folded = Vec::new();
        let mut behind = Lines { rest: behind.rest };
        while matches!(behind.rest.first(), Some(b' ' | b'\t'))
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
        self.take(name, value).map(drop)
    }
}

impl Fields {
    /// Whether the field is about framing; none if it makes that ambiguous.
    fn take(&mut self, name: &[u8], value: &[u8]) -> Option<bool> {
        let is = |known: &[u8]| name.len() == known.len() && name.eq_ignore_ascii_case(known);
        if is(b"content-length") {
            // Several equal values are one: RFC 9110 section 8.6.
            for text in value.split(|byte| *byte == b',') {
                let length = decimal(text.trim_ascii())?;
                if self.content_length.is_some_and(|known| known != length) {
                    return None;
                }
                self.content_length = Some(length);
            }
            return Some(true);
        }
        if is(b"transfer-encoding") {
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
            self.transfer_encoding = true;
            self.chunked = last.eq_ignore_ascii_case(b"chunked");
            return Some(true);
        }
        if is(b"connection") && !value.eq_ignore_ascii_case(b"keep-alive") {
            self.close |= value
                .split(|byte| *byte == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
        Some(false)
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
        super::request(head, scan(head)?.1?)
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
            let _ = response(&bytes, Fields::default());
            let _ = end_of_head(&bytes, bytes.len() / 2);
        }
    }
}
