//! The configuration file: YAML, in which environment variables are replaced.

#![forbid(unsafe_code)]

use std::path::Path;

use super::{Config, ConfigError, environment::own_variable, place::Values, wrong};
use crate::log::{self, LogFormat};

impl Config {
    /// Reads a file, with `${env:NAME}` and `${env:NAME:-default}` replaced.
    ///
    /// # Errors
    /// The file cannot be read, or something in it makes no sense; the message says where.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError(format!("cannot read the configuration {}: {error}", path.display()))
        })?;
        Self::from_yaml(&text, &own_variable).map_err(|ConfigError(errors)| {
            // Also a file that cannot be used says how errors are told.
            if Values::of(&text)
                .of_key("log.format")
                .is_some_and(|format| format.text.as_deref() == Some("json"))
            {
                log::set_format(LogFormat::Json);
            }
            let lines: Vec<String> =
                errors.lines().map(|error| format!("{}:{error}", path.display())).collect();
            ConfigError(lines.join("\n"))
        })
    }

    /// Reads a text. The messages, one a line, begin with line and column.
    ///
    /// # Errors
    /// See [`Self::from_file`].
    pub fn from_yaml(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let original = text;
        let text = substitute(text, variable)?;
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let mut config: Self =
            serde_saphyr::from_str(&text).map_err(|error| ConfigError(wrong::read(&error, &text)))?;
        config.secret_variables = secrets(original, variable, &config);
        match config.problems() {
            problems if problems.is_empty() => Ok(config),
            problems => Err(ConfigError(wrong::used(&problems, &text))),
        }
    }
}

/// The variables of a text whose values stand in credentials of the export: headers, and users and passwords.
fn secrets(text: &str, variable: &dyn Fn(&str) -> Option<String>, config: &Config) -> Vec<String> {
    let endpoints = [&config.export.endpoint, &config.export.traces_endpoint];
    let users = endpoints.into_iter().flatten().filter_map(|url| url.rsplit_once('@')).map(|(user, _)| user);
    let credentials: Vec<&str> = config.export.headers.values().map(String::as_str).chain(users).collect();
    text.split("${env:")
        .skip(1)
        .filter_map(|rest| rest.split('}').next()?.split(":-").next())
        .filter(|name| {
            // YAML may cut blanks off.
            let value = variable(name).unwrap_or_default();
            let value = value.trim();
            !value.is_empty() && credentials.iter().any(|credential| credential.contains(value))
        })
        .map(str::to_owned)
        .collect()
}

/// Replaces `${env:NAME}` and `${env:NAME:-default}`; `$$` is a dollar sign. A value cannot add
/// structure: what could is quoted, or refused inside of other text. Comments stay as they are.
fn substitute(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (content, comment) = line.split_at(comment_start(line));
        let mut out = String::new();
        let mut rest = content;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            out += before;
            let column = content.chars().count() - from.chars().count() + 1;
            let failed = |message: String| ConfigError(format!("{}:{column}: {message}", index + 1));
            if let Some(after) = from.strip_prefix("$$") {
                out.push('$');
                rest = after;
                continue;
            }
            let Some(inner) = from.strip_prefix("${env:") else {
                out.push('$');
                rest = &from[1..];
                continue;
            };
            let (inner, after) =
                inner.split_once('}').ok_or_else(|| failed("${env:… has no end".to_owned()))?;
            let (name, default) =
                inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
            let value =
                variable(name).filter(|value| !value.is_empty()).or_else(|| default.map(str::to_owned));
            let value = value.ok_or_else(|| failed(format!("the environment variable {name} is not set")))?;
            if is_plain(&value) {
                out += &value;
            } else if after.trim().is_empty() && begins_value(&out) {
                // JSON strings are YAML strings.
                out += &serde_json::Value::from(value).to_string();
            } else {
                return Err(failed(format!(
                    "the value of {name} has characters that YAML gives a meaning: use it alone"
                )));
            }
            rest = after;
        }
        lines.push(out + rest + comment);
    }
    Ok(lines.join("\n"))
}

/// Where the comment of a line begins, or the line's length. A quote that the line before opened is not
/// known of: text after ` #` in it is not looked at.
fn comment_start(line: &str) -> usize {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if open == c => quote = None,
            Some(_) => {}
            None if c == '#' && before.is_whitespace() => return at,
            None if matches!(c, '"' | '\'') && !before.is_alphanumeric() => quote = Some(c),
            None => {}
        }
        before = c;
    }
    line.len()
}

/// Whether what follows `before` on its line is all of a value: after `key: `, `- ` or both.
fn begins_value(before: &str) -> bool {
    let mut key = before.trim_start();
    while let Some(item) = key.strip_prefix("- ") {
        key = item.trim_start();
    }
    let is_key = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    key.is_empty()
        || key.trim_end_matches(' ').strip_suffix(':').is_some_and(|name| key.ends_with(' ') && is_key(name))
}

/// Whether a text means only itself, wherever it stands in YAML.
fn is_plain(value: &str) -> bool {
    !value.ends_with(':')
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "_./:@+=-".contains(c))
        && !value.starts_with(['-', '@', ':', '='])
}
