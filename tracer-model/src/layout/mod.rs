//! One trace, laid out to be drawn: its tree, each span's own time, the critical path, both ends of a call, what was waited
//! for, and what a reader must know of it.
//!
//! Nothing here recurses, and nothing is slower than `n log n`: a trace may be 50,000 spans deep or wide, and its ids and
//! times may be chosen to do harm. Times are as the senders say, but where clocks differ for certain: there spans are moved, and
//! each tells by how much and why.

mod calls;
mod critical;
mod describe;
mod gaps;
mod notes;
mod own_time;
mod skew;
mod summary;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use describe::{http_status, query};
pub use summary::{MOST_SERVICES, summarize};

use std::{collections::HashMap, convert::Infallible, io};

use crate::{
    answer::{SpanEvent, SpanKind, SpanLink, Stretch, TraceAnswer, TraceService, TraceSpan},
    distinct::Distinct,
    span::{Event, Kind, Link, Resource, Scope, Span, TraceId},
};
use calls::Calls;
use describe::Texts;
use tree::Tree;

/// What a layout needs besides the spans, and its limits.
pub struct Options<'a> {
    /// Spans of the answer. If there are more, the deepest are left out.
    pub max_spans: usize,
    /// Bytes of one value's text. Longer ones are cut, and say so.
    pub max_value_bytes: usize,
    /// Bytes of all attributes' texts together. When they are used up, the attributes of the spans that follow are left out.
    pub max_attribute_bytes: usize,
    /// Where a span stands among those of its operation, by service, name, kind and duration in nanoseconds: the part of them
    /// that took no longer, and how many they are.
    pub percentile: Percentile<'a>,
    /// Whether a trace is in the store.
    pub is_stored: &'a dyn Fn(TraceId) -> bool,
}

/// See [`Options::percentile`].
pub type Percentile<'a> = &'a dyn Fn(&str, &str, SpanKind, u64) -> Option<(f64, u32)>;

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            max_spans: 50_000,
            max_value_bytes: 64 << 10,
            max_attribute_bytes: 64 << 20,
            percentile: &|_, _, _, _| None,
            is_stored: &|_| false,
        }
    }
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Unspecified => Self::Unspecified,
            Kind::Internal => Self::Internal,
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Producer => Self::Producer,
            Kind::Consumer => Self::Consumer,
        }
    }
}

/// Lays out the spans of one trace.
pub fn lay_out(spans: impl AsRef<[Span]>, options: &Options<'_>) -> TraceAnswer {
    let mut laid_out = Vec::new();
    let rest = each(spans.as_ref(), options, |span| {
        laid_out.push(span);
        Ok::<_, Infallible>(())
    });
    match rest {
        Ok(rest) => TraceAnswer { spans: laid_out, ..rest },
        Err(never) => match never {},
    }
}

/// Lays out the spans of one trace and writes them as JSON: what [`lay_out`] gives, span by span, so that the layout as a whole
/// is never in memory. Fails if the writer does.
pub fn write_json(
    spans: impl AsRef<[Span]>,
    options: &Options<'_>,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let mut separator = "";
    out.write_all(b"{\"spans\":[")?;
    let rest = each(spans.as_ref(), options, |span| {
        out.write_all(separator.as_bytes())?;
        separator = ",";
        serde_json::to_writer(&mut *out, &span).map_err(io::Error::from)
    })?;
    out.write_all(b"],\"summary\":")?;
    serde_json::to_writer(&mut *out, &rest.summary)?;
    out.write_all(b",\"services\":")?;
    serde_json::to_writer(&mut *out, &rest.services)?;
    out.write_all(b",\"notes\":")?;
    serde_json::to_writer(&mut *out, &rest.notes)?;
    write!(out, ",\"omitted_spans\":{}}}", rest.omitted_spans)
}

/// Lays out spans one by one, in the order of the waterfall. Gives the answer without them.
fn each<E>(
    spans: &[Span],
    options: &Options<'_>,
    mut take: impl FnMut(TraceSpan) -> Result<(), E>,
) -> Result<TraceAnswer, E> {
    let tree = Tree::new(spans);
    let calls = Calls::of(&tree);
    let order = tree.waterfall(options.max_spans);
    let mut places = vec![None; tree.len()];
    for (place, (span, _)) in order.iter().enumerate() {
        places[*span] = u32::try_from(place).ok();
    }
    let mut critical: HashMap<usize, Vec<Stretch>> = HashMap::new();
    for (span, stretch) in critical::path(&tree) {
        critical.entry(span).or_default().push(stretch);
    }

    let mut services = Services::default();
    let mut texts = Texts::new(options.max_value_bytes, options.max_attribute_bytes);
    let shown = order.len();
    for (at, depth) in order {
        let span = tree.span(at);
        let of_span = TraceSpan {
            parent: tree.parent(at).and_then(|parent| places[parent]),
            depth,
            service: services.place(span),
            peer: calls.peer(at).and_then(|peer| places[peer]),
            network: calls.network(at),
            clock_skew_ns: tree.skews().own(at).map(|own| own.skew_ns),
            clock_shift_ns: Some(tree.skews().shift_ns(at)).filter(|shift_ns| *shift_ns != 0),
            clock_evidence: tree.skews().own(at).map(|own| own.evidence.clone()),
            critical: critical.remove(&at).unwrap_or_default(),
            gaps: gaps::of(&tree, &calls, at),
            self_ns: own_time::own_ns(&tree, at),
            ..described(span, tree.time(at), options)
        };
        take(TraceSpan {
            status_message: texts.cut(describe::status_message(span)),
            attributes: texts.attributes(&span.attributes),
            events: events(span, |unix_ns| tree.moment_ns(at, unix_ns), &mut texts),
            links: links(span, options, &mut texts),
            ..of_span
        })?;
    }
    let services = services.answer(&mut texts);
    Ok(TraceAnswer {
        summary: summary::of(&tree),
        services,
        notes: notes::of(&tree, shown, &texts),
        omitted_spans: u32::try_from(tree.len() - shown).unwrap_or(u32::MAX),
        spans: Vec::new(),
    })
}

/// What a span says of itself, without its lists.
fn described(span: &Span, time: Stretch, options: &Options<'_>) -> TraceSpan {
    let kind = SpanKind::from(span.kind);
    let duration_ns = time.end_ns - time.start_ns;
    let end_known = describe::end_is_known(span);
    // A duration that is only a lower bound has no place among the others.
    let percentile =
        end_known.then(|| (options.percentile)(span.service_name(), &span.name, kind, duration_ns)).flatten();
    TraceSpan {
        span_id: span.span_id.hex(),
        parent_span_id: span.parent_span_id.map(|id| id.hex()),
        scope: describe::scope(&span.scope),
        name: describe::name(&span.name).to_owned(),
        target: describe::target(span),
        kind,
        start_ns: time.start_ns,
        duration_ns,
        end_known,
        is_error: span.is_error(),
        http_status: describe::http_status(&span.attributes),
        evidence: describe::evidence(span),
        likely: describe::likely(span),
        percentile: percentile.map(|(part, _)| part),
        compared_spans: percentile.map_or(0, |(_, spans)| spans),
        ..TraceSpan::default()
    }
}

fn events(span: &Span, moment_ns: impl Fn(u64) -> u64, texts: &mut Texts) -> Vec<SpanEvent> {
    let event = |event: &Event| SpanEvent {
        time_ns: moment_ns(event.time_unix_ns),
        name: describe::name(&event.name).to_owned(),
        attributes: texts.attributes(&event.attributes),
    };
    span.events.iter().map(event).collect()
}

fn links(span: &Span, options: &Options<'_>, texts: &mut Texts) -> Vec<SpanLink> {
    let link = |link: &Link| SpanLink {
        trace_id: link.trace_id.hex(),
        span_id: link.span_id.hex(),
        is_stored: (options.is_stored)(link.trace_id),
        attributes: texts.attributes(&link.attributes),
    };
    span.links.iter().map(link).collect()
}

/// Service instances, in the order in which they first appear.
#[derive(Default)]
struct Services<'a> {
    resources: Distinct<'a, Resource>,
    /// Scopes of each.
    scopes: Vec<Vec<&'a Scope>>,
}

impl<'a> Services<'a> {
    /// Scopes that are told of a service.
    const SCOPES: usize = 4;

    fn place(&mut self, span: &'a Span) -> u32 {
        let place = self.resources.place(&span.resource);
        if place == self.scopes.len() {
            self.scopes.push(Vec::new());
        }
        let scopes = &mut self.scopes[place];
        let is_known = |known: &&Scope| known.name == span.scope.name && known.version == span.scope.version;
        if scopes.len() < Self::SCOPES && !scopes.iter().any(is_known) {
            scopes.push(&span.scope);
        }
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    fn answer(&self, texts: &mut Texts) -> Vec<TraceService> {
        let things = self.resources.things().iter().zip(&self.scopes);
        things
            .map(|(resource, scopes)| {
                let scopes: Vec<String> = scopes
                    .iter()
                    .map(|scope| describe::scope(scope))
                    .filter(|scope| !scope.is_empty())
                    .collect();
                TraceService {
                    name: describe::name(resource.service_name()).to_owned(),
                    attributes: texts.attributes(&resource.attributes),
                    scope: scopes.join(", "),
                }
            })
            .collect()
    }
}
