//! Which bytes of exports are kept and wanted.

use super::*;
use crate::{
    exchange::Exchange,
    protocol::{
        http::HttpExchange,
        interface::{Parser, Want},
    },
};

const HEAD: &str = "POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// What is kept of a body, at most.
const MOST: usize = 16 * 1024;

fn parser(role: Role) -> Http1 {
    Http1::new(Start::Birth, role, Limits::default())
}

fn feed(parser: &mut Http1, side: Side, bytes: &[u8], out: &mut Vec<Yield>) {
    parser.data(side, bytes, &Call { first: true, ..Call::default() }, out);
}

/// The bodies that were kept of the exchanges.
fn kept(out: &[Yield]) -> Vec<Option<Bytes>> {
    let exchange = |made: &Yield| match made {
        Yield::Exchange(exchange) => Exchange::payload::<HttpExchange>(exchange)?.export_body.clone().into(),
        _ => None,
    };
    out.iter().filter_map(exchange).collect()
}

fn export(fields: &str, body: &[u8]) -> Vec<u8> {
    [format!("{HEAD}{fields}\r\n").as_bytes(), body].concat()
}

#[test]
fn the_body_of_an_export_is_kept_however_it_is_cut_and_that_of_no_other_request() {
    let length = export("Content-Length: 5\r\n", b"spans");
    let chunked = export("Transfer-Encoding: chunked\r\n", b"2\r\nsp\r\n3\r\nans\r\n0\r\n\r\n");
    let metrics = b"POST /v1/metrics HTTP/1.1\r\nContent-Type: application/x-protobuf\r\nContent-Length: 5\r\n\r\nspans";
    for (request, role, expected) in [
        (&length[..], Role::Client, Some(&b"spans"[..])),
        (&chunked, Role::Client, Some(b"2\r\nsp\r\n3\r\nans\r\n0\r\n\r\n")),
        (&length, Role::Server, None),
        (metrics, Role::Client, None),
    ] {
        for cut in 1..request.len() {
            let (mut parser, mut out) = (parser(role), Vec::new());
            feed(&mut parser, Side::Request, &request[..cut], &mut out);
            feed(&mut parser, Side::Request, &request[cut..], &mut out);
            feed(&mut parser, Side::Response, ANSWER, &mut out);
            assert_eq!(kept(&out), [expected.map(Bytes::copy_from_slice)], "{cut}");
        }
    }
}

#[test]
fn a_part_is_kept_up_to_what_was_not_copied_and_up_to_the_limit() {
    let body = vec![7; 3 * MOST];
    let head = export(&format!("Content-Length: {}\r\n", body.len()), b"");
    for (seen, expected) in [(100, 100), (MOST - 1, MOST - 1), (2 * MOST, MOST)] {
        let (mut parser, mut out) = (parser(Role::Client), Vec::new());
        feed(&mut parser, Side::Request, &[&head, &body[..seen]].concat(), &mut out);
        parser.skip(Side::Request, 10, &Call::default(), &mut out);
        feed(&mut parser, Side::Request, &body[seen + 10..], &mut out);
        feed(&mut parser, Side::Response, ANSWER, &mut out);
        assert_eq!(kept(&out), [Some(Bytes::copy_from_slice(&body[..expected]))]);
    }
}

#[test]
fn all_bytes_are_wanted_of_a_connection_that_exports_until_enough_was_read() {
    let (mut parser, mut out) = (parser(Role::Client), Vec::new());
    assert_eq!(parser.want(Side::Request), Want::Heads);
    let body = vec![7; 2 * MOST];
    let head = export(&format!("Content-Length: {}\r\n", body.len()), b"");
    for _ in 1..Http1::MOST_EXPORTS {
        feed(&mut parser, Side::Request, &head, &mut out);
        assert_eq!(parser.want(Side::Request), Want::Everything);
        feed(&mut parser, Side::Request, &body[..MOST], &mut out);
        assert!(matches!(parser.want(Side::Request), Want::BodyUntil(_)), "enough of this one");
        feed(&mut parser, Side::Request, &body[MOST..], &mut out);
        assert_eq!(
            (parser.want(Side::Request), parser.want(Side::Response)),
            (Want::Everything, Want::Heads)
        );
        feed(&mut parser, Side::Response, ANSWER, &mut out);
    }
    for _ in 0..2 {
        feed(&mut parser, Side::Request, &[&head[..], &body].concat(), &mut out);
        feed(&mut parser, Side::Response, ANSWER, &mut out);
        assert_eq!(parser.want(Side::Request), Want::Heads, "enough of them all");
    }
    assert_eq!(kept(&out).last(), Some(&None));
}
