//! Whose service a process is: its name, and the resource that its spans share.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{
    build::ProgramBuild,
    facts::ProcessFacts,
    name::derived,
    runtime::{file_name, runtime},
};
use crate::{
    outside::clean_name,
    percent::percent_decoded,
    span::{KeyValue, Resource, Value, semconv},
};

/// What is the same for all processes of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// Id of the boot: makes process ids unique over time.
    pub boot: String,
    /// Architecture, in OpenTelemetry's words: `amd64`, `arm64`.
    pub arch: String,
    /// Attributes that the operator gives to every resource.
    pub attributes: Vec<(String, String)>,
}

impl Host {
    /// This host's facts.
    pub fn read() -> Self {
        let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            name: line("/proc/sys/kernel/hostname"),
            boot: line("/proc/sys/kernel/random/boot_id"),
            arch: arch.to_owned(),
            attributes: Vec::new(),
        }
    }
}

/// Where the name of a service comes from: values of `tracer.service.name_source`.
mod source {
    /// `service_name` of a selector.
    pub(super) const RULE: &str = "rule";
    /// The resource of the spans that the process exports itself.
    pub(super) const SDK: &str = "sdk";
    /// `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` of the process.
    pub(super) const ENVIRONMENT: &str = "environment";
    /// Executable, script, module, jar.
    pub(super) const DERIVED: &str = "derived";
}

/// The service's name: the operator's, else the target's own, else what a person would call it.
pub fn service_name(facts: &ProcessFacts, rule: Option<&str>) -> String {
    name_and_source(facts, rule).0
}

fn name_and_source(facts: &ProcessFacts, rule: Option<&str>) -> (String, &'static str) {
    let cleaned = |name: &str| Some(clean_name(name)).filter(|name| !name.is_empty());
    if let Some(name) = rule.filter(|name| !name.is_empty()) {
        return (name.to_owned(), source::RULE);
    }
    let own = facts.environment.get("OTEL_SERVICE_NAME").and_then(|name| cleaned(name));
    let own = own.or_else(|| {
        let name = own_attributes(facts).into_iter().find(|(key, _)| key == "service.name");
        name.and_then(|(_, name)| cleaned(&name))
    });
    own.map_or_else(|| (derived(facts), source::DERIVED), |name| (name, source::ENVIRONMENT))
}

/// The resource of a service whose process exports spans under this name; none if it has that name already, or one that
/// the operator gave.
pub fn renamed(resource: &Resource, name: &str) -> Option<Resource> {
    let name = clean_name(name);
    let is_given = resource.attributes.iter().any(|(key, value)| {
        key == semconv::TRACER_SERVICE_NAME_SOURCE && *value == Value::Str(source::RULE.into())
    });
    // What an SDK says that was given no name: `unknown_service`, or `unknown_service:java`.
    let is_none = name.is_empty() || name.starts_with("unknown_service");
    if is_none || is_given || resource.service_name == name {
        return None;
    }
    let mut attributes = resource.attributes.clone();
    for (key, value) in &mut attributes {
        if key == "service.name" {
            *value = text(&name);
        } else if key == semconv::TRACER_SERVICE_NAME_SOURCE {
            *value = Value::Str(source::SDK.into());
        }
    }
    Some(Resource { service_name: name, pid: resource.pid, attributes })
}

/// `OTEL_RESOURCE_ATTRIBUTES` of the target: a list of `key=value`, values percent-encoded; what does
/// not follow that is left out.
fn own_attributes(facts: &ProcessFacts) -> Vec<(String, String)> {
    facts.environment.get("OTEL_RESOURCE_ATTRIBUTES").map(|text| parse_attributes(text)).unwrap_or_default()
}

/// Reads a list of attributes as `OTEL_RESOURCE_ATTRIBUTES` holds it.
pub fn parse_attributes(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|entry| entry.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), percent_decoded(value.trim())))
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .collect()
}

/// Attributes that tell what made the spans: the agent.
fn is_of_the_agent(key: &str) -> bool {
    key.starts_with("telemetry.sdk.") || key.starts_with("telemetry.distro.")
}

/// Attributes that the agent knows of each process.
fn is_of_a_process(key: &str) -> bool {
    key == "process.pid" || key.starts_with("process.executable.")
}

/// Why an attribute cannot be given to every resource; none if it can.
pub fn why_not_for_all(key: &str) -> Option<&'static str> {
    match key {
        "" => Some("an attribute needs a name"),
        "service.name" => Some(
            "it names one service: use select.include[].service_name, or OTEL_SERVICE_NAME of the process",
        ),
        "service.instance.id" => {
            Some("it names one process: use OTEL_RESOURCE_ATTRIBUTES in the environment of that process")
        }
        key if is_of_a_process(key) => Some("the agent sets it for each process"),
        key if is_of_the_agent(key) => Some("it names what made the spans: the agent"),
        _ => None,
    }
}

/// The resource that the spans of a service instance share. Command lines are left out: they hold
/// secrets.
pub fn resource(facts: &ProcessFacts, rule: Option<&str>, host: &Host) -> Resource {
    let (service_name, source) = name_and_source(facts, rule);
    let mut attributes: Vec<KeyValue> = vec![("service.name".into(), text(&service_name))];
    let own = own_attributes(facts);
    let own = own.iter().filter(|(key, _)| !is_of_the_agent(key) && !is_of_a_process(key));
    // The operator first, then the target, then what is found out.
    let given: Vec<&(String, String)> = host.attributes.iter().chain(own).collect();
    let mut add = |key: &str, value: Value| {
        if !attributes.iter().any(|(known, _)| known == key) {
            let given = given.iter().find(|(known, _)| known == key).map(|(_, value)| text(value));
            attributes.push((key.to_owned().into(), given.unwrap_or(value)));
        }
    };
    let runtime = runtime(file_name(&facts.exe));
    add("service.instance.id", text(&instance_id(facts, host)));
    add("process.pid", Value::Int(i64::from(facts.pid)));
    add("process.executable.name", text(file_name(&facts.exe)));
    add("process.executable.path", text(&facts.exe));
    match &facts.build {
        Some(ProgramBuild::Gnu(id)) => add("process.executable.build_id.gnu", text(id)),
        Some(ProgramBuild::Digest(digest)) => add(semconv::TRACER_PROGRAM_BUILD_ID, text(digest)),
        None => {}
    }
    if let Some(name) = runtime.name(file_name(&facts.exe)) {
        add("process.runtime.name", text(name));
    }
    if let Some(container) = &facts.container {
        add("container.id", text(container));
    }
    for (key, value) in [("host.name", &host.name), ("host.arch", &host.arch)] {
        if !value.is_empty() {
            add(key, text(value));
        }
    }
    add("os.type", text("linux"));
    add("telemetry.sdk.name", text("tracer"));
    add("telemetry.sdk.language", text("rust"));
    add("telemetry.sdk.version", text(env!("CARGO_PKG_VERSION")));
    add("telemetry.distro.name", text("tracer"));
    add("telemetry.distro.version", text(env!("CARGO_PKG_VERSION")));
    add(semconv::TRACER_SERVICE_NAME_SOURCE, Value::Str(source.into()));
    for (key, value) in &given {
        add(key, text(value));
    }
    Resource { service_name, pid: facts.pid, attributes }
}

fn text(value: &str) -> Value {
    Value::Str(value.to_owned().into())
}

/// An id in the form of a UUID, the same for the life of the process and no other's: a hash of boot,
/// pid and start time. 128 bits of FNV-1a, enough to tell processes apart.
fn instance_id(facts: &ProcessFacts, host: &Host) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let name = format!("{}/{}/{}", host.boot, facts.pid, facts.start_ticks);
    let hash = name.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    // Version 8 of RFC 9562: a form of one's own.
    let hash = hash & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{hash:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(exe: &str, command: &str, directory: &str) -> ProcessFacts {
        ProcessFacts {
            pid: 7,
            exe: exe.to_owned(),
            command_line: command.split(' ').map(str::to_owned).collect(),
            directory: directory.to_owned(),
            ..ProcessFacts::default()
        }
    }

    #[test]
    fn the_operator_comes_first_then_the_target_itself() {
        let mut target = facts("/usr/bin/node", "node x.js", "/");
        assert_eq!(service_name(&target, None), "x");
        target.environment.insert(
            "OTEL_RESOURCE_ATTRIBUTES".to_owned(),
            "service.name=from%20list,deployment.environment=prod,bad".to_owned(),
        );
        assert_eq!(service_name(&target, None), "from list");
        target.environment.insert("OTEL_SERVICE_NAME".to_owned(), "own".to_owned());
        assert_eq!(service_name(&target, None), "own");
        assert_eq!(service_name(&target, Some("rule")), "rule");
        let made = resource(&target, None, &Host::default());
        assert_eq!(made.attributes[0], ("service.name".into(), text("own")));
        assert!(made.attributes.contains(&("deployment.environment".into(), text("prod"))));
        assert_eq!(made.attributes.iter().filter(|(key, _)| key == "service.name").count(), 1);
    }

    #[test]
    fn a_name_from_the_target_holds_nothing_that_controls_a_terminal() {
        let mut target = facts("/usr/bin/node", "node x.js", "/");
        let list = "service.name=in%0A%1B[31mlist".to_owned();
        target.environment.insert("OTEL_RESOURCE_ATTRIBUTES".to_owned(), list);
        assert_eq!(service_name(&target, None), "in[31mlist");
        target.environment.insert("OTEL_SERVICE_NAME".to_owned(), "own\n\u{1b}[2J".to_owned());
        assert_eq!(service_name(&target, None), "own[2J");
        target.environment.insert("OTEL_SERVICE_NAME".to_owned(), "\u{1b}\n".to_owned());
        assert_eq!(service_name(&target, None), "in[31mlist", "nothing is left of it");
    }

    #[test]
    fn attributes_of_the_operator_replace_those_of_the_target_and_these_what_is_found_out() {
        let mut target = facts("/usr/bin/node", "node x.js", "/");
        target.environment.insert(
            "OTEL_RESOURCE_ATTRIBUTES".to_owned(),
            "host.name=pod,service.instance.id=one,team=a,process.pid=1,telemetry.sdk.name=own,container.id=c"
                .to_owned(),
        );
        let given = [("host.name", "node-7"), ("team", "b"), ("os.type", "beos")];
        let host = Host {
            name: "found".to_owned(),
            attributes: given.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            ..Host::default()
        };
        let made = resource(&target, None, &host);
        let value = |key: &str| {
            let mut values = made.attributes.iter().filter(|(known, _)| known == key).map(|(_, value)| value);
            (values.next().cloned(), values.count())
        };
        for (key, expected) in [
            ("host.name", text("node-7")),
            ("team", text("b")),
            ("os.type", text("beos")),
            ("service.instance.id", text("one")),
            ("container.id", text("c")),
            ("process.pid", Value::Int(7)),
            ("telemetry.sdk.name", text("tracer")),
        ] {
            assert_eq!(value(key), (Some(expected), 0), "{key}");
        }
    }

    #[test]
    fn an_instance_keeps_its_id_and_shares_it_with_no_other() {
        let host = Host { boot: "b".to_owned(), ..Host::default() };
        let first = facts("/x", "x", "/");
        let later = ProcessFacts { start_ticks: 1, ..first.clone() };
        assert_eq!(instance_id(&first, &host), instance_id(&first, &host));
        assert_ne!(instance_id(&first, &host), instance_id(&later, &host));
        let id = instance_id(&first, &host);
        assert_eq!((id.len(), &id[14..15]), (36, "8"));
    }
}
