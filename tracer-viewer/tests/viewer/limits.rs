//! Clients that take and hold what they can.

use std::time::Duration;

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{
    PATIENCE, PROTOBUF, Server, TRACE, get, of_service, one_span, post, sample, span, text_attribute,
};

const SOON: Duration = Duration::from_millis(200);

async fn ends(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server ends it");
    rest
}

#[tokio::test]
async fn a_client_that_sends_no_head_is_let_go() {
    let server = Server::with(|settings| {
        settings.limits.first_time = SOON;
        settings.limits.head_time = SOON;
    });
    for address in [server.page, server.otlp_http, server.otlp_grpc] {
        for bytes in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nhost: localhost\r\nx-slow:"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes.as_bytes()).await.unwrap();
            ends(&mut stream).await;
        }
    }
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server = Server::with(|settings| settings.limits.body_time = SOON);
    let mut stream = TcpStream::connect(server.otlp_http).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = String::from_utf8_lossy(&ends(&mut stream).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_cut_stores_nothing_and_frees_its_place() {
    let server = Server::with(|settings| settings.limits.otlp_requests = 1);
    let body = sample().encode_to_vec();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.otlp_http).await.unwrap();
        let length = body.len();
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: {PROTOBUF}\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body[..length / 2]).await.unwrap();
    }
    let taken = async {
        while post(server.otlp_http, "/v1/traces", PROTOBUF, one_span(1, "a", "b").encode_to_vec())
            .await
            .status
            != StatusCode::OK
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, taken).await.expect("the place is free again");
    assert_eq!(server.get("/api/tracer/status").await.json()["store"]["spans"], 1);
}

#[tokio::test]
async fn connections_are_bounded_and_counted() {
    let server = Server::with(|settings| settings.limits.connections = 2);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.page).await.unwrap();
        // An answer shows that the connection has its place. It keeps that, since the answer goes on.
        stream.write_all(b"GET /api/tracer/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut follows = Vec::new();
        while !follows.ends_with(b": follows\n\n\r\n") {
            follows.push(stream.read_u8().await.unwrap());
        }
        held.push(stream);
    }
    let mut third = TcpStream::connect(server.page).await.unwrap();
    assert!(ends(&mut third).await.is_empty());
    drop(held);
    let freed = async {
        loop {
            let mut stream = TcpStream::connect(server.page).await.unwrap();
            let _ = stream
                .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                .await;
            let mut answer = String::new();
            if stream.read_to_string(&mut answer).await.is_ok_and(|_| !answer.is_empty()) {
                return answer;
            }
        }
    };
    let metrics = timeout(PATIENCE, freed).await.expect("places are free again");
    let refused =
        metrics.lines().find_map(|line| line.strip_prefix("tracer_viewer_refused_connections_total "));
    assert!(refused.is_some_and(|count| count != "0"), "{metrics}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_gives_its_room_back() {
    let server = Server::with(|settings| {
        settings.limits.write_time = SOON;
        settings.limits.answer_bytes = 16 << 20;
    });
    for id in 1..=4 {
        let mut large = span(16, id, None, "large", 2);
        large.attributes = vec![text_attribute("body", &"x".repeat(3 << 20))];
        server.take(&ExportTraceServiceRequest { resource_spans: vec![of_service("a", vec![large])] }).await;
    }
    let path = |format: &str| format!("/api/tracer/traces/{TRACE}/export?format={format}");
    let mut slow = TcpStream::connect(server.page).await.unwrap();
    let head = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", path("otlp-json"));
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.read_exact(&mut [0]).await.unwrap();
    let answered = async {
        loop {
            // Another form: of the same one there would be nothing more to hold.
            match server.get(&path("jaeger-json")).await {
                answer if answer.status == StatusCode::OK => return answer,
                answer => assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE),
            }
        }
    };
    let answer = timeout(PATIENCE, answered).await.expect("there is room again");
    assert!(answer.body.len() > 12 << 20);
    assert!(ends(&mut slow).await.len() < answer.body.len(), "the slow client got all");
}

#[tokio::test]
async fn a_search_that_finds_no_place_is_refused_in_time() {
    let server = Server::with(|settings| {
        settings.limits.searches = 0;
        settings.limits.search_wait = SOON;
    });
    for path in ["/api/tracer/search", "/api/tracer/map", "/api/traces?service=a", "/api/v3/services"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", answer.text());
    }
    assert_eq!(server.get("/api/tracer/search").await.header("retry-after"), "2");
    assert_eq!(server.get("/api/tracer/status").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_search_at_its_limit_of_time_says_so() {
    let server = Server::with(|settings| settings.limits.search_time = Duration::ZERO);
    for trace in 1..=200 {
        server.take(&one_span(trace, "a", "b")).await;
    }
    let answer = server.get("/api/tracer/search?q=nothing-like-this").await.json();
    assert!(answer["incomplete"].is_string(), "{answer}");
}

#[tokio::test]
async fn stopping_ends_what_is_under_way() {
    let server = Server::with(|settings| settings.limits.stop_time = SOON);
    let (page, otlp) = (server.page, server.otlp_http);
    let mut live = TcpStream::connect(page).await.unwrap();
    live.write_all(b"GET /api/tracer/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    live.read_exact(&mut [0]).await.unwrap();
    let mut idle = TcpStream::connect(otlp).await.unwrap();
    tokio::task::spawn_blocking(move || server.running.stop()).await.unwrap();
    ends(&mut live).await;
    ends(&mut idle).await;
    assert!(TcpStream::connect(page).await.is_err() && TcpStream::connect(otlp).await.is_err());
}

#[tokio::test]
async fn an_address_is_free_after_the_stop() {
    let server = Server::start();
    let page = server.page;
    assert_eq!(get(page, "/healthz").await.status, StatusCode::OK);
    tokio::task::spawn_blocking(move || drop(server.running)).await.unwrap();
    let again = Server::with(|settings| settings.listen = page);
    assert_eq!(again.get("/healthz").await.status, StatusCode::OK);
}
