//! TCP ports as people write them: one, a range, or a list of both.

#![forbid(unsafe_code)]

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
    ser::SerializeSeq,
};

/// What a port must look like on the command line.
const ALLOWED_IN_FLAGS: &str = "a port from 1 to 65535, a range such as 8080-8090, or a list such as 80,443";
/// What a port must look like in the configuration file.
const ALLOWED: &str = "a port from 1 to 65535, a range such as 8080-8090, or a list such as [80, 8080-8090]";

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PortRange {
    first: u16,
    last: u16,
}

/// TCP ports: `8080`, `"8080"`, `8080-8090`, `"80,5432"`, or a list of such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(Vec<PortRange>);

impl Ports {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `port` is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| (range.first..=range.last).contains(&port))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|range| range.first..=range.last)
    }

    /// Each port or range as text.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(PortRange::to_string).collect()
    }

    /// Adds others.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// Reads a text; `allowed` is told if it is wrong.
    fn of_text(text: &str, allowed: &str) -> Result<Self, String> {
        let mut ports = Self::default();
        ports.add_text(text, allowed)?;
        Ok(ports)
    }

    /// Adds what a text names.
    fn add_text(&mut self, text: &str, allowed: &str) -> Result<(), String> {
        for item in text.split(',') {
            let wrong = |wrong: String| {
                let whole = if item == text { String::new() } else { format!("{text:?}: ") };
                format!("{whole}{wrong}; allowed is {allowed}")
            };
            self.0.push(range(item.trim()).map_err(wrong)?);
        }
        Ok(())
    }

    fn add_number(&mut self, number: i128) -> Result<(), String> {
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| format!("there is no port {number}; allowed is {ALLOWED}"))?;
        self.0.push(PortRange { first: port, last: port });
        Ok(())
    }
}

/// One port or a range.
fn range(text: &str) -> Result<PortRange, String> {
    let port = |text: &str| -> Result<u16, String> {
        let text = text.trim();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(port) if port > 0 && is_number => Ok(port),
            _ if is_number => Err(format!("there is no port {text}")),
            _ => Err(format!("{text:?} is not a port")),
        }
    };
    let Some((first, last)) = text.split_once('-') else {
        return port(text).map(|port| PortRange { first: port, last: port });
    };
    let wrong = |error: String| format!("{text:?} is not a range: {error}");
    let (first, last) = (port(first).map_err(wrong)?, port(last).map_err(wrong)?);
    if first > last {
        return Err(format!("the range {text} ends before it begins"));
    }
    Ok(PortRange { first, last })
}

impl<const N: usize> From<[u16; N]> for Ports {
    fn from(ports: [u16; N]) -> Self {
        Self(ports.map(|port| PortRange { first: port, last: port }).to_vec())
    }
}

/// As a flag names them.
impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::of_text(text, ALLOWED_IN_FLAGS)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for range in &self.0 {
            if range.first == range.last {
                list.serialize_element(&range.first)?;
            } else {
                list.serialize_element(&range.to_string())?;
            }
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortsVisitor)
    }
}

/// Takes numbers, texts, and lists of them.
struct PortsVisitor;

impl<'de> Visitor<'de> for PortsVisitor {
    type Value = Ports;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALLOWED)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Ports, E> {
        let mut ports = Ports::default();
        ports.add_number(number.into()).map_err(E::custom)?;
        Ok(ports)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Ports, E> {
        let mut ports = Ports::default();
        ports.add_number(number.into()).map_err(E::custom)?;
        Ok(ports)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Ports, E> {
        Err(E::custom(format!("there is no port {number}; allowed is {ALLOWED}")))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Ports, E> {
        Err(E::custom(format!("{value} is not a port; allowed is {ALLOWED}")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Ports, E> {
        Ports::of_text(text, ALLOWED).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ports, A::Error> {
        let mut ports = Ports::default();
        while let Some(item) = list.next_element::<Ports>()? {
            ports.extend(&item);
        }
        Ok(ports)
    }
}

impl JsonSchema for Ports {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Ports".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = serde_json::json!([
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": "^\\s*\\d+\\s*(-\\s*\\d+\\s*)?(,\\s*\\d+\\s*(-\\s*\\d+\\s*)?)*$"},
        ]);
        json_schema!({"anyOf": [{"type": "array", "items": {"anyOf": one}}, one[0], one[1]]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_a_range_or_a_list() {
        for (text, expected) in [
            ("8080", &[8080][..]),
            ("80-82", &[80, 81, 82]),
            ("80,5432", &[80, 5432]),
            (" 80 , 90 - 91 ", &[80, 90, 91]),
            ("65535-65535", &[65535]),
        ] {
            let ports: Ports = text.parse().expect(text);
            assert_eq!(ports.iter().collect::<Vec<_>>(), expected);
            assert!(expected.iter().all(|port| ports.contains(*port)) && !ports.contains(1));
        }
        assert_eq!("1-65535".parse::<Ports>().map(|ports| ports.iter().count()), Ok(65535));
    }

    #[test]
    fn what_is_no_port_is_said_to_be_so_with_what_is_allowed() {
        for (text, wrong) in [
            ("70000", "there is no port 70000"),
            ("0", "there is no port 0"),
            ("abc", "\"abc\" is not a port"),
            ("90-80", "the range 90-80 ends before it begins"),
            ("80-", "\"\" is not a port"),
            ("", "\"\" is not a port"),
            ("80,,90", "\"\" is not a port"),
            ("-1", "\"\" is not a port"),
            ("+80", "\"+80\" is not a port"),
            ("80-90-95", "\"90-95\" is not a port"),
        ] {
            let error = text.parse::<Ports>().expect_err(text);
            assert!(error.contains(wrong) && error.contains("a range such as 8080-8090"), "{error}");
        }
    }

    #[test]
    fn single_ports_are_written_as_numbers() {
        let ports: Ports = "80,8080-8090".parse().expect("valid");
        let json = serde_json::to_value(&ports).expect("serializable");
        assert_eq!(json, serde_json::json!([80, "8080-8090"]));
        assert_eq!(serde_json::from_value::<Ports>(json).expect("readable"), ports);
        for wrong in [serde_json::json!(70000), serde_json::json!([1.5]), serde_json::json!({"a": 1})] {
            let error = serde_json::from_value::<Ports>(wrong).expect_err("wrong").to_string();
            assert!(error.contains("a port from 1 to 65535"), "{error}");
        }
    }
}
