//! Requests that mean harm, and text that does.

use std::net::SocketAddr;

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{JSON, PATIENCE, Server, get, of_service, one_span, sample, span, text_attribute};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};

/// Sends bytes and reads until the server closes, or has answered once and `bytes` ask to close.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    raw_to(server.page, bytes).await
}

async fn raw_to(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // A server that refuses early may reset while the rest is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the server neither answers nor closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[tokio::test]
async fn paths_lead_nowhere_else() {
    let server = Server::start();
    for path in [
        "/../../etc/passwd",
        "/assets/../../../../etc/passwd",
        "/assets/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/assets//etc/passwd",
        "/assets/%00",
    ] {
        let answer = get(server.page, path).await;
        assert!(!answer.text().contains("root:"), "{path}");
        assert!(answer.status.as_u16() < 600 && answer.status != StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
}

#[tokio::test]
async fn broken_encodings_are_refused_or_read_with_replacements() {
    let server = Server::start();
    assert_eq!(get(server.page, "/api/tracer/services/%ff%fe").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(get(server.page, "/api/services/%ff/operations").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(get(server.page, "/api/tracer/traces/%ff").await.status, StatusCode::BAD_REQUEST);
    let jaeger = get(server.page, "/api/services/%ff/operations").await.json();
    assert_eq!(jaeger["errors"][0]["msg"], "the path is no UTF-8 once its % codes are read");
    assert_eq!(get(server.page, "/api/v3/traces/%ff").await.json()["error"]["httpCode"], 400);
    assert_eq!(get(server.page, "/api/traces?service=%ff").await.status, StatusCode::OK);
    assert_eq!(get(server.page, "/api/tracer/search?q=%ff%zz%").await.status, StatusCode::OK);
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = Server::start();
    let long = "a".repeat(1 << 20);
    let head = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n").into_bytes()
    };
    let query = raw(&server, &head(&format!("/api/tracer/search?q={long}"), "")).await;
    assert!(matches!(status(&query), "414" | "431" | "closed"), "{}", status(&query));
    let header = raw(&server, &head("/healthz", &format!("x: {long}\r\n"))).await;
    assert!(matches!(status(&header), "431" | "closed"), "{}", status(&header));
    let many = raw(&server, &head("/healthz", &"x: 1\r\n".repeat(200))).await;
    assert_eq!(status(&many), "431");
    assert_eq!(status(&raw(&server, &head("/healthz", "")).await), "200");
}

#[tokio::test]
async fn heads_of_senders_are_bounded_too() {
    let server = Server::start();
    let long = "a".repeat(1 << 20);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {JSON}\r\nx: {long}\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    let answer = raw_to(server.otlp_http, head.as_bytes()).await;
    assert!(matches!(status(&answer), "431" | "closed"), "{}", status(&answer));
    let mut client = TraceServiceClient::connect(format!("http://{}", server.otlp_grpc)).await.unwrap();
    let mut call = tonic::Request::new(one_span(1, "a", "b"));
    call.metadata_mut().insert("x", long.parse().unwrap());
    client.export(call).await.expect_err("its head is too long");
    let mut client = TraceServiceClient::connect(format!("http://{}", server.otlp_grpc)).await.unwrap();
    client.export(one_span(1, "a", "b")).await.expect("others are heard");
}

#[tokio::test]
async fn many_parameters_and_codes_are_read_once_and_within_bounds() {
    let server = Server::start();
    let many = server.get(&format!("/api/tracer/search?{}", "q=a&".repeat(10_000))).await;
    assert_eq!(many.status, StatusCode::BAD_REQUEST);
    assert!(many.body.len() < 1000, "{}", many.text());
    let tags: Vec<String> = (0..3000).map(|tag| format!("tag=k{tag}:v")).collect();
    let many = server.get(&format!("/api/traces?service=a&{}", tags.join("&"))).await;
    assert_eq!(many.status, StatusCode::BAD_REQUEST);
    assert!(many.text().contains("more than 64 tags"), "{}", many.text());
    // Codes of codes are text of codes.
    let path = format!("/api/tracer/services/{}41", "%25".repeat(10_000));
    let coded = server.get(&path).await;
    assert_eq!(coded.status, StatusCode::NOT_FOUND);
    assert_eq!(server.get("/api/tracer/services/%2541").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_cost_a_client_its_connection_and_nobody_else() {
    let server = Server::start();
    let mut attack = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in (1..4000_u32).step_by(2) {
        // HEADERS that begin and end the request `POST http://a/`, and RST_STREAM (RFC 9113, 6.2 and 6.4).
        attack.extend(b"\0\0\x06\x01\x05");
        attack.extend(stream.to_be_bytes());
        attack.extend(b"\x83\x86\x84\x41\x01a");
        attack.extend(b"\0\0\x04\x03\0");
        attack.extend(stream.to_be_bytes());
        attack.extend(b"\0\0\0\x08");
    }
    let mut stream = TcpStream::connect(server.otlp_grpc).await.unwrap();
    let _ = stream.write_all(&attack).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection ends");
    // GOAWAY with ENHANCE_YOUR_CALM.
    let goaway = answer.windows(17).any(|frame| frame[3] == 7 && frame[13..] == [0, 0, 0, 0xb]);
    assert!(goaway || answer.len() < 100, "{answer:?}");
    let mut client = TraceServiceClient::connect(format!("http://{}", server.otlp_grpc)).await.unwrap();
    client.export(one_span(1, "a", "b")).await.expect("others are heard");
}

#[tokio::test]
async fn a_long_query_within_the_head_is_refused_by_the_language() {
    let server = Server::start();
    let answer = get(server.page, &format!("/api/tracer/search?q={}", "a".repeat(20_000))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(get(server.page, &format!("/api/tracer/search?q={}", "a+".repeat(1000))).await.status, 400);
}

#[tokio::test]
async fn what_is_no_http_is_closed() {
    let server = Server::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let answer = raw(&server, bytes).await;
        assert!(matches!(status(&answer), "400" | "closed" | "505"), "{answer}");
    }
    let two = b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.com\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&raw(&server, two).await), "400");
    let none = b"GET / HTTP/1.0\r\n\r\n";
    assert_eq!(status(&raw(&server, none).await), "400");
    let absolute = b"GET http://evil.com/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&raw(&server, absolute).await), "403");
    let smuggled = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\nGET /";
    assert!(matches!(status(&raw(&server, smuggled).await), "400" | "405"));
}

#[tokio::test]
async fn text_of_traffic_stays_data() {
    let server = Server::start();
    let hostile = "</script><img src=x onerror=alert(1)>\u{202e}\u{0}\r\n\u{2028}event: trace\ndata: {}";
    let mut odd = span(9, 1, None, hostile, 2);
    odd.attributes = vec![text_attribute(hostile, hostile), text_attribute("large", &"x".repeat(1 << 20))];
    server.take(&ExportTraceServiceRequest { resource_spans: vec![of_service(hostile, vec![odd])] }).await;
    server.take(&sample()).await;
    let found = server.get("/api/tracer/search").await;
    assert_eq!(found.header("content-type"), "application/json");
    assert!(found.json()["traces"].as_array().unwrap().iter().any(|trace| trace["root_name"] == hostile));
    let id = "0102030405060708090a0b0c0d0e0f09";
    let trace = server.get(&format!("/api/tracer/traces/{id}")).await;
    assert_eq!(trace.json()["spans"][0]["name"], hostile);
    assert!(trace.body.len() < 1 << 20, "a value of a megabyte is cut");
    let jaeger = server.get(&format!("/api/traces/{id}")).await;
    assert_eq!(jaeger.json()["data"][0]["spans"][0]["operationName"], hostile);
    let page = server.get(&format!("/api/tracer/traces/{id}/export?format=html")).await;
    assert!(!page.text().contains("<img src=x"));
    let refused = server.get("/api/tracer/search?q=%3Cscript%3E%3Aalert(1)").await;
    assert_eq!(refused.header("content-type"), "application/json");
}
