//! Why a viewer does not start.

use std::{io, net::SocketAddr, path::PathBuf};

use thiserror::Error;

/// Why a viewer does not start.
#[derive(Debug, Error)]
pub enum ViewerError {
    /// Another program listens there.
    #[error(
        "{address} is in use already: {holder}. Stop that, or choose another address by {flag} ADDRESS:PORT"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
        /// What may hold it.
        holder: &'static str,
        /// The flag that changes it.
        flag: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({flag}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// An address that others can reach, without a token.
    #[error(
        "{flag} {address} can be reached from other machines, which would read all traces: set a token (--token-file, TRACER_VIEWER_TOKEN or viewer.token), \
         ask for certificates of clients (--tls-client-ca), or listen on 127.0.0.1"
    )]
    NeedsToken {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// The token cannot be used.
    #[error("the token cannot be used: {0}")]
    Token(&'static str),
    /// A TLS file cannot be read or used.
    #[error("cannot use {path} for TLS: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Clients are to show certificates, and there is no TLS by which they could.
    #[error("--tls-client-ca {0} needs TLS: give --tls-certificate and --tls-key too")]
    ClientCaWithoutTls(PathBuf),
    /// The path prefix is none.
    #[error("--path-prefix {0:?}: give a path that begins with / and does not end with it, such as /traces")]
    PathPrefix(String),
    /// The host name is none.
    #[error("--host-name {0:?}: give a name without scheme and port, such as traces.example.com")]
    HostName(String),
    /// Threads or timers cannot be had.
    #[error("cannot start the viewer's thread: {0}")]
    Thread(io::Error),
}
