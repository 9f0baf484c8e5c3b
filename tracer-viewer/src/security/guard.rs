//! Whether a request of the page's server is answered.

use http::{HeaderMap, Method, Request, Uri, header, uri::Authority};

use super::{
    Token,
    host::{Hosts, authority},
};

/// What is known of a request before its route is.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// Hosts by which the server may be called.
    pub(crate) hosts: Hosts,
    /// What must be known, if anything must.
    pub(crate) token: Option<Token>,
    /// Port on which the server listens.
    pub(crate) port: u16,
    /// Path with which every request begins.
    pub(crate) path_prefix: String,
    /// Whether the server speaks TLS.
    pub(crate) over_tls: bool,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is answered.
    Pass,
    /// It names no host, or more than one.
    NoHost,
    /// It is meant for another host.
    OtherHost(String),
    /// A page of another site sent it.
    OtherSite,
    /// It lacks the token.
    NoToken,
    /// A link of another site led here, so the browser kept the cookie back: the page must load once more.
    LoadAgain,
    /// It had the token in its query: it gets the cookie, and goes on without the token.
    SignIn {
        /// `Set-Cookie`.
        cookie: String,
        /// `Location`, relative.
        location: String,
    },
}

impl Guard {
    /// Judges a request. `is_public`: its route tells nothing, so it needs no token.
    pub(crate) fn judge<B>(&self, request: &Request<B>, is_public: bool) -> Verdict {
        let (uri, headers) = (request.uri(), request.headers());
        let Some(authority) = authority(uri, headers) else { return Verdict::NoHost };
        if !self.hosts.has(authority.host()) {
            return Verdict::OtherHost(authority.host().to_owned());
        }
        let is_visit = is_navigation(headers) && matches!(*request.method(), Method::GET | Method::HEAD);
        if !is_visit && (is_of_other_site(headers) || self.has_other_origin(headers, &authority)) {
            return Verdict::OtherSite;
        }
        let Some(token) = self.token.as_ref().filter(|_| !is_public) else { return Verdict::Pass };
        if request.method() == Method::GET
            && let Some((given, location)) = without_token(uri)
        {
            return self.sign_in(&given, location);
        }
        if token.is_in(headers) || token.has_cookie(headers, self.port) {
            Verdict::Pass
        } else if is_visit && is_of_other_site(headers) {
            Verdict::LoadAgain
        } else {
            Verdict::NoToken
        }
    }

    /// Judges a token that a person gave: in the query, or in the form of the page that asks for it.
    pub(crate) fn sign_in(&self, given: &str, location: String) -> Verdict {
        match self.token.as_ref().filter(|token| token.is(given)) {
            Some(token) => {
                let cookie = token.cookie(self.port, &self.path_prefix, self.over_tls);
                Verdict::SignIn { cookie, location }
            }
            None => Verdict::NoToken,
        }
    }

    /// Whether a request gives a token by itself: in its query, its form, or its Authorization header. A cookie may be one of a
    /// token that was right once.
    pub(crate) fn gives_token<B>(&self, request: &Request<B>) -> bool {
        self.is_sign_in(request)
            || request.headers().contains_key(header::AUTHORIZATION)
            || without_token(request.uri()).is_some()
    }

    /// Whether a request sends the form of the page that asks for the token.
    pub(crate) fn is_sign_in<B>(&self, request: &Request<B>) -> bool {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let is_form = kind.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        self.token.is_some() && request.method() == Method::POST && is_form
    }

    /// Whether the Origin header names a site that is not this one. Behind a proxy the Host header can be another one
    /// than the browser's: a configured name is this site too.
    fn has_other_origin(&self, headers: &HeaderMap, authority: &Authority) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return false };
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let Some(origin) = origin.as_ref().and_then(Uri::authority) else { return true };
        !(origin.as_str().eq_ignore_ascii_case(authority.as_str()) || self.hosts.is_named(origin.host()))
    }
}

/// Whether a browser opens the address as a page, rather than a script or an element of a page asking for it.
fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
        && headers.get("sec-fetch-dest").is_none_or(|dest| dest == "document")
}

fn is_of_other_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// The value of `token` in the query, and the address without it, relative to itself: whatever prefix a proxy shows
/// the page under, the browser stays there.
fn without_token(uri: &Uri) -> Option<(String, String)> {
    let query = uri.query()?;
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let (_, given) = pairs.iter().find(|(key, _)| key == "token")?;
    let rest = pairs.iter().filter(|(key, _)| key != "token");
    let rest = form_urlencoded::Serializer::new(String::new()).extend_pairs(rest).finish();
    Some((given.clone().into_owned(), relative(uri.path(), &rest)))
}

/// The address of a request without the token, relative to itself.
pub(crate) fn same_page(uri: &Uri) -> String {
    without_token(uri)
        .map_or_else(|| relative(uri.path(), uri.query().unwrap_or_default()), |(_, location)| location)
}

fn relative(path: &str, query: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let question = if query.is_empty() { "" } else { "?" };
    format!("./{last}{question}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-length-24-000";

    fn guard(token: Option<&str>) -> Guard {
        Guard {
            hosts: Hosts::new("127.0.0.1".parse().unwrap(), &["traces.example.com".to_owned()]),
            token: token.map(|token| Token::new(token).unwrap()),
            port: 8377,
            path_prefix: String::new(),
            over_tls: false,
        }
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::get(uri).header("host", "localhost:8377");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn a_name_of_another_site_is_refused() {
        let request = Request::get("/").header("host", "evil.com").body(()).unwrap();
        assert_eq!(guard(None).judge(&request, false), Verdict::OtherHost("evil.com".to_owned()));
        assert_eq!(guard(None).judge(&Request::get("/").body(()).unwrap(), true), Verdict::NoHost);
    }

    #[test]
    fn scripts_of_other_sites_are_refused_and_links_are_not() {
        let guard = guard(None);
        let judge = |headers: &[(&str, &str)]| guard.judge(&request("/api/tracer/live", headers), false);
        assert_eq!(judge(&[]), Verdict::Pass);
        assert_eq!(
            judge(&[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8377")]),
            Verdict::Pass
        );
        assert_eq!(
            judge(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")]),
            Verdict::OtherSite
        );
        assert_eq!(
            judge(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")]),
            Verdict::OtherSite
        );
        assert_eq!(judge(&[("origin", "http://localhost:3000")]), Verdict::OtherSite);
        assert_eq!(judge(&[("origin", "null")]), Verdict::OtherSite);
        assert_eq!(judge(&[("origin", "https://traces.example.com")]), Verdict::Pass);
        let link = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert_eq!(judge(&link), Verdict::Pass);
        let frame =
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        assert_eq!(judge(&frame), Verdict::OtherSite);
    }

    #[test]
    fn a_first_visit_with_the_token_goes_on_with_a_cookie() {
        let guard = guard(Some(TOKEN));
        let verdict = guard.judge(&request(&format!("/trace/ab?x=%26&token={TOKEN}&y=2"), &[]), false);
        let Verdict::SignIn { cookie, location } = verdict else { panic!("{verdict:?}") };
        assert_eq!(location, "./ab?x=%26&y=2");
        let pair = cookie.split(';').next().unwrap();
        assert_eq!(guard.judge(&request("/", &[("cookie", pair)]), false), Verdict::Pass);
        assert_eq!(guard.judge(&request("/?token=wrong", &[("cookie", pair)]), false), Verdict::NoToken);
    }

    #[test]
    fn the_way_after_the_token_never_leaves_the_server() {
        for path in ["//evil.com/", "/%2f%2fevil.com", "/javascript:alert(1)", "/..%2f"] {
            let uri: Uri = format!("{path}?token=x").parse().unwrap();
            let (_, location) = without_token(&uri).unwrap();
            assert!(location.starts_with("./") && !location.contains("//"), "{location}");
        }
    }

    #[test]
    fn without_the_token_only_public_routes_are_answered() {
        let guard = guard(Some(TOKEN));
        assert_eq!(guard.judge(&request("/", &[]), false), Verdict::NoToken);
        assert_eq!(guard.judge(&request("/healthz", &[]), true), Verdict::Pass);
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(guard.judge(&request("/", &[("authorization", &bearer)]), false), Verdict::Pass);
    }

    #[test]
    fn a_link_of_another_site_loads_once_more_for_the_cookie() {
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(guard(Some(TOKEN)).judge(&request("/", &link), false), Verdict::LoadAgain);
        let again = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "navigate")];
        assert_eq!(guard(Some(TOKEN)).judge(&request("/", &again), false), Verdict::NoToken);
    }
}
