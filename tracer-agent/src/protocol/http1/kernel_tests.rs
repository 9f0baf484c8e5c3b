//! The kernel programs' reader of heads, compiled for the host and compared with the agent's own: what the kernel
//! takes for certain, the agent must read in the same way.

#[path = "../../../../tracer-ebpf/src/http/mod.rs"]
mod kernel;

use proptest::prelude::*;
use tracer_common::MAX_STATE;

use self::kernel::{
    Text, TextMut,
    authority::{self, Authority},
    head::{self, Head},
    traceparent::{self, Ids},
    tracestate::{self, Members},
};
use crate::{protocol::http::Head as HeadFields, trace_context::Incoming};

/// Zeros before the head, as in the kernel's scratch buffer.
const BEFORE: usize = 8;
/// Longest head that the kernel programs look at.
const LONGEST_HEAD: usize = 16_384 - 32;

/// A head as it stands in the kernel's scratch buffer.
struct Buffer(Vec<u8>);

impl Buffer {
    fn of(bytes: &[u8]) -> Self {
        let mut data = vec![0; BEFORE + LONGEST_HEAD + 48];
        data[BEFORE..BEFORE + bytes.len()].copy_from_slice(bytes);
        Self(data)
    }
}

impl Text for Buffer {
    fn word(&self, at: u64) -> u64 {
        self.before(at + BEFORE as u64)
    }

    fn before(&self, at: u64) -> u64 {
        let at = at as usize & 0x3fff;
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }
}

impl TextMut for Buffer {
    fn put(&mut self, at: u64, value: u64) {
        let at = at as usize + BEFORE;
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn take_forward(&mut self, to: u32, from: u32, length: u32) -> bool {
        let from = BEFORE + from as usize;
        self.0.copy_within(from..from + length as usize, BEFORE + to as usize);
        true
    }
}

/// What the kernel programs read of a head.
struct Read {
    head: Head,
    /// Ids of the only, valid `traceparent`.
    ids: Option<([u8; 16], [u8; 8], u8)>,
    /// The `tracestate` that goes along.
    state: String,
}

impl Read {
    fn of(bytes: &[u8]) -> Self {
        let mut text = Buffer::of(bytes);
        let mut head = Head { length: bytes.len() as u32, ..Head::default() };
        for _ in 0..LONGEST_HEAD / 16 + 256 {
            if head::step(&mut head, &text) {
                break;
            }
        }
        let mut found = Ids::default();
        let ids = traceparent::read(&head, &text, &mut found).then(|| {
            let trace = found.trace.map(u64::to_le_bytes).concat().try_into().expect("sixteen bytes");
            (trace, found.span.to_le_bytes(), found.flags as u8)
        });
        let (begin, length) = tracestate::join(&head, &mut text);
        let mut members = Members::new(begin, length);
        for index in 0..=u64::from(MAX_STATE) {
            if tracestate::step(&mut members, &text, index) {
                break;
            }
        }
        let is_kept = length != 0 && length <= MAX_STATE && members.is_valid();
        let begin = BEFORE + begin as usize;
        let state = if is_kept { text.0[begin..begin + length as usize].to_vec() } else { Vec::new() };
        Self { head, ids, state: String::from_utf8(state).expect("members are ASCII") }
    }

    /// Whether the kernel programs trust what they read.
    fn is_certain(&self) -> bool {
        self.head.flags & (Head::NOT_HTTP | Head::ODD) == 0 && self.head.head != 0
    }
}

/// The authority that the kernel programs read of a target, if it names a host.
fn authority_of(bytes: &[u8]) -> Option<String> {
    let read = Read::of(bytes);
    assert!(read.is_certain());
    let (mut authority, text) = (Authority::default(), Buffer::of(bytes));
    let target = authority::target(&text);
    if authority::is_path(target, &text) {
        return None;
    }
    if authority.begin(target, &text) {
        let _ = (0..authority::WORDS as u64).any(|index| authority::step(&mut authority, &text, index));
    }
    if !authority.is_whole() {
        return Some(String::new());
    }
    let bytes: Vec<u8> = authority.text.iter().flat_map(|word| word.to_le_bytes()).collect();
    let length = bytes.iter().position(|byte| *byte == 0).expect("zeros behind it");
    assert!(bytes[length..].iter().all(|byte| *byte == 0));
    Some(String::from_utf8(bytes[..length].to_vec()).expect("ASCII"))
}

#[test]
fn a_target_that_names_a_host_is_told_from_a_path() {
    let long = "h".repeat(130);
    let most = "m".repeat(127);
    let cases = [
        ("/", None),
        ("*", None),
        ("//other/a", None),
        ("/http://other/", None),
        ("http://other/", Some("other")),
        ("HTTP://Other.Example:8080/a", Some("other.example:8080")),
        ("http://other", Some("other")),
        ("http://other?a=/b", Some("other")),
        ("http://listed@other/", Some("listed`other")),
        ("https://other/", Some("")),
        ("other:443", Some("")),
        ("http://", Some("")),
        (" /", Some("")),
        (&format!("http://{most}/"), Some(&most[..])),
        (&format!("http://{long}/"), Some("")),
    ];
    for method in ["GET", "PROPFIND", "MKCALENDAR", "BASELINE-CONTROL"] {
        for (target, expected) in &cases {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            // A longer method hides where the target begins, which is then no path.
            let expected = if method.len() > 15 { Some("") } else { *expected };
            assert_eq!(authority_of(head.as_bytes()).as_deref(), expected, "{head}");
        }
    }
}

/// Members without the blanks and the empty ones, as the agent keeps them.
fn plain(state: &str) -> String {
    let members: Vec<&str> =
        state.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|m| !m.is_empty()).collect();
    members.join(",")
}

/// Compares both readers. Returns whether the kernel programs are certain of the head.
fn compare(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let read = Read::of(bytes);
    if !read.is_certain() {
        return Ok(false);
    }
    let scanned = super::head::scan(bytes);
    prop_assert_eq!(scanned.as_ref().map(|scanned| scanned.end), Some(read.head.head as usize));
    let Some(scanned) = scanned else { return Ok(false) };
    let head = &bytes[..scanned.end];
    // What contradicts itself is odd to the kernel programs too.
    let fields = scanned.fields.clone();
    prop_assert!(fields.is_some(), "the agent does not know the framing");
    let fields = fields.unwrap_or_default();
    prop_assert_eq!(fields.content_length.unwrap_or(0), read.head.body);
    // The kernel programs look at the first 16 bytes of the name: they are careful too often, never too seldom.
    prop_assert!(!fields.transfer_encoding || read.head.flags & Head::CHUNKED != 0);
    if let Some(request) = super::head::request(head, scanned) {
        prop_assert_eq!(&head[request.method] == b"CONNECT", read.head.flags & Head::CONNECT != 0);
    }
    let incoming = Incoming::of(&HeadFields(head));
    let known = incoming
        .as_ref()
        .map(|incoming| (incoming.trace_id, incoming.parent_id, incoming.flags.expect("W3C's have flags")));
    prop_assert_eq!(read.ids, known);
    if let Some(incoming) = incoming {
        // More fields than the kernel programs put together go along as none.
        let is_read = read.head.states as usize <= head::STATES;
        prop_assert_eq!(plain(&read.state), if is_read { incoming.state } else { String::new() });
    }
    Ok(true)
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Lines of heads: those of the agent's own tests, and what is near them.
const LINES: &[&str] = &[
    "Host: a.example",
    "Content-Length: 5",
    "content-length:5",
    "Content-Length: 12345678",
    "Content-Length: 123456789",
    "Content-Length:  5",
    "Content-Length: 5, 5",
    "Content-Length : 5",
    "Content-Length: -1",
    "Content-Length: ",
    "Content-Lengths: 5",
    "Transfer-Encoding: chunked",
    "transfer-encoding: gzip, chunked",
    "TE: trailers",
    "Expect: 100-continue",
    "Upgrade: websocket",
    "Connection: close",
    "X-Folded: a",
    " folded",
    "\tfolded",
    "b3: 0",
    "no colon",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Traceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
    "TRACEPARENT: \t00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\t ",
    "traceparent: 00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
    "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
    "traceparent: cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fd-what",
    "traceparent: cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
    "traceparent: ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "traceparent: ",
    "tracestate: a=1",
    "tracestate: a=1,b=2, c=3",
    "tracestate: ,, a=1 ,",
    "tracestate: a=1\t,b=2",
    "tracestate: t@v=x y",
    "tracestate: A=1",
    "tracestate: a",
    "tracestate: a=",
    "tracestate: a=b=c",
    "tracestate: ",
    "tracestate:",
    "tracestate: é=1",
];

#[test]
fn both_readers_agree_on_single_lines() {
    let mut certain = 0;
    for line in LINES {
        for start in ["GET / HTTP/1.1", "CONNECT a:1 HTTP/1.1", "POST /x?y HTTP/1.0"] {
            let head = format!("{start}\r\nHost: a\r\n{line}\r\n\r\n");
            let result = compare(head.as_bytes());
            assert!(result.is_ok(), "{line:?}: {result:?}");
            certain += usize::from(result.is_ok_and(|certain| certain));
        }
    }
    // Most are plain: the comparison is not empty.
    assert!(certain > 2 * LINES.len(), "{certain} of {}", 3 * LINES.len());
}

#[test]
fn a_parent_is_read_to_the_last_bit() {
    let head = format!("GET /a HTTP/1.1\r\nHost: a\r\ntraceparent: {PARENT}\r\ntracestate: k=v,m=n\r\n\r\n");
    let read = Read::of(head.as_bytes());
    let (trace, span, flags) = read.ids.expect("it is valid");
    assert_eq!(u128::from_be_bytes(trace), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    assert_eq!((u64::from_be_bytes(span), flags), (0xb7ad_6b71_6920_3331, 1));
    assert_eq!(read.state, "k=v,m=n");
}

#[test]
fn a_name_that_only_begins_like_traceparent_is_another_field() {
    for other in
        [format!("traceparents: {PARENT}"), format!("traceparent-x: {PARENT}"), "traceparentx: a".to_owned()]
    {
        let alone = format!("GET / HTTP/1.1\r\nHost: a\r\n{other}\r\n\r\n");
        let read = Read::of(alone.as_bytes());
        assert!(read.is_certain() && read.ids.is_none(), "{other}");
        let beside = format!("GET / HTTP/1.1\r\ntraceparent: {PARENT}\r\n{other}\r\n\r\n");
        assert!(Read::of(beside.as_bytes()).ids.is_some(), "{other}");
    }
}

#[test]
fn what_breaks_a_rule_is_not_certain() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 5,5\r\n\r\n",
        "GET / HTTP/1.1\r\nContent\rLength: 5\r\n\r\n",
        "GET / HTTP/1.1\r\ntraceparent : 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        "GET / HTTP/1.1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\r\n\r\n",
        "GET / HTTP/1.1\r\ntraceparent: \r00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        "GET / HTTP/1.1\r\ntraceparent:          00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "get / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
    ] {
        assert!(!Read::of(head.as_bytes()).is_certain(), "{head:?}");
    }
}

/// Heads of lines that are known, joined by the right end or a wrong one.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "POST /a/b?c HTTP/1.0",
        "CONNECT a.example:443 HTTP/1.1",
        "GET  /two HTTP/1.1",
        "M-SEARCH * HTTP/1.1",
        "GET / HTTP/1.2",
        "PRI * HTTP/2.0",
    ]);
    let end = prop_oneof![30 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r\r\n")];
    let line = (prop::sample::select(LINES), end).prop_map(|(line, end)| format!("{line}{end}"));
    (start, prop::collection::vec(line, 0..8), 0..3u8).prop_map(|(start, lines, rest)| {
        let rest = ["", "body", "GET / HTTP/1.1\r\n\r\n"][usize::from(rest)];
        format!("{start}\r\n{}\r\n{rest}", lines.concat()).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn both_readers_agree_on_heads(head in heads()) {
        compare(&head)?;
    }

    /// A byte is another one, or the head ends early.
    #[test]
    fn both_readers_agree_on_mutated_heads(
        mut head in heads(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b" \t\r\n:-=,;0aFzZ@~".to_vec())), 0..4),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        for (at, byte) in changes {
            let at = at.index(head.len());
            head[at] = byte;
        }
        if let Some(cut) = cut {
            head.truncate(cut.index(head.len()));
        }
        compare(&head)?;
    }

    #[test]
    fn no_bytes_make_the_kernel_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Read::of(&bytes);
    }
}
