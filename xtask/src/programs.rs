//! Programs nobody here wrote, started for the demo and the recordings, and ended again.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::stage;

/// A folder that is gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("tracer-xtask-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running program with its children; ended when dropped.
pub(crate) struct Program {
    child: Child,
    name: String,
}

impl Program {
    /// Starts it in a process group of its own, with its output in a file.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = fs::File::create(folder.join(format!("{name}.log")))?;
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program listens.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> Result<()> {
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once: {status}", self.name);
            }
            if begin.elapsed() > Duration::from_secs(20) {
                bail!("{} does not listen on port {port}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = -(self.child.id() as libc::pid_t);
        let begin = Instant::now();
        // SAFETY: the group of a child of ours that was not reaped yet.
        unsafe { libc::kill(group, libc::SIGTERM) };
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if begin.elapsed() > Duration::from_secs(5) {
                // SAFETY: as above.
                unsafe { libc::kill(group, libc::SIGKILL) };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// nginx → gunicorn with a Flask service → a Node service.
pub(crate) struct Shop {
    pub(crate) nginx: Program,
    pub(crate) flask: Program,
    pub(crate) node: Program,
    pub(crate) port: u16,
    pub(crate) flask_port: u16,
    pub(crate) node_port: u16,
}

impl Shop {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        // Copies: a recording holds the folders of processes, and none of this machine's should stay.
        let apps = folder.join("apps");
        stage::command(Command::new("cp").arg("-r").arg(stage::root().join("tests/apps")).arg(&apps))?;
        let (port, flask_port, node_port) = (free_port()?, free_port()?, free_port()?);
        let mut command = Command::new("node");
        command.arg(apps.join("prices/server.js")).env("PORT", node_port.to_string());
        let mut node = Program::start("prices", &mut command, folder)?;
        node.wait_for_port(node_port)?;

        let mut command = Command::new("/usr/bin/python3");
        command
            .args([
                "-m",
                "gunicorn",
                "--workers",
                "2",
                "--bind",
                &format!("127.0.0.1:{flask_port}"),
                "app:app",
            ])
            .current_dir(apps.join("shop"))
            .env("PRICES_URL", format!("http://127.0.0.1:{node_port}"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let mut flask = Program::start("shop", &mut command, folder)?;
        flask.wait_for_port(flask_port)?;

        let configuration = folder.join("nginx.conf");
        let text = format!(
            "daemon off; pid {0}/nginx.pid; error_log {0}/error.log; worker_processes 1; events {{}}\n\
             http {{ access_log off; client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;\n\
             uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;\n\
             upstream shop {{ server 127.0.0.1:{flask_port}; }}\n\
             server {{ listen 127.0.0.1:{port}; location /static {{ return 200 \"static\\n\"; }}\n\
             location / {{ proxy_pass http://shop; }} }} }}\n",
            folder.display()
        );
        fs::write(&configuration, text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&configuration);
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        let mut nginx = Program::start("nginx", &mut command, folder)?;
        nginx.wait_for_port(port)?;
        Ok(Self { nginx, flask, node, port, flask_port, node_port })
    }
}
