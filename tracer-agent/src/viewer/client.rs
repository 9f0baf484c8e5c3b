//! Asks a viewer: the API that its page uses, over HTTP.

#![forbid(unsafe_code)]

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::{runtime::Runtime, time::timeout};
use tracer_model::answer::ApiError;
use tracer_viewer::DEFAULT_LISTEN;

use crate::percent::{percent_decoded, percent_encoded};

/// So long a viewer may say nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read. A trace may have 100,000 spans.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Longest answer that tells an error.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Why a viewer gave no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("--url {0}")]
    Url(String),
    /// The token cannot be sent.
    #[error("the token cannot be used: it holds characters that no header can carry")]
    Token,
    /// There are no threads or timers.
    #[error("cannot start the client: {0}")]
    Start(io::Error),
    /// Nobody listens there.
    #[error(
        "no viewer answers on {url} ({reason}): start `tracer agent --view` or `tracer view`, or name another address \
         by --url"
    )]
    Nobody {
        /// The viewer's address.
        url: String,
        /// Why.
        reason: String,
    },
    /// It says nothing.
    #[error("the viewer on {url} has said nothing for {}: it is busy or has stopped; ask again, or for less", crate::units::Time(*.patience))]
    Silent {
        /// The viewer's address.
        url: String,
        /// How long it had.
        patience: Duration,
    },
    /// It lacks the token.
    #[error("the viewer on {url} {}", if *.was_sent { "does not know this token: look at its --token-file, or at viewer.token of its configuration" } else { "needs its token: give it by --token-file or TRACER_VIEWER_TOKEN" })]
    Unauthorized {
        /// The viewer's address.
        url: String,
        /// Whether a token was sent.
        was_sent: bool,
    },
    /// It has none of that.
    #[error("{0}")]
    Missing(String),
    /// It refuses.
    #[error("the viewer on {url} refuses: {}", .error.error)]
    Refused {
        /// The viewer's address.
        url: String,
        /// What it says.
        error: ApiError,
    },
    /// What answers is no viewer.
    #[error(
        "{url} does not answer as a viewer does ({reason}): name the viewer by --url, with the path below which it serves"
    )]
    Stranger {
        /// The address.
        url: String,
        /// What it does.
        reason: String,
    },
    /// The answer is too long.
    #[error("the answer of the viewer on {url} has more than {} MiB: ask for less", MAX_ANSWER_BYTES >> 20)]
    TooLong {
        /// The viewer's address.
        url: String,
    },
}

/// A viewer that can be asked. A question waits for its answer.
pub struct Client {
    runtime: Runtime,
    http: legacy::Client<HttpConnector, Empty<Bytes>>,
    /// Without a slash at its end.
    url: String,
    headers: HeaderMap,
    patience: Duration,
}

impl Client {
    /// A client of the viewer whose page has this address, such as `http://127.0.0.1:8377`; of the usual one without.
    /// The token is that of the address (`?token=…`) if none is given.
    ///
    /// # Errors
    /// The address or the token cannot be used.
    pub fn new(url: Option<&str>, token: Option<&str>) -> Result<Self, ClientError> {
        let (url, of_url) = match url {
            Some(url) => base(url)?,
            None => (format!("http://{DEFAULT_LISTEN}"), None),
        };
        let mut headers = HeaderMap::new();
        let agent = concat!("tracer/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = token.or(of_url.as_deref()) {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            runtime: runtime.map_err(ClientError::Start)?,
            http: legacy::Client::builder(TokioExecutor::new()).build(connector),
            url,
            headers,
            patience: PATIENCE,
        })
    }

    /// The viewer's address.
    pub fn url(&self) -> &str {
        &self.url
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
        let mut target = format!("{}{path}", self.url);
        for (index, (name, value)) in parameters.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target += name;
            target.push('=');
            target += &percent_encoded(value);
        }
        let mut request = Request::get(&target)
            .body(Empty::new())
            .map_err(|error| ClientError::Url(format!("{:?}: {error}", self.url)))?;
        request.headers_mut().extend(self.headers.clone());
        self.runtime.block_on(self.exchange(request))
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<Vec<u8>, ClientError> {
        let answered = timeout(self.patience, self.http.request(request)).await;
        let response = answered.map_err(|_| self.silent())?.map_err(|error| {
            let reasons = reasons(&error);
            match reasons.last() {
                // What led to it says it all: that the connection was refused, or that there is no such name.
                Some(reason) if error.is_connect() => {
                    ClientError::Nobody { url: self.url.clone(), reason: reason.clone() }
                }
                _ => self.stranger(format!(
                    "{}; does it speak TLS, which is not supported here?",
                    reasons.join(": ")
                )),
            }
        })?;
        let (head, body) = response.into_parts();
        if head.status == StatusCode::OK {
            return self.read(body, MAX_ANSWER_BYTES).await;
        }
        let told = self.read(body, MAX_ERROR_BYTES).await.unwrap_or_default();
        Err(self.understood(head.status, &told))
    }

    async fn read(&self, mut body: Incoming, most: usize) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(frame) = timeout(self.patience, body.frame()).await.map_err(|_| self.silent())? {
            let frame = frame.map_err(|error| {
                self.stranger(format!("its answer was cut: {}", reasons(&error).join(": ")))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(ClientError::TooLong { url: self.url.clone() });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    /// What an answer that is none means.
    fn understood(&self, status: StatusCode, told: &[u8]) -> ClientError {
        let url = self.url.clone();
        if status == StatusCode::UNAUTHORIZED {
            return ClientError::Unauthorized {
                url,
                was_sent: self.headers.contains_key(header::AUTHORIZATION),
            };
        }
        match serde_json::from_slice::<ApiError>(told) {
            Ok(error) if status == StatusCode::NOT_FOUND => ClientError::Missing(error.error),
            Ok(error) => ClientError::Refused { url, error },
            Err(_) => self.stranger(format!("HTTP status {status}")),
        }
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent { url: self.url.clone(), patience: self.patience }
    }

    fn stranger(&self, reason: String) -> ClientError {
        ClientError::Stranger { url: self.url.clone(), reason }
    }
}

/// The address without what the page adds to it, and the token that it may hold.
fn base(text: &str) -> Result<(String, Option<String>), ClientError> {
    let wrong = |reason: &str| ClientError::Url(format!("{text:?}: {reason}"));
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    // What stands behind # never leaves a browser.
    let whole = whole.split('#').next().unwrap_or_default();
    let uri: Uri = whole.parse().map_err(|_| wrong("give an address such as http://127.0.0.1:8377"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(wrong(
                "https is not supported here yet: run this command where the viewer runs, by http and a listen address \
                 without TLS, or through a tunnel",
            ));
        }
        _ => return Err(wrong("give an address that begins with http://")),
    }
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return Err(wrong("give an address such as http://127.0.0.1:8377, without a user"));
    }
    let token = uri
        .query()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("token=")))
        .map(percent_decoded);
    Ok((format!("http://{authority}{}", uri.path().trim_end_matches('/')), token))
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
        let error = Client::new(Some(&url), token).expect("a client").get::<Value>("/api/x", &[]);
        thread.join().expect("served");
        error.expect_err("no answer").to_string().replace(&url, "URL")
    }

    #[test]
    fn a_question_has_its_path_below_the_prefix_its_parameters_and_the_token() {
        let (url, thread) = server(answer("200 OK", "{\"a\":1}"));
        let client = Client::new(Some(&format!("{url}/traces/?token=secret-%2B")), None).expect("a client");
        let value: Value = client.get("/api/x", &[("q", "a=b &c".to_owned())]).expect("an answer");
        assert_eq!(value["a"], 1);
        let request = thread.join().expect("served");
        assert!(request.starts_with("GET /traces/api/x?q=a%3Db%20%26c HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nauthorization: Bearer secret-+\r\n"), "{request}");
        assert_eq!(client.url(), format!("{url}/traces"));
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
        let client = Client::new(Some(&url), None).expect("a client");
        let error = client.get::<Value>("/api/x", &[]).expect_err("nobody").to_string();
        assert!(error.starts_with(&format!("no viewer answers on {url} (")), "{error}");
        assert!(
            error.ends_with("start `tracer agent --view` or `tracer view`, or name another address by --url")
        );
    }

    #[test]
    fn one_that_says_nothing_is_not_waited_for() {
        let (url, thread) = server("");
        let mut client = Client::new(Some(&url), None).expect("a client");
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

    #[test]
    fn an_address_is_one_of_http() {
        let at = |text| base(text).map(|(url, _)| url).map_err(|error| error.to_string());
        assert_eq!(at("localhost:8377").as_deref(), Ok("http://localhost:8377"));
        assert_eq!(at("http://[::1]:80/p/#/traces").as_deref(), Ok("http://[::1]:80/p"));
        for (wrong, reason) in [
            ("https://a", "https is not supported"),
            ("ftp://a", "begins with http://"),
            ("http://", "such as http://127.0.0.1:8377"),
            ("http://u:p@a/", "without a user"),
            ("http://a b", "such as"),
        ] {
            let error = at(wrong).expect_err(wrong);
            assert!(error.starts_with(&format!("--url {wrong:?}: ")) && error.contains(reason), "{error}");
        }
    }
}
