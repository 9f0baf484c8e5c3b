//! The viewer as a person gets it: the agent's traces on a page, traces of an SDK by OTLP, saved traces.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tracer_tests::{
    Agent, Folder, let_pass,
    programs::{Program, ask, curl, free_port, run},
    receiver::Receiver,
    tracer, wait_until,
};

/// What the viewer's API answers.
fn get(port: u16, path: &str) -> Value {
    let answer = curl(&["--globoff", &format!("http://127.0.0.1:{port}/api/tracer/{path}")]);
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
}

/// The traces that a query finds.
fn search(port: u16, query: &str) -> Vec<Value> {
    get(port, &format!("search?limit=1000&q={}", query.replace(' ', "%20")))["traces"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

/// `tracer view` with these arguments; ended when this is dropped.
struct View {
    child: Child,
    port: u16,
    _folder: Folder,
}

impl View {
    fn start(arguments: &[&str]) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let log = fs::File::create(folder.file("log")).expect("a file");
        let listen = format!("127.0.0.1:{port}");
        let mut child = Command::new(tracer())
            .args(["view", "--listen", &listen])
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        wait_until("the viewer answers", || {
            let ended = child.try_wait().expect("our child");
            assert!(ended.is_none(), "{}", fs::read_to_string(folder.file("log")).unwrap_or_default());
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { child, port, _folder: folder }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both services of a chain, traced and shown on this port.
fn traced(port: u16, more: &[&str]) -> (Agent, Program, Program) {
    let prices = Program::node();
    let service = Program::asking("/usr/bin/python3", "threads.py", &prices.url(""));
    let (pids, listen) =
        ([service.pid(), prices.pid()].map(|pid| pid.to_string()), format!("127.0.0.1:{port}"));
    let mut arguments = vec!["--output", "none", "--listen", &listen, "--pid", &pids[0], "--pid", &pids[1]];
    arguments.extend(more);
    (Agent::start(&arguments), service, prices)
}

#[test]
fn the_agents_traces_are_shown_whole_with_their_evidence_and_what_it_costs() {
    let port = free_port();
    let (agent, service, _prices) = traced(port, &[]);
    ask(service.port, 1000, 20, 1);
    wait_until("every span is there", || get(port, "status")["store"]["spans"] == 20 * 3);
    assert_eq!(get(port, "status")["store"]["traces"], 20);
    let traces = search(port, "url.path=/price/1007");
    let [trace] = &traces[..] else { panic!("{traces:?}") };
    assert_eq!((&trace["root_service"], &trace["spans"]), (&"threads".into(), &3.into()));
    let shown = get(port, &format!("traces/{}", trace["trace_id"].as_str().expect("an id")));
    let spans = shown["spans"].as_array().expect("a list");
    let told: Vec<_> = spans
        .iter()
        .map(|span| (span["kind"].as_str(), span["depth"].as_u64(), span["evidence"].as_str()))
        .collect();
    let sole = Some("sole-request");
    let expected = [
        (Some("server"), Some(0), None),
        (Some("client"), Some(1), sole),
        (Some("server"), Some(2), Some("wire")),
    ];
    assert_eq!(told, expected);
    assert!(spans[1]["network"]["request_ns"].is_u64(), "both ends of the call are there: {}", spans[1]);
    let told = get(port, "agent");
    let processes = told["processes"].as_array().expect("a list");
    let of_service = processes.iter().find(|it| it["pid"] == service.pid()).expect("its process");
    assert_eq!((&of_service["server_requests"], &of_service["linked"]), (&20.into(), &20.into()));
    assert!(told["cost"]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
    agent.stop();
}

#[test]
fn the_map_and_jaegers_api_tell_the_same_calls() {
    let port = free_port();
    let (agent, service, _prices) = traced(port, &[]);
    ask(service.port, 1000, 10, 1);
    wait_until("every span is there", || get(port, "status")["store"]["spans"] == 10 * 3);
    let map = get(port, "map");
    let edges: Vec<_> = map["edges"].as_array().expect("a list").iter().collect();
    let edge = edges.iter().find(|edge| edge["from"] == "service:threads").expect("an edge");
    assert_eq!(edge["red"]["count"], 10, "{map}");
    let jaeger = |path: &str| -> Value {
        serde_json::from_str(&curl(&[&format!("http://127.0.0.1:{port}/api/{path}")])).expect("JSON")
    };
    let services = jaeger("services");
    assert!(services["data"].as_array().is_some_and(|names| names.contains(&"threads".into())), "{services}");
    let found = jaeger("traces?service=threads&limit=100");
    assert_eq!(found["data"].as_array().map(Vec::len), Some(10));
    agent.stop();
}

#[test]
fn a_terminal_and_a_pipe_tell_the_same_as_the_page() {
    let port = free_port();
    let (agent, service, _prices) = traced(port, &[]);
    ask(service.port, 1000, 10, 1);
    wait_until("every span is there", || get(port, "status")["store"]["spans"] == 10 * 3);
    let url = format!("http://127.0.0.1:{port}");
    let tell = |arguments: &[&str]| run(Command::new(tracer()).args(arguments).args(["--url", &url]));
    let told = tell(&["traces", "--json", "service:threads"]);
    let traces: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(traces, search(port, "service:threads"));
    let id = traces[3]["trace_id"].as_str().expect("an id");
    let drawn = tell(&["trace", &id[..12]]);
    for part in [id, "threads", "sole-request", "3 spans, 2 services"] {
        assert!(drawn.contains(part), "{part}: {drawn}");
    }
    let top: Value = serde_json::from_str(&tell(&["top", "--json"])).expect("JSON");
    assert!(top.to_string().contains("\"threads\""), "{top}");
    let missing =
        Command::new(tracer()).args(["trace", "00000000000000000000000000000001", "--url", &url]).output();
    assert_eq!(missing.expect("it runs").status.code(), Some(1));
    agent.stop();
}

#[test]
fn spans_of_an_sdk_are_taken_by_otlp_and_shown() {
    let otlp = free_port();
    let view = View::start(&[
        "--otlp-http",
        &format!("127.0.0.1:{otlp}"),
        "--otlp-grpc",
        &format!("127.0.0.1:{}", free_port()),
    ]);
    let prices = Program::node();
    let endpoint = format!("http://127.0.0.1:{otlp}");
    let shop = Program::flask_with_sdk(&prices.url(""), Some(&endpoint));
    curl(&[&shop.url("/item/7")]);
    wait_until("the SDK's spans are there", || !search(view.port, "service:shop kind:server").is_empty());
    let [trace] = &search(view.port, "service:shop kind:server")[..] else { panic!("one trace") };
    assert_eq!(trace["root_service"], "shop");
    assert!(
        trace["spans"].as_u64().is_some_and(|spans| spans >= 2),
        "the server's span and its call: {trace}"
    );
}

/// Nanoseconds since 1970.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_nanos()).expect("it is before 2554")
}

/// The requests of Grafana's data source for Jaeger, as its `pkg/tsdb/jaeger` makes them (13.0), and of its pages before that
/// (`datasource/jaeger`), which asked themselves.
#[test]
fn grafanas_data_source_gets_its_answers() {
    const TRACE: &str = "00000000000000010000000000000002";
    let otlp = free_port();
    let view = View::start(&[
        "--otlp-http",
        &format!("127.0.0.1:{otlp}"),
        "--otlp-grpc",
        &format!("127.0.0.1:{}", free_port()),
    ]);
    let start_ns = now_ns() - 1_000_000_000;
    let of_service = |service: &str, spans: Value| {
        let name = json!({"key": "service.name", "value": {"stringValue": service}});
        json!({"resource": {"attributes": [name]}, "scopeSpans": [{"spans": spans}]})
    };
    let span = |id: u8, parent: Option<u8>, name: &str, kind: u8| {
        let parent = parent.map(|parent| format!("{parent:016x}")).unwrap_or_default();
        json!({
            "traceId": TRACE, "spanId": format!("{id:016x}"), "parentSpanId": parent, "name": name, "kind": kind,
            "startTimeUnixNano": start_ns.to_string(), "endTimeUnixNano": (start_ns + 1_000_000).to_string(),
            "attributes": [{"key": "peer", "value": {"stringValue": "the stock"}}],
        })
    };
    let request = json!({"resourceSpans": [
        of_service("shop", json!([span(1, None, "GET /cart", 2), span(2, Some(1), "GET /stock", 3)])),
        of_service("stock", json!([span(3, Some(2), "GET /stock", 2)])),
    ]});
    let to = format!("http://127.0.0.1:{otlp}/v1/traces");
    curl(&["--header", "content-type: application/json", "--data-binary", &request.to_string(), &to]);

    let ask = |path: &str| -> Value {
        let answer = curl(&["--globoff", "--fail", &format!("http://127.0.0.1:{}{path}", view.port)]);
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    };
    let (start_ms, end_ms) = (start_ns / 1_000_000 - 3_600_000, start_ns / 1_000_000 + 3_600_000);
    // The test of the data source, and its first field.
    assert_eq!(ask("/api/services")["data"], json!(["shop", "stock"]));
    assert_eq!(ask("/api/services/shop/operations")["data"], json!(["GET /cart", "GET /stock"]));
    // A search: no window of time.
    let search = "limit=20&maxDuration=2ms&minDuration=100us&operation=GET+%2Fcart&service=shop&tags=%7B%22peer%22%3A%22the\
                  +stock%22%7D";
    let found = ask(&format!("/api/traces?{search}"));
    assert_eq!(found["data"][0]["traceID"], TRACE);
    assert_eq!(found["data"][0]["spans"].as_array().map(Vec::len), Some(3));
    let (start_us, end_us) = (start_ms * 1000, end_ms * 1000);
    let older = format!("service=shop&start={start_us}&end={end_us}&lookback=custom");
    assert_eq!(ask(&format!("/api/traces?{older}"))["data"].as_array().map(Vec::len), Some(1));
    // A trace: the window is in milliseconds, where Jaeger reads microseconds.
    for path in [format!("/api/traces/{TRACE}"), format!("/api/traces/{TRACE}?end={end_ms}&start={start_ms}")]
    {
        let trace = &ask(&path)["data"][0];
        let spans = trace["spans"].as_array().expect("a list");
        let of_service: Vec<&Value> = spans
            .iter()
            .map(|span| &trace["processes"][span["processID"].as_str().expect("a name")]["serviceName"])
            .collect();
        assert_eq!(of_service, [&json!("shop"), &json!("shop"), &json!("stock")], "{path}");
        assert_eq!(spans[1]["references"][0]["spanID"], spans[0]["spanID"], "{path}");
    }
    // The graph of services.
    let graph = ask(&format!("/api/dependencies?endTs={end_ms}&lookback={}", end_ms - start_ms));
    assert_eq!(graph["data"], json!([{"parent": "shop", "child": "stock", "callCount": 1}]));
    // With its switch for the newer API: moments stand in the query as they are, and no limit.
    assert_eq!(ask("/api/v3/services")["services"], json!(["shop", "stock"]));
    assert_eq!(ask("/api/v3/operations?service=shop")["operations"][0]["name"], "GET /cart");
    let window = "2020-01-01T00:00:00.123456789Z&{}=2100-01-01T00:00:00Z";
    let by_id = format!("/api/v3/traces/{TRACE}?start_time={}", window.replace("{}", "end_time"));
    let search = format!(
        "/api/v3/traces?query.attributes=%7B%22peer%22%3A%22the+stock%22%7D&query.duration_max=2ms&query.duration_min=1us\
         &query.operation_name=GET+%2Fcart&query.service_name=shop&query.start_time_min={}",
        window.replace("{}", "query.start_time_max")
    );
    for path in [by_id, search] {
        let resources = ask(&path)["result"]["resourceSpans"].as_array().cloned().expect("a list");
        let spans = resources.iter().flat_map(|resource| resource["scopeSpans"][0]["spans"].as_array());
        assert_eq!(spans.map(Vec::len).sum::<usize>(), 3, "{path}");
    }
}

#[test]
fn saved_traces_are_shown_as_they_were() {
    let folder = Folder::new();
    let (file, recording) = (folder.file("spans.json"), folder.file("events.rec"));
    let (of_file, of_recording) = (file.display().to_string(), recording.display().to_string());
    let prices = Program::node();
    let service = Program::asking("/usr/bin/python3", "threads.py", &prices.url(""));
    let pids = [service.pid(), prices.pid()].map(|pid| pid.to_string());
    let agent = Agent::start(&[
        "--output",
        "otlp-json",
        "--output-file",
        &of_file,
        "--record",
        &of_recording,
        "--pid",
        &pids[0],
        "--pid",
        &pids[1],
    ]);
    ask(service.port, 1000, 10, 1);
    agent.wait_for("every span is made", |status| tracer_tests::count_of(status, "spans.queued") == 30);
    let (status, ..) = agent.stop();
    assert!(status.success());
    for saved in [&of_file, &of_recording] {
        let view = View::start(&[saved]);
        let held = get(view.port, "status");
        assert_eq!((&held["store"]["spans"], &held["store"]["traces"]), (&30.into(), &10.into()), "{saved}");
        assert_eq!(held["source"]["names"][0], saved.as_str());
        assert_eq!(search(view.port, "url.path=/r/1003").len(), 1, "{saved}");
    }
}

#[test]
fn what_is_on_disk_is_there_again_after_the_agent_was_killed() {
    let folder = Folder::new();
    let store = folder.file("store").display().to_string();
    let port = free_port();
    let (mut agent, service, _prices) = traced(port, &["--store", &store]);
    for round in 1..=5 {
        ask(service.port, 1000 * round, 10, 1);
        let expected = u64::from(round) * 30;
        wait_until("every span is there", || get(port, "status")["store"]["spans"] == expected);
        // What came within the last second may be lost by a kill.
        let_pass(Duration::from_secs(1));
        agent.signal(libc::SIGKILL);
        drop(agent);
        let listen = format!("127.0.0.1:{port}");
        let pids = [service.pid(), _prices.pid()].map(|pid| pid.to_string());
        agent = Agent::start(&[
            "--output", "none", "--listen", &listen, "--store", &store, "--pid", &pids[0], "--pid", &pids[1],
        ]);
        assert_eq!(get(port, "status")["store"]["spans"], expected, "after kill {round}");
    }
    agent.stop();
}

#[test]
fn the_page_is_for_this_machine_alone_unless_a_token_is_set() {
    let refused = Command::new(tracer()).args(["view", "--listen", "0.0.0.0:0"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("token"), "{said}");
    let port = free_port();
    let (agent, _service, _prices) = traced(port, &[]);
    let head = |arguments: &[&str]| {
        let url = format!("http://127.0.0.1:{port}/");
        let mut command = Command::new("curl");
        run(command.args(["--silent", "--show-error", "--head", "--max-time", "10"]).args(arguments).arg(url))
    };
    let own = head(&[]).to_ascii_lowercase();
    assert!(own.starts_with("http/1.1 200"), "{own}");
    for line in ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff"] {
        assert!(own.contains(line), "{line}: {own}");
    }
    assert!(!own.contains("unsafe-inline"), "{own}");
    // A name that an attacker's DNS points here.
    let rebound = head(&["--header", "Host: attacker.example"]);
    assert!(rebound.starts_with("HTTP/1.1 403") || rebound.starts_with("HTTP/1.1 421"), "{rebound}");
    agent.stop();
}

#[test]
fn an_agent_without_a_viewer_keeps_no_spans() {
    let receiver = Receiver::start();
    let prices = Program::node();
    let agent = Agent::tracing(&[prices.pid()], &receiver);
    curl(&[&prices.url("/price/1")]);
    receiver.wait_for(|spans| !spans.is_empty());
    assert_eq!(agent.count("spans.not_stored"), 0);
    assert!(std::net::TcpStream::connect(("127.0.0.1", 8377)).is_err(), "nothing listens unasked");
    agent.stop();
}
