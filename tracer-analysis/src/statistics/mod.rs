//! Tests and estimates that the analyses decide by.
