//! Pages of a few words, for when the front end cannot be shown.

use std::sync::OnceLock;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ring::digest;
use tracer_model::answer::ApiError;

/// The look of these pages. The policy names it by its hash: nothing else inline counts.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}\
    h1{font-size:1.25rem}form{display:flex;gap:.5rem;flex-wrap:wrap;align-items:end}\
    label{flex:1 1 100%}input{flex:1 1 14rem;min-width:0;font:inherit;padding:.4rem}\
    button{font:inherit;padding:.4rem 1rem}";

/// The front end was not built.
pub(super) fn not_built() -> Response {
    let words = "<h1>This program was built without its pages</h1><p>Build it by <code>cargo xtask build</code>: it \
                 needs Node.js (<code>cargo xtask setup</code> installs it). The API under <code>/api/</code> works \
                 without.</p>";
    html(StatusCode::NOT_IMPLEMENTED, words, "'none'")
}

/// The token is missing.
pub(crate) fn no_token(headers: &HeaderMap) -> Response {
    if prefers_html(headers) {
        return sign_in(None);
    }
    let message = "the token is missing or wrong: send \"Authorization: Bearer TOKEN\"";
    with_challenge(told(StatusCode::UNAUTHORIZED, message))
}

/// A form for the token. `wrong` says why the last one was not taken.
pub(crate) fn sign_in(wrong: Option<&str>) -> Response {
    let wrong =
        wrong.map(|wrong| format!("<p role=\"alert\"><strong>{wrong}</strong></p>")).unwrap_or_default();
    let words = format!(
        "<h1>This viewer needs its token</h1><p>The program printed an address that ends with <code>?token=…</code> when \
         it started, or was given a file that holds the token. Open that address, or enter the token here.</p>{wrong}\
         <form method=\"post\"><label for=\"token\">Token</label><input id=\"token\" name=\"token\" type=\"password\" \
         autocomplete=\"current-password\" required autofocus maxlength=\"512\"><button>Open</button></form>"
    );
    let mut response = with_challenge(html(StatusCode::UNAUTHORIZED, &words, "'self'"));
    // Without a referrer the form would be sent with the origin "null", as those of other sites are.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn with_challenge(mut response: Response) -> Response {
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// The browser kept the cookie back, since another site led here. It sends it when this page loads itself.
pub(crate) fn load_again() -> Response {
    html(StatusCode::OK, "<meta http-equiv=\"refresh\" content=\"0\"><p>Loading…</p>", "'none'")
}

/// An error: a page for a browser, else in the API's form.
pub(crate) fn told_to(headers: &HeaderMap, status: StatusCode, message: &str) -> Response {
    if prefers_html(headers) {
        let heading = status.canonical_reason().unwrap_or("Error");
        html(status, &format!("<h1>{heading}</h1><p>{}</p>", escaped(message)), "'none'")
    } else {
        told(status, message)
    }
}

/// An error in the API's form.
pub(super) fn told(status: StatusCode, message: &str) -> Response {
    (status, Json(ApiError { error: message.to_owned(), at: None })).into_response()
}

/// Whether whoever asks would rather have a page than JSON, as browsers do that open an address.
fn prefers_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let weight = |wanted: &str| {
        accepted.split(',').find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts.next()?.eq_ignore_ascii_case(wanted);
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            is_it.then_some(weight.unwrap_or(1.0_f32))
        })
    };
    weight("text/html").is_some_and(|html| html > weight("application/json").unwrap_or(0.0))
}

fn html(status: StatusCode, words: &str, form_action: &str) -> Response {
    static STYLE_HASH: OnceLock<String> = OnceLock::new();
    let hash = STYLE_HASH.get_or_init(|| STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes())));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'; \
         form-action {form_action}"
    );
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>tracer</title><style>{STYLE}</style></head><body><main>{words}</main></body></html>\n"
    );
    let kind = (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned());
    (status, [kind, (header::CONTENT_SECURITY_POLICY, policy)], page).into_response()
}

/// Text as HTML shows it. Control and bidirectional characters do not reach this: it is of heads of requests, which
/// have none.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_prefers_it_gets_a_page() {
        let prefers = |accept: &str| {
            prefers_html(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(accept).unwrap())]))
        };
        assert!(prefers("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(prefers("application/json;q=0.5, TEXT/HTML"));
        assert!(!prefers("*/*") && !prefers("application/json") && !prefers(""));
        assert!(!prefers("application/json, text/html") && !prefers("text/html;q=0, */*"));
        assert!(!prefers_html(&HeaderMap::new()));
    }

    #[test]
    fn an_error_is_data_on_a_page_too() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
