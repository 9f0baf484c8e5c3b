//! The pages: files that are embedded when the program is built.

mod export;
mod plain;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

pub(crate) use export::ExportPage;
pub(crate) use plain::{load_again, no_token, sign_in, told_to};

use crate::problem::Problem;

/// A file of the front end.
struct File {
    /// Its path below `ui/dist`.
    name: &'static str,
    bytes: &'static [u8],
    /// The same, compressed, if that is smaller.
    gzip: Option<&'static [u8]>,
    /// What changes with its content.
    tag: &'static str,
}

/// Files of the front end; none if it was not built.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The page of the front end.
const INDEX: &str = "index.html";

/// Answers whatever no other route answers: a file, the page, or that there is nothing.
pub(crate) async fn page(request: Request) -> Response {
    let (path, headers) = (request.uri().path(), request.headers());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "nothing is changed here: use GET");
        let mut response = problem.into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let name = path.trim_start_matches('/');
    if let Some(file) = FILES.iter().find(|file| file.name == name && name != INDEX) {
        return answer(file, headers);
    }
    if path == "/api" || path.starts_with("/api/") || path.starts_with("/v1/") {
        return Problem::missing("the API has nothing there: openapi.json in the source describes it")
            .into_response();
    }
    let is_page = name.is_empty() || name == INDEX;
    // Where nobody would look for a page: what browsers and robots ask for by themselves.
    let is_file =
        path.starts_with("/assets/") || name.rsplit('/').next().is_some_and(|last| last.contains('.'));
    if is_file && !is_page {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    }
    if let Some(location) = trace_page(path) {
        return (StatusCode::FOUND, [(header::LOCATION, location)]).into_response();
    }
    match FILES.iter().find(|file| file.name == INDEX) {
        Some(index) => index_page(index, path, if is_page { StatusCode::OK } else { StatusCode::NOT_FOUND }),
        None if is_page => plain::not_built(),
        None => plain::told_to(headers, StatusCode::NOT_FOUND, "there is no such page"),
    }
}

/// Where the page of a trace is, for the address that people guess: `/trace/ID` or `/traces/ID`. Relative, so that it
/// stays below whatever prefix a proxy shows. The beginning of an id is enough.
fn trace_page(path: &str) -> Option<String> {
    let (_, id) =
        path.strip_prefix('/')?.split_once('/').filter(|(page, _)| matches!(*page, "trace" | "traces"))?;
    let is_id = (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| format!("../#/trace/{}", id.to_ascii_lowercase()))
}

fn answer(file: &File, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", file.tag);
    // The build puts a hash of the content into these names.
    let is_lasting = file.name.starts_with("assets/");
    let cache = if is_lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| {
        let mut tags = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        tags.any(|known| known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
    });
    let common = [(header::ETAG, tag), (header::CACHE_CONTROL, cache.to_owned())];
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, content_type(file.name))];
    let vary = [(header::VARY, "accept-encoding")];
    match file.gzip.filter(|_| takes_gzip(headers)) {
        Some(gzip) => (common, kind, vary, [(header::CONTENT_ENCODING, "gzip")], gzip).into_response(),
        None => (common, kind, vary, file.bytes).into_response(),
    }
}

/// The page, at any address. Its files are named relative to the root of the viewer; at a deeper address the way there
/// leads up. So the page works under whatever prefix a proxy shows it. Where there is no page, it says so by itself.
fn index_page(index: &File, path: &str, status: StatusCode) -> Response {
    let depth = path.trim_start_matches('/').matches('/').count();
    let mut html = String::from_utf8_lossy(index.bytes).into_owned();
    if depth > 0 {
        html = html.replace("=\"./", &format!("=\"{}", "../".repeat(depth)));
    }
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (status, headers, html).into_response()
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
        matches!(name.trim(), "gzip" | "*") && !is_refused
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};

    use super::*;

    static PAGE: File = File {
        name: INDEX,
        bytes: b"<script src=\"./assets/a.js\"></script><link href=\"./icon.svg\">",
        gzip: None,
        tag: "1",
    };

    static SCRIPT: File =
        File { name: "assets/a-1.js", bytes: b"let a", gzip: Some(b"\x1f\x8b..."), tag: "00000000000000aa" };

    async fn text(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn files_are_found_from_deep_addresses() {
        let at = |path| text(index_page(&PAGE, path, StatusCode::OK));
        assert!(at("/").await.contains("\"./assets/a.js\""));
        assert!(at("/map").await.contains("\"./assets/a.js\""));
        assert!(at("/trace/ab").await.contains("\"../assets/a.js\""));
        assert!(at("/a/b/").await.contains("\"../../icon.svg\""));
    }

    #[test]
    fn the_page_of_a_trace_is_found_by_its_id() {
        assert_eq!(trace_page("/trace/86CE").as_deref(), Some("../#/trace/86ce"));
        assert_eq!(trace_page("/traces/0102030405060708090a0b0c0d0e0f10").map(|to| to.len()), Some(43));
        for path in [
            "/trace/",
            "/trace",
            "/trace/x",
            "/trace/ab/cd",
            "/trace/%61b",
            "/other/ab",
            "//evil.com/trace/ab",
        ] {
            assert_eq!(trace_page(path), None, "{path}");
        }
        assert_eq!(trace_page(&format!("/trace/{}", "a".repeat(33))), None);
    }

    #[test]
    fn files_with_a_hash_in_their_name_are_kept_for_a_year() {
        let response = answer(&SCRIPT, &HeaderMap::new());
        assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(response.headers()["content-type"], "text/javascript; charset=utf-8");
        assert!(response.headers().get("content-encoding").is_none());
    }

    #[test]
    fn a_browser_that_takes_gzip_gets_it() {
        let with = |accepted: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, accepted.parse().unwrap())]);
            answer(&SCRIPT, &headers).headers().contains_key("content-encoding")
        };
        assert!(with("gzip, deflate, br") && with("br;q=1.0, gzip;q=0.8") && with("*"));
        assert!(!with("br") && !with("gzip;q=0") && !with(""));
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let with = |known: &str| {
            answer(&SCRIPT, &HeaderMap::from_iter([(header::IF_NONE_MATCH, known.parse().unwrap())])).status()
        };
        assert_eq!(with("\"00000000000000aa\""), StatusCode::NOT_MODIFIED);
        assert_eq!(with("\"x\", W/\"00000000000000aa\""), StatusCode::NOT_MODIFIED);
        assert_eq!(with("\"x\""), StatusCode::OK);
    }

    #[tokio::test]
    async fn unknown_files_and_routes_are_not_the_page() {
        for path in ["/assets/none.js", "/api/none", "/api", "/favicon.ico", "/v1/traces", "/a/b.js", "/.env"]
        {
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(page(request).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let request = Request::post("/").body(Body::empty()).unwrap();
        assert_eq!(page(request).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
