//! Saved traces, of whatever format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_model::file;

fuzz_target!(|bytes: &[u8]| {
    let _ = file::open_file(bytes, 1 << 20);
});
