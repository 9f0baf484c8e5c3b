//! The meaning of a counter whose count is one.

use std::borrow::Cow;

/// The nouns that meanings begin with.
const NOUNS: [(&str, &str); 12] = [
    ("bytes ", "byte "),
    ("calls ", "call "),
    ("connections ", "connection "),
    ("events ", "event "),
    ("messages ", "message "),
    ("of these bytes, those that were ", "of these bytes, the one that was "),
    ("OTLP exports ", "OTLP export "),
    ("processes ", "process "),
    ("records ", "record "),
    ("requests ", "request "),
    ("responses ", "response "),
    ("spans ", "span "),
];

/// The words that refer to the noun.
const WORDS: [(&str, &str); 9] = [
    ("that speak ", "that speaks "),
    ("that were ", "that was "),
    ("they carry ", "it carries "),
    ("they fit ", "it fits "),
    ("they were ", "it was "),
    ("they ", "it "),
    ("their spans have ", "its span has "),
    ("their ", "its "),
    (" them", " it"),
];

/// What a person reads after this count: `1 connection that speaks TLS`.
pub fn meaning_of(count: u64, meaning: &str) -> Cow<'_, str> {
    if count != 1 {
        return Cow::Borrowed(meaning);
    }
    let noun = NOUNS.iter().find_map(|(many, one)| Some(format!("{one}{}", meaning.strip_prefix(many)?)));
    let Some(text) = noun else { return Cow::Borrowed(meaning) };
    Cow::Owned(WORDS.iter().fold(text, |text, (many, one)| text.replace(many, one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Counter;

    #[test]
    fn one_of_a_kind_is_told_in_the_singular() {
        for counter in Counter::ALL {
            let (many, one) = (meaning_of(2, counter.meaning()), meaning_of(1, counter.meaning()));
            assert_eq!(many, counter.meaning());
            assert_ne!(one, many, "{}", counter.name());
            let has = |word: &str| one.split(|c: char| !c.is_alphabetic()).any(|other| other == word);
            assert!(!["they", "their", "them"].into_iter().any(has), "{one}");
        }
        for (counter, expected) in [
            (Counter::Connections, "connection with traffic"),
            (Counter::ConnectionsTls, "connection that speaks TLS: not read"),
            (Counter::BytesCopied, "of these bytes, the one that was copied to the agent"),
            (Counter::SelectedLate, "process that ran before it was selected"),
            (Counter::HeadersForwarded, "call whose forwarded trace header was made to name it"),
            (Counter::MessagesLost, "message missing from the log: standard error took too little"),
        ] {
            assert_eq!(meaning_of(1, counter.meaning()), expected);
        }
    }
}
