use std::{fs, path::Path};

use tracer_common::{
    CLOSE_ALL, CloseRecord, DataHeader, FLAG_PRE_SEND, FLAG_TURN, Kind as RecordKind, OPEN_BIRTH,
    OPEN_CLIENT, OpenRecord, RECEIVE, SEND,
};
use zerocopy::IntoBytes;

use crate::{
    agent::pipeline,
    config::Config,
    event::{Event, Input},
    ledger::Counter,
    pipeline::{Out, Pipeline},
    process::{facts::ProcessFacts, identity::Host},
    sink::{Account, Outgoing, SpanSink},
    span::{Span, SpanKind, Status},
};

/// Keeps spans.
#[derive(Default)]
struct Spans(Vec<Span>);

impl SpanSink for Spans {
    fn span(&mut self, span: &Outgoing<'_>) {
        self.0.push(span.span().clone());
    }

    fn account(&self) -> Account {
        let taken = self.0.len() as u64;
        Account { taken, delivered: taken, ..Account::new(Counter::SpansNotWritten) }
    }
}

/// A client's connection from the kernel's records to spans.
struct World {
    pipeline: Pipeline,
    spans: Spans,
    moved: [u32; 2],
}

impl World {
    const CONNECTION: u64 = 7;
    const PID: u32 = 1;

    fn new(flags: u8) -> Self {
        let mut this = Self {
            pipeline: pipeline(&Config::default(), Host::default(), 1),
            spans: Spans::default(),
            moved: [0; 2],
        };
        let facts =
            ProcessFacts { pid: Self::PID, exe: "/usr/bin/lamp".to_owned(), ..ProcessFacts::default() };
        this.tell(Input::Facts { facts: &facts, rule: None });
        let open = OpenRecord {
            kind: RecordKind::Open as u8,
            flags: OPEN_BIRTH | flags,
            family: libc::AF_INET as u16,
            connection: Self::CONNECTION,
            pid: Self::PID,
            local_port: 4000,
            remote_port: 5000,
            local_address: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            remote_address: [127, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ..OpenRecord::default()
        };
        this.record(open.as_bytes());
        this
    }

    fn tell(&mut self, input: Input<'_>) {
        self.pipeline.handle(&input, &mut Out { spans: &mut self.spans, feedback: &mut () });
    }

    /// A record of the ring.
    fn record(&mut self, record: &[u8]) {
        self.tell(Input::Event(Event::decode(record).expect("a record")));
    }

    /// Bytes move.
    fn data(&mut self, direction: u8, bytes: &[u8], time_ns: u64) {
        let position = &mut self.moved[usize::from(direction)];
        let header = DataHeader {
            kind: RecordKind::Data as u8,
            direction,
            flags: FLAG_TURN | FLAG_PRE_SEND,
            prefix_length: bytes.len() as u16,
            connection: Self::CONNECTION,
            time_ns,
            start_ns: time_ns - 1,
            pid: Self::PID,
            tid: Self::PID,
            position: *position,
            length: bytes.len() as u32,
            ..DataHeader::default()
        };
        *position += bytes.len() as u32;
        self.record(&[header.as_bytes(), bytes].concat());
    }

    /// The connection is closed. The spans, in the order of their starts.
    fn finish(mut self, time_ns: u64) -> (Vec<Span>, Pipeline) {
        let close = CloseRecord {
            kind: RecordKind::Close as u8,
            state: CLOSE_ALL,
            connection: Self::CONNECTION,
            time_ns,
            send_end: self.moved[usize::from(SEND)],
            receive_end: self.moved[usize::from(RECEIVE)],
            ..CloseRecord::default()
        };
        self.record(close.as_bytes());
        self.tell(Input::Tick { now_ns: time_ns + 1_000_000_000 });
        self.pipeline.finish(time_ns + 2_000_000_000, &mut Out { spans: &mut self.spans, feedback: &mut () });
        let mut spans = self.spans.0;
        spans.sort_by_key(|span| span.start_unix_ns);
        (spans, self.pipeline)
    }
}

fn frame(kind: u8, number: u8, text: &str) -> Vec<u8> {
    let length = (2 + text.len()) as u32;
    [&length.to_le_bytes()[..], &[kind, number], text.as_bytes()].concat()
}

/// Name, kind, start, end, whether it failed.
fn told(spans: &[Span]) -> Vec<(&str, SpanKind, u64, u64, bool)> {
    let failed = |span: &Span| matches!(span.status, Status::Error(_));
    spans
        .iter()
        .map(|span| (&*span.name, span.kind, span.start_unix_ns, span.end_unix_ns, failed(span)))
        .collect()
}

const CONTEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const LINKED: &str = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203332-01";

#[test]
fn a_new_protocol_goes_from_bytes_to_spans() {
    let mut world = World::new(OPEN_CLIENT);
    // The server speaks first.
    world.data(RECEIVE, &frame(b'e', 0, &format!("greeting\ntraceparent={CONTEXT}")), 10);
    let published = frame(b'p', 0, &format!("door\nevent=opened\nlink={LINKED}"));
    world.data(SEND, &published[..3], 20);
    world.data(SEND, &published[3..], 22);
    world.data(SEND, &[frame(b'q', 1, "first"), frame(b'q', 2, "second")].concat(), 30);
    world.data(RECEIVE, &frame(b'a', 2, "yes"), 40);
    world.data(RECEIVE, &frame(b'a', 1, "no"), 50);
    world.data(SEND, &frame(b'q', 3, "third"), 60);
    let (spans, pipeline) = world.finish(70);

    assert_eq!(
        told(&spans),
        [
            ("push greeting", SpanKind::Consumer, 9, 10, false),
            ("publish door", SpanKind::Producer, 19, 22, false),
            ("ask second", SpanKind::Client, 29, 40, false),
            ("ask first", SpanKind::Client, 29, 50, true),
            ("ask third", SpanKind::Client, 59, 70, true),
        ]
    );
    let [pushed, published, second, first, third] = &spans[..] else { panic!("five spans") };
    assert_eq!(pushed.trace_id[15], 0x9c);
    assert_eq!(pushed.parent_span_id.map(|id| id[7]), Some(0x31));
    assert_eq!(published.text("messaging.destination.name"), Some("door"));
    assert_eq!(published.events().len(), 1);
    assert_eq!((&*published.events()[0].name, published.events()[0].time_unix_ns), ("opened", 22));
    assert_eq!(published.links().iter().map(|link| link.span_id[7]).collect::<Vec<_>>(), [0x32]);
    assert_eq!(second.text("error.type"), None);
    assert_eq!(first.text("error.type"), Some("refused"));
    assert_eq!(third.text("error.type"), Some("no_response"));
    assert_eq!(first.text("server.address"), Some("127.0.0.2"));
    for (counter, expected) in [
        (Counter::ExchangesPaired, 2),
        (Counter::ExchangesOneWay, 2),
        (Counter::ExchangesUnanswered, 1),
        (Counter::ExchangesUnpaired, 0),
        (Counter::ConnectionsOther, 0),
    ] {
        assert_eq!(pipeline.ledger().total().get(counter), expected, "{counter:?}");
    }
}

#[test]
fn the_server_sees_the_same_from_the_other_end() {
    let mut world = World::new(0);
    world.data(RECEIVE, &frame(b'p', 0, "door"), 10);
    world.data(RECEIVE, &frame(b'q', 1, "first"), 20);
    world.data(SEND, &frame(b'e', 0, "news"), 30);
    world.data(SEND, &frame(b'a', 1, "yes"), 40);
    let (spans, _) = world.finish(50);
    assert_eq!(
        told(&spans),
        [
            ("publish door", SpanKind::Consumer, 9, 10, false),
            ("ask first", SpanKind::Server, 19, 40, false),
            ("push news", SpanKind::Producer, 29, 30, false),
        ]
    );
}

/// The diff that the protocol took outside its folder.
#[test]
fn a_new_protocol_is_a_folder_and_its_line_in_the_table() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut mentions = Vec::new();
    let mut folders = vec![sources.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if path != sources.join("protocol/toy") {
                    folders.push(path);
                }
                continue;
            }
            let name = path.strip_prefix(&sources).expect("below it").display().to_string();
            let text = fs::read_to_string(&path).expect("text");
            let is_word = |line: &&str| {
                line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "toy")
            };
            mentions.extend(text.lines().filter(is_word).map(|line| format!("{name}: {}", line.trim())));
        }
    }
    assert_eq!(mentions, ["protocol/mod.rs: mod toy;", "protocol/table.rs: &super::toy::PROTOCOL,"]);
}
