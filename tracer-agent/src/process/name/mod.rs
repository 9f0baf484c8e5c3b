//! What a person would call a program, told from its executable, command line and directory: the
//! script, module, jar or folder; never the runtime.

#![forbid(unsafe_code)]

mod interpreted;
mod java;
mod python;
#[cfg(test)]
mod tests;

use super::facts::ProcessFacts;

/// Longest name that is derived, characters: names come from command lines, which can be anything.
const MAX_NAME: usize = 80;

/// The runtime that executes a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    Python,
    Node,
    Deno,
    Java,
    Ruby,
    Php,
    Dotnet,
    Perl,
    Erlang,
    Shell,
    /// None that is known: a compiled program.
    Other,
}

/// The runtime behind an executable's name: `python3.11`, `nodejs`, `php-fpm8.2`.
pub(super) fn runtime(name: &str) -> Runtime {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    match stem {
        "python" | "pypy" => Runtime::Python,
        "node" | "nodejs" => Runtime::Node,
        "deno" | "bun" => Runtime::Deno,
        "java" => Runtime::Java,
        "ruby" => Runtime::Ruby,
        "php" | "php-fpm" | "php-cgi" => Runtime::Php,
        "dotnet" => Runtime::Dotnet,
        "perl" => Runtime::Perl,
        "beam.smp" | "beam" => Runtime::Erlang,
        "sh" | "ash" | "bash" | "dash" | "zsh" | "ksh" | "busybox" => Runtime::Shell,
        _ => Runtime::Other,
    }
}

impl Runtime {
    /// `telemetry.sdk.language` in OpenTelemetry's words.
    pub(super) fn language(self) -> Option<&'static str> {
        match self {
            Self::Python => Some("python"),
            Self::Node => Some("nodejs"),
            Self::Java => Some("java"),
            Self::Ruby => Some("ruby"),
            Self::Php => Some("php"),
            Self::Dotnet => Some("dotnet"),
            Self::Erlang => Some("erlang"),
            Self::Deno | Self::Perl | Self::Shell | Self::Other => None,
        }
    }

    /// `process.runtime.name`, where the executable's name tells it.
    pub(super) fn name(self, exe: &str) -> Option<&'static str> {
        match self {
            Self::Python if exe.starts_with("pypy") => Some("pypy"),
            Self::Python => Some("cpython"),
            Self::Node => Some("nodejs"),
            _ => None,
        }
    }
}

/// The name of a service that has told none itself.
pub(super) fn derived(facts: &ProcessFacts) -> String {
    let exe = file_name(&facts.exe);
    let titled;
    let arguments = match facts.command_line.as_slice() {
        // A program that has set its title left one text of several words.
        [title] if title.contains(' ') => {
            titled = title.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            titled.get(1..)
        }
        all => all.get(1..),
    };
    let arguments: Vec<&str> = arguments.unwrap_or_default().iter().map(String::as_str).collect();
    let title = facts.command_line.first().map_or("", String::as_str);
    let found = match runtime(exe) {
        Runtime::Python => python::name(&arguments, title, facts),
        Runtime::Node => interpreted::node(&arguments, title, facts),
        Runtime::Deno => interpreted::deno(&arguments, facts),
        Runtime::Java => java::name(&arguments, facts),
        Runtime::Ruby => interpreted::ruby(&arguments, title, facts),
        Runtime::Php => interpreted::php(&arguments, title, facts),
        Runtime::Dotnet => interpreted::dotnet(&arguments, facts),
        Runtime::Perl => interpreted::perl(&arguments, facts),
        Runtime::Erlang => interpreted::erlang(&arguments),
        Runtime::Shell => interpreted::shell(&arguments, title, facts),
        Runtime::Other if matches!(exe, "uwsgi" | "uwsgi-core") => python::server("uwsgi", &arguments, facts),
        Runtime::Other => compiled(exe, facts),
    };
    found
        .and_then(|name| clean(&name))
        .filter(|name| runtime(name) == Runtime::Other)
        .or_else(|| facts.unit.as_deref().and_then(clean))
        .or_else(|| folder(&facts.directory).and_then(clean))
        .unwrap_or_else(|| match exe {
            // OpenTelemetry's words for a service that nobody named.
            "" => "unknown_service".to_owned(),
            exe if runtime(exe) != Runtime::Other => format!("unknown_service:{exe}"),
            exe => clean(exe).unwrap_or_else(|| "unknown_service".to_owned()),
        })
}

/// A compiled service is called what its file is called, unless that says nothing (`/srv/shop/server`).
fn compiled(exe: &str, facts: &ProcessFacts) -> Option<String> {
    let name = exe.trim_end_matches(".bin");
    // `go run` builds in a folder of its own under /tmp.
    let place = if facts.exe.starts_with("/tmp/") { &facts.directory } else { parent(&facts.exe) };
    if is_generic(name)
        && let Some(folder) = folder(place)
    {
        return Some(folder.to_owned());
    }
    Some(name.to_owned())
}

/// A name of bounded length; none if it is empty or holds what names do not: then it is not one, but a
/// piece of code or of a URL that looked like a file.
fn clean(name: &str) -> Option<String> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@' | ':' | '~');
    let name = name.trim();
    (!name.is_empty() && name.chars().all(is_name)).then(|| name.chars().take(MAX_NAME).collect())
}

/// Last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// What stands before the last part of a path.
fn parent(path: &str) -> &str {
    path.trim_end_matches('/').rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// File name without its extension, if that is one of `extensions`.
fn stem<'a>(path: &'a str, extensions: &[&str]) -> &'a str {
    let name = file_name(path);
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extensions.contains(&extension) => stem,
        _ => name,
    }
}

/// Names that say nothing: the folder around them does.
fn is_generic(name: &str) -> bool {
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
fn folder(path: &str) -> Option<&str> {
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
fn joined(directory: &str, path: &str) -> String {
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
fn named_by_file(path: &str, extensions: &[&str], facts: &ProcessFacts) -> Option<String> {
    let name = stem(path, extensions);
    if !is_generic(name) {
        return Some(name.to_owned());
    }
    let full = joined(&facts.directory, path);
    Some(folder(parent(&full)).or(facts.unit.as_deref()).unwrap_or(name).to_owned())
}

/// The folder that a program works in.
fn named_by_directory(facts: &ProcessFacts) -> Option<String> {
    folder(&facts.directory).map(str::to_owned)
}

/// The value of one of the options `names`: `-A x`, `-Ax`, `--app x`, `--app=x`.
fn option_value<'a>(arguments: &[&'a str], names: &[&str]) -> Option<&'a str> {
    arguments.iter().enumerate().find_map(|(index, argument)| {
        names.iter().find_map(|name| {
            let rest = argument.strip_prefix(name)?;
            if rest.is_empty() {
                return arguments.get(index + 1).copied();
            }
            if name.starts_with("--") { rest.strip_prefix('=') } else { Some(rest) }
        })
    })
}

/// The first argument that is neither an option nor the value of one of `with_value`, and what follows
/// it; none if an option before it says that code stands on the command line (`is_code`): that is no
/// name, and may hold secrets.
fn script<'a, 'b>(
    arguments: &'b [&'a str],
    with_value: &[&str],
    is_code: impl Fn(&str) -> bool,
) -> Option<(&'a str, &'b [&'a str])> {
    let mut at = 0;
    loop {
        let argument = *arguments.get(at)?;
        if is_code(argument) {
            return None;
        }
        if with_value.contains(&argument) {
            at += 2;
        } else if argument.starts_with(['-', '+']) && argument.len() > 1 {
            at += 1;
        } else {
            return Some((argument, arguments.get(at + 1..).unwrap_or_default()));
        }
    }
}

/// What stands between the last brackets of a title: `puma 6.4 (tcp://0.0.0.0:80) [shop]`.
fn bracketed(title: &str) -> Option<&str> {
    let (rest, _) = title.rsplit_once(']')?;
    rest.rsplit_once('[').map(|(_, inner)| inner)
}
