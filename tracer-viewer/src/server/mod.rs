//! The server: its addresses, its thread, and what each request goes through.

mod connections;
mod exchange;
mod gate;
mod listen;
mod patience;
mod places;
mod socket;
mod tls;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    thread::{self, JoinHandle},
};

use axum::{Router, body::Body, response::Response};
use http::Request;
use tokio::{net::TcpListener, runtime, sync::watch, task::JoinSet};
use tower::ServiceExt;
use tracer_store::Store;

pub use self::socket::{RunningSocket, serve_socket};
use self::{
    connections::{Address, Protocol, alpn},
    gate::Gate,
    listen::listen,
    tls::Tls,
};
use crate::{
    counters::Counters,
    error::ViewerError,
    otlp::{Door, Ingest, answer_grpc, http_router},
    security::harden,
    settings::Settings,
    shared::{AgentSource, Shared},
    stopping::Stopping,
};

/// Threads that decode, store and search. Each of these is bounded by itself; this bounds them together.
const BLOCKING_THREADS: usize = 16;

/// The viewer.
pub struct Viewer;

/// Where a viewer serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Page and API.
    pub page: SocketAddr,
    /// OTLP by gRPC.
    pub otlp_grpc: Option<SocketAddr>,
    /// OTLP by HTTP.
    pub otlp_http: Option<SocketAddr>,
    /// The address that a person opens, with the token if there is one.
    pub url: String,
}

/// A viewer that serves. It stops when this is dropped.
#[derive(Debug)]
pub struct Running {
    addresses: Addresses,
    routes: Router,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What serves one address.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Viewer {
    /// Opens the addresses and serves, on a thread of its own.
    pub fn start(
        settings: Settings,
        store: Arc<Store>,
        agent: Option<Arc<dyn AgentSource>>,
    ) -> Result<Running, ViewerError> {
        settings.check()?;
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS);
        let runtime = runtime.build().map_err(ViewerError::Thread)?;
        let (stop, stopping) = Stopping::new();
        let in_runtime = runtime.enter();
        let opened = open(settings, store, agent, stopping);
        drop(in_runtime);
        let (addresses, routes, serving) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Dropping it would wait for its threads, which the caller's own runtime may not allow.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let serve = move || {
            runtime.block_on(async {
                let mut tasks: JoinSet<()> = serving.into_iter().collect();
                while tasks.join_next().await.is_some() {}
            });
            // A search that still runs has nobody to answer to.
            runtime.shutdown_background();
        };
        let thread =
            thread::Builder::new().name("viewer".to_owned()).spawn(serve).map_err(ViewerError::Thread)?;
        Ok(Running { addresses, routes, stop, thread: Some(thread) })
    }
}

impl Running {
    /// Where it serves.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Every route of the page's address, without what guards it (token, Host, Origin) and without its path prefix: for a
    /// Unix socket whose file says who may ask ([`serve_socket`]).
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Stops: takes no new connections, lets what is under way end for a while, and returns when all has ended.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the viewer's thread failed");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Opens every address, and prepares what serves them.
fn open(
    mut settings: Settings,
    store: Arc<Store>,
    agent: Option<Arc<dyn AgentSource>>,
    stopping: Stopping,
) -> Result<(Addresses, Router, Vec<Serving>), ViewerError> {
    let page = listen(settings.listen, "--listen")?;
    let otlp_grpc = settings.otlp_grpc.map(|address| listen(address, "--otlp-grpc")).transpose()?;
    let otlp_http = settings.otlp_http.map(|address| listen(address, "--otlp-http")).transpose()?;
    let bound = |listener: &TcpListener, wanted| listener.local_addr().unwrap_or(wanted);
    settings.listen = bound(&page, settings.listen);
    let addresses = Addresses {
        page: settings.listen,
        otlp_grpc: otlp_grpc
            .as_ref()
            .zip(settings.otlp_grpc)
            .map(|(listener, wanted)| bound(listener, wanted)),
        otlp_http: otlp_http
            .as_ref()
            .zip(settings.otlp_http)
            .map(|(listener, wanted)| bound(listener, wanted)),
        url: url(&settings),
    };
    if settings.source.names.is_empty() {
        let http = addresses.otlp_http.map(|address| format!("http://{address}"));
        let grpc = addresses.otlp_grpc.map(|address| format!("{address} (gRPC)"));
        settings.source.names.extend(http.into_iter().chain(grpc));
    }
    let counters = Arc::new(Counters::default());
    let ingest = Ingest::new(store.clone(), counters.clone(), &settings.limits);
    let plan = Plan { settings: &settings, counters: &counters, stopping: &stopping };
    let mut serving = Vec::new();
    if let Some(listener) = otlp_grpc {
        serving.push(plan.otlp_grpc(listener, ingest.clone())?);
    }
    if let Some(listener) = otlp_http {
        serving.push(plan.otlp_http(listener, ingest)?);
    }
    let (routes, page) = plan.page(page, store, agent)?;
    serving.extend(page);
    Ok((addresses, routes, serving))
}

/// What a person opens. A wildcard address is no place to go to: this machine is.
fn url(settings: &Settings) -> String {
    let page = settings.listen;
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let place = match (settings.host_names.first(), page.ip().is_unspecified()) {
        (Some(name), _) if !page.ip().is_loopback() => format!("{name}:{}", page.port()),
        (_, true) => format!("localhost:{}", page.port()),
        _ => page.to_string(),
    };
    let token = settings.token.as_ref().map(|token| format!("?token={}", token.text())).unwrap_or_default();
    format!("{scheme}://{place}{}/{token}", settings.path_prefix)
}

/// What the addresses have in common.
struct Plan<'a> {
    settings: &'a Settings,
    counters: &'a Arc<Counters>,
    stopping: &'a Stopping,
}

impl Plan<'_> {
    fn page(
        &self,
        listener: TcpListener,
        store: Arc<Store>,
        agent: Option<Arc<dyn AgentSource>>,
    ) -> Result<(Router, [Serving; 2]), ViewerError> {
        let (counters, stopping) = (self.counters.clone(), self.stopping.clone());
        let shared = Shared::new(self.settings.clone(), store.clone(), agent, counters, stopping);
        let watching = shared.watcher.clone().run(store, self.stopping.clone());
        let gate = Arc::new(Gate::new(Arc::new(shared)));
        let routes = gate.routes();
        let answer = move |request| {
            let gate = gate.clone();
            async move { gate.answer(request).await }
        };
        let address = self.address(listener, Protocol::Http, true)?;
        Ok((routes, [Box::pin(address.serve(answer, self.stopping.clone())), Box::pin(watching)]))
    }

    fn otlp_http(&self, listener: TcpListener, ingest: Ingest) -> Result<Serving, ViewerError> {
        let is_open = is_open(&listener);
        let router = http_router(ingest, self.door(is_open));
        let answer = move |request: Request<Body>| {
            let router = router.clone();
            async move {
                let Ok(mut response) = router.oneshot(request).await;
                harden(response.headers_mut());
                response
            }
        };
        let address = self.address(listener, Protocol::Http, is_open)?;
        Ok(Box::pin(address.serve(answer, self.stopping.clone())))
    }

    fn otlp_grpc(&self, listener: TcpListener, ingest: Ingest) -> Result<Serving, ViewerError> {
        let is_open = is_open(&listener);
        let door = self.door(is_open);
        let answer = move |request: Request<Body>| -> Pin<Box<dyn Future<Output = Response> + Send>> {
            Box::pin(answer_grpc(ingest.clone(), door.clone(), request))
        };
        let address = self.address(listener, Protocol::Http2, is_open)?;
        Ok(Box::pin(address.serve(answer, self.stopping.clone())))
    }

    /// Who may send OTLP. On loopback everybody may.
    fn door(&self, is_open: bool) -> Door {
        Door::new(self.settings.token.clone().filter(|_| is_open))
    }

    fn address(
        &self,
        listener: TcpListener,
        protocol: Protocol,
        has_tls: bool,
    ) -> Result<Address<TcpListener>, ViewerError> {
        let tls = if has_tls { Tls::new(self.settings, alpn(protocol))?.map(Arc::new) } else { None };
        let (limits, counters) = (self.settings.limits.clone(), self.counters.clone());
        let name = "an address of the viewer";
        Ok(Address { name, listener, protocol, tls, limits, counters })
    }
}

/// Whether other machines can reach the socket.
fn is_open(listener: &TcpListener) -> bool {
    listener.local_addr().is_ok_and(|address| !address.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::Token;

    #[test]
    fn a_person_opens_an_address_that_leads_somewhere() {
        let at = |address: &str, settings: &Settings| {
            url(&Settings { listen: address.parse().unwrap(), ..settings.clone() })
        };
        let mut settings = Settings::default();
        assert_eq!(at("127.0.0.1:8377", &settings), "http://127.0.0.1:8377/");
        settings.token = Some(Token::new("a-token-of-length-24-000").unwrap());
        assert_eq!(at("0.0.0.0:80", &settings), "http://localhost:80/?token=a-token-of-length-24-000");
        settings.host_names = vec!["traces.example.com".to_owned()];
        settings.path_prefix = "/t".to_owned();
        let url = "http://traces.example.com:80/t/?token=a-token-of-length-24-000";
        assert_eq!(at("0.0.0.0:80", &settings), url);
    }
}
