//! Sockets that are listened on.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream},
};

use crate::error::ViewerError;

/// Connections that the kernel keeps until they are accepted: more than come at once while the server is busy.
const BACKLOG: u32 = 1024;

/// A socket that takes connections.
pub(crate) trait Listener: Send + Sync + 'static {
    /// A connection of it.
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and the address of its client if it has one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Connection, Option<IpAddr>)>> + Send;
}

impl Listener for TcpListener {
    type Connection = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Option<IpAddr>)> {
        let (stream, peer) = Self::accept(self).await?;
        // Answers are written whole: waiting for more only delays them.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(peer.ip())))
    }
}

impl Listener for UnixListener {
    type Connection = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Option<IpAddr>)> {
        Self::accept(self).await.map(|(stream, _)| (stream, None))
    }
}

/// Opens a socket, within a runtime. `flag` sets its address: an error names it.
pub(crate) fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ViewerError> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let opened = socket.and_then(|socket| {
        // A viewer that was just stopped leaves connections behind that would hold the address for a minute.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            ViewerError::AddressInUse { address, holder: holder(address.port()), flag }
        }
        _ => ViewerError::Listen { address, flag, source },
    })
}

/// Who listens on a port as a rule.
fn holder(port: u16) -> &'static str {
    match port {
        4317 | 4318 => {
            "an OpenTelemetry Collector, Jaeger or another `tracer view` takes OTLP there as a rule (`ss -ltnp` tells)"
        }
        8377 => "another `tracer view` or agent with --view is there as a rule (`ss -ltnp` tells)",
        _ => "another program listens there (`ss -ltnp` tells which)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_named_with_its_flag() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0)), "--listen").unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address, "--otlp-http").expect_err("it is in use").to_string();
        assert!(error.contains(&address.to_string()) && error.contains("--otlp-http"), "{error}");
    }

    #[test]
    fn the_usual_holder_of_a_port_is_named() {
        assert!(holder(4317).contains("Collector") && holder(8377).contains("tracer view"));
    }
}
