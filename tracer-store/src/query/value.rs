//! Values of terms: durations, patterns, both sides of a call.

use super::{
    Condition, Pattern, QueryError,
    parse::{Part, Reader},
};

impl Reader<'_> {
    /// A pattern: `checkout`, `check*`, `=Checkout`. It ends at a letter that ends values; `missing` says what is wrong if
    /// there is none.
    pub(super) fn pattern(&mut self, ends: fn(char) -> bool, missing: &str) -> Result<Pattern, QueryError> {
        let is_exact = self.rest().starts_with('=');
        self.at += usize::from(is_exact);
        let Part { text, has_star, is_quoted, start } = self.value_until(ends)?;
        if text.is_empty() && !has_star && !is_quoted {
            return Err(self.error(start, missing));
        }
        Ok(match (is_exact, has_star) {
            (true, false) => Pattern::Exact(text),
            (true, true) => Pattern::Prefix(text),
            (false, false) => Pattern::Like(text),
            (false, true) => Pattern::LikePrefix(text),
        })
    }

    /// `front>checkout`.
    pub(super) fn calls(&mut self) -> Result<Condition, QueryError> {
        const FORM: &str =
            "calls are asked for as calls:CALLER>CALLED, where * is anybody: calls:front>checkout";
        let begin = self.at;
        let from = self.pattern(|char| char.is_whitespace() || char == '>', FORM)?;
        if !self.rest().starts_with('>') {
            return Err(self.error(self.at, FORM));
        }
        // No name ends so unless it is quoted: an arrow was meant.
        if self.text[begin..self.at].ends_with('-') {
            return Err(self.error(self.at - 1, FORM));
        }
        self.at += 1;
        let to = self.pattern(char::is_whitespace, FORM)?;
        Ok(Condition::Calls { from, to })
    }
}

/// Nanoseconds of a number and its unit.
pub(super) fn duration_ns(text: &str) -> Option<u64> {
    let unit_at = text.find(|char: char| !char.is_ascii_digit() && char != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ns: u64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(unit_ns),
        Err(_) => number.parse::<f64>().ok().map(|number| (number * unit_ns as f64).round() as u64),
    }
}
