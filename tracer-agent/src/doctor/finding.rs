//! What a check finds, and how that is told.

#![forbid(unsafe_code)]

use serde::Serialize;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is there.
    Ok,
    /// Tracing works, with less.
    Less,
    /// Tracing does not work.
    Missing,
}

impl Verdict {
    /// As JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Less => "less",
            Self::Missing => "missing",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What it is needed for.
    pub why: &'static str,
    /// What can be done; empty if there is nothing to do.
    pub remedy: String,
}

/// A kind of check: what is looked at, and what it is needed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) why: &'static str,
}

impl Check {
    /// All is there.
    pub(super) fn ok(self, detail: impl Into<String>) -> Finding {
        self.finding(Verdict::Ok, detail, "")
    }

    /// Tracing works, with less.
    pub(super) fn less(self, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Verdict::Less, detail, remedy)
    }

    /// Tracing does not work.
    pub(super) fn missing(self, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Verdict::Missing, detail, remedy)
    }

    fn finding(self, verdict: Verdict, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let Self { what, why } = self;
        Finding { what, verdict, detail: detail.into(), why, remedy: remedy.into() }
    }
}

/// The findings as lines, and a verdict.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { what, verdict, detail, remedy, .. } in findings {
        let sign = match verdict {
            Verdict::Ok => "✓",
            Verdict::Less => "–",
            Verdict::Missing => "✗",
        };
        let remedy = if remedy.is_empty() { String::new() } else { format!(": {remedy}") };
        text += &format!("{sign} {what:<17} {detail}{remedy}\n");
    }
    text += if findings.iter().any(|finding| finding.verdict == Verdict::Missing) {
        "\ntracer cannot work here: the lines with ✗ say what is missing.\n"
    } else if findings.iter().any(|finding| finding.verdict == Verdict::Less) {
        "\ntracer works here; the lines with – name its limits.\n"
    } else {
        "\ntracer works here.\n"
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_was_found_and_what_to_do() {
        const CHECK: Check = Check { what: "BPF JIT", why: "speed" };
        let found = [CHECK.less("off", "set it"), CHECK.ok("on")];
        assert_eq!(
            text(&found),
            "– BPF JIT           off: set it\n✓ BPF JIT           on\n\n\
             tracer works here; the lines with – name its limits.\n"
        );
        let json = serde_json::to_value(&found[0]).expect("JSON");
        assert_eq!(json["verdict"], found[0].verdict.name());
        assert_eq!((json["why"].as_str(), json["remedy"].as_str()), (Some("speed"), Some("set it")));
    }
}
