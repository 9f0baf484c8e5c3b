//! Who may ask.

use http::StatusCode;
use tracer_viewer::Token;

use crate::harness::{Server, get_with, post, request, send};

const TOKEN: &str = "a-token-of-length-24-000";

fn locked() -> Server {
    Server::with(|settings| settings.token = Some(Token::new(TOKEN).unwrap()))
}

#[tokio::test]
async fn every_answer_hardens_the_browser() {
    let server = Server::start();
    for path in ["/", "/api/tracer/status", "/api/none", "/api/services", "/healthz", "/assets/none.js"] {
        let answer = server.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        for part in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "script-src 'self'"] {
            assert!(policy.contains(part), "{path}: {part}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{path}");
    }
    assert_eq!(server.get("/api/tracer/status").await.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_rebound_name_gets_nothing() {
    let server = Server::with(|settings| settings.host_names = vec!["traces.example.com".to_owned()]);
    let status =
        async |host: &str| get_with(server.page, "/api/tracer/status", &[("host", host)]).await.status;
    for ours in
        ["localhost", "localhost:1", "127.0.0.1:8377", "[::1]:80", "traces.example.com", "a.localhost"]
    {
        assert_eq!(status(ours).await, StatusCode::OK, "{ours}");
    }
    for other in ["evil.com", "127.0.0.1.evil.com", "10.0.0.1", "localhost.evil.com"] {
        assert_eq!(status(other).await, StatusCode::FORBIDDEN, "{other}");
    }
    let answer = get_with(server.page, "/", &[("host", "evil.com")]).await;
    assert!(answer.text().contains("--host-name evil.com"), "{}", answer.text());
}

#[tokio::test]
async fn pages_of_other_sites_get_nothing() {
    let server = Server::start();
    for path in ["/api/tracer/live", "/api/tracer/search", "/api/traces?service=a"] {
        let cross = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")];
        assert_eq!(get_with(server.page, path, &cross).await.status, StatusCode::FORBIDDEN, "{path}");
        let other = [("origin", "http://localhost:1")];
        assert_eq!(get_with(server.page, path, &other).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let own = format!("http://{}", server.page);
    let own = [("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(get_with(server.page, "/api/tracer/search", &own).await.status, StatusCode::OK);
    let preflight =
        request("OPTIONS", server.page, "/api/tracer/search", &[("origin", "http://evil.com")], "".into());
    assert_eq!(send(server.page, preflight).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_token_opens_by_header() {
    let server = locked();
    assert!(server.running.addresses().url.ends_with(&format!("/?token={TOKEN}")));
    let status = async |value: &str| {
        get_with(server.page, "/api/tracer/status", &[("authorization", value)]).await.status
    };
    assert_eq!(status(&format!("Bearer {TOKEN}")).await, StatusCode::OK);
    assert_eq!(status(&format!("Bearer {TOKEN}0")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status("Bearer").await, StatusCode::UNAUTHORIZED);
    for path in ["/", "/api/tracer/status", "/api/services", "/metrics", "/api/tracer/live", "/assets/x"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_first_visit_gets_a_cookie_and_loses_the_token() {
    let server = locked();
    let visit = server.get(&format!("/?token={TOKEN}&x=1")).await;
    assert_eq!((visit.status, visit.header("location")), (StatusCode::SEE_OTHER, "./?x=1"));
    let cookie = visit.header("set-cookie");
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let with = get_with(server.page, "/api/tracer/status", &[("cookie", pair)]).await;
    assert_eq!(with.status, StatusCode::OK);
    let wrong = server.get("/?token=wrong").await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (StatusCode::UNAUTHORIZED, ""));
    let person = get_with(server.page, "/", &[("accept", "text/html,*/*")]).await;
    assert!(person.text().contains("?token="), "{}", person.text());
}

#[tokio::test]
async fn a_cookie_dies_with_its_token() {
    let cookie = locked().get(&format!("/?token={TOKEN}")).await.header("set-cookie").to_owned();
    let pair = cookie.split(';').next().unwrap();
    let other = Server::with(|settings| settings.token = Some(Token::random().unwrap()));
    let answer = get_with(other.page, "/api/tracer/status", &[("cookie", pair)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn otlp_on_loopback_needs_no_token_and_takes_no_browser() {
    let server = locked();
    let answer = post(server.otlp_http, "/v1/traces", "application/json", "{}").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let headers = [("content-type", "application/json"), ("origin", "http://evil.com"), ("host", "evil.com")];
    let of_browser = request("POST", server.otlp_http, "/v1/traces", &headers, "{}".into());
    assert_eq!(send(server.otlp_http, of_browser).await.status, StatusCode::FORBIDDEN);
    let headers = [("content-type", "application/json"), ("host", "any.name:4318")];
    let named = request("POST", server.otlp_http, "/v1/traces", &headers, "{}".into());
    assert_eq!(send(server.otlp_http, named).await.status, StatusCode::OK);
}

#[tokio::test]
async fn refusals_are_counted() {
    let server = Server::start();
    get_with(server.page, "/", &[("host", "evil.com")]).await;
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("tracer_viewer_refused_requests_total 1\n"), "{metrics}");
}
