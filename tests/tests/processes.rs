//! What the agent reads of processes: whose files it opens, what their names do, what it says when it may not look, and
//! which of a family of processes are a service.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tracer_tests::{
    Agent, Folder, LONGEST, eventually,
    programs::{Ended, Program, curl, free_port},
    receiver::Receiver,
    root, tracer, wait_until,
};

/// A user who owns nothing here, and another one.
const NOBODY: u32 = 65_534;
const OTHER: u32 = 65_533;

/// A folder that everybody may enter.
fn open_folder() -> Folder {
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    folder
}

/// A program that runs until it is dropped: its standard input does not end.
fn running(command: &mut Command) -> Ended {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let program = Ended(child.expect("it starts"));
    // Until then it is this test.
    let own = fs::read_link("/proc/self/exe").expect("our own");
    let executable = || fs::read_link(format!("/proc/{}/exe", program.0.id()));
    let is_helper =
        |path: &Path| path.ends_with("setpriv") || path.ends_with("unshare") || path.ends_with("chroot");
    wait_until("the program runs", || executable().is_ok_and(|path| path != own && !is_helper(&path)));
    program
}

/// A JavaScript program in this folder, which its user `nobody` does not own.
fn node_in(folder: &Path) -> Ended {
    fs::write(folder.join("index.js"), "setInterval(() => {}, 1000);").expect("written");
    running(
        Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "node", "index.js"])
            .current_dir(folder),
    )
}

/// The name of the service that the agent gives to a process.
fn name_of(program: &Ended) -> String {
    let pid = program.0.id().to_string();
    let agent = Agent::start(&["--pid", &pid, "--output", "none"]);
    let status = agent.status();
    status["services"][0]["name"].as_str().expect("one service").to_owned()
}

fn package(path: &Path, name: &str, owner: u32, mode: u32) {
    fs::write(path, format!("{{\"name\": \"{name}\"}}")).expect("written");
    chown(path, Some(owner), Some(owner)).expect("we are root");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

#[test]
fn a_program_in_a_chroot_cannot_name_itself_by_a_file_outside_of_it() {
    let folder = open_folder();
    let secret = folder.file("secret.json");
    package(&secret, "of-root-only", 0, 0o600);
    let jail = folder.file("jail");
    fs::create_dir(&jail).expect("created");
    fs::set_permissions(&jail, fs::Permissions::from_mode(0o755)).expect("ours");
    // A shell that is called node, with its libraries.
    let script = "cp /bin/dash node && for library in $(ldd /bin/dash | grep -o '/[^ ]*'); do \
                  cp --parents \"$library\" .; done && echo 'read line' > index.js";
    assert!(Command::new("sh").args(["-c", script]).current_dir(&jail).status().expect("a shell").success());
    symlink(&secret, jail.join("package.json")).expect("linked");
    let jailed =
        running(Command::new("chroot").arg("--userspec=nobody").arg(&jail).args(["/node", "index.js"]));
    assert_ne!(name_of(&jailed), "of-root-only");
}

#[test]
fn a_package_names_a_service_if_its_process_could_read_it_and_nobody_else_chose_it() {
    for (owner, mode, is_named) in [
        (0, 0o644, true),
        (NOBODY, 0o600, true),
        // Only root may read it.
        (0, 0o600, false),
        (OTHER, 0o644, false),
    ] {
        let folder = open_folder();
        package(&folder.file("package.json"), "named-by-package", owner, mode);
        let program = node_in(folder.path());
        assert_eq!(name_of(&program) == "named-by-package", is_named, "{owner} {mode:o}");
    }
}

#[test]
fn a_pipe_a_device_a_link_and_another_mount_in_the_place_of_a_package_are_left_alone() {
    let elsewhere = Folder::new();
    package(&elsewhere.file("package.json"), "of-elsewhere", 0, 0o644);
    let elsewhere = elsewhere.file("package.json");
    for place in [
        "mkfifo package.json",
        "mknod package.json c 1 5 && chmod 666 package.json",
        &format!("ln -s {} package.json", elsewhere.display()),
        &format!("touch package.json && mount --bind {} package.json", elsewhere.display()),
    ] {
        let folder = open_folder();
        fs::write(folder.file("index.js"), "setInterval(() => {}, 1000);").expect("written");
        let line = format!("{place} && exec node index.js");
        let program = running(
            Command::new("unshare").args(["--mount", "bash", "-c", &line]).current_dir(folder.path()),
        );
        let is_node =
            || fs::read_link(format!("/proc/{}/exe", program.0.id())).is_ok_and(|exe| exe.ends_with("node"));
        wait_until("node runs", is_node);
        assert_ne!(name_of(&program), "of-elsewhere", "{place}");
    }
}

#[test]
fn names_cannot_control_a_terminal_or_forge_a_line() {
    let folder = open_folder();
    let executable = folder.file("sleep\u{1b}[2J\nAll together");
    fs::copy("/bin/sleep", &executable).expect("copied");
    let program = running(
        Command::new(&executable).arg("600").env("OTEL_SERVICE_NAME", "shop\u{1b}[31m\nAll together\u{9b}1m"),
    );
    let pid = program.0.id().to_string();
    let agent = Agent::start(&["--pid", &pid, "--output", "none", "--log-level", "debug"]);
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["doctor", "--pid", &pid],
        &["doctor", "--json", "--pid", &pid],
    ] {
        let output = Command::new(tracer()).args(arguments).arg("--socket").arg(agent.socket()).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains("shop") && text.contains("sleep"), "{text:?}");
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{text:?}");
        let forged = text.lines().filter(|line| line.trim_start().starts_with("All together")).count();
        assert!(forged <= usize::from(arguments == ["status"]), "{text}");
    }
    let (_, _, log) = agent.stop();
    assert!(log.contains("sleep") && !log.chars().any(|c| c != '\n' && c.is_control()), "{log:?}");
    assert!(!log.lines().any(|line| line.starts_with("All together")), "{log}");
}

#[test]
fn without_the_capability_to_look_at_processes_it_says_so_and_exits_with_77() {
    let program = running(Command::new("sleep").arg("612.5"));
    let pid = program.0.id().to_string();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port().to_string();
    for selector in [["--pid", &pid], ["--port", &port], ["--command", "*sleep 612.5*"]] {
        let output = Command::new("timeout")
            .args(["20", "setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"])
            .arg(tracer())
            .args(["--output", "none"])
            .args(selector)
            .output()
            .expect("setpriv runs");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(77), "{selector:?}: {message}");
        assert!(message.contains("CAP_SYS_PTRACE"), "{selector:?}: {message}");
    }
}

#[test]
fn a_pid_that_cannot_be_traced_is_an_error() {
    // kthreadd is the second process of every kernel; a container may not show it.
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        let output = Command::new(tracer()).args(["--pid", "2"]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("process 2 runs no program"), "{message}");
    }
    let mut program = Command::new("true").spawn().expect("it starts");
    let pid = program.id();
    wait_until("it has ended", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    });
    let output = Command::new(tracer()).args(["--pid", &pid.to_string()]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("has ended"), "{message}");
    program.wait().expect("our child");
}

/// A program of 32-bit x86 that waits for ever: one segment with `pause` in a loop.
fn program_of_32_bits(path: &Path) {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let code = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7];
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    for word in [1, BASE + HEADERS, 52, 0, 0, 52 | 32 << 16, 1, 0] {
        file.extend_from_slice(&u32::to_le_bytes(word));
    }
    let size = HEADERS + code.len() as u32;
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        file.extend_from_slice(&u32::to_le_bytes(word));
    }
    file.extend_from_slice(&code);
    fs::write(path, file).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
}

#[test]
fn a_program_of_32_bits_is_told_and_exits_with_77() {
    let folder = open_folder();
    let path = folder.file("program");
    program_of_32_bits(&path);
    let program = running(&mut Command::new(&path));
    let pid = program.0.id().to_string();
    let output = Command::new("timeout").arg("20").arg(tracer()).args(["--pid", &pid]).output();
    let output = output.expect("it runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{message}");
    assert!(
        message.contains(&format!("process {pid} cannot be traced: it is a 32-bit program")),
        "{message}"
    );
}

#[test]
fn the_kernel_forgets_how_a_process_works_when_that_ends_though_the_agent_does_not_look() {
    let program = running(Command::new("sleep").arg("613.5"));
    let pid = program.0.id();
    let agent = Agent::start(&["--pid", &pid.to_string(), "--output", "none", "--propagation", "headers"]);
    // As bpftool shows keys: bytes, the lowest first.
    let key = pid.to_le_bytes().map(|byte| format!("\"0x{byte:02x}\"")).join(",");
    let is_known = || agent.map("PROFILES").contains(&key);
    wait_until("its profile is known", is_known);
    agent.signal(libc::SIGSTOP);
    drop(program);
    let is_forgotten = eventually(Duration::from_secs(5), || !is_known());
    agent.signal(libc::SIGCONT);
    assert!(is_forgotten, "its pid is another's");
    agent.stop();
}

/// Programs that start services, with ports that these serve on. Each family has a child that serves nothing.
struct Families {
    folder: Folder,
    /// Of the services, by name.
    ports: BTreeMap<&'static str, u16>,
    programs: Vec<Program>,
}

impl Families {
    /// Names of the services. Those of one family stand together.
    const SERVICES: [&str; 7] = ["billing", "parcels", "orders", "stock", "cart", "search", "shop"];

    /// Nothing runs yet.
    fn new() -> Self {
        let folder = Folder::new();
        for name in Self::SERVICES.into_iter().chain(["mailer"]) {
            fs::copy(root().join("tests/apps/inherited.py"), folder.file(&format!("{name}.py")))
                .expect("copied");
        }
        let application =
            "def app(environ, start):\n    start('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n";
        fs::write(folder.file("shop.py"), application).expect("written");
        Self { folder, ports: Self::SERVICES.map(|name| (name, free_port())).into(), programs: Vec::new() }
    }

    /// A command of Python for a copy of the service.
    fn python(&self, name: &str, arguments: &str) -> String {
        format!("/usr/bin/python3 {} {arguments}", self.folder.file(&format!("{name}.py")).display())
    }

    /// Starts them all.
    fn start(&mut self) {
        let port = |name: &'static str| self.ports[name];
        // Whoever runs the service holds its socket before.
        let activated = |options: &str, name: &'static str, arguments: &str| {
            let listen = format!("systemd-socket-activate {options} -l 127.0.0.1:{}", port(name));
            format!("{listen} {}", self.python(name, arguments))
        };
        let supervisor = format!(
            "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={}\n\
             [fcgi-program:orders]\nsocket=tcp://127.0.0.1:{}\ncommand={}\n\
             [program:stock]\ncommand={}\n[program:mailer]\ncommand={}\n",
            self.folder.file("pid").display(),
            port("orders"),
            self.python("orders", "listener 0"),
            self.python("stock", &format!("port {}", port("stock"))),
            self.python("mailer", ""),
        );
        let configuration = self.folder.file("supervisord.conf");
        fs::write(&configuration, supervisor).expect("written");
        let beside_mailer = |name: &'static str| {
            let server = self.python(name, &format!("port {}", port(name)));
            format!("{} & {server}; wait", self.python("mailer", ""))
        };
        let commands = [
            activated("", "billing", "listener 3"),
            activated("--accept", "parcels", "connection 3"),
            // Without random addresses only the kernel knows who was forked.
            format!("exec setarch -R /usr/bin/supervisord -c {}", configuration.display()),
            format!("exec tini -s -g -- sh -c '{}'", beside_mailer("cart")),
            format!("exec unshare --pid --fork --kill-child sh -c '{}'", beside_mailer("search")),
            format!("exec gunicorn --workers 2 --bind 127.0.0.1:{} shop:app", port("shop")),
        ];
        let programs = commands.map(|command| {
            Program::start_quiet(&command, 0, |_| {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", &command])
                    .current_dir(self.folder.path())
                    .env("PYTHONDONTWRITEBYTECODE", "1");
                shell
            })
        });
        self.programs.extend(programs);
        let listening = || fs::read_to_string("/proc/net/tcp").expect("readable");
        for (name, port) in &self.ports {
            let socket = format!(" 0100007F:{port:04X} 00000000:0000 0A ");
            wait_until(name, || listening().contains(&socket));
        }
        wait_until("all children run", || {
            self.running("mailer").len() == 3 && self.running("shop:app").len() == 3
        });
    }

    /// Pids of the processes whose command lines contain this, beside its folder.
    fn running(&self, word: &str) -> Vec<u32> {
        let folder = self.folder.path();
        let is_ours = |pid: &u32| {
            let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            directory == folder && command.contains(word) && exe.to_string_lossy().contains("python")
        };
        let processes = fs::read_dir("/proc").expect("readable").flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    }

    fn agent(&self, receiver: &Receiver) -> Agent {
        let endpoint = receiver.http_endpoint();
        let ports: Vec<String> = self.ports.values().map(u16::to_string).collect();
        let mut arguments = vec!["--otlp-endpoint", &endpoint, "--output", "none", "--log-level", "debug"];
        arguments.extend(ports.iter().flat_map(|port| ["--port", port]));
        Agent::start(&arguments)
    }

    /// Each service has one request, and is called by its name; nobody else is a service but who accepts for `parcels`.
    fn check(&self, agent: &Agent, receiver: &Receiver) {
        for (name, port) in &self.ports {
            curl(&[&format!("http://127.0.0.1:{port}/{name}")]);
        }
        wait_until("all spans", || receiver.count() >= self.ports.len());
        let spans: BTreeMap<String, Option<String>> = receiver
            .spans()
            .iter()
            .map(|span| (span.path(), span.resource_attribute("service.name")))
            .collect();
        let expected = self.ports.keys().map(|name| (format!("/{name}"), Some((*name).to_owned())));
        assert_eq!(spans, expected.collect());
        // The number of processes of each service that runs.
        let mut services = Vec::new();
        let expected =
            ["billing 1", "cart 1", "orders 1", "search 1", "shop 3", "stock 1", "systemd-socket-activate 1"];
        eventually(LONGEST, || {
            let status = agent.status();
            let running = status["services"].as_array().cloned().unwrap_or_default();
            services = running
                .iter()
                .filter(|service| service["processes"] != 0)
                .map(|service| {
                    format!("{} {}", service["name"].as_str().unwrap_or_default(), service["processes"])
                })
                .collect();
            services.sort_unstable();
            services == expected
        });
        assert_eq!(services, expected);
    }
}

#[test]
fn of_families_that_run_a_port_selects_who_serves_on_it() {
    let mut families = Families::new();
    families.start();
    let receiver = Receiver::start();
    let agent = families.agent(&receiver);
    families.check(&agent, &receiver);
    agent.stop();
}

#[test]
fn of_families_that_start_later_a_port_selects_who_serves_on_it() {
    let mut families = Families::new();
    let receiver = Receiver::start();
    let agent = families.agent(&receiver);
    families.start();
    families.check(&agent, &receiver);
    agent.stop();
}

/// Nobody tells a version: the build does, of a script as of a compiled program.
#[test]
fn a_release_that_nobody_tells_is_another_build() {
    const SCRIPT: &str = "import http.server, sys\n\
        class Answer(http.server.BaseHTTPRequestHandler):\n\
        \x20   def do_GET(self):\n\
        \x20       self.send_response(200)\n\
        \x20       self.send_header('Content-Length', '0')\n\
        \x20       self.end_headers()\n\
        http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Answer).serve_forever()\n";
    let build = |more: &str| {
        let (receiver, port) = (Receiver::start(), free_port());
        let service = Program::start("release", port, |folder| {
            fs::write(folder.join("main.py"), format!("{SCRIPT}{more}")).expect("written");
            let mut command = Command::new("/usr/bin/python3");
            command.args(["main.py", &port.to_string()]).current_dir(folder);
            command
        });
        let _agent = Agent::tracing(&[service.pid()], &receiver);
        curl(&[&format!("http://127.0.0.1:{port}/")]);
        wait_until("the span", || receiver.count() >= 1);
        receiver.spans()[0].resource_attribute("tracer.program.build_id")
    };
    let first = build("");
    assert!(first.as_ref().is_some_and(|build| build.len() == 16), "{first:?}");
    assert_eq!(build(""), first, "in another folder");
    assert_ne!(build("# another release\n"), first);

    let receiver = Receiver::start();
    let nginx = Program::nginx("location / { return 204; }");
    let _agent = Agent::tracing(&[nginx.pid()], &receiver);
    curl(&[&format!("http://127.0.0.1:{}/", nginx.port)]);
    wait_until("the span", || receiver.count() >= 1);
    let span = &receiver.spans()[0];
    let built = span.resource_attribute("process.executable.build_id.gnu");
    let digest = span.resource_attribute("tracer.program.build_id");
    assert!(built.is_some() != digest.is_some(), "{built:?} {digest:?}");
}
