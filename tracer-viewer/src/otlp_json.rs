//! OTLP JSON of many spans, written in batches: the text of all of them never stands beside them in memory, and each
//! batch is gone when it is written.

use std::io::{self, Write};

use tracer_model::{otlp::encode_json, span::Span};

/// Spans of a batch. Each batch has its resources anew.
const BATCH_SPANS: usize = 5000;

const BEGIN: &str = "{\"resourceSpans\":[";
const END: &str = "]}";

/// Writes an `ExportTraceServiceRequest`.
pub(crate) fn write(writer: &mut impl Write, spans: Vec<Span>) -> io::Result<()> {
    let mut spans = spans.into_iter();
    let mut separator = "";
    writer.write_all(BEGIN.as_bytes())?;
    while spans.len() > 0 {
        let batch: Vec<Span> = spans.by_ref().take(BATCH_SPANS).collect();
        let text = encode_json(&batch);
        let inner = text.strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END));
        let inner = inner.ok_or_else(|| io::Error::other("OTLP JSON has another envelope"))?;
        writer.write_all(separator.as_bytes())?;
        writer.write_all(inner.as_bytes())?;
        separator = ",";
    }
    writer.write_all(END.as_bytes())
}

#[cfg(test)]
mod tests {
    use tracer_model::{otlp::decode_json, span::SpanId};

    use super::*;

    fn written(spans: Vec<Span>) -> String {
        let mut text = Vec::new();
        write(&mut text, spans).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn spans(many: u64) -> Vec<Span> {
        let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",
            "spanId":"eee19b7ec3c1b174","name":"a","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}"#;
        let one = decode_json(json.as_bytes()).unwrap().spans.remove(0);
        (1..=many).map(|id| Span { span_id: SpanId(id.to_be_bytes()), ..one.clone() }).collect()
    }

    #[test]
    fn few_spans_are_written_as_ever() {
        assert_eq!(written(spans(3)), encode_json(&spans(3)));
        assert_eq!(written(Vec::new()), encode_json(&[]));
    }

    #[test]
    fn many_spans_are_one_request() {
        let many = 2 * BATCH_SPANS as u64 + 1;
        let decoded = decode_json(written(spans(many)).as_bytes()).unwrap();
        assert!(decoded.refused.is_empty());
        let ids: Vec<u64> = decoded.spans.iter().map(|span| u64::from_be_bytes(span.span_id.0)).collect();
        assert_eq!(ids, (1..=many).collect::<Vec<_>>());
    }
}
