//! Requests of OTLP: what was decoded is decoded the same after it was encoded, and a trace of it can be laid out.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_model::{layout, otlp};

fuzz_target!(|bytes: &[u8]| {
    for decoded in [otlp::decode_protobuf(bytes), otlp::decode_json(bytes)].into_iter().flatten() {
        let again = otlp::decode_protobuf(&otlp::encode_protobuf(&decoded.spans)).expect("our own encoding");
        assert_eq!(again.spans.len(), decoded.spans.len());
        layout::lay_out(&decoded.spans, &layout::Options::default());
    }
});
