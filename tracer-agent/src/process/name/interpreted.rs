//! Names of programs in JavaScript, Ruby, PHP, .NET, Perl, Erlang and shell.

use super::{
    arguments::{bracketed, option_value, script},
    path::{folder, is_generic, joined, named_by_directory, named_by_file, stem},
};
use crate::process::{
    facts::ProcessFacts,
    runtime::{Runtime, file_name, runtime},
};

const JAVASCRIPT: [&str; 6] = ["js", "mjs", "cjs", "ts", "mts", "tsx"];

/// Options of Node whose value is the next argument.
const NODE_WITH_VALUE: [&str; 9] = [
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--title",
    "--env-file",
];

/// Programs that run the script that they are given.
const NODE_RUNNERS: [&str; 4] = ["nodemon", "ts-node", "ts-node-dev", "tsx"];
const RUNNER_WITH_VALUE: [&str; 8] = ["-r", "--require", "--watch", "-w", "--exec", "-x", "--project", "-P"];

pub(super) fn node(arguments: &[&str], title: &str, facts: &ProcessFacts) -> Option<String> {
    let is_manager = ["npm", "npx", "yarn", "pnpm", "next-server"]
        .iter()
        .any(|name| title.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    if is_manager {
        return by_package(facts);
    }
    let is_code = |option: &str| matches!(option, "-" | "-e" | "-p" | "-pe" | "--eval" | "--print");
    let (path, rest) = script(arguments, &NODE_WITH_VALUE, is_code)?;
    if NODE_RUNNERS.contains(&stem(path, &JAVASCRIPT)) {
        let (path, _) = script(rest, &RUNNER_WITH_VALUE, is_code)?;
        return by_script(path, facts);
    }
    if path.contains("/node_modules/") || path.starts_with("node_modules/") {
        // A tool of the service: next, nest, vite, npm itself.
        return by_package(facts);
    }
    by_script(path, facts)
}

pub(super) fn deno(arguments: &[&str], facts: &ProcessFacts) -> Option<String> {
    let is_code = |option: &str| matches!(option, "-" | "-e" | "-p" | "--eval" | "--print" | "eval");
    let (first, rest) = script(arguments, &["--config", "-c", "--import-map", "--env-file"], is_code)?;
    match first {
        "run" | "serve" | "x" => {
            let (path, _) = script(rest, &["--port", "--host", "--config", "-c"], is_code)?;
            by_script(path, facts)
        }
        "task" | "start" => by_package(facts),
        path => by_script(path, facts),
    }
}

/// The script's name; where it says nothing, the package's or the folder's.
fn by_script(path: &str, facts: &ProcessFacts) -> Option<String> {
    let full = joined(&facts.directory, path);
    let is_inside =
        full.strip_prefix(facts.directory.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
    if is_generic(stem(path, &JAVASCRIPT))
        && is_inside
        && let Some(package) = package(facts)
    {
        return Some(package);
    }
    named_by_file(path, &JAVASCRIPT, facts)
}

fn by_package(facts: &ProcessFacts) -> Option<String> {
    package(facts).or_else(|| named_by_directory(facts))
}

/// The package's name without its scope.
fn package(facts: &ProcessFacts) -> Option<String> {
    let name = facts.package.as_deref()?;
    let name = name.rsplit('/').next().unwrap_or(name);
    (!is_generic(name) && !name.is_empty()).then(|| name.to_owned())
}

/// Programs that load the application of the folder they work in.
const RUBY_SERVERS: [&str; 14] = [
    "puma",
    "pumactl",
    "unicorn",
    "unicorn_rails",
    "rails",
    "rackup",
    "thin",
    "bundle",
    "rake",
    "sidekiq",
    "passenger",
    "falcon",
    "iodine",
    "spring",
];

pub(super) fn ruby(arguments: &[&str], title: &str, facts: &ProcessFacts) -> Option<String> {
    // `puma 6.4.0 (tcp://0.0.0.0:3000) [shop]`, `puma: cluster worker 0: 123 [shop]`
    if title.starts_with("puma") && title.contains(' ') {
        return bracketed(title).map(str::to_owned).or_else(|| named_by_directory(facts));
    }
    if ["unicorn ", "sidekiq ", "Passenger "].iter().any(|name| title.starts_with(name)) {
        return named_by_directory(facts);
    }
    let is_code =
        |option: &str| option == "-" || is_letter_option(option, 'e', &["-I", "-r", "-C", "-E", "-K"]);
    let (path, rest) = script(arguments, &["-I", "-r", "-C", "-E"], is_code)?;
    let called = stem(path, &["rb", "ru"]);
    if RUBY_SERVERS.contains(&called) {
        let chosen = option_value(rest, &["--dir", "--chdir"]).and_then(folder);
        return chosen.map(str::to_owned).or_else(|| named_by_directory(facts));
    }
    named_by_file(path, &["rb", "ru"], facts)
}

pub(super) fn php(arguments: &[&str], title: &str, facts: &ProcessFacts) -> Option<String> {
    // `php-fpm: pool www`; the master, whose workers are its own, goes by its unit.
    if title.starts_with("php-fpm: ") {
        return title.split_once(": pool ").map(|(_, pool)| pool.to_owned());
    }
    if runtime(file_name(&facts.exe)) == Runtime::Php && file_name(&facts.exe).starts_with("php-fpm") {
        return None;
    }
    if option_value(arguments, &["-S"]).is_some() {
        let root = option_value(arguments, &["-t"]).map(|root| joined(&facts.directory, root));
        return root.as_deref().and_then(folder).map(str::to_owned).or_else(|| named_by_directory(facts));
    }
    let is_code = |option: &str| matches!(option, "-" | "-r" | "-R" | "-B" | "-E");
    let (path, _) = script(arguments, &["-c", "-d", "-z", "-t"], is_code)?;
    match stem(path, &["php", "phar"]) {
        // The consoles of Laravel and Symfony.
        "artisan" | "console" => named_by_directory(facts),
        _ => named_by_file(path, &["php", "phar"], facts),
    }
}

pub(super) fn dotnet(arguments: &[&str], facts: &ProcessFacts) -> Option<String> {
    let with_value = ["--additionalprobingpath", "--depsfile", "--runtimeconfig", "--fx-version"];
    let (first, rest) = script(arguments, &with_value, |_| false)?;
    match first {
        "exec" => dotnet(rest, facts),
        "run" | "watch" => match option_value(rest, &["--project", "-p"]) {
            Some(project) => named_by_file(project, &["csproj", "fsproj"], facts),
            None => named_by_directory(facts),
        },
        library => named_by_file(library, &["dll", "exe"], facts),
    }
}

pub(super) fn perl(arguments: &[&str], facts: &ProcessFacts) -> Option<String> {
    let is_code = |option: &str| {
        option == "-"
            || ['e', 'E'].iter().any(|letter| is_letter_option(option, *letter, &["-I", "-M", "-m", "-i"]))
    };
    let (path, _) = script(arguments, &["-I"], is_code)?;
    named_by_file(path, &["pl", "psgi", "cgi"], facts)
}

/// An Erlang node is called what it calls itself: `-sname shop`, `-name shop@host`.
pub(super) fn erlang(arguments: &[&str]) -> Option<String> {
    let at = arguments.iter().position(|argument| matches!(*argument, "-sname" | "-name"))?;
    arguments.get(at + 1)?.split('@').next().map(str::to_owned)
}

pub(super) fn shell(arguments: &[&str], title: &str, facts: &ProcessFacts) -> Option<String> {
    // Busybox is many programs; which one is the first word, or the second behind its own name.
    let applet = match file_name(title) {
        "busybox" => arguments.first().copied().unwrap_or_default(),
        called => called,
    };
    let is_busybox = file_name(&facts.exe) == "busybox";
    if is_busybox && runtime(applet) != Runtime::Shell {
        return Some(applet.to_owned());
    }
    let arguments = match file_name(title) {
        "busybox" => arguments.get(1..)?,
        _ => arguments,
    };
    let is_code = |option: &str| matches!(option, "-" | "-s") || is_letter_option(option, 'c', &[]);
    let (path, _) = script(arguments, &["-o", "-O", "+o", "--rcfile", "--init-file"], is_code)?;
    named_by_file(path, &["sh", "bash"], facts)
}

/// Whether `letter` is among the letters of a short option (`-lc`); options in `but` take the rest of
/// the word as their value.
fn is_letter_option(option: &str, letter: char, but: &[&str]) -> bool {
    option.starts_with('-')
        && !option.starts_with("--")
        && option.contains(letter)
        && !but.iter().any(|prefix| option.starts_with(prefix))
}
