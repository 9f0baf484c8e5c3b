//! What each request for the page and the API goes through: who asks, from where, and below which path.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::{
    api, jaeger, metrics, pages,
    problem::Problem,
    security::{Guard, Hosts, Verdict, harden, same_page},
    shared::Shared,
};

/// Routes that tell nothing of traces: probes ask them without a token, and below no prefix.
const PUBLIC: [&str; 2] = ["/healthz", "/readyz"];

/// Longest form with a token.
const FORM_BYTES: usize = 4096;

pub(super) struct Gate {
    guard: Guard,
    shared: Arc<Shared>,
    router: Router,
}

impl Gate {
    /// The gate of a server whose settings say where it listens.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let settings = &shared.settings;
        let guard = Guard {
            hosts: Hosts::new(settings.listen.ip(), &settings.host_names),
            token: settings.token.clone(),
            port: settings.listen.port(),
            path_prefix: settings.path_prefix.clone(),
            over_tls: settings.tls.is_some(),
        };
        Self { guard, router: router(shared.clone()), shared }
    }

    /// The routes behind the gate.
    pub(super) fn routes(&self) -> Router {
        self.router.clone()
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response {
        let mut response = self.judged(request).await;
        harden(response.headers_mut());
        response
    }

    async fn judged(&self, mut request: Request<Body>) -> Response {
        let is_public = PUBLIC.contains(&request.uri().path());
        let mut verdict = self.guard.judge(&request, is_public);
        // Whoever is in already and sends the form once more goes on too.
        let is_sign_in =
            matches!(verdict, Verdict::Pass | Verdict::NoToken) && self.guard.is_sign_in(&request);
        if is_sign_in {
            let location = same_page(request.uri());
            let body = std::mem::take(request.body_mut());
            verdict = match given(body, self.shared.settings.limits.first_time).await {
                Some(given) => self.guard.sign_in(&given, location),
                None => Verdict::NoToken,
            };
        }
        if verdict == Verdict::Pass {
            if let Some(elsewhere) = self.unprefix(&mut request, is_public) {
                return elsewhere;
            }
            let Ok(response) = self.router.clone().oneshot(request).await;
            return response;
        }
        let is_refused = !matches!(verdict, Verdict::SignIn { .. } | Verdict::LoadAgain);
        if is_refused {
            self.shared.counters.refused_requests.inc();
        }
        if verdict == Verdict::NoToken && self.guard.gives_token(&request) {
            self.shared.counters.wrong_tokens.inc();
        }
        if is_sign_in && verdict == Verdict::NoToken {
            return pages::sign_in(Some("This is not the token of this viewer."));
        }
        refused(verdict, request.headers())
    }

    /// Takes the prefix off the path of a request. An answer, if the path is not below it.
    fn unprefix(&self, request: &mut Request<Body>, is_public: bool) -> Option<Response> {
        let prefix = self.shared.settings.path_prefix.as_str();
        if prefix.is_empty() || is_public {
            return None;
        }
        let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
        match asked.strip_prefix(prefix) {
            Some(rest) if rest.starts_with('/') => {
                *request.uri_mut() = rest.parse().unwrap_or_else(|_| Uri::from_static("/"));
                None
            }
            Some(rest) if rest.is_empty() || rest.starts_with('?') => {
                let last = prefix.rsplit('/').next().unwrap_or_default();
                Some(go_to(StatusCode::PERMANENT_REDIRECT, &format!("./{last}/{rest}")))
            }
            _ => {
                let message = format!("this viewer serves below {prefix}/ (--path-prefix)");
                Some(pages::told_to(request.headers(), StatusCode::NOT_FOUND, &message))
            }
        }
    }
}

/// The token in a form. None if there is none, or the form is too long or does not come in time.
async fn given(body: Body, time: Duration) -> Option<String> {
    let form = timeout(time, to_bytes(body, FORM_BYTES)).await.ok()?.ok()?;
    let mut pairs = form_urlencoded::parse(&form);
    pairs.find(|(name, _)| name == "token").map(|(_, token)| token.trim().to_owned())
}

/// Every route of the page's address.
fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .merge(api::router())
        .merge(jaeger::router())
        .route("/healthz", get(metrics::health))
        .route("/readyz", get(metrics::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(pages::page)
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "nothing is changed here: use GET")
        })
        .with_state(shared)
}

/// The answer to a request that does not pass.
fn refused(verdict: Verdict, headers: &HeaderMap) -> Response {
    match verdict {
        Verdict::NoHost => {
            let message = "the request names no host, or more than one";
            pages::told_to(headers, StatusCode::BAD_REQUEST, message)
        }
        Verdict::OtherHost(host) => {
            let message = format!(
                "the request is meant for {host:?}, which is not this viewer's name: if it is, start the viewer with \
                 --host-name {host}"
            );
            pages::told_to(headers, StatusCode::FORBIDDEN, &message)
        }
        Verdict::OtherSite => pages::told_to(
            headers,
            StatusCode::FORBIDDEN,
            "a page of another site asks, and gets nothing. If it is this viewer behind a proxy, start it with --host-name NAME",
        ),
        Verdict::NoToken => pages::no_token(headers),
        Verdict::LoadAgain => pages::load_again(),
        Verdict::SignIn { cookie, location } => {
            let mut response = go_to(StatusCode::SEE_OTHER, &location);
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        // The caller answers these.
        Verdict::Pass => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn go_to(status: StatusCode, location: &str) -> Response {
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("./"));
    (status, [(header::LOCATION, location)]).into_response()
}
