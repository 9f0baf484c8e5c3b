//! What the running agent says of itself, by HTTP on a Unix socket.

#![forbid(unsafe_code)]

mod count;
mod links;
mod metrics;
mod report;
mod routes;
mod server;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

pub use self::{
    count::Count,
    links::LinksStatus,
    report::{ProfileStatus, ServiceStatus, StatusReport},
    routes::{PATH, StatusSource, routes},
    server::{Server, check_place},
};

/// Where the agent answers unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tracer.sock";

/// Where a running agent is asked: what `TRACER_SOCKET` says, as the agent reads it.
pub fn usual_socket() -> PathBuf {
    let named = std::env::var_os("TRACER_SOCKET").filter(|name| !name.is_empty());
    named.map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from)
}

/// The status, as the pipeline's thread keeps it.
pub type Shared = Arc<Mutex<StatusReport>>;

impl StatusSource for Mutex<StatusReport> {
    fn status(&self) -> StatusReport {
        self.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
