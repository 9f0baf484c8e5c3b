//! A bounded store of spans. It takes spans in any order, keeps whole traces, and finds them by anything that they say.
//!
//! The store knows nothing of kernels, HTTP or pages. `tracer-viewer` feeds it and shows it.

#![forbid(unsafe_code)]
