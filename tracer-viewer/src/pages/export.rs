//! One trace as a page that needs no server.

use std::io::{self, Write};

use tracer_model::answer::TraceAnswer;

/// The page without a trace; none if the front end was not built.
static PAGE: Option<&str> = include!(concat!(env!("OUT_DIR"), "/export.rs"));

/// What the page has in place of the trace: a JSON string, quotes included.
const MARKER: &str = "\"__TRACER_EXPORT__\"";

/// The page, before and after the trace.
pub(crate) struct ExportPage<'page>(&'page str, &'page str);

impl ExportPage<'static> {
    /// None if the front end was not built.
    pub(crate) fn new() -> Option<Self> {
        Self::of(PAGE?)
    }
}

impl<'page> ExportPage<'page> {
    fn of(page: &'page str) -> Option<Self> {
        let (before, after) = page.split_once(MARKER)?;
        Some(Self(before, after))
    }

    /// Writes the page with a trace.
    pub(crate) fn write(&self, trace: &TraceAnswer, writer: &mut impl Write) -> io::Result<()> {
        let Self(before, after) = self;
        writer.write_all(before.as_bytes())?;
        serde_json::to_writer(Harmless(&mut *writer), trace)?;
        writer.write_all(after.as_bytes())
    }
}

/// Writes the same JSON so that no text in it can end the element that holds it, or a line of a script. Outside of
/// strings JSON has none of these characters; inside, an escape means the same. It is written whole characters at a time,
/// as `serde_json` does.
struct Harmless<W>(W);

impl<W: Write> Write for Harmless<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some((at, length, escape)) = first_harmful(rest) {
            self.0.write_all(&rest[..at])?;
            self.0.write_all(escape.as_bytes())?;
            rest = &rest[at + length..];
        }
        self.0.write_all(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Where the first such character is, its length, and how it is written.
fn first_harmful(bytes: &[u8]) -> Option<(usize, usize, &'static str)> {
    let mut places = bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'<' | b'>' | b'&' | 0xe2));
    places.find_map(|(at, byte)| match (byte, bytes.get(at + 1..at + 3)) {
        (b'<', _) => Some((at, 1, "\\u003c")),
        (b'>', _) => Some((at, 1, "\\u003e")),
        (b'&', _) => Some((at, 1, "\\u0026")),
        // U+2028 and U+2029 in UTF-8.
        (_, Some([0x80, 0xa8])) => Some((at, 3, "\\u2028")),
        (_, Some([0x80, 0xa9])) => Some((at, 3, "\\u2029")),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use tracer_model::answer::TraceSummary;

    use super::*;

    fn fill(page: &str, trace: &TraceAnswer) -> Option<String> {
        let mut filled = Vec::new();
        ExportPage::of(page)?.write(trace, &mut filled).unwrap();
        Some(String::from_utf8(filled).unwrap())
    }

    #[test]
    fn text_of_traffic_cannot_leave_its_element() {
        let hostile =
            "</script><script>alert(1)</script><!-- \u{2028}\u{2029}\u{2027} ]]> & \u{202e} \0".to_owned();
        let summary = TraceSummary { root_name: hostile, ..TraceSummary::default() };
        let trace = TraceAnswer { summary, ..TraceAnswer::default() };
        let page = fill("<script type=\"application/json\">\"__TRACER_EXPORT__\"</script>", &trace).unwrap();
        let json = page
            .strip_prefix("<script type=\"application/json\">")
            .unwrap()
            .strip_suffix("</script>")
            .unwrap();
        assert!(!json.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\0']), "{json}");
        assert_eq!(serde_json::from_str::<TraceAnswer>(json).unwrap(), trace);
    }

    #[test]
    fn a_trace_that_holds_the_marker_changes_nothing_else() {
        let summary = TraceSummary { root_name: MARKER.to_owned(), ..TraceSummary::default() };
        let trace = TraceAnswer { summary, ..TraceAnswer::default() };
        let page = fill("<\"__TRACER_EXPORT__\">", &trace).unwrap();
        let json = page.strip_prefix('<').unwrap().strip_suffix('>').unwrap();
        assert_eq!(serde_json::from_str::<TraceAnswer>(json).unwrap(), trace);
    }

    #[test]
    fn a_page_without_the_marker_is_none() {
        assert!(fill("<html>", &TraceAnswer::default()).is_none());
    }
}
