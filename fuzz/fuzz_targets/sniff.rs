//! The first bytes of a connection: what is told of them is not taken back when more come, unless more
//! was asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_agent::protocol::sniff::{Recognition, sniff};

fuzz_target!(|bytes: &[u8]| {
    for length in 0..bytes.len().min(64) {
        if let Recognition::Found(early, early_side) = sniff(&bytes[..length]) {
            let Recognition::Found(late, late_side) = sniff(bytes) else { panic!("taken back") };
            assert_eq!((early.name, early_side), (late.name, late_side));
        }
    }
});
