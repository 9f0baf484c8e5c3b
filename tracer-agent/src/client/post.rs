//! Sends to an address of somebody else's, such as a webhook.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{runtime::Runtime, time::timeout};

use super::{
    address::Address,
    connect::{NoConnection, Way},
    error::ClientError,
    reasons,
    tls::TlsFiles,
};

/// So long the receiver may take for one message.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest part of an answer that is told if it is an error.
const MAX_TOLD_BYTES: usize = 200;

/// Sends messages to one address.
pub struct Poster {
    runtime: Runtime,
    way: Way,
    /// The address without what it may hold of secrets.
    shown: String,
    target: String,
    headers: HeaderMap,
}

impl Poster {
    /// For an address that begins with `http://` or `https://`; its query is sent, and never shown.
    ///
    /// # Errors
    /// The address, a header or a file cannot be used.
    pub fn new<'a>(
        url: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        tls: &TlsFiles,
    ) -> Result<Self, ClientError> {
        let address = Address::parse(url)?;
        let shown = format!("{}://{}", if address.is_tls { "https" } else { "http" }, address.authority);
        let wrong = |reason: &str| ClientError::Url(format!("{shown}: {reason}"));
        let mut told = HeaderMap::new();
        let agent = concat!("tracer/", env!("CARGO_PKG_VERSION"));
        told.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let host = HeaderValue::from_str(&address.authority).map_err(|_| wrong("its host cannot be sent"))?;
        told.insert(header::HOST, host);
        for (name, value) in headers {
            let parsed = (HeaderName::try_from(name), HeaderValue::from_str(value));
            let (Ok(name), Ok(mut value)) = parsed else {
                return Err(wrong(&format!("the header {name:?} cannot be sent")));
            };
            value.set_sensitive(true);
            told.insert(name, value);
        }
        let tls = if address.is_tls { Some(tls.config()?) } else { None };
        let uri: http::Uri = url.parse().map_err(|_| wrong("it is no address"))?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let Address { host, port, .. } = address;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ClientError::Start)?;
        Ok(Self { runtime, way: Way::Tcp { host, port, tls }, shown, target, headers: told })
    }

    /// Where it sends, without the path and the query, which may be secret.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends one message, and waits for its answer.
    ///
    /// # Errors
    /// It was not taken: the text says why.
    pub fn post(&self, content_type: &'static str, body: &[u8]) -> Result<(), String> {
        let exchange = self.exchange(content_type, Bytes::copy_from_slice(body));
        let answered = self.runtime.block_on(async { timeout(PATIENCE, exchange).await });
        let told = answered.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
        told.map_err(|error| format!("{}: {error}", self.shown))
    }

    async fn exchange(&self, content_type: &'static str, body: Bytes) -> Result<(), String> {
        let stream = self.way.connect().await.map_err(|error| match error {
            NoConnection::Nobody(error) => format!("cannot connect: {error}"),
            NoConnection::Tls(error) => format!("TLS: {error}"),
        })?;
        let failed = |error: hyper::Error| reasons(&error).join(": ");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let driven = tokio::spawn(connection);
        let mut request =
            Request::post(self.target.as_str()).body(Full::new(body)).map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let mut told = Vec::new();
        let mut body = response.into_body();
        while told.len() < MAX_TOLD_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            if let Ok(data) = frame.into_data() {
                told.extend_from_slice(&data);
            }
        }
        driven.abort();
        if status.is_success() {
            return Ok(());
        }
        told.truncate(MAX_TOLD_BYTES);
        Err(format!("it answered {status}: {:?}", String::from_utf8_lossy(&told)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    use super::*;

    /// Answers one request, and gives it back.
    fn server(answer: &'static str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook?key=secret", listener.local_addr().expect("bound"));
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.ends_with(b"{}") {
                match stream.read(&mut buffer).expect("read") {
                    0 => break,
                    read => request.extend_from_slice(&buffer[..read]),
                }
            }
            let _ = stream.write_all(answer.as_bytes());
            String::from_utf8(request).expect("text")
        });
        (url, thread)
    }

    fn post(url: &str) -> Result<(), String> {
        let headers = [("authorization", "Bearer t")];
        Poster::new(url, headers, &TlsFiles::default()).expect("a poster").post("application/json", b"{}")
    }

    #[test]
    fn a_message_has_its_path_its_headers_and_its_body() {
        let (url, thread) = server("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(post(&url), Ok(()));
        let request = thread.join().expect("served");
        assert!(request.starts_with("POST /hook?key=secret HTTP/1.1\r\n"), "{request}");
        for line in ["authorization: Bearer t", "content-type: application/json", "content-length: 2"] {
            assert!(request.contains(&format!("\r\n{line}\r\n")), "{line}: {request}");
        }
    }

    #[test]
    fn who_does_not_take_it_is_named_without_the_secret_in_the_address() {
        let (url, thread) = server("HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno\x1b!");
        let error = post(&url).expect_err("refused");
        thread.join().expect("served");
        assert!(error.ends_with("it answered 403 Forbidden: \"no\\u{1b}!\""), "{error}");
        assert!(error.starts_with("http://127.0.0.1:") && !error.contains("secret"), "{error}");
        let nobody = post("http://127.0.0.1:1/hook").expect_err("nobody");
        assert!(nobody.starts_with("http://127.0.0.1:1: cannot connect: "), "{nobody}");
    }

    #[test]
    fn what_cannot_be_an_address_or_a_header_is_refused_at_once() {
        let new = |url, header| {
            Poster::new(url, [(header, "v")], &TlsFiles::default()).err().map(|error| error.to_string())
        };
        assert!(new("ftp://x/", "a").is_some() && new("http://x/", "a b").is_some());
        assert!(new("http://x/", "a").is_none());
    }
}
