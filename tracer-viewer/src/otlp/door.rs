//! Who may send OTLP.

use http::{HeaderMap, header};

use crate::{counters::Counters, security::Token};

/// What is checked of a request at an OTLP address. The Host header is not: exporters call this host by any name.
#[derive(Clone)]
pub(crate) struct Door {
    /// Token that is needed; none on loopback.
    token: Option<Token>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// A browser sent it.
    Browser,
    /// It lacks the token.
    NoToken,
}

impl Closed {
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Browser => "OTLP of browsers is not taken here: pages of any site could send spans",
            Self::NoToken => {
                "the viewer's token is missing: set OTEL_EXPORTER_OTLP_HEADERS=\"authorization=Bearer%20TOKEN\""
            }
        }
    }
}

impl Door {
    pub(crate) fn new(token: Option<Token>) -> Self {
        Self { token }
    }

    /// Whether the request may come in. A browser adds `Origin` to each request that could change something, also
    /// after DNS rebinding; no exporter outside of browsers does.
    pub(super) fn check(&self, headers: &HeaderMap, counters: &Counters) -> Result<(), Closed> {
        let is_of_browser = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
        let lacks_token = self.token.as_ref().is_some_and(|token| !token.is_in(headers));
        let closed = match (is_of_browser, lacks_token) {
            (true, _) => Closed::Browser,
            (_, true) => Closed::NoToken,
            (false, false) => return Ok(()),
        };
        counters.refused_requests.inc();
        Err(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_and_strangers_are_kept_out() {
        let counters = Counters::default();
        let headers = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
        };
        let open = Door::new(None);
        assert_eq!(open.check(&HeaderMap::new(), &counters), Ok(()));
        assert_eq!(open.check(&headers("host", "any.name"), &counters), Ok(()));
        assert_eq!(open.check(&headers("origin", "http://localhost:4318"), &counters), Err(Closed::Browser));
        assert_eq!(open.check(&headers("sec-fetch-site", "cross-site"), &counters), Err(Closed::Browser));
        let token = Token::new("a-token-of-length-24-000").unwrap();
        let locked = Door::new(Some(token.clone()));
        assert_eq!(locked.check(&HeaderMap::new(), &counters), Err(Closed::NoToken));
        let bearer = headers("authorization", &format!("Bearer {}", token.text()));
        assert_eq!(locked.check(&bearer, &counters), Ok(()));
        assert_eq!(counters.refused_requests.get(), 3);
    }
}
