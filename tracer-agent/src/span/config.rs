//! What the operator sets about spans.

#![forbid(unsafe_code)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redact::DEFAULT_KEYS;

/// How spans are made of exchanges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpanConfig {
    /// HTTP methods that are told by name; others become `_OTHER`.
    pub known_methods: Vec<String>,
    /// Patterns of paths, such as `/users/{id}` or `/files/*`: the first that matches becomes
    /// `http.route` of server spans and `url.template` of client spans.
    pub routes: Vec<String>,
    /// Guess a name of low cardinality from paths that match no pattern.
    pub route_guess: bool,
    /// Different guessed names per service; beyond them a span is named by its method alone.
    pub route_guess_limit: usize,
    /// Query keys whose values are replaced by REDACTED, compared by their words: an entry hides each key that ends in
    /// it, with `=` before it only that key (`output.md`).
    pub redact_query_keys: Vec<String>,
    /// Request headers that become attributes. Credentials and cookies never do.
    pub request_headers: Vec<String>,
    /// Response headers that become attributes.
    pub response_headers: Vec<String>,
    /// Believe Forwarded and X-Forwarded-* headers: for services behind a proxy of one's own.
    pub trust_forwarded: bool,
}

/// Headers that never become attributes, even when asked for.
const NEVER: [&str; 4] = ["authorization", "cookie", "set-cookie", "proxy-authorization"];
/// Headers that are read if `trust_forwarded` is set.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

impl SpanConfig {
    /// The headers of a list that may become attributes, in lower case.
    pub(super) fn allowed(list: &[String]) -> Vec<String> {
        let lower = list.iter().map(|name| name.to_ascii_lowercase());
        lower.filter(|name| !NEVER.contains(&name.as_str())).collect()
    }

    /// Headers, in lower case, that are read because the operator says so.
    pub fn fields_read(&self) -> Vec<String> {
        let forwarded = FORWARDED.iter().filter(|_| self.trust_forwarded).map(|name| (*name).to_owned());
        let mut fields = Self::allowed(&self.request_headers);
        fields.extend(Self::allowed(&self.response_headers));
        fields.extend(forwarded);
        fields
    }
}

impl Default for SpanConfig {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            known_methods: owned(&[
                "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
            ]),
            routes: Vec::new(),
            route_guess: true,
            route_guess_limit: 200,
            redact_query_keys: owned(DEFAULT_KEYS),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            trust_forwarded: false,
        }
    }
}
