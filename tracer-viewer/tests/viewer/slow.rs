//! Clients that open connections and leave them there: they lose them to clients that ask.

use std::{net::SocketAddr, time::Duration};

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{
    PATIENCE, PROTOBUF, Server, TRACE, get, may_open_many_files, of_service, one_span, post, span,
    text_attribute,
};

/// Half of a request, as long as anybody likes.
const HALF: &[u8] = b"GET /api/tracer/status HTTP/1.1\r\nhost: localhost\r\nx-slow: ";

/// The beginning of HTTP/2, and of nothing more.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn open_many(address: SocketAddr, many: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut open = Vec::with_capacity(many);
    for _ in 0..many {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        // Those before may have given way already.
        let _ = stream.write_all(bytes).await;
        open.push(stream);
    }
    open
}

/// A count of the metrics.
fn count(metrics: &str, name: &str) -> u64 {
    let name = format!("tracer_viewer_{name} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no {name}in {metrics}"))
}

#[tokio::test]
async fn two_thousand_half_requests_keep_nobody_out() {
    may_open_many_files();
    let server = Server::start();
    let most = 512;
    let half = open_many(server.page, 2000, HALF).await;
    let answer = server.get("/api/tracer/status").await;
    assert_eq!(answer.status, StatusCode::OK);
    let metrics = server.get("/metrics").await.text();
    assert_eq!(count(&metrics, "refused_connections_total"), 0);
    assert!(count(&metrics, "displaced_connections_total") >= 2000 - most, "{metrics}");
    assert!(count(&metrics, "connections") <= most, "{metrics}");
    drop(half);
}

#[tokio::test]
async fn senders_are_heard_beside_half_requests() {
    may_open_many_files();
    let server = Server::with(|settings| settings.limits.connections = 64);
    let http = open_many(server.otlp_http, 200, HALF).await;
    let body = open_many(
        server.otlp_http,
        200,
        b"POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
    )
    .await;
    let grpc = open_many(server.otlp_grpc, 200, PREFACE).await;
    let answer = post(server.otlp_http, "/v1/traces", PROTOBUF, one_span(1, "a", "b").encode_to_vec()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let mut client = TraceServiceClient::connect(format!("http://{}", server.otlp_grpc)).await.unwrap();
    client.export(one_span(2, "a", "b")).await.expect("it is heard");
    let metrics = server.get("/metrics").await.text();
    assert!(count(&metrics, "displaced_connections_total") >= 600 - 2 * 64, "{metrics}");
    drop((http, body, grpc));
}

#[tokio::test]
async fn connections_kept_for_later_give_way() {
    let server = Server::with(|settings| settings.limits.connections = 4);
    let mut kept = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.page).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0]).await.expect("each is answered");
        kept.push(stream);
    }
    let mut first = kept.swap_remove(0);
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, first.read_to_end(&mut rest)).await.expect("it gave way");
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
}

/// A trace whose export takes several MiB.
async fn large_trace(server: &Server) -> usize {
    for batch in 0..20 {
        let spans = (0..100).map(|id| {
            let mut one = span(16, 1, None, "GET /large", 2);
            one.span_id[6..].copy_from_slice(&[batch + 1, id + 1]);
            one.attributes = vec![text_attribute("url.path", &"x".repeat(4000))];
            one
        });
        server
            .take(&ExportTraceServiceRequest { resource_spans: vec![of_service("a", spans.collect())] })
            .await;
    }
    let answer = server.get(&format!("/api/tracer/traces/{TRACE}/export?format=otlp-json")).await;
    answer.body.len()
}

#[tokio::test]
async fn readers_that_stand_still_hold_bounded_bytes_and_keep_nobody_from_reading() {
    const ROOM: u64 = 12 << 20;
    let server = Server::with(|settings| {
        settings.limits.answer_bytes = ROOM as usize;
        settings.limits.give_way_time = Duration::from_millis(50);
    });
    let whole = large_trace(&server).await;
    // A form in which no slow reader asks for the trace.
    let path = format!("/api/traces/{TRACE}");
    let good_one = server.get(&path).await.body.len();
    // Each answer is larger than what the sockets between us take.
    assert!(whole > 8 << 20, "{whole}");
    let mut readers = Vec::new();
    for format in ["otlp-json", "jaeger-json"].into_iter().cycle().take(24) {
        let mut stream = TcpStream::connect(server.page).await.unwrap();
        let path = format!("/api/tracer/traces/{TRACE}/export?format={format}");
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        readers.push(stream);
        let held = count(&server.get("/metrics").await.text(), "answer_bytes");
        assert!(held <= ROOM, "{held}");
    }
    let good = async {
        loop {
            let answer = server.get(&path).await;
            match answer.status {
                StatusCode::OK => return answer,
                _ => assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "2")),
            }
            assert!(count(&server.get("/metrics").await.text(), "answer_bytes") <= ROOM);
        }
    };
    assert_eq!(timeout(PATIENCE, good).await.expect("there is room again").body.len(), good_one);
    let metrics = server.get("/metrics").await.text();
    assert!(count(&metrics, "displaced_answers_total") > 0, "{metrics}");
    // Those that gave way see that: their answers are cut, not short.
    let mut cut = 0;
    for mut reader in readers {
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, reader.read_to_end(&mut answer)).await.is_ok();
        cut += usize::from(answer.len() < whole);
    }
    assert!(cut > 0);
}

#[tokio::test]
async fn readers_of_one_trace_hold_its_answer_once() {
    let server = Server::start();
    let whole = large_trace(&server).await;
    let mut readers = Vec::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(server.page).await.unwrap();
        let path = format!("/api/tracer/traces/{TRACE}/export?format=otlp-json");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        readers.push(stream);
    }
    let held = count(&server.get("/metrics").await.text(), "answer_bytes") as usize;
    // The last part may be filled in part.
    assert!((whole..whole + (128 << 10)).contains(&held), "{held} for {whole}");
    drop(readers);
    let freed = async {
        while count(&server.get("/metrics").await.text(), "answer_bytes") > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.expect("readers that are gone hold nothing");
}

#[tokio::test]
async fn senders_that_stand_still_hold_bounded_bytes_and_keep_nobody_from_sending() {
    let server = Server::with(|settings| {
        settings.limits.otlp_requests = 2;
        settings.limits.otlp_request_bytes = 1 << 20;
        settings.limits.give_way_time = Duration::from_millis(50);
    });
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: {PROTOBUF}\r\ncontent-length: 900000\r\n\r\n"
    );
    let mut part = head.into_bytes();
    part.resize(part.len() + 800_000, b'x');
    let held = open_many(server.otlp_http, 40, &part).await;
    let good = async {
        loop {
            let sent = one_span(1, "a", &"n".repeat(500_000)).encode_to_vec();
            let answer = post(server.otlp_http, "/v1/traces", PROTOBUF, sent).await;
            let metrics = server.get("/metrics").await.text();
            assert!(count(&metrics, "otlp_receiving_bytes") <= 2 << 20, "{metrics}");
            match answer.status {
                StatusCode::OK => return,
                status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
            }
        }
    };
    timeout(PATIENCE, good).await.expect("there is room again");
    let metrics = server.get("/metrics").await.text();
    assert!(count(&metrics, "displaced_otlp_requests_total") > 0, "{metrics}");
    drop(held);
}

#[tokio::test]
async fn a_head_that_drips_is_ended_by_its_clock_and_counted() {
    let server = Server::with(|settings| settings.limits.first_time = Duration::from_millis(100));
    let mut stream = TcpStream::connect(server.page).await.unwrap();
    let dripping = async {
        let _ = stream.write_all(HALF).await;
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, dripping).await.expect("more bytes do not win more time");
    assert_eq!(count(&get(server.page, "/metrics").await.text(), "slow_connections_total"), 1);
}
