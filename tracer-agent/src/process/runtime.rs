//! Runtimes, told by the executable's name.

#![forbid(unsafe_code)]

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
    /// `process.runtime.name` of an executable of this name, in OpenTelemetry's words where they have one.
    pub(super) fn name(self, exe: &str) -> Option<&'static str> {
        match self {
            Self::Python if exe.starts_with("pypy") => Some("pypy"),
            Self::Python => Some("cpython"),
            Self::Node => Some("nodejs"),
            Self::Deno if exe.starts_with("bun") => Some("bun"),
            Self::Deno => Some("deno"),
            Self::Java => Some("java"),
            Self::Ruby => Some("ruby"),
            Self::Php => Some("php"),
            Self::Dotnet => Some("dotnet"),
            Self::Perl => Some("perl"),
            Self::Erlang => Some("BEAM"),
            Self::Shell | Self::Other => None,
        }
    }
}

/// Last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}
