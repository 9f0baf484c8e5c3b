//! Values of attributes that slow requests have more often, of a sample of whole traces.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tracer_model::span::{Attribute, Span, SpanId, TraceId, Value};

use super::{
    SlowAttribute, SlowAttributePlace, SlowDifference, SlowDifferenceKind, Tested,
    groups::{Group, Groups, Request, evenly, median},
    of,
};
use crate::{
    answer::{Exemplar, OperationName},
    corpus::Corpus,
    statistics::{CONFIDENCE, Proportion, homogeneity, mann_whitney, two_proportions},
};

/// Requests of a group whose attributes are read.
const MOST_SAMPLED: usize = 400;

/// Spans of a request whose attributes are read.
const MOST_SPANS: usize = 300;

/// Attributes that are compared: those of the most requests.
const MOST_KEYS: usize = 500;

/// Longest value that is told.
const MOST_TEXT: usize = 200;

/// Numbers are compared by size if there are so many different ones, else as values.
const LEAST_NUMBERS: usize = 10;

/// A difference of shares, and a Cliff's delta, that are told.
const LEAST_SHARE: f64 = 0.1;
const LEAST_DELTA: f64 = 0.2;

/// Parts of keys whose numbers are times: that slow requests take long is no news.
const TIMES: [&str; 5] = ["time", "duration", "latency", "elapsed", "delay"];

/// What a system chooses for a connection or a thread: an id of it.
const CONNECTION_KEYS: [&str; 5] =
    ["network.peer.port", "client.port", "net.peer.port", "net.sock.peer.port", "thread.id"];

/// Where an attribute stands: its place, the operation of the span, and its key.
type Key = (SlowAttributePlace, u32, String);

/// A value of one request.
#[derive(Clone, Debug)]
struct Told {
    request: usize,
    text: String,
    number: Option<f64>,
}

/// How many requests were read, and what their attributes differ in.
pub(super) fn compare(
    groups: &Groups<'_>,
    fetch: impl FnOnce(&[TraceId]) -> Result<Vec<Vec<Span>>, String>,
) -> Result<(u64, Vec<Tested>), String> {
    let sampled = [&groups.slow, &groups.rest].map(|group: &Group| evenly(&group.requests, MOST_SAMPLED));
    let id = |request: &Request| request.trace(groups.corpus).id();
    let ids: BTreeSet<TraceId> = sampled.iter().flatten().map(id).collect();
    let ids: Vec<TraceId> = ids.into_iter().collect();
    let traces = fetch(&ids)?;
    let spans: HashMap<(TraceId, SpanId), &Span> =
        traces.iter().flatten().map(|span| ((span.trace_id, span.span_id), span)).collect();
    let mut table: BTreeMap<Key, [Vec<Told>; 2]> = BTreeMap::new();
    let mut read = [0usize; 2];
    for (group, requests) in sampled.iter().enumerate() {
        for (place, request) in requests.iter().enumerate() {
            let values = values_of(groups.corpus, request, &spans);
            read[group] += usize::from(!values.is_empty());
            for (key, value) in values {
                let told = Told { request: place, text: shown(&value), number: number(&value) };
                table.entry(key).or_default()[group].push(told);
            }
        }
    }
    if read.iter().any(|read| *read < super::LEAST_REQUESTS) {
        return Err(format!(
            "the spans of {} slow requests and {} others could be read: {} of each are needed at least",
            read[0],
            read[1],
            super::LEAST_REQUESTS
        ));
    }
    let mut table: Vec<(Key, [Vec<Told>; 2])> = table.into_iter().collect();
    table.sort_by_key(|(_, told)| std::cmp::Reverse(told[0].len() + told[1].len()));
    table.truncate(MOST_KEYS);
    let tested = table.iter().filter_map(|(key, told)| test(groups, &sampled, key, told)).collect();
    Ok(((read[0] + read[1]) as u64, tested))
}

/// The attributes of a request and of what is below it; of several spans of an operation the first one's.
fn values_of(
    corpus: &Corpus,
    request: &Request,
    spans: &HashMap<(TraceId, SpanId), &Span>,
) -> BTreeMap<Key, Value> {
    use SlowAttributePlace::{Below, BelowResource, Request as Own, Resource};
    let trace = request.trace(corpus);
    let mut values: BTreeMap<Key, Value> = BTreeMap::new();
    let end = trace.after(request.at).min(request.at + MOST_SPANS);
    for at in request.at..end {
        let Some(span) = spans.get(&(trace.id(), trace.span_id(at))) else { continue };
        let is_own = at == request.at;
        let operation = trace.operation(at);
        let mut add = |place, attributes: &[Attribute]| {
            for (key, value) in attributes {
                values.entry((place, operation, key.to_string())).or_insert_with(|| value.clone());
            }
        };
        add(if is_own { Own } else { Below }, &span.attributes);
        // What is in the same service has the same resource.
        if is_own || trace.service(at) != trace.service(request.at) {
            add(if is_own { Resource } else { BelowResource }, &span.resource.attributes);
        }
    }
    values
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Double(number) => Some(*number).filter(|number| number.is_finite()),
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    value.to_text().chars().take(MOST_TEXT).collect()
}

fn test(
    groups: &Groups<'_>,
    sampled: &[Vec<Request>; 2],
    key: &Key,
    told: &[Vec<Told>; 2],
) -> Option<Tested> {
    let [slow, rest] = told;
    if CONNECTION_KEYS.contains(&key.2.as_str()) {
        return None;
    }
    // A span that the others have not is a difference of structure.
    let is_below = matches!(key.0, SlowAttributePlace::Below | SlowAttributePlace::BelowResource);
    if is_below && slow.len().min(rest.len()) < super::LEAST_REQUESTS {
        return None;
    }
    let distinct: BTreeSet<&str> = slow.iter().chain(rest).map(|told| told.text.as_str()).collect();
    let count = slow.len() + rest.len();
    let are_numbers = slow.iter().chain(rest).all(|told| told.number.is_some());
    if are_numbers && distinct.len() > LEAST_NUMBERS {
        let tells_time = TIMES.iter().any(|word| key.2.contains(word));
        return if tells_time { None } else { numbers(groups, sampled, key, told) };
    }
    // What nearly each request has a value of its own for tells no groups apart.
    if distinct.len() > (count / 3).max(5) {
        return None;
    }
    let totals = if is_below { [slow.len(), rest.len()] } else { [sampled[0].len(), sampled[1].len()] };
    values(groups, sampled, key, told, totals)
}

/// Values: the one whose share differs most is told.
fn values(
    groups: &Groups<'_>,
    sampled: &[Vec<Request>; 2],
    key: &Key,
    told: &[Vec<Told>; 2],
    totals: [usize; 2],
) -> Option<Tested> {
    let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (group, told) in told.iter().enumerate() {
        for one in told {
            counts.entry(&one.text).or_default()[group] += 1;
        }
    }
    let absent = [0, 1].map(|group| totals[group].saturating_sub(told[group].len()) as u64);
    let column = |group: usize| -> Vec<u64> {
        counts.values().map(|counts| counts[group]).chain([absent[group]]).collect()
    };
    let (slow, rest) = (column(0), column(1));
    let homogeneity = homogeneity(&rest, &slow)?;
    let shares = |counts: &[u64; 2]| {
        (counts[0] as f64 / totals[0].max(1) as f64, counts[1] as f64 / totals[1].max(1) as f64)
    };
    // The value that slow ones have more often; else the one that they lack.
    let gain = |counts: &[u64; 2]| shares(counts).0 - shares(counts).1;
    let (value, counts) =
        counts.iter().max_by(|one, other| gain(one.1).total_cmp(&gain(other.1)).then(other.0.cmp(one.0)))?;
    let (in_slow, in_rest) = shares(counts);
    // Of many values, one is picked out: it must stand a test of its own.
    let own = two_proportions(
        Proportion::new(counts[1], totals[1] as u64),
        Proportion::new(counts[0], totals[0] as u64),
    );
    let sentence = format!(
        "{} {} is {value} in {} slow requests, and in {} of the others.",
        place(groups.corpus, key),
        key.2,
        of(counts[0] as usize, totals[0]),
        of(counts[1] as usize, totals[1])
    );
    let having = |group: usize, wanted: bool| {
        let have: BTreeSet<usize> =
            told[group].iter().filter(|one| one.text == **value).map(|one| one.request).collect();
        exemplars(groups, &sampled[group], |place| have.contains(&place) == wanted)
    };
    Some(Tested {
        difference: SlowDifference {
            kind: SlowDifferenceKind::Attribute,
            sentence,
            effect: (in_slow - in_rest).clamp(0.0, 1.0),
            slow: in_slow,
            rest: in_rest,
            p_value: homogeneity.p_value.max(own),
            slow_requests: totals[0] as u64,
            rest_requests: totals[1] as u64,
            operation: Some(OperationName::of(groups.corpus, key.1)),
            attribute: Some(SlowAttribute {
                place: key.0,
                key: key.2.clone(),
                value: Some((*value).to_owned()),
            }),
            slow_exemplars: having(0, true),
            rest_exemplars: having(1, false),
            ..SlowDifference::default()
        },
        is_great: in_slow - in_rest >= LEAST_SHARE,
        part: None,
        key: None,
    })
}

/// Numbers: whether those of slow requests are greater or less.
fn numbers(
    groups: &Groups<'_>,
    sampled: &[Vec<Request>; 2],
    key: &Key,
    told: &[Vec<Told>; 2],
) -> Option<Tested> {
    let values = |group: usize| -> Vec<f64> { told[group].iter().filter_map(|one| one.number).collect() };
    let (slow, rest) = (values(0), values(1));
    let test = mann_whitney(&rest, &slow, CONFIDENCE)?;
    let (slow_middle, rest_middle) = (median(&slow), median(&rest));
    let sentence = format!(
        "{} {} is {} in slow requests: {slow_middle:.0}, and {rest_middle:.0} in the others (medians of {} and {}).",
        place(groups.corpus, key),
        key.2,
        if test.superiority > 0.5 { "greater" } else { "less" },
        slow.len(),
        rest.len()
    );
    let some = |group: usize| exemplars(groups, &sampled[group], |_| true);
    Some(Tested {
        difference: SlowDifference {
            kind: SlowDifferenceKind::Number,
            sentence,
            effect: test.cliffs_delta().abs(),
            slow: slow_middle,
            rest: rest_middle,
            p_value: test.p_value,
            slow_requests: slow.len() as u64,
            rest_requests: rest.len() as u64,
            operation: Some(OperationName::of(groups.corpus, key.1)),
            attribute: Some(SlowAttribute { place: key.0, key: key.2.clone(), value: None }),
            slow_exemplars: some(0),
            rest_exemplars: some(1),
            ..SlowDifference::default()
        },
        // Medians that look alike are no news, however many values lie beside them.
        is_great: test.cliffs_delta().abs() >= LEAST_DELTA
            && format!("{slow_middle:.0}") != format!("{rest_middle:.0}")
            && slow.len().min(rest.len()) >= super::LEAST_REQUESTS,
        part: None,
        key: None,
    })
}

fn exemplars(groups: &Groups<'_>, requests: &[Request], is_one: impl Fn(usize) -> bool) -> Vec<Exemplar> {
    const MOST: usize = 3;
    let places = (0..requests.len()).filter(|place| is_one(*place)).take(MOST);
    places.map(|place| Exemplar::of(requests[place].trace(groups.corpus), requests[place].at)).collect()
}

/// Whose attribute it is, in words.
fn place(corpus: &Corpus, (place, operation, _): &Key) -> String {
    let of = corpus.dictionary.operation(*operation);
    let service = corpus.dictionary.name(of.service);
    match place {
        SlowAttributePlace::Request => "Of the request:".to_owned(),
        SlowAttributePlace::Resource | SlowAttributePlace::BelowResource => format!("Of {service}:"),
        SlowAttributePlace::Below => format!("Of {service} at {}:", of.name),
    }
}

/// Attributes that tell the same requests apart are told once.
pub(super) fn merged(told: Vec<SlowDifference>) -> Vec<SlowDifference> {
    let mut merged: Vec<SlowDifference> = Vec::new();
    for one in told {
        let is_same = |other: &&mut SlowDifference| {
            other.kind == one.kind
                && other.slow == one.slow
                && other.rest == one.rest
                && other
                    .slow_exemplars
                    .iter()
                    .map(|one| &one.trace_id)
                    .eq(one.slow_exemplars.iter().map(|one| &one.trace_id))
        };
        let value = one
            .attribute
            .as_ref()
            .and_then(|attribute| Some(format!("{}={}", attribute.key, attribute.value.as_ref()?)));
        match (merged.iter_mut().find(is_same), value) {
            (Some(other), Some(value)) => other.same.push(value),
            _ => merged.push(one),
        }
    }
    merged
}
