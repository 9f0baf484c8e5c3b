//! Rows of a segment that meet a query. What it finds is what `Query::meets` finds.

use tracer_model::answer::Window;

use super::{
    Segment, SlotKind,
    dictionary::Bits,
    values::{Coded, ValueCode},
};
use crate::{
    query::{Condition, Needle, Query, Term, Test, compare, value_meets},
    whole::Met,
};

/// What a template says of a term.
enum Verdict {
    Met,
    NotMet,
    /// The span has no such key: its resource decides.
    Resource,
    /// Values of the row decide: their places among the loose ones.
    Row(Vec<u32>),
}

/// How much of a segment starts in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cover {
    /// Nothing.
    None,
    /// Some of it, perhaps nothing.
    Part,
    /// All.
    Whole,
}

impl Segment {
    /// How much of it starts in a window.
    pub(crate) fn cover(&self, window: Window) -> Cover {
        let (from, to) = window_ns(window);
        if self.rows() == 0 || self.max_start < from || self.min_start >= to && to != u64::MAX {
            Cover::None
        } else if self.min_start >= from && (self.max_start < to || to == u64::MAX) {
            Cover::Whole
        } else {
            Cover::Part
        }
    }

    /// Rows that meet the query and start in the window, ascending.
    pub(crate) fn select(&self, query: &Query, met: &Met<'_>, window: Option<Window>, rows: &mut Vec<u16>) {
        rows.clear();
        let (from, to) = window.map_or((0, u64::MAX), window_ns);
        if self.rows() == 0 || self.min_start >= to && to != u64::MAX || self.max_start < from {
            return;
        }
        if from <= self.min_start && (self.max_start < to || to == u64::MAX) {
            rows.extend(0..self.rows() as u16);
        } else {
            let starts = self.start.iter().enumerate();
            let is_within = |start: u64| start >= from && (start < to || to == u64::MAX);
            rows.extend(starts.filter(|(_, start)| is_within(**start)).map(|(row, _)| row as u16));
        }
        if self.has_gone() {
            rows.retain(|row| self.is_held(usize::from(*row)));
        }
        if !met.is_empty() {
            // Of later ones it is not known what their traces meet.
            rows.retain(|row| usize::from(*row) < met.rows);
        }
        self.retain_all(&query.terms, met, rows);
    }

    fn retain_all(&self, terms: &[Term], met: &Met<'_>, rows: &mut Vec<u16>) {
        for pass in [false, true] {
            for term in terms {
                if is_costly(&term.condition) == pass && !rows.is_empty() {
                    self.retain(term, met, rows);
                }
            }
        }
    }

    fn retain(&self, term: &Term, met: &Met<'_>, rows: &mut Vec<u16>) {
        let wanted = !term.is_negated;
        match &term.condition {
            Condition::Any(lists) => {
                let mut found = Bits::new(self.rows());
                for terms in lists {
                    let mut of_list: Vec<u16> =
                        rows.iter().copied().filter(|row| !found.has((*row).into())).collect();
                    self.retain_all(terms, met, &mut of_list);
                    of_list.into_iter().for_each(|row| {
                        found.add(row.into());
                    });
                }
                rows.retain(|row| found.has((*row).into()) == wanted);
            }
            condition if condition.is_of_trace() => {
                let has: Vec<bool> =
                    (0..self.traces.len()).map(|trace| met.has(condition, trace as u16)).collect();
                rows.retain(|row| has[usize::from(self.trace[usize::from(*row)])] == wanted);
            }
            Condition::Trace(trace_id) => {
                let code = self.traces.iter().position(|of| of == trace_id);
                rows.retain(|row| (Some(usize::from(self.trace[usize::from(*row)])) == code) == wanted);
            }
            Condition::TraceBegins(prefix) => {
                let met: Vec<bool> = self.traces.iter().map(|id| prefix.meets(*id)).collect();
                rows.retain(|row| met[usize::from(self.trace[usize::from(*row)])] == wanted);
            }
            Condition::Duration(comparison, duration_ns) => {
                rows.retain(|row| comparison.holds(self.duration_ns((*row).into()), *duration_ns) == wanted);
            }
            Condition::Attribute { key, test } => self.retain_attribute(key, test, wanted, rows),
            Condition::Text(needle) => self.retain_text(needle, wanted, rows),
            Condition::Service(pattern) => {
                let met: Vec<bool> = self
                    .resources
                    .all
                    .iter()
                    .map(|resource| pattern.meets(resource.service_name()))
                    .collect();
                self.retain_heads(rows, |head| met[self.heads[head].resource as usize] == wanted);
            }
            Condition::Operation(pattern) => {
                let met: Vec<bool> = self.names.iter().map(|name| pattern.meets(name)).collect();
                self.retain_heads(rows, |head| met[self.heads[head].name as usize] == wanted);
            }
            Condition::Kind(kind) => {
                self.retain_heads(rows, |head| (self.heads[head].kind == *kind) == wanted);
            }
            Condition::Status(status) => {
                self.retain_heads(rows, |head| (self.heads[head].status == *status) == wanted);
            }
            // What is of the trace came above.
            Condition::TraceDuration(..)
            | Condition::TraceSpans(..)
            | Condition::TraceErrors(..)
            | Condition::Calls { .. } => {}
        }
    }

    fn retain_heads(&self, rows: &mut Vec<u16>, is_wanted: impl Fn(usize) -> bool) {
        let wanted: Vec<bool> = (0..self.heads.len()).map(is_wanted).collect();
        if wanted.iter().any(|wanted| *wanted) {
            rows.retain(|row| wanted[usize::from(self.head[usize::from(*row)])]);
        } else {
            rows.clear();
        }
    }

    fn retain_attribute(&self, key: &str, test: &Test, wanted: bool, rows: &mut Vec<u16>) {
        let key_code = self.keys.iter().position(|of| *of.name == *key);
        let verdicts: Vec<Verdict> =
            (0..self.templates()).map(|template| self.verdict(template, key_code, test)).collect();
        let by_resource: Vec<bool> = self
            .resources
            .all
            .iter()
            .map(|resource| {
                resource.attributes.iter().any(|(name, value)| **name == *key && value_meets(value, test))
            })
            .collect();
        rows.retain(|row| {
            let row = usize::from(*row);
            let is_met = match &verdicts[usize::from(self.template[row])] {
                Verdict::Met => true,
                Verdict::NotMet => false,
                Verdict::Resource => by_resource[self.head_of(row).resource as usize],
                Verdict::Row(places) => {
                    let loose = self.loose_of(row);
                    places.iter().any(|place| {
                        loose.get(*place as usize).is_some_and(|value| self.code_meets(*value, test))
                    })
                }
            };
            is_met == wanted
        });
    }

    fn verdict(&self, template: usize, key: Option<usize>, test: &Test) -> Verdict {
        let Some(key) = key else {
            return Verdict::Resource;
        };
        let (mut places, mut place, mut has_key) = (Vec::new(), 0, false);
        for slot in self.slots(template) {
            match slot.kind() {
                SlotKind::Pair(pair) => {
                    let pair = self.pairs[pair];
                    if pair.key as usize == key {
                        has_key = true;
                        if self.code_meets(pair.value, test) {
                            return Verdict::Met;
                        }
                    }
                }
                SlotKind::Loose(of) => {
                    if of == key {
                        if *test == Test::Exists {
                            return Verdict::Met;
                        }
                        has_key = true;
                        places.push(place);
                    }
                    place += 1;
                }
            }
        }
        match (has_key, places.is_empty()) {
            (false, _) => Verdict::Resource,
            (true, true) => Verdict::NotMet,
            (true, false) => Verdict::Row(places),
        }
    }

    /// As `value_meets`, without making a value of text and numbers.
    fn code_meets(&self, code: ValueCode, test: &Test) -> bool {
        match (self.values.get(code), test) {
            (_, Test::Exists) => true,
            (Coded::Target(_, text) | Coded::Str(text), test) => match test {
                Test::Exists => true,
                Test::Equals(wanted) => text == wanted,
                Test::Differs(wanted) => text != wanted,
                Test::Prefix(prefix) => text.starts_with(prefix.as_str()),
                Test::Compares(comparison, number) => {
                    text.parse().is_ok_and(|value: f64| compare(*comparison, value, *number))
                }
            },
            (Coded::Int(value), Test::Compares(comparison, number)) => {
                compare(*comparison, value as f64, *number)
            }
            (Coded::Int(value), test) => value_meets(&tracer_model::span::Value::Int(value), test),
            (Coded::Other(value), test) => value_meets(&value, test),
        }
    }

    fn retain_text(&self, needle: &Needle, wanted: bool, rows: &mut Vec<u16>) {
        let names: Vec<bool> = self.names.iter().map(|name| needle.is_in(name)).collect();
        let services: Vec<bool> =
            self.resources.all.iter().map(|resource| needle.is_in(resource.service_name())).collect();
        let in_heads: Vec<bool> = self
            .heads
            .iter()
            .map(|head| names[head.name as usize] || services[head.resource as usize])
            .collect();
        let targets = self.targets_with(needle);
        if targets.is_empty() && !in_heads.iter().any(|is_in| *is_in) {
            if wanted {
                rows.clear();
            }
            return;
        }
        let is_met = |code: ValueCode| match self.values.get(code) {
            Coded::Target(code, _) => targets.has(code),
            _ => false,
        };
        let mut in_templates = Vec::with_capacity(self.templates());
        for template in 0..self.templates() {
            let (mut places, mut place, mut is_in) = (Vec::new(), 0, false);
            for slot in self.slots(template) {
                match slot.kind() {
                    SlotKind::Pair(pair) => is_in |= is_met(self.pairs[pair].value),
                    SlotKind::Loose(key) => {
                        if self.keys[key].is_target {
                            places.push(place);
                        }
                        place += 1;
                    }
                }
            }
            in_templates.push(if is_in { Verdict::Met } else { Verdict::Row(places) });
        }
        rows.retain(|row| {
            let row = usize::from(*row);
            let is_in = in_heads[usize::from(self.head[row])]
                || match &in_templates[usize::from(self.template[row])] {
                    Verdict::Row(places) => {
                        let loose = self.loose_of(row);
                        places
                            .iter()
                            .any(|place| loose.get(*place as usize).is_some_and(|value| is_met(*value)))
                    }
                    Verdict::Met => true,
                    Verdict::NotMet | Verdict::Resource => false,
                };
            is_in == wanted
        });
    }

    /// Codes of the targets that contain a text. They are searched in one go, not one by one.
    fn targets_with(&self, needle: &Needle) -> Bits {
        let targets = &self.values.targets;
        let mut found = Bits::new(targets.len());
        // Most texts stand near the one before: the end of that spares a search.
        let (mut code, mut text_end) = (0, 0);
        needle.find_in(targets.all(), |start, end| {
            if start >= text_end {
                (code, text_end) = targets.at(start);
            }
            if end <= text_end {
                found.add(code);
            }
            false
        });
        found
    }
}

/// Terms that a column decides come first: they leave fewer rows to the others.
fn is_costly(condition: &Condition) -> bool {
    matches!(condition, Condition::Attribute { .. } | Condition::Text(_) | Condition::Any(_))
}

/// Start and end of a window in nanoseconds.
pub(crate) fn window_ns(window: Window) -> (u64, u64) {
    (window.start_unix_us.saturating_mul(1000), window.end_unix_us.saturating_mul(1000))
}
