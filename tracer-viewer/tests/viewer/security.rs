//! Who may ask.

use http::StatusCode;
use tracer_viewer::Token;

use crate::harness::{Answer, Server, get_with, post, request, send};

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
    let bearer = get_with(server.page, "/", &[("authorization", "Bearer wrong")]).await;
    assert_eq!(bearer.status, StatusCode::UNAUTHORIZED);
    let metrics = get_with(server.page, "/metrics", &[("cookie", pair)]).await.text();
    assert!(metrics.contains("tracer_viewer_wrong_tokens_total 2\n"), "{metrics}");
    let person = get_with(server.page, "/", &[("accept", "text/html,*/*")]).await;
    assert!(person.text().contains("?token="), "{}", person.text());
}

/// Sends the form of the page that asks for the token, as a browser does.
async fn form(server: &Server, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
    let origin = format!("http://{}", server.page);
    let mut all = vec![
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "text/html,*/*;q=0.8"),
        ("origin", &origin),
    ];
    all.retain(|(name, _)| headers.iter().all(|(other, _)| other != name));
    all.extend(headers);
    send(server.page, request("POST", server.page, path, &all, body.into())).await
}

#[tokio::test]
async fn a_browser_without_the_token_is_asked_for_it() {
    let server = locked();
    let page = get_with(server.page, "/api/tracer/status", &[("accept", "text/html,*/*;q=0.8")]).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (StatusCode::UNAUTHORIZED, "text/html; charset=utf-8")
    );
    assert!(page.text().contains("<form method=\"post\">") && page.text().contains("name=\"token\""));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("form-action 'self'") && !policy.contains("unsafe"), "{policy}");
    // Its own origin must reach us, and nobody else.
    assert_eq!(page.header("referrer-policy"), "same-origin");
    let program = get_with(server.page, "/api/tracer/status", &[("accept", "application/json")]).await;
    assert!(program.json()["error"].as_str().unwrap().contains("Authorization: Bearer"));
}

#[tokio::test]
async fn the_form_opens_the_page_that_was_asked_for() {
    let server = locked();
    let opened = form(&server, "/trace/ab?x=1&token=old", &[], format!("token=%20{TOKEN}%20")).await;
    assert_eq!((opened.status, opened.header("location")), (StatusCode::SEE_OTHER, "./ab?x=1"));
    let cookie = opened.header("set-cookie");
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(get_with(server.page, "/api/tracer/status", &[("cookie", pair)]).await.status, StatusCode::OK);
    // Sent twice, as by two clicks.
    let again = form(&server, "/", &[("cookie", pair)], format!("token={TOKEN}")).await;
    assert_eq!((again.status, again.header("location")), (StatusCode::SEE_OTHER, "./"));
}

#[tokio::test]
async fn the_form_takes_nothing_else() {
    let server = locked();
    for body in
        ["token=wrong", "token=", "", "other=1", &format!("token={TOKEN}0"), &"token=a&".repeat(10_000)]
    {
        let answer = form(&server, "/", &[], body.to_owned()).await;
        assert_eq!(
            (answer.status, answer.header("set-cookie")),
            (StatusCode::UNAUTHORIZED, ""),
            "{body:.20}"
        );
        assert!(answer.text().contains("This is not the token of this viewer."), "{}", answer.text());
    }
    let right = format!("token={TOKEN}");
    for headers in [
        [("origin", "http://evil.com")].as_slice(),
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
        &[("host", "evil.com")],
    ] {
        let answer = form(&server, "/", headers, right.clone()).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (StatusCode::FORBIDDEN, ""), "{headers:?}");
    }
    let json = form(&server, "/", &[("content-type", "text/plain")], right.clone()).await;
    assert_eq!(json.status, StatusCode::UNAUTHORIZED);
    let open = Server::start();
    assert_eq!(form(&open, "/", &[], right).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let metrics =
        get_with(server.page, "/metrics", &[("authorization", &format!("Bearer {TOKEN}"))]).await.text();
    assert!(metrics.contains("tracer_viewer_refused_requests_total 11\n"), "{metrics}");
    // Six forms, and neither those of other sites nor what is no form.
    assert!(metrics.contains("tracer_viewer_wrong_tokens_total 6\n"), "{metrics}");
}

#[tokio::test]
async fn a_browser_is_told_of_refusals_on_a_page() {
    let server = Server::start();
    let headers = [("host", "a&b.com"), ("accept", "text/html")];
    let page = get_with(server.page, "/", &headers).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (StatusCode::FORBIDDEN, "text/html; charset=utf-8")
    );
    assert!(page.text().contains("--host-name a&amp;b.com"), "{}", page.text());
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
