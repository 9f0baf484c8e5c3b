//! What the operator sets about spans.

#![forbid(unsafe_code)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{one_or_list, problem::Problem, redact::DEFAULT_KEYS, route::pattern_problem};

/// Headers that never become attributes.
pub(super) const CREDENTIAL_HEADERS: [&str; 4] =
    ["authorization", "cookie", "set-cookie", "proxy-authorization"];

/// How spans are made of exchanges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpanConfig {
    /// HTTP methods that are told by name; others become `_OTHER`.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<String>")]
    pub known_methods: Vec<String>,
    /// Patterns of paths, such as `/users/{id}` or `/files/*`: the first that matches becomes
    /// `http.route` of server spans and `url.template` of client spans. `{name}` is one segment, a last `*` all that
    /// is left.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<String>")]
    pub routes: Vec<String>,
    /// Guess a name of low cardinality from paths that match no pattern.
    pub route_guess: bool,
    /// Different guessed names per service; beyond them a span is named by its method alone.
    pub route_guess_limit: usize,
    /// Query keys whose values are replaced by REDACTED, compared by their words: an entry hides each key that ends in
    /// it, with `=` before it only that key (`output.md`).
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<String>")]
    pub redact_query_keys: Vec<String>,
    /// Request headers that become attributes. Credentials and cookies are refused.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<String>")]
    pub request_headers: Vec<String>,
    /// Response headers that become attributes.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<String>")]
    pub response_headers: Vec<String>,
    /// Make spans of OTLP exports over HTTP too, on both sides. Without it they are only counted: the export of a span
    /// would make the next one, without end, if the receiver or a proxy before it is traced.
    pub otlp_exports: bool,
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
            otlp_exports: false,
            trust_forwarded: false,
        }
    }
}

impl SpanConfig {
    /// The values that cannot be used.
    pub fn problems(&self) -> Vec<Problem> {
        let routes = problems_of("routes", &self.routes, pattern_problem);
        let methods = problems_of("known_methods", &self.known_methods, |method| {
            let is_method = http::Method::from_bytes(method.as_bytes()).is_ok();
            (!is_method).then(|| format!("{method:?} is not a method"))
        });
        let keys = problems_of("redact_query_keys", &self.redact_query_keys, |key| {
            key.trim().is_empty().then(|| "the key is empty".to_owned())
        });
        let requests = problems_of("request_headers", &self.request_headers, header_problem);
        let responses = problems_of("response_headers", &self.response_headers, header_problem);
        [routes, methods, keys, requests, responses].concat()
    }
}

/// The entries of a list that cannot be used.
fn problems_of(key: &str, list: &[String], problem: impl Fn(&str) -> Option<String>) -> Vec<Problem> {
    let entries = list.iter().enumerate();
    entries
        .filter_map(|(index, entry)| Some(Problem::new(format!("{key}[{index}]"), problem(entry)?)))
        .collect()
}

/// Why a header cannot become an attribute.
fn header_problem(name: &str) -> Option<String> {
    if CREDENTIAL_HEADERS.iter().any(|secret| secret.eq_ignore_ascii_case(name)) {
        return Some(format!("{name} holds credentials, which never become attributes"));
    }
    let is_name = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
    (!is_name).then(|| format!("{name:?} is not a name of a header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_make_no_sense_are_refused_by_name() {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let config = SpanConfig {
            known_methods: owned(&["GET", "P T"]),
            routes: owned(&[
                "/",
                "/users/{id}",
                "/files/*",
                "/a/",
                "users/{id}",
                "/a/*/b",
                "/a*",
                "/{id",
                "/{}",
                "",
                "/a?b=1",
            ]),
            redact_query_keys: owned(&["token", " "]),
            request_headers: owned(&["accept", "Authorization", "x y"]),
            response_headers: owned(&["set-cookie"]),
            ..SpanConfig::default()
        };
        let problems: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "routes[4]: \"users/{id}\" does not begin with /",
                "routes[5]: \"/a/*/b\": * stands for all that is left, and must be the last segment",
                "routes[6]: \"/a*\": the segment \"a*\" is neither a text, nor {name}, nor a last *",
                "routes[7]: \"/{id\": the segment \"{id\" is neither a text, nor {name}, nor a last *",
                "routes[8]: \"/{}\": the segment \"{}\" is neither a text, nor {name}, nor a last *",
                "routes[9]: \"\" does not begin with /",
                "routes[10]: \"/a?b=1\" has a query or a fragment: patterns are of paths",
                "known_methods[1]: \"P T\" is not a method",
                "redact_query_keys[1]: the key is empty",
                "request_headers[1]: Authorization holds credentials, which never become attributes",
                "request_headers[2]: \"x y\" is not a name of a header",
                "response_headers[0]: set-cookie holds credentials, which never become attributes",
            ]
        );
        assert_eq!(SpanConfig::default().problems(), []);
    }
}
