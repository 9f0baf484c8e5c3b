//! Measures the links of services whose requests are labelled, and prints them as a table: by the program
//! `links` of the tests.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{compile, setup, stage};

#[derive(Args)]
pub(crate) struct Names {
    /// Beginnings of names, of either case
    names: Vec<String>,
}

impl Names {
    fn have(&self, name: &str) -> bool {
        let begins = |with: &String| name.to_lowercase().starts_with(&with.to_lowercase());
        self.names.is_empty() || self.names.iter().any(begins)
    }
}

/// A way to work, and its calls for each request.
pub(crate) type Way = (&'static str, u32);

/// A service that is installed.
pub(crate) struct Service {
    /// What is said of its version.
    pub(crate) version: String,
    /// Its command; `{port}` and `{way}` are filled in.
    pub(crate) command: Vec<String>,
    /// Where it is run.
    pub(crate) folder: PathBuf,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) ways: Vec<Way>,
}

/// A row of the table that is not measured yet.
pub(crate) struct Row<'a> {
    pub(crate) name: String,
    pub(crate) install: Box<dyn Fn() -> Result<Service> + 'a>,
}

/// Installs and measures all that have these names. It is an error if one cannot be, or if a link is wrong.
pub(crate) fn measure<'a>(rows: impl Iterator<Item = Row<'a>>, names: &Names) -> Result<()> {
    let rows: Vec<Row> = rows.filter(|row| names.have(&row.name)).collect();
    if rows.is_empty() {
        bail!("no name begins so");
    }
    setup::all()?;
    // As for tests, this variable names an agent that is built already.
    if std::env::var_os("TRACER_BIN").is_none() {
        compile::for_tests()?;
    }
    stage::cargo(&["build", "--package", "tracer-tests", "--bin", "links"])?;
    let mut faults = Vec::new();
    let mut table = String::from(
        "| service | version | way | calls | links | right | wrong | precision | recall at 1, 8, 16, 8 kept | profile \
         | no parent |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        println!("measuring {}", row.name);
        match (row.install)().and_then(|service| measured(&row.name, &service, &mut faults)) {
            Ok(lines) => table += &lines,
            Err(error) => {
                let reason = format!("{error:#}").replace('\n', " ").replace('|', "/");
                let reason: String = reason.chars().take(300).collect();
                let line = format!("| {} | — | — | | | | | | | error: {reason} | |\n", row.name);
                print!("{line}");
                table += &line;
                faults.push(format!("{}: {error:#}", row.name));
            }
        }
    }
    println!("\n{table}");
    if !faults.is_empty() {
        bail!("{} faults:\n{}", faults.len(), faults.join("\n"));
    }
    Ok(())
}

/// Measures a service. Returns its lines of the table.
fn measured(name: &str, service: &Service, faults: &mut Vec<String>) -> Result<String> {
    let environment: BTreeMap<_, _> = service.environment.iter().cloned().collect();
    let asked = json!({
        "command": service.command,
        "folder": service.folder,
        "environment": environment,
        "ways": service.ways,
    });
    let mut child = Command::new(stage::target().join("debug/links"))
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run the program `links`")?;
    child.stdin.take().context("a pipe")?.write_all(asked.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let ways: Vec<Value> = serde_json::from_slice(&output.stdout).context("`links` does not print JSON")?;
    let mut lines = String::new();
    for way in ways {
        lines += &line(name, &service.version, &way);
        let texts = way["wrong"].as_array().into_iter().flatten();
        faults.extend(texts.map(|wrong| format!("{name}, {}: {wrong}", text(&way["way"]))));
    }
    print!("{lines}");
    Ok(lines)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What the program says of a way, as a line of the table.
fn line(name: &str, version: &str, way: &Value) -> String {
    let counts = |value: &Value, ignored: &str| -> String {
        let counts = value.as_object().into_iter().flatten();
        let texts: Vec<String> =
            counts.map(|(name, count)| format!("{count} {}", name.trim_start_matches(ignored))).collect();
        texts.join(", ")
    };
    let wrong = way["wrong"].as_array().map_or(0, Vec::len);
    let right = way["right"].as_u64().unwrap_or(0);
    let precision = match right + wrong as u64 {
        0 => "—".to_owned(),
        links => format!("{:.3}", right as f64 / links as f64),
    };
    let recalls = way["recalls"].as_array().into_iter().flatten();
    let recalls: Vec<String> =
        recalls.map(|recall| format!("{:.2}", recall.as_f64().unwrap_or(0.0))).collect();
    format!(
        "| {name} | {version} | {} | {} | {} | {right} | {wrong} | {precision} | {} | {} | {} |\n",
        text(&way["way"]),
        way["calls"],
        counts(&way["links"], ""),
        recalls.join(", "),
        text(&way["profile"]),
        counts(&way["withheld"], "links."),
    )
}
