//! Which requests get trace headers: the operator's word.

#![forbid(unsafe_code)]

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kernel::propagation::{PropagationPlan, ProxiedHost},
    one_or_list,
    ports::Ports,
};

/// Whether requests get trace headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No byte of any stream is changed.
    #[default]
    Off,
    /// A `traceparent` is added to the HTTP/1 requests that traced processes send.
    Headers,
}

/// Trace headers in the requests that traced processes send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PropagationConfig {
    /// `off`, or `headers`: a `traceparent` is added to the HTTP/1 requests that traced processes send.
    /// `tracer run` turns it on if nothing is said.
    pub mode: Option<Mode>,
    /// Address ranges that headers may go to, besides this host itself. The narrowest range decides.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<Range>")]
    pub allow: Vec<Range>,
    /// Address ranges that headers must not go to. Requests of a host to its own addresses are exempt.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<Range>")]
    pub deny: Vec<Range>,
    /// Hosts that a request may name in its target (`GET http://HOST:PORT/`), as it is sent to a forward proxy: `HOST` or
    /// `HOST:PORT`, as the target spells it. Requests that name any other host get no header, because the proxy passes
    /// the header on to that host.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<Host>")]
    pub proxied_hosts: Vec<Host>,
    /// Ports that speak HTTP/1 from the first connection on: `8080`, `8080-8090`, or a list of such. Others are
    /// learned from traffic. Requests of blocking sockets get headers only to such ports, and on kernels with a wrong
    /// FIONREAD all requests do (`traces.md`).
    pub http_ports: Ports,
}

impl Default for PropagationConfig {
    fn default() -> Self {
        let v4 = |a, b, length| Range { address: Ipv4Addr::new(a, b, 0, 0).into(), length };
        let v6 = |first, length| Range { address: Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0).into(), length };
        Self {
            mode: None,
            // Loopback, private and link-local: RFC 6890, RFC 6598.
            allow: vec![
                v4(127, 0, 8),
                v4(10, 0, 8),
                v4(172, 16, 12),
                v4(192, 168, 16),
                v4(169, 254, 16),
                v4(100, 64, 10),
                Range { address: Ipv6Addr::LOCALHOST.into(), length: 128 },
                v6(0xfc00, 7),
                v6(0xfe80, 10),
            ],
            deny: Vec::new(),
            proxied_hosts: Vec::new(),
            http_ports: [80, 3000, 5000, 8000, 8080, 8081, 8888, 9000].into(),
        }
    }
}

impl PropagationConfig {
    /// Whether requests get headers.
    pub fn is_on(&self) -> bool {
        self.mode == Some(Mode::Headers)
    }

    /// What the kernel programs need to know; none if no request gets a header.
    pub fn plan(&self) -> Option<PropagationPlan> {
        let ranges = |list: &[Range], allowed: bool| -> Vec<(IpAddr, u8, bool)> {
            list.iter().map(|range| (range.address, range.length, allowed)).collect()
        };
        self.is_on().then(|| PropagationPlan {
            // Of the same range in both, the denial stays.
            destinations: [ranges(&self.allow, true), ranges(&self.deny, false)].concat(),
            proxied_hosts: self.proxied_hosts.iter().map(|host| host.0.clone()).collect(),
            http_ports: self.http_ports.iter().collect(),
        })
    }
}

/// A range of addresses, `ADDRESS/LENGTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Range {
    address: IpAddr,
    length: u8,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a range of addresses, such as 10.0.0.0/8 or 2001:db8::/32");
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(most), |length| length.parse().map_err(|_| wrong()))?;
        if length > most { Err(wrong()) } else { Ok(Self { address, length }) }
    }
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

/// A host that a forward proxy may pass headers on to: `HOST` or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Host(ProxiedHost);

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ProxiedHost::new(text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a host, such as api.internal or api.internal:8080"))
    }
}

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written() {
        for text in ["10.0.0.0/8", "::1/128", "fe80::/10"] {
            assert_eq!(text.parse::<Range>().expect("a range").to_string(), text);
        }
        assert_eq!("192.0.2.7".parse::<Range>().expect("one address").to_string(), "192.0.2.7/32");
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/", "1.2.3.4/-1"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_read_as_targets_spell_them() {
        let host: Host = "API.internal:8080".parse().expect("a host");
        assert_eq!(String::from(host), "api.internal:8080");
        let long = "a".repeat(128);
        for text in ["", "a/b", "http://a", "me@a", "a b", "a?b", &long] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_is_planned_unless_it_is_on() {
        let mut config = PropagationConfig::default();
        assert_eq!(config.plan(), None);
        config.mode = Some(Mode::Headers);
        config.deny = vec!["10.1.0.0/16".parse().expect("a range")];
        let plan = config.plan().expect("on");
        assert_eq!(plan.destinations.last(), Some(&("10.1.0.0".parse().expect("an address"), 16, false)));
        assert!(plan.http_ports.contains(&80));
    }
}
