//! Arguments and titles of programs.

#![forbid(unsafe_code)]

/// The value of one of the options `names`: `-A x`, `-Ax`, `--app x`, `--app=x`.
pub(super) fn option_value<'a>(arguments: &[&'a str], names: &[&str]) -> Option<&'a str> {
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
pub(super) fn script<'a, 'b>(
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
pub(super) fn bracketed(title: &str) -> Option<&str> {
    let (rest, _) = title.rsplit_once(']')?;
    rest.rsplit_once('[').map(|(_, inner)| inner)
}
