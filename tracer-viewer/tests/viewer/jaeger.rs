//! Jaeger's API.

use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Server, TRACE, now_ns, one_span, sample};

async fn server() -> Server {
    let server = Server::start();
    server.take(&sample()).await;
    server
}

fn trace_count(answer: &Value) -> usize {
    answer["data"].as_array().expect("a list").len()
}

#[tokio::test]
async fn services_and_operations_are_listed() {
    let server = server().await;
    let services = json!({"data": ["shop", "stock"], "total": 2, "limit": 0, "offset": 0, "errors": null});
    assert_eq!(server.get("/api/services").await.json(), services);
    let names = server.get("/api/services/shop/operations").await.json();
    assert_eq!((&names["data"], &names["total"]), (&json!(["GET /cart", "GET /stock"]), &json!(2)));
    assert_eq!(server.get("/api/services/none/operations").await.json()["data"], Value::Null);
    let all = server.get("/api/operations?service=shop").await.json();
    let (cart, stock) = (
        json!({"name": "GET /cart", "spanKind": "server"}),
        json!({"name": "GET /stock", "spanKind": "client"}),
    );
    assert_eq!(all["data"], json!([cart, stock]));
    let clients = server.get("/api/operations?service=shop&spanKind=client").await.json();
    assert_eq!(clients["data"], json!([stock]));
}

#[tokio::test]
async fn no_services_are_null() {
    let empty = Server::start();
    assert_eq!(empty.get("/api/services").await.json()["data"], Value::Null);
    assert_eq!(empty.get("/api/v3/services").await.json(), json!({}));
    assert_eq!(empty.get("/api/v3/operations?service=a").await.json(), json!({"operations": []}));
}

#[tokio::test]
async fn a_service_is_required() {
    let server = server().await;
    for path in ["/api/operations", "/api/traces", "/api/traces?service=", "/api/traces?operation=x"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        let errors = json!([{"code": 400, "msg": "parameter 'service' is required"}]);
        let expected = json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors});
        assert_eq!(answer.json(), expected, "{path}");
    }
}

#[tokio::test]
async fn one_trace_is_answered_by_its_id() {
    let server = server().await;
    let trace = server.get(&format!("/api/traces/{TRACE}?raw=true")).await.json();
    assert_eq!(trace["data"][0]["traceID"], TRACE);
    assert_eq!(trace["data"][0]["spans"].as_array().map(Vec::len), Some(3));
    assert_eq!(trace["data"][0]["processes"].as_object().map(|processes| processes.len()), Some(2));
    let missing = server.get("/api/traces/ab").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json()["errors"], json!([{"code": 404, "msg": "trace not found"}]));
    assert_eq!(server.get("/api/traces/0").await.status, StatusCode::NOT_FOUND);
    let wrong = server.get("/api/traces/xyz").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert_eq!(wrong.json()["errors"][0]["msg"], "strconv.ParseUint: parsing \"xyz\": invalid syntax");
}

#[tokio::test]
async fn each_parameter_of_a_search_counts() {
    let server = server().await;
    let found = async |query: &str| {
        let answer = server.get(&format!("/api/traces?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
        trace_count(&answer.json())
    };
    let now_us = now_ns() / 1000;
    for (query, count) in [
        ("service=shop", 1),
        ("service=none", 0),
        ("service=shop&operation=GET%20%2Fcart", 1),
        ("service=shop&operation=GET", 0),
        ("service=shop&minDuration=1ms&maxDuration=2ms", 1),
        ("service=shop&minDuration=2ms", 0),
        ("service=shop&maxDuration=100us", 0),
        ("service=shop&tag=peer:stock", 1),
        ("service=shop&tag=peer:other", 0),
        ("service=shop&tags=%7B%22peer%22%3A%22stock%22%7D", 1),
        ("service=shop&tags=peer%3Dstock", 1),
        ("service=stock&tag=error:true", 1),
        ("service=shop&tag=error:true", 0),
        ("service=stock&tag=span.kind:server", 1),
        ("service=stock&tag=span.kind:client", 0),
        ("service=shop&limit=1&lookback=1h&raw=1", 1),
    ] {
        assert_eq!(found(query).await, count, "{query}");
    }
    assert_eq!(found(&format!("service=shop&start={}&end={now_us}", now_us - 60_000_000)).await, 1);
    assert_eq!(found(&format!("service=shop&start={now_us}&end={}", now_us + 1)).await, 0);
    assert_eq!(found(&format!("service=shop&start={now_us}&end={}", now_us - 60_000_000)).await, 0);
}

#[tokio::test]
async fn several_traces_are_answered_by_their_ids() {
    let server = server().await;
    let answer = server.get(&format!("/api/traces?traceID={TRACE}&traceID=ab")).await.json();
    assert_eq!(trace_count(&answer), 1);
    assert_eq!(answer["errors"], json!([{"msg": "trace not found", "traceID": "00000000000000ab"}]));
    let wrong = server.get("/api/traces?traceID=x").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let message = "cannot parse traceID param: strconv.ParseUint: parsing \"x\": invalid syntax";
    assert_eq!(wrong.json()["errors"][0]["msg"], message);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_as_jaeger_says_it() {
    let server = server().await;
    for (query, message) in [
        ("start=x", "unable to parse param 'start': strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("minDuration=5", "unable to parse param 'minDuration': time: missing unit in duration \"5\""),
        (
            "raw=perhaps",
            "unable to parse param 'raw': strconv.ParseBool: parsing \"perhaps\": invalid syntax",
        ),
        ("limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("limit=0", "search depth must be greater than 0 and less than max traces"),
        ("tag=x", "malformed 'tag' parameter, expecting key:value, received: x"),
        ("minDuration=2s&maxDuration=1s", "'maxDuration' should be greater than 'minDuration'"),
    ] {
        let answer = server.get(&format!("/api/traces?service=shop&{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.json()["errors"][0]["msg"], message, "{query}");
    }
}

#[tokio::test]
async fn dependencies_are_calls_between_services() {
    let server = server().await;
    let call = json!({"parent": "shop", "child": "stock", "callCount": 1});
    let now_ms = now_ns() / 1_000_000;
    let all = server.get(&format!("/api/dependencies?endTs={now_ms}&lookback=60000")).await.json();
    assert_eq!(all["data"], json!([call]));
    assert_eq!(server.get("/api/dependencies?service=none").await.json()["data"], json!([]));
    assert_eq!(server.get("/api/dependencies?service=shop").await.json()["data"], json!([call]));
    assert_eq!(server.get("/api/dependencies?endTs=1000&lookback=1").await.json()["data"], json!([]));
    assert_eq!(server.get("/api/dependencies?endTs=x").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_answer_can_be_indented() {
    let server = server().await;
    let plain = server.get("/api/services").await.text();
    let pretty = server.get("/api/services?prettyPrint=true").await.text();
    assert!(!plain.contains('\n') && pretty.contains("\n  "), "{pretty}");
}

#[tokio::test]
async fn version_3_answers_otlp() {
    let server = server().await;
    assert_eq!(server.get("/api/v3/services").await.json(), json!({"services": ["shop", "stock"]}));
    let operations = server.get("/api/v3/operations?service=shop&span_kind=server").await.json();
    assert_eq!(operations, json!({"operations": [{"name": "GET /cart", "spanKind": "server"}]}));
    let trace = server.get(&format!("/api/v3/traces/{TRACE}")).await.json();
    assert_eq!(trace["result"]["resourceSpans"].as_array().map(Vec::len), Some(2));
    let missing = server.get("/api/v3/traces/ab").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json(), json!({"error": {"httpCode": 404, "message": "No traces found"}}));
    let wrong = server.get("/api/v3/traces/xyz").await;
    let message = "malformed parameter trace_id: strconv.ParseUint: parsing \"xyz\": invalid syntax";
    assert_eq!((wrong.status, &wrong.json()["error"]["message"]), (StatusCode::BAD_REQUEST, &json!(message)));
}

#[tokio::test]
async fn version_3_searches_by_both_spellings() {
    let server = server().await;
    let window_snake = "query.start_time_min=2020-01-01T00:00:00Z&query.start_time_max=2100-01-01T00:00:00Z";
    let window_camel = "query.startTimeMin=2020-01-01T00:00:00Z&query.startTimeMax=2100-01-01T00:00:00Z";
    let status = async |query: String| server.get(&format!("/api/v3/traces?{query}")).await.status;
    for (query, expected) in [
        (format!("query.service_name=shop&{window_snake}"), StatusCode::OK),
        (format!("query.serviceName=shop&{window_camel}&query.searchDepth=1"), StatusCode::OK),
        (format!("query.serviceName=shop&query.operationName=none&{window_camel}"), StatusCode::NOT_FOUND),
        (format!("query.serviceName=shop&query.duration_min=1s&{window_camel}"), StatusCode::NOT_FOUND),
        (format!("query.service_name=shop&query.num_traces=x&{window_snake}"), StatusCode::BAD_REQUEST),
        ("query.service_name=shop".to_owned(), StatusCode::BAD_REQUEST),
        ("query.start_time_min=x&query.start_time_max=y".to_owned(), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(status(query.clone()).await, expected, "{query}");
    }
    let attributes = "query.attributes=%7B%22peer%22%3A%22stock%22%7D";
    assert_eq!(status(format!("query.serviceName=shop&{attributes}&{window_camel}")).await, StatusCode::OK);
}

#[tokio::test]
async fn names_of_services_may_hold_anything() {
    let server = Server::start();
    server.take(&one_span(1, "a/b ü%", "op")).await;
    let names = server.get("/api/services/a%2Fb%20%C3%BC%25/operations").await.json();
    assert_eq!(names["data"], json!(["op"]));
    assert_eq!(trace_count(&server.get("/api/traces?service=a%2Fb+%C3%BC%25").await.json()), 1);
}
