//! Reads a query.

use tracer_model::span::TraceId;

use super::{
    Comparison, Condition, FIELDS, KINDS, MAX_QUERY_BYTES, MAX_TERMS, Needle, Pattern, Query, QueryError,
    STATUSES, Term, Test, utf16_at,
};

impl Query {
    /// Reads a query. Empty text asks for any span.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_BYTES {
            let message = format!("the query has {} bytes; at most {MAX_QUERY_BYTES} are read", text.len());
            return Err(QueryError { message, at_utf16: 0 });
        }
        let mut reader = Reader { text, at: 0 };
        let mut terms = Vec::new();
        while reader.skip_blanks() {
            if terms.len() == MAX_TERMS {
                return Err(
                    reader.error(reader.at, format!("a query has at most {MAX_TERMS} terms; leave some out"))
                );
            }
            terms.push(reader.term()?);
        }
        Ok(Self { terms })
    }
}

/// A part of a term: its text, whether it stood in quotes, and whether a star that means "anything" follows.
pub(super) struct Part {
    pub(super) text: String,
    pub(super) is_quoted: bool,
    pub(super) has_star: bool,
    pub(super) start: usize,
}

/// Operators, the longer ones first.
pub(super) const OPERATORS: [&str; 7] = ["!=", ">=", "<=", "=", ">", "<", ":"];

pub(super) struct Reader<'text> {
    pub(super) text: &'text str,
    pub(super) at: usize,
}

impl Reader<'_> {
    pub(super) fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Whether anything follows.
    pub(super) fn skip_blanks(&mut self) -> bool {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        !self.rest().is_empty()
    }

    fn error(&self, at: usize, message: impl Into<String>) -> QueryError {
        QueryError { message: message.into(), at_utf16: utf16_at(self.text, at) }
    }

    fn term(&mut self) -> Result<Term, QueryError> {
        let rest = self.rest();
        let is_negated =
            rest.starts_with('-') && rest[1..].chars().next().is_some_and(|next| !next.is_whitespace());
        if is_negated {
            self.at += 1;
        }
        let key = self.part(true)?;
        let Some(operator) = self.operator() else {
            if key.text.is_empty() {
                return Err(self
                    .error(key.start, "there is no text between the quotes: write a word, or leave it out"));
            }
            return Ok(Term { is_negated, condition: Condition::Text(Needle::new(&key.text)) });
        };
        let value = self.part(false)?;
        if value.text.is_empty() && !value.is_quoted && !value.has_star {
            let message = format!("a value is missing after `{operator}`; an empty one is written \"\"");
            return Err(self.error(value.start, message));
        }
        Ok(Term { is_negated, condition: self.condition(&key, operator, value)? })
    }

    pub(super) fn operator(&mut self) -> Option<&'static str> {
        let operator = OPERATORS.into_iter().find(|operator| self.rest().starts_with(operator))?;
        self.at += operator.len();
        Some(operator)
    }

    /// A key, which ends at an operator or a blank, or a value, which ends at a blank.
    pub(super) fn part(&mut self, is_key: bool) -> Result<Part, QueryError> {
        let start = self.at;
        if self.rest().starts_with('"') {
            return self.quoted(start, is_key);
        }
        let rest = self.rest();
        let ends = |(at, char): &(usize, char)| {
            char.is_whitespace()
                || is_key && *at > 0 && OPERATORS.iter().any(|operator| rest[*at..].starts_with(operator))
        };
        let end = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
        let text = &rest[..end];
        let bare = if is_key { None } else { text.strip_suffix('*') };
        let part =
            Part { text: bare.unwrap_or(text).to_owned(), is_quoted: false, has_star: bare.is_some(), start };
        self.at += end;
        Ok(part)
    }

    fn quoted(&mut self, start: usize, is_key: bool) -> Result<Part, QueryError> {
        let mut text = String::new();
        let mut is_escaped = false;
        for (at, char) in self.rest()[1..].char_indices() {
            match char {
                _ if is_escaped => {
                    text.push(char);
                    is_escaped = false;
                }
                '\\' => is_escaped = true,
                '"' => {
                    self.at += 1 + at + 1;
                    let has_star = !is_key && self.rest().starts_with('*');
                    self.at += usize::from(has_star);
                    let follows_well = self.rest().chars().next().is_none_or(char::is_whitespace)
                        || is_key && OPERATORS.iter().any(|operator| self.rest().starts_with(operator));
                    if !follows_well {
                        return Err(self.error(self.at, "a blank must follow the closing quote"));
                    }
                    return Ok(Part { text, is_quoted: true, has_star, start });
                }
                _ => text.push(char),
            }
        }
        Err(self.error(start, "the closing quote is missing; a quote within quotes is written \\\""))
    }

    fn condition(&self, key: &Part, operator: &'static str, value: Part) -> Result<Condition, QueryError> {
        if operator == ":" {
            return self.field(key, value);
        }
        let comparison = match operator {
            "<" => Some(Comparison::Less),
            "<=" => Some(Comparison::LessOrEqual),
            ">" => Some(Comparison::Greater),
            ">=" => Some(Comparison::GreaterOrEqual),
            _ => None,
        };
        if key.text == "duration" && !key.is_quoted {
            let Some(comparison) = comparison else {
                return Err(
                    self.error(key.start, "durations are compared: write `duration>100ms` or `duration<=1s`")
                );
            };
            let duration_ns = duration(&value.text).ok_or_else(|| {
                self.error(
                    value.start,
                    "this is no duration: write a number and ns, us, ms, s or m, as in 1.5s",
                )
            })?;
            return Ok(Condition::Duration(comparison, duration_ns));
        }
        let test = match (comparison, operator, value.has_star) {
            (Some(comparison), ..) => match value.text.parse() {
                Ok(number) if f64::is_finite(number) && !value.has_star => Test::Compares(comparison, number),
                _ => {
                    let message = format!("`{operator}` compares numbers, and this is none");
                    return Err(self.error(value.start, message));
                }
            },
            (None, "!=", true) => {
                let message = "`!=` takes a whole value; for one that does not begin so, write -key=prefix*";
                return Err(self.error(value.start, message));
            }
            (None, "!=", false) => Test::Differs(value.text),
            (None, _, true) if value.text.is_empty() => Test::Exists,
            (None, _, true) => Test::Prefix(value.text),
            (None, _, false) => Test::Equals(value.text),
        };
        Ok(Condition::Attribute { key: key.text.clone(), test })
    }

    fn field(&self, key: &Part, value: Part) -> Result<Condition, QueryError> {
        let pattern = |value: Part| match value.has_star {
            true => Pattern::Prefix(value.text),
            false => Pattern::Exact(value.text),
        };
        match key.text.as_str() {
            "service" => Ok(Condition::Service(pattern(value))),
            "operation" | "name" => Ok(Condition::Operation(pattern(value))),
            "kind" => self.one_of(&value, &KINDS).map(Condition::Kind),
            "status" => self.one_of(&value, &STATUSES).map(Condition::Status),
            "trace" => TraceId::parse(&value.text)
                .filter(|_| !value.has_star)
                .map(Condition::Trace)
                .ok_or_else(|| {
                    self.error(
                        value.start,
                        "this is no trace id: up to 32 hexadecimal digits, not all of them zero",
                    )
                }),
            other => {
                let message = format!(
                    "there is no field `{other}`, only {}; an attribute is asked for by `{other}=value`, text with a \
                     colon stands in quotes",
                    FIELDS.join(", ")
                );
                Err(self.error(key.start, message))
            }
        }
    }

    fn one_of<T: Copy>(&self, value: &Part, names: &[(&str, T)]) -> Result<T, QueryError> {
        let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(&value.text) && !value.has_star);
        found.map(|(_, of)| *of).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            self.error(value.start, format!("this is none of {}", names.join(", ")))
        })
    }
}

/// Nanoseconds of a number and its unit.
fn duration(text: &str) -> Option<u64> {
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
