//! SIGHUP of `tracer agent`: the output file is opened again, and the configuration is read again.

#![forbid(unsafe_code)]

use super::flags::TraceFlags;
use crate::{
    agent::Agent,
    config::Config,
    log::{self, EVERY_LINE},
    sink::terminal::Destination,
};

/// The key that takes effect without a restart.
const LEVEL: &str = "log.level";

/// Opens the output file again, reads the configuration again and says what came of it. `running` is the configuration
/// that is in effect. The recording goes on in its file: its parts cannot be read alone.
pub(super) fn reload(flags: &TraceFlags, running: &mut Config, destination: &Destination, agent: &Agent) {
    tracing::info!(
        "SIGHUP: opens the output file again{}",
        if flags.common.config.is_some() {
            ", and reads the configuration again"
        } else {
            "; there is no configuration file"
        }
    );
    match destination.open_again(running.output) {
        Ok(Some(out)) => agent.replace_output(out),
        Ok(None) => {}
        Err(error) => tracing::error!("{error}; the output goes on in the file that was open"),
    }
    let Some(path) = &flags.common.config else { return };
    // Another kind, such as a pipe, was read to its end, and may keep its reader waiting.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        tracing::warn!("the configuration {} is no regular file: it is not read again", path.display());
        return;
    }
    let read = flags.configuration();
    log::set_format(running.log.format);
    match read {
        Ok(read) => apply(running, &read),
        Err(error) => {
            for line in error.to_string().lines() {
                tracing::error!(target: EVERY_LINE, "{line}");
            }
            tracing::error!("the new configuration has errors: the old one stays in effect");
        }
    }
}

/// Puts what can change into effect, and names what cannot.
fn apply(running: &mut Config, read: &Config) {
    for warning in read.warnings.iter().filter(|warning| !running.warnings.contains(warning)) {
        tracing::warn!(target: EVERY_LINE, "{warning}");
    }
    running.warnings.clone_from(&read.warnings);
    let mut changed = changes(running, read);
    if changed.is_empty() {
        tracing::info!("the configuration has not changed");
        return;
    }
    if let Some(at) = changed.iter().position(|key| key == LEVEL)
        && log::set_level(read.log.level)
    {
        changed.remove(at);
        running.log.level = read.log.level;
        tracing::info!("changed, in effect now: {LEVEL}");
    }
    if !changed.is_empty() {
        tracing::warn!("changed, needs a restart: {}", changed.join(", "));
    }
}

/// The keys whose values differ, in the order of the alphabet.
fn changes(running: &Config, read: &Config) -> Vec<String> {
    let value = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut keys = Vec::new();
    add_changes("", &value(running), &value(read), &mut keys);
    keys.sort();
    keys
}

fn add_changes(key: &str, old: &serde_json::Value, new: &serde_json::Value, keys: &mut Vec<String>) {
    use serde_json::Value::{Null, Object};
    match (old, new) {
        (Object(before), Object(after)) => {
            let only_after = after.keys().filter(|name| !before.contains_key(*name));
            for name in before.keys().chain(only_after) {
                let whole = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let value = |object: &serde_json::Map<_, _>| object.get(name).cloned().unwrap_or(Null);
                add_changes(&whole, &value(before), &value(after), keys);
            }
        }
        _ if old == new => {}
        _ => keys.push(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_yaml(text, &|_| None).expect(text)
    }

    #[test]
    fn keys_that_have_changed_are_named() {
        let old = config(
            "select: {include: [{pid: [5]}]}\nexport: {endpoint: 'http://a:4318', headers: {a: x}}\nsocket: /a\n",
        );
        assert_eq!(changes(&old, &old.clone()), [""; 0]);
        let new = config(
            "select: {include: [{pid: [6]}]}\nexport: {endpoint: 'http://b:4318', headers: {b: x}}\nlog: {level: debug}\n",
        );
        let keys =
            ["export.endpoint", "export.headers.a", "export.headers.b", LEVEL, "select.include", "socket"];
        assert_eq!(changes(&old, &new), keys);
        assert_eq!(changes(&new, &old), keys);
    }
}
