//! Writes a query as text that is read back as the same query.

use std::fmt::{self, Display, Formatter, Write};

use super::{
    Condition, FIELDS, KINDS, NUMBERS, Pattern, Query, STATUSES, Term, Test, WORDS, parse::OPERATORS,
};

impl Display for Query {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let any = self.terms.iter().position(|term| matches!(term.condition, Condition::Any(_)));
        let Some((any, Condition::Any(lists))) = any.map(|any| (any, &self.terms[any].condition)) else {
            return list(formatter, self.terms.iter());
        };
        // The other terms belong to each list: there are no parentheses.
        for (place, of_list) in lists.iter().enumerate() {
            if place > 0 {
                formatter.write_str(" OR ")?;
            }
            list(formatter, self.terms[..any].iter().chain(of_list).chain(&self.terms[any + 1..]))?;
        }
        Ok(())
    }
}

fn list<'of>(formatter: &mut Formatter<'_>, terms: impl Iterator<Item = &'of Term>) -> fmt::Result {
    for (place, term) in terms.enumerate() {
        if place > 0 {
            formatter.write_char(' ')?;
        }
        write!(formatter, "{term}")?;
    }
    Ok(())
}

impl Display for Term {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if self.is_negated {
            formatter.write_char('-')?;
        }
        write!(formatter, "{}", self.condition)
    }
}

impl Display for Condition {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(pattern) => write!(formatter, "service:{pattern}"),
            Self::Operation(pattern) => write!(formatter, "operation:{pattern}"),
            Self::Kind(kind) => write!(formatter, "kind:{}", name_of(&KINDS, kind)),
            Self::Status(status) => write!(formatter, "status:{}", name_of(&STATUSES, status)),
            Self::Trace(trace_id) => write!(formatter, "trace:{}", trace_id.hex()),
            Self::TraceBegins(prefix) => write!(formatter, "trace:{prefix}*"),
            Self::Duration(comparison, duration_ns) => {
                write!(formatter, "duration{}{}", comparison.text(), duration_text(*duration_ns))
            }
            Self::Attribute { key, test } => {
                let key = key_text(key);
                match test {
                    Test::Exists => write!(formatter, "{key}=*"),
                    Test::Equals(value) => write!(formatter, "{key}={}", value_text(value)),
                    Test::Differs(value) => write!(formatter, "{key}!={}", value_text(value)),
                    Test::Prefix(prefix) => write!(formatter, "{key}={}*", value_text(prefix)),
                    Test::Compares(comparison, number) => {
                        write!(formatter, "{key}{}{number}", comparison.text())
                    }
                }
            }
            Self::Text(needle) => formatter.write_str(&word_text(needle.text())),
            Self::TraceDuration(comparison, duration_ns) => {
                write!(formatter, "trace.duration{}{}", comparison.text(), duration_text(*duration_ns))
            }
            Self::TraceSpans(comparison, spans) => {
                write!(formatter, "trace.spans{}{spans}", comparison.text())
            }
            Self::TraceErrors(comparison, errors) => {
                write!(formatter, "trace.errors{}{errors}", comparison.text())
            }
            Self::Calls { from, to } => {
                write!(formatter, "calls:{}>{}", side_text(from), pattern_text(to))
            }
            Self::Any(lists) => {
                for (place, terms) in lists.iter().enumerate() {
                    if place > 0 {
                        formatter.write_str(" OR ")?;
                    }
                    list(formatter, terms.iter())?;
                }
                Ok(())
            }
        }
    }
}

impl Display for Pattern {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&pattern_text(self))
    }
}

/// A pattern as it stands in a query.
fn pattern_text(pattern: &Pattern) -> String {
    with_value(pattern, value_text)
}

/// A pattern that a `>` follows.
fn side_text(pattern: &Pattern) -> String {
    // An arrow is not read as a name and a `>`.
    let is_quoted = |text: &str| text.contains('>') || text.ends_with('-');
    with_value(pattern, |text| if is_quoted(text) { quoted(text) } else { value_text(text) })
}

fn with_value(pattern: &Pattern, value: impl Fn(&str) -> String) -> String {
    // `=` at the beginning asks for the exact text.
    let value = |text: &str| if text.starts_with('=') { quoted(text) } else { value(text) };
    match pattern {
        Pattern::Exact(text) => format!("={}", value(text)),
        Pattern::Prefix(text) if text.is_empty() => "=*".to_owned(),
        Pattern::Prefix(text) => format!("={}*", value(text)),
        Pattern::Like(text) => value(text),
        Pattern::LikePrefix(text) if text.is_empty() => "*".to_owned(),
        Pattern::LikePrefix(text) => format!("{}*", value(text)),
    }
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], of: &T) -> &'static str {
    names.iter().find(|(_, value)| value == of).map_or("", |(name, _)| name)
}

/// The largest unit in which a duration is a whole number.
fn duration_text(duration_ns: u64) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    let unit = units
        .into_iter()
        .find(|(unit_ns, _)| duration_ns >= *unit_ns && duration_ns.is_multiple_of(*unit_ns));
    let (unit_ns, name) = unit.unwrap_or((1, "ns"));
    format!("{}{name}", duration_ns / unit_ns)
}

/// A value as it stands in a query: in quotes if it must.
pub(crate) fn value_text(text: &str) -> String {
    let is_bare = !text.is_empty()
        && !text.starts_with('"')
        && !text.ends_with('*')
        && !text.contains(|char: char| char.is_whitespace() || char.is_control());
    if is_bare { text.to_owned() } else { quoted(text) }
}

/// A key as it stands in a query.
pub(crate) fn key_text(key: &str) -> String {
    let is_field = FIELDS.contains(&key) || NUMBERS.contains(&key);
    if is_field { quoted(key) } else { word_text(key) }
}

fn word_text(text: &str) -> String {
    let has_operator = OPERATORS.iter().any(|operator| text.contains(operator));
    let is_bare = !text.is_empty()
        && !has_operator
        && !WORDS.contains(&text)
        && !text.starts_with(['"', '-'])
        && !text.contains(|char: char| char.is_whitespace() || char.is_control());
    // `!` at the end of a key would make `!=` of the `=` that follows.
    if is_bare && !text.ends_with('!') { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_model::span::{Kind, StatusCode, TraceId};

    use crate::query::{Comparison, Condition, IdPrefix, Needle, Pattern, Query, Term, Test};

    fn patterns() -> impl Strategy<Value = Pattern> {
        let texts = prop_oneof![any::<String>(), "[a-z:!=<>*\" \\\\-]{0,5}"];
        (texts, 0..4).prop_map(|(text, form)| match form {
            0 => Pattern::Prefix(text),
            1 => Pattern::Exact(text),
            2 => Pattern::LikePrefix(text),
            _ => Pattern::Like(text),
        })
    }

    fn tests() -> impl Strategy<Value = Test> {
        prop_oneof![
            Just(Test::Exists),
            any::<String>().prop_map(Test::Equals),
            "[a-z!=<>*\" \\\\-]{0,5}".prop_map(Test::Equals),
            any::<String>().prop_map(Test::Differs),
            any::<String>().prop_filter("a prefix has text", |text| !text.is_empty()).prop_map(Test::Prefix),
            (-1e12..1e12).prop_map(|number| Test::Compares(Comparison::Greater, number)),
            any::<i32>().prop_map(|number| Test::Compares(Comparison::LessOrEqual, number.into())),
        ]
    }

    fn conditions() -> impl Strategy<Value = Condition> {
        let texts = prop_oneof![any::<String>(), "[a-z:!=<>*\" \\\\-]{0,5}"];
        let fields =
            prop::sample::select(vec!["duration", "service", "trace.spans", "calls", "status", "OR"]);
        let keys = prop_oneof![
            any::<String>(),
            "[a-z.!=<>*\" \\\\-]{0,5}",
            fields.prop_map(|field| field.to_owned())
        ];
        let texts = prop_oneof![4 => texts, 1 => Just("OR".to_owned()), 1 => Just("AND".to_owned())];
        let sides = (patterns(), patterns()).prop_filter(
            "a caller has a name",
            |(from, _)| !matches!(from, Pattern::Like(text) if text.is_empty()),
        );
        prop_oneof![
            (any::<u64>(), any::<bool>()).prop_map(|(number, is_equal)| {
                let comparison = if is_equal { Comparison::Equal } else { Comparison::Greater };
                Condition::TraceSpans(comparison, number)
            }),
            any::<u64>().prop_map(|number| Condition::TraceErrors(Comparison::LessOrEqual, number)),
            any::<u64>().prop_map(|number| Condition::TraceDuration(Comparison::Less, number)),
            sides.prop_map(|(from, to)| Condition::Calls { from, to }),
            patterns().prop_map(Condition::Service),
            patterns().prop_map(Condition::Operation),
            Just(Condition::Kind(Kind::Consumer)),
            Just(Condition::Status(StatusCode::Error)),
            (1u128..).prop_map(|id| Condition::Trace(TraceId(id.to_be_bytes()))),
            "[0-9a-f]{1,31}"
                .prop_map(|text| { Condition::TraceBegins(IdPrefix::parse(&text).expect("digits")) }),
            any::<u64>().prop_map(|duration_ns| Condition::Duration(Comparison::Less, duration_ns)),
            (keys, tests()).prop_map(|(key, test)| Condition::Attribute { key, test }),
            texts
                .prop_filter("a word has text", |text| !text.is_empty())
                .prop_map(|text| Condition::Text(Needle::new(&text))),
        ]
    }

    fn terms(least: usize) -> impl Strategy<Value = Vec<Term>> {
        let term =
            (any::<bool>(), conditions()).prop_map(|(is_negated, condition)| Term { is_negated, condition });
        prop::collection::vec(term, least..4)
    }

    proptest! {
        #[test]
        fn a_printed_query_reads_as_the_same_query(
            first in terms(0),
            others in prop::collection::vec(terms(1), 0..3),
        ) {
            let terms = if others.is_empty() || first.is_empty() {
                first
            } else {
                let lists = std::iter::once(first).chain(others).collect();
                vec![Term { is_negated: false, condition: Condition::Any(lists) }]
            };
            let query = Query { terms };
            let text = query.to_string();
            prop_assert_eq!(Query::parse(&text), Ok(query), "{}", text);
        }

        #[test]
        fn no_text_breaks_the_reader(text in any::<String>(), odd in "[a-z:!=<>*\" \\\\-]{0,20}") {
            for text in [text, odd] {
                if let Ok(query) = Query::parse(&text) {
                    prop_assert_eq!(Query::parse(&query.to_string()), Ok(query));
                }
            }
        }
    }
}
