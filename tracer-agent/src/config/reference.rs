//! The configuration reference, made from the code.

#![forbid(unsafe_code)]

use serde_json::Value;

use crate::config::Config;

/// The JSON Schema of a configuration file.
pub fn schema() -> String {
    serde_json::to_string_pretty(&Config::schema()).unwrap_or_default() + "\n"
}

/// The reference, as Markdown.
pub fn markdown() -> String {
    let schema = Config::schema();
    let mut text = "# Configuration\n\n\
        Made by `tracer config reference`; do not edit. A YAML file comes first, then environment\n\
        variables (`OTEL_*`, `TRACER_LINKS_HEADERS`, `TRACER_LOG`, `TRACER_OUTPUT`, `TRACER_PROPAGATION`,\n\
        `TRACER_SDK`, `TRACER_SOCKET`), then flags. A value of an `OTEL_*` variable that cannot be honoured is a\n\
        warning, since the variable may be meant for the traced program; a wrong value elsewhere is an error (exit\n\
        code 2). `${env:NAME}` and `${env:NAME:-default}` in the file are replaced by variables, `$$`\n\
        is a dollar sign. Times are written `500ms`, `5s`, `5m`, `1h`; sizes `64KiB`, `8MiB`. An unknown key\n\
        is an error.\n\n\
        | key | default | meaning |\n|---|---|---|\n"
        .to_owned();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    rows(&schema, &schema, "", &defaults, &mut text);
    text
}

fn rows(root: &Value, object: &Value, prefix: &str, defaults: &Value, text: &mut String) {
    let Some(properties) = object["properties"].as_object() else { return };
    for (name, property) in properties {
        let key = format!("{prefix}{name}");
        let resolved = resolve(root, property);
        let meaning =
            property["description"].as_str().or(resolved["description"].as_str()).unwrap_or_default();
        let default = &defaults[name];
        if resolved["properties"].is_object() {
            rows(root, resolved, &format!("{key}."), default, text);
            continue;
        }
        let items = resolve(root, &resolved["items"]);
        if items["properties"].is_object() {
            *text += &format!("| `{key}` | {} | {} |\n", shown(default), one_line(meaning));
            rows(root, items, &format!("{key}[]."), &Value::Null, text);
            continue;
        }
        *text += &format!("| `{key}` | {} | {} |\n", shown(default), one_line(meaning));
    }
}

/// Follows a reference, also inside of `allOf` and `anyOf`.
fn resolve<'a>(root: &'a Value, property: &'a Value) -> &'a Value {
    if let Some(path) = property["$ref"].as_str() {
        return root.pointer(path.trim_start_matches('#')).unwrap_or(property);
    }
    for list in ["allOf", "anyOf"] {
        if let Some(first) = property[list].as_array().and_then(|parts| parts.first())
            && first["$ref"].is_string()
        {
            return resolve(root, first);
        }
    }
    property
}

fn shown(default: &Value) -> String {
    match default {
        Value::Null => String::new(),
        Value::Array(list) if list.len() > 4 => format!("{} entries", list.len()),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_that_of_the_code() {
        for (path, made) in
            [("../docs/configuration.md", markdown()), ("../docs/config.schema.json", schema())]
        {
            let committed = std::fs::read_to_string(path).unwrap_or_default();
            assert!(committed == made, "{path} is old: run `cargo xtask docs`");
        }
    }
}
