//! Pages of a few words, for when the front end cannot be shown.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tracer_model::answer::ApiError;

/// The front end was not built.
pub(super) fn not_built() -> Response {
    let words = "<h1>This program was built without its pages</h1><p>Build it by <code>cargo xtask build</code>: it \
                 needs Node.js (<code>cargo xtask setup</code> installs it). The API under <code>/api/</code> works \
                 without.</p>";
    html(StatusCode::NOT_IMPLEMENTED, words)
}

/// The token is missing.
pub(crate) fn sign_in(headers: &HeaderMap) -> Response {
    let status = StatusCode::UNAUTHORIZED;
    let mut response = if is_for_a_person(headers) {
        let words = "<h1>This viewer needs its token</h1><p>Open the address that the program printed when it \
                     started: it ends with <code>?token=…</code>.</p>";
        html(status, words)
    } else {
        told(status, "the token is missing or wrong: send \"Authorization: Bearer TOKEN\"")
    };
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// The browser kept the cookie back, since another site led here. It sends it when this page loads itself.
pub(crate) fn load_again() -> Response {
    html(StatusCode::OK, "<meta http-equiv=\"refresh\" content=\"0\"><p>Loading…</p>")
}

/// An error in the API's form.
pub(crate) fn told(status: StatusCode, message: &str) -> Response {
    (status, Json(ApiError { error: message.to_owned(), at: None })).into_response()
}

fn is_for_a_person(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

fn html(status: StatusCode, words: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\"><title>tracer</title>\
         </head><body>{words}</body></html>\n"
    );
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}
