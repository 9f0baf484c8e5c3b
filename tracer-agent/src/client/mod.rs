//! Asks a running tracer by HTTP: a viewer by the address of its page, or an agent by its Unix socket.

#![forbid(unsafe_code)]

mod address;
mod connect;
mod error;
mod post;
mod remote;
mod tls;

use std::{error::Error, path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{runtime::Runtime, sync::Mutex, time::timeout};
use tracer_model::answer::ApiError;
use tracer_viewer::DEFAULT_LISTEN;

use self::{
    address::Address,
    connect::{NoConnection, Way},
    error::MAX_ANSWER_BYTES,
};
pub use self::{
    error::{Asked, ClientError},
    post::Poster,
    remote::Remote,
    tls::TlsFiles,
};
use crate::percent::percent_encoded;

/// So long who is asked may say nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that tells an error.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// What sends requests over a connection.
type Sender = http1::SendRequest<Empty<Bytes>>;

/// A viewer or an agent that can be asked. A question waits for its answer.
pub struct Client {
    runtime: Runtime,
    asked: Asked,
    way: Way,
    /// Path below which it serves, without a slash at its end.
    prefix: String,
    headers: HeaderMap,
    patience: Duration,
    /// The connection of the last question, if another one can go over it.
    kept: Mutex<Option<Sender>>,
}

impl Client {
    /// A client of the viewer whose page has this address, such as `http://127.0.0.1:8377`; of the usual one without.
    /// The token is that of the address (`?token=…`) if none is given. `tls` is for addresses that begin with
    /// `https://`.
    ///
    /// # Errors
    /// The address, the token or a file cannot be used.
    pub fn of_viewer(url: Option<&str>, token: Option<&str>, tls: &TlsFiles) -> Result<Self, ClientError> {
        let usual;
        let url = match url {
            Some(url) => url,
            None => {
                usual = format!("http://{DEFAULT_LISTEN}");
                &usual
            }
        };
        let address = Address::parse(url)?;
        let mut headers = HeaderMap::new();
        if let Some(token) = token.or(address.token.as_deref()) {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let asked = Asked::Viewer(address.url());
        let host = HeaderValue::from_str(&address.authority)
            .map_err(|error| ClientError::Url(format!("{url:?}: {error}")))?;
        headers.insert(header::HOST, host);
        let tls = if address.is_tls { Some(tls.config()?) } else { None };
        let Address { host, port, prefix, .. } = address;
        Self::new(asked, Way::Tcp { host, port, tls }, prefix, headers)
    }

    /// A client of the agent that answers on this socket.
    ///
    /// # Errors
    /// There are no threads or timers.
    pub fn of_agent(socket: &Path) -> Result<Self, ClientError> {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        let asked = Asked::Agent(socket.to_owned());
        Self::new(asked, Way::Unix(socket.to_owned()), String::new(), headers)
    }

    fn new(asked: Asked, way: Way, prefix: String, mut headers: HeaderMap) -> Result<Self, ClientError> {
        let agent = concat!("tracer/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ClientError::Start)?;
        Ok(Self { runtime, asked, way, prefix, headers, patience: PATIENCE, kept: Mutex::default() })
    }

    /// Who is asked.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The answer to `GET` of a path of the API, with these parameters.
    ///
    /// # Errors
    /// There is none.
    pub fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let bytes = self.get_bytes(path, parameters)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| self.stranger(format!("its answer is not understood: {error}")))
    }

    /// The same as it came.
    ///
    /// # Errors
    /// There is none.
    pub fn get_bytes(&self, path: &str, parameters: &[(&str, String)]) -> Result<Vec<u8>, ClientError> {
        let mut target = format!("{}{path}", self.prefix);
        for (index, (name, value)) in parameters.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target += name;
            target.push('=');
            target += &percent_encoded(value);
        }
        self.runtime.block_on(self.exchange(&target))
    }

    /// Whether somebody takes connections there.
    ///
    /// # Errors
    /// Nobody does.
    pub fn reach(&self) -> Result<(), ClientError> {
        self.runtime.block_on(async {
            *self.kept.lock().await = Some(self.connect().await?);
            Ok(())
        })
    }

    async fn exchange(&self, target: &str) -> Result<Vec<u8>, ClientError> {
        let kept = self.kept.lock().await.take();
        let answered = match kept {
            Some(mut sender) => match self.send(&mut sender, target).await {
                // It was closed since the last question.
                Err(ClientError::Stranger { .. }) => None,
                answered => Some((answered?, sender)),
            },
            None => None,
        };
        let (response, sender) = match answered {
            Some(answered) => answered,
            None => {
                let mut sender = self.connect().await?;
                (self.send(&mut sender, target).await?, sender)
            }
        };
        let (head, body) = response.into_parts();
        if head.status == StatusCode::OK {
            let bytes = self.read(body, MAX_ANSWER_BYTES).await?;
            *self.kept.lock().await = Some(sender);
            return Ok(bytes);
        }
        let told = self.read(body, MAX_ERROR_BYTES).await.unwrap_or_default();
        Err(self.understood(head.status, &told))
    }

    async fn connect(&self) -> Result<Sender, ClientError> {
        let asked = || self.asked.clone();
        let connected = timeout(self.patience, self.way.connect()).await.map_err(|_| self.silent())?;
        let stream = connected.map_err(|error| match error {
            NoConnection::Nobody(error) => ClientError::Nobody { asked: asked(), reason: error.to_string() },
            NoConnection::Tls(error) => ClientError::Tls { asked: asked(), reason: error.to_string() },
        })?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| self.stranger(reasons(&error).join(": ")))?;
        // It runs while a question waits. How it ends, the question is told.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn send(&self, sender: &mut Sender, target: &str) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::get(target)
            .body(Empty::new())
            .map_err(|error| ClientError::Url(format!("{:?}: {error}", self.asked.to_string())))?;
        request.headers_mut().extend(self.headers.clone());
        let answered = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let answered = timeout(self.patience, answered).await.map_err(|_| self.silent())?;
        answered.map_err(|error| {
            let reasons = reasons(&error);
            match reasons.iter().find(|reason| reason.contains("fatal alert")) {
                // A server that wants a certificate says so after its handshake.
                Some(alert) => ClientError::Tls { asked: self.asked.clone(), reason: alert.clone() },
                None => self.stranger(format!(
                    "{}; does it speak TLS? Then its address begins with https://",
                    reasons.join(": ")
                )),
            }
        })
    }

    async fn read(&self, mut body: Incoming, most: usize) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(frame) = timeout(self.patience, body.frame()).await.map_err(|_| self.silent())? {
            let frame = frame.map_err(|error| {
                self.stranger(format!("its answer was cut: {}", reasons(&error).join(": ")))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(ClientError::TooLong { asked: self.asked.clone() });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    /// What an answer that is none means.
    fn understood(&self, status: StatusCode, told: &[u8]) -> ClientError {
        let asked = self.asked.clone();
        if status == StatusCode::UNAUTHORIZED {
            return ClientError::Unauthorized {
                asked,
                was_sent: self.headers.contains_key(header::AUTHORIZATION),
            };
        }
        match serde_json::from_slice::<ApiError>(told) {
            Ok(error) if status == StatusCode::NOT_FOUND => ClientError::Missing(error.error),
            Ok(error) => ClientError::Refused { asked, error },
            Err(_) => self.stranger(format!("HTTP status {status}")),
        }
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent { asked: self.asked.clone(), patience: self.patience }
    }

    fn stranger(&self, reason: String) -> ClientError {
        ClientError::Stranger { asked: self.asked.clone(), reason }
    }
}

/// An error and what led to it, the last of which is the first cause.
fn reasons(error: &dyn Error) -> Vec<String> {
    let mut reasons = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let reason = error.to_string();
        // Some say that of their cause.
        if reasons.last() != Some(&reason) {
            reasons.push(reason);
        }
        source = error.source();
    }
    reasons
}

#[cfg(test)]
mod tls_tests;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread::JoinHandle,
    };

    use serde_json::Value;

    use super::*;

    /// Answers one request, and gives it back. Nothing is answered if the answer is empty, until the client has gone.
    fn server(answer: impl Into<Vec<u8>>) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let answer = answer.into();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("read") == 1 {
                request.push(byte[0]);
            }
            if answer.is_empty() {
                let _ = stream.read(&mut byte);
            }
            // A client that has read enough goes away.
            let _ = stream.write_all(&answer);
            String::from_utf8(request).expect("text")
        });
        (url, thread)
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    fn error_of(answer: &str, token: Option<&str>) -> String {
        let (url, thread) = server(answer);
        let error = Client::of_viewer(Some(&url), token, &TlsFiles::default())
            .expect("a client")
            .get::<Value>("/api/x", &[]);
        thread.join().expect("served");
        error.expect_err("no answer").to_string().replace(&url, "URL")
    }

    #[test]
    fn a_question_has_its_path_below_the_prefix_its_parameters_and_the_token() {
        let (url, thread) = server(answer("200 OK", "{\"a\":1}"));
        let client =
            Client::of_viewer(Some(&format!("{url}/traces/?token=secret-%2B")), None, &TlsFiles::default())
                .expect("a client");
        let value: Value = client.get("/api/x", &[("q", "a=b &c".to_owned())]).expect("an answer");
        assert_eq!(value["a"], 1);
        let request = thread.join().expect("served");
        assert!(request.starts_with("GET /traces/api/x?q=a%3Db%20%26c HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nauthorization: Bearer secret-+\r\n"), "{request}");
        assert_eq!(client.asked(), &Asked::Viewer(format!("{url}/traces")));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let needs = error_of(&answer("401 Unauthorized", ""), None);
        assert_eq!(
            needs,
            "the viewer on URL needs its token: give it by --token-file or TRACER_VIEWER_TOKEN"
        );
        let wrong = error_of(&answer("401 Unauthorized", ""), Some("x"));
        assert!(wrong.starts_with("the viewer on URL does not know this token: "), "{wrong}");
        let forbidden = error_of(&answer("403 Forbidden", "{\"error\":\"another host\",\"at\":null}"), None);
        assert_eq!(forbidden, "the viewer on URL refuses: another host");
        let missing = error_of(&answer("404 Not Found", "{\"error\":\"no trace\",\"at\":null}"), None);
        assert_eq!(missing, "no trace");
    }

    #[test]
    fn what_is_no_viewer_is_told() {
        let page = error_of(&answer("404 Not Found", "<html>"), None);
        assert!(
            page.starts_with("URL does not answer as a viewer does (HTTP status 404 Not Found)"),
            "{page}"
        );
        let html = error_of(&answer("200 OK", "<html>"), None);
        assert!(html.contains("its answer is not understood: expected value"), "{html}");
        let garbage = error_of("\x15\x03\x01 no HTTP\r\n\r\n", None);
        assert!(garbage.contains("does it speak TLS"), "{garbage}");
        let cut = error_of("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", None);
        assert!(cut.contains("its answer was cut"), "{cut}");
    }

    #[test]
    fn nobody_there_is_told_with_what_to_start() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let client = Client::of_viewer(Some(&url), None, &TlsFiles::default()).expect("a client");
        let error = client.get::<Value>("/api/x", &[]).expect_err("nobody").to_string();
        assert!(error.starts_with(&format!("no viewer answers on {url} (")), "{error}");
        assert!(
            error.ends_with("start `tracer agent --view` or `tracer view`, or name another address by --url")
        );
    }

    #[test]
    fn one_that_says_nothing_is_not_waited_for() {
        let (url, thread) = server("");
        let mut client = Client::of_viewer(Some(&url), None, &TlsFiles::default()).expect("a client");
        client.patience = Duration::from_millis(50);
        let error = client.get::<Value>("/api/x", &[]).expect_err("silence").to_string();
        assert!(error.contains("has said nothing for 50ms"), "{error}");
        drop(client);
        thread.join().expect("the client has gone");
    }

    #[test]
    fn a_long_error_is_not_read_to_its_end() {
        let long = answer("500 Internal Server Error", &"x".repeat(MAX_ERROR_BYTES + 1));
        assert!(error_of(&long, None).contains("HTTP status 500"));
    }
}
