//! Where the keys and values of a YAML text stand.

#![forbid(unsafe_code)]

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

/// Line and column in a text, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    line: u64,
    column: u64,
}

impl From<&Location> for Place {
    fn from(location: &Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

impl Place {
    /// The last key in the text before this place.
    pub(super) fn last_key<'a>(&self, text: &'a str) -> Option<&'a str> {
        let lines = usize::try_from(self.line).ok()?;
        let before = usize::try_from(self.column).ok()?.checked_sub(1)?;
        let mut lines: Vec<&str> = text.lines().take(lines).collect();
        let last = lines.pop()?;
        lines.push(last.char_indices().nth(before).map_or(last, |(end, _)| &last[..end]));
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
        lines.into_iter().rev().find_map(|line| {
            let key = line.rsplit_once(':')?.0.rsplit(|c| !is_key(c)).next()?;
            (!key.is_empty()).then_some(key)
        })
    }
}

/// `LINE:COLUMN`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value of a YAML text.
#[derive(Debug)]
pub(super) struct Value {
    /// The key that leads to it, such as `select.include[0].port`; empty at the top.
    pub(super) key: String,
    /// Where the last part of the key begins, or the item of a list.
    pub(super) key_place: Place,
    /// Where the value begins.
    pub(super) place: Place,
    /// As it is written, without quotes, if it is neither a list nor a mapping.
    pub(super) text: Option<String>,
}

/// The values of a YAML text, each before those within it.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<Value>);

impl Values {
    /// Those of a text; none if it is no YAML.
    pub(super) fn of(text: &str) -> Self {
        let mut values = Self::default();
        if let Ok(top) = serde_saphyr::from_str::<Spanned<Node>>(text) {
            values.add(String::new(), &top.referenced, &top, text);
        }
        values
    }

    fn add(&mut self, key: String, key_place: &Location, node: &Spanned<Node>, whole: &str) {
        let text = matches!(node.value, Node::Scalar).then(|| written(&node.referenced, whole));
        let (key_place, place) = (key_place.into(), (&node.referenced).into());
        self.0.push(Value { key: key.clone(), key_place, place, text });
        match &node.value {
            Node::Scalar => {}
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add(format!("{key}[{index}]"), &item.referenced, item, whole);
                }
            }
            Node::Mapping(entries) => {
                for (name, value) in entries {
                    let key =
                        if key.is_empty() { name.value.clone() } else { format!("{key}.{}", name.value) };
                    self.add(key, &name.referenced, value, whole);
                }
            }
        }
    }

    /// The outermost value that begins there.
    pub(super) fn at(&self, place: Place) -> Option<&Value> {
        self.0.iter().find(|value| value.place == place && !value.key.is_empty())
    }

    /// The key that ends in a name and stands at a place, or the first one behind it.
    pub(super) fn named(&self, name: &str, place: Place) -> Option<String> {
        let is_named =
            |value: &&Value| value.key.rsplit('.').next() == Some(name) && value.key_place >= place;
        self.0.iter().filter(is_named).min_by_key(|value| value.key_place).map(|value| value.key.clone())
    }

    /// The value of a key, or of the nearest key that leads there.
    pub(super) fn of_key(&self, key: &str) -> Option<&Value> {
        let leads = |value: &&Value| {
            key.strip_prefix(value.key.as_str())
                .is_some_and(|rest| rest.is_empty() || value.key.is_empty() || rest.starts_with(['.', '[']))
        };
        self.0.iter().filter(leads).max_by_key(|value| value.key.len())
    }
}

/// What is written there, without quotes.
fn written(location: &Location, whole: &str) -> String {
    let span = location.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(from, length)| {
        let from = usize::try_from(from).ok()?;
        Some(from..from.checked_add(usize::try_from(length).ok()?)?)
    });
    let text = range.and_then(|range| whole.get(range)).unwrap_or_default().trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    unquoted.unwrap_or(text).to_owned()
}

/// A node of YAML.
enum Node {
    Scalar,
    List(Vec<Spanned<Node>>),
    Mapping(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = mapping.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "select:\n  include:\n    - port: [80, 'x']\n      exe: a\n    - pid: 5\nlog: {level: on}\n";

    #[test]
    fn a_key_is_found_by_its_place_and_the_other_way_round() {
        let values = Values::of(TEXT);
        for (key, line, column, text) in [
            ("select.include[0].port", 3, 13, None),
            ("select.include[0].port[1]", 3, 18, Some("x")),
            ("select.include[0].exe", 4, 12, Some("a")),
            ("select.include[1].pid", 5, 12, Some("5")),
            ("log.level", 6, 14, Some("on")),
        ] {
            let value = values.of_key(key).expect(key);
            assert_eq!((value.place, value.text.as_deref()), (Place { line, column }, text), "{key}");
            assert_eq!(values.at(value.place).map(|value| value.key.as_str()), Some(key));
        }
        assert_eq!(values.of_key("select.include[1].service_name").expect("near").key, "select.include[1]");
        assert_eq!(values.of_key("limits.ring").expect("near").key, "");
        assert!(Values::of("a: [").of_key("a").is_none());
    }
}
