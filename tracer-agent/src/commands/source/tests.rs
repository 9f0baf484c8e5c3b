//! A viewer, an agent's socket and a store say the same.

#![forbid(unsafe_code)]

use super::*;

fn listed(ids: &[&str]) -> Vec<TraceSummary> {
    ids.iter().map(|id| TraceSummary { trace_id: (*id).to_owned(), ..TraceSummary::default() }).collect()
}

#[test]
fn a_beginning_names_a_trace_if_it_is_the_only_one() {
    let ids = [
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "4bf92f3577b34da6a3ce929d0e0e4737",
        "00000000000000000000000000000001",
    ];
    let traces = listed(&ids);
    let told = |text| begins(&traces, text).map_err(|failure| failure.message);
    assert_eq!(told("00000000"), Ok(TraceId::parse("1")));
    assert_eq!(told("4BF92F3577B34DA6A3CE929D0E0E4736"), Ok(TraceId::parse(ids[0])));
    assert_eq!(told("12345678"), Ok(None));
    let several = told("4bf92f35").expect_err("two");
    assert!(several.starts_with("2 traces have an id that begins with 4bf92f35, such as 4bf9"), "{several}");
}

#[test]
fn a_wrong_query_is_marked_at_its_place() {
    let failure = wrong_query("価 service:é duration>10xs", "no unit", 21);
    assert_eq!(
        failure.message,
        "the query cannot be read: no unit\n  価 service:é duration>10xs\n                        ^"
    );
    assert_eq!(failure.code, USAGE);
    let hostile = wrong_query("\u{1b}[2J x", "no", 5);
    assert_eq!(hostile.message, "the query cannot be read: no\n  \\u{1b}[2J x\n            ^");
}

#[test]
fn a_directory_without_a_store_is_left_as_it_is() {
    let directory = std::env::temp_dir().join(format!("tracer-no-store-{}", std::process::id()));
    let failure = open_store(&directory).err().expect("no store");
    assert!(failure.message.ends_with(": there is no store, or you may not read it"), "{}", failure.message);
    assert!(!directory.exists());
}

#[test]
fn a_store_in_use_is_read_by_its_viewer() {
    let directory = std::env::temp_dir().join(format!("tracer-used-store-{}", std::process::id()));
    let used = Store::open(&directory, Limits::default()).expect("a store");
    let failure = open_store(&directory).err().expect("in use");
    assert!(failure.message.ends_with("is read from that one, by --url"), "{}", failure.message);
    drop(used);
    assert!(open_store(&directory).is_ok());
    std::fs::remove_dir_all(directory).expect("removed");
}

/// A trace of two services, and one of a service whose name needs care in a path.
fn stored() -> Store {
    let span = |trace: &str, id: u32, parent: &str, name: &str, code: u32| {
        serde_json::json!({
            "traceId": trace, "spanId": format!("{id:016x}"), "parentSpanId": parent, "name": name, "kind": 2,
            "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000500000000",
            "status": {"code": code},
        })
    };
    let of = |service: &str, spans: Vec<serde_json::Value>| {
        let name = serde_json::json!({"key": "service.name", "value": {"stringValue": service}});
        serde_json::json!({"resource": {"attributes": [name]}, "scopeSpans": [{"spans": spans}]})
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = serde_json::json!({"resourceSpans": [
        of("shop", vec![span(trace, 1, "", "GET /a", 0)]),
        of("prices", vec![span(trace, 2, "0000000000000001", "GET /b", 2)]),
        of("a/../b ?", vec![span("00000000000000000000000012345678", 3, "", "GET /c", 0)]),
    ]});
    let store = Store::in_memory(Limits::default());
    store.insert(otlp::decode_json(request.to_string().as_bytes()).expect("OTLP").spans);
    store
}

fn in_full<T: std::fmt::Debug>(answer: Result<T, Failure>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(Failure { message, code }) => format!("{code} {message}"),
    }
}

#[test]
fn without_a_viewer_at_the_usual_address_the_agents_socket_is_asked_if_somebody_answers_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let url = format!("http://{}", port.expect("a port that is free again"));
    let nobody = || Client::of_viewer(Some(&url), None, &TlsFiles::default()).expect("a client");
    let socket = std::env::temp_dir().join(format!("tracer-reached-{}.sock", std::process::id()));
    assert_eq!(reached(nobody(), &socket).asked().place(), url);
    let routes = crate::agent::status::routes(crate::agent::status::Shared::default(), None);
    let _server = crate::agent::status::Server::start(&socket, routes).expect("a free path");
    let agent = reached(nobody(), &socket);
    assert_eq!(agent.asked().place(), socket.display().to_string());
    let failure = Source::Viewer(Box::new(agent)).services(Window::default()).expect_err("no viewer");
    let told =
        format!("the agent on {} refuses: it has no viewer: start the agent with --view", socket.display());
    assert!(failure.message.starts_with(&told), "{}", failure.message);
}

#[test]
fn a_viewer_and_its_store_say_the_same() {
    let store = std::sync::Arc::new(stored());
    let settings = tracer_viewer::Settings {
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        otlp_grpc: None,
        otlp_http: None,
        path_prefix: "/traces".to_owned(),
        ..tracer_viewer::Settings::default()
    };
    let viewer = tracer_viewer::Viewer::start(settings, store, None).expect("a viewer");
    let url = viewer.addresses().url.clone();
    let viewed = Source::Viewer(Box::new(
        Client::of_viewer(Some(&url), None, &TlsFiles::default()).expect("a client"),
    ));
    let read = Source::Store { store: Box::new(stored()), name: url.trim_end_matches('/').to_owned() };
    let socket = std::env::temp_dir().join(format!("tracer-source-{}.sock", std::process::id()));
    let routes = crate::agent::status::routes(crate::agent::status::Shared::default(), Some(viewer.routes()));
    let _server = crate::agent::status::Server::start(&socket, routes).expect("a free path");
    let by_socket = Source::Viewer(Box::new(Client::of_agent(&socket).expect("a client")));
    let window = read.window(60_000_000).expect("a window");
    assert_eq!(window.end_unix_us, 1_700_000_000_500_001);
    let id = TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").expect("an id");
    let search = |query: &str, since_us, slowest_first| Search {
        query: query.to_owned(),
        since_us,
        limit: 1,
        slowest_first,
    };
    type Question<'a> = &'a dyn Fn(&Source) -> String;
    let questions: [(&str, Question<'_>); 14] = [
        ("4bf92f35", &|source| in_full(source.search(&search("service:prices status:error", None, false)))),
        ("has_more: true", &|source| in_full(source.search(&search("", Some(1), true)))),
        ("traces: []", &|source| in_full(source.search(&search("", Some(window.end_unix_us), false)))),
        ("2 the query cannot be read", &|source| {
            in_full(source.search(&search("status:wrong", None, false)))
        }),
        ("4bf92f3577b34da6a3ce929d0e0e4736", &|source| in_full(source.find("4BF92f35"))),
        ("00000000000000000000000012345678", &|source| in_full(source.find("12345678"))),
        ("has no trace 87654321: ", &|source| in_full(source.find("87654321"))),
        ("2 \"4bf9\" is no id", &|source| in_full(source.find("4bf9"))),
        ("GET /b", &|source| in_full(source.trace(id))),
        ("None", &|source| in_full(source.trace(TraceId([7; 16])))),
        ("is_error: true", &|source| in_full(source.laid_out(id))),
        ("\"prices\"", &|source| in_full(source.services(window))),
        ("GET /c", &|source| in_full(source.service("a/../b ?", window))),
        ("None", &|source| in_full(source.service("nobody", window))),
    ];
    for (expected, ask) in questions {
        let by_socket = ask(&by_socket).replace(&by_socket.name(), &viewed.name());
        let (viewed, read) = (ask(&viewed), ask(&read));
        assert_eq!(viewed, read);
        assert_eq!(viewed, by_socket);
        assert!(viewed.contains(expected), "{expected}: {viewed}");
    }
    viewer.stop();
}
