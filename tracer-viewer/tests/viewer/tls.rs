//! TLS.

use std::{fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tracer_viewer::{Token, ViewerError};

use crate::{
    certificates::{Authority, Files},
    harness::{PATIENCE, Server, post, request, send_on, settings},
};

async fn status(server: &Server, files: &Files) -> StatusCode {
    let stream = files.connect(server.page, &[b"http/1.1"]).await.expect("the handshake succeeds");
    send_on(stream, request("GET", server.page, "/api/tracer/status", &[], Bytes::new())).await.status
}

#[tokio::test]
async fn the_page_speaks_tls_and_otlp_on_loopback_stays_plain() {
    let files = Files::new();
    let server = Server::with(|settings| settings.tls = Some(files.tls()));
    assert!(server.running.addresses().url.starts_with("https://"));
    assert_eq!(status(&server, &files).await, StatusCode::OK);
    let plain = post(server.otlp_http, "/v1/traces", "application/json", "{}").await;
    assert_eq!(plain.status, StatusCode::OK);
}

#[tokio::test]
async fn http_2_is_offered_under_tls() {
    let files = Files::new();
    let server = Server::with(|settings| settings.tls = Some(files.tls()));
    let stream = files.connect(server.page, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let driver = tokio::spawn(connection);
    let ask = async |sender: &mut hyper::client::conn::http2::SendRequest<_>, host: &str| {
        let uri = format!("https://{host}/api/tracer/status");
        let request = http::Request::get(uri).body(http_body_util::Empty::<Bytes>::new()).unwrap();
        sender.send_request(request).await.unwrap().status()
    };
    assert_eq!(ask(&mut sender, "localhost").await, StatusCode::OK);
    assert_eq!(ask(&mut sender, "evil.com").await, StatusCode::FORBIDDEN);
    driver.abort();
}

#[tokio::test]
async fn a_cookie_under_tls_is_secure() {
    let files = Files::new();
    let token = Token::random().unwrap();
    let server = Server::with(|settings| {
        settings.tls = Some(files.tls());
        settings.token = Some(token.clone());
    });
    let stream = files.connect(server.page, &[]).await.unwrap();
    let visit = format!("/?token={}", token.text());
    let answer = send_on(stream, request("GET", server.page, &visit, &[], Bytes::new())).await;
    assert!(answer.header("set-cookie").ends_with("; Secure"), "{:?}", answer.headers);
}

fn refused(change: impl FnOnce(&mut tracer_viewer::Settings)) -> ViewerError {
    let mut settings = settings();
    change(&mut settings);
    let store = Arc::new(tracer_store::Store::in_memory(tracer_store::Limits::default()));
    tracer_viewer::Viewer::start(settings, store, None).expect_err("the files cannot be used")
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let files = Files::new();
    let mut tls = files.tls();
    tls.key = tls.certificate.clone();
    let error = refused(|settings| settings.tls = Some(tls)).to_string();
    assert!(error.contains("cert.pem for TLS: it holds no private key"), "{error}");
    let mut tls = files.tls();
    tls.certificate = tls.key.clone();
    let error = refused(|settings| settings.tls = Some(tls)).to_string();
    assert!(error.contains("key.pem for TLS: it holds no certificate"), "{error}");
    let mut tls = files.tls();
    let others = Files::new();
    tls.key = others.tls().key;
    let error = refused(|settings| settings.tls = Some(tls)).to_string();
    assert!(error.contains("cert.pem for TLS: it does not go with the key"), "{error}");
    let error = refused(|settings| {
        settings.tls = Some(files.tls());
        settings.tls_client_ca = Some("/nowhere/ca.pem".into());
    });
    assert!(
        matches!(error, ViewerError::Tls { .. }) && error.to_string().contains("/nowhere/ca.pem"),
        "{error}"
    );
}

#[tokio::test]
async fn clients_without_a_certificate_of_the_authority_are_refused() {
    let (files, ours, strangers) = (Files::new(), Authority::new(), Authority::new());
    let ca = ours.write(files.directory());
    let server = Server::with(|settings| {
        settings.tls = Some(files.tls());
        settings.tls_client_ca = Some(ca);
    });
    let ask = async |client: Option<&Authority>| {
        let mut stream = files.connect_as(server.page, &[b"http/1.1"], client).await.ok()?;
        // TLS 1.3 lets a client go on before the server has judged its certificate.
        let head = b"GET /api/tracer/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.ok()?;
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it ends").ok()?;
        answer.starts_with(b"HTTP/1.1 200 ").then_some(())
    };
    assert!(ask(None).await.is_none(), "without a certificate");
    assert!(ask(Some(&strangers)).await.is_none(), "of another authority");
    assert!(ask(Some(&ours)).await.is_some());
    let stream = files.connect_as(server.page, &[b"http/1.1"], Some(&ours)).await.unwrap();
    let metrics = send_on(stream, request("GET", server.page, "/metrics", &[], Bytes::new())).await.text();
    assert!(metrics.contains("tracer_viewer_failed_handshakes_total 2\n"), "{metrics}");
}

/// Puts files in the place of others, as tools that renew certificates do.
fn replace(from: &Path, to: &Path) {
    for name in ["cert.pem", "key.pem"] {
        fs::rename(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test]
async fn files_that_change_are_read_again() {
    let (first, second) = (Files::new(), Files::new());
    let server = Server::with(|settings| {
        settings.tls = Some(first.tls());
        settings.limits.tls_check_time = Duration::ZERO;
    });
    assert_eq!(status(&server, &first).await, StatusCode::OK);
    replace(second.directory(), first.directory());
    assert_eq!(status(&server, &second).await, StatusCode::OK);
    assert!(first.connect(server.page, &[]).await.is_err(), "the old certificate is gone");
}

#[tokio::test]
async fn files_that_are_broken_leave_the_old_ones_in_use() {
    let (first, second) = (Files::new(), Files::new());
    let server = Server::with(|settings| {
        settings.tls = Some(first.tls());
        settings.limits.tls_check_time = Duration::ZERO;
    });
    let tls = first.tls();
    fs::write(&tls.certificate, "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
    assert_eq!(status(&server, &first).await, StatusCode::OK);
    fs::remove_file(&tls.key).unwrap();
    assert_eq!(status(&server, &first).await, StatusCode::OK);
    // The new certificate is there before its key is.
    fs::copy(second.tls().certificate, &tls.certificate).unwrap();
    assert_eq!(status(&server, &first).await, StatusCode::OK);
    fs::copy(second.tls().key, &tls.key).unwrap();
    assert_eq!(status(&server, &second).await, StatusCode::OK);
}

#[tokio::test]
async fn authorities_that_change_are_read_again() {
    let (files, old, new) = (Files::new(), Authority::new(), Authority::new());
    let ca = old.write(files.directory());
    let server = Server::with(|settings| {
        settings.tls = Some(files.tls());
        settings.tls_client_ca = Some(ca);
        settings.limits.tls_check_time = Duration::ZERO;
    });
    new.write(files.directory());
    let stream = files.connect_as(server.page, &[b"http/1.1"], Some(&new)).await.unwrap();
    let answer = send_on(stream, request("GET", server.page, "/healthz", &[], Bytes::new())).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn half_handshakes_keep_nobody_out() {
    let files = Files::new();
    let server = Server::with(|settings| {
        settings.tls = Some(files.tls());
        settings.limits.connections = 32;
    });
    let mut half = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.page).await.unwrap();
        // The head of a TLS record, and the rest of it never.
        let _ = stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
        half.push(stream);
    }
    assert_eq!(status(&server, &files).await, StatusCode::OK);
    let mut first = half.swap_remove(0);
    let ended = timeout(PATIENCE, first.read(&mut [0])).await.expect("it gave way");
    assert!(ended.map_or(true, |bytes| bytes == 0));
}
