//! A PostgreSQL server of our own, with the tables of the worlds.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    programs::{Program, free_port},
    setup, stage,
};

/// PostgreSQL refuses to run as root: it runs as `nobody`.
const USER: u32 = 65_534;

/// The tables. A scan of `levels` without its index takes tens of milliseconds.
const TABLES: &str = "
    CREATE TABLE items AS SELECT id, 'item ' || id AS name, id % 977 AS price FROM generate_series(1, 2000) AS id;
    ALTER TABLE items ADD PRIMARY KEY (id);
    CREATE TABLE levels AS SELECT 'sku-' || id AS sku, id % 53 AS amount FROM generate_series(1, 400000) AS id;
    CREATE INDEX levels_by_sku ON levels (sku);
    VACUUM ANALYZE;";

pub(super) struct Postgres {
    _server: Program,
    tools: PathBuf,
    port: u16,
}

impl Postgres {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        setup::debian("pg_ctlcluster", "postgresql")?;
        let (tools, port) = (newest_tools()?, free_port()?);
        let data = folder.join("postgres");
        fs::create_dir(&data)?;
        chown(&data, Some(USER), Some(USER))?;
        let mut command = Command::new(tools.join("initdb"));
        command
            .args([
                "--auth",
                "trust",
                "--username",
                "postgres",
                "--encoding",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .arg("--pgdata")
            .arg(&data);
        stage::silent(command.current_dir(&data).uid(USER).gid(USER))?;
        let mut command = Command::new(tools.join("postgres"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]).current_dir(&data).uid(USER).gid(USER);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "fsync=off",
            "max_parallel_workers_per_gather=0",
            "shared_buffers=64MB",
            "jit=off",
        ] {
            command.args(["-c", setting]);
        }
        let mut server = Program::start("postgres", &mut command, folder)?;
        server.wait_for_port(port)?;
        let this = Self { _server: server, tools, port };
        // It listens before it serves.
        let begin = Instant::now();
        while this.run("SELECT 1").is_err() && begin.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(50));
        }
        this.run(TABLES)?;
        Ok(this)
    }

    /// Where services reach it.
    pub(super) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Runs statements, each for itself.
    pub(super) fn run(&self, statements: &str) -> Result<()> {
        let mut command = Command::new(self.tools.join("psql"));
        command.args([
            "--no-psqlrc",
            "--quiet",
            "--output",
            "/dev/null",
            "--set",
            "ON_ERROR_STOP=1",
            "--dbname",
            &self.url(),
        ]);
        for statement in statements.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            command.args(["--command", statement]);
        }
        stage::silent(&mut command)
    }
}

/// Debian keeps the programs of each version in a folder that is not on the path.
fn newest_tools() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest =
        versions.flatten().map(|entry| entry.path()).filter(|path| path.join("bin/postgres").exists());
    let newest = newest.max_by_key(version).context("no PostgreSQL server in /usr/lib/postgresql")?;
    Ok(newest.join("bin"))
}
