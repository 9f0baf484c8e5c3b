//! Go programs, however they are built, and what is linked in them.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    thread,
};

use tracer_agent::process::go;
use tracer_common::TaskPlan;
use tracer_tests::{
    Agent,
    programs::{Program, ask, go_service, run},
    receiver::{Received, Receiver},
    tracer, wait_until,
};

/// Requests at once.
const AT_ONCE: u32 = 8;
/// Calls for each request of the way `fan-out`.
const CALLS: usize = 8;

/// The client requests of a service that hang on the right server request, and the evidence of each.
fn linked(spans: &[Received]) -> Vec<String> {
    let number = |span: &Received| span.path().split('/').nth(2).map(str::to_owned);
    let calls = spans.iter().filter(|span| !span.is_server() && !span.span.parent_span_id.is_empty());
    calls
        .map(|call| {
            let parent = spans.iter().find(|span| span.span.span_id == call.span.parent_span_id);
            let parent = parent.unwrap_or_else(|| panic!("{} hangs on nothing", call.path()));
            assert_eq!(number(parent), number(call), "{} hangs on {}", call.path(), parent.path());
            call.attribute("tracer.link.evidence").expect("each link has its evidence")
        })
        .collect()
}

/// Traces a Go service while `work` asks for `count` numbers. Returns the evidence of the links.
fn trace(program: &str, way: &str, count: usize, calls: usize, work: impl FnOnce(u16)) -> Vec<String> {
    let backend = Program::backend_on("127.0.0.1");
    let service = Program::of_way(&[program], way, &format!("127.0.0.1:{}", backend.port));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[service.pid()], &receiver);
    work(service.port);
    wait_until("all spans", || receiver.count() >= count * (1 + calls));
    agent.stop();
    linked(&receiver.spans())
}

fn explained(program: &str) -> String {
    let service = Program::of_way(&[program], "goroutines", "127.0.0.1:9");
    let pid = service.pid().to_string();
    // It is not traced: the status tells that.
    let said = Command::new(tracer()).args(["doctor", "--socket", "/nowhere", "--pid", &pid]).output();
    String::from_utf8(said.expect("runs").stdout).expect("text")
}

#[test]
fn goroutines_are_read_whether_a_program_is_stripped_can_be_moved_or_is_linked_by_c() {
    let stripped = "-ldflags=-s -w";
    for (name, flags) in [
        ("stripped", vec![stripped]),
        ("moved", vec!["-buildmode=pie"]),
        ("stripped-moved", vec!["-buildmode=pie", stripped]),
        // The C linker puts code of its own before Go's.
        ("linked-by-c", vec!["-ldflags=-s -w -linkmode=external"]),
    ] {
        let program = go_service(name, &flags);
        let evidence = trace(&program, "fan-out", 80, CALLS, |port| ask(port, 0, 80, AT_ONCE));
        let children = evidence.iter().filter(|evidence| *evidence == "goroutine-child").count();
        // The first ones may be linked by "The only request", and a caller may not wait yet when it is read.
        let calls = 80 * CALLS;
        assert!(children >= calls * 95 / 100, "{name}: {children} of {calls}");
        assert!(evidence.len() >= calls * 98 / 100, "{name}: {} of {calls}", evidence.len());
    }
}

#[test]
fn a_request_whose_first_byte_another_goroutine_reads_is_its_own_goroutines() {
    let program = go_service("service", &[]);
    let evidence = trace(&program, "goroutines", 160, 2, |port| {
        thread::scope(|scope| {
            for client in 0..AT_ONCE {
                scope.spawn(move || pipeline(port, client * 100, 20));
            }
        });
    });
    let own = evidence.iter().filter(|evidence| *evidence == "goroutine").count();
    assert!(own >= 320 * 95 / 100, "{own} of 320");
}

/// Sends each request when the one before is being worked on.
fn pipeline(port: u16, first: u32, count: u32) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let mut received = String::new();
    for n in first..first + count {
        let request = format!("GET /r/{n} HTTP/1.1\r\nHost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        thread::sleep(std::time::Duration::from_micros(u64::from(n % 7) * 200));
    }
    let mut buffer = [0; 4096];
    while received.matches("ok\n").count() < count as usize {
        let length = stream.read(&mut buffer).expect("answered");
        assert!(length > 0, "{received}");
        received.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

#[test]
fn a_version_of_go_that_is_not_known_is_told_and_linked_as_other_programs() {
    let program = go_service("service", &[]);
    let mut bytes = fs::read(&program).expect("built");
    let text = explained(&program);
    assert!(text.contains("its goroutines are read"), "{text}");
    // In `.go.buildinfo` the length stands before the version.
    let version: Vec<u8> = {
        let at = text.find("built by Go ").expect("told") + "built by Go ".len();
        text[at..].bytes().take_while(|byte| *byte != b',').collect()
    };
    let marker = [b"\xff Go buildinf:".as_slice()].concat();
    let info = bytes.windows(marker.len()).position(|window| window == marker).expect("Go's mark");
    let place = info + 33;
    let found = &bytes[place..place + 2 + version.len()];
    assert_eq!(found, [b"go", &version[..]].concat());
    bytes[place + 4..place + 6].copy_from_slice(b"99");
    let unknown = format!("{program}-unknown");
    fs::write(&unknown, bytes).expect("written");
    run(Command::new("chmod").arg("755").arg(&unknown));
    let text = explained(&unknown);
    assert!(text.contains("of which goroutines are not read"), "{text}");
    let evidence = trace(&unknown, "goroutines", 20, 2, |port| ask(port, 0, 20, 1));
    assert!(
        evidence.iter().all(|evidence| evidence == "sole-request") && evidence.len() >= 20,
        "{evidence:?}"
    );
}

#[test]
fn a_damaged_executable_is_read_or_refused() {
    let whole = fs::read(go_service("stripped", &["-ldflags=-s -w"])).expect("built");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        // Whatever it says, it ends.
        go::read(&fs::File::open(&path).expect("there"), || Some(0))
    };
    let intact = read(&whole).expect("readable").expect("Go built it");
    let Some(TaskPlan::Go(plan)) = intact.plan else { panic!("{intact:?}") };
    assert!(plan.write_loop != 0 && plan.last_id != 0, "{plan:?}");
    for cut in [0, 1, 15, 63, 64, 100, 4096, whole.len() / 2, whole.len() - 1] {
        let _ = read(&whole[..cut]);
    }
    // Tables and texts of any length are claimed at no cost in a file with holes. None of it is read.
    let mut claims = whole[..64].to_vec();
    claims[60..62].fill(0);
    claims.resize(4096, 0);
    claims[40..48].copy_from_slice(&64_u64.to_le_bytes());
    claims[64 + 32..64 + 40].copy_from_slice(&(1_u64 << 25).to_le_bytes());
    fs::write(&path, &claims).expect("written");
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).expect("there");
    file.set_len(3 << 30).expect("with holes");
    assert!(go::read(&file, || Some(0)).expect("readable").is_none());
    drop(file);
    let word = |at: usize| usize::from_le_bytes(whole[at..at + 8].try_into().expect("eight bytes"));
    // The file's header, its table of sections, the head of the table of functions.
    let mut places: Vec<usize> = (0..64).chain(word(40)..word(40) + 1024).collect();
    let functions = [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    let table = whole.windows(8).position(|bytes| bytes == functions).expect("the table of functions");
    places.extend(table..table + 256);
    let mut seed = 1_u64;
    for at in places {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if seed >> 62 != 0 {
            continue;
        }
        let mut bytes = whole.clone();
        for (n, byte) in bytes[at..(at + 8).min(whole.len())].iter_mut().enumerate() {
            *byte = (seed >> (8 * n)) as u8;
        }
        let _ = read(&bytes);
    }
}
