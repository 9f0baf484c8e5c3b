//! Sockets that are listened on.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

use crate::error::ViewerError;

/// Opens a socket, within a runtime. `flag` sets its address: an error names it.
pub(crate) fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ViewerError> {
    let opened = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
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
