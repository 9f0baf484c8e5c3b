//! The configuration reference, made from the code.

#![forbid(unsafe_code)]

use serde_json::Value;

use super::{
    Config,
    environment::{VARIABLES, Variable},
};

/// The JSON Schema of a configuration file.
pub fn schema() -> String {
    serde_json::to_string_pretty(&Config::schema()).unwrap_or_default() + "\n"
}

/// The reference, as Markdown.
pub fn markdown() -> String {
    let schema = Config::schema();
    let mut text = "# Configuration\n\n\
        Made by `tracer config reference`; do not edit. A YAML file comes first, then environment\n\
        variables (listed below), then flags. A value of an `OTEL_*` variable that cannot be honoured is a warning,\n\
        since the variable may be meant for the traced program; a wrong value elsewhere is an error (exit code 2).\n\
        `${env:NAME}` and `${env:NAME:-default}` in the file are replaced by variables, `$$` is a dollar sign. Times are\n\
        written `500ms`, `5s`, `5m`, `1h`; sizes `64KiB`, `8MiB`. A key that takes a list takes one value too. An unknown\n\
        key is an error.\n\n\
        | key | default | meaning |\n|---|---|---|\n"
        .to_owned();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    rows(&schema, &schema, "", &defaults, &mut text);
    text + &variables()
}

/// The environment variables, and the keys that they set.
fn variables() -> String {
    let mut text = "\n## Environment variables\n\n\
        A flag overrides a variable, and a variable overrides the file. Other `OTEL_*` variables have no effect here.\n\n\
        | variable | sets |\n|---|---|\n"
        .to_owned();
    for Variable { name, key, unless, .. } in VARIABLES {
        let unless = unless.map(|other| format!(", unless `{other}` is set")).unwrap_or_default();
        text += &format!("| `{name}` | `{key}`{unless} |\n");
    }
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

/// Most entries of a list that are all shown.
const SHOWN: usize = 12;
/// Entries that are shown of a longer one.
const FIRST: usize = 4;

fn shown(default: &Value) -> String {
    match default {
        Value::Null => String::new(),
        Value::Array(list) if list.len() > SHOWN => {
            let first: Vec<String> = list.iter().take(FIRST).map(Value::to_string).collect();
            format!("`[{},…]` ({} entries)", first.join(","), list.len())
        }
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
    fn defaults_are_shown_the_first_of_a_long_list_with_its_length() {
        let numbers = |count: u32| Value::from((0..count).collect::<Vec<_>>());
        assert_eq!(shown(&numbers(12)), "`[0,1,2,3,4,5,6,7,8,9,10,11]`");
        assert_eq!(shown(&numbers(13)), "`[0,1,2,3,…]` (13 entries)");
        assert_eq!(shown(&numbers(0)), "`[]`");
    }

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
