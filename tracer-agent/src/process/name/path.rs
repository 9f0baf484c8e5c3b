//! Names from paths: files, and the folders around them.

#![forbid(unsafe_code)]

use crate::process::{facts::ProcessFacts, runtime::file_name};

/// What stands before the last part of a path.
pub(super) fn parent(path: &str) -> &str {
    path.trim_end_matches('/').rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// File name without its extension, if that is one of `extensions`.
pub(super) fn stem<'a>(path: &'a str, extensions: &[&str]) -> &'a str {
    let name = file_name(path);
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extensions.contains(&extension) => stem,
        _ => name,
    }
}

/// Names that say nothing: the folder around them does.
pub(super) fn is_generic(name: &str) -> bool {
    const GENERIC: [&str; 26] = [
        "__init__",
        "__main__",
        "api",
        "app",
        "application",
        "asgi",
        "bootstrap",
        "celery",
        "cli",
        "config",
        "core",
        "exe",
        "index",
        "launcher",
        "main",
        "manage",
        "program",
        "run",
        "server",
        "service",
        "src",
        "start",
        "startup",
        "web",
        "www",
        "wsgi",
    ];
    GENERIC.contains(&name.to_ascii_lowercase().as_str())
}

/// Folders that only say where things are kept.
fn is_place(name: &str) -> bool {
    const PLACES: [&str; 33] = [
        "apps",
        "bin",
        "build",
        "classes",
        "code",
        "current",
        "debug",
        "deployments",
        "dist",
        "home",
        "html",
        "lib",
        "lib64",
        "libexec",
        "local",
        "node_modules",
        "opt",
        "out",
        "public",
        "release",
        "releases",
        "root",
        "run",
        "sbin",
        "scripts",
        "share",
        "site-packages",
        "srv",
        "target",
        "tmp",
        "usr",
        "var",
        "workspace",
    ];
    PLACES.contains(&name)
        || is_generic(name)
        || name.starts_with('.')
        || matches!(name, "venv" | "env" | "dist-packages")
        // A release by date, or a build folder.
        || name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The innermost folder of a path that says something. A person's home does not.
pub(super) fn folder(path: &str) -> Option<&str> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for (index, part) in parts.iter().enumerate().rev() {
        let is_home = index == 1 && parts.first() == Some(&"home");
        if !is_home && !is_place(part) {
            return Some(part);
        }
    }
    None
}

/// `path` seen from `directory`; `.` and `..` are followed in the text alone.
pub(super) fn joined(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { directory };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A file's name without its extension; the folder's where the file's says nothing.
pub(super) fn named_by_file(path: &str, extensions: &[&str], facts: &ProcessFacts) -> Option<String> {
    let name = stem(path, extensions);
    if !is_generic(name) {
        return Some(name.to_owned());
    }
    let full = joined(&facts.directory, path);
    Some(folder(parent(&full)).or(facts.unit.as_deref()).unwrap_or(name).to_owned())
}

/// The folder that a program works in.
pub(super) fn named_by_directory(facts: &ProcessFacts) -> Option<String> {
    folder(&facts.directory).map(str::to_owned)
}
