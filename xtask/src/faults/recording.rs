//! The agent on the programs of a world, with its spans in a file.

use std::{
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::programs::free_port;

/// Spans that wait for their parent come up to ten seconds after their end; the others within one.
const LAST_SPANS: Duration = Duration::from_secs(11);

pub(super) struct Recording {
    agent: Child,
    port: u16,
}

impl Recording {
    /// Traces these processes, and writes their spans as lines of OTLP JSON.
    pub(super) fn start(tracer: &Path, pids: &[u32], folder: &Path, into: &Path) -> Result<Self> {
        let (socket, port) = (folder.join("tracer.sock"), free_port()?);
        let mut command = Command::new(tracer);
        command.arg("agent").args(pids.iter().map(|pid| format!("--pid={pid}")));
        command
            .args(["--output", "otlp-json", "--state-directory", "", "--log-level", "warn", "--output-file"])
            .arg(into)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--socket"])
            .arg(&socket)
            .stdin(Stdio::null());
        let mut this = Self { agent: command.spawn().context("cannot start the agent")?, port };
        let begin = Instant::now();
        while !socket.exists() || TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > Duration::from_secs(20) || this.agent.try_wait()?.is_some() {
                bail!("the agent did not start");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(this)
    }

    /// What the agent has found while it ran; none if it does not look for faults.
    pub(super) fn incidents(&self) -> Result<Option<Value>> {
        let url = format!("http://127.0.0.1:{}/api/tracer/analysis/incidents", self.port);
        let output = Command::new("curl").args(["--silent", "--fail", "--max-time", "20", &url]).output()?;
        Ok(serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success()))
    }

    /// Waits for the last spans.
    pub(super) fn settle(&self) {
        thread::sleep(LAST_SPANS);
    }

    /// Ends it.
    pub(super) fn end(mut self) -> Result<()> {
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(self.agent.id() as libc::pid_t, libc::SIGINT) };
        let status = self.agent.wait()?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.agent.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.agent.kill();
            let _ = self.agent.wait();
        }
    }
}
