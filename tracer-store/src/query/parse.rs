//! Reads a query.

use tracer_model::span::TraceId;

use super::{
    Comparison, Condition, FIELDS, IdPrefix, KINDS, MAX_QUERY_BYTES, MAX_TERMS, NUMBERS, Needle, Query,
    QueryError, STATUSES, Term, Test, WORDS,
    nearest::{meant, nearest},
    utf16_at,
    value::duration_ns,
};

impl Query {
    /// Reads a query. Empty text asks for any span.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_BYTES {
            let message = format!("the query has {} bytes; at most {MAX_QUERY_BYTES} are read", text.len());
            return Err(QueryError { message, at_utf16: 0, at_byte: 0 });
        }
        let mut reader = Reader { text, at: 0 };
        let mut lists = vec![Vec::new()];
        let mut count = 0;
        let mut word = None;
        while reader.skip_blanks() {
            let start = reader.at;
            let Some(next) = reader.word() else {
                if count == MAX_TERMS {
                    let message = format!("a query has at most {MAX_TERMS} terms; leave some out");
                    return Err(reader.error(start, message));
                }
                count += 1;
                word = None;
                if let Some(list) = lists.last_mut() {
                    list.push(reader.term()?);
                }
                continue;
            };
            if word.is_some() || lists.last().is_none_or(Vec::is_empty) {
                return Err(reader.misplaced(next, start));
            }
            if next == "OR" {
                lists.push(Vec::new());
            }
            word = Some((next, start));
        }
        if let Some((word, start)) = word {
            return Err(reader.misplaced(word, start));
        }
        let terms = match <[Vec<Term>; 1]>::try_from(lists) {
            Ok([terms]) => terms,
            Err(lists) => vec![Term { is_negated: false, condition: Condition::Any(lists) }],
        };
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

    pub(super) fn error(&self, at: usize, message: impl Into<String>) -> QueryError {
        QueryError { message: message.into(), at_utf16: utf16_at(self.text, at), at_byte: at }
    }

    /// `OR` or `AND`, if one stands here by itself.
    fn word(&mut self) -> Option<&'static str> {
        let rest = self.rest();
        let word = WORDS.into_iter().find(|word| {
            let after = rest.strip_prefix(word);
            after.is_some_and(|after| after.chars().next().is_none_or(char::is_whitespace))
        })?;
        self.at += word.len();
        Some(word)
    }

    fn misplaced(&self, word: &str, at: usize) -> QueryError {
        self.error(
            at,
            format!("`{word}` stands between two terms; to search for the word, write \"{word}\" in quotes"),
        )
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
        if self.rest().chars().next().is_none_or(char::is_whitespace) {
            let message = format!("a value is missing after `{operator}`; an empty one is written \"\"");
            return Err(self.error(self.at, message));
        }
        let is_field = FIELDS.contains(&key.text.as_str());
        if !key.is_quoted && (is_field || operator == ":") {
            let condition = self.field(&key, operator)?;
            return Ok(Term { is_negated: is_negated != (operator == "!="), condition });
        }
        let value = self.part(false)?;
        if operator == ":" {
            return Err(self.error(key.start, unknown(&key.text, &value.text)));
        }
        if NUMBERS.contains(&key.text.as_str()) && !key.is_quoted {
            let (condition, flips) = self.number(&key, operator, &value)?;
            return Ok(Term { is_negated: is_negated != flips, condition });
        }
        Ok(Term { is_negated, condition: self.attribute(&key, operator, value)? })
    }

    pub(super) fn operator(&mut self) -> Option<&'static str> {
        let operator = OPERATORS.into_iter().find(|operator| self.rest().starts_with(operator))?;
        self.at += operator.len();
        Some(operator)
    }

    /// A key, which ends at an operator or a blank, or a value, which ends at a blank.
    pub(super) fn part(&mut self, is_key: bool) -> Result<Part, QueryError> {
        if !is_key {
            return self.value_until(char::is_whitespace);
        }
        let start = self.at;
        if self.rest().starts_with('"') {
            return self.quoted(start, true, char::is_whitespace);
        }
        let rest = self.rest();
        let ends = |(at, char): &(usize, char)| {
            char.is_whitespace()
                || *at > 0 && OPERATORS.iter().any(|operator| rest[*at..].starts_with(operator))
        };
        let end = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
        let part = Part { text: rest[..end].to_owned(), is_quoted: false, has_star: false, start };
        self.at += end;
        Ok(part)
    }

    /// A value, which ends at a letter that ends values.
    pub(super) fn value_until(&mut self, ends: fn(char) -> bool) -> Result<Part, QueryError> {
        let start = self.at;
        if self.rest().starts_with('"') {
            return self.quoted(start, false, ends);
        }
        let rest = self.rest();
        let end = rest.find(ends).unwrap_or(rest.len());
        let text = &rest[..end];
        let bare = text.strip_suffix('*');
        let part =
            Part { text: bare.unwrap_or(text).to_owned(), is_quoted: false, has_star: bare.is_some(), start };
        self.at += end;
        Ok(part)
    }

    fn quoted(&mut self, start: usize, is_key: bool, ends: fn(char) -> bool) -> Result<Part, QueryError> {
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
                    let follows_well = self.rest().chars().next().is_none_or(ends)
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

    /// A field that is a number, and whether the opposite is asked for.
    fn number(
        &self,
        key: &Part,
        operator: &'static str,
        value: &Part,
    ) -> Result<(Condition, bool), QueryError> {
        let is_duration = key.text.ends_with("duration");
        let comparison = match (comparison(operator), operator) {
            (Some(comparison), _) => comparison,
            (None, "=" | "!=") if !is_duration => Comparison::Equal,
            (None, _) => {
                let field = &key.text;
                let message = if is_duration {
                    format!("durations are compared: write `{field}>100ms` or `{field}<=1s`")
                } else {
                    format!("`{field}` is a number: write `{field}>10` or `{field}=0`")
                };
                return Err(self.error(key.start, message));
            }
        };
        let condition = if is_duration {
            let duration_ns = duration_ns(&value.text).ok_or_else(|| {
                self.error(
                    value.start,
                    "this is no duration: write a number and ns, us, ms, s or m, as in 1.5s",
                )
            })?;
            match key.text.as_str() {
                "duration" => Condition::Duration(comparison, duration_ns),
                _ => Condition::TraceDuration(comparison, duration_ns),
            }
        } else {
            let number = value.text.parse().ok().filter(|_| !value.has_star);
            let number =
                number.ok_or_else(|| self.error(value.start, format!("`{}` is a whole number", key.text)))?;
            match key.text.as_str() {
                "trace.spans" => Condition::TraceSpans(comparison, number),
                _ => Condition::TraceErrors(comparison, number),
            }
        };
        Ok((condition, operator == "!="))
    }

    fn attribute(&self, key: &Part, operator: &'static str, value: Part) -> Result<Condition, QueryError> {
        let test = match (comparison(operator), operator, value.has_star) {
            (Some(comparison), ..) => match value.text.parse() {
                Ok(number) if f64::is_finite(number) && !value.has_star => Test::Compares(comparison, number),
                _ => {
                    let meant = meant(&key.text, operator, &value.text).filter(|_| !key.is_quoted);
                    let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
                    let message = format!("`{operator}` compares numbers, and this is none{meant}");
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

    /// What follows a field and its operator.
    fn field(&mut self, key: &Part, operator: &'static str) -> Result<Condition, QueryError> {
        const NO_VALUE: &str = "a value is missing after `=`; an empty one is written \"\"";
        if !matches!(operator, ":" | "!=") {
            let value = self.part(false)?;
            let field = &key.text;
            let message = format!(
                "`{field}` is a field: did you mean {field}:{}? An attribute of this name stands in quotes, as in \
                 \"{field}\"{operator}{}",
                value.text, value.text
            );
            return Err(self.error(key.start, message));
        }
        match key.text.as_str() {
            "service" => self.pattern(char::is_whitespace, NO_VALUE).map(Condition::Service),
            "operation" | "name" => self.pattern(char::is_whitespace, NO_VALUE).map(Condition::Operation),
            "calls" => self.calls(),
            "kind" => self.one_of(&KINDS).map(Condition::Kind),
            "status" => self.one_of(&STATUSES).map(Condition::Status),
            "trace" => {
                let value = self.part(false)?;
                let condition = if value.has_star {
                    IdPrefix::parse(&value.text).map(Condition::TraceBegins)
                } else {
                    TraceId::parse(&value.text).map(Condition::Trace)
                };
                condition.ok_or_else(|| {
                    self.error(
                        value.start,
                        "this is no trace id: up to 32 hexadecimal digits, not all of them zero, or the first \
                         of them and a star",
                    )
                })
            }
            other => {
                let value = self.part(false)?;
                if NUMBERS.contains(&other) {
                    return self.number(key, operator, &value).map(|(condition, _)| condition);
                }
                Err(self.error(key.start, unknown(other, &value.text)))
            }
        }
    }

    fn one_of<T: Copy>(&mut self, names: &[(&'static str, T)]) -> Result<T, QueryError> {
        let value = self.part(false)?;
        let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(&value.text) && !value.has_star);
        found.map(|(_, of)| *of).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let meant = nearest(&value.text, names.iter().copied());
            let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            self.error(value.start, format!("this is none of {}{meant}", names.join(", ")))
        })
    }
}

fn comparison(operator: &str) -> Option<Comparison> {
    match operator {
        "<" => Some(Comparison::Less),
        "<=" => Some(Comparison::LessOrEqual),
        ">" => Some(Comparison::Greater),
        ">=" => Some(Comparison::GreaterOrEqual),
        _ => None,
    }
}

/// What is told of a field that there is not.
fn unknown(key: &str, value: &str) -> String {
    let meant = meant(key, ":", value).map(|meant| format!(": did you mean {meant}?")).unwrap_or_default();
    let meant = if meant.is_empty() { format!(", only {}.", FIELDS.join(", ")) } else { meant };
    format!(
        "there is no field `{key}`{meant} An attribute is asked for by `{key}=value`, text with a colon stands in quotes"
    )
}
