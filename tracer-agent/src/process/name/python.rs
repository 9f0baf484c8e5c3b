//! Names of Python programs: scripts, modules, and what an application server loads.

use super::{
    arguments::{bracketed, option_value},
    path::{folder, is_generic, named_by_directory, named_by_file, stem},
};
use crate::process::facts::ProcessFacts;

/// Programs that load a module, which is the service.
const SERVERS: [&str; 10] = [
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "waitress-serve",
    "waitress",
    "celery",
    "flask",
    "granian",
    "uwsgi",
];

pub(super) fn name(arguments: &[&str], title: &str, facts: &ProcessFacts) -> Option<String> {
    // `gunicorn: master [shop.app:app]`
    if title.starts_with("gunicorn: ") {
        return bracketed(title).and_then(loaded_module).or_else(|| named_by_directory(facts));
    }
    // `[celeryd: celery@host:MainProcess] -active- (worker -A shop)`
    if title.starts_with("[celeryd: ") {
        let app = option_value(arguments, &["-A", "--app"]).map(|app| app.trim_end_matches(')'));
        return app.and_then(loaded_module).or_else(|| named_by_directory(facts));
    }
    let (program, rest) = program(arguments)?;
    let called = match program {
        Program::Module(module) => module,
        Program::Script(path) => stem(path, &["py"]),
    };
    if SERVERS.contains(&called) {
        return server(called, rest, facts);
    }
    match program {
        Program::Module("http.server") => Some("http.server".to_owned()),
        Program::Module(module) => loaded_module(module).or_else(|| named_by_directory(facts)),
        Program::Script(path) => named_by_file(path, &["py", "pyc", "pyz"], facts),
    }
}

#[derive(Clone, Copy)]
enum Program<'a> {
    Module(&'a str),
    Script(&'a str),
}

/// What the interpreter was told to run, and its arguments; none for `-c` or standard input.
fn program<'a, 'b>(arguments: &'b [&'a str]) -> Option<(Program<'a>, &'b [&'a str])> {
    let mut at = 0;
    loop {
        let argument = *arguments.get(at)?;
        at += 1;
        let Some(letters) = argument.strip_prefix('-') else {
            return Some((Program::Script(argument), arguments.get(at..)?));
        };
        if letters.is_empty() {
            return None;
        }
        if letters.starts_with('-') {
            continue;
        }
        // Letters without a value may stand together: `-um module`.
        for (index, letter) in letters.char_indices() {
            let value = letters.get(index + 1..).filter(|value| !value.is_empty());
            match letter {
                'c' => return None,
                'm' => {
                    let module = match value {
                        Some(module) => module,
                        None => {
                            at += 1;
                            *arguments.get(at - 1)?
                        }
                    };
                    // The value borrows from the argument itself.
                    return Some((Program::Module(module), arguments.get(at..)?));
                }
                'W' | 'X' => {
                    at += usize::from(value.is_none());
                    break;
                }
                _ => {}
            }
        }
    }
}

/// The service behind an application server: its own name for it, the module that it loads, or the
/// folder it works in.
pub(super) fn server(program: &str, arguments: &[&str], facts: &ProcessFacts) -> Option<String> {
    let given = match program {
        "gunicorn" => option_value(arguments, &["--name", "-n"]),
        _ => None,
    };
    if let Some(name) = given {
        return Some(name.to_owned());
    }
    let app = match program {
        "celery" | "flask" => option_value(arguments, &["-A", "--app"]),
        "uwsgi" => option_value(arguments, &["--module", "-w", "--wsgi-file", "--wsgi"]),
        _ => None,
    };
    let app =
        app.or_else(|| arguments.iter().copied().find(|argument| is_application(argument))).or_else(|| {
            let takes_module = !matches!(program, "celery" | "flask" | "uwsgi");
            takes_module.then(|| plain_module(arguments)).flatten()
        });
    if let Some(file) = app.map(before_colon).filter(|app| app.contains('/') || app.ends_with(".py")) {
        return named_by_file(file, &["py"], facts);
    }
    app.and_then(loaded_module)
        .or_else(|| option_value(arguments, &["--chdir", "--app-dir"]).and_then(folder).map(str::to_owned))
        .or_else(|| named_by_directory(facts))
}

/// `package.module:object`, and not an address.
fn is_application(argument: &str) -> bool {
    argument.split_once(':').is_some_and(|(module, object)| {
        is_module(module) && object.starts_with(|c: char| c.is_alphabetic() || c == '_')
    })
}

fn is_module(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|part| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        })
}

/// A module without an object, which is the last argument or the first: elsewhere it could be the value
/// of any option.
fn plain_module<'a>(arguments: &[&'a str]) -> Option<&'a str> {
    let first = arguments.first().copied();
    let last = match arguments {
        [.., before, last] if !before.starts_with('-') || before.contains('=') => Some(*last),
        _ => None,
    };
    // An option before the last one leaves it open whether it takes a value; a dot speaks for a module.
    let dotted =
        arguments.last().copied().filter(|argument| argument.contains('.') && !argument.ends_with(".py"));
    [first, last, dotted].into_iter().flatten().find(|argument| is_module(argument))
}

fn before_colon(app: &str) -> &str {
    app.split(':').next().unwrap_or(app)
}

/// The last part of a module's path that says something.
fn loaded_module(app: &str) -> Option<String> {
    before_colon(app).rsplit('.').find(|part| !part.is_empty() && !is_generic(part)).map(str::to_owned)
}
