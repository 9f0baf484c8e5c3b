//! A row as the span that it was.

use tracer_model::span::{Attribute, Span, SpanId};

use super::{Segment, SlotKind};

impl Segment {
    pub(crate) fn span(&self, row: usize) -> Span {
        let head = self.head_of(row);
        let (events, links) = self.extras_of(row);
        Span {
            trace_id: self.traces[usize::from(self.trace[row])],
            span_id: self.span_id_of(row),
            parent_span_id: (self.parent[row] != 0).then(|| SpanId(self.parent[row].to_be_bytes())),
            trace_state: self.values.text_of(head.trace_state).into(),
            flags: head.flags,
            name: self.names[head.name as usize].clone(),
            kind: head.kind,
            start_unix_ns: self.start[row],
            end_unix_ns: self.end[row],
            attributes: self.row_attributes(row),
            dropped_attributes: head.dropped_attributes,
            events,
            dropped_events: head.dropped_events,
            links,
            dropped_links: head.dropped_links,
            status: head.status,
            status_message: self.values.text_of(head.status_message).into(),
            resource: self.resources.all[head.resource as usize].clone(),
            scope: self.scopes.all[head.scope as usize].clone(),
        }
    }

    pub(crate) fn row_attributes(&self, row: usize) -> Vec<Attribute> {
        self.wanted_attributes(row, |_| true)
    }

    /// Attributes of a row whose keys, told by their codes, are wanted.
    pub(crate) fn wanted_attributes(&self, row: usize, is_wanted: impl Fn(usize) -> bool) -> Vec<Attribute> {
        let mut loose = self.loose_of(row).iter();
        let slots = self.slots(usize::from(self.template[row]));
        let attributes = slots.iter().filter_map(|slot| {
            let (key, value) = match slot.kind() {
                SlotKind::Pair(pair) => (self.pairs[pair].key as usize, self.pairs[pair].value),
                SlotKind::Loose(key) => (key, *loose.next()?),
            };
            is_wanted(key).then(|| (self.keys[key].name.clone(), self.values.value(value)))
        });
        attributes.collect()
    }
}
