//! Why there is no answer.

#![forbid(unsafe_code)]

use std::{fmt, io, path::PathBuf, time::Duration};

use thiserror::Error;
use tracer_model::answer::ApiError;

/// Longest answer that is read. A trace may have 100,000 spans.
pub(super) const MAX_ANSWER_BYTES: usize = 256 << 20;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A viewer, by its address.
    Viewer(String),
    /// An agent, by its socket.
    Agent(PathBuf),
}

impl Asked {
    /// Where it is, for people.
    pub fn place(&self) -> String {
        match self {
            Self::Viewer(url) => url.clone(),
            Self::Agent(socket) => socket.display().to_string(),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Viewer(url) => write!(f, "the viewer on {url}"),
            Self::Agent(socket) => write!(f, "the agent on {}", socket.display()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("--url {0}")]
    Url(String),
    /// The token cannot be sent.
    #[error("the token cannot be used: it holds characters that no header can carry")]
    Token,
    /// A file of certificates or keys cannot be used.
    #[error("{flag} {}: {reason}", .path.display())]
    TlsFile {
        /// The flag that names it.
        flag: &'static str,
        /// It.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There are no threads or timers.
    #[error("cannot start the client: {0}")]
    Start(io::Error),
    /// Nobody listens there.
    #[error("{}", nobody(.asked, .reason))]
    Nobody {
        /// Who was asked.
        asked: Asked,
        /// Why.
        reason: String,
    },
    /// It is not trusted, or does not trust.
    #[error("{asked} is not reached by TLS: {reason}{}", tls_hint(.reason))]
    Tls {
        /// Who was asked.
        asked: Asked,
        /// Why.
        reason: String,
    },
    /// It says nothing.
    #[error("{asked} has said nothing for {}: it is busy or has stopped; ask again, or for less", crate::units::Time(*.patience))]
    Silent {
        /// Who was asked.
        asked: Asked,
        /// How long it had.
        patience: Duration,
    },
    /// It lacks the token.
    #[error("{asked} {}", if *.was_sent { "does not know this token: look at its --token-file, or at viewer.token of its configuration" } else { "needs its token: give it by --token-file or TRACER_VIEWER_TOKEN" })]
    Unauthorized {
        /// Who was asked.
        asked: Asked,
        /// Whether a token was sent.
        was_sent: bool,
    },
    /// It has none of that.
    #[error("{0}")]
    Missing(String),
    /// It refuses.
    #[error("{asked} refuses: {}", .error.error)]
    Refused {
        /// Who was asked.
        asked: Asked,
        /// What it says.
        error: ApiError,
    },
    /// What answers is none of ours.
    #[error("{}", stranger(.asked, .reason))]
    Stranger {
        /// Who was asked.
        asked: Asked,
        /// What it does.
        reason: String,
    },
    /// The answer is too long.
    #[error("the answer of {asked} has more than {} MiB: ask for less", MAX_ANSWER_BYTES >> 20)]
    TooLong {
        /// Who was asked.
        asked: Asked,
    },
}

fn nobody(asked: &Asked, reason: &str) -> String {
    match asked {
        Asked::Viewer(url) => format!(
            "no viewer answers on {url} ({reason}): start `tracer agent --view` or `tracer view`, or name another \
             address by --url"
        ),
        Asked::Agent(socket) => format!(
            "no agent answers on {}: {reason}; is it running, and are you its user? Without --socket only `tracer agent` \
             answers",
            socket.display()
        ),
    }
}

fn stranger(asked: &Asked, reason: &str) -> String {
    match asked {
        Asked::Viewer(url) => format!(
            "{url} does not answer as a viewer does ({reason}): name the viewer by --url, with the path below which it \
             serves"
        ),
        Asked::Agent(socket) => format!(
            "{} does not answer as an agent does ({reason}): is it an agent of another version?",
            socket.display()
        ),
    }
}

/// What can be done about a failure of TLS.
fn tls_hint(reason: &str) -> &'static str {
    const HINTS: [(&str, &str); 6] = [
        ("UnknownIssuer", "; name the certificate of its authority by --ca"),
        (
            "CaUsedAsEndEntity",
            "; its certificate is one of an authority: make one with basicConstraints=CA:FALSE, or one that an authority \
             has signed",
        ),
        ("not valid for name", "; name the viewer by a name of its certificate"),
        ("InvalidContentType", "; does it speak TLS? Without, its address begins with http://"),
        ("CertificateRequired", "; it asks for a certificate: give --client-certificate and --client-key"),
        ("UnknownCA", "; it does not know the authority of --client-certificate"),
    ];
    HINTS.iter().find(|(part, _)| reason.contains(part)).map_or("", |(_, hint)| hint)
}
