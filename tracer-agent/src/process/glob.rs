//! Patterns for paths and command lines: `*` is any run of characters (also of `/`), `?` one
//! character, `[a-z]` one of a set, `\` takes the next one as it is.

#![forbid(unsafe_code)]

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    One(char),
    Any,
    Run,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A set without its end, or a trailing backslash.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(next) = rest.next() {
            parts.push(match next {
                '*' => Part::Run,
                '?' => Part::Any,
                '\\' => Part::One(rest.next().ok_or("a backslash at the end stands for nothing")?),
                '[' => {
                    let negated = rest.next_if(|c| matches!(c, '!' | '^')).is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let first = rest.next().ok_or("a set [...] has no end")?;
                        if first == ']' && !ranges.is_empty() {
                            break;
                        }
                        let last = match rest.next_if_eq(&'-') {
                            Some(_) if rest.peek() == Some(&']') => {
                                ranges.push((first, first));
                                '-'
                            }
                            Some(_) => rest.next().ok_or("a set [...] has no end")?,
                            None => first,
                        };
                        ranges.push(if last == '-' && first != '-' { ('-', '-') } else { (first, last) });
                    }
                    Part::Set { negated, ranges }
                }
                other => Part::One(other),
            });
        }
        parts.dedup_by(|a, b| *a == Part::Run && *b == Part::Run);
        Ok(Self(parts))
    }

    /// The text that alone matches, if there is only one.
    pub fn literal(&self) -> Option<String> {
        self.0.iter().map(|part| if let Part::One(c) = part { Some(*c) } else { None }).collect()
    }

    /// The text behind a leading `*`, if the pattern is that and no more.
    pub fn suffix(&self) -> Option<String> {
        match self.0.split_first() {
            Some((Part::Run, rest)) => Self(rest.to_vec()).literal(),
            _ => None,
        }
    }

    /// Whether the whole text matches. Time is bounded by the product of both lengths: after a
    /// mismatch only the last `*` takes one character more.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut part, mut at) = (0, 0);
        let mut retry = None;
        while at < text.len() || part < self.0.len() {
            let fits = match (self.0.get(part), text.get(at)) {
                (Some(Part::Run), _) => {
                    retry = Some((part, at));
                    part += 1;
                    continue;
                }
                (Some(Part::Any), Some(_)) => true,
                (Some(Part::One(want)), Some(have)) => want == have,
                (Some(Part::Set { negated, ranges }), Some(have)) => {
                    ranges.iter().any(|(first, last)| first <= have && have <= last) != *negated
                }
                _ => false,
            };
            if fits {
                part += 1;
                at += 1;
                continue;
            }
            match &mut retry {
                Some((star, from)) if *from < text.len() => {
                    *from += 1;
                    part = *star + 1;
                    at = *from;
                }
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("*/nginx", "/usr/sbin/nginx", true),
            ("*/nginx", "/usr/sbin/nginx2", false),
            ("nginx", "/usr/sbin/nginx", false),
            ("/opt/*/bin/?pp", "/opt/a/b/bin/app", true),
            ("*gunicorn*shop.app*", "python3 -m gunicorn -w 2 shop.app:app", true),
            ("a[0-9]c", "a5c", true),
            ("a[!0-9]c", "a5c", false),
            ("a[b-]c", "a-c", true),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("*a*b", "xaxxbxb", true),
        ] {
            assert_eq!(Glob::new(pattern).expect(pattern).matches(text), expected, "{pattern} on {text}");
        }
        assert!(Glob::new("[a").is_err());
        assert!(Glob::new("a\\").is_err());
    }

    #[test]
    fn stars_do_not_blow_up() {
        let glob = Glob::new(&"*a".repeat(50)).expect("valid");
        assert!(!glob.matches(&"a".repeat(49)));
        assert!(!glob.matches(&format!("{}b", "a".repeat(5000))));
    }

    #[test]
    fn what_the_kernel_can_decide_is_told() {
        assert_eq!(Glob::new("/usr/bin/x").expect("valid").literal().as_deref(), Some("/usr/bin/x"));
        assert_eq!(Glob::new("*/nginx").expect("valid").suffix().as_deref(), Some("/nginx"));
        assert_eq!(Glob::new("*ng*").expect("valid").suffix(), None);
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_made_of_a_text_matches_it(text in "[a-z/]{0,20}", cut in 0usize..20) {
            let cut = cut.min(text.len());
            let pattern = format!("{}*", &text[..cut]);
            proptest::prop_assert!(Glob::new(&pattern).expect("valid").matches(&text));
        }
    }
}
