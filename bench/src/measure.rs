//! What the kernel tells of CPU time. In a guest that counts instructions it is exact.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

/// CPU time of processes with all their threads, nanoseconds.
pub(crate) fn processes(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| process(*pid)).sum()
}

fn process(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .flatten()
        .filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

/// CPU time of everything that ran, nanoseconds: `rq_cpu_time` of each CPU, `Documentation/scheduler`.
pub(crate) fn machine() -> Result<u64> {
    let text = fs::read_to_string("/proc/schedstat").context("this kernel has no /proc/schedstat")?;
    text.lines()
        .filter(|line| line.starts_with("cpu"))
        .map(|line| {
            let field = line.split(' ').nth(7).context("no run time in /proc/schedstat")?;
            field.parse::<u64>().context("no number in /proc/schedstat")
        })
        .sum()
}

/// A process and its descendants.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(parent) = all.get(at).copied() {
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        at += 1;
    }
    all
}

/// Resident memory of a process, KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// What `bpftool prog show` or `bpftool map show` says.
pub(crate) fn bpftool(what: &str) -> Result<Vec<Value>> {
    let output = std::process::Command::new("bpftool").args(["--json", what, "show"]).output()?;
    Ok(serde_json::from_slice::<Value>(&output.stdout)?.as_array().cloned().unwrap_or_default())
}

/// The middle of five, and how far they are apart, as a share of it.
pub(crate) fn median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).copied().unwrap_or(0.0);
    let spread = values.last().unwrap_or(&0.0) - values.first().unwrap_or(&0.0);
    (middle, if middle > 0.0 { spread / middle } else { 0.0 })
}
