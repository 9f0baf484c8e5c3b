//! Routes on a Unix socket.

use std::{
    future::Future,
    io,
    os::unix::net,
    pin::pin,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use http::Request;
use tokio::{net::UnixListener, runtime, sync::watch};
use tower::ServiceExt;

use super::connections::{Address, Protocol};
use crate::{counters::Counters, settings::Limits, stopping::Stopping};

/// Connections to the socket.
const CONNECTIONS: usize = 32;

/// Head of a request to it.
const HEAD_BYTES: usize = 8 * 1024;

/// Time for the head of a request, and for taking some of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time in which what is under way may end.
const STOP_TIME: Duration = Duration::from_millis(200);

/// Threads for work of the routes that blocks.
const BLOCKING_THREADS: usize = 2;

/// Serves routes by HTTP/1.1 on a Unix socket, until `end` completes.
///
/// The connections are those of the viewer's addresses: bounded (32, of which the one that has waited longest for its
/// client gives way to a new one), and ended when a client takes more than five seconds to send a head or to take some
/// of an answer. Neither token, Host nor Origin are checked: whoever may open the socket may ask. So its file must have
/// the mode 0600.
///
/// Bodies of requests have no bound here: a route that reads one bounds it.
pub async fn serve_socket(listener: UnixListener, routes: Router, end: impl Future<Output = ()>) {
    let limits = Limits {
        connections: CONNECTIONS,
        head_bytes: HEAD_BYTES,
        first_time: PATIENCE,
        head_time: PATIENCE,
        write_time: PATIENCE,
        stop_time: STOP_TIME,
        ..Limits::default()
    };
    let counters = Arc::new(Counters::default());
    let name = "the status socket";
    let address = Address { name, listener, protocol: Protocol::Http, tls: None, limits, counters };
    let answer = move |request: Request<Body>| {
        let routes = routes.clone();
        async move {
            let Ok(response): Result<Response, _> = routes.oneshot(request).await;
            response
        }
    };
    let (stop, stopping) = Stopping::new();
    let mut served = pin!(address.serve(answer, stopping));
    tokio::select! {
        () = &mut served => return,
        () = end => { let _ = stop.send(true); }
    }
    served.await;
}

/// A Unix socket that is served by a thread of its own. It ends when this is dropped.
#[derive(Debug)]
pub struct RunningSocket {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl RunningSocket {
    /// Serves routes on a socket as [`serve_socket`] does, from a program that has no runtime: on a thread of its own,
    /// which waits in the kernel while nobody asks.
    ///
    /// # Errors
    /// The thread, its timers or the socket cannot be had.
    pub fn start(listener: net::UnixListener, routes: Router) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut builder = runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
        let in_runtime = runtime.enter();
        let listener = UnixListener::from_std(listener);
        drop(in_runtime);
        let listener = listener?;
        let (stop, mut stopping) = Stopping::new();
        let serve = move || {
            runtime.block_on(serve_socket(listener, routes, async move { stopping.wait().await }));
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("socket".to_owned()).spawn(serve)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for RunningSocket {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the socket failed");
        }
    }
}
