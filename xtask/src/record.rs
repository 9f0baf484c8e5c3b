//! The recordings that the parser's regression tests replay: real programs under the agent.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    programs::{Folder, Shop},
    stage,
};

/// Makes the recordings of these names, or all.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let recordings = stage::root().join("tests/recordings");
    std::fs::create_dir_all(&recordings)?;
    for (name, drive) in
        SCENARIOS.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|n| n == name))
    {
        let folder = Folder::new()?;
        let shop = Shop::start(folder.path())?;
        let file = folder.path().join("recording");
        let socket = folder.path().join("tracer.sock");
        let mut command = Command::new(stage::target().join("release/tracer"));
        for program in [&shop.nginx, &shop.flask, &shop.node] {
            command.args(["--pid", &program.pid().to_string()]);
        }
        command.args(["--output", "none", "--log-level", "warn", "--record"]).arg(&file);
        let mut agent = command
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start the agent")?;
        let begin = Instant::now();
        while !socket.exists() {
            if begin.elapsed() > Duration::from_secs(20) {
                bail!("the agent did not start");
            }
            thread::sleep(Duration::from_millis(20));
        }
        let outcome = drive(&shop, &folder.path().join("apps"));
        thread::sleep(Duration::from_millis(300));
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(agent.id() as libc::pid_t, libc::SIGTERM) };
        agent.wait()?;
        outcome?;
        // What the tests compare with: the spans and pictures of the replay, to be read before they are committed.
        let replay = |form: &str| {
            Command::new(stage::target().join("release/tracer"))
                .args(["replay", "--output", form])
                .arg(&file)
                .envs([("TZ", "UTC"), ("COLUMNS", "120"), ("LC_ALL", "C.UTF-8")])
                .output()
        };
        let (expected, tree) = (replay("json")?, replay("tree")?);
        let lines = expected.stdout.iter().filter(|byte| **byte == b'\n').count();
        println!("{name}: {lines} spans");
        if *name == KEEP_ALIVE {
            std::fs::copy(&file, stage::root().join("bench/recordings").join(format!("{name}.rec")))?;
            continue;
        }
        std::fs::copy(&file, recordings.join(format!("{name}.rec")))?;
        std::fs::write(recordings.join(format!("{name}.json")), &expected.stdout)?;
        std::fs::write(recordings.join(format!("{name}.tree")), &tree.stdout)?;
    }
    Ok(())
}

/// The recording that only the bench replays.
const KEEP_ALIVE: &str = "keepalive";

type Drive = fn(&Shop, &Path) -> Result<()>;

const SCENARIOS: &[(&str, Drive)] = &[
    ("curl", |shop, _| {
        for (arguments, path) in [
            (&[][..], "/item/1?token=abc"),
            (&["--head"][..], "/item/2"),
            (&["--http1.0"][..], "/stream"),
            (&["--data", "order"][..], "/upload"),
            (&["--header", "Authorization: Bearer top-secret"][..], "/fail"),
            (&["--header", "Expect: 100-continue", "--data", "waits"][..], "/upload"),
        ] {
            curl(arguments, &format!("http://127.0.0.1:{}{path}", shop.port))?;
        }
        let base = format!("http://127.0.0.1:{}", shop.port);
        // Keep-alive: several requests on one connection.
        stage::command(
            Command::new("curl")
                .args(["--silent", "--output", "/dev/null"])
                .arg(format!("{base}/static/[1-5]")),
        )
    }),
    // What a server is mostly asked: the bench counts what each span of it costs.
    (KEEP_ALIVE, |shop, _| {
        stage::command(
            Command::new("curl")
                .args(["--silent", "--output", "/dev/null"])
                .arg(format!("http://127.0.0.1:{}/static/[1-1000]", shop.port)),
        )
    }),
    ("python", |shop, apps| {
        let client = apps.join("client.py");
        let urls = ["/item/1", "/stream", "/slow", "/fail"]
            .map(|path| format!("http://127.0.0.1:{}{path}", shop.flask_port));
        stage::command(Command::new("/usr/bin/python3").arg(client).args(urls).stdout(Stdio::null()))
    }),
    ("node", |shop, apps| {
        let client = apps.join("fetch.js");
        let urls = ["/price/1", "/price/2", "/missing/x", "/chunked"]
            .map(|path| format!("http://127.0.0.1:{}{path}", shop.node_port));
        stage::command(Command::new("node").arg(client).args(urls).stdout(Stdio::null()))
    }),
];

fn curl(arguments: &[&str], url: &str) -> Result<()> {
    stage::command(Command::new("curl").args(["--silent", "--output", "/dev/null"]).args(arguments).arg(url))
}
