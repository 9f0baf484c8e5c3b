//! Asks a source of traces that is none of ours: ClickHouse, or what speaks Jaeger's API.

#![forbid(unsafe_code)]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{runtime::Runtime, time::timeout};
use tracer_analysis::source::{
    SourceError,
    http::{Http, HttpError, Question, Server, Taker},
};

use super::{
    address::Address,
    connect::{NoConnection, Way},
    reasons,
    tls::TlsFiles,
};

/// So long it may say nothing: a count over many spans takes its time.
const PATIENCE: Duration = Duration::from_secs(120);
/// So long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Longest part of an error's text that is read.
const MAX_TOLD_BYTES: usize = 64 << 10;

/// A server that is asked, one question after the other.
pub struct Remote {
    runtime: Runtime,
    way: Way,
    url: String,
    prefix: String,
    headers: HeaderMap,
    patience: Duration,
}

impl Remote {
    /// The client of a server. A login goes by HTTP's basic authentication too, which ClickHouse and proxies before Jaeger know.
    ///
    /// # Errors
    /// The address, the login or a file cannot be used.
    pub fn new(server: &Server, tls: &TlsFiles) -> Result<Self, SourceError> {
        let wrong = |reason: String| SourceError::Address(format!("--source {}: {reason}", server.url()));
        let address =
            Address::parse(&server.url()).map_err(|error| SourceError::Address(error.to_string()))?;
        let mut headers = HeaderMap::new();
        let agent = concat!("tracer/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let host = HeaderValue::from_str(&address.authority).map_err(|error| wrong(error.to_string()))?;
        headers.insert(header::HOST, host);
        if let Some((user, password)) = &server.login {
            let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            let mut value = HeaderValue::from_str(&value).map_err(|error| wrong(error.to_string()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let tls = if address.is_tls {
            Some(tls.config().map_err(|error| SourceError::Address(error.to_string()))?)
        } else {
            None
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| wrong(format!("cannot start the client: {error}")))?;
        let Address { host, port, prefix, .. } = address;
        let way = Way::Tcp { host, port, tls };
        Ok(Self { runtime, way, url: server.url(), prefix, headers, patience: PATIENCE })
    }

    async fn exchange(
        &self,
        question: &Question,
        take: &mut Taker<'_>,
    ) -> Result<Result<(), SourceError>, HttpError> {
        let url = &self.url;
        let failed = |reason: String| HttpError::Failed(format!("{url} {reason}"));
        let silent = || {
            failed(format!(
                "has said nothing for {}: it is busy or has stopped; ask again, or for a shorter time",
                crate::units::Time(self.patience)
            ))
        };
        let cut =
            |error: &hyper::Error| failed(format!("gives no whole answer: {}", reasons(error).join(": ")));
        let connected = timeout(CONNECT_PATIENCE, self.way.connect()).await.map_err(|_| silent())?;
        let stream = connected.map_err(|error| match error {
            NoConnection::Nobody(error) => {
                failed(format!("is not reached: {error}; is it running, and is --source its address?"))
            }
            NoConnection::Tls(error) => failed(format!(
                "is not reached by TLS: {error}; name the certificate of its authority by --ca"
            )),
        })?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| cut(&error))?;
        let driven = tokio::spawn(connection);
        let request = self.request(question).map_err(|error| failed(format!("cannot be asked: {error}")))?;
        let answered = timeout(self.patience, sender.send_request(request)).await.map_err(|_| silent())?;
        let (head, mut body) = answered.map_err(|error| cut(&error))?.into_parts();
        let is_answer = head.status == StatusCode::OK;
        let mut told = Vec::new();
        while let Some(frame) = timeout(self.patience, body.frame()).await.map_err(|_| silent())? {
            let Ok(data) = frame.map_err(|error| cut(&error))?.into_data() else { continue };
            if is_answer {
                if let Err(error) = take(&data) {
                    driven.abort();
                    return Ok(Err(error));
                }
            } else {
                told.extend_from_slice(&data[..data.len().min(MAX_TOLD_BYTES - told.len())]);
                if told.len() == MAX_TOLD_BYTES {
                    break;
                }
            }
        }
        driven.abort();
        if is_answer {
            return Ok(Ok(()));
        }
        Err(HttpError::Status(head.status.as_u16(), String::from_utf8_lossy(&told).into_owned()))
    }

    fn request(&self, question: &Question) -> Result<Request<Full<Bytes>>, http::Error> {
        let target = format!("{}{}", self.prefix, question.target);
        let mut request = match &question.body {
            Some(body) => Request::post(target).body(Full::new(Bytes::from(body.clone())))?,
            None => Request::get(target).body(Full::default())?,
        };
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        for (name, value) in &question.headers {
            let mut value = HeaderValue::from_str(value)?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        // ClickHouse refuses a request that says who asks in two ways.
        if headers.contains_key("x-clickhouse-user") {
            headers.remove(header::AUTHORIZATION);
        }
        Ok(request)
    }
}

impl Http for Remote {
    fn ask(&self, question: &Question, take: &mut Taker<'_>) -> Result<Result<(), SourceError>, HttpError> {
        self.runtime.block_on(self.exchange(question, take))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread::JoinHandle,
    };

    use super::*;

    /// Answers one request whose body ends with a semicolon or that has none, and gives it back.
    fn served(answer: &'static [u8]) -> (Server, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Server {
            is_tls: false,
            authority: listener.local_addr().expect("bound").to_string(),
            prefix: "/p".to_owned(),
            login: Some(("me".to_owned(), "pass".to_owned())),
        };
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            let mut byte = [0];
            let is_over = |request: &[u8]| {
                if request.starts_with(b"POST") {
                    request.ends_with(b";")
                } else {
                    request.ends_with(b"\r\n\r\n")
                }
            };
            while !is_over(&request) && stream.read(&mut byte).expect("read") == 1 {
                request.push(byte[0]);
            }
            let _ = stream.write_all(answer);
            String::from_utf8(request).expect("text")
        });
        (server, thread)
    }

    fn ask(server: &Server, question: &Question) -> (Result<Result<(), SourceError>, HttpError>, Vec<u8>) {
        let remote = Remote::new(server, &TlsFiles::default()).expect("a client");
        let mut bytes = Vec::new();
        let answered = remote.ask(question, &mut |part| {
            bytes.extend_from_slice(part);
            Ok(())
        });
        (answered, bytes)
    }

    #[test]
    fn a_question_goes_below_the_prefix_with_its_login() {
        let (server, thread) = served(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let question = Question { target: "/api/services?a=b".to_owned(), ..Question::default() };
        let (answered, bytes) = ask(&server, &question);
        assert!(matches!(answered, Ok(Ok(()))) && bytes == b"ok");
        let request = thread.join().expect("served");
        assert!(request.starts_with("GET /p/api/services?a=b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nauthorization: Basic bWU6cGFzcw==\r\n"), "{request}");
    }

    #[test]
    fn a_statement_is_posted_and_says_who_asks_in_one_way() {
        let (server, thread) = served(b"HTTP/1.1 404 Not Found\r\ncontent-length: 8\r\n\r\nCode: 60");
        let headers = vec![("x-clickhouse-user", "me".to_owned())];
        let question = Question { target: "/?x=1".to_owned(), body: Some("SELECT 1;".to_owned()), headers };
        let (answered, _) = ask(&server, &question);
        assert_eq!(answered.expect_err("an error"), HttpError::Status(404, "Code: 60".to_owned()));
        let request = thread.join().expect("served");
        assert!(
            request.starts_with("POST /p/?x=1 HTTP/1.1\r\n") && request.ends_with("\r\n\r\nSELECT 1;"),
            "{request}"
        );
        assert!(
            request.contains("\r\nx-clickhouse-user: me\r\n") && !request.contains("authorization"),
            "{request}"
        );
    }

    #[test]
    fn a_cut_answer_is_none_and_a_taker_can_end_one() {
        const CUT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok";
        let (server, thread) = served(CUT);
        let (answered, _) = ask(&server, &Question { target: "/".to_owned(), ..Question::default() });
        let error = answered.expect_err("cut");
        assert!(
            matches!(&error, HttpError::Failed(text) if text.contains("gives no whole answer")),
            "{error:?}"
        );
        thread.join().expect("served");
        let (server, thread) = served(CUT);
        let remote = Remote::new(&server, &TlsFiles::default()).expect("a client");
        let question = Question { target: "/".to_owned(), ..Question::default() };
        let ended = remote.ask(&question, &mut |_| Err(SourceError::Answer("enough".to_owned())));
        assert_eq!(ended.expect("an answer").expect_err("ended").to_string(), "enough");
        thread.join().expect("served");
    }

    #[test]
    fn nobody_there_is_told_without_the_login() {
        let (mut server, _) = served(b"");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        server.authority = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let (answered, _) = ask(&server, &Question { target: "/".to_owned(), ..Question::default() });
        let HttpError::Failed(text) = answered.expect_err("nobody") else { panic!("nobody") };
        assert!(text.contains("is not reached") && !text.contains("pass"), "{text}");
    }
}
