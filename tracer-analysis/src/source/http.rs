//! HTTP, as a source needs it. Who opens a source brings the client, so that this crate has none.

use super::SourceError;

/// A server, as an address names it.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Whether it is asked by TLS.
    pub is_tls: bool,
    /// Host and port, such as `db:8123` or `[::1]:8123`.
    pub authority: String,
    /// Path below which it serves, without a slash at its end.
    pub prefix: String,
    /// User and password, if the address has a user.
    pub login: Option<(String, String)>,
}

impl Server {
    /// Its address, without the user.
    pub fn url(&self) -> String {
        format!("{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority, self.prefix)
    }
}

impl std::fmt::Debug for Server {
    /// Without the password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.url())
    }
}

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Path and query, below the prefix of the server.
    pub target: String,
    /// What is sent by `POST`. None asks by `GET`.
    pub body: Option<String>,
    /// Headers besides the usual ones.
    pub headers: Vec<(&'static str, String)>,
}

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// Another status than 200, and the first of the text that comes with it.
    Status(u16, String),
    /// None came, or not all of it. The text says why, and names the server.
    Failed(String),
}

/// Takes a part of an answer. An error ends it.
pub type Taker<'a> = dyn FnMut(&[u8]) -> Result<(), SourceError> + 'a;

/// Asks one server.
pub trait Http: Send + Sync {
    /// Hands on the body of an answer with status 200, part by part as it comes.
    ///
    /// # Errors
    /// The inner error is that of the taker.
    fn ask(&self, question: &Question, take: &mut Taker<'_>) -> Result<Result<(), SourceError>, HttpError>;
}

/// Makes the client of a server.
pub type Connect<'a> = dyn Fn(&Server) -> Result<Box<dyn Http>, SourceError> + 'a;
