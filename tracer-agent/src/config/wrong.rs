//! Errors of a configuration file, in words that name the key, its place and what is allowed.

#![forbid(unsafe_code)]

use serde_saphyr::Error;

use super::{
    Config,
    place::{Place, Value, Values},
};
use crate::problem::Problem;

/// An error of a text.
struct Wrong {
    place: Option<Place>,
    /// The key whose value is wrong, or that is unknown; none if the text is no YAML.
    key: Option<String>,
    message: String,
}

impl Wrong {
    /// An error of the YAML reader.
    fn read(error: &Error, text: &str, values: &Values) -> Self {
        let error = cause(error);
        let place = error.location().map(|location| Place::from(&location));
        let value = place.and_then(|place| values.at(place));
        let message = message(error, value);
        let (key, message) = match (error, value, place) {
            (Error::SerdeUnknownField { field, .. }, _, Some(place)) => (values.named(field, place), message),
            _ if is_about_a_key(error) => (None, message),
            (_, Some(value), _) => (Some(value.key.clone()), format!("{}: {message}", value.key)),
            (_, None, Some(place)) => match place.last_key(text) {
                Some(key) => (None, format!("near `{key}`: {message}")),
                None => (None, message),
            },
            (_, None, None) => (None, message),
        };
        Self { place, key, message }
    }

    /// A value that cannot be used.
    fn used(problem: &Problem, values: &Values) -> Self {
        let place = values.of_key(&problem.key).map(|value| value.place);
        Self { place, key: Some(problem.key.clone()), message: problem.to_string() }
    }
}

/// Errors of a text, one a line, in its order: `LINE:COLUMN: KEY: MESSAGE`.
fn lines(mut all: Vec<Wrong>) -> String {
    all.sort_by_key(|wrong| wrong.place);
    let line = |wrong: &Wrong| match wrong.place {
        Some(place) => format!("{place}: {}", wrong.message),
        None => wrong.message.clone(),
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The errors of a text, of which the YAML reader tells the first: [`lines`]. Each later one is found by reading the rest
/// again without the values that are wrong.
pub(super) fn read(first: &Error, text: &str) -> String {
    /// Errors of the reader that are told; each costs a reading.
    const MOST: usize = 64;
    let values = Values::of(text);
    let mut found = vec![Wrong::read(first, text, &values)];
    // Which key it is that an alias makes wrong, is not known.
    let is_by_alias = matches!(first.without_snippet(), Error::AliasError { .. });
    let rest = if is_by_alias { None } else { serde_saphyr::from_str::<serde_json::Value>(text).ok() };
    let mut rest = rest.unwrap_or_default();
    // Each turn takes a key away.
    while found.len() < MOST
        && let Some(key) = found.last().and_then(|wrong| wrong.key.as_deref()).map(of_mapping)
        && remove(&mut rest, key)
    {
        let is_known = |key: &str| {
            found.iter().filter_map(|wrong| wrong.key.as_deref()).any(|other| leads(key, of_mapping(other)))
        };
        let text = rest.to_string();
        match serde_saphyr::from_str::<Config>(&text) {
            Ok(config) => {
                let problems = config.problems();
                let problems = problems.iter().filter(|problem| !is_known(&problem.key));
                let problems: Vec<Wrong> = problems.map(|problem| Wrong::used(problem, &values)).collect();
                found.extend(problems);
                break;
            }
            Err(error) => {
                let mut wrong = Wrong::read(&error, &text, &Values::of(&text));
                let Some(key) = wrong.key.as_deref().filter(|key| !is_known(key)) else { break };
                let is_about_a_key = is_about_a_key(cause(&error));
                wrong.place = values
                    .of_key(key)
                    .map(|value| if is_about_a_key { value.key_place } else { value.place });
                found.push(wrong);
            }
        }
    }
    let is_cut = found.len() == MOST;
    let told = lines(found);
    if is_cut { format!("{told}\nfurther errors are told once these are mended") } else { told }
}

/// The key of the mapping's entry in which a value stands: without the places in a list behind it.
fn of_mapping(key: &str) -> &str {
    let mut key = key;
    while let Some((before, _)) = key.strip_suffix(']').and_then(|inside| inside.rsplit_once('[')) {
        key = before;
    }
    key
}

/// Whether `key` is this other key, or one that leads there.
fn leads(key: &str, other: &str) -> bool {
    other.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Takes the entry of a key such as `select.include[0].port` away. Returns whether there was one.
fn remove(tree: &mut serde_json::Value, key: &str) -> bool {
    match tree {
        serde_json::Value::Object(mapping) => {
            // A name may have a dot in it.
            let names = mapping.keys().filter(|name| leads(name, key));
            let Some(name) = names.max_by_key(|name| name.len()).cloned() else { return false };
            match key.get(name.len()..).map(|rest| rest.trim_start_matches('.')) {
                Some("") => mapping.remove(&name).is_some(),
                Some(rest) => mapping.get_mut(&name).is_some_and(|value| remove(value, rest)),
                None => false,
            }
        }
        serde_json::Value::Array(items) => {
            let Some((index, rest)) = key.strip_prefix('[').and_then(|key| key.split_once(']')) else {
                return false;
            };
            let item = index.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            item.is_some_and(|item| remove(item, rest.trim_start_matches('.')))
        }
        _ => false,
    }
}

/// The error without what surrounds it.
fn cause(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => cause(error),
        error => error,
    }
}

/// Values that cannot be used: [`lines`].
pub(super) fn used(problems: &[Problem], text: &str) -> String {
    let values = Values::of(text);
    lines(problems.iter().map(|problem| Wrong::used(problem, &values)).collect())
}

/// Whether the error names its key, which is not the key of a value that begins there.
fn is_about_a_key(error: &Error) -> bool {
    matches!(error, Error::SerdeUnknownField { .. } | Error::DuplicateMappingKey { .. })
}

fn message(error: &Error, value: Option<&Value>) -> String {
    let text = value.and_then(|value| value.text.as_deref());
    let wrong = |allowed: &str| match text {
        Some("") => format!("the value is missing: {allowed} is expected"),
        Some(text) => format!("{text:?} is not {allowed}"),
        None => format!("{allowed} is expected here"),
    };
    match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown_key(field, expected),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` stands here twice"),
        Error::DuplicateMappingKey { key: None, .. } => "a key stands here twice".to_owned(),
        Error::InvalidScalar { ty: "boolean", .. } => match text {
            Some(text) if !text.is_empty() => format!("{text:?} is neither true nor false"),
            _ => wrong("true or false"),
        },
        Error::InvalidScalar { ty: "u64" | "usize", .. } => match text {
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{text} is too large")
            }
            _ => wrong(count_in_words(value)),
        },
        Error::InvalidScalar { ty, .. } => wrong(&in_words(ty)),
        Error::Unexpected { expected: "sequence start", .. } => match text {
            Some(text) if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !text.is_empty() => {
                format!("a list is expected here: [{text}]")
            }
            // Unquoted, `*` would be an alias.
            Some(text) if !text.is_empty() && !text.contains('\'') => {
                format!("a list is expected here: ['{text}']")
            }
            _ => "a list such as [a, b] is expected here".to_owned(),
        },
        Error::Unexpected { expected: "mapping start", .. } => wrong("a mapping of keys to values"),
        Error::Unexpected { .. } | Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => {
            "one value is expected here, neither a list nor a mapping".to_owned()
        }
        Error::SerdeUnknownVariant { expected, .. } => wrong(&format!("one of {}", expected.join(", "))),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            wrong(&in_words(expected))
        }
        Error::NullIntoString { .. } => "the value is missing: a text is expected".to_owned(),
        Error::Eof { .. } => "the file ends before a list or a mapping does".to_owned(),
        Error::MultipleDocuments { .. } => "the file holds a second document (---)".to_owned(),
        Error::UnknownAnchor { .. } => {
            "there is no anchor (&) for this alias (*); quote a text that begins with *".to_owned()
        }
        Error::Message { msg, .. } => allowed(msg).map_or_else(|| msg.clone(), |allowed| wrong(&allowed)),
        Error::ExternalMessage { msg, .. } => format!("this is not YAML: {msg}"),
        other => {
            let message = other.to_string();
            message.split(" at line ").next().unwrap_or(&message).to_owned()
        }
    }
}

/// What serde's message says is allowed, if it is about a type or a name.
fn allowed(message: &str) -> Option<String> {
    if !["invalid type: ", "invalid value: ", "unknown variant "]
        .iter()
        .any(|start| message.starts_with(start))
    {
        return None;
    }
    message.rsplit_once(", expected ").map(|(_, allowed)| in_words(&allowed.replace('`', "")))
}

/// A type of Rust or of the YAML reader, for people.
fn in_words(name: &str) -> String {
    let whole = |least: i128, most: u128| format!("a whole number from {least} to {most}");
    match name {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number".to_owned(),
        "floating point" => "a number".to_owned(),
        other if other.starts_with("struct ") => "a mapping of keys to values".to_owned(),
        other => other.to_owned(),
    }
}

/// What is allowed for a number without a bound that matters.
fn count_in_words(value: Option<&Value>) -> &'static str {
    /// Keys for which 0 is refused later.
    const AT_LEAST_ONE: [&str; 3] = ["limits.connections", "export.batch_spans", "export.queue_spans"];
    match value {
        Some(value) if AT_LEAST_ONE.contains(&value.key.as_str()) => "a whole number of at least 1",
        _ => "a whole number of at least 0",
    }
}

/// Says that a key is unknown, with the nearest one that is known.
fn unknown_key(unknown: &str, known: &[&str]) -> String {
    /// Most edits between a key and what may have been meant by it; a third of its letters at most, since any two
    /// short words are few edits apart.
    const NEAR: usize = 3;
    let most = NEAR.min(unknown.chars().count() / 3);
    let distance = |key: &&&str| strsim::damerau_levenshtein(key, unknown);
    match known.iter().min_by_key(distance).filter(|key| distance(key) <= most) {
        Some(key) => format!("unknown key `{unknown}`, did you mean `{key}`?"),
        None => format!("unknown key `{unknown}`, expected one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const PORTS: &str =
        "a port from 1 to 65535, a range such as 8080-8090, or a list such as [80, 8080-8090]";

    fn error(text: &str) -> String {
        Config::from_yaml(text, &|_| None).expect_err(text).to_string()
    }

    #[test]
    fn a_wrong_port_is_told_with_its_key_its_place_and_what_is_allowed() {
        for (port, expected) in [
            ("[abc]", "3:14: select.include[0].port[0]: \"abc\" is not a port"),
            ("[80, 70000]", "3:18: select.include[0].port[1]: there is no port 70000"),
            ("70000", "3:13: select.include[0].port: there is no port 70000"),
            ("-1", "3:13: select.include[0].port: there is no port -1"),
            ("\"80,x\"", "3:13: select.include[0].port: \"80,x\": \"x\" is not a port"),
            ("8090-8080", "3:13: select.include[0].port: the range 8090-8080 ends before it begins"),
            (
                "80-90-100",
                "3:13: select.include[0].port: \"80-90-100\" is not a range: \"90-100\" is not a port",
            ),
            ("1.5", "3:13: select.include[0].port: there is no port 1.5"),
            ("yes", "3:13: select.include[0].port: true is not a port"),
        ] {
            let text = format!("select:\n  include:\n    - port: {port}\n");
            assert_eq!(error(&text), format!("{expected}; allowed is {PORTS}"));
        }
        let mapping = error("propagation:\n  http_ports: {a: 1}\n");
        assert_eq!(mapping, format!("2:15: propagation.http_ports: {PORTS} is expected here"));
    }

    #[test]
    fn ports_are_one_a_range_or_a_list_in_every_key() {
        for port in
            ["8080", "\"8080\"", "8080-8090", "80,8080", "[8080]", "[\"80\", 8080-8090]", "[80, '8080,90']"]
        {
            let text = format!(
                "select: {{include: [{{port: {port}}}], exclude: [{{port: {port}}}]}}\npropagation: {{http_ports: {port}}}\n"
            );
            // A comma ends a value within braces.
            let text = if port == "80,8080" { text.replace(port, "'80,8080'") } else { text };
            let config = Config::from_yaml(&text, &|_| None).expect(&text);
            let lists = [
                &config.select.include[0].port,
                &config.select.exclude[0].port,
                &config.propagation.http_ports,
            ];
            assert!(lists.into_iter().all(|ports| ports.contains(8080) && !ports.contains(9000)), "{text}");
        }
    }

    #[test]
    fn a_wrong_type_is_told_with_its_key_its_place_and_what_is_allowed() {
        for (text, expected) in [
            (
                "select:\n  include:\n    - pid: many\n",
                "3:12: select.include[0].pid: \"many\" is not a whole number from 0 to 4294967295",
            ),
            (
                "select:\n  include:\n    - pid: [many]\n",
                "3:13: select.include[0].pid[0]: \"many\" is not a whole number from 0 to 4294967295",
            ),
            (
                "select:\n  include:\n    - exe: {a: b}\n",
                "3:12: select.include[0].exe: one value or a list such as [a, b] is expected here",
            ),
            ("select:\n  include: 5\n", "2:12: select.include: a list is expected here: [5]"),
            (
                "links:\n  headers: b4\n",
                "2:12: links.headers: \"b4\" is not one of b3, jaeger, datadog, xray, x-request-id",
            ),
            ("select: 5\n", "1:9: select: \"5\" is not a mapping of keys to values"),
            (
                "limits:\n  connections: 99999999999999999999999\n",
                "2:16: limits.connections: 99999999999999999999999 is too large",
            ),
            (
                "limits:\n  connections: -1\n",
                "2:16: limits.connections: \"-1\" is not a whole number of at least 1",
            ),
            (
                "limits:\n  connections: 0\n",
                "2:16: limits.connections: \"0\" is not a whole number of at least 1",
            ),
            (
                "limits:\n  ring: 8MB\n",
                "2:9: limits.ring: \"8MB\" is not a size such as 65536 (bytes), 64KiB, 8MiB or 1GiB",
            ),
            (
                "limits: {connections: [1]}\n",
                "1:23: limits.connections: one value is expected here, neither a list nor a mapping",
            ),
            (
                "limits:\n  connections: \n",
                "2:14: limits.connections: the value is missing: a whole number of at least 1 is expected",
            ),
            (
                "limits:\n  exchange_timeout: soon\n",
                "2:21: limits.exchange_timeout: \"soon\" is not a time such as 500ms, 5s, 5m or 1h",
            ),
            ("record_raw: maybe\n", "1:13: record_raw: \"maybe\" is neither true nor false"),
            ("sampling:\n  ratio: half\n", "2:10: sampling.ratio: \"half\" is not a number"),
            ("sampling:\n  ratio: 2\n", "2:10: sampling.ratio: 2 is not between 0 and 1"),
            (
                "export:\n  protocol: smoke\n",
                "2:13: export.protocol: \"smoke\" is not one of grpc, http/protobuf, http/json",
            ),
            ("propagation:\n  mode: on\n", "2:9: propagation.mode: \"on\" is not one of off, headers"),
            ("output: text\noutput: json\n", "2:1: the key `output` stands here twice"),
            (
                "export: &a {endpoint: x}\nlimits: *a\n",
                "1:13: unknown key `endpoint`, expected one of ring, connections, message_memory, exchange_timeout, shutdown",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn the_nearest_key_is_offered_only_if_it_may_have_been_meant() {
        for (text, meant) in [
            ("limit: 1\n", Some("limits")),
            ("export: {endponit: a}\n", Some("endpoint")),
            ("export: {end_point: a}\n", Some("endpoint")),
            ("select: {include: [{pids: [1]}]}\n", Some("pid")),
            ("select: {include: [{name: a}]}\n", None),
            ("select: {include: [{cmd: a}]}\n", None),
            ("select: {include: [{user: a}]}\n", None),
            ("debug: true\n", None),
            ("sink: a\n", None),
            ("logs: a\n", Some("log")),
        ] {
            let error = error(text);
            match meant {
                Some(key) => assert!(error.ends_with(&format!("did you mean `{key}`?")), "{text}{error}"),
                None => assert!(error.contains(", expected one of "), "{text}{error}"),
            }
        }
    }

    #[test]
    fn what_is_not_yaml_is_told_with_the_nearest_key() {
        for (text, expected) in [
            ("export:\n\tendpoint: a\n", "2:2: near `export`: this is not YAML: tabs disallowed"),
            ("export:\n  endpoint: \"a\n", "2:13: near `endpoint`: this is not YAML: unclosed quote"),
            ("export:\n  endpoint: *a\n", "2:13: near `endpoint`: there is no anchor (&) for this alias (*)"),
            ("select: [\n", "1:9: near `select`: a mapping of keys to values is expected here"),
            ("- a\n", "1:1: a mapping of keys to values is expected here"),
        ] {
            assert!(error(text).starts_with(expected), "{text}{}", error(text));
        }
    }

    #[test]
    fn every_error_of_a_file_is_told() {
        let text = "limit: 1\nlimits:\n  ring: big\n  connections: 0\nselect:\n  include:\n    - port: [80, abc]\n    - pid: [many]\n      exe: '[x'\nexport: {endponit: a, protocol: smoke}\noutput: loud\n";
        let error = error(text);
        let lines: Vec<&str> = error.lines().collect();
        for (line, expected) in lines.iter().zip([
            "1:1: unknown key `limit`, did you mean `limits`?",
            "3:9: limits.ring: \"big\" is not a size",
            "4:16: limits.connections: \"0\" is not a whole number of at least 1",
            "7:18: select.include[0].port[1]: \"abc\" is not a port",
            "8:13: select.include[1].pid[0]: \"many\" is not a whole number",
            "9:12: select.include[1].exe[0]: \"[x\": ",
            "10:10: unknown key `endponit`, did you mean `endpoint`?",
            "10:33: export.protocol: \"smoke\" is not one of",
            "11:9: output: \"loud\" is not one of",
        ]) {
            assert!(line.starts_with(expected), "{line}\n{error}");
        }
        assert_eq!(lines.len(), 9, "{error}");
    }

    #[test]
    fn names_with_dots_hide_no_errors_and_more_than_can_be_told_are_said_to_be_there() {
        let text = "resource_attributes: {host.name: [1]}\nexport: {headers: {x.y: {a: 1}}}\noutput: loud\n";
        let told = error(text);
        let lines: Vec<&str> = told.lines().collect();
        for (line, expected) in lines.iter().zip([
            "1:34: resource_attributes.host.name: ",
            "2:25: export.headers.x.y: ",
            "3:9: output: \"loud\" is not one of",
        ]) {
            assert!(line.starts_with(expected), "{told}");
        }
        assert_eq!(lines.len(), 3, "{told}");
        let many: String = (0..1000).map(|number| format!("unknown{number}: 1\n")).collect();
        let told = error(&many);
        assert_eq!(told.lines().count(), 65);
        assert!(told.ends_with("\nfurther errors are told once these are mended"), "{told}");
    }

    #[test]
    fn every_value_that_cannot_be_used_is_told_with_its_place_in_the_order_of_the_file() {
        let text = "limits:\n  ring: 3MiB\nselect:\n  include:\n    - exe: ['[x']\n    - {}\nexport:\n  endpoint: https://a\n";
        let error = error(text);
        let lines: Vec<&str> = error.lines().collect();
        for (line, expected) in lines.iter().zip([
            "2:9: limits.ring: the size must be a power of two",
            "5:13: select.include[0].exe[0]: \"[x\": ",
            "6:7: select.include[1]: a rule needs at least one of",
            "8:13: export.endpoint: \"https://a\": TLS is not supported yet",
        ]) {
            assert!(line.starts_with(expected), "{line}");
        }
        assert_eq!(lines.len(), 4, "{error}");
    }
}
