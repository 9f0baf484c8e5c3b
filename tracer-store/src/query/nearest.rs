//! What somebody may have meant.

use super::{FIELDS, NUMBERS};

/// Letters that may differ, for each three of a name.
const LETTERS: usize = 3;

/// The name of these that is nearest to what was written, if it is near.
pub(super) fn nearest<'of>(written: &str, names: impl IntoIterator<Item = &'of str>) -> Option<&'of str> {
    // A long one is no slip, and to compare it takes time.
    if written.len() > 64 {
        return None;
    }
    let written = written.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&written, name);
    let near = names.into_iter().map(|name| (distance(name), name));
    near.min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= name.len().div_ceil(LETTERS))
        .map(|(_, name)| name)
}

/// A term with the field that was meant instead of an unknown one, as it would be written.
pub(super) fn meant(key: &str, operator: &str, value: &str) -> Option<String> {
    let field = nearest(key, FIELDS.into_iter().chain(NUMBERS))?;
    let operator = match (FIELDS.contains(&field), operator) {
        (true, "!=") => "!=",
        (true, _) => ":",
        (false, ":" | "=") => ">",
        (false, operator) => operator,
    };
    Some(format!("{field}{operator}{value}"))
}

#[cfg(test)]
mod tests {
    use super::{meant, nearest};

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        assert_eq!(nearest("servce", ["service", "status"]), Some("service"));
        assert_eq!(nearest("Service", ["service", "status"]), Some("service"));
        assert_eq!(nearest("http.method", ["service", "status"]), None);
        assert_eq!(nearest(&"s".repeat(10_000), ["service"]), None);
        assert_eq!(meant("durtion", ">", "5ms").as_deref(), Some("duration>5ms"));
        assert_eq!(meant("trace.error", ":", "1").as_deref(), Some("trace.errors>1"));
        assert_eq!(meant("sevice", "=", "x").as_deref(), Some("service:x"));
    }
}
