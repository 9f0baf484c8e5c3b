//! Whose service a process is: its name, and the resource that its spans share.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::facts::ProcessFacts;
use crate::span::{KeyValue, Resource, Value};

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

/// The service's name: the operator's, else the target's own, else what a person would call it.
pub fn service_name(facts: &ProcessFacts, rule: Option<&str>) -> String {
    let own = facts.environment.get("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()).cloned();
    rule.map(str::to_owned)
        .or(own)
        .or_else(|| {
            own_attributes(facts).into_iter().find(|(key, _)| key == "service.name").map(|(_, value)| value)
        })
        .or_else(|| derived(facts))
        .unwrap_or_else(|| format!("process-{}", facts.pid))
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

/// Decodes `%41` and the like; what is no such escape stays.
pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| {
            let text = std::str::from_utf8(hex).ok()?;
            hex.iter().all(u8::is_ascii_hexdigit).then(|| u8::from_str_radix(text, 16).ok())?
        });
        match (byte, escape) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What a person would call the program.
fn derived(facts: &ProcessFacts) -> Option<String> {
    let exe = file_name(&facts.exe);
    let arguments: Vec<&str> = facts.command_line.iter().skip(1).map(String::as_str).collect();
    let found = match runtime(exe) {
        Runtime::Python => python(&arguments, facts),
        Runtime::Node => node(&arguments, facts),
        Runtime::Java => java(&arguments),
        Runtime::Ruby => script(&arguments, &["rb"], facts),
        Runtime::Php => php(facts),
        Runtime::Shell => script(&arguments, &["sh", "bash"], facts),
        Runtime::Other => {
            // Programs that rename themselves (`nginx: master process`) and compiled services.
            Some(exe.trim_end_matches(".bin").to_owned())
        }
    };
    let usable = |name: &String| !name.is_empty() && runtime(name) == Runtime::Other;
    found
        .filter(usable)
        .or_else(|| facts.unit.clone())
        .or_else(|| Some(file_name(&facts.directory).to_owned()).filter(|name| !name.is_empty()))
        .or_else(|| Some(exe.to_owned()).filter(|name| !name.is_empty()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Python,
    Node,
    Java,
    Ruby,
    Php,
    Shell,
    Other,
}

/// The runtime behind an executable's name: `python3.11`, `nodejs`, `php-fpm8.2`.
fn runtime(name: &str) -> Runtime {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    match stem {
        "python" | "pypy" => Runtime::Python,
        "node" | "nodejs" => Runtime::Node,
        "java" => Runtime::Java,
        "ruby" => Runtime::Ruby,
        "php" | "php-fpm" | "php-cgi" => Runtime::Php,
        "sh" | "bash" | "dash" | "zsh" | "busybox" => Runtime::Shell,
        _ => Runtime::Other,
    }
}

fn file_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn stem<'a>(path: &'a str, extensions: &[&str]) -> &'a str {
    let name = file_name(path);
    match name.rsplit_once('.') {
        Some((stem, extension)) if extensions.contains(&extension) => stem,
        _ => name,
    }
}

/// Names that say nothing: the folder around them does.
fn is_generic(name: &str) -> bool {
    matches!(
        name,
        "app"
            | "main"
            | "index"
            | "server"
            | "manage"
            | "wsgi"
            | "asgi"
            | "start"
            | "run"
            | "__main__"
            | "service"
    )
}

/// A file's name without its extension; the folder's where the file's says nothing.
fn named_by_file(path: &str, extensions: &[&str], facts: &ProcessFacts) -> Option<String> {
    let name = stem(path, extensions);
    if !is_generic(name) {
        return Some(name.to_owned());
    }
    let folder = match path.rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() && folder != "." => file_name(folder),
        _ => file_name(&facts.directory),
    };
    let usable =
        !folder.is_empty() && !matches!(folder, "src" | "bin" | "dist" | "app" | "build" | "tmp" | "root");
    Some(if usable { folder.to_owned() } else { name.to_owned() })
}

fn script(arguments: &[&str], extensions: &[&str], facts: &ProcessFacts) -> Option<String> {
    let path = arguments.iter().find(|argument| !argument.starts_with('-'))?;
    named_by_file(path, extensions, facts)
}

fn python(arguments: &[&str], facts: &ProcessFacts) -> Option<String> {
    let mut rest = arguments.iter().copied();
    let mut first = None;
    while let Some(argument) = rest.next() {
        match argument {
            "-m" => {
                first = rest.next();
                break;
            }
            "-c" => return None,
            "-W" | "-X" => {
                rest.next();
            }
            option if option.starts_with('-') => {}
            path => {
                first = Some(path);
                break;
            }
        }
    }
    let program = stem(first?, &["py"]);
    if matches!(
        program,
        "gunicorn" | "uvicorn" | "hypercorn" | "daphne" | "waitress-serve" | "celery" | "flask" | "granian"
    ) {
        let loaded = rest.clone().find(|argument| {
            argument.contains(':')
                && !argument.starts_with('-')
                && !argument.contains('/')
                && is_module(argument)
        });
        let named = rest.clone().skip_while(|argument| !matches!(*argument, "-A" | "--app")).nth(1);
        let target = loaded.or(named).or_else(|| rest.clone().rfind(|argument| !argument.starts_with('-')));
        let module = target.map(|target| target.split(':').next().unwrap_or(target));
        let parts: Vec<&str> =
            module.unwrap_or_default().split('.').filter(|part| !part.is_empty()).collect();
        let name = parts.iter().rev().find(|part| !is_generic(part)).or(parts.last());
        return match name {
            Some(name) if is_generic(name) => Some(file_name(&facts.directory).to_owned()),
            Some(name) => Some((*name).to_owned()),
            None => Some(file_name(&facts.directory).to_owned()),
        };
    }
    if first.is_some_and(|name| name.contains('.') && !name.ends_with(".py") && !name.contains('/')) {
        // A module: its last part that says something.
        let parts: Vec<&str> = first?.split('.').collect();
        return parts.iter().rev().find(|part| !is_generic(part)).map(|part| (*part).to_owned());
    }
    named_by_file(first?, &["py", "pyc"], facts)
}

/// `package.module:object`, and not an address.
fn is_module(argument: &str) -> bool {
    let module = argument.split(':').next().unwrap_or_default();
    !module.is_empty()
        && module.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
        && !module.chars().all(|c| c.is_ascii_digit() || c == '.')
        && module != "localhost"
}

fn node(arguments: &[&str], facts: &ProcessFacts) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "-r" | "--require" | "--import" | "--loader" => {
                rest.next();
            }
            "-e" | "-p" | "--eval" => return None,
            option if option.starts_with('-') => {}
            path => return named_by_file(path, &["js", "mjs", "cjs", "ts"], facts),
        }
    }
    None
}

fn java(arguments: &[&str]) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "-jar" => {
                let jar = stem(rest.next()?, &["jar", "war"]);
                // Without its version: the part from the first dash before a digit.
                let version = jar
                    .char_indices()
                    .zip(jar.chars().skip(1))
                    .find(|((_, c), next)| *c == '-' && next.is_ascii_digit());
                return Some(version.map_or(jar, |((at, _), _)| &jar[..at]).to_owned());
            }
            "-cp" | "-classpath" | "--class-path" | "-p" | "--module-path" | "--add-opens"
            | "--add-modules" => {
                rest.next();
            }
            "-m" | "--module" => return rest.next()?.rsplit(['.', '/']).next().map(str::to_owned),
            option if option.starts_with('-') || option.starts_with('@') => {}
            class => {
                return class.rsplit(['.', '/']).next().map(|name| name.trim_end_matches(".java").to_owned());
            }
        }
    }
    None
}

fn php(facts: &ProcessFacts) -> Option<String> {
    // `php-fpm: pool www`
    let title = facts.command_line.join(" ");
    title.split_once("pool ").map(|(_, pool)| pool.trim().to_owned()).filter(|pool| !pool.is_empty())
}

/// The resource that the spans of a service instance share. Command lines are left out: they hold
/// secrets.
pub fn resource(facts: &ProcessFacts, rule: Option<&str>, host: &Host) -> Resource {
    let service_name = service_name(facts, rule);
    let mut attributes: Vec<KeyValue> = vec![("service.name".into(), text(&service_name))];
    let mut add = |key: &str, value: Value| {
        if !attributes.iter().any(|(known, _)| known == key) {
            attributes.push((key.to_owned().into(), value));
        }
    };
    add("service.instance.id", text(&instance_id(facts, host)));
    add("process.pid", Value::Int(i64::from(facts.pid)));
    add("process.executable.name", text(file_name(&facts.exe)));
    add("process.executable.path", text(&facts.exe));
    if let Some(container) = &facts.container {
        add("container.id", text(container));
    }
    add("host.name", text(&host.name));
    add("host.arch", text(&host.arch));
    add("os.type", text("linux"));
    add("telemetry.sdk.name", text("tracer"));
    if let Some(language) = language(file_name(&facts.exe)) {
        add("telemetry.sdk.language", text(language));
    }
    add("telemetry.sdk.version", text(env!("CARGO_PKG_VERSION")));
    add("telemetry.distro.name", text("tracer"));
    add("telemetry.distro.version", text(env!("CARGO_PKG_VERSION")));
    for (key, value) in own_attributes(facts).iter().chain(&host.attributes) {
        add(key, text(value));
    }
    Resource { service_name, pid: facts.pid, attributes }
}

fn text(value: &str) -> Value {
    Value::Str(value.to_owned().into())
}

/// The language, in the words that OpenTelemetry has for it.
fn language(exe: &str) -> Option<&'static str> {
    match runtime(exe) {
        Runtime::Python => Some("python"),
        Runtime::Node => Some("nodejs"),
        Runtime::Java => Some("java"),
        Runtime::Ruby => Some("ruby"),
        Runtime::Php => Some("php"),
        Runtime::Shell | Runtime::Other => None,
    }
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
    fn services_are_called_what_a_person_would_call_them() {
        for (exe, command, directory, expected) in [
            ("/usr/sbin/nginx", "nginx: master process nginx -c x", "/", "nginx"),
            ("/usr/bin/python3.11", "python3 checkout.py --debug", "/srv", "checkout"),
            ("/usr/bin/python3.11", "python3 /srv/shop/app.py", "/", "shop"),
            ("/usr/bin/python3.11", "python3 -u -m orders.worker", "/", "worker"),
            (
                "/usr/bin/python3.11",
                "/usr/bin/python3 /usr/bin/gunicorn -w 2 -b 127.0.0.1:80 shop.app:app",
                "/x",
                "shop",
            ),
            ("/usr/bin/python3.11", "python3 -m gunicorn --workers 2 app:app", "/srv/shop", "shop"),
            ("/usr/bin/python3.11", "python3 -m uvicorn billing:api --port 80", "/", "billing"),
            ("/usr/bin/python3.11", "python3 manage.py runserver", "/srv/portal", "portal"),
            ("/usr/bin/python3.11", "celery -A tasks worker", "/srv/tasks", "tasks"),
            ("/usr/bin/node", "node server.js", "/srv/prices", "prices"),
            ("/usr/bin/node", "node --require x /opt/cart/index.js", "/", "cart"),
            ("/usr/bin/node", "/usr/bin/node fetcher.mjs", "/", "fetcher"),
            ("/usr/lib/jvm/bin/java", "java -Xmx1g -jar /opt/petclinic-3.1.0-SNAPSHOT.jar", "/", "petclinic"),
            ("/usr/lib/jvm/bin/java", "java -cp a:b -Dx=y com.example.billing.Invoicer arg", "/", "Invoicer"),
            ("/usr/bin/ruby3.1", "ruby bin/mailer.rb", "/", "mailer"),
            ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", "/", "www"),
            ("/opt/bin/inventory", "inventory -v", "/", "inventory"),
            ("/usr/bin/bash", "bash /opt/backup.sh", "/", "backup"),
            ("/usr/bin/python3.11", "python3", "/srv/notebook", "notebook"),
        ] {
            assert_eq!(service_name(&facts(exe, command, directory), None), expected, "{command}");
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
    fn an_instance_keeps_its_id_and_shares_it_with_no_other() {
        let host = Host { boot: "b".to_owned(), ..Host::default() };
        let first = facts("/x", "x", "/");
        let later = ProcessFacts { start_ticks: 1, ..first.clone() };
        assert_eq!(instance_id(&first, &host), instance_id(&first, &host));
        assert_ne!(instance_id(&first, &host), instance_id(&later, &host));
        let id = instance_id(&first, &host);
        assert_eq!((id.len(), &id[14..15]), (36, "8"));
    }

    proptest::proptest! {
        #[test]
        fn no_command_line_is_a_panic(arguments: Vec<String>, directory: String, index in 0usize..6) {
            let exe = ["/usr/bin/python3", "/usr/bin/node", "/bin/java", "/bin/sh", "/usr/sbin/php-fpm", "/x"][index];
            let facts = ProcessFacts { exe: exe.to_owned(), command_line: arguments, directory, ..ProcessFacts::default() };
            proptest::prop_assert!(!service_name(&facts, None).is_empty());
        }
    }
}
