//! Values that another version of the agent has written as JSON.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Reads what can be read. A key that is unknown, or whose value this version does not take, keeps its default; the
/// second part tells which keys those are.
pub fn lenient<T: Default + Serialize + DeserializeOwned>(recorded: &Value) -> (T, Vec<String>) {
    if let Ok(value) = T::deserialize(recorded) {
        return (value, Vec::new());
    }
    let mut ignored = Vec::new();
    let mut accepted = serde_json::to_value(T::default()).unwrap_or_default();
    merge::<T>(&mut accepted, recorded, &mut Vec::new(), &mut ignored);
    (T::deserialize(&accepted).unwrap_or_default(), ignored)
}

/// Takes over the keys of `recorded` one by one; `path` leads to them.
fn merge<T: DeserializeOwned>(
    accepted: &mut Value,
    recorded: &Value,
    path: &mut Vec<String>,
    ignored: &mut Vec<String>,
) {
    let Value::Object(members) = recorded else {
        ignored.push(if path.is_empty() { "everything".to_owned() } else { path.join(".") });
        return;
    };
    for (key, value) in members {
        path.push(key.clone());
        let mut candidate = accepted.clone();
        let is_taken = put(&mut candidate, path, value) && T::deserialize(&candidate).is_ok();
        if is_taken {
            *accepted = candidate;
        } else if value.is_object() && is_object(accepted, path) {
            merge::<T>(accepted, value, path, ignored);
        } else {
            ignored.push(path.join("."));
        }
        path.pop();
    }
}

/// Sets the value at a path; its last key may be new.
fn put(root: &mut Value, path: &[String], value: &Value) -> bool {
    let Some((last, above)) = path.split_last() else { return false };
    let place = above.iter().try_fold(root, |place, key| place.get_mut(key));
    match place {
        Some(Value::Object(members)) => {
            members.insert(last.clone(), value.clone());
            true
        }
        _ => false,
    }
}

fn is_object(root: &Value, path: &[String]) -> bool {
    path.iter().try_fold(root, |place, key| place.get(key)).is_some_and(Value::is_object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{config::Config, process::facts::ProcessFacts};

    #[test]
    fn keys_of_other_versions_are_ignored_and_told() {
        let mut recorded = serde_json::to_value(Config::default()).expect("JSON");
        recorded["limits"]["connections"] = json!(77);
        recorded["limits"]["removed_limit"] = json!("5s");
        recorded["output"] = json!("a format of the future");
        recorded["future"] = json!({ "a": 1 });
        recorded["links"]["sole_request"] = json!(false);
        let (config, ignored) = lenient::<Config>(&recorded);
        assert_eq!((config.limits.connections, config.links.sole_request), (77, false));
        assert_eq!(config.output, Config::default().output);
        assert_eq!(ignored, ["output", "limits.removed_limit", "future"]);
    }

    #[test]
    fn this_versions_values_are_read_whole_and_no_object_is_the_default() {
        let config = Config { record_raw: true, ..Config::default() };
        let (read, ignored) = lenient::<Config>(&serde_json::to_value(&config).expect("JSON"));
        assert_eq!((read, ignored), (config, Vec::new()));
        let (read, ignored) = lenient::<Config>(&json!("text"));
        assert_eq!((read, ignored), (Config::default(), vec!["everything".to_owned()]));
        let (facts, ignored) = lenient::<ProcessFacts>(&json!({ "pid": 5, "exe": 3 }));
        assert_eq!((facts.pid, facts.exe.as_str(), ignored), (5, "", vec!["exe".to_owned()]));
    }
}
