//! What each request for the page and the API goes through: who asks, from where, and below which path.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::{
    api, jaeger, metrics, pages,
    security::{Guard, Hosts, Verdict, harden},
    shared::Shared,
};

/// Routes that tell nothing of traces: probes ask them without a token, and below no prefix.
const PUBLIC: [&str; 2] = ["/healthz", "/readyz"];

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

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response {
        let mut response = self.judged(request).await;
        harden(response.headers_mut());
        response
    }

    async fn judged(&self, mut request: Request<Incoming>) -> Response {
        let is_public = PUBLIC.contains(&request.uri().path());
        let verdict = self.guard.judge(&request, is_public);
        if verdict == Verdict::Pass {
            if let Some(elsewhere) = self.unprefix(&mut request, is_public) {
                return elsewhere;
            }
            let Ok(response) = self.router.clone().oneshot(request.map(Body::new)).await;
            return response;
        }
        let is_refused = !matches!(verdict, Verdict::SignIn { .. } | Verdict::LoadAgain);
        if is_refused {
            self.shared.counters.refused_requests.inc();
        }
        refused(verdict, &request)
    }

    /// Takes the prefix off the path of a request. An answer, if the path is not below it.
    fn unprefix(&self, request: &mut Request<Incoming>, is_public: bool) -> Option<Response> {
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
                Some(pages::told(StatusCode::NOT_FOUND, &message))
            }
        }
    }
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
        .with_state(shared)
}

/// The answer to a request that does not pass.
fn refused(verdict: Verdict, request: &Request<Incoming>) -> Response {
    match verdict {
        Verdict::NoHost => {
            pages::told(StatusCode::BAD_REQUEST, "the request names no host, or more than one")
        }
        Verdict::OtherHost(host) => {
            let message = format!(
                "the request is meant for {host:?}, which is not this viewer's name: if it is, start the viewer with \
                 --host-name {host}"
            );
            pages::told(StatusCode::FORBIDDEN, &message)
        }
        Verdict::OtherSite => pages::told(
            StatusCode::FORBIDDEN,
            "a page of another site asks, and gets nothing. If it is this viewer behind a proxy, start it with --host-name NAME",
        ),
        Verdict::NoToken => pages::sign_in(request.headers()),
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
