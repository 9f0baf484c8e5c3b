//! How a query may go on: keys, values and operators, the most frequent first.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use tracer_model::{
    answer::{CompleteAnswer, Suggestion},
    span::Value,
};

use crate::{
    engine::Engine,
    line::Shared,
    query::{FIELDS, KINDS, NUMBERS, Needle, STATUSES, key_text, utf16_at, value_text},
    search::read,
    segment::{Segment, SlotKind, values::ValueCode},
};

/// Most suggestions.
const MAX_SUGGESTIONS: usize = 20;

/// Segments in which keys and values are counted, the newest ones.
const COUNTED_SEGMENTS: usize = 4;

/// Most values that are told apart.
const MAX_VALUES: usize = 10_000;

/// Longest value that is suggested.
const MAX_VALUE_BYTES: usize = 200;

/// The term in which a person is writing.
struct Place<'text> {
    start: usize,
    /// Text of the term up to the cursor, without the sign that negates it.
    text: &'text str,
    end: usize,
}

pub(crate) fn complete(engine: &RwLock<Engine>, text: &str, at_utf16: u32) -> CompleteAnswer {
    let place = place(text, at_utf16);
    let (key, operator, value) = split(place.text);
    let mut answer = CompleteAnswer {
        from: utf16_at(text, place.start),
        to: utf16_at(text, place.end),
        suggestions: Vec::new(),
    };
    let Some(operator) = operator else {
        answer.suggestions = keys(engine, &key);
        return answer;
    };
    answer.from = utf16_at(text, place.start + place.text.len() - value.len());
    let wanted =
        value.trim_start_matches('"').trim_end_matches('"').replace("\\\"", "\"").replace("\\\\", "\\");
    answer.suggestions = match (key.as_str(), operator) {
        ("service" | "operation" | "name", ":") => held(engine, &key, &wanted),
        ("kind", ":") => fixed(KINDS.iter().map(|(name, _)| *name), &wanted),
        ("status", ":") => fixed(STATUSES.iter().map(|(name, _)| *name), &wanted),
        ("duration" | "trace.duration", _) => {
            fixed(["1ms", "10ms", "100ms", "1s", "10s"].into_iter(), &wanted)
        }
        ("trace.spans", _) => fixed(["10", "100", "1000"].into_iter(), &wanted),
        ("trace.errors", _) => fixed(["0", "1", "10"].into_iter(), &wanted),
        ("calls", ":") => {
            // Each side is completed by itself.
            let caller = value.rfind('>');
            answer.from += caller.map_or(0, |at| utf16_at(value, at + 1));
            let side = caller.map_or(wanted.as_str(), |_| wanted.rsplit('>').next().unwrap_or_default());
            let mut services = held(engine, "service", side.trim_start_matches('"'));
            if caller.is_none() {
                services.iter_mut().for_each(|service| service.text.push('>'));
            }
            services
        }
        (_, ":") => Vec::new(),
        _ => values(engine, &key, &wanted),
    };
    if wanted.is_empty() && operator == "=" {
        let detail = "any value".to_owned();
        answer.suggestions.push(Suggestion { text: "*".to_owned(), kind: "operator".to_owned(), detail });
    }
    answer
}

/// Finds the term at the cursor. Blanks within quotes do not end it.
fn place(text: &str, at_utf16: u32) -> Place<'_> {
    let mut units = 0;
    let at = text.char_indices().find(|(_, char)| {
        let is_there = units >= at_utf16 as usize;
        units += char.len_utf16();
        is_there
    });
    let cursor = at.map_or(text.len(), |(at, _)| at);
    let (mut start, mut end) = (0, text.len());
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if char.is_whitespace() && (!is_quoted || at >= cursor) => {
                if at >= cursor {
                    end = at;
                    break;
                }
                start = at + char.len_utf8();
            }
            _ => {}
        }
    }
    let term = text.get(start..cursor).unwrap_or_default();
    let negated = usize::from(term.starts_with('-'));
    Place { start: start + negated, text: &term[negated..], end: end.max(cursor) }
}

/// Key, operator and value of an unfinished term.
fn split(term: &str) -> (String, Option<&'static str>, &str) {
    if let Some(rest) = term.strip_prefix('"') {
        let close = rest.find('"').unwrap_or(rest.len());
        let (key, after) = rest.split_at(close);
        let (operator, value) = operator(after.trim_start_matches('"'));
        return (key.to_owned(), operator, value);
    }
    let at = term.find(['!', '>', '<', '=', ':']).unwrap_or(term.len());
    let (operator, value) = operator(&term[at..]);
    (term[..at].to_owned(), operator, value)
}

fn operator(text: &str) -> (Option<&'static str>, &str) {
    let operators = ["!=", ">=", "<=", "=", ">", "<", ":"];
    let found = operators.into_iter().find(|operator| text.starts_with(operator));
    (found, found.map_or(text, |operator| &text[operator.len()..]))
}

fn fixed<'names>(names: impl Iterator<Item = &'names str>, wanted: &str) -> Vec<Suggestion> {
    let wanted = Needle::new(wanted);
    let found = names.filter(|name| wanted.is_in(name));
    found
        .map(|name| Suggestion { text: name.to_owned(), kind: "value".to_owned(), detail: String::new() })
        .collect()
}

/// Services or operations.
fn held(engine: &RwLock<Engine>, field: &str, wanted: &str) -> Vec<Suggestion> {
    let engine = read(engine);
    let mut counts: HashMap<String, u64> = HashMap::new();
    for operation in engine.operations.held() {
        let name = if field == "service" { &operation.service } else { &operation.name };
        *counts.entry(name.to_string()).or_default() += operation.spans;
    }
    best(counts, wanted, "value", value_text)
}

/// Fields and keys of attributes.
fn keys(engine: &RwLock<Engine>, wanted: &str) -> Vec<Suggestion> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for shared in newest(engine) {
        let segment = shared.read();
        let mut of_keys = vec![0; segment.keys.len()];
        for (template, count) in template_counts(&segment).into_iter().enumerate() {
            for slot in segment.slots(template) {
                match slot.kind() {
                    SlotKind::Pair(pair) => of_keys[segment.pairs[pair].key as usize] += count,
                    SlotKind::Loose(key) => of_keys[key] += count,
                }
            }
        }
        for (key, count) in segment.keys.iter().zip(of_keys).filter(|(_, count)| *count > 0) {
            *counts.entry(key.name.to_string()).or_default() += count;
        }
        for (resource, count) in resource_counts(&segment) {
            for (key, _) in &segment.resources.all[resource].attributes {
                *counts.entry(key.to_string()).or_default() += count;
            }
        }
    }
    let lower = wanted.to_lowercase();
    let numbers = NUMBERS.iter().map(|field| (*field, ">"));
    let fields = FIELDS.iter().map(|field| (*field, ":")).chain(numbers);
    let fields = fields.filter(|(field, _)| field.starts_with(lower.as_str()));
    let mut suggestions: Vec<Suggestion> = fields
        .map(|(field, operator)| Suggestion {
            text: format!("{field}{operator}"),
            kind: "key".to_owned(),
            detail: String::new(),
        })
        .collect();
    suggestions.extend(operators(&counts, wanted));
    let of_attributes = best(counts, wanted, "key", |key| format!("{}=", key_text(key)));
    suggestions.extend(of_attributes);
    suggestions.truncate(MAX_SUGGESTIONS);
    suggestions
}

/// What can follow a key that is there as it was written.
fn operators(counts: &HashMap<String, u64>, wanted: &str) -> Vec<Suggestion> {
    if !counts.contains_key(wanted) {
        return Vec::new();
    }
    let all =
        [("=*", "any value"), ("!=", "another value"), (">", "a larger number"), ("<", "a smaller number")];
    let all = all.into_iter().map(|(operator, detail)| Suggestion {
        text: format!("{}{operator}", key_text(wanted)),
        kind: "operator".to_owned(),
        detail: detail.to_owned(),
    });
    all.collect()
}

/// Values of an attribute.
fn values(engine: &RwLock<Engine>, key: &str, wanted: &str) -> Vec<Suggestion> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let needle = Needle::new(wanted);
    let mut add = |text: String, count: u64| {
        let is_told = text.len() <= MAX_VALUE_BYTES && needle.is_in(&text);
        if is_told && (counts.len() < MAX_VALUES || counts.contains_key(&text)) {
            *counts.entry(text).or_default() += count;
        }
    };
    for shared in newest(engine) {
        let segment = shared.read();
        for (resource, count) in resource_counts(&segment) {
            for (_, value) in
                segment.resources.all[resource].attributes.iter().filter(|(name, _)| **name == *key)
            {
                text_of(value).into_iter().for_each(|text| add(text, count));
            }
        }
        let Some(code) = segment.keys.iter().position(|of| *of.name == *key) else {
            continue;
        };
        let mut told: HashMap<ValueCode, u64> = HashMap::new();
        let mut places = vec![None; segment.templates()];
        for (template, count) in template_counts(&segment).into_iter().enumerate() {
            let mut place = 0;
            for slot in segment.slots(template) {
                match slot.kind() {
                    SlotKind::Pair(pair) if segment.pairs[pair].key as usize == code => {
                        *told.entry(segment.pairs[pair].value).or_default() += count;
                    }
                    SlotKind::Pair(_) => {}
                    SlotKind::Loose(key) => {
                        if key == code {
                            places[template] = Some(place);
                        }
                        place += 1;
                    }
                }
            }
        }
        for row in 0..segment.rows() {
            let place = places[usize::from(segment.template[row])];
            if let Some(value) = place.and_then(|place| segment.loose_of(row).get(place)) {
                *told.entry(*value).or_default() += 1;
            }
        }
        for (value, count) in told {
            text_of(&segment.values.value(value)).into_iter().for_each(|text| add(text, count));
        }
    }
    best(counts, wanted, "value", value_text)
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Bytes(_) | Value::Array(_) | Value::Map(_) | Value::Empty => None,
    }
}

/// Those that contain what was written, first those that begin so, the most frequent first.
fn best(
    counts: HashMap<String, u64>,
    wanted: &str,
    kind: &str,
    text: impl Fn(&str) -> String,
) -> Vec<Suggestion> {
    let needle = Needle::new(wanted);
    let lower = wanted.to_lowercase();
    let mut found: Vec<(bool, u64, String)> = counts
        .into_iter()
        .filter(|(name, _)| needle.is_in(name))
        .map(|(name, count)| (name.to_lowercase().starts_with(&lower), count, name))
        .collect();
    found.sort_by(|a, b| (b.0, b.1, &a.2).cmp(&(a.0, a.1, &b.2)));
    found.truncate(MAX_SUGGESTIONS);
    let suggestion = |(_, count, name): (bool, u64, String)| Suggestion {
        text: text(&name),
        kind: kind.to_owned(),
        detail: format!("{count} span{}", if count == 1 { "" } else { "s" }),
    };
    found.into_iter().map(suggestion).collect()
}

fn newest(engine: &RwLock<Engine>) -> Vec<Arc<Shared>> {
    let mut segments = read(engine).segments();
    segments.sort_unstable_by_key(|shared| std::cmp::Reverse(shared.number));
    segments.truncate(COUNTED_SEGMENTS);
    segments
}

fn template_counts(segment: &Segment) -> Vec<u64> {
    let mut counts = vec![0; segment.templates()];
    segment.template.iter().for_each(|template| counts[usize::from(*template)] += 1);
    counts
}

/// Resources and the spans of each.
fn resource_counts(segment: &Segment) -> impl Iterator<Item = (usize, u64)> {
    let mut counts = vec![0; segment.resources.all.len()];
    segment.head.iter().for_each(|head| counts[segment.heads[usize::from(*head)].resource as usize] += 1);
    counts.into_iter().enumerate()
}
