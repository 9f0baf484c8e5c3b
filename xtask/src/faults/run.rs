//! One run of a scenario: the world, the agent, the load, and the fault in the middle of it.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    load::{Load, Seen},
    recording::Recording,
    scenarios::{Fault, Lasts, Scenario},
    shows::Window,
    world::World,
};

pub(super) struct Run {
    /// Which of the scenario's runs it is, from 1 on.
    pub(super) repetition: u32,
    pub(super) window: Window,
    pub(super) load: Seen,
    /// What the agent found while it ran, if it looked.
    pub(super) incidents: Option<Value>,
}

/// What is left of the load after a long fault has ended, as a part of the whole.
const QUIET_PART: u64 = 8;
/// Shares of the requests that a release gets, one after the other.
const ROLLOUT: [f64; 4] = [0.25, 0.5, 0.75, 1.0];
const ROLLOUT_STEP: Duration = Duration::from_secs(4);

/// Runs a scenario, with the spans in a file.
pub(super) fn run(
    scenario: &Scenario,
    repetition: u32,
    seconds: u64,
    tracer: &Path,
    folder: &Path,
    into: &Path,
) -> Result<Run> {
    let mut world = World::start(folder, &scenario.settings, scenario.release.as_ref())?;
    let recording = Recording::start(tracer, &world.pids(), folder, into)?;
    let load = Load::start(world.port, scenario.per_second, scenario.mix, u64::from(repetition) * 7_919);
    let begin = Instant::now();
    let wait_until = |second: u64| thread::sleep(Duration::from_secs(second).saturating_sub(begin.elapsed()));
    wait_until(seconds / 2);
    let began_us = unix_us();
    set_in(&scenario.fault, &mut world, &load)?;
    let ended_us = match scenario.lasts {
        Lasts::Always => None,
        Lasts::Seconds(after) => Some(seconds / 2 + after),
        Lasts::Long => Some(seconds - seconds / QUIET_PART),
    };
    let ended_us = match ended_us {
        Some(second) => {
            wait_until(second);
            let ended_us = unix_us();
            take_out(&scenario.fault, &mut world)?;
            Some(ended_us)
        }
        None => None,
    };
    wait_until(seconds);
    let last_us = unix_us();
    let load = load.end()?;
    recording.settle();
    let incidents = recording.incidents()?;
    recording.end()?;
    Ok(Run {
        repetition,
        window: Window { began_us, ended_us: ended_us.unwrap_or(last_us) },
        load,
        incidents,
    })
}

fn set_in(fault: &Fault, world: &mut World, load: &Load) -> Result<()> {
    match fault {
        Fault::None => {}
        Fault::Switch(service, setting, value, _) => world.set(service, setting, value.clone())?,
        Fault::Statement { begin, .. } => world.postgres.run(begin)?,
        Fault::Stop(service) => signal(world.pid(service)?, libc::SIGSTOP)?,
        Fault::End(service) => world.end(service),
        Fault::Release { then } => {
            if let Some(mix) = then {
                load.change(mix);
            }
            for share in ROLLOUT {
                world.set("shop", "share_of_second", json!(share))?;
                thread::sleep(ROLLOUT_STEP);
            }
        }
    }
    Ok(())
}

fn take_out(fault: &Fault, world: &mut World) -> Result<()> {
    match fault {
        Fault::Switch(service, setting, _, value) => world.set(service, setting, value.clone())?,
        Fault::Statement { end, .. } => world.postgres.run(end)?,
        Fault::Stop(service) => signal(world.pid(service)?, libc::SIGCONT)?,
        Fault::None | Fault::End(_) | Fault::Release { .. } => {}
    }
    Ok(())
}

fn signal(pid: u32, signal: libc::c_int) -> Result<()> {
    // SAFETY: a child of ours, not reaped yet.
    if unsafe { libc::kill(pid as libc::pid_t, signal) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
