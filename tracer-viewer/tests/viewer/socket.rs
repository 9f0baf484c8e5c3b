//! Routes on a Unix socket.

use std::os::unix::net::UnixListener;

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};
use tracer_viewer::{RunningSocket, serve_socket};

use crate::harness::{PATIENCE, send_on};

fn routes() -> Router {
    Router::new().route("/status", get(async || "all is well\n"))
}

fn ask() -> Request<Full<Bytes>> {
    // Neither this host nor this origin is the program's: the file says who may ask.
    let request = Request::get("/status").header("host", "tracer").header("origin", "http://evil.com");
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn routes_are_answered_on_a_unix_socket() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let running = RunningSocket::start(UnixListener::bind(&path).unwrap(), routes()).unwrap();
    for _ in 0..3 {
        let answer = send_on(UnixStream::connect(&path).await.unwrap(), ask()).await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "all is well\n"));
    }
    tokio::task::spawn_blocking(move || drop(running)).await.unwrap();
    assert!(UnixStream::connect(&path).await.is_err(), "it listens after its end");
}

#[tokio::test]
async fn a_socket_that_is_full_of_waiting_clients_answers_the_next() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve_socket(listener, routes(), async move {
        let _ = ended.await;
    }));
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let _ = stream.write_all(b"GET /status HT").await;
        waiting.push(stream);
    }
    let answer = send_on(UnixStream::connect(&path).await.unwrap(), ask()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut first = waiting.swap_remove(0);
    let closed = timeout(PATIENCE, first.read(&mut [0])).await.expect("it gave way");
    assert!(closed.map_or(true, |bytes| bytes == 0));
    end.send(()).unwrap();
    timeout(PATIENCE, served).await.expect("it ends").unwrap();
}
