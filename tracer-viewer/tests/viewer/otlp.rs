//! OTLP in.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient,
};
use prost::Message;
use serde_json::json;
use tonic::{Code, codec::CompressionEncoding, transport::Channel};

use crate::harness::{
    Answer, JSON, PROTOBUF, Server, get, of_service, one_span, post, request, sample, send, span,
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn compressed(server: &Server, coding: &str, body: Vec<u8>) -> Answer {
    let headers = [("content-type", PROTOBUF), ("content-encoding", coding)];
    send(server.otlp_http, request("POST", server.otlp_http, "/v1/traces", &headers, body.into())).await
}

async fn spans(server: &Server) -> u64 {
    server.get("/api/tracer/status").await.json()["store"]["spans"].as_u64().unwrap()
}

async fn client(server: &Server) -> TraceServiceClient<Channel> {
    TraceServiceClient::connect(format!("http://{}", server.otlp_grpc)).await.expect("it listens")
}

#[tokio::test]
async fn protobuf_is_answered_in_protobuf() {
    let server = Server::start();
    let answer = post(server.otlp_http, "/v1/traces", PROTOBUF, sample().encode_to_vec()).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, PROTOBUF));
    let decoded = ExportTraceServiceResponse::decode(answer.body).unwrap();
    assert!(decoded.partial_success.is_none());
    assert_eq!(spans(&server).await, 3);
}

#[tokio::test]
async fn json_is_answered_in_json() {
    let server = Server::start();
    let span = json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "a",
        "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": "1544712661000000000"});
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    let answer = post(server.otlp_http, "/v1/traces", "application/json; charset=utf-8", body).await;
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.text().as_str()),
        (StatusCode::OK, JSON, "{}")
    );
    assert_eq!(spans(&server).await, 1);
}

#[tokio::test]
async fn gzip_and_zstd_are_taken() {
    let server = Server::start();
    let one = |trace| one_span(trace, "a", "b").encode_to_vec();
    assert_eq!(compressed(&server, "gzip", gzip(&one(1))).await.status, StatusCode::OK);
    let zstd = zstd::encode_all(one(2).as_slice(), 1).unwrap();
    assert_eq!(compressed(&server, "zstd", zstd).await.status, StatusCode::OK);
    assert_eq!(compressed(&server, "identity", one(3)).await.status, StatusCode::OK);
    assert_eq!(spans(&server).await, 3);
    let answer = compressed(&server, "br", one(4)).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, PROTOBUF)
    );
}

#[tokio::test]
async fn refused_spans_are_a_partial_success() {
    let server = Server::start();
    let mut wrong = span(1, 1, None, "wrong", 2);
    wrong.trace_id = vec![0; 16];
    let spans_of = vec![wrong, span(1, 2, None, "right", 2)];
    let sent = ExportTraceServiceRequest { resource_spans: vec![of_service("a", spans_of)] };
    let answer = post(server.otlp_http, "/v1/traces", PROTOBUF, sent.encode_to_vec()).await;
    let partial = ExportTraceServiceResponse::decode(answer.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("trace id"), "{}", partial.error_message);
    let partial = client(&server).await.export(sent).await.unwrap().into_inner().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert_eq!(server.get("/metrics").await.text().matches("otlp_refused_spans_total 2\n").count(), 1);
}

#[tokio::test]
async fn wrong_requests_are_the_senders_fault_and_not_to_be_sent_again() {
    let server = Server::start();
    let (at, traces) = (server.otlp_http, "/v1/traces");
    assert_eq!(post(at, traces, PROTOBUF, "\u{ff}\u{ff}").await.status, StatusCode::BAD_REQUEST);
    let answer = post(at, traces, JSON, "{").await;
    assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::BAD_REQUEST, &json!(3)));
    assert_eq!(post(at, traces, "text/plain", "{}").await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(compressed(&server, "gzip", b"no gzip".to_vec()).await.status, StatusCode::BAD_REQUEST);
    let answer = get(at, traces).await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    assert_eq!(post(at, "/v1/other", JSON, "{}").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn other_signals_are_refused_with_the_remedy() {
    let server = Server::start();
    for (path, remedy) in
        [("/v1/metrics", "OTEL_METRICS_EXPORTER=none"), ("/v1/logs", "OTEL_LOGS_EXPORTER=none")]
    {
        let answer = post(server.otlp_http, path, JSON, "{}").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.json()["message"].as_str().unwrap().contains(remedy), "{}", answer.text());
    }
}

#[tokio::test]
async fn what_is_too_large_is_413() {
    let server = Server::with(|settings| settings.limits.otlp_request_bytes = 10_000);
    let mut large = span(1, 1, None, &"n".repeat(20_000), 2);
    large.kind = 1;
    let large =
        ExportTraceServiceRequest { resource_spans: vec![of_service("a", vec![large])] }.encode_to_vec();
    let answer = post(server.otlp_http, "/v1/traces", PROTOBUF, large.clone()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let bomb = gzip(&large);
    assert!(bomb.len() < 1000);
    assert_eq!(compressed(&server, "gzip", bomb).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(spans(&server).await, 0);
}

#[tokio::test]
async fn grpc_takes_spans_plain_and_compressed() {
    let server = Server::start();
    let mut plain = client(&server).await;
    let answer = plain.export(one_span(1, "a", "b")).await.unwrap().into_inner();
    assert!(answer.partial_success.is_none());
    let mut gzip = client(&server).await.send_compressed(CompressionEncoding::Gzip);
    gzip.export(one_span(2, "a", "b")).await.unwrap();
    let mut zstd = client(&server).await.send_compressed(CompressionEncoding::Zstd);
    zstd.export(one_span(3, "a", "b")).await.unwrap();
    assert_eq!(spans(&server).await, 3);
}

#[tokio::test]
async fn grpc_says_what_it_does_not_take() {
    let server = Server::with(|settings| settings.limits.otlp_request_bytes = 10_000);
    let large = one_span(1, "a", &"n".repeat(20_000));
    let status = client(&server).await.export(large.clone()).await.expect_err("it is too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let mut gzip = client(&server).await.send_compressed(CompressionEncoding::Gzip);
    let status = gzip.export(large).await.expect_err("it is a bomb");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(spans(&server).await, 0);
}

#[tokio::test]
async fn a_sender_that_finds_no_place_comes_again() {
    let server = Server::with(|settings| settings.limits.otlp_requests = 0);
    let answer = post(server.otlp_http, "/v1/traces", PROTOBUF, sample().encode_to_vec()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    let status = client(&server).await.export(sample()).await.expect_err("there is no place");
    assert_eq!(status.code(), Code::Unavailable);
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("google.rpc.RetryInfo"), "{details:?}");
    assert!(server.get("/metrics").await.text().contains("otlp_deferred_requests_total 2\n"));
}

#[tokio::test]
async fn an_sdk_and_an_agent_stand_in_one_trace() {
    let server = Server::start();
    let (root, child) = (span(7, 1, None, "root", 2), span(7, 2, Some(1), "child", 3));
    let of =
        |service, span| ExportTraceServiceRequest { resource_spans: vec![of_service(service, vec![span])] };
    client(&server).await.export(of("by-grpc", root)).await.unwrap();
    server.take(&of("by-http", child)).await;
    let found = server.get("/api/tracer/search").await.json();
    assert_eq!(
        (found["traces"].as_array().map(Vec::len), &found["traces"][0]["spans"]),
        (Some(1), &json!(2))
    );
}
