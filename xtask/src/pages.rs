//! The viewer's pages: built by npm from `tracer-viewer/ui`, and embedded in the binary.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{registry, setup, stage};

/// The Node that builds the pages where the machine's own is older than [`OLDEST`], as npm's package `node` has it.
const NODE: &str = "22.23.3";
/// Oldest Node that vite accepts.
const OLDEST: (u32, u32) = (20, 19);
/// What the pages are made of.
const SOURCES: &[&str] =
    &["src", "public", "index.html", "export.html", "package-lock.json", "vite.config.ts"];

fn folder() -> PathBuf {
    stage::root().join("tracer-viewer/ui")
}

/// Builds the pages, unless they are those of the present sources.
pub(crate) fn build() -> Result<()> {
    let stamp = stage::target().join("pages.stamp");
    let wanted = hash_of(SOURCES)?;
    let is_built =
        ["dist/index.html", "dist-export/index.html"].iter().all(|page| folder().join(page).is_file());
    if is_built && fs::read_to_string(&stamp).is_ok_and(|built| built == wanted) {
        return Ok(());
    }
    stage::run("pages of the viewer", || {
        let npm = Npm::ready()?;
        npm.run(&["run", "--silent", "build"])?;
        npm.run(&["run", "--silent", "build:export"])?;
        fs::create_dir_all(stage::target())?;
        fs::write(&stamp, &wanted).context("cannot write the stamp of the pages")
    })
}

/// Checks types, style and behaviour of the pages, the last one in a browser too.
pub(crate) fn check() -> Result<()> {
    setup::browser()?;
    build()?;
    let npm = Npm::ready()?;
    for script in ["types:check", "check", "lint", "test"] {
        stage::run(&format!("pages: {script}"), || npm.run(&["run", "--silent", script]))?;
    }
    stage::run("pages: in a browser", || npm.run(&["run", "--silent", "test:browser"]))
}

/// Runs a script of the pages' development with Node.
pub(crate) fn script(arguments: &[&str]) -> Result<()> {
    Npm::ready()?.run(&[&["exec", "--", "node"], arguments].concat())
}

/// npm with a Node that is young enough, and what the pages need installed.
struct Npm {
    /// Where Node is, if it is not the machine's.
    node: Option<PathBuf>,
}

impl Npm {
    fn ready() -> Result<Self> {
        setup::npm()?;
        let node = match own_version() {
            Some(version) if version >= OLDEST => None,
            _ => {
                let folder = stage::tools().join(format!("node-{NODE}"));
                registry::npm(&folder, &[("node", NODE)])?;
                Some(folder.join("node_modules/node/bin"))
            }
        };
        let this = Self { node };
        let stamp = folder().join("node_modules/installed.txt");
        let wanted = hash_of(&["package-lock.json", "package.json"])?;
        if !fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            this.run(&["ci", "--no-audit", "--no-fund"])?;
            fs::write(stamp, wanted).context("cannot write to node_modules")?;
        }
        Ok(this)
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut npm = Command::new("npm");
        npm.args(arguments).current_dir(folder());
        if let Some(node) = &self.node {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let path = std::iter::once(node.clone()).chain(std::env::split_paths(&path));
            npm.env("PATH", std::env::join_paths(path)?);
        }
        stage::silent(&mut npm)
    }
}

/// Major and minor number of the machine's Node.
fn own_version() -> Option<(u32, u32)> {
    let output = Command::new("node").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().trim_start_matches('v').split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A hash of these files and folders of the pages.
fn hash_of(names: &[&str]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for name in names {
        hash(&folder().join(name), &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn hash(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| hash(entry, hasher));
    }
    path.strip_prefix(folder())?.hash(hasher);
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))?.hash(hasher);
    Ok(())
}
