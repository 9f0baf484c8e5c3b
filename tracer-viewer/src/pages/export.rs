//! One trace as a page that needs no server.

use tracer_model::answer::TraceAnswer;

/// The page without a trace; none if the front end was not built.
static PAGE: Option<&str> = include!(concat!(env!("OUT_DIR"), "/export.rs"));

/// What the page has in place of the trace: a JSON string, quotes included.
const MARKER: &str = "\"__TRACER_EXPORT__\"";

/// The page with a trace. None if the front end was not built.
pub(crate) fn export_page(trace: &TraceAnswer) -> Option<String> {
    fill(PAGE?, trace)
}

fn fill(page: &str, trace: &TraceAnswer) -> Option<String> {
    let (before, after) = page.split_once(MARKER)?;
    Some(format!("{before}{}{after}", harmless(&serde_json::to_string(trace).ok()?)))
}

/// The same JSON, in which no text can end the element that holds it, or a line of a script. Outside of strings JSON
/// has none of these characters; inside, an escape means the same.
fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(char)))
            }
            _ => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tracer_model::answer::TraceSummary;

    use super::*;

    #[test]
    fn text_of_traffic_cannot_leave_its_element() {
        let hostile = "</script><script>alert(1)</script><!-- \u{2028} ]]> & \u{202e} \0".to_owned();
        let summary = TraceSummary { root_name: hostile, ..TraceSummary::default() };
        let trace = TraceAnswer { summary, ..TraceAnswer::default() };
        let page = fill("<script type=\"application/json\">\"__TRACER_EXPORT__\"</script>", &trace).unwrap();
        let json = page
            .strip_prefix("<script type=\"application/json\">")
            .unwrap()
            .strip_suffix("</script>")
            .unwrap();
        assert!(!json.contains(['<', '>', '&', '\u{2028}', '\0']), "{json}");
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
