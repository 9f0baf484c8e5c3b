//! Names of Java programs: the application's own property, its jar, or its main class.

use super::path::{folder, is_generic, joined, named_by_directory, parent, stem};
use crate::process::facts::ProcessFacts;

/// Properties that hold a service's name.
const PROPERTIES: [&str; 3] = ["-Dotel.service.name=", "-Dspring.application.name=", "-Dapp.name="];

/// Options whose value is the next argument (`java --help`).
const WITH_VALUE: [&str; 13] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--limit-modules",
    "--source",
    "--describe-module",
];

pub(super) fn name(arguments: &[&str], facts: &ProcessFacts) -> Option<String> {
    let mut at = 0;
    let mut named = None;
    while let Some(argument) = arguments.get(at) {
        at += 1;
        match *argument {
            "-jar" => return named.or_else(|| by_jar(arguments.get(at)?, facts)),
            "-m" | "--module" => return named.or_else(|| by_class(arguments.get(at)?, facts)),
            option if WITH_VALUE.contains(&option) => at += 1,
            option if option.starts_with(['-', '@']) => {
                named = named.or_else(|| property(option));
            }
            class => return named.or_else(|| by_class(class, facts)),
        }
    }
    named
}

/// The name in an option that sets one of [`PROPERTIES`].
fn property(option: &str) -> Option<String> {
    let name = PROPERTIES.iter().find_map(|property| option.strip_prefix(property))?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// A jar's name without its version; the folder's where the jar's says nothing.
fn by_jar(path: &str, facts: &ProcessFacts) -> Option<String> {
    let jar = stem(path, &["jar", "war"]);
    // A version begins with a digit behind a dash.
    let version = jar
        .match_indices('-')
        .find(|(at, _)| jar.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())));
    let name = version.and_then(|(at, _)| jar.get(..at)).unwrap_or(jar);
    if !is_generic(name) {
        return Some(name.to_owned());
    }
    let full = joined(&facts.directory, path);
    Some(folder(parent(&full)).unwrap_or(name).to_owned())
}

/// The last part of a main class that says something: `com.example.shop.Application` is `shop`.
fn by_class(class: &str, facts: &ProcessFacts) -> Option<String> {
    if class.starts_with("org.apache.catalina.") {
        return Some("tomcat".to_owned());
    }
    // The launcher of an unpacked Spring Boot jar, or of an application server.
    if class.starts_with("org.springframework.boot.loader.") {
        return named_by_directory(facts);
    }
    let class = class.strip_suffix(".java").unwrap_or(class);
    let parts: Vec<&str> = class.split(['.', '/']).filter(|part| !part.is_empty()).collect();
    match parts.iter().rev().find(|part| !is_generic(part)) {
        // A top-level domain is no name.
        Some(part) if parts.len() == 1 || parts.first() != Some(part) => Some((*part).to_owned()),
        _ => named_by_directory(facts),
    }
}
