//! Queries as people write them.

use tracer_store::{
    Query,
    query::{Condition, Pattern, Term},
};

fn error(text: &str) -> (usize, String) {
    let error = Query::parse(text).expect_err(text);
    (error.at_byte, error.message)
}

#[test]
fn a_wrong_query_says_where_it_is_wrong_and_what_was_meant() {
    for (text, at, hint) in [
        ("servce:checkout", 0, "did you mean service:checkout?"),
        ("get servce:checkout", 4, "did you mean service:checkout?"),
        ("service=checkout", 0, "did you mean service:checkout?"),
        ("status>5", 0, "did you mean status:5?"),
        ("durtion>5ms", 8, "did you mean duration>5ms?"),
        ("duration:5ms", 0, "write `duration>100ms`"),
        ("duration>fast", 9, "this is no duration"),
        ("trace.errrors:1", 0, "did you mean trace.errors>1?"),
        ("trace.errors:1", 0, "`trace.errors` is a number: write `trace.errors>10`"),
        ("trace.spans>many", 12, "`trace.spans` is a whole number"),
        ("kind:sever", 5, "did you mean server?"),
        ("status:eror", 7, "did you mean error?"),
        ("banana:5", 0, "only service, operation"),
        ("calls:front", 11, "calls:front>checkout"),
        ("calls:front>", 12, "calls:front>checkout"),
        ("calls:>front", 6, "calls:front>checkout"),
        ("calls:front->checkout", 11, "calls:front>checkout"),
        ("trace:86cx*", 6, "this is no trace id"),
        ("service:", 8, "a value is missing after `:`"),
        ("service:=", 9, "a value is missing after `=`"),
        ("OR a", 0, "`OR` stands between two terms"),
        ("a OR", 2, "`OR` stands between two terms"),
        ("a OR OR b", 5, "`OR` stands between two terms"),
        ("a AND", 2, "\"AND\" in quotes"),
        ("trace:xyz", 6, "this is no trace id"),
    ] {
        let (found_at, message) = error(text);
        assert!(message.contains(hint), "{text}: {message}");
        assert_eq!(found_at, at, "{text}: {message}");
    }
    // Counted in bytes, and as JavaScript counts.
    let wrong = Query::parse("😀é kind:sever").expect_err("no kind");
    assert_eq!((wrong.at_byte, wrong.at_utf16), (12, 9));
}

#[test]
fn or_is_weaker_than_a_blank_and_printed_as_it_is_read() {
    let query = Query::parse("a b OR c AND -d OR service!=x").expect("a query");
    let [Term { is_negated: false, condition: Condition::Any(lists) }] = query.terms.as_slice() else {
        panic!("one term, not {query:?}");
    };
    assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(query.to_string(), "a b OR c -d OR -service:x");
    // A term that a program adds belongs to each list.
    let mut more = query;
    let term = Term { is_negated: false, condition: Condition::Service(Pattern::Exact("X".to_owned())) };
    more.terms.insert(0, term);
    assert_eq!(more.to_string(), "service:=X a b OR service:=X c -d OR service:=X -service:x");
    assert_eq!(Query::parse("or ORder").expect("words").terms.len(), 2);
}

#[test]
fn a_field_that_differs_is_the_opposite_of_the_field() {
    for (text, printed) in [
        ("service!=carts", "-service:carts"),
        ("-service!=carts", "service:carts"),
        ("kind!=server", "-kind:server"),
        ("status!=error", "-status:error"),
        ("calls!=a>b", "-calls:a>b"),
        ("trace.errors!=0", "-trace.errors=0"),
        ("name!=\"GET /x\"", "-operation:\"GET /x\""),
        ("\"service\"!=carts", "\"service\"!=carts"),
    ] {
        assert_eq!(Query::parse(text).expect(text).to_string(), printed);
    }
}
