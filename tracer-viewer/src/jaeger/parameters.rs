//! Query parameters, as Go's `url.Values` has them.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Parameters of a query, each possibly several times.
pub(super) struct Values<'query>(Vec<(Cow<'query, str>, Cow<'query, str>)>);

impl<'query> Values<'query> {
    pub(super) fn new(query: Option<&'query str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect())
    }

    /// The first value of a name. An empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// The first value of one of several names: the first is the newest, the others are older.
    pub(super) fn get_any(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    /// Every value of a name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| &**value)
    }
}

/// Tags of `tag=key:value` and `tags={"key":"value"}`, which may be repeated. The last value of a key counts.
pub(super) fn tags(values: &Values<'_>) -> Result<Vec<(String, String)>, String> {
    let mut tags = Map::new();
    for tag in values.all("tag") {
        let Some((key, value)) = tag.split_once(':') else {
            return Err(format!("malformed 'tag' parameter, expecting key:value, received: {tag}"));
        };
        tags.insert(key.to_owned(), value.into());
    }
    for text in values.all("tags") {
        tags.extend(json_tags(text).or_else(|error| pairs(text).ok_or(error))?);
    }
    let as_text = |(key, value)| match value {
        Value::String(value) => (key, value),
        other => (key, other.to_string()),
    };
    Ok(tags.into_iter().map(as_text).collect())
}

/// An object of strings.
pub(super) fn json_tags(text: &str) -> Result<Map<String, Value>, String> {
    let wrong =
        |why: &dyn std::fmt::Display| format!("malformed 'tags' parameter, cannot unmarshal JSON: {why}");
    let tags: Map<String, Value> = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    let text = |(key, value)| match value {
        Value::String(_) => Ok((key, value)),
        // As Go reads it into a string.
        Value::Null => Ok((key, String::new().into())),
        _ => Err(wrong(&format!("{value} is not a string"))),
    };
    tags.into_iter().map(text).collect()
}

/// `key=value key="value with blanks"`, as people type tags. None if it is something else.
fn pairs(text: &str) -> Option<Map<String, Value>> {
    let mut tags = Map::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        if key.is_empty() || key.contains(|char: char| char.is_whitespace() || "{}\"".contains(char)) {
            return None;
        }
        let value;
        (value, rest) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        tags.insert(key.to_owned(), value.into());
        rest = rest.trim_start();
    }
    (!tags.is_empty()).then_some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags_of(query: &str) -> Result<Vec<(String, String)>, String> {
        tags(&Values::new(Some(query)))
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn tags_come_in_three_forms() {
        assert_eq!(tags_of("tag=a:b:c&tag=d:e"), Ok(vec![pair("a", "b:c"), pair("d", "e")]));
        assert_eq!(tags_of("tags=%7B%22a%22%3A%22b%22%7D"), Ok(vec![pair("a", "b")]));
        assert_eq!(tags_of("tags=a%3Db+c%3D%22d+e%22"), Ok(vec![pair("a", "b"), pair("c", "d e")]));
        assert_eq!(tags_of("tag=a:1&tags=%7B%22a%22%3A%222%22%7D"), Ok(vec![pair("a", "2")]));
        assert_eq!(tags_of("tags=%7B%22a%22%3Anull%7D"), Ok(vec![pair("a", "")]));
        assert_eq!(tags_of(""), Ok(Vec::new()));
    }

    #[test]
    fn wrong_tags_are_said_as_jaeger_says_them() {
        let error = tags_of("tag=a").expect_err("it has no value");
        assert_eq!(error, "malformed 'tag' parameter, expecting key:value, received: a");
        for wrong in
            ["tags=%7B", "tags=%7B%22a%22%3A1%7D", "tags=x", "tags=%22a%22=1", "tags=a=%22b", "tags=%3D"]
        {
            let error = tags_of(wrong).expect_err(wrong);
            assert!(
                error.starts_with("malformed 'tags' parameter, cannot unmarshal JSON: "),
                "{wrong}: {error}"
            );
        }
    }

    #[test]
    fn an_empty_value_is_none_and_the_newest_name_wins() {
        let values = Values::new(Some("a=&b=2&c=3&c=4"));
        assert_eq!(values.get("a"), None);
        assert_eq!(values.get("c"), Some("3"));
        assert_eq!(values.get_any(&["a", "b", "c"]), Some(("b", "2")));
    }
}
