//! The programs of a world: nginx → shop (Python, threads) → catalog (Node) and stock (Go) → depot (Go), and PostgreSQL below
//! catalog and stock.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::postgres::Postgres;
use crate::{
    programs::{Program, free_port},
    registry::{self, Package},
    setup, stage,
};

const NODE: &[Package] = &[("pg", "8.23.1")];
const GO: &[Package] = &[("github.com/lib/pq", "v1.12.3")];

/// A setting of a service: its name, the setting and the value.
pub(super) type Setting = (&'static str, &'static str, Value);

/// Installs what the services need.
pub(super) fn install() -> Result<()> {
    setup::all()?;
    let source = stage::root().join("tests/faults/store.go");
    stage::run("setup of the services", || {
        registry::npm(&tools("node"), NODE)?;
        registry::go(&tools("go"), "local", &[&source], GO)
    })
}

fn tools(name: &str) -> PathBuf {
    stage::tools().join("faults").join(name)
}

/// The running programs. Only those of the chain are traced.
pub(super) struct World {
    /// From the first that requests reach to the last: they end in this order.
    chain: Vec<(&'static str, Program)>,
    settings: BTreeMap<&'static str, Map<String, Value>>,
    folder: PathBuf,
    pub(super) postgres: Postgres,
    pub(super) port: u16,
}

impl World {
    /// Starts all programs with these settings, and with a second instance of the catalogue if its settings are given.
    pub(super) fn start(folder: &Path, settings: &[Setting], release: Option<&Release>) -> Result<Self> {
        let postgres = Postgres::start(folder)?;
        let mut this = Self {
            chain: Vec::new(),
            settings: BTreeMap::new(),
            folder: folder.to_owned(),
            postgres,
            port: 0,
        };
        for (service, name, value) in settings {
            this.set(service, name, value.clone())?;
        }
        let depot = this.store("depot", &[])?;
        let stock = this.store("stock", &[("DEPOT_URL", &url(depot))])?;
        let mut catalogs = vec![url(this.catalog("1.0.0", stock, &[])?)];
        if let Some(release) = release {
            let slower = ("SLOWER_SIMILAR", &*release.slower_similar.to_string());
            catalogs.push(url(this.catalog("1.1.0", stock, &[slower])?));
        }
        let shop = this.shop(&catalogs, stock)?;
        this.port = this.nginx(shop)?;
        this.chain.reverse();
        Ok(this)
    }

    /// The ids of the processes that are traced.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.chain.iter().map(|(_, program)| program.pid()).collect()
    }

    /// The id of a service's process.
    pub(super) fn pid(&self, service: &str) -> Result<u32> {
        let mut named = self.chain.iter().filter(|(name, _)| *name == service);
        Ok(named.next().with_context(|| format!("{service} does not run"))?.1.pid())
    }

    /// Ends a service.
    pub(super) fn end(&mut self, service: &str) {
        self.chain.retain(|(name, _)| *name != service);
    }

    /// Changes a setting of a service, which reads its file again within 50 ms.
    pub(super) fn set(&mut self, service: &'static str, name: &str, value: Value) -> Result<()> {
        let (next, path) = (self.folder.join("settings"), self.control(service));
        let settings = self.settings.entry(service).or_default();
        settings.insert(name.to_owned(), value);
        fs::write(&next, serde_json::to_string(settings)?)?;
        Ok(fs::rename(next, path)?)
    }

    fn control(&self, service: &str) -> PathBuf {
        self.folder.join(format!("{service}.json"))
    }

    fn start_service(
        &mut self,
        service: &'static str,
        command: &mut Command,
        port: u16,
        version: &str,
    ) -> Result<u16> {
        command
            .env("PORT", port.to_string())
            .env("CONTROL", self.control(service))
            .env("DATABASE_URL", self.postgres.url())
            .env("OTEL_SERVICE_NAME", service)
            .env("OTEL_RESOURCE_ATTRIBUTES", format!("service.version={version}"));
        let log = format!("{service}-{version}");
        let mut program = Program::start(&log, command, &self.folder)?;
        program.wait_for_port(port)?;
        self.chain.push((service, program));
        Ok(port)
    }

    /// The stock or the depot.
    fn store(&mut self, service: &'static str, environment: &[(&str, &str)]) -> Result<u16> {
        let mut command = Command::new(tools("go").join("service"));
        command.env("ROLE", service).envs(environment.iter().copied());
        self.start_service(service, &mut command, free_port()?, "1.0.0")
    }

    fn catalog(&mut self, version: &str, stock: u16, environment: &[(&str, &str)]) -> Result<u16> {
        let mut command = Command::new("node");
        command
            .arg(stage::root().join("tests/faults/catalog.js"))
            .env("NODE_PATH", tools("node").join("node_modules"))
            .env("STOCK_URL", url(stock))
            .envs(environment.iter().copied());
        self.start_service("catalog", &mut command, free_port()?, version)
    }

    fn shop(&mut self, catalogs: &[String], stock: u16) -> Result<u16> {
        let port = free_port()?;
        let mut command = Command::new("/usr/bin/python3");
        command
            .args(["-m", "gunicorn", "--worker-class", "gthread", "--threads", "256", "--keep-alive", "120"])
            .args(["--backlog", "1024", "--bind", &format!("127.0.0.1:{port}"), "shop:app"])
            .current_dir(stage::root().join("tests/faults"))
            .env("CATALOG_URLS", catalogs.join(","))
            .env("STOCK_URL", url(stock))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        self.start_service("shop", &mut command, port, "1.0.0")
    }

    fn nginx(&mut self, shop: u16) -> Result<u16> {
        let port = free_port()?;
        let configuration = self.folder.join("nginx.conf");
        let text = format!(
            "daemon off; pid {0}/nginx.pid; error_log {0}/error.log; worker_processes 1;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;\n\
             uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;\n\
             upstream shop {{ server 127.0.0.1:{shop}; keepalive 256; }}\n\
             server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ proxy_pass http://shop;\n\
             proxy_http_version 1.1; proxy_set_header Connection ''; proxy_next_upstream off; }} }} }}\n",
            self.folder.display()
        );
        fs::write(&configuration, text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&self.folder).arg("-c").arg(&configuration);
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        self.start_service("nginx", &mut command, port, "1.0.0")
    }
}

/// A second instance of the catalogue, of a newer version.
pub(super) struct Release {
    /// By how much it is slower at the operation `similar`: 0.15 is 15 %.
    pub(super) slower_similar: f64,
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
