//! Percent-encoding (RFC 3986, section 2.1).

#![forbid(unsafe_code)]

/// Decodes `%41` and the like; what is no such escape stays.
pub fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Encodes all but ASCII letters and digits: the text can stand in a path and in a query.
pub fn percent_encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
