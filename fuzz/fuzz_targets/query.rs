//! Queries: one that can be read is the same query when it was printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_store::Query;

fuzz_target!(|text: &str| {
    if let Ok(query) = Query::parse(text) {
        assert_eq!(Query::parse(&query.to_string()).ok(), Some(query));
    }
});
