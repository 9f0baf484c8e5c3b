//! The demonstration: a small system of real programs, traced, and its spans checked.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    programs::{Folder, Shop},
    stage,
};

/// A request of the demo: curl's arguments, its path, the status that nginx answers with, and the path
/// at the price service if the request gets there.
struct Step {
    arguments: &'static [&'static str],
    path: &'static str,
    status: i64,
    /// Method and path of the call that the shop makes.
    call: Option<&'static str>,
}

const fn get(path: &'static str, status: i64, call: Option<&'static str>) -> Step {
    Step { arguments: &[], path, status, call }
}

const STEPS: &[Step] = &[
    get("/static", 200, None),
    get("/", 200, None),
    get("/item/1", 200, Some("/price/1")),
    get("/item/2?token=secret", 200, Some("/price/2")),
    get("/item/unknown", 404, Some("/missing/unknown")),
    get("/slow", 200, None),
    get("/fail", 500, None),
    get("/nowhere", 404, None),
    get("/stream", 200, None),
    Step { arguments: &["--head"], path: "/item/3", status: 200, call: Some("/price/3") },
    Step { arguments: &["--data", "a small order"], path: "/upload", status: 200, call: None },
    Step { arguments: &["--http1.0"], path: "/item/4", status: 200, call: Some("/price/4") },
];

#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Go on showing the traces on the viewer's page, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(flags: &Flags) -> Result<()> {
    let folder = Folder::new()?;
    println!("\nstarting nginx → gunicorn/Flask → Node, all on loopback");
    let shop = Shop::start(folder.path())?;
    let receiver = Receiver::start()?;
    let mut agent = Tracing::start(&folder, &shop, &receiver)?;
    println!("the traces are shown at {}\n", agent.page());
    let outcome = drive(&shop);
    let shown = outcome.and_then(|()| agent.slowest());
    if flags.keep && shown.is_ok() {
        // Ctrl-C ends the agent, which stands in the same group of processes, and not this program.
        // SAFETY: no handler of ours.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        println!("\na trace: {}\nthe traces are shown until Ctrl-C", shown?);
        agent.child.wait()?;
        return check(&receiver.spans());
    }
    agent.end()?;
    println!("\na trace, while the agent ran (--keep lets it run): {}", shown?);
    check(&receiver.spans())
}

/// The agent, with its viewer.
pub(crate) struct Tracing {
    child: Child,
    port: u16,
}

impl Tracing {
    /// Starts it on exactly the programs of the shop, and waits until it traces.
    pub(crate) fn start(folder: &Folder, shop: &Shop, receiver: &Receiver) -> Result<Self> {
        let pids = [&shop.nginx, &shop.flask, &shop.node].map(|program| program.pid().to_string());
        println!("tracing exactly these: nginx {}, gunicorn {}, node {}", pids[0], pids[1], pids[2]);
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let socket = folder.path().join("tracer.sock");
        let mut command = Command::new(stage::target().join("release/tracer"));
        for pid in &pids {
            command.args(["--pid", pid]);
        }
        command
            .args(["--output", "tree", "--otlp-protocol", "http/json", "--otlp-endpoint", &receiver.endpoint])
            .args(["--log-level", "warn", "--listen", &format!("127.0.0.1:{port}"), "--socket"])
            .arg(&socket)
            .stdin(Stdio::null());
        let mut this = Self { child: command.spawn().context("cannot start the agent")?, port };
        let begin = Instant::now();
        while !socket.exists() || TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > Duration::from_secs(20) || this.child.try_wait()?.is_some() {
                bail!("the agent did not start");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(this)
    }

    /// The address of the viewer's page.
    pub(crate) fn page(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The address of the page of the slowest trace.
    pub(crate) fn slowest(&self) -> Result<String> {
        let url = format!("{}api/tracer/search?order=slowest&limit=1&q=service:prices", self.page());
        let output = Command::new("curl").args(["--silent", "--fail", "--max-time", "20", &url]).output()?;
        let answer: Value = serde_json::from_slice(&output.stdout).context("the viewer does not answer")?;
        let id = answer["traces"][0]["trace_id"].as_str().context("the viewer has no trace")?;
        Ok(format!("{}#/trace/{id}", self.page()))
    }

    /// Ends it, and waits for that.
    pub(crate) fn end(mut self) -> Result<()> {
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGINT) };
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends the requests, and some load.
pub(crate) fn drive(shop: &Shop) -> Result<()> {
    let base = format!("http://127.0.0.1:{}", shop.port);
    for step in STEPS {
        let mut command = Command::new("curl");
        command.args(["--silent", "--output", "/dev/null", "--max-time", "20"]).args(step.arguments);
        stage::command(command.arg(format!("{base}{}", step.path)))?;
    }
    let mut load = Command::new("wrk");
    load.args(["--threads", "1", "--connections", "4", "--duration", "2s"]).arg(format!("{base}/item/77"));
    let output = load.output().context("cannot run wrk")?;
    // The last spans are on their way for up to a second.
    thread::sleep(Duration::from_millis(1200));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let requests = text.lines().find(|line| line.contains("requests in")).unwrap_or("?").trim().to_owned();
    println!("(wrk, beside it: {requests})");
    Ok(())
}

/// Every request must be there once at each service that it reached, with the right status.
fn check(spans: &[Value]) -> Result<()> {
    let mut missing = Vec::new();
    let mut count = |service: &str, kind: i64, path: &str, status: i64| {
        let path = path.split('?').next().unwrap_or(path);
        let found: Vec<i64> = spans
            .iter()
            .filter(|span| span["service"] == service && span["kind"] == kind && span["path"] == path)
            .filter_map(|span| span["status"].as_i64())
            .collect();
        if found != [status] {
            let kind = if kind == 2 { "server" } else { "client" };
            missing
                .push(format!("{service}: one {kind} span of {path} with status {status}, found {found:?}"));
        }
    };
    for step in STEPS {
        count("nginx", 2, step.path, step.status);
        if step.path == "/static" {
            continue;
        }
        count("nginx", 3, step.path, step.status);
        count("shop", 2, step.path, step.status);
        if let Some(path) = step.call {
            let status = if path.starts_with("/missing") { 404 } else { 200 };
            count("shop", 3, path, status);
            count("prices", 2, path, status);
        }
    }
    let mut services: BTreeMap<&str, usize> = BTreeMap::new();
    for span in spans {
        *services.entry(span["service"].as_str().unwrap_or("?")).or_default() += 1;
    }
    println!("\nspans that arrived at the OTLP receiver: {services:?}");
    if let Some(leak) = spans.iter().find(|span| span.to_string().contains("secret")) {
        bail!("a secret left: {leak}");
    }
    if missing.is_empty() {
        println!("every request is there once at each service that it reached, with its status");
        return Ok(());
    }
    bail!("the spans are not what they must be:\n  {}", missing.join("\n  "))
}

/// An OTLP receiver for `http/json`, as small as it can be.
pub(crate) struct Receiver {
    endpoint: String,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let spans = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&spans);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let into = Arc::clone(&into);
                thread::spawn(move || serve(client, &into));
            }
        });
        Ok(Self { endpoint, spans })
    }

    fn spans(&self) -> Vec<Value> {
        self.spans.lock().map(|spans| spans.clone()).unwrap_or_default()
    }
}

fn serve(client: TcpStream, into: &Mutex<Vec<Value>>) -> Option<()> {
    let mut answers = client.try_clone().ok()?;
    let mut reader = BufReader::new(client);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let request: Value = serde_json::from_slice(&body).ok()?;
        into.lock().ok()?.extend(flatten(&request));
        answers
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            .ok()?;
    }
}

/// Service, kind, path and status of each span.
fn flatten(request: &Value) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let attribute = |of: &Value, name: &str| {
        let value =
            list(&of["attributes"]).into_iter().find(|attribute| attribute["key"] == name)?["value"].clone();
        let number = value["intValue"].as_str().and_then(|text| text.parse::<i64>().ok()).map(Value::from);
        number.or_else(|| Some(value["stringValue"].clone()))
    };
    let mut spans = Vec::new();
    for group in list(&request["resourceSpans"]) {
        let service = attribute(&group["resource"], "service.name");
        for span in list(&group["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
            let full = attribute(&span, "url.full").and_then(|url| {
                let rest = url.as_str()?.split_once("://")?.1.to_owned();
                let path = rest.find('/').map_or("/", |at| &rest[at..]);
                Some(Value::from(path.split('?').next().unwrap_or(path)))
            });
            spans.push(serde_json::json!({
                "service": service,
                "kind": span["kind"],
                "path": attribute(&span, "url.path").or(full),
                "query": attribute(&span, "url.query"),
                "status": attribute(&span, "http.response.status_code"),
            }));
        }
    }
    spans
}
