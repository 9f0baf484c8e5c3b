//! The trace viewer: takes OTLP, keeps it in a `tracer-store`, and answers an API and pages from it.

#![forbid(unsafe_code)]
