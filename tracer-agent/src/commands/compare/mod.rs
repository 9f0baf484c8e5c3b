//! `tracer compare`: what changed from one window, version or store to another.

#![forbid(unsafe_code)]

mod text;
mod words;

use std::{path::PathBuf, process::ExitCode};

use tracer_analysis::{
    compare::{ComparisonAnswer, Side, analyze, markdown},
    corpus::Corpus,
    statistics::Verdict,
};

use super::{
    flags::{CompareFlags, SideSpec, SideText, window_between},
    outcome::{CommandOutcome, FAILURE, FOUND, Failure, USAGE, print_drawn, print_json, print_lines},
    source::{Source, Wanted, union},
};
use crate::sink::terminal::{Destination, escape::printable};

/// Most characters of a name.
const MOST_NAME: usize = 80;

pub(super) fn run(flags: &CompareFlags) -> CommandOutcome {
    check(&flags.before, &flags.after)?;
    let answer = compared(flags)?;
    for (flag, side) in [("--before", &answer.before), ("--after", &answer.after)] {
        if side.requests == 0 {
            let name = printable(&side.name, MOST_NAME);
            let message = format!("{flag} {name}: there is no request of it, so nothing can be compared");
            return Err(Failure::new(FAILURE, message));
        }
    }
    if flags.json {
        print_json(&format!("{}\n", serde_json::to_string(&answer).unwrap_or_default()))?;
    } else if flags.markdown {
        print_lines(&markdown(&answer))?;
    } else {
        let destination = Destination::new(None, false);
        print_drawn(&text::told(&answer, destination.style(flags.color.resolve(&destination))))?;
    }
    let has_failed = flags.fail_on_worse && answer.verdict == Verdict::Worse;
    Ok(if has_failed { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// Whether sides can be compared.
fn check(before: &SideText, after: &SideText) -> Result<(), Failure> {
    if before.side == after.side {
        return Err(Failure::new(USAGE, "--before and --after are the same: nothing can have changed"));
    }
    match (&before.side, &after.side) {
        (SideSpec::Version { service: one, .. }, SideSpec::Version { service: other, .. })
            if one != other =>
        {
            let message = format!(
                "--before is a version of {one}, --after one of {other}: give two versions of one service"
            );
            Err(Failure::new(USAGE, message))
        }
        (SideSpec::Version { service, .. }, SideSpec::Window(..))
        | (SideSpec::Window(..), SideSpec::Version { service, .. }) => {
            let message =
                format!("a version of {service} is compared with another version of it: give two versions");
            Err(Failure::new(USAGE, message))
        }
        _ => Ok(()),
    }
}

fn compared(flags: &CompareFlags) -> Result<ComparisonAnswer, Failure> {
    let paths = [&flags.before, &flags.after].map(|side| match &side.side {
        SideSpec::Path(path) => Some(path),
        _ => None,
    });
    if let [Some(before), Some(after)] = paths {
        let (first, second) = (saved(before)?, saved(after)?);
        return Ok(analyze(
            &Side::new(&first, flags.before.text.as_str()),
            &Side::new(&second, flags.after.text.as_str()),
        ));
    }
    let source = Source::open_or_files(&flags.source, &flags.files)?;
    let end_us = source.window(1)?.end_unix_us;
    let [before, after] = [("--before", &flags.before), ("--after", &flags.after)].map(|(flag, side)| {
        wanted(&side.side, end_us)
            .map_err(|message| Failure::new(USAGE, format!("{flag} {}: {message}", side.text)))
    });
    let (before, after) = (before?, after?);
    if paths == [None, None] {
        return source.comparison((&flags.before.text, &before), (&flags.after.text, &after));
    }
    // One side is saved, the other one is not.
    let other = source.corpus(union(&before, &after))?;
    let (first, second) = match paths {
        [Some(path), _] => (saved(path)?, other),
        [_, Some(path)] => (other, saved(path)?),
        [None, None] => (Corpus::default(), other),
    };
    let (first, second) = (before.side(&first, &flags.before.text), after.side(&second, &flags.after.text));
    Ok(analyze(&first, &second))
}

/// Traces of a file, or of the store in a directory.
fn saved(path: &PathBuf) -> Result<Corpus, Failure> {
    Source::saved(std::slice::from_ref(path))?.corpus(None)
}

fn wanted(side: &SideSpec, end_us: u64) -> Result<Wanted, String> {
    match side {
        SideSpec::Path(_) => Ok(Wanted::default()),
        SideSpec::Window(from, to) => {
            Ok(Wanted { window: Some(window_between(*from, *to, end_us)?), version: None })
        }
        SideSpec::Version { service, version } => {
            Ok(Wanted { window: None, version: Some((service.clone(), version.clone())) })
        }
    }
}
