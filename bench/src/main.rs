//! What tracing costs, in instructions. `guest` runs inside a guest of `cargo xtask bench --vm`, on
//! whose only CPU an instruction takes a fixed time; `growth` runs on the machine itself.

mod drive;
mod growth;
mod guest;
mod measure;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["guest", out, agent, ready, ref filter @ ..] => {
            guest::run(out.as_ref(), agent, ready.parse().context("seconds")?, filter)
        }
        ["prepare"] => {
            tracer_tests::programs::go_service("service", &[]);
            Ok(())
        }
        ["growth", ref filter @ ..] => growth::run(filter),
        ["client"] => Ok(tracer_tests::load::serve()?),
        ["bystander", kind, rounds] => drive::bystander(kind, rounds.parse().context("a number")?),
        _ => bail!("cargo xtask bench runs this"),
    }
}
