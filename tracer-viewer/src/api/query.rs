//! Query parameters, read one by one, so that what is wrong with one is said with its name, its value and what is allowed.

use std::{borrow::Cow, fmt::Display, ops::RangeInclusive, str::FromStr};

use crate::problem::Problem;

/// Parameters of one request. More than these no route has.
const MAX_PARAMETERS: usize = 32;

/// Characters of a value that an error repeats.
const MAX_REPEATED: usize = 80;

/// What a route is asked by its query.
pub(crate) trait FromQuery: Sized {
    /// Names of the parameters.
    const NAMES: &'static [&'static str];

    /// Reads them.
    fn read(asked: &Asked<'_>) -> Result<Self, Problem>;
}

/// Parameters of one request.
pub(crate) struct Asked<'query>(Vec<(Cow<'query, str>, Cow<'query, str>)>);

/// Reads the query of a request.
pub(crate) fn read<T: FromQuery>(query: &str) -> Result<T, Problem> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).take(MAX_PARAMETERS + 1).collect();
    if pairs.len() > MAX_PARAMETERS {
        return Err(Problem::wrong(format!("more than {MAX_PARAMETERS} parameters: {}", known(T::NAMES))));
    }
    for (at, (name, _)) in pairs.iter().enumerate() {
        if !T::NAMES.contains(&&**name) {
            return Err(Problem::wrong(format!(
                "there is no parameter {}: {}",
                repeated(name),
                known(T::NAMES)
            )));
        }
        if pairs[..at].iter().any(|(before, _)| before == name) {
            return Err(Problem::wrong(format!("{name} is given more than once")));
        }
    }
    T::read(&Asked(pairs))
}

fn known(names: &[&str]) -> String {
    format!("this route has {}", list(names, "and"))
}

/// `a, b and c`.
fn list(names: &[&str], last: &str) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// A value as an error repeats it: quoted, without control characters, and not for long.
fn repeated(value: &str) -> String {
    match value.char_indices().nth(MAX_REPEATED) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes)", &value[..end], value.len()),
    }
}

impl Asked<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Text; empty if it is absent.
    pub(super) fn text(&self, name: &str) -> String {
        self.value(name).unwrap_or_default().to_owned()
    }

    /// A number within bounds.
    pub(super) fn number<T>(&self, name: &str, allowed: RangeInclusive<T>) -> Result<Option<T>, Problem>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.value(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| allowed.contains(number));
        number.map(Some).ok_or_else(|| {
            let (least, most) = allowed.into_inner();
            Problem::wrong(format!("{name} must be from {least} to {most}, not {}", repeated(text)))
        })
    }

    /// A moment, microseconds since 1970.
    pub(super) fn moment_us(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.value(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            let message = format!("{name} must be whole microseconds since 1970, not {}", repeated(text));
            Problem::wrong(message)
        })
    }

    /// Yes or no; no if it is absent.
    pub(super) fn truth(&self, name: &str) -> Result<bool, Problem> {
        self.one_of(name, &[("true", true), ("false", false)]).map(Option::unwrap_or_default)
    }

    /// One of some words.
    pub(super) fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, meaning)| Some(*meaning))
            .ok_or_else(|| Problem::wrong(format!("{name} must be {}, not {}", among(words), repeated(text))))
    }

    /// The same, where one must be given.
    pub(super) fn needed<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<T, Problem> {
        self.one_of(name, words)?
            .ok_or_else(|| Problem::wrong(format!("{name} is missing: it must be {}", among(words))))
    }
}

fn among<T>(words: &[(&str, T)]) -> String {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    list(&words, "or")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Sample {
        text: String,
        number: Option<u32>,
        moment: Option<u64>,
        truth: bool,
        word: Option<u8>,
    }

    impl FromQuery for Sample {
        const NAMES: &'static [&'static str] = &["text", "number", "moment", "truth", "word"];

        fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
            Ok(Self {
                text: asked.text("text"),
                number: asked.number("number", 1..=9)?,
                moment: asked.moment_us("moment")?,
                truth: asked.truth("truth")?,
                word: asked.one_of("word", &[("one", 1), ("two", 2), ("three", 3)])?,
            })
        }
    }

    fn error(query: &str) -> String {
        read::<Sample>(query).expect_err(query).error.error
    }

    #[test]
    fn what_is_given_is_read() {
        let read =
            read::<Sample>("text=a+b%26&number=9&moment=18446744073709551615&truth=true&word=two").unwrap();
        let text = "a b&".to_owned();
        let expected = Sample { text, number: Some(9), moment: Some(u64::MAX), truth: true, word: Some(2) };
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_absent_is_none() {
        let expected = Sample { text: String::new(), number: None, moment: None, truth: false, word: None };
        assert_eq!(read::<Sample>("").unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_value_and_what_is_allowed() {
        for (query, message) in [
            ("number=x", "number must be from 1 to 9, not \"x\""),
            ("number=", "number must be from 1 to 9, not \"\""),
            ("number=10", "number must be from 1 to 9, not \"10\""),
            ("number=99999999999", "number must be from 1 to 9, not \"99999999999\""),
            ("moment=-1", "moment must be whole microseconds since 1970, not \"-1\""),
            ("truth=yes", "truth must be true or false, not \"yes\""),
            ("word=four", "word must be one, two or three, not \"four\""),
            ("text=1&text=2", "text is given more than once"),
            ("odd=1", "there is no parameter \"odd\": this route has text, number, moment, truth and word"),
        ] {
            assert_eq!(error(query), message);
        }
    }

    #[test]
    fn a_value_is_repeated_within_bounds() {
        let message = error(&format!("word={}", "%0a".repeat(1000)));
        assert!(message.ends_with("\\n\"… (1000 bytes)") && message.len() < 300, "{message}");
        let many = "text=1&".repeat(1000);
        assert!(error(&many).starts_with("more than 32 parameters: this route has text,"));
    }
}
