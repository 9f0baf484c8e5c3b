//! The first bytes of a connection: what is told of them is not taken back when more come, unless more
//! was asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_agent::protocol::recognise::{Recognition, recognise};

fuzz_target!(|bytes: &[u8]| {
    for length in 0..bytes.len().min(64) {
        let early = recognise(&bytes[..length]);
        if early != Recognition::NeedMore && early != Recognition::Unknown {
            assert_eq!(early, recognise(bytes));
        }
    }
});
