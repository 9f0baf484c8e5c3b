//! `tracer doctor`: what this kernel and these privileges allow.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use super::{
    flags::DoctorFlags,
    outcome::{CommandOutcome, FAILURE, UNSUPPORTED, print_json, print_lines},
};
use crate::{
    agent::status::{PATH, StatusReport},
    client::Client,
    doctor,
    kernel::{Kernel, LoadedPrograms, Plan, Switches, loaded_programs, propagation::PropagationPlan},
    outside::escaped,
    process::facts::Proc,
};

pub(super) fn run(flags: &DoctorFlags, switches: &Switches) -> CommandOutcome {
    if let Some(pid) = flags.pid {
        let agent = Client::of_agent(&flags.socket).and_then(|client| client.get::<StatusReport>(PATH, &[]));
        let agent = agent.map_err(|_| escaped(&flags.socket.to_string_lossy()).into_owned());
        let agent = agent.as_ref().map_err(String::as_str);
        let doctor::Explanation { lines, is_traced } = doctor::explain(pid, &Proc::default(), agent);
        if flags.json {
            print_json(&format!(
                "{}\n",
                serde_json::json!({ "pid": pid, "traced": is_traced, "lines": lines })
            ))?;
        } else {
            print_lines(&(lines.join("\n") + "\n"))?;
        }
        return Ok(if is_traced { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) });
    }
    let environment = doctor::Environment {
        root: "/".into(),
        programs: doctor::Programs::Try(probe),
        switches: switches.clone(),
    };
    let findings = doctor::check(&environment);
    if flags.json {
        print_json(&format!("{}\n", serde_json::to_string_pretty(&findings).unwrap_or_default()))?;
    } else {
        print_lines(&doctor::text(&findings))?;
    }
    let works = findings.iter().all(|finding| finding.verdict != doctor::Verdict::Missing);
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::from(UNSUPPORTED) })
}

/// Loads and attaches the kernel programs with nothing selected, and lets them go.
fn probe(switches: &Switches) -> Result<doctor::Probe, String> {
    let selectors = crate::process::selector::Selectors::default();
    let mut plan = crate::agent::discovery::plan(&selectors, 1 << 16, switches);
    let load = |plan: &Plan| -> Result<LoadedPrograms, String> {
        Kernel::load(plan).map(|kernel| loaded_programs(&kernel)).map_err(|error| error.to_string())
    };
    let programs = load(&plan)?;
    plan.propagation = Some(PropagationPlan::default());
    Ok(doctor::Probe { programs, with_headers: load(&plan) })
}
