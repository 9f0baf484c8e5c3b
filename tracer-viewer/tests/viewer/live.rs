//! New traces as they come.

use std::{net::SocketAddr, time::Duration};

use http::StatusCode;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::harness::{PATIENCE, Server, get, one_span};

/// One page that follows.
struct Follower(BufReader<TcpStream>);

impl Follower {
    /// Follows, from when the server says so.
    async fn new(server: &Server, query: &str) -> Self {
        let mut follower = Self::open(server.page, query).await;
        follower.until(|line| line.starts_with(": follows")).await;
        follower
    }

    async fn open(page: SocketAddr, query: &str) -> Self {
        let mut stream = TcpStream::connect(page).await.unwrap();
        let head = format!("GET /api/tracer/live{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("something comes in time");
        read.is_ok_and(|bytes| bytes > 0).then(|| line.trim_end().to_owned())
    }

    async fn until(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.line().await.expect("the stream goes on");
            if is_it(&line) {
                return line;
            }
        }
    }

    /// The next event of a name.
    async fn event(&mut self, name: &str) -> Value {
        let name = format!("event: {name}");
        self.until(|line| line == name).await;
        let data = self.line().await.unwrap();
        serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()
    }
}

#[tokio::test]
async fn new_traces_come_to_those_whose_query_they_meet() {
    let server = Server::start();
    let mut all = Follower::new(&server, "").await;
    let mut some = Follower::new(&server, "?q=service:wanted").await;
    server.take(&one_span(1, "other", "a")).await;
    assert_eq!(all.event("trace").await["root_service"], "other");
    server.take(&one_span(2, "wanted", "a")).await;
    assert_eq!(all.event("trace").await["root_service"], "wanted");
    assert_eq!(some.event("trace").await["root_service"], "wanted");
}

#[tokio::test]
async fn a_trace_that_grows_comes_again() {
    let server = Server::start();
    let mut follower = Follower::new(&server, "").await;
    server.take(&one_span(1, "a", "first")).await;
    assert_eq!(follower.event("trace").await["spans"], 1);
    let mut second = one_span(1, "a", "second");
    second.resource_spans[0].scope_spans[0].spans[0].span_id[7] = 2;
    server.take(&second).await;
    assert_eq!(follower.event("trace").await["spans"], 2);
}

#[tokio::test]
async fn more_than_a_person_reads_is_counted() {
    let server = Server::with(|settings| settings.limits.live_traces_per_second = 2);
    let mut follower = Follower::new(&server, "").await;
    let mut many = one_span(1, "a", "b");
    for trace in 2..=100 {
        many.resource_spans.extend(one_span(trace, "a", "b").resource_spans);
    }
    server.take(&many).await;
    let (mut told, mut lost) = (0, 0);
    while told + lost < 100 {
        match follower.until(|line| line.starts_with("event: ")).await.as_str() {
            "event: trace" => told += 1,
            _ => {
                let data = follower.line().await.unwrap();
                let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                lost += data["events"].as_u64().unwrap();
            }
        }
    }
    // One in each half of a second: the spans may have come in several.
    assert!((1..=5).contains(&told), "{told}");
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains(&format!("tracer_viewer_lost_live_events_total {lost}\n")), "{metrics}");
}

#[tokio::test]
async fn followers_are_bounded_and_their_places_are_given_back() {
    let server = Server::with(|settings| settings.limits.live_clients = 20);
    let mut followers = Vec::new();
    for _ in 0..200 {
        followers.push(Follower::open(server.page, "").await);
    }
    let (mut taken, mut refused) = (0, 0);
    for follower in &mut followers {
        let status = follower.line().await.expect("each is answered");
        match status.split(' ').nth(1) {
            Some("200") => taken += 1,
            Some("503") => refused += 1,
            _ => panic!("{status}"),
        }
    }
    assert_eq!((taken, refused), (20, 180));
    let answer = get(server.page, "/api/tracer/live").await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "30"));
    drop(followers);
    let again = async {
        loop {
            let mut follower = Follower::open(server.page, "").await;
            if follower.line().await.is_some_and(|status| status.contains(" 200 ")) {
                return;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("places are given back");
}

#[tokio::test]
async fn a_page_that_reads_nothing_does_not_stop_the_others() {
    let server = Server::start();
    let _slow = Follower::new(&server, "").await;
    let mut quick = Follower::new(&server, "").await;
    for trace in 1..=5 {
        server.take(&one_span(trace, &"long".repeat(1000), "b")).await;
        quick.event("trace").await;
    }
}

#[tokio::test]
async fn a_page_that_never_reads_loses_its_place() {
    let server = Server::with(|settings| {
        settings.limits.live_clients = 1;
        settings.limits.live_traces_per_second = 100_000;
        settings.limits.write_time = Duration::from_millis(200);
    });
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.page).await.unwrap();
    stream.write_all(b"GET /api/tracer/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 15]).await.unwrap();
    let name = "n".repeat(200_000);
    let mut trace = 0;
    let replaced = async {
        loop {
            trace = trace % 200 + 1;
            server.take(&one_span(trace, &name, "a")).await;
            if get_status(&server).await == "200" {
                return;
            }
        }
    };
    timeout(PATIENCE, replaced).await.expect("its place is given back");
    let metrics = server.get("/metrics").await.text();
    assert!(!metrics.contains("tracer_viewer_slow_connections_total 0\n"), "{metrics}");
}

async fn get_status(server: &Server) -> String {
    let mut follower = Follower::open(server.page, "").await;
    let status = follower.line().await.unwrap_or_default();
    status.split(' ').nth(1).unwrap_or_default().to_owned()
}
