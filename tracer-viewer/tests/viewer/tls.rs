//! TLS.

use std::{fs, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider, pki_types::ServerName},
};
use tracer_viewer::{TlsFiles, Token, ViewerError};

use crate::harness::{Server, post, request, send_on, settings};

struct Certificate {
    directory: TempDir,
    roots: RootCertStore,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        Self { directory, roots }
    }

    fn files(&self) -> TlsFiles {
        let path = |name| self.directory.path().join(name);
        TlsFiles { certificate: path("cert.pem"), key: path("key.pem") }
    }

    async fn connect(&self, server: &Server, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(server.page).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("the handshake succeeds")
    }
}

#[tokio::test]
async fn the_page_speaks_tls_and_otlp_on_loopback_stays_plain() {
    let certificate = Certificate::new();
    let server = Server::with(|settings| settings.tls = Some(certificate.files()));
    assert!(server.running.addresses().url.starts_with("https://"));
    let stream = certificate.connect(&server, &[b"http/1.1"]).await;
    let answer = send_on(stream, request("GET", server.page, "/api/tracer/status", &[], Bytes::new())).await;
    assert_eq!(answer.status, StatusCode::OK);
    let plain = post(server.otlp_http, "/v1/traces", "application/json", "{}").await;
    assert_eq!(plain.status, StatusCode::OK);
}

#[tokio::test]
async fn http_2_is_offered_under_tls() {
    let certificate = Certificate::new();
    let server = Server::with(|settings| settings.tls = Some(certificate.files()));
    let stream = certificate.connect(&server, &[b"h2", b"http/1.1"]).await;
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
    let certificate = Certificate::new();
    let token = Token::random().unwrap();
    let server = Server::with(|settings| {
        settings.tls = Some(certificate.files());
        settings.token = Some(token.clone());
    });
    let stream = certificate.connect(&server, &[]).await;
    let visit = format!("/?token={}", token.text());
    let answer = send_on(stream, request("GET", server.page, &visit, &[], Bytes::new())).await;
    assert!(answer.header("set-cookie").ends_with("; Secure"), "{:?}", answer.headers);
}

#[test]
fn a_key_that_is_none_is_named() {
    let certificate = Certificate::new();
    let mut settings = settings();
    let mut files = certificate.files();
    files.key = files.certificate.clone();
    settings.tls = Some(files);
    let store = Arc::new(tracer_store::Store::in_memory(tracer_store::Limits::default()));
    let error = tracer_viewer::Viewer::start(settings, store, None).expect_err("this is no key");
    assert!(matches!(error, ViewerError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("cert.pem"), "{error}");
}
