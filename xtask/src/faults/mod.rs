//! `cargo xtask faults`: one fault in a world of real programs under a steady load, traced, and what the analysis says of it.

mod judge;
mod kept;
mod load;
mod postgres;
mod recording;
mod run;
mod scenarios;
mod shows;
mod spans;
mod table;
mod world;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use self::{run::Run, scenarios::Scenario, table::Runs};
use crate::{compile, programs::Folder, stage};

#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Only scenarios whose names begin so; several may be given
    #[arg(long)]
    only: Vec<String>,
    /// How often each runs [default: 20, and once without a fault]
    #[arg(long)]
    repeat: Option<u32>,
    /// Seconds of load in each run; the fault begins in the middle [default: 90, and an hour without a fault]
    #[arg(long, value_parser = clap::value_parser!(u64).range(30..))]
    seconds: Option<u64>,
    /// Keep the spans of each run in this directory, with INDEX.md, which says what was done when
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Run nothing: judge the runs that were kept in this directory once more
    #[arg(long, conflicts_with_all = ["repeat", "seconds", "keep"])]
    again: Option<PathBuf>,
}

pub(crate) fn run(flags: &Flags) -> Result<()> {
    let mut names: Vec<&str> = scenarios::all(1).iter().map(|scenario| scenario.name).collect();
    names.retain(|name| {
        flags.only.is_empty() || flags.only.iter().any(|begin| name.starts_with(begin.as_str()))
    });
    ensure!(!names.is_empty(), "no scenario's name begins with one of {:?}", flags.only);
    let mut done = Vec::new();
    if let Some(folder) = &flags.again {
        let (kept, tracer) = (kept::list(folder)?, compile::agent()?);
        for name in names {
            let mut runs = Runs::default();
            for (file, facts) in kept.iter().filter(|(_, facts)| facts["scenario"] == name) {
                println!("{}", file.display());
                let run = kept::run_of(facts);
                assess(&scenario(name, run.repetition)?, &run, file, &tracer, &mut runs)?;
            }
            done.push((name, runs));
        }
    } else {
        world::install()?;
        let tracer = compile::agent()?;
        let folder = Folder::new()?;
        go_first();
        for name in names {
            done.push((name, repeat(name, flags, &tracer, folder.path())?));
        }
    }
    println!("\n{}", table::table(&done));
    Ok(())
}

/// Other work on this machine must not look like a fault: all that is started from now on has precedence.
fn go_first() {
    const NICE: libc::c_int = -10;
    // SAFETY: of this process only, and without a pointer. A refusal leaves the priority as it is.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

fn scenario(name: &str, repetition: u32) -> Result<Scenario> {
    let mut all = scenarios::all(repetition).into_iter();
    all.find(|scenario| scenario.name == name).with_context(|| format!("no scenario {name}"))
}

/// Runs a scenario as often as it has to.
fn repeat(name: &str, flags: &Flags, tracer: &Path, folder: &Path) -> Result<Runs> {
    let (inside, file) = (folder.join("run"), folder.join("spans.jsonl"));
    let mut runs = Runs::default();
    for repetition in 1..=flags.repeat.unwrap_or(scenario(name, 1)?.repetitions) {
        let scenario = scenario(name, repetition)?;
        let seconds = flags.seconds.unwrap_or(scenario.seconds);
        stage::run(&format!("{name} {repetition}"), || {
            fs::create_dir(&inside)?;
            let run = run::run(&scenario, repetition, seconds, tracer, &inside, &file);
            fs::remove_dir_all(&inside)?;
            let run = run?;
            let measured = assess(&scenario, &run, &file, tracer, &mut runs)?;
            if let Some(keep) = &flags.keep {
                fs::create_dir_all(keep)?;
                kept::keep(keep, &file, &scenario, &run, &measured)?;
            }
            Ok(())
        })?;
    }
    Ok(runs)
}

/// Whether the fault shows in the spans, and what the analysis says of them. Returns what was measured.
fn assess(scenario: &Scenario, run: &Run, file: &Path, tracer: &Path, runs: &mut Runs) -> Result<String> {
    let spans = spans::read(file)?;
    let (shown, measured) = shows::check(&spans, run.window, &scenario.shows);
    println!("{} answered, {} failed, {} sent late", run.load.answered, run.load.failed, run.load.late);
    println!("{}: {measured}", if shown { "the fault shows" } else { "THE FAULT DOES NOT SHOW" });
    runs.done += 1;
    runs.shown += usize::from(shown);
    if let Some(findings) = judge::report(tracer, file)? {
        let incidents = run.incidents.as_ref().map(judge::incidents).unwrap_or_default();
        let verdict = judge::judge(findings, incidents, scenario.finding.as_ref(), run.window.began_us);
        println!("{verdict}");
        runs.verdicts.push(verdict);
    }
    Ok(format!("{} spans; {measured}", spans.len()))
}
