//! What is wrong, as a person is told it: of saved traces, and of what comes in.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tracer_tests::{
    Folder,
    programs::{curl, free_port},
    tracer, wait_until,
};

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
/// Seconds of traffic, requests in a second, and from which second on the fault is there.
const LENGTH_S: u64 = 90;
const RATE: u64 = 20;
const FAULT_S: u64 = 60;

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_nanos()).expect("it is before 2554")
}

/// Requests of `shop` to `prices`, one OTLP request for each second; `prices` takes so much longer in the end.
fn traffic(start_ns: u64, slower_ns: u64) -> Vec<String> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % most
    };
    let of_service = |service: &str, spans: Vec<Value>| {
        let name = json!({"key": "service.name", "value": {"stringValue": service}});
        json!({"resource": {"attributes": [name]}, "scopeSpans": [{"spans": spans}]})
    };
    let seconds = (0..LENGTH_S).map(|second| {
        let (mut shop, mut prices) = (Vec::new(), Vec::new());
        for request in 0..RATE {
            let number = second * RATE + request + 1;
            let start_ns = start_ns + second * S + request * S / RATE;
            let work_ns = 5 * MS + random(3 * MS) + if second >= FAULT_S { slower_ns } else { 0 };
            let span = |id: u64, parent: u64, name: &str, kind: u8, from_ns: u64, to_ns: u64| {
                let parent = if parent == 0 { String::new() } else { format!("{parent:016x}") };
                json!({
                    "traceId": format!("{number:032x}"), "spanId": format!("{id:016x}"), "parentSpanId": parent,
                    "name": name, "kind": kind,
                    "startTimeUnixNano": (start_ns + from_ns).to_string(),
                    "endTimeUnixNano": (start_ns + to_ns).to_string(),
                })
            };
            let end_ns = 2 * MS + work_ns;
            shop.push(span(1, 0, "GET /cart", 2, 0, end_ns + 2 * MS));
            shop.push(span(2, 1, "GET /price", 3, MS, end_ns + MS));
            prices.push(span(3, 2, "GET /price", 2, 2 * MS, end_ns));
        }
        json!({"resourceSpans": [of_service("shop", shop), of_service("prices", prices)]}).to_string()
    });
    seconds.collect()
}

fn report(arguments: &[&str]) -> Output {
    Command::new(tracer()).arg("report").args(arguments).output().expect("it runs")
}

#[test]
fn a_report_of_saved_traces_names_the_cause_and_fails_a_pipeline_if_that_is_wanted() {
    let folder = Folder::new();
    let save = |name: &str, lines: Vec<String>| {
        let path = folder.file(name);
        fs::write(&path, lines.join("\n")).expect("written");
        path.display().to_string()
    };
    let (slow, well) =
        (save("slow", traffic(1_790_000_000 * S, 20 * MS)), save("well", traffic(1_790_000_000 * S, 0)));
    let few = save("few", traffic(1_790_000_000 * S, 0).into_iter().take(2).collect());

    let told = report(&["--json", "--fail-on-finding", &slow]);
    assert_eq!(told.status.code(), Some(3), "{told:?}");
    let answer: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(answer["sample"]["traces"], LENGTH_S * RATE);
    let [finding] = answer["findings"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        panic!("one finding: {answer}")
    };
    assert_eq!((&finding["kind"], &finding["service"]), (&json!("slower"), &json!("prices")));
    assert_eq!(finding["services"], json!(["shop"]), "who feels it");
    let onset_s = finding["onset_unix_us"].as_u64().map(|us| us / 1_000_000);
    assert_eq!(onset_s, Some(1_790_000_000 + FAULT_S));
    let trace = finding["exemplars"][0]["trace_id"].as_str().and_then(|id| u64::from_str_radix(id, 16).ok());
    assert!(trace.is_some_and(|number| number > FAULT_S * RATE), "a trace of the fault: {finding}");

    let told = report(&[&slow]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(0), "{text}");
    assert!(text.contains("prices at GET /price: it became slower by its own work"), "{text}");

    let told = report(&["--fail-on-finding", &well]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(0), "{text}");
    assert!(text.contains("nothing is wrong, as far as these traces tell"), "{text}");

    let text = String::from_utf8_lossy(&report(&[&few]).stdout).into_owned();
    assert!(text.contains("40 traces are too few"), "{text}");
}

#[test]
fn a_comparison_of_saved_traces_tells_the_change_and_fails_a_pipeline_if_that_is_wanted() {
    let folder = Folder::new();
    let save = |name: &str, start_s: u64, slower_ns: u64| {
        let path = folder.file(name);
        fs::write(&path, traffic(start_s * S, slower_ns).join("\n")).expect("written");
        path.display().to_string()
    };
    let (before, after) = (save("before", 1_790_000_000, 0), save("after", 1_790_001_000, 20 * MS));
    let compare =
        |arguments: &[&str]| Command::new(tracer()).arg("compare").args(arguments).output().expect("it runs");

    // Of the last file only the last third is slow: windows tell it apart.
    let windows = ["--before", "-90s..-31s", "--after", "-30s..", "--fail-on-worse", &after];
    let told = compare(&[&["--json"], &windows[..]].concat());
    assert_eq!(told.status.code(), Some(3), "{told:?}");
    let answer: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!((&answer["verdict"], &answer["after"]["requests"]), (&json!("worse"), &json!(30 * RATE * 2)));
    let worse: Vec<&Value> = answer["operations"]
        .as_array()
        .map(|rows| {
            rows.iter().filter(|row| row["verdict"] == "worse").map(|row| &row["operation"]["service"])
        })
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(worse, ["prices"], "shop waits only: {answer}");
    let told = compare(&[&["--markdown"], &windows[..]].concat());
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(text.starts_with("### Worse: `-90s..-31s` → `-30s..`\n"), "{text}");
    assert!(text.contains("\n| worse | `prices` `GET /price` | "), "{text}");

    let told = compare(&["--before", &before, "--after", &before, "--fail-on-worse"]);
    assert_eq!(told.status.code(), Some(2), "the same twice: {told:?}");
    let well = save("well", 1_790_002_000, 0);
    let told = compare(&["--before", &before, "--after", &well, "--fail-on-worse"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(0), "{text}");
    assert!(text.contains("● unchanged: Nothing changed by more than 10 % or 200 µs"), "{text}");
    let told = compare(&["--before", "shop@1", "--after", "shop@2", &well]);
    assert_eq!(told.status.code(), Some(1), "no versions: {told:?}");
    let error = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(error.contains("--before shop@1: there is no request of it"), "{error}");
}

/// A viewer that takes OTLP; ended when this is dropped.
struct View(Child);

impl Drop for View {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_incident_is_told_once_to_a_webhook_and_on_the_page() {
    let hook = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", hook.local_addr().expect("bound"));
    let (sender, messages) = mpsc::channel();
    thread::spawn(move || {
        for stream in hook.incoming() {
            let mut stream = stream.expect("a client");
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request);
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                if let Some(message) = body.and_then(|body| serde_json::from_str::<Value>(&body).ok()) {
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                    let _ = sender.send(message);
                    break;
                }
            }
        }
    });
    let folder = Folder::new();
    let (page, otlp) = (free_port(), free_port());
    let view = Command::new(tracer())
        .args(["view", "--listen", &format!("127.0.0.1:{page}"), "--otlp-http", &format!("127.0.0.1:{otlp}")])
        .args(["--otlp-grpc", &format!("127.0.0.1:{}", free_port()), "--incident-webhook", &url])
        .stdin(Stdio::null())
        .stderr(fs::File::create(folder.file("log")).expect("a file"))
        .spawn();
    let _view = View(view.expect("it starts"));
    wait_until("the viewer answers", || std::net::TcpStream::connect(("127.0.0.1", otlp)).is_ok());
    let start_ns = now_ns() - (LENGTH_S + 10) * S;
    for request in traffic(start_ns, 20 * MS) {
        let body = folder.file("body");
        fs::write(&body, request).expect("written");
        let to = format!("http://127.0.0.1:{otlp}/v1/traces");
        let data = format!("@{}", body.display());
        curl(&["--fail", "--header", "content-type: application/json", "--data-binary", &data, &to]);
    }
    let message = messages.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| {
        panic!("no message; the log: {}", fs::read_to_string(folder.file("log")).unwrap_or_default())
    });
    assert_eq!((&message["event"], &message["incident"]["number"]), (&json!("opened"), &json!(1)));
    let finding = &message["incident"]["finding"];
    assert_eq!((&finding["kind"], &finding["service"]), (&json!("slower"), &json!("prices")));
    let answer: Value =
        serde_json::from_str(&curl(&[&format!("http://127.0.0.1:{page}/api/tracer/analysis/incidents")]))
            .expect("JSON");
    assert_eq!((&answer["is_watching"], &answer["incidents"][0]["number"]), (&json!(true), &json!(1)));
    assert_eq!(answer["incidents"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_cut_off_a_file_is_told_and_odd_names_are_read_back() {
    let folder = Folder::new();
    let span = |id: u64, parent: &str, kind: u8| {
        json!({
            "traceId": format!("{:032x}", 7), "spanId": format!("{id:016x}"), "parentSpanId": parent, "name": "GET /",
            "kind": kind, "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000001000000",
        })
    };
    let of = |service: &str, span: Value| {
        let name = json!({"key": "service.name", "value": {"stringValue": service}});
        json!({"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [span]}]})
    };
    let line = json!({"resourceSpans": [
        of("caf\u{200b}e \"x\"", span(1, "", 3)), of("stock", span(2, "0000000000000001", 2)),
    ]});
    let traces = folder.file("traces.jsonl");
    fs::write(&traces, format!("{line}\n{}", &line.to_string()[..100])).expect("written");
    let run = |arguments: &[&str]| {
        let output =
            Command::new(tracer()).arg("map").args(arguments).arg(&traces).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, yaml, told) = run(&["--format", "yaml"]);
    assert_eq!(code, Some(0));
    assert!(told.contains("Line 2, the last, is cut. It was left out."), "{told}");
    let declared = folder.file("declared.yaml");
    fs::write(&declared, &yaml).expect("written");
    let (code, differences, _) = run(&["--check", &declared.display().to_string()]);
    assert_eq!(code, Some(0), "{yaml}\n{differences}");
    let (_, metrics, _) = run(&["--format", "metrics"]);
    assert!(metrics.contains("client=\"caf\u{200b}e \\\"x\\\"\""), "{metrics}");
}
