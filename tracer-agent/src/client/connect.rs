//! Connections to who is asked: TCP, TLS over it, or a Unix socket.

#![forbid(unsafe_code)]

use std::{io, path::PathBuf, sync::Arc};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, rustls::ClientConfig};

/// Bytes that go both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The way to who is asked.
pub(super) enum Way {
    Tcp { host: String, port: u16, tls: Option<Arc<ClientConfig>> },
    Unix(PathBuf),
}

/// Why there is no connection.
pub(super) enum NoConnection {
    /// Nobody is there.
    Nobody(io::Error),
    /// One of both does not trust the other.
    Tls(io::Error),
}

impl Way {
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, NoConnection> {
        match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(NoConnection::Nobody)?;
                Ok(Box::new(stream))
            }
            Self::Tcp { host, port, tls } => {
                let stream =
                    TcpStream::connect((host.as_str(), *port)).await.map_err(NoConnection::Nobody)?;
                // A request is written whole: waiting for more only delays it.
                let _ = stream.set_nodelay(true);
                let Some(tls) = tls else { return Ok(Box::new(stream)) };
                let name = ServerName::try_from(host.clone())
                    .map_err(|error| NoConnection::Tls(io::Error::other(error)))?;
                let connector = TlsConnector::from(Arc::clone(tls));
                Ok(Box::new(connector.connect(name, stream).await.map_err(NoConnection::Tls)?))
            }
        }
    }
}
