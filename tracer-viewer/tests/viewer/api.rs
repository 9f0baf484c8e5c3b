//! The API of the viewer.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;
use tracer_model::answer::{MapAnswer, SearchAnswer, StatusAnswer, TraceAnswer};

use crate::harness::{Server, SomeAgent, TRACE, get_with, now_ns, one_span, sample};

#[tokio::test]
async fn a_trace_that_came_is_found_and_laid_out() {
    let server = Server::start();
    server.take(&sample()).await;
    let found: SearchAnswer =
        serde_json::from_value(server.get("/api/tracer/search?q=service:stock").await.json()).unwrap();
    assert_eq!(found.traces.len(), 1);
    assert_eq!((found.traces[0].trace_id.as_str(), found.traces[0].spans), (TRACE, 3));
    assert_eq!(found.traces[0].root_service, "shop");
    let answer = server.get(&format!("/api/tracer/traces/{TRACE}")).await;
    let trace: TraceAnswer = serde_json::from_value(answer.json()).unwrap();
    let names: Vec<_> = trace.spans.iter().map(|span| (span.name.as_str(), span.depth)).collect();
    assert_eq!(names, [("GET /cart", 0), ("GET /stock", 1), ("GET /stock", 2)]);
    assert_eq!(trace.spans[1].peer, Some(2));
    assert!(trace.spans[2].is_error);
}

#[tokio::test]
async fn an_id_may_lack_its_leading_zeros_and_nothing_else() {
    let server = Server::start();
    server.take(&sample()).await;
    let status = async |id: &str| server.get(&format!("/api/tracer/traces/{id}")).await.status;
    assert_eq!(status(&TRACE[1..]).await, StatusCode::OK);
    assert_eq!(status("abc").await, StatusCode::NOT_FOUND);
    assert_eq!(status("xyz").await, StatusCode::BAD_REQUEST);
    assert_eq!(status("0").await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_window_bounds_a_search() {
    let server = Server::start();
    server.take(&sample()).await;
    let now_us = now_ns() / 1000;
    let found = async |query: String| {
        let answer = server.get(&format!("/api/tracer/search?{query}")).await;
        answer.json()["traces"].as_array().map(Vec::len)
    };
    assert_eq!(found(format!("start_us={}", now_us - 10_000_000)).await, Some(1));
    assert_eq!(found(format!("start_us={now_us}")).await, Some(0));
    assert_eq!(found(format!("end_us={}", now_us - 10_000_000)).await, Some(0));
    assert_eq!(found("order=slowest&limit=1".to_owned()).await, Some(1));
}

#[tokio::test]
async fn an_order_puts_the_most_first() {
    let server = Server::start();
    server.take(&sample()).await;
    server.take(&one_span(1, "a", "b")).await;
    let first = async |query: &str| {
        let answer = server.get(&format!("/api/tracer/search?limit=1&order={query}")).await.json();
        assert_eq!((&answer["has_more"], answer["traces"].as_array().map(Vec::len)), (&json!(true), Some(1)));
        answer["traces"][0]["trace_id"] == TRACE
    };
    assert!(first("spans").await && first("errors").await && !first("newest").await);
}

#[tokio::test]
async fn a_search_that_finds_nothing_tells_which_terms_nothing_meets() {
    let server = Server::start();
    server.take(&sample()).await;
    let answer = server.get("/api/tracer/search?q=service:stock+service:none").await.json();
    assert_eq!(answer["empty_terms"], json!(["service:none"]));
    let answer = server.get("/api/tracer/search?q=service:stock").await.json();
    assert_eq!(answer["empty_terms"], json!([]));
}

#[tokio::test]
async fn an_aggregate_at_its_limit_of_time_says_so() {
    let server = Server::with(|settings| settings.limits.search_time = std::time::Duration::ZERO);
    server.take(&sample()).await;
    for path in ["map", "services", "services/shop"] {
        let answer = server.get(&format!("/api/tracer/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        assert!(answer.json()["incomplete"].is_string(), "{path}: {}", answer.text());
    }
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("tracer_viewer_stopped_searches_total 3\n"), "{metrics}");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let server = Server::start();
    for (path, part) in [
        ("search?limit=0", "limit must be from 1 to 1000"),
        ("search?limit=x", "limit"),
        ("search?order=best", "order"),
        ("search?nonsense=1", "nonsense"),
        ("search?start_us=2&end_us=1", "start_us must lie before end_us"),
        ("heatmap?columns=501", "columns must be from 1 to 500"),
        ("heatmap?rows=0", "rows must be from 1 to 100"),
        ("services?start_us=-1", "start_us"),
        ("map?compare=perhaps", "compare"),
        ("live?q=duration%3Esoon", ""),
        ("traces/1/export", "format"),
        ("traces/1/export?format=pdf", "format"),
        ("search?limit=x", "limit must be from 1 to 1000, not \"x\""),
        ("search?limit=-1", "limit must be from 1 to 1000, not \"-1\""),
        ("search?order=best", "order must be newest, slowest, errors or spans, not \"best\""),
        ("search?nonsense=1", "there is no parameter \"nonsense\": this route has q, start_us,"),
        ("search?q=a&q=b", "q is given more than once"),
        ("services?start_us=1.5", "start_us must be whole microseconds since 1970, not \"1.5\""),
        ("map?compare=perhaps", "compare must be true or false, not \"perhaps\""),
        ("complete?at=-1", "at must be from 0 to 4294967295, not \"-1\""),
        ("traces/1/export", "format is missing: it must be otlp-json, jaeger-json or html"),
        ("traces/1/export?format=pdf", "format must be otlp-json, jaeger-json or html, not \"pdf\""),
        ("traces/xyz", "\"xyz\" is no id of a trace"),
        ("services/%ff", "the path is no UTF-8"),
    ] {
        let answer = server.get(&format!("/api/tracer/{path}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(part), "{path}: {error}");
    }
    let answer = server.get("/api/tracer/search?q=service:a%20duration%3Esoon").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["at"].as_u64().unwrap() >= 10, "{}", answer.text());
}

#[tokio::test]
async fn aggregates_are_of_what_came() {
    let server = Server::start();
    server.take(&sample()).await;
    let services = server.get("/api/tracer/services").await.json();
    let names: Vec<_> =
        services["services"].as_array().unwrap().iter().map(|row| row["service"].clone()).collect();
    assert_eq!(names, ["shop", "stock"]);
    let service = server.get("/api/tracer/services/shop").await;
    assert_eq!(service.json()["service"]["service"], "shop");
    assert_eq!(server.get("/api/tracer/services/none").await.status, StatusCode::NOT_FOUND);
    let map: MapAnswer =
        serde_json::from_value(server.get("/api/tracer/map?compare=true").await.json()).unwrap();
    assert!(map.before.is_some());
    assert!(map.edges.iter().any(|edge| edge.red.count == 1), "{map:?}");
    let heatmap = server.get("/api/tracer/heatmap?columns=10&rows=5").await.json();
    assert_eq!(heatmap["columns"], 10);
    assert!((1..=5).contains(&heatmap["row_ns"].as_array().unwrap().len()), "{heatmap}");
    let counted: u64 =
        heatmap["cells"].as_array().unwrap().iter().filter_map(|cell| cell["count"].as_u64()).sum();
    assert_eq!(counted, 3);
}

#[tokio::test]
async fn an_empty_store_answers_everything() {
    let server = Server::start();
    for path in ["search", "heatmap", "services", "map?compare=true", "complete?q=ser", "status", "agent"] {
        let answer = server.get(&format!("/api/tracer/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn a_query_is_completed() {
    let server = Server::start();
    server.take(&sample()).await;
    let answer = server.get("/api/tracer/complete?q=service:sh").await.json();
    let texts: Vec<_> =
        answer["suggestions"].as_array().unwrap().iter().map(|one| one["text"].clone()).collect();
    assert!(texts.iter().any(|text| text.as_str().is_some_and(|text| text.contains("shop"))), "{answer}");
    assert_eq!(server.get("/api/tracer/complete?q=a&at=99").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_status_says_what_to_do_until_the_first_span() {
    let server = Server::start();
    let status: StatusAnswer = serde_json::from_value(server.get("/api/tracer/status").await.json()).unwrap();
    assert!(status.hints[0].contains(&server.otlp_http.to_string()), "{:?}", status.hints);
    assert_eq!(status.source.names.len(), 2);
    server.take(&one_span(1, "a", "b")).await;
    let status: StatusAnswer = serde_json::from_value(server.get("/api/tracer/status").await.json()).unwrap();
    assert_eq!((status.hints.len(), status.store.spans), (0, 1));
}

#[tokio::test]
async fn the_agent_of_this_process_is_asked() {
    let without = Server::start();
    assert_eq!(without.get("/api/tracer/agent").await.json()["is_here"], false);
    let with = Server::with_agent(|_| (), Some(Arc::new(SomeAgent)));
    let answer = with.get("/api/tracer/agent").await.json();
    assert_eq!((&answer["is_here"], &answer["selectors"][0]), (&json!(true), &json!("port 80")));
}

#[tokio::test]
async fn a_trace_is_saved_in_each_format() {
    let server = Server::start();
    server.take(&sample()).await;
    let export =
        async |format: &str| server.get(&format!("/api/tracer/traces/{TRACE}/export?format={format}")).await;
    let otlp = export("otlp-json").await;
    assert_eq!(
        otlp.header("content-disposition"),
        format!("attachment; filename=\"trace-{TRACE}.otlp.json\"")
    );
    let spans = &otlp.json()["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans[0]["traceId"], TRACE);
    let jaeger = export("jaeger-json").await.json();
    assert_eq!(jaeger["data"][0]["spans"].as_array().map(Vec::len), Some(3));
    let page = export("html").await;
    // Whether the pages were built does not depend on this test.
    match page.status {
        StatusCode::OK => assert!(page.text().contains(TRACE)),
        status => assert_eq!(status, StatusCode::NOT_IMPLEMENTED),
    }
    assert_eq!(
        server.get("/api/tracer/traces/1/export?format=otlp-json").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn other_routes_and_methods_are_refused() {
    let server = Server::start();
    assert_eq!(server.get("/api/tracer/none").await.status, StatusCode::NOT_FOUND);
    let post = crate::harness::post(server.page, "/api/tracer/search", "application/json", "{}").await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    let post = crate::harness::post(server.page, "/", "application/json", "{}").await;
    assert_eq!((post.status, post.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
}

#[tokio::test]
async fn a_wrong_method_is_said_in_the_form_of_the_api() {
    let server = Server::start();
    let post = crate::harness::post(server.page, "/api/tracer/search", "application/json", "{}").await;
    assert_eq!(post.json()["error"], "nothing is changed here: use GET");
    assert_eq!(post.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn an_unknown_page_is_404_and_the_page_of_a_trace_is_shown_where_it_is() {
    let server = Server::start();
    let built = server.get("/").await.status == StatusCode::OK;
    for path in ["/nope", "/trace/xyz", "/a/b/", "/trace/"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        if built {
            assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
            assert!(answer.text().contains("<div id=\"app\">"), "{path}");
        }
    }
    for (path, to) in [(format!("/trace/{TRACE}"), TRACE), ("/traces/86CE?x=1".to_owned(), "86ce")] {
        let answer = server.get(&path).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::FOUND, &*format!("../#/trace/{to}"))
        );
    }
    for path in ["/nope.js", "/assets/none", "/apple-touch-icon.png", "/.well-known/security.txt"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::NOT_FOUND, "not found\n"), "{path}");
    }
    let behind = Server::with(|settings| settings.path_prefix = "/t/x".to_owned());
    let answer = behind.get(&format!("/t/x/trace/{TRACE}")).await;
    assert_eq!(answer.header("location"), format!("../#/trace/{TRACE}"));
    assert_eq!(behind.get("/t/x/nope").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn probes_and_metrics_are_answered() {
    let server = Server::start();
    server.take(&sample()).await;
    assert_eq!(server.get("/healthz").await.text(), "ok\n");
    assert_eq!(server.get("/readyz").await.text(), "ready\n");
    let metrics = server.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    for line in
        ["tracer_viewer_otlp_spans_total 3", "tracer_viewer_store_spans 3", "tracer_viewer_store_traces 1"]
    {
        assert!(metrics.text().lines().any(|known| known == line), "{line}\n{}", metrics.text());
    }
    assert!(metrics.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_prefix_of_a_proxy_is_taken_off() {
    let server = Server::with(|settings| settings.path_prefix = "/t/x".to_owned());
    assert_eq!(server.get("/t/x/api/tracer/status").await.status, StatusCode::OK);
    let root = server.get("/t/x?q=1").await;
    assert_eq!((root.status, root.header("location")), (StatusCode::PERMANENT_REDIRECT, "./x/?q=1"));
    for path in ["/", "/api/tracer/status", "/t/xy/api/tracer/status", "/t/x-/"] {
        assert_eq!(server.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
    let forwarded = get_with(server.page, "/api/tracer/status", &[("x-forwarded-prefix", "/t/x")]).await;
    assert_eq!(forwarded.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_address_that_is_held_is_named() {
    let server = Server::start();
    let mut settings = crate::harness::settings();
    settings.otlp_http = Some(server.page);
    let store = Arc::new(tracer_store::Store::in_memory(tracer_store::Limits::default()));
    let error = tracer_viewer::Viewer::start(settings, store, None).expect_err("it is held").to_string();
    assert!(error.contains(&server.page.to_string()) && error.contains("--otlp-http"), "{error}");
}

#[tokio::test]
async fn without_bounds_a_window_ends_at_the_latest_span_and_without_an_end_alone_now() {
    let server = Server::start();
    server.take(&sample()).await;
    let store =
        serde_json::from_value::<StatusAnswer>(server.get("/api/tracer/status").await.json()).unwrap().store;
    let window = async |query: String| {
        let answer = server.get(&format!("/api/tracer/map{query}")).await.json();
        serde_json::from_value::<MapAnswer>(answer).unwrap().window
    };
    let all = window(String::new()).await;
    assert!(store.newest_unix_us > store.oldest_unix_us);
    assert_eq!((all.start_unix_us, all.end_unix_us), (store.oldest_unix_us, store.newest_unix_us + 1));
    let asked_us = now_ns() / 1000;
    assert!(window(format!("?start_us={}", store.oldest_unix_us)).await.end_unix_us > asked_us);
}
