//! What the kernel programs read of HTTP/1: the head of a request, its `traceparent` and its `tracestate`.
//!
//! This folder is plain code without helpers and maps. The agent's tests compile it for the host and compare it
//! with the agent's own reader (`tracer-agent/src/protocol/http1/kernel_tests.rs`).

pub(crate) mod authority;
pub(crate) mod head;
pub(crate) mod traceparent;
pub(crate) mod tracestate;

/// The bytes of a head: zeros stand before the first and behind the last.
pub(crate) trait Text {
    /// Eight bytes from `at` on, the first lowest.
    fn word(&self, at: u64) -> u64;
    /// The eight bytes before `at`.
    fn before(&self, at: u64) -> u64;
}

/// A head whose first bytes may be written over.
pub(crate) trait TextMut: Text {
    /// Writes eight bytes at `at`.
    fn put(&mut self, at: u64, value: u64);
    /// Moves up to 1,023 bytes towards the beginning, to less than 1,024 behind that. Returns whether that worked.
    fn take_forward(&mut self, to: u32, from: u32, length: u32) -> bool;
}

const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}
