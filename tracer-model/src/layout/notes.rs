//! What a reader must know of a trace, in words.

use std::collections::BTreeMap;

use super::{
    describe::{self, Texts, duration},
    tree::Tree,
};

/// Pairs of services whose clocks are told to differ.
const MOST_CLOCKS: usize = 5;

/// Notes on a trace of which `shown` spans are shown.
pub(super) fn of(tree: &Tree<'_>, shown: usize, texts: &Texts) -> Vec<String> {
    let mut notes = Vec::new();
    let odd = &tree.oddities;
    let all = spans(tree.len());
    if shown < tree.len() {
        notes.push(format!("The trace has {all}. The first {shown} are shown: the deepest are left out."));
    }
    match odd.orphans {
        0 => {}
        1 => notes.push(format!("1 of {all} has a parent that is not here. It stands as a root.")),
        orphans => notes.push(format!(
            "{orphans} of {all} have a parent that is not here ({} in all). They stand as roots.",
            counted(odd.missing_parents, "missing parent", "missing parents")
        )),
    }
    match odd.duplicates {
        0 => {}
        1 => notes.push("1 span came twice. It is shown once.".to_owned()),
        count => notes.push(format!("{count} copies of spans came. Each span is shown once.")),
    }
    if odd.cycles > 0 {
        notes.push(format!(
            "Spans name each other, or themselves, as parents: {}. The earliest span of each stands as a root.",
            counted(odd.cycles, "circle", "circles")
        ));
    }
    match odd.backward {
        0 => {}
        1 => notes.push("1 span ends before it starts. It is shown without a duration.".to_owned()),
        count => {
            notes.push(format!("{count} spans end before they start. They are shown without a duration."));
        }
    }
    match odd.undated {
        0 => {}
        1 => notes.push("1 span does not say when it started. It stands at its end.".to_owned()),
        count => {
            notes.push(format!("{count} spans do not say when they started. They stand at their ends."));
        }
    }
    clocks(tree, &mut notes);
    dropped(tree, &mut notes);
    if texts.omitted > 0 {
        notes.push(format!(
            "{} attributes are left out here, since the trace has too many. Its OTLP JSON has them all.",
            texts.omitted
        ));
    }
    notes
}

/// Clocks that seem to differ, by pairs of services.
fn clocks(tree: &Tree<'_>, notes: &mut Vec<String>) {
    let mut pairs: BTreeMap<(&str, &str), (usize, i64)> = BTreeMap::new();
    for server in 0..tree.len() {
        if let (Some(own), Some(client)) = (tree.skews().own(server), tree.parent(server)) {
            let skew_ns = own.skew_ns;
            let service = |at: usize| describe::name(tree.span(at).service_name());
            let pair = (service(server), service(client));
            let (calls, greatest_ns) = pairs.entry(pair).or_default();
            *calls += 1;
            if skew_ns.unsigned_abs() > greatest_ns.unsigned_abs() {
                *greatest_ns = skew_ns;
            }
        }
    }
    let others = pairs.len().saturating_sub(MOST_CLOCKS);
    for ((server, client), (calls, skew_ns)) in pairs.into_iter().take(MOST_CLOCKS) {
        let way = if skew_ns < 0 { "behind" } else { "ahead of" };
        let most = if calls == 1 { "" } else { ", at most" };
        notes.push(format!(
            "The clock of {server} seems to be {} {way} that of {client} ({}{most}). Its spans, and those below them, are \
             moved to fit; the time on the network is split in halves.",
            duration(skew_ns.unsigned_abs()),
            counted(calls, "call", "calls")
        ));
    }
    if others > 0 {
        let pairs = counted(others, "more pair", "more pairs");
        notes.push(format!("The clocks of {pairs} of services seem to differ."));
    }
}

/// What the senders left out.
fn dropped(tree: &Tree<'_>, notes: &mut Vec<String>) {
    let (mut attributes, mut events, mut links) = (0, 0, 0);
    for at in 0..tree.len() {
        let span = tree.span(at);
        attributes += span.dropped_attributes as usize;
        events += span.dropped_events as usize;
        links += span.dropped_links as usize;
    }
    let parts: Vec<String> =
        [(attributes, "attribute", "attributes"), (events, "event", "events"), (links, "link", "links")]
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, several)| counted(count, one, several))
            .collect();
    if !parts.is_empty() {
        notes.push(format!("The senders left out {} of these spans.", parts.join(", ")));
    }
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn spans(count: usize) -> String {
    counted(count, "span", "spans")
}
