//! The command as a person uses it: errors, privileges, status, recordings.

use std::{
    fs,
    io::Read,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixDatagram,
        process::CommandExt,
    },
    process::{Command, Output},
    time::Duration,
};

use tracer_tests::{
    Agent, Folder, TRUST,
    programs::{PYTHON, Program, curl, is_valid},
    receiver::Receiver,
    root, tracer, tracer_under_test, wait_until,
};

fn run(arguments: &[&str]) -> Output {
    Command::new(tracer()).args(arguments).output().expect("tracer runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A socket as systemd gives its services one, and what is told there, a word at a time.
fn systemd(folder: &Folder) -> (String, impl Fn() -> String) {
    let path = folder.file("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let told = move || {
        let mut word = [0; 64];
        let length = socket.recv(&mut word).expect("a word to systemd");
        String::from_utf8_lossy(&word[..length]).into_owned()
    };
    (path.to_string_lossy().into_owned(), told)
}

const ANSWERS: &str = "location / { return 200 \"hello\\n\"; }";

#[test]
fn without_privileges_it_says_so_and_exits_with_77() {
    // Anyone may execute a copy in the temporary folder.
    let folder = Folder::new();
    let copy = folder.file("tracer");
    fs::copy(tracer(), &copy).expect("copied");
    let own = std::process::id().to_string();
    let output = Command::new(&copy).args(["--pid", &own]).uid(65_534).gid(65_534).output().expect("it runs");
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("not permitted") && stderr(&output).contains("root"),
        "{}",
        stderr(&output)
    );
    let output = Command::new(&copy).arg("doctor").uid(65_534).gid(65_534).output().expect("it runs");
    assert_eq!(output.status.code(), Some(77));
    assert!(String::from_utf8_lossy(&output.stdout).contains("CAP_BPF"));
}

#[test]
fn four_capabilities_are_enough_with_headers_too() {
    let nginx = Program::noting();
    // cgroup2 where distributions mount it.
    let line = format!(
        "mount -t cgroup2 none /sys/fs/cgroup && \
         exec setpriv --bounding-set=-all,+bpf,+perfmon,+sys_ptrace,+net_admin --inh-caps=-all \
         {} run --propagation headers --output none -- curl -sf {}",
        tracer_under_test().display(),
        nginx.url("/")
    );
    let mut command = Command::new("unshare");
    command.env(TRUST, "1").args(["--mount", "sh", "-c", &line]);
    let output = command.output().expect("unshare runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = nginx.lines("traces", 1);
    assert!(lines.lines().map(is_valid).eq([true]), "{lines}");
}

#[test]
fn the_doctor_finds_this_machine_fit() {
    let output = run(&["doctor"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("load and attach"), "{text}");
}

#[test]
fn on_a_terminal_run_draws_a_trace_and_leaves_the_programs_output_as_it_is() {
    let behind = Program::nginx(ANSWERS);
    let script = format!(
        "import http.server, sys, threading, urllib.request\n\
         class Handler(http.server.BaseHTTPRequestHandler):\n\
         \x20   def log_message(self, *_): pass\n\
         \x20   def do_GET(self):\n\
         \x20       body = urllib.request.urlopen('{}').read()\n\
         \x20       self.send_response(200)\n\
         \x20       self.send_header('Content-Length', str(len(body)))\n\
         \x20       self.end_headers()\n\
         \x20       self.wfile.write(body)\n\
         server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n\
         threading.Thread(target=server.serve_forever, daemon=True).start()\n\
         print(urllib.request.urlopen('http://127.0.0.1:%d/shown' % server.server_port).read())\n",
        behind.url("/behind")
    );
    let folder = Folder::new();
    fs::write(folder.file("client.py"), script).expect("written");
    let line = format!("{} run -- {PYTHON} {}", tracer().display(), folder.file("client.py").display());
    // Of util-linux: the program has a terminal for all three.
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("LANG", "C.UTF-8")
        .env("COLUMNS", "120")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("script runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("b'hello\\n'"), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.contains(['→', '←'])).collect();
    for (row, wanted) in rows.iter().zip(["→ GET /shown", "← GET /shown", "/behind "]) {
        assert!(row.contains(wanted) && row.contains('█'), "{text}");
    }
    assert_eq!(rows.len(), 3, "{text}");
    assert!(rows[1].contains("header") || rows[1].contains("wire"), "{text}");
    assert!(text.contains("\u{1b}["), "in colours: {text}");
}

#[test]
fn run_gives_back_the_programs_status_and_leaves_its_streams_alone() {
    let output = run(&[
        "run",
        "--log-level",
        "off",
        "--output",
        "none",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    ]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert_eq!(stderr(&output), "err\n");
    let output = run(&["run", "--output", "none", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(output.status.code(), Some(128 + libc::SIGTERM));
    assert_eq!(run(&["run", "--", "no-such-program"]).status.code(), Some(127));
}

#[test]
fn the_summary_in_a_log_for_programs_is_one_record() {
    let output = run(&["run", "--output", "none", "--log-format", "json", "--", "true"]);
    assert_eq!(output.status.code(), Some(0));
    let records: Vec<serde_json::Value> = stderr(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let summaries: Vec<_> = records.iter().filter(|record| record["fields"]["event"] == "summary").collect();
    assert_eq!(summaries.len(), 1, "{records:?}");
    assert_eq!((&summaries[0]["level"], &summaries[0]["fields"]["exchanges"]), (&"INFO".into(), &0.into()));
    assert!(records.iter().all(|record| !record["fields"]["message"].to_string().contains("Seen: ")));
}

#[test]
fn a_program_that_its_user_may_not_execute_is_refused_before_anything_is_loaded() {
    let folder = Folder::new();
    let program = folder.file("private");
    fs::write(&program, "#!/bin/sh\n").expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("allowed");
    let program = program.display().to_string();
    let output = run(&["run", "--log-level", "debug", "--user", "nobody", "--", &program]);
    let expected = format!(
        "tracer: cannot run {program:?} ({program:?}, as user \"nobody\"): Permission denied (os error 13)\n"
    );
    assert_eq!((output.status.code(), stderr(&output)), (Some(126), expected), "it logs what it loads");
}

#[test]
fn a_caller_that_ignores_its_children_has_the_programs_status_too() {
    let script = "import os, signal, sys\n\
                  signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n\
                  os.execv(sys.argv[1], sys.argv[1:])\n";
    let status = Command::new(PYTHON)
        .args(["-c", script])
        .arg(tracer())
        .args(["run", "--log-level", "off", "--output", "none", "--"])
        .args(["sh", "-c", "exit 7"])
        .status()
        .expect("it runs");
    assert_eq!(status.code(), Some(7));
}

#[test]
fn what_cannot_be_honoured_of_the_programs_variables_is_a_warning_and_the_program_starts() {
    for (name, value) in [
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_TRACES_EXPORTER", "console,otlp"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "deflate"),
        ("OTEL_TRACES_SAMPLER", "xray"),
    ] {
        let output = Command::new(tracer())
            .args(["run", "--output", "none", "--", "sh", "-c", &format!("printenv {name}; exit 3")])
            .env(name, value)
            .output()
            .expect("started");
        let log = stderr(&output);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), printed.trim()), (Some(3), value), "{log}");
        let naming: Vec<&str> = log.lines().filter(|line| line.contains(name)).collect();
        assert!(matches!(naming[..], [line] if line.contains(" WARN ")), "{log}");
    }
    let receiver = Receiver::start();
    let output = Command::new(tracer())
        .args(["run", "--output", "none", "--otlp-endpoint", &receiver.http_endpoint(), "--", "true"])
        .env("OTEL_TRACES_EXPORTER", "none")
        .output()
        .expect("started");
    let log = stderr(&output);
    assert!(output.status.success() && !log.contains("not exported"), "{log}");
}

#[test]
fn under_sudo_the_program_runs_as_the_user_who_called() {
    let script = "id -un; id -gn; echo $HOME; id -Gn";
    let arguments = ["run", "--log-level", "off", "--output", "none"];
    let by_flag =
        Command::new(tracer()).args(arguments).args(["--user", "nobody", "--", "sh", "-c", script]).output();
    let by_sudo = Command::new(tracer())
        .args(arguments)
        .args(["--", "sh", "-c", script])
        .env("SUDO_UID", "65534")
        .output();
    let as_root =
        Command::new(tracer()).args(arguments).args(["--", "id", "-un"]).env_remove("SUDO_UID").output();
    for output in [by_flag, by_sudo] {
        let output = output.expect("tracer runs");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "nobody\nnogroup\n/nonexistent\nnogroup\n",
            "{output:?}"
        );
    }
    assert_eq!(String::from_utf8_lossy(&as_root.expect("tracer runs").stdout), "root\n");
}

#[test]
fn an_output_file_of_another_user_is_replaced_and_what_he_has_open_gets_nothing() {
    let folder = Folder::new();
    let output = folder.file("spans");
    let mut theirs = fs::File::options().read(true).write(true).create_new(true).open(&output).expect("made");
    std::os::unix::fs::fchown(&theirs, Some(65534), None).expect("root");
    let recording = root().join("tests/recordings/curl.rec");
    let replayed = Command::new(tracer())
        .args(["replay", "--output", "json", "--output-file"])
        .args([&output, &recording])
        .output()
        .expect("tracer replay");
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    let metadata = fs::metadata(&output).expect("a file");
    assert_eq!((metadata.uid(), metadata.mode() & 0o777, metadata.len() > 0), (0, 0o600, true));
    let mut seen = String::new();
    theirs.read_to_string(&mut seen).expect("read");
    assert_eq!(seen, "");
}

/// Runs a command on a terminal that `tests/apps/terminal.py` holds. Returns what was seen there.
fn on_a_terminal_of_ours(scenario: &str, command: &[&str]) -> String {
    let output = Command::new(PYTHON)
        .arg(root().join("tests/apps/terminal.py"))
        .arg(scenario)
        .args(command)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", stderr(&output));
    text
}

/// The command line that runs a program as nobody.
fn run_as_nobody<'a>(tracer: &'a str, program: &[&'a str]) -> Vec<&'a str> {
    let run = [tracer, "run", "--log-level", "off", "--output", "none", "--user", "nobody", "--"];
    [&run, program].concat()
}

/// Runs a program as nobody on such a terminal, which must be as it was at the end.
fn on_a_terminal(scenario: &str, program: &[&str]) -> String {
    let text = on_a_terminal_of_ours(scenario, &run_as_nobody(&tracer().display().to_string(), program));
    assert!(!text.contains("[restored False]"), "{text}");
    text
}

#[test]
fn another_users_program_cannot_type_on_our_terminal() {
    let script = "import fcntl, os, termios\n\
                  try:\n\
                  \x20   for byte in b'echo hacked\\n':\n\
                  \x20       fcntl.ioctl(0, termios.TIOCSTI, bytes([byte]))\n\
                  except OSError: pass\n\
                  open('/dev/tty').close()\n\
                  print(os.stat(os.ttyname(0)).st_uid, 'ready', os.getsid(0) != os.getpid())\n";
    let text = on_a_terminal("type", &[PYTHON, "-c", script]);
    assert!(text.contains("65534 ready True") && text.contains("[status 0]"), "{text}");
}

#[test]
fn another_users_program_has_the_size_of_our_terminal_and_its_keys() {
    let text = on_a_terminal(
        "size",
        &["sh", "-c", "echo ready; stty size; until stty size | grep '40 90'; do sleep 0.05; done; exit 5"],
    );
    assert!(text.contains("[status 5]") && !text.contains("\r\r\n"), "{text:?}");
    // The key may come before `sleep` has begun, and the shell's trap waits for a command that runs.
    let text = on_a_terminal(
        "interrupt",
        &["sh", "-c", "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done"],
    );
    assert!(text.contains("caught") && text.contains("[status 7]"), "{text}");
    let text = on_a_terminal("interrupt", &["sh", "-c", "echo ready; exec sleep 60"]);
    assert!(text.contains("[status 130]"), "{text}");
    let text = on_a_terminal(
        "stop",
        &["sh", "-c", "echo ready; read line; echo heard $line; (sleep 0.3; echo late) &"],
    );
    assert!(text.contains("late") && text.contains("[status 0]"), "{text}");
}

#[test]
fn only_streams_that_are_terminals_become_the_programs_own() {
    let folder = Folder::new();
    let file = folder.file("out");
    let line = format!(
        "{} run --log-level off --output none --user nobody -- \
         sh -c 'test -t 0 && test -t 2 && ! test -t 1 && echo piped; echo ready >&2' > {}",
        tracer().display(),
        file.display()
    );
    on_a_terminal_of_ours("type", &["sh", "-c", &line]);
    assert_eq!(fs::read_to_string(file).expect("written"), "piped\n");
}

/// As [`on_a_terminal`], with the standard output of the agent and the program in a pipe to `reader`.
fn in_a_pipeline(scenario: &str, program: &str, reader: &str) -> String {
    let tracer = tracer().display().to_string();
    let line = format!(
        "'{tracer}' run --log-level off --output none --user nobody -- sh -c '{program}' | sh -c '{reader}'"
    );
    let text = on_a_terminal_of_ours(scenario, &["sh", "-c", &line]);
    assert!(!text.contains("[restored False]"), "{text}");
    text
}

#[test]
fn in_a_pipeline_another_users_program_has_our_terminal_when_it_asks_for_it() {
    let folder = Folder::new();
    let file = folder.file("reader-has-read").display().to_string();
    let text = in_a_pipeline(
        "pipeline",
        &format!(
            "echo ready >&2; until test -e {file}; do sleep 0.05; done; read line; echo program has $line >&2"
        ),
        &format!("read line </dev/tty; touch {file}; echo reader has $line; cat"),
    );
    assert!(text.contains("program has second"), "{text:?}");
    // Until then Ctrl-C is a signal of our terminal. It is for all processes of the program.
    let text = in_a_pipeline("interrupt", "echo ready >&2; sleep 600; echo more >&2", "trap : INT; cat");
    assert!(!text.contains("more"), "{text:?}");
}

#[test]
fn another_users_program_is_hung_up_on_when_the_agent_is_killed() {
    let folder = Folder::new();
    let file = folder.file("ended");
    fs::write(&file, "").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("ours");
    let script = format!(
        "trap 'echo hung up >{0}; exit' HUP; echo ready; while :; do sleep 0.1; done",
        file.display()
    );
    on_a_terminal_of_ours("killed", &run_as_nobody(&tracer().display().to_string(), &["sh", "-c", &script]));
    wait_until("COMMAND is told", || fs::read_to_string(&file).is_ok_and(|text| text == "hung up\n"));
}

#[test]
fn another_user_gets_none_of_our_credentials() {
    let folder = Folder::new();
    let config = folder.file("tracer.yaml");
    fs::write(&config, "export: {headers: {x-token: '${env:MY_TOKEN}'}}\n").expect("written");
    let printed = |user: &str| {
        let output = Command::new(tracer())
            .args(["run", "--log-level", "off", "--output", "none", "--user", user, "--config"])
            .arg(&config)
            .args(["--", "env"])
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret1")
            .env("MY_TOKEN", "secret2")
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (other, same) = (printed("nobody"), printed("root"));
    assert!(other.contains("USER=nobody") && !other.contains("secret"), "{other}");
    assert!(same.contains("secret1") && same.contains("secret2"), "{same}");
    assert!(printed("54321:4242").contains("USER=54321"));
}

#[test]
fn a_pid_that_does_not_exist_is_an_error() {
    let output = run(&["--pid", "4194000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("there is no process 4194000"), "{}", stderr(&output));
}

#[test]
fn status_and_doctor_tell_what_is_traced() {
    let nginx = Program::nginx(ANSWERS);
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[nginx.pid()], &receiver);
    curl(&[&nginx.url("/a")]);
    wait_until("the exchange is counted", || agent.count("exchanges.paired") == 1);
    let status = agent.status();
    let service = &status["services"][0];
    assert_eq!(
        (service["name"].as_str(), service["pid"].as_u64()),
        (Some("nginx"), Some(u64::from(nginx.pid())))
    );
    assert_eq!(service["processes"], 2, "master and worker");
    wait_until("the span was sent", || agent.status()["export"]["sent"] == 1);
    agent.stop();
}

#[test]
fn the_daemon_works_by_its_configuration_and_exports_by_grpc() {
    let nginx = Program::nginx(ANSWERS);
    let other = Program::nginx(ANSWERS);
    let receiver = Receiver::start();
    let folder = Folder::new();
    let config = folder.file("tracer.yaml");
    let text = format!(
        "select:\n  include:\n    - pid: [{}]\n      service_name: edge\nexport:\n  endpoint: {}\n  protocol: grpc\n  compression: gzip\n\
         spans:\n  routes: [\"/users/{{id}}\"]\n  request_headers: [X-Tenant]\nresource_attributes:\n  deployment.environment.name: test\n",
        nginx.pid(),
        receiver.grpc_endpoint()
    );
    fs::write(&config, text).expect("written");
    let name = config.to_string_lossy().into_owned();
    let (socket, told) = systemd(&folder);
    let environment = [("NOTIFY_SOCKET", &*socket)];
    let agent = Agent::start_in(&environment, &["agent", "--config", &name]);
    assert_eq!(told(), "READY=1");
    // It means nothing to the agent.
    agent.signal(libc::SIGUSR1);
    curl(&["--header", "X-Tenant: blue", "--header", "Cookie: secret", &nginx.url("/users/42?token=abc")]);
    curl(&[&other.url("/other")]);
    let spans = receiver.wait_for(|spans| !spans.is_empty());
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!((span.service.as_str(), span.span.name.as_str()), ("edge", "GET /users/{id}"));
    assert_eq!(span.attribute("http.route").as_deref(), Some("/users/{id}"));
    assert_eq!(span.attribute("url.query").as_deref(), Some("token=REDACTED"));
    assert!(span.attribute("http.request.header.x-tenant").is_some_and(|value| value.contains("blue")));
    assert_eq!(span.resource_attribute("deployment.environment.name").as_deref(), Some("test"));
    assert_eq!(span.resource_attribute("telemetry.sdk.name").as_deref(), Some("tracer"));
    assert!(!format!("{span:?}").contains("secret") && !format!("{span:?}").contains("token=abc"));
    let (status, _, log) = agent.stop();
    assert!(status.success(), "{log}");
    assert_eq!(told(), "STOPPING=1");
    for line in [
        format!("traces processes with pid {}", nginx.pid()),
        format!("exports spans to {}", receiver.grpc_endpoint()),
        "adds trace headers to requests: no".to_owned(),
        "the agent ends: a signal".to_owned(),
        "Seen: 1 exchange on 1 connection".to_owned(),
        "Nothing was lost.".to_owned(),
    ] {
        assert!(log.contains(&line), "{line}: {log}");
    }
}

#[test]
fn a_hangup_of_the_daemon_opens_the_output_again_and_reads_the_configuration_again() {
    let nginx = Program::nginx(ANSWERS);
    let folder = Folder::new();
    let (config, output, rotated) =
        (folder.file("tracer.yaml"), folder.file("spans.json"), folder.file("spans.json.1"));
    let write = |more: &str| {
        let (pid, file) = (nginx.pid(), output.display());
        let text =
            format!("select:\n  include:\n    - pid: [{pid}]\noutput: json\noutput_file: {file}\n{more}");
        fs::write(&config, text).expect("written");
    };
    write("");
    let (socket, told) = systemd(&folder);
    let environment = [("NOTIFY_SOCKET", &*socket)];
    let agent = Agent::start_in(&environment, &["agent", "--config", &config.to_string_lossy()]);
    assert_eq!(told(), "READY=1");
    let reload = || {
        agent.signal(libc::SIGHUP);
        assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(told(), "READY=1");
    };
    let has =
        |file: &std::path::Path, path: &str| fs::read_to_string(file).is_ok_and(|text| text.contains(path));
    curl(&[&nginx.url("/first")]);
    wait_until("the first span is written", || has(&output, "/first"));
    fs::rename(&output, &rotated).expect("renamed");
    write("log:\n  level: debug\nlimits:\n  connections: 1000\n");
    reload();
    wait_until("the file is there again", || output.exists());
    curl(&[&nginx.url("/second")]);
    wait_until("the second span is written", || has(&output, "/second"));
    assert!(has(&rotated, "/first") && !has(&rotated, "/second") && !has(&output, "/first"));
    write("limits: {connections: few}\n");
    reload();
    curl(&[&nginx.url("/third")]);
    wait_until("the third span is written", || has(&output, "/third"));
    assert!(has(&output, "/second"), "the file was not renamed");
    let (status, _, log) = agent.stop();
    assert!(status.success(), "{log}");
    for line in [
        "changed, in effect now: log.level",
        "changed, needs a restart: limits.connections",
        "limits.connections: \"few\" is not a whole number",
        "the new configuration has errors: the old one stays in effect",
    ] {
        // Quotes are escaped in a line of the log.
        assert!(log.replace('\\', "").contains(line), "{line}: {log}");
    }
}

#[test]
fn two_programs_under_one_agent_send_one_request_with_two_resources() {
    let (first, second) = (Program::nginx(ANSWERS), Program::node());
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[first.pid(), second.pid()], &receiver);
    // Within one batch: less than half a second apart.
    curl(&[&first.url("/a"), &second.url("/echo/b")]);
    let spans = receiver.wait_for(|spans| spans.len() >= 2);
    let mut services: Vec<&str> = spans.iter().map(|span| span.service.as_str()).collect();
    services.sort_unstable();
    assert_eq!(services, ["nginx", "prices"]);
    let late = |span: &tracer_tests::receiver::Received| {
        let arrived = span.at.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
        arrived.saturating_sub(span.span.end_time_unix_nano)
    };
    assert!(spans.iter().all(|span| late(span) < 5_000_000_000), "spans wait for long");
    agent.stop();
}

#[test]
fn a_recording_gives_the_same_spans_as_the_traffic_did() {
    let folder = Folder::new();
    let recording = folder.file("a.rec");
    let name = recording.to_string_lossy().into_owned();
    let nginx = Program::nginx(ANSWERS);
    let pid = nginx.pid().to_string();
    let agent = Agent::start(&["--pid", &pid, "--output", "json", "--record", &name]);
    for n in 0..10 {
        curl(&["--header", "Authorization: Bearer top-secret", &nginx.url(&format!("/{n}?token=abc"))]);
    }
    wait_until("all are seen", || agent.count("exchanges.paired") == 10);
    let (_, live, _) = agent.stop();
    assert_eq!(live.lines().count(), 10);
    let replayed = run(&["replay", "--output", "json", &name]);
    assert_eq!(String::from_utf8_lossy(&replayed.stdout), live, "{}", stderr(&replayed));
    let recorded = fs::read(&recording).expect("a recording");
    let plain = zstd::decode_all(&recorded[8..]).expect("zstd");
    assert!(!plain.windows(10).any(|window| window == b"top-secret"), "the credentials are masked");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&recording).expect("there").permissions().mode() & 0o777, 0o600);
    // A cut one is an error with its place.
    fs::write(&recording, &recorded[..recorded.len() / 2]).expect("written");
    let cut = run(&["replay", &name]);
    assert_eq!(cut.status.code(), Some(1));
    assert!(stderr(&cut).contains("at byte"), "{}", stderr(&cut));
}

#[test]
fn recordings_of_real_programs_give_the_spans_that_they_gave() {
    let folder = root().join("tests/recordings");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("recordings") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rec") {
            let output = run(&["replay", "--output", "json", &path.to_string_lossy()]);
            let expected = fs::read_to_string(path.with_extension("json")).expect("what to compare with");
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 3, "{count} recordings");
}
