//! A trace as a picture: its tree, and a bar for each span over the trace's time.

use std::{collections::HashSet, io::Write};

use super::{
    bar::{Own, Part, part},
    escape::{columns, duration, fit, hex},
    line_limit::LINES_PER_SECOND,
    row::{Shown, clock_time},
    style::{BOLD, DIM, Paint, RED, SERVICES},
};
use crate::{
    span::SpanKind,
    trace::order::{Node, Row, Tree},
};

/// Columns before the rows: what stands at the edge is a time, and begins something new.
const INDENT: usize = 2;
/// Most characters of a service's name, and the columns that are left for it however deep it stands.
const SERVICE_WIDTH: usize = 16;
const SHORTEST_SERVICE: usize = 6;
/// Columns of the bars: as many as there are, within these.
const SHORTEST_BAR: usize = 10;
const LONGEST_BAR: usize = 60;
/// From this width on columns stand two apart.
const ROOMY: usize = 100;
/// Titles of the last columns; that of the durations is the trace's own.
const OWN: &str = "self";
const EVIDENCE: &str = "evidence";
/// Columns of the longest text of a duration below 100 s, such as 99.9ms.
const LONGEST_SHORT_TIME: usize = 6;
/// Rows of a picture that would be longer than what a second may have: there are a header and a count
/// of the rest too.
const MOST_ROWS: usize = LINES_PER_SECOND - 2;

/// Lines that a picture takes.
pub(super) fn lines(spans: &[Shown]) -> usize {
    let ids: HashSet<[u8; 8]> = spans.iter().map(|span| span.span_id).collect();
    let absent: HashSet<[u8; 8]> =
        spans.iter().filter_map(|span| span.parent).filter(|parent| !ids.contains(parent)).collect();
    (1 + spans.len() + absent.len()).min(LINES_PER_SECOND)
}

/// Draws traces, one below the other.
pub(super) struct Waterfall {
    paint: Paint,
    needs: Needs,
}

impl Waterfall {
    pub(super) fn new(paint: Paint) -> Self {
        Self { paint, needs: Needs::default() }
    }

    /// Draws a trace within so many columns.
    pub(super) fn draw(&mut self, out: &mut Vec<u8>, spans: &[Shown], width: usize) {
        let whole = spans.iter().map(part).reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
        let Some(time) = whole else { return };
        let mut tree = Tree::new(spans, levels(width));
        let rest = if tree.rows.len() > MOST_ROWS + 1 { tree.rows.split_off(MOST_ROWS) } else { Vec::new() };
        let below = || spans.iter().zip(&tree.children);
        let requests: Vec<String> =
            below().map(|(span, children)| request(span, children.is_empty())).collect();
        let owns: Vec<Own> = below()
            .map(|(span, children)| Own::new(span, children.iter().map(|child| &spans[*child])))
            .collect();
        self.needs.include(spans, &tree.rows, &requests, time);
        let picture = Picture {
            spans,
            requests: &requests,
            owns: &owns,
            most_own_ns: owns.iter().map(Own::ns).max().unwrap_or_default(),
            time,
            grid: Grid::new(&self.needs, width),
            paint: self.paint,
        };
        // Writing to memory does not fail.
        let _ = writeln!(out, "{}", picture.header());
        let mut services: Vec<&str> = Vec::new();
        for Row { node, prefix } in &tree.rows {
            let line = match node {
                Node::Span(index) => {
                    let name = spans[*index].resource.service_name.as_str();
                    let place = services.iter().position(|known| *known == name).unwrap_or_else(|| {
                        services.push(name);
                        services.len() - 1
                    });
                    picture.row(*index, prefix, SERVICES[place % SERVICES.len()])
                }
                Node::Absent { id, is_elsewhere } => {
                    let place = if *is_elsewhere { "elsewhere" } else { "not shown" };
                    self.paint.text(DIM, &format!("(parent {} {place})", hex(id)))
                }
            };
            let _ = writeln!(out, "{:INDENT$}{line}", "");
        }
        let left = rest.iter().filter(|row| matches!(row.node, Node::Span(_))).count();
        if left > 0 {
            let _ = writeln!(out, "{:INDENT$}… and {left} more spans", "");
        }
    }
}

/// Levels of the tree that are drawn: a fifth of the width, with a name behind them.
fn levels(width: usize) -> usize {
    (width / 5).saturating_sub(SHORTEST_SERVICE) / 2
}

/// What was asked; of whom, if the answer is not a row of the picture.
fn request(span: &Shown, is_leaf: bool) -> String {
    let host = if is_leaf { span.host.as_str() } else { "" };
    format!("{} {host}{}", span.method, span.target)
}

/// A trace and how it is laid out.
struct Picture<'a> {
    spans: &'a [Shown],
    requests: &'a [String],
    owns: &'a [Own],
    most_own_ns: u64,
    time: Part,
    grid: Grid,
    paint: Paint,
}

impl Picture<'_> {
    /// When the trace ended, which it is, what it has, how long it took, and the last columns' titles.
    fn header(&self) -> String {
        let Self { spans, grid, paint, .. } = self;
        let services: HashSet<&str> = spans.iter().map(|span| span.resource.service_name.as_str()).collect();
        let errors = spans.iter().filter(|span| span.is_error()).count();
        let gap = " ".repeat(grid.gap);
        let clock = clock_time(self.time.1);
        let counts = format!("{gap}{}{gap}{}", hex(&spans[0].trace_id), counted(spans.len(), "span"));
        let services = format!(", {}", counted(services.len(), "service"));
        let errors = if errors == 0 { String::new() } else { format!(", {}", counted(errors, "error")) };
        let total = duration(self.time.1 - self.time.0);
        // What there is room for beside the titles.
        let fitting = ["", &services].into_iter().rev().find_map(|services| {
            let taken = [&clock, &counts, services, &errors].into_iter().map(columns).sum();
            let space = grid.times_at().checked_sub(taken).filter(|space| *space >= grid.gap)?;
            Some((services, space))
        });
        let (services, times) = match fitting {
            Some((services, space)) => (services, " ".repeat(space) + &self.titles(&total)),
            None => ("", gap + &total),
        };
        [&paint.text(DIM, &clock), &counts, services, &paint.text(RED, &errors), &times].concat()
    }

    fn titles(&self, total: &str) -> String {
        let Self { grid, paint, .. } = self;
        let times = grid.times;
        let mut cells = vec![format!("{total:>times$}"), paint.text(DIM, &format!("{OWN:>times$}"))];
        if grid.evidence > 0 {
            cells.push(paint.text(DIM, EVIDENCE));
        }
        cells.join(&" ".repeat(grid.gap))
    }

    /// A span.
    fn row(&self, index: usize, prefix: &str, color: &str) -> String {
        let Self { grid, paint, .. } = self;
        let (span, own) = (&self.spans[index], &self.owns[index]);
        let Grid { tree, request, status, bar, times, .. } = *grid;
        let arrow = match span.kind {
            SpanKind::Server | SpanKind::Consumer => '←',
            SpanKind::Client | SpanKind::Producer => '→',
        };
        let service = fit(&span.service(SERVICE_WIDTH), tree.saturating_sub(columns(prefix)));
        let own_ns = format!("{:>times$}", duration(own.ns()));
        let mut cells = vec![
            paint.text(DIM, prefix) + &paint.text(color, &service),
            format!("{arrow} {}", fit(&self.requests[index], request)),
            paint.status(span.tone, &fit(&span.status, status)),
            paint.text(if span.is_error() { RED } else { color }, &fit(&own.bar(self.time, bar), bar)),
            format!("{:>times$}", duration(span.duration_ns())),
            // Where most of the trace's time went.
            if own.ns() == self.most_own_ns { paint.text(BOLD, &own_ns) } else { own_ns },
        ];
        cells.extend(span.evidence.map(|evidence| paint.text(DIM, evidence.name())));
        cells.join(&" ".repeat(grid.gap))
    }
}

/// A number of things.
fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// What the columns of the traces so far could use: they stay where they are.
#[derive(Default)]
struct Needs {
    /// Lines of the tree, and the service.
    tree: usize,
    request: usize,
    status: usize,
    /// A duration, and a span's own part of it.
    times: usize,
    evidence: usize,
}

impl Needs {
    fn include(&mut self, spans: &[Shown], rows: &[Row], requests: &[String], time: Part) {
        for Row { node, prefix } in rows {
            let Node::Span(index) = node else { continue };
            let span = &spans[*index];
            self.tree = self.tree.max(columns(prefix) + columns(&span.service(SERVICE_WIDTH)));
            self.request = self.request.max(columns(&requests[*index]));
            self.status = self.status.max(columns(&span.status));
            let evidence = span.evidence.map_or(0, |evidence| evidence.name().len().max(EVIDENCE.len()));
            self.evidence = self.evidence.max(evidence);
        }
        self.times = self.times.max(columns(&duration(time.1 - time.0))).max(LONGEST_SHORT_TIME);
    }
}

/// Widths of the columns of the rows.
struct Grid {
    /// Between two.
    gap: usize,
    tree: usize,
    request: usize,
    status: usize,
    bar: usize,
    times: usize,
    evidence: usize,
}

impl Grid {
    fn new(needs: &Needs, width: usize) -> Self {
        let &Needs { tree, request, status, times, evidence } = needs;
        let gap = if width >= ROOMY { 2 } else { 1 };
        let mut grid = Self { gap, tree: tree.min(width / 5), request: 0, status, bar: 0, times, evidence };
        let behind = times + gap + times + if evidence > 0 { gap + evidence } else { 0 };
        let left = width.saturating_sub(grid.times_at() + behind);
        grid.request = request.min(left * 3 / 5).min(left.saturating_sub(SHORTEST_BAR));
        grid.bar = (left - grid.request).clamp(SHORTEST_BAR, LONGEST_BAR);
        grid
    }

    /// Where the durations begin.
    fn times_at(&self) -> usize {
        const ARROW: usize = 2;
        INDENT + self.tree + ARROW + self.request + self.status + self.bar + 4 * self.gap
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            escape::printable,
            row::{Tone, tests::shown},
        },
        *,
    };
    use crate::{
        correlate::Evidence,
        span::SpanKind::{Client, Server},
    };

    /// What is drawn, without the time of day, which depends on the zone of the machine.
    fn drawn(spans: &[Shown], width: usize) -> String {
        let mut out = Vec::new();
        Waterfall::new(Paint(false)).draw(&mut out, spans, width);
        let text = String::from_utf8(out).expect("text");
        text.get("00:00:00.000".len()..).unwrap_or_default().to_owned()
    }

    fn call(parent: u64) -> Option<(u64, Evidence)> {
        Some((parent, Evidence::Unit))
    }

    fn wire(parent: u64) -> Option<(u64, Evidence)> {
        Some((parent, Evidence::Wire))
    }

    #[test]
    fn calls_stand_below_their_requests_and_bars_are_to_scale() {
        let mut failed = shown("prices", Server, 5, wire(4), (50_000, 58_000));
        failed.tone = Tone::Error;
        failed.status = "500".to_owned();
        let mut refused = shown("shop", Client, 6, call(2), (60_000, 90_000));
        refused.tone = Tone::Error;
        refused.status = "no reply".to_owned();
        refused.method = "DELETE".to_owned();
        // In the order in which they end.
        let spans = [
            shown("shop", Client, 3, call(2), (20_000, 40_000)),
            failed,
            shown("shop", Client, 4, call(2), (49_000, 59_000)),
            refused,
            shown("shop", Server, 2, wire(1), (10_000, 95_000)),
            shown("nginx", Client, 1, None, (0, 100_000)),
        ];
        let expected = "  11111111111111111111111111111111  6 spans, 3 services, 2 errors                    100ms    self  evidence
  nginx         → GET /a                200       ████──────────────────────────────────────██   100ms  15.0ms
  └ shop        ← GET /a                200           █████─────────████──────────────────██    85.0ms  25.0ms  wire
    ├ shop      → GET 10.0.0.1:80/a     200               ██████████                            20.0ms  20.0ms  unit
    ├ shop      → GET /a                200                            █────                    10.0ms   2.0ms  unit
    │ └ prices  ← GET /a                500                             ████                     8.0ms   8.0ms  wire
    └ shop      → DELETE 10.0.0.1:80/a  no reply                            ██████████████      30.0ms  30.0ms  unit
";
        assert_eq!(drawn(&spans, 120), expected);
    }
    #[test]
    fn a_parent_that_is_not_there_is_named_above_its_children() {
        let elsewhere = Some((0xabc, Evidence::Header));
        let spans = [
            shown("shop", Server, 1, elsewhere, (0, 10)),
            shown("cart", Server, 2, elsewhere, (20, 40)),
            shown("cart", Client, 3, call(0xdef), (5, 35)),
            // Ids of hostile traffic: its own parent, and two that are each other's.
            shown("self", Server, 4, wire(4), (0, 1)),
            shown("ring", Server, 5, wire(6), (38, 40)),
            shown("ring", Server, 6, wire(5), (39, 40)),
            // Of two with one id the first has the children.
            shown("twin", Server, 7, None, (30, 40)),
            shown("twin", Server, 7, None, (31, 40)),
            shown("twin", Client, 8, call(7), (32, 39)),
        ];
        let expected = " 11111111111111111111111111111111 9 spans       40µs   self evidence
  (parent 0000000000000abc elsewhere)
  ├ shop ← GET /a            200 ██████                     10µs   10µs header
  └ cart ← GET /a            200             ████████████   20µs   20µs header
  self   ← GET /a            200 █                           1µs    1µs wire
  (parent 0000000000000def not shown)
  └ cart → GET 10.0.0.1:80/a 200    ██████████████████      30µs   30µs unit
  twin   ← GET /a            200                   █────█   10µs    3µs
  └ twin → GET 10.0.0.1:80/a 200                    █████    7µs    7µs unit
  twin   ← GET /a            200                   ██████    9µs    9µs
  ring   ← GET /a            200                       █─    2µs    1µs wire
  └ ring ← GET /a            200                        ─    1µs    0ns wire
";
        assert_eq!(drawn(&spans, 80), expected);
    }

    #[test]
    fn texts_are_cut_by_what_they_take_on_the_screen() {
        let mut long = shown("価格サービスの価格サービス", Server, 1, None, (0, 10));
        long.target = printable(&format!("/価格/\u{1b}[31m{}", "x".repeat(500)), 120);
        let spans = [long, shown("a-rather-long-name-of-a-service", Client, 2, call(1), (0, 10))];
        let expected = " 11111111111111111111111111111111 2 spans       10µs   self evidence
  価格サービスの…  ← GET /価格/\\u{1b}[… 200 ─────────────   10µs    0ns
  └ a-rather-long… → GET 10.0.0.1:80/a  200 █████████████   10µs   10µs unit
";
        assert_eq!(drawn(&spans, 80), expected);
    }

    #[test]
    fn columns_stay_where_they_are_from_trace_to_trace() {
        let mut waterfall = Waterfall::new(Paint(false));
        let mut out = Vec::new();
        let mut far = shown("inventory", Server, 1, None, (0, 10));
        far.target = "/a/longer/path".to_owned();
        let traces = [
            [far, shown("inventory", Client, 2, Some((1, Evidence::SoleRequest)), (0, 5))],
            [shown("a", Server, 1, None, (0, 10)), shown("a", Client, 2, call(1), (0, 5))],
        ];
        for trace in &traces {
            waterfall.draw(&mut out, trace, 100);
        }
        let text = String::from_utf8(out).expect("text");
        let columns_of = |what: &str| -> Vec<usize> {
            text.lines().filter_map(|line| Some(line[..line.find(what)?].chars().count())).collect()
        };
        for what in ["← GET", "  200  ", "self"] {
            let found = columns_of(what);
            assert!(found.len() >= 2 && found.iter().all(|at| *at == found[0]), "{what}: {found:?}\n{text}");
        }
    }

    #[test]
    fn a_long_trace_is_cut_and_says_so_and_a_deep_one_stays_narrow() {
        let chain = |id: u64| {
            let parent = if id == 0 { None } else { call(id - 1) };
            shown("shop", Client, id, parent, (id, 3_000 - id))
        };
        let spans: Vec<Shown> = (0..1_000).map(chain).collect();
        let text = drawn(&spans, 80);
        assert_eq!(text.lines().count(), LINES_PER_SECOND);
        assert_eq!(lines(&spans), LINES_PER_SECOND);
        assert_eq!(text.lines().last(), Some("  … and 802 more spans"));
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        let deep = text.lines().nth(100).expect("a row");
        assert!(deep.starts_with("  …       └ shop "), "{deep}");
    }

    #[test]
    fn colours_are_of_services_and_errors_are_red() {
        let mut spans = [shown("a", Server, 1, None, (0, 10)), shown("b", Server, 2, wire(1), (0, 10))];
        spans[1].tone = Tone::Error;
        let mut out = Vec::new();
        Waterfall::new(Paint(true)).draw(&mut out, &spans, 80);
        let text = String::from_utf8(out).expect("text");
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[0].contains("\x1b[31m, 1 error\x1b[0m"), "{text:?}");
        assert!(rows[1].contains(&format!("{}───", SERVICES[0])), "{text:?}");
        assert!(rows[2].contains("\x1b[31m200") && rows[2].contains("\x1b[31m███"), "{text:?}");
    }

    fn any_span() -> impl Strategy<Value = Shown> {
        let evidence = prop_oneof![Just(Evidence::Header), Just(Evidence::Wire), Just(Evidence::Unit)];
        let parent = proptest::option::of((0..20u64, evidence));
        let kind = prop_oneof![Just(Server), Just(Client)];
        let texts = (".{0,24}", ".{0,200}", prop_oneof![Just("200"), Just("no reply")]);
        // Up to a day; some end before they start.
        let times = (0..86_400_000_000u64, 0..86_400_000_000u64);
        (texts, kind, 0..20u64, parent, times).prop_map(|(texts, kind, id, parent, times)| {
            let (service, target, status) = texts;
            let mut span = shown(&service, kind, id, parent, times);
            span.target = printable(&target, 120);
            span.status = status.to_owned();
            span
        })
    }

    proptest! {
        #[test]
        fn any_spans_are_drawn_once_each_within_the_width(
            spans in prop::collection::vec(any_span(), 1..50),
            width in 80..161usize,
        ) {
            let tree = Tree::new(&spans, levels(width));
            let mut rows: Vec<usize> = tree
                .rows
                .iter()
                .filter_map(|row| match row.node {
                    Node::Span(index) => Some(index),
                    Node::Absent { .. } => None,
                })
                .collect();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..spans.len()).collect::<Vec<_>>());
            let text = drawn(&spans, width);
            prop_assert_eq!(text.lines().count(), lines(&spans));
            // The time of day was taken off.
            prop_assert!(columns(text.lines().next().unwrap_or_default()) + 12 <= width, "{}", text);
            prop_assert!(text.lines().skip(1).all(|line| columns(line) <= width), "{}", text);
        }
    }
}
