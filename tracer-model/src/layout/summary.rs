//! A trace in a list.

use std::{collections::HashMap, ptr};

use super::{describe, own_time, tree::Tree};
use crate::{
    answer::{ServiceShare, TraceSummary},
    span::Span,
};

/// Services of a summary. A trace has few, unless somebody makes up their names.
pub const MOST_SERVICES: usize = 64;

/// The summary of the spans of one trace. Of no spans it is empty.
pub fn summarize(spans: &[Span]) -> TraceSummary {
    of(&Tree::new(spans))
}

/// The summary of a trace.
pub(super) fn of(tree: &Tree<'_>) -> TraceSummary {
    let Some(root) = tree.root() else { return TraceSummary::default() };
    let root_span = tree.span(root);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    TraceSummary {
        trace_id: root_span.trace_id.hex(),
        root_service: describe::name(root_span.service_name()).to_owned(),
        root_name: describe::name(&root_span.name).to_owned(),
        root_target: describe::target(root_span),
        has_root: root_span.parent_span_id.is_none(),
        root_kind: root_span.kind.into(),
        start_unix_us: tree.first_unix_ns() / 1000,
        duration_ns: tree.last_ns(),
        spans: count(tree.len()),
        errors: count((0..tree.len()).filter(|at| tree.span(*at).is_error()).count()),
        http_status: describe::http_status(&root_span.attributes),
        services: shares(tree),
        matched_span_id: None,
    }
}

/// Services by the time that is their own, then by name.
fn shares(tree: &Tree<'_>) -> Vec<ServiceShare> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut shares: Vec<ServiceShare> = Vec::new();
    // Spans of one instance mostly come together.
    let mut last = (ptr::null(), 0);
    for at in 0..tree.len() {
        let span = tree.span(at);
        let resource = ptr::from_ref(&*span.resource);
        if last.0 != resource {
            let name = describe::name(span.service_name());
            let place = *places.entry(name).or_insert_with(|| {
                shares.push(ServiceShare { service: name.to_owned(), ..ServiceShare::default() });
                shares.len() - 1
            });
            last = (resource, place);
        }
        let share = &mut shares[last.1];
        share.spans += 1;
        share.self_ns = share.self_ns.saturating_add(own_time::own_ns(tree, at));
        share.errors += u32::from(span.is_error());
    }
    shares.sort_by(|one, other| (other.self_ns, &one.service).cmp(&(one.self_ns, &other.service)));
    shares.truncate(MOST_SERVICES);
    shares
}
