//! The configuration of the viewer beside an agent.

#![forbid(unsafe_code)]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracer_model::answer::Source;
use tracer_store::Store;
use tracer_viewer::{DEFAULT_LISTEN, Settings, TlsFiles, Token, ViewerError};

use crate::{problem::Problem, units::Size};

/// The viewer: pages and an API that show the traces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ViewerConfig {
    /// Show the traces of this agent on a page.
    pub enabled: bool,
    /// Address of the page and its API. One that other machines can reach needs a token.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Address where spans of others are taken by OTLP over gRPC, besides those of this agent; none without it.
    #[schemars(with = "Option<String>")]
    pub otlp_grpc: Option<SocketAddr>,
    /// The same by OTLP over HTTP.
    #[schemars(with = "Option<String>")]
    pub otlp_http: Option<SocketAddr>,
    /// Memory that spans may take; the oldest traces go first, those with errors and the slowest last.
    pub memory: Size,
    /// Directory in which the spans are kept over a restart; in memory only without it.
    pub store: Option<PathBuf>,
    /// What a browser has to know: the page is opened as `/?token=...` once. At least 24 letters, digits or `-._~+/=`.
    pub token: Option<String>,
    /// Certificate chain in PEM: the page is served by TLS.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key in PEM.
    pub tls_key: Option<PathBuf>,
    /// Certificates of authorities in PEM: a browser or program needs a certificate that one of them has signed. Such an
    /// address needs no token.
    pub tls_client_ca: Option<PathBuf>,
    /// Names by which browsers reach the page, besides `localhost` and its address.
    pub host_names: Vec<String>,
    /// Path with which a reverse proxy passes requests on, such as `/traces`.
    pub path_prefix: String,
}

impl Default for ViewerConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: DEFAULT_LISTEN,
            otlp_grpc: None,
            otlp_http: None,
            memory: Size(256 << 20),
            store: None,
            token: None,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            host_names: Vec::new(),
            path_prefix: String::new(),
        }
    }
}

/// Least memory of a store: one segment of spans has room in it.
const LEAST_MEMORY: u64 = 16 << 20;

/// The token that a file holds, without the blanks around it.
///
/// # Errors
/// The file cannot be read; the message names it.
pub fn token_in(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read the token in {}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

impl ViewerConfig {
    /// The values that cannot be used, if the viewer is on.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.enabled {
            return problems;
        }
        if self.memory.0 < LEAST_MEMORY {
            problems.push(Problem::new("memory", "16MiB is the least"));
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            problems.push(Problem::new("tls_key", "a certificate and its key are given together"));
        }
        if self.tls_client_ca.is_some() && self.tls_certificate.is_none() {
            let message = "clients show certificates by TLS only: set tls_certificate and tls_key too";
            problems.push(Problem::new("tls_client_ca", message));
        }
        if !self.listen.ip().is_loopback() && self.token.is_none() && self.tls_client_ca.is_none() {
            let message = "other machines can reach this address and would read all traces: set viewer.token, or \
                           listen on 127.0.0.1";
            problems.push(Problem::new("listen", message));
        }
        if let Some(token) = &self.token
            && let Err(error) = Token::new(token)
        {
            problems.push(Problem::new("token", error.to_string()));
        }
        problems
    }

    /// How the viewer is set up. `source` says where the spans come from.
    ///
    /// # Errors
    /// The token cannot be used.
    pub fn settings(&self, source: Source) -> Result<Settings, ViewerError> {
        let tls = self.tls_certificate.clone().zip(self.tls_key.clone());
        Ok(Settings {
            listen: self.listen,
            otlp_grpc: self.otlp_grpc,
            otlp_http: self.otlp_http,
            token: self.token.as_deref().map(Token::new).transpose()?,
            tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
            tls_client_ca: self.tls_client_ca.clone(),
            host_names: self.host_names.clone(),
            path_prefix: self.path_prefix.clone(),
            source,
            ..Settings::default()
        })
    }

    /// The store of the spans.
    ///
    /// # Errors
    /// The directory cannot be used; the message says why, and what to do.
    pub fn store(&self) -> Result<Arc<Store>, String> {
        let max_bytes = usize::try_from(self.memory.0).unwrap_or(usize::MAX);
        let limits = tracer_store::Limits { max_bytes, ..tracer_store::Limits::default() };
        Ok(Arc::new(match &self.store {
            Some(directory) => Store::open(directory, limits).map_err(|error| error.to_string())?,
            None => Store::in_memory(limits),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_a_token_or_certificates_of_clients() {
        let listen = SocketAddr::from(([0, 0, 0, 0], 8377));
        let open = ViewerConfig { enabled: true, listen, ..ViewerConfig::default() };
        let keys = |config: &ViewerConfig| -> Vec<String> {
            config.problems().into_iter().map(|problem| problem.key).collect()
        };
        assert_eq!(keys(&open), ["listen"]);
        let token = Some("a-token-of-length-24-000".to_owned());
        assert_eq!(keys(&ViewerConfig { token, ..open.clone() }), [""; 0]);
        let bare = ViewerConfig { tls_client_ca: Some("ca.pem".into()), ..open };
        assert_eq!(keys(&bare), ["tls_client_ca"]);
        let whole =
            ViewerConfig { tls_certificate: Some("a.pem".into()), tls_key: Some("a.key".into()), ..bare };
        assert_eq!(keys(&whole), [""; 0]);
        let source = Source { kind: "otlp".to_owned(), names: Vec::new() };
        assert_eq!(whole.settings(source).expect("valid").tls_client_ca, Some("ca.pem".into()));
    }
}
