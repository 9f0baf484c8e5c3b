//! What a person would call a program, told from its executable, command line and directory: the
//! script, module, jar or folder; never the runtime.

#![forbid(unsafe_code)]

mod arguments;
mod interpreted;
mod java;
mod path;
mod python;
mod reduced;
#[cfg(test)]
mod tests;

use self::path::{folder, is_generic, parent};
pub use self::reduced::reduced;
use super::{
    facts::ProcessFacts,
    runtime::{Runtime, file_name, runtime},
};

/// Longest name that is derived, characters: names come from command lines, which can be anything.
const MAX_NAME: usize = 80;

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
