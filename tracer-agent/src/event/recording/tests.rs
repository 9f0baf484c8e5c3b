use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tracer_common::{
    CLOSE_ALL, CloseRecord, DataHeader, FLAG_TURN, OPEN_BIRTH, OpenRecord, RECEIVE, RunRecord, SEND,
};
use zerocopy::IntoBytes;

use super::*;
use crate::{
    event::{Event, Input, Malformed, input::OwnedInput},
    process::facts::ProcessFacts,
    protocol::mask::MaskRules,
    redact::{DEFAULT_KEYS, Redactor},
};

/// A folder for the files of one test, removed with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tracer-recording-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("created");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left in the folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn preamble() -> Preamble {
    Preamble {
        version: VERSION,
        agent: "test".to_owned(),
        kernel: "test".to_owned(),
        seed: 7,
        records: RecordSizes::current(),
        ..Preamble::default()
    }
}

fn masks() -> Masks {
    let keys: Vec<String> = DEFAULT_KEYS.iter().map(|key| (*key).to_owned()).collect();
    Masks::new(MaskRules { redactor: Redactor::new(&keys), fields: vec!["x-listed".to_owned()] })
}

/// A record of bytes on a connection.
fn data(connection: u64, direction: u8, position: u32, flags: u16, bytes: &[u8]) -> Vec<u8> {
    let header = DataHeader {
        kind: Kind::Data as u8,
        direction,
        flags,
        prefix_length: bytes.len() as u16,
        connection,
        position,
        length: bytes.len() as u32,
        ..DataHeader::default()
    };
    [header.as_bytes(), bytes].concat()
}

fn open(connection: u64, flags: u8) -> Vec<u8> {
    let record = OpenRecord { kind: Kind::Open as u8, flags, connection, ..OpenRecord::default() };
    record.as_bytes().to_vec()
}

/// Masks records one after the other. Returns the copied bytes of those that have some.
fn mask(masks: &mut Masks, records: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut copied = Vec::new();
    for record in records {
        let mut masked = record.clone();
        let event = Event::decode(record).expect("a record");
        masks.apply(&event, &mut masked);
        assert_eq!(masked.len(), record.len());
        let (fixed, bytes) = masked.split_at(Kind::from_byte(record[0]).expect("a kind").fixed_bytes());
        assert_eq!(fixed, &record[..fixed.len()], "only copied bytes change");
        if matches!(event, Event::Data(_)) {
            copied.push(bytes.to_vec());
        }
    }
    copied
}

/// What is recorded of the parts of one direction of a new connection.
fn masked_parts(parts: &[&[u8]]) -> String {
    let mut records = vec![open(1, OPEN_BIRTH)];
    let mut position = 0;
    for part in parts {
        records.push(data(1, RECEIVE, position, 0, part));
        position += part.len() as u32;
    }
    String::from_utf8_lossy(&mask(&mut masks(), &records).concat()).into_owned()
}

fn read_all(path: &Path) -> (Vec<OwnedInput>, Unusable, Option<RecordingError>) {
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Unusable::default(), Some(error)),
    };
    let mut inputs = Vec::new();
    loop {
        match reader.next_input() {
            Ok(Some(input)) => inputs.push(input),
            Ok(None) => return (inputs, reader.unusable().clone(), None),
            Err(error) => return (inputs, reader.unusable().clone(), Some(error)),
        }
    }
}

/// A recording of these frames.
fn write_frames(path: &Path, preamble: &serde_json::Value, frames: &[(u8, Vec<u8>)]) {
    let preamble = (0, serde_json::to_vec(preamble).expect("JSON"));
    let mut plain = Vec::new();
    for (kind, bytes) in std::iter::once(&preamble).chain(frames) {
        plain.push(*kind);
        plain.extend((bytes.len() as u32).to_le_bytes());
        plain.extend(bytes);
    }
    let compressed = zstd::encode_all(&plain[..], 1).expect("compressed");
    fs::write(path, [&MAGIC[..], &compressed].concat()).expect("written");
}

#[test]
fn what_is_written_is_read_again() {
    let dir = Dir::new("round-trip");
    let path = dir.file("a");
    let mut writer = Writer::create(&path, &preamble(), None).expect("a temporary file");
    let record = data(3, SEND, 5, 0, b"bytes");
    for input in [
        Input::Event(Event::decode(&record).expect("a record")),
        Input::Listening { pid: 4, ports: &[80, 8080] },
        Input::Clock { offset_ns: -5 },
        Input::Tick { now_ns: 6 },
        Input::Malformed(Malformed::Cut(Kind::Open)),
        Input::Malformed(Malformed::UnknownKind(77)),
        Input::Excluded { pid: 9 },
    ] {
        writer.write(&OwnedInput::from(&input).as_input()).expect("written");
    }
    writer.finish().expect("written");
    let (inputs, unusable, error) = read_all(&path);
    assert!(error.is_none() && unusable.is_empty(), "{error:?} {unusable}");
    assert_eq!(Reader::open(&path).expect("a recording").preamble(), &preamble());
    assert!(matches!(&inputs[0], OwnedInput::Record(bytes) if *bytes == record));
    assert!(matches!(&inputs[1], OwnedInput::Listening(4, ports) if *ports == [80, 8080]));
    assert!(matches!(inputs[2], OwnedInput::Clock(-5)));
    assert!(matches!(inputs[3], OwnedInput::Tick(6)));
    assert!(matches!(inputs[4], OwnedInput::Malformed(Malformed::Cut(Kind::Open))));
    assert!(matches!(inputs[5], OwnedInput::Malformed(Malformed::UnknownKind(77))));
    assert!(matches!(inputs[6], OwnedInput::Excluded(9)));
    assert_eq!(inputs.len(), 7);
}

#[test]
fn records_of_other_versions_get_the_fixed_part_of_this_one() {
    let record = data(3, RECEIVE, 0, 0, b"bytes");
    let fixed = size_of::<DataHeader>();
    let sizes = |bytes| RecordSizes([(Kind::Data as u8, bytes)].into());
    let shorter = [&record[..fixed - 8], b"bytes"].concat();
    assert_eq!(sizes(fixed - 8).fit(shorter), record);
    let longer = [&record[..fixed], &[7; 16], b"bytes"].concat();
    assert_eq!(sizes(fixed + 16).fit(longer), record);
    assert_eq!(sizes(fixed).fit(record.clone()), record);
    for length in 0..fixed {
        assert!(sizes(fixed + 16).fit(record[..length].to_vec()).len() == length, "cut records stay cut");
    }
    assert_eq!(RecordSizes::default().fit(vec![99, 1, 2]), [99, 1, 2]);
}

#[test]
fn a_recording_of_a_later_agent_is_read_and_what_is_unknown_counted() {
    let dir = Dir::new("later");
    let path = dir.file("a");
    let mut preamble = serde_json::to_value(preamble()).expect("JSON");
    preamble["future"] = serde_json::json!({ "a": 1 });
    preamble["records"]["1"] = (size_of::<DataHeader>() + 8).into();
    preamble["records"]["99"] = 16.into();
    let record = data(3, RECEIVE, 0, 0, b"bytes");
    let (fixed, bytes) = record.split_at(size_of::<DataHeader>());
    write_frames(
        &path,
        &preamble,
        &[
            (frame::RECORD, [fixed, &[9; 8], bytes].concat()),
            (frame::RECORD, vec![99; 16]),
            (50, b"what a later agent tells".to_vec()),
            (50, Vec::new()),
            (frame::TICK, [&6u64.to_le_bytes()[..], b"more"].concat()),
            (frame::CLOCK, vec![1, 2]),
            (frame::FACTS, b"{\"facts\":{\"pid\":5,\"exe\":{\"path\":\"/x\"},\"new\":1}}".to_vec()),
            (frame::COUNTERS, vec![1; 8 * (tracer_common::KERNEL_COUNTERS as usize + 2)]),
            (frame::END, Vec::new()),
        ],
    );
    let (inputs, unusable, error) = read_all(&path);
    assert!(error.is_none(), "{error:?}");
    assert!(matches!(&inputs[0], OwnedInput::Record(fitted) if *fitted == record));
    assert!(matches!(inputs[1], OwnedInput::Tick(6)));
    assert!(matches!(&inputs[2], OwnedInput::Facts(facts, None) if facts.pid == 5 && facts.exe.is_empty()));
    assert!(matches!(inputs[3], OwnedInput::Counters(values) if values[0] == 0x0101_0101_0101_0101));
    assert_eq!(inputs.len(), 4);
    assert_eq!(unusable.to_string(), "1 kernel record of kind 99, 1 frame of kind 4, 2 frames of kind 50");
}

#[test]
fn a_preamble_of_version_one_and_no_other_is_read() {
    let dir = Dir::new("version");
    let path = dir.file("a");
    let preamble = serde_json::json!({ "version": 1, "agent": "0.1", "seed": 3 });
    write_frames(&path, &preamble, &[(frame::END, Vec::new())]);
    let reader = Reader::open(&path).expect("a recording");
    assert_eq!((reader.preamble().seed, &reader.preamble().records), (3, &RecordSizes::default()));
    for (preamble, expected) in [
        (serde_json::json!({ "version": 3 }), "has format 3"),
        (serde_json::json!({}), "has format 0"),
        (serde_json::json!("text"), "its preamble cannot be read"),
    ] {
        write_frames(&path, &preamble, &[]);
        let error = Reader::open(&path).err().expect("not readable").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Whatever stops the agent, a second of ticks later all before is in the file.
#[test]
fn a_recording_of_a_killed_agent_is_read_up_to_its_last_second() {
    let dir = Dir::new("killed");
    let path = dir.file("a");
    let mut writer = Writer::create(&path, &preamble(), None).expect("a temporary file");
    let second = 1_000_000_000;
    for now_ns in [second, 2 * second, 2 * second + 1] {
        writer.write(&Input::Tick { now_ns }).expect("written");
    }
    let killed = fs::read(&path).expect("readable");
    drop(writer);
    fs::write(&path, killed).expect("written");
    let (inputs, _, error) = read_all(&path);
    assert_eq!(inputs.len(), 2, "{inputs:?}");
    let Some(RecordingError::Cut { offset, .. }) = error else { panic!("{error:?}") };
    let preamble = serde_json::to_vec(&preamble()).expect("JSON").len() as u64;
    assert_eq!(offset, 5 + preamble + 2 * (5 + 8));
}

#[test]
fn a_cut_or_damaged_file_is_an_error_and_gives_what_is_before() {
    let dir = Dir::new("cut");
    let path = dir.file("a");
    let mut writer = Writer::create(&path, &preamble(), None).expect("a temporary file");
    writer.write(&Input::Tick { now_ns: 6 }).expect("written");
    writer.finish().expect("written");
    let whole = fs::read(&path).expect("readable");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("written");
        let (_, _, error) = read_all(&path);
        match error {
            Some(RecordingError::NotARecording(_)) => assert!(length < MAGIC.len()),
            Some(RecordingError::Cut { .. }) => assert!(length >= MAGIC.len()),
            // Its checksum, which says nothing of the content.
            None => assert!(length + 4 >= whole.len(), "cut at {length} went unnoticed"),
            other => panic!("cut at {length}: {other:?}"),
        }
    }
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x55;
        fs::write(&path, &bad).expect("written");
        let _ = read_all(&path);
    }
}

#[test]
fn what_stands_behind_the_end_is_an_error() {
    let dir = Dir::new("goes-on");
    let path = dir.file("a");
    let mut writer = Writer::create(&path, &preamble(), None).expect("a temporary file");
    writer.write(&Input::Tick { now_ns: 6 }).expect("written");
    writer.finish().expect("written");
    let whole = fs::read(&path).expect("readable");
    let frame = zstd::encode_all(&b"more"[..], 1).expect("compressed");
    for behind in [&whole[..], &frame, b"more bytes than a checksum"] {
        fs::write(&path, [&whole, behind].concat()).expect("written");
        let (inputs, _, error) = read_all(&path);
        assert!(matches!(inputs[..], [OwnedInput::Tick(6)]), "{inputs:?}");
        assert!(matches!(error, Some(RecordingError::GoesOn(_))), "{error:?}");
    }
}

/// A file that takes so many bytes and then no more: a disk that runs full, also in the middle of a write.
struct Disk {
    file: fs::File,
    left: usize,
}

impl io::Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(self.left)];
        if part.is_empty() && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.left -= part.len();
        self.file.write_all(part)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_recording_on_a_full_disk_is_read_up_to_its_last_second() {
    let dir = Dir::new("full");
    let path = dir.file("a");
    let second = 1_000_000_000;
    for room in [600, 2_000, 9_000, 40_000] {
        let disk = Disk { file: create(&path).expect("created"), left: room };
        let mut writer = Writer::to(Box::new(disk), &path, &preamble(), None).expect("there is room");
        let mut noise = 1u64;
        // Ten records a second, each of them hard to compress.
        let written = (1u64..).find_map(|n| {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (noise >> 33) as u8
                })
                .collect();
            let record = data(3, SEND, 0, 0, &bytes);
            let event = Event::decode(&record).expect("a record");
            let outcome = writer
                .write(&Input::Event(event))
                .and_then(|()| writer.write(&Input::Tick { now_ns: n * second / 10 }));
            outcome.err().map(|error| (n, error.to_string()))
        });
        let (written, error) = written.expect("the disk is full");
        assert!(error.contains("no storage space"), "{error}");
        drop(writer);
        let (inputs, _, error) = read_all(&path);
        assert!(matches!(error, Some(RecordingError::Cut { .. })), "{error:?}");
        // What was not flushed was at most a second.
        assert!(inputs.len() as u64 + 2 * 12 >= 2 * written, "{} of {written} twice", inputs.len());
    }
}

#[test]
fn the_file_is_private_whatever_was_there() {
    let dir = Dir::new("private");
    let path = dir.file("a");
    fs::write(&path, "what was there before, longer than a recording".repeat(100)).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    Writer::create(&path, &preamble(), None).expect("created").finish().expect("written");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(read_all(&path).2.is_none());
}

#[test]
fn only_a_regular_file_becomes_a_recording() {
    let dir = Dir::new("target");
    let (file, link, fifo) = (dir.file("file"), dir.file("link"), dir.file("fifo"));
    fs::write(&file, "precious").expect("written");
    symlink(&file, &link).expect("linked");
    symlink(dir.file("nowhere"), dir.file("dangling")).expect("linked");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    for (path, expected) in [
        (link, "a symbolic link"),
        (dir.file("dangling"), "a symbolic link"),
        (fifo, "a FIFO"),
        (dir.0.clone(), "a directory"),
        ("/dev/null".into(), "a device"),
    ] {
        let error = Writer::create(&path, &preamble(), None).err().expect("refused");
        assert!(matches!(error, RecordingError::Target { found, .. } if found == expected), "{error}");
    }
    assert_eq!(fs::read_to_string(&file).expect("there"), "precious");
    assert!(!dir.file("nowhere").exists());
}

#[test]
fn credentials_are_masked_at_equal_length_however_cut() {
    const HEAD: &str = "GET /a?x=1&token=abc&y=2 HTTP/1.1\r\nAuthorization: Bearer abc\r\n folded\r\nAccept: x\r\n\
                        COOKIE : a=b\r\nLocation: http://me:pw@h/?sig=1\r\n\r\n";
    const EXPECTED: &str = "GET /a?x=1&token=***&y=2 HTTP/1.1\r\nAuthorization: ****** ***\r\n ******\r\nAccept: *\r\n\
                            COOKIE : ***\r\nLocation: http://*****@h/?sig=*\r\n\r\n";
    assert_eq!(masked_parts(&[HEAD.as_bytes()]), EXPECTED);
    for cut in 6..HEAD.len() {
        let (first, second) = HEAD.as_bytes().split_at(cut);
        let masked = masked_parts(&[first, second]);
        let credentials = ["abc", "Bearer", "folded", "a=b", "me:pw", "sig=1"];
        assert!(!credentials.iter().any(|secret| masked.contains(secret)), "cut at {cut}: {masked}");
        assert_eq!(masked.len(), EXPECTED.len());
    }
    let bytes: Vec<&[u8]> = HEAD.as_bytes().chunks(1).collect();
    let masked = masked_parts(&bytes);
    assert!(
        // Of a name that may become another, only the beginning of one that is read stays.
        masked.starts_with("GET /a?x=1&token=***&y=2 HTTP/1.1\r\nA************: ****** ***\r\n"),
        "{masked}"
    );
}

#[test]
fn only_fields_that_are_read_keep_their_values() {
    for (line, expected) in [
        ("X-Vault-Token: secret", "X-Vault-Token: ******"),
        ("Private-Token:secret", "Private-Token:******"),
        ("X-Amz-Security-Token \t: a b", "X-Amz-Security-Token \t: * *"),
        ("X-Anything: secret", "X-Anything: ******"),
        ("Referer: http://me:pw@h/", "Referer: ***************"),
        ("no colon secret", "** ***** ******"),
        ("a b secret: x", "* * ******: *"),
        ("X\u{1}Token: secret", "*******: ******"),
        ("\tsecret", "\t******"),
        ("Host: me:secret@h:8080", "Host: *********@h:8080"),
        ("Host: h:8080", "Host: h:8080"),
        ("User-Agent: curl/8", "User-Agent: curl/8"),
        ("Host: a\rX: secret", "Host: a\r** ******"),
        ("Location: /a#access_token=secret", "Location: /a#access_token=******"),
        ("Location: //me:secret@h/a;sid=1", "Location: //*********@h/a;sid=*"),
        ("X-Listed: /a?x=1&token=secret", "X-Listed: /a?x=1&token=******"),
        ("traceparent: 00-1", "traceparent: 00-1"),
        ("Content-Length : 0", "Content-Length : 0"),
        ("Content-\u{1}Length: 0", "Content-\u{1}Length: *"),
        ("Transfer-Encoding: gzip,\r\n chunked", "Transfer-Encoding: gzip,\r\n chunked"),
    ] {
        let head = |line: &str| format!("GET / HTTP/1.1\r\n{line}\r\n\r\n");
        assert_eq!(masked_parts(&[head(line).as_bytes()]), head(expected));
    }
    for (first, expected) in [
        ("GET me:secret@h/a HTTP/1.1", "GET **:******@h/a HTTP/1.1"),
        ("GET //me:secret@h/a HTTP/1.1", "GET //*********@h/a HTTP/1.1"),
        ("GET /a#idToken=secret HTTP/1.1", "GET /a#idToken=****** HTTP/1.1"),
        ("GET /a b?token=secret x HTTP/1.1", "GET /a b?token=****** * HTTP/1.1"),
        ("CONNECT me:secret@h:443 HTTP/1.1", "CONNECT *********@h:443 HTTP/1.1"),
        ("HTTP/1.1 200 secret reason", "HTTP/1.1 200 ****** ******"),
    ] {
        let head = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(masked_parts(&[head(first).as_bytes()]), head(expected));
    }
}

#[test]
fn a_small_body_with_a_password_is_not_recorded() {
    let request = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\r\nuser=me&password=correct-ho";
    assert!(!masked_parts(&[request.as_bytes()]).contains("password"));
    let (head, body) = request.split_once("\r\n\r\n").expect("a body");
    let apart = masked_parts(&[head.as_bytes(), b"\r\n\r\n", body.as_bytes()]);
    assert_eq!(apart, format!("{head}\r\n\r\n{}", "\0".repeat(27)));
}

#[test]
fn of_a_command_line_the_name_stays() {
    let dir = Dir::new("command-line");
    let facts = ProcessFacts {
        pid: 5,
        exe: "/usr/bin/python3".to_owned(),
        command_line: ["python3", "/srv/shop.py", "--password=hunter2", "hunter2"]
            .map(str::to_owned)
            .to_vec(),
        ..ProcessFacts::default()
    };
    for (masks, expected) in [
        (Some(masks()), ["*", "*/shop.py", "--*", "*"].map(str::to_owned).to_vec()),
        (None, facts.command_line.clone()),
    ] {
        let path = dir.file("a");
        let mut writer = Writer::create(&path, &preamble(), masks).expect("created");
        writer.write(&Input::Facts { facts: &facts, rule: None }).expect("written");
        writer.finish().expect("written");
        let (inputs, ..) = read_all(&path);
        let [OwnedInput::Facts(read, None)] = &inputs[..] else { panic!("{inputs:?}") };
        assert_eq!(**read, ProcessFacts { command_line: expected, ..facts.clone() });
    }
}

#[test]
fn bodies_leave_their_lengths_and_chunked_ones_their_framing() {
    let requests = "POST /a HTTP/1.1\r\nContent-Length: 6\r\n\r\nsecretGET /b HTTP/1.1\r\n\r\n";
    let masked = masked_parts(&[requests.as_bytes()]);
    assert_eq!(masked, requests.replace("secret", &"\0".repeat(6)));
    let chunked =
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n6;a=b\r\nsecret\r\n0\r\nT: x\r\n\r\n";
    let masked = masked_parts(&[chunked.as_bytes(), b"GET /b HTTP/1.1\r\n\r\n"]);
    let expected =
        chunked.replace("a=b", "\0\0\0").replace("secret", &"\0".repeat(6)).replace("T: x", "\0\0\0\0");
    assert_eq!(masked, expected + "GET /b HTTP/1.1\r\n\r\n");
}

#[test]
fn of_other_protocols_and_behind_an_upgrade_only_lengths_stay() {
    assert_eq!(masked_parts(&[b"AUTH secret\r\n", b"GET key\r\n"]), "\0".repeat(22));
    assert_eq!(masked_parts(&[b"AUTH secret"]), "\0".repeat(11));
    assert_eq!(masked_parts(&[b"\x16\x03\x01\x02\0secret"]).as_bytes(), b"\x16\x03\x01\0\0\0\0\0\0\0\0");
    let mut masks = masks();
    let request = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
    let response = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let masked = mask(
        &mut masks,
        &[
            open(1, OPEN_BIRTH),
            data(1, RECEIVE, 0, FLAG_TURN, request),
            data(1, SEND, 0, FLAG_TURN, response),
            data(1, SEND, response.len() as u32, 0, b"secret"),
            data(1, RECEIVE, request.len() as u32, FLAG_TURN, b"GET /secret HTTP/1.1\r\n\r\n"),
        ],
    );
    assert_eq!(masked[0], request);
    assert_eq!(masked[1], b"HTTP/1.1 101 ********* *********\r\n\r\n");
    assert_eq!(masked[2..], [vec![0; 6], vec![0; 24]]);
}

#[test]
fn after_a_gap_nothing_stays_before_a_message_begins() {
    let mut masks = masks();
    let masked = mask(
        &mut masks,
        &[
            open(1, OPEN_BIRTH),
            data(1, RECEIVE, 0, FLAG_TURN, b"GET / HTTP/1.1\r\nCookie: a"),
            data(1, RECEIVE, 30, 0, b"cret\r\nAccept: x\r\n\r\n"),
            data(1, RECEIVE, 25, 0, b"=hidden"),
            data(1, RECEIVE, 49, FLAG_TURN, b"GET /b?token=c HTTP/1.1\r\n\r\n"),
        ],
    );
    assert_eq!(masked[0], b"GET / HTTP/1.1\r\nCookie: *");
    assert_eq!(masked[1..3], [vec![0; 19], vec![0; 7]]);
    assert_eq!(masked[3], b"GET /b?token=* HTTP/1.1\r\n\r\n");
}

#[test]
fn a_connection_that_was_closed_is_forgotten_later() {
    let mut masks = masks();
    let close =
        CloseRecord { kind: Kind::Close as u8, state: CLOSE_ALL, connection: 1, ..CloseRecord::default() };
    let late = data(1, RECEIVE, 0, 0, b"GET /late HTTP/1.1\r\n\r\n");
    let masked = mask(&mut masks, &[open(1, OPEN_BIRTH), close.as_bytes().to_vec(), late.clone()]);
    assert_eq!(masked[0], b"GET /late HTTP/1.1\r\n\r\n");
    for turn in 1..=2 {
        masks.tick(turn * 20_000_000_000);
    }
    assert_eq!(mask(&mut masks, &[late])[0], [0; 22]);
}

/// The spans of a masked recording are those of the traffic.
#[test]
fn masked_recordings_give_the_same_spans() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in ["tests/recordings/curl", "tests/recordings/node", "tests/recordings/python"] {
        let path = root.join(name).with_extension("rec");
        let dir = Dir::new(&name.replace('/', "-"));
        let again = dir.file("again");
        let mut reader = Reader::open(&path).expect("a recording");
        let header = Preamble { records: RecordSizes::current(), ..reader.preamble().clone() };
        let mut writer = Writer::create(&again, &header, Some(masks())).expect("created");
        while let Some(input) = reader.next_input().expect("whole") {
            writer.write(&input.as_input()).expect("written");
        }
        writer.finish().expect("written");
        let spans = |path: &Path| {
            let mut replayed = crate::bench::LoadedRecording::open(path).expect("a recording");
            let count = replayed.keep_spans();
            assert!(count > 0);
            format!("{:#?}", replayed.spans())
        };
        assert_eq!(spans(&again), spans(&path), "{name}");
    }
}

/// A field, a target or a body that holds a secret, and what stands around it.
fn secret_head(place: usize, secret: &str) -> String {
    let (target, field) = match place {
        0 => ("/a", format!("Authorization: Bearer {secret}")),
        1 => ("/a", format!("cookie: a=1; session={secret}; b=2")),
        2 => ("/a", format!("Proxy-Authorization: Basic\r\n\t{secret}")),
        3 => ("/a", format!("X-Api-Key:{secret}")),
        4 => ("/a", format!("X-Session-Token : {secret}")),
        5 => ("/a", format!("Referer: http://user:{secret}@host/a")),
        6 => ("/a?x=1&access_token=SECRET&y=2", String::new()),
        7 => ("http://user:SECRET@host/a?x", String::new()),
        8 => ("/a?next=%2Fb%3Fpassword%3DSECRET&y=2", String::new()),
        9 => ("/a;jsessionid=SECRET/b", String::new()),
        10 => ("/a", format!("X-Vault-Token: {secret}")),
        11 => ("/a", format!("X-Whatever: {secret}")),
        12 => ("/a#idToken=SECRET", String::new()),
        13 => ("//user:SECRET@host/a", String::new()),
        14 => ("user:SECRET@host/a", String::new()),
        15 => ("/a b?clientSecret=SECRET c", String::new()),
        16 => ("/a", format!("Host: user:{secret}@host")),
        17 => ("/a", secret.to_owned()),
        18 => ("/a", format!("Accept: */*\r\n {secret}: x")),
        19 => ("/a", format!("Location: /a?x=1&SAMLResponse={secret}")),
        _ => ("/a", format!("Content-Length: {}\r\n\r\n{secret}", secret.len())),
    };
    let end = if place > 19 { "" } else { "\r\n\r\n" };
    let field = if field.is_empty() { "Accept: */*" } else { &field };
    format!("POST {target} HTTP/1.1\r\nHost: a\r\n{field}{end}").replace("SECRET", secret)
}

proptest::proptest! {
    #[test]
    fn a_secret_never_reaches_the_file(
        place in 0usize..21,
        secret in "[A-Za-z0-9._~+-]{1,8}[QZ]{12}[A-Za-z0-9]{0,8}",
        cuts in proptest::collection::vec(0usize..200, 0..6),
        lost in proptest::option::of(0usize..6),
        again in 0usize..3,
        is_birth: bool,
    ) {
        let head = secret_head(place, &secret);
        let stream = head.repeat(again + 1).into_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < stream.len()).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut records = vec![open(1, if is_birth { OPEN_BIRTH } else { 0 })];
        for (index, part) in cuts.windows(2).enumerate() {
            if lost != Some(index) {
                let flags = if index == 0 { FLAG_TURN } else { 0 };
                records.push(data(1, RECEIVE, part[0] as u32, flags, &stream[part[0]..part[1]]));
            }
        }
        let dir = Dir::new("property");
        let path = dir.file("a");
        let mut writer = Writer::create(&path, &preamble(), Some(masks())).expect("created");
        for record in &records {
            writer.write(&Event::decode(record).into()).expect("written");
        }
        writer.finish().expect("written");
        let plain = zstd::decode_all(&fs::read(&path).expect("there")[MAGIC.len()..]).expect("zstd");
        // No part of it either: the letters stand in nothing else.
        let leaked = plain.windows(3).any(|window| window.iter().all(|byte| matches!(byte, b'Q' | b'Z')));
        proptest::prop_assert!(!leaked, "{}", plain.escape_ascii());
    }

    #[test]
    fn any_bytes_are_masked_without_panic(parts: Vec<(bool, Vec<u8>)>, is_birth: bool) {
        let mut records = vec![open(1, if is_birth { OPEN_BIRTH } else { 0 })];
        let mut positions = [0u32; 2];
        for (is_sent, bytes) in parts {
            let position = &mut positions[usize::from(is_sent)];
            records.push(data(1, u8::from(is_sent), *position, 0, &bytes));
            *position += bytes.len() as u32;
        }
        mask(&mut masks(), &records);
    }
}

#[test]
fn no_word_of_a_process_s_memory_is_recorded_and_equal_ones_stay_equal() {
    let mut run = RunRecord { kind: Kind::Run as u8, phase: 3, watcher: 7, ..RunRecord::default() };
    run.stack[0] = 7;
    run.stack[2] = 9;
    let mut record = run.as_bytes().to_vec();
    masks().apply(&Event::decode(run.as_bytes()).expect("a record"), &mut record);
    let Some(Event::Run(masked)) = Event::decode(&record).ok() else { panic!("a run") };
    let masked = masked.record();
    assert_eq!((masked.stack[0], masked.stack[1]), (masked.watcher, 0));
    assert!(![0, 7, 9].contains(&masked.watcher) && masked.stack[2] != masked.watcher);
    assert!(![0, 3].contains(&masked.phase));
}
