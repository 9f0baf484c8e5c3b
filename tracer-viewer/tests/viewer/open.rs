//! Addresses that other machines can reach: in network namespaces of their own, in which nobody else is.

use std::{fs::File, net::SocketAddr, os::fd::AsFd, process::Command, thread};

use bytes::Bytes;
use http::StatusCode;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};
use prost::Message;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tonic::{
    Code, Request, Status,
    transport::{Endpoint, Uri},
};
use tracer_viewer::{Settings, Token};

use crate::{
    certificates::{Authority, Files},
    harness::{PROTOBUF, Server, get_with, may_open_many_files, one_span, request, send, send_on},
};

const TOKEN: &str = "a-token-of-length-24-000";

/// An address in a namespace, which is not loopback.
const OPEN: &str = "10.77.0.1";

/// A network namespace, gone with this.
struct Namespace(String);

impl Namespace {
    fn new() -> Self {
        let this = Self(
            format!("tracer-viewer-{}-{:?}", std::process::id(), thread::current().id())
                .replace(['(', ')'], ""),
        );
        ip(&["netns", "add", &this.0]);
        ip(&["-n", &this.0, "link", "set", "lo", "up"]);
        ip(&["-n", &this.0, "addr", "add", &format!("{OPEN}/32"), "dev", "lo"]);
        this
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments:?}");
}

/// Does something in a namespace of its own. Only root may make one: others do nothing.
fn in_namespace(work: impl AsyncFnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root makes network namespaces");
        return;
    }
    let namespace = Namespace::new();
    let file = File::open(format!("/run/netns/{}", namespace.0)).expect("the namespace's file");
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // Of this thread only, and of those that it starts.
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work());
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A viewer that other machines could reach.
fn open(change: impl FnOnce(&mut Settings)) -> Server {
    Server::with(|settings| {
        let any: SocketAddr = format!("{OPEN}:0").parse().unwrap();
        settings.listen = any;
        settings.otlp_http = Some(any);
        settings.otlp_grpc = Some(any);
        settings.token = Some(Token::new(TOKEN).unwrap());
        change(settings);
    })
}

/// A real client of gRPC, on a connection that it is given.
async fn export<C>(connection: C, token: Option<&str>) -> Result<(), Status>
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = Some(TokioIo::new(connection));
    let connector = tower::service_fn(move |_: Uri| {
        std::future::ready(connection.take().ok_or_else(|| std::io::Error::other("one connection is enough")))
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap();
    let mut request = Request::new(one_span(1, "a", "b"));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    TraceServiceClient::new(channel).export(request).await.map(drop)
}

#[test]
fn an_open_address_needs_the_token_and_is_called_by_its_address() {
    in_namespace(async || {
        let server = open(|_| ());
        let bearer = format!("Bearer {TOKEN}");
        let status = async |host: &str, token: bool| {
            let mut headers = vec![("host", host)];
            headers.extend(token.then_some(("authorization", bearer.as_str())));
            get_with(server.page, "/api/tracer/status", &headers).await.status
        };
        let own = server.page.to_string();
        assert_eq!(status(&own, false).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&own, true).await, StatusCode::OK);
        assert_eq!(status("localhost", true).await, StatusCode::OK);
        // A name that was made to lead here, token or not.
        for name in ["evil.com", "10.77.0.1.nip.io", "localhost.evil.com"] {
            assert_eq!(status(name, true).await, StatusCode::FORBIDDEN, "{name}");
            assert_eq!(status(name, false).await, StatusCode::FORBIDDEN, "{name}");
        }
        assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
        assert!(server.running.addresses().url.starts_with(&format!("http://{OPEN}:")));
    });
}

#[test]
fn senders_of_other_machines_need_the_token() {
    in_namespace(async || {
        let server = open(|_| ());
        let bearer = format!("Bearer {TOKEN}");
        let body = Bytes::from(one_span(1, "a", "b").encode_to_vec());
        let send_with = async |headers: &[(&str, &str)]| {
            let mut all = vec![("content-type", PROTOBUF)];
            all.extend(headers);
            send(server.otlp_http, request("POST", server.otlp_http, "/v1/traces", &all, body.clone()))
                .await
                .status
        };
        assert_eq!(send_with(&[]).await, StatusCode::UNAUTHORIZED);
        assert_eq!(send_with(&[("authorization", &bearer)]).await, StatusCode::OK);
        let connect = async || TcpStream::connect(server.otlp_grpc).await.unwrap();
        let refused = export(connect().await, None).await.expect_err("it lacks the token");
        assert_eq!(refused.code(), Code::Unauthenticated);
        export(connect().await, Some(TOKEN)).await.expect("it has the token");
    });
}

#[test]
fn otlp_speaks_tls_where_other_machines_reach_it() {
    in_namespace(async || {
        let files = Files::new();
        let server = open(|settings| settings.tls = Some(files.tls()));
        let stream = files.connect(server.otlp_grpc, &[b"h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        export(stream, Some(TOKEN)).await.expect("gRPC by TLS");
        let stream = files.connect(server.otlp_http, &[b"http/1.1"]).await.unwrap();
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("content-type", PROTOBUF), ("authorization", bearer.as_str())];
        let body = ExportTraceServiceRequest::default().encode_to_vec();
        let sent = request("POST", server.otlp_http, "/v1/traces", &headers, body.into());
        assert_eq!(send_on(stream, sent).await.status, StatusCode::OK);
        // Without TLS nothing is answered.
        let mut plain = TcpStream::connect(server.otlp_http).await.unwrap();
        plain.write_all(b"GET /v1/traces HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer).await;
        assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    });
}

#[test]
fn a_certificate_of_the_client_serves_instead_of_the_token() {
    in_namespace(async || {
        let (files, authority, stranger) = (Files::new(), Authority::new(), Authority::new());
        let ca = authority.write(files.directory());
        let server = open(|settings| {
            settings.token = None;
            settings.tls = Some(files.tls());
            settings.tls_client_ca = Some(ca);
        });
        let stream = files.connect_as(server.otlp_grpc, &[b"h2"], Some(&authority)).await.unwrap();
        export(stream, None).await.expect("it has a certificate");
        if let Ok(stream) = files.connect_as(server.otlp_grpc, &[b"h2"], Some(&stranger)).await {
            assert!(export(stream, None).await.is_err(), "of another authority");
        }
        let stream = files.connect_as(server.page, &[b"http/1.1"], Some(&authority)).await.unwrap();
        let answer =
            send_on(stream, request("GET", server.page, "/api/tracer/search", &[], Bytes::new())).await;
        assert_eq!(answer.json()["traces"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn one_host_does_not_take_the_places_of_others() {
    may_open_many_files();
    in_namespace(async || {
        let server = open(|settings| settings.limits.connections_of_host = 8);
        let mut half = Vec::new();
        for _ in 0..100 {
            let mut stream = TcpStream::connect(server.page).await.unwrap();
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost:").await;
            half.push(stream);
        }
        let bearer = format!("Bearer {TOKEN}");
        let metrics = get_with(server.page, "/metrics", &[("authorization", &bearer)]).await.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("tracer_viewer_connections "));
        let open: u64 = line.unwrap().parse().unwrap();
        assert!((1..=8).contains(&open), "{open} are open");
    });
}
