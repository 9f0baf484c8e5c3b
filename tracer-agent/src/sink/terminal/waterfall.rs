//! A trace as a picture: its tree, and a bar for each span over the trace's time.

use std::{collections::HashSet, io::Write};

use super::{
    bar::bar,
    escape::{columns, duration, fit, hex},
    line_limit::LINES_PER_SECOND,
    row::{Row, clock_time, dated_time},
    style::{BOLD, DIM, Palette, RED, SERVICES},
};
use crate::{
    clock::unix_ns,
    span::{Span, SpanKind},
    trace::{
        assembly::RecentSpans,
        order::{Node, Tree},
        self_time::{Interval, SelfTime, interval},
    },
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
pub(super) fn lines(spans: &[Span]) -> usize {
    let ids: HashSet<[u8; 8]> = spans.iter().map(|span| span.span_id).collect();
    let absent: HashSet<[u8; 8]> =
        spans.iter().filter_map(|span| span.parent_span_id).filter(|parent| !ids.contains(parent)).collect();
    (1 + spans.len() + absent.len()).min(LINES_PER_SECOND)
}

/// Draws traces, one below the other.
pub(super) struct Waterfall {
    palette: Palette,
    needs: Needs,
    /// Spans that have a row, or a line of their own.
    drawn: RecentSpans,
    /// Traces are complete: every span has a row, and a parent that is not there is missing.
    is_whole: bool,
}

impl Waterfall {
    pub(super) fn new(palette: Palette) -> Self {
        Self { palette, needs: Needs::default(), drawn: RecentSpans::default(), is_whole: false }
    }

    /// The same for traces of which no span will come later.
    pub(super) fn of_whole_traces(palette: Palette) -> Self {
        Self { is_whole: true, ..Self::new(palette) }
    }

    /// A span was written as a line.
    pub(super) fn add_line(&mut self, span: &Span) {
        self.drawn.add(std::iter::once(span.span_id));
    }

    /// Draws a trace within so many columns. `has_come` tells of a parent whether it is a span that was seen.
    pub(super) fn draw(
        &mut self,
        out: &mut Vec<u8>,
        spans: &[Span],
        width: usize,
        has_come: impl Fn(&[u8; 8]) -> bool,
    ) {
        let whole = spans.iter().map(interval).reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
        let Some(time) = whole else { return };
        let tree = Tree::new(spans);
        let mut lines = branches(&tree, levels(width));
        let rest = if lines.len() > MOST_ROWS + 1 && !self.is_whole {
            lines.split_off(MOST_ROWS)
        } else {
            Vec::new()
        };
        let rows: Vec<Row<'_>> = spans.iter().map(Row::of).collect();
        let requests: Vec<String> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| request(row, tree.children(index).is_empty()))
            .collect();
        let times: Vec<SelfTime> = spans
            .iter()
            .enumerate()
            .map(|(index, span)| SelfTime::new(span, tree.children(index).iter().map(|child| &spans[*child])))
            .collect();
        self.needs.include(&rows, &lines, &requests, time);
        let picture = Picture {
            rows: &rows,
            requests: &requests,
            times: &times,
            longest_self_ns: times.iter().map(SelfTime::ns).max().unwrap_or_default(),
            time,
            is_whole: self.is_whole,
            grid: Grid::new(&self.needs, width),
            palette: self.palette,
        };
        // Writing to memory does not fail.
        let _ = writeln!(out, "{}", picture.header());
        let mut services: Vec<&str> = Vec::new();
        for Branch { node, prefix } in &lines {
            let line = match node {
                Node::Span(index) => {
                    let name = spans[*index].resource.service_name.as_str();
                    let place = services.iter().position(|known| *known == name).unwrap_or_else(|| {
                        services.push(name);
                        services.len() - 1
                    });
                    picture.row(*index, prefix, SERVICES[place % SERVICES.len()])
                }
                Node::Absent { id, is_of_header } => {
                    let place = match () {
                        () if self.drawn.has(id) => "drawn above",
                        () if *is_of_header && !has_come(id) => "elsewhere",
                        () if self.is_whole => "missing",
                        () => "not shown",
                    };
                    self.palette.text(DIM, &format!("(parent {} {place})", hex(id)))
                }
            };
            let _ = writeln!(out, "{:INDENT$}{line}", "");
        }
        self.drawn.add(lines.iter().filter_map(|line| match line.node {
            Node::Span(index) => Some(spans[index].span_id),
            Node::Absent { .. } => None,
        }));
        let left = rest.iter().filter(|line| matches!(line.node, Node::Span(_))).count();
        if left > 0 {
            let _ = writeln!(out, "{:INDENT$}… and {left} more spans", "");
        }
    }
}

/// A node, and the lines of the tree before it.
struct Branch {
    node: Node,
    prefix: String,
}

/// The nodes in the order of the tree. `levels` are drawn; deeper nodes keep the last of them.
fn branches(tree: &Tree, levels: usize) -> Vec<Branch> {
    let mut list = Vec::new();
    tree.visit(|node, path| list.push(Branch { node, prefix: prefix(path, levels) }));
    list
}

/// Two columns for each level below the root.
fn prefix(path: &[bool], levels: usize) -> String {
    let Some((is_last, above)) = path.get(1..).unwrap_or_default().split_last() else {
        return String::new();
    };
    let mut text = String::new();
    let hidden = (above.len() + 1).saturating_sub(levels);
    if hidden > 0 {
        text += "… ";
    }
    // The mark takes a level too.
    let first = if hidden > 0 { hidden + 1 } else { 0 };
    for is_last in above.iter().skip(first) {
        text += if *is_last { "  " } else { "│ " };
    }
    text + if *is_last { "└ " } else { "├ " }
}

/// Levels of the tree that are drawn: a fifth of the width, with a name behind them.
fn levels(width: usize) -> usize {
    (width / 5).saturating_sub(SHORTEST_SERVICE) / 2
}

/// What was asked; of whom, if the answer is not a row of the picture.
fn request(row: &Row<'_>, is_leaf: bool) -> String {
    let host = if is_leaf { row.host.as_str() } else { "" };
    match row.method.as_str() {
        "" => row.target.clone(),
        method => format!("{method} {host}{}", row.target),
    }
}

/// A trace and how it is laid out.
struct Picture<'a> {
    rows: &'a [Row<'a>],
    requests: &'a [String],
    times: &'a [SelfTime],
    longest_self_ns: u64,
    time: Interval,
    is_whole: bool,
    grid: Grid,
    palette: Palette,
}

impl Picture<'_> {
    /// When the trace ended (one that is drawn as it comes) or started (a whole one), which it is, what it has, how long
    /// it took, and the last columns' titles.
    fn header(&self) -> String {
        let Self { rows, grid, palette, .. } = self;
        let services: HashSet<&str> =
            rows.iter().map(|row| row.span.resource.service_name.as_str()).collect();
        let errors = rows.iter().filter(|row| row.is_error()).count();
        let gap = " ".repeat(grid.gap);
        let clock = if self.is_whole {
            format!("started {}", dated_time(self.time.0, unix_ns()))
        } else {
            clock_time(self.time.1)
        };
        let counts = format!("{gap}{}{gap}{}", hex(&rows[0].span.trace_id), counted(rows.len(), "span"));
        let services = format!(", {}", counted(services.len(), "service"));
        let errors = if errors == 0 { String::new() } else { format!(", {}", counted(errors, "error")) };
        let total = duration(self.time.1 - self.time.0);
        // What there is room for beside the titles: a start that has none stands on a line above.
        let room = |clock: &str, services: &str| {
            let taken = [clock, &counts, services, &errors].into_iter().map(columns).sum();
            grid.times_at().checked_sub(taken).filter(|space| *space >= grid.gap)
        };
        let clocks = if self.is_whole { vec![clock.as_str(), ""] } else { vec![clock.as_str()] };
        let fitting = clocks.into_iter().find_map(|clock| {
            [services.as_str(), ""]
                .into_iter()
                .find_map(|services| Some((clock, services, room(clock, services)?)))
        });
        let (shown, services, times) = match fitting {
            Some((clock, services, space)) => (clock, services, " ".repeat(space) + &self.titles(&total)),
            None => (clock.as_str(), "", format!("{gap}{total}")),
        };
        let (above, counts) = match shown {
            "" => (palette.text(DIM, &clock) + "\n", counts.trim_start()),
            shown => (palette.text(DIM, shown), counts.as_str()),
        };
        // Without the gap before it there is as much more behind it.
        let behind = if shown.is_empty() { gap.as_str() } else { "" };
        [above.as_str(), counts, services, &palette.text(RED, &errors), behind, &times].concat()
    }

    fn titles(&self, total: &str) -> String {
        let Self { grid, palette, .. } = self;
        let times = grid.times;
        let mut cells = vec![format!("{total:>times$}"), palette.text(DIM, &format!("{OWN:>times$}"))];
        if grid.evidence > 0 {
            cells.push(palette.text(DIM, EVIDENCE));
        }
        cells.join(&" ".repeat(grid.gap))
    }

    /// A span.
    fn row(&self, index: usize, prefix: &str, color: &str) -> String {
        let Self { grid, palette, .. } = self;
        let (row, self_time) = (&self.rows[index], &self.times[index]);
        let Grid { tree, request, status, bar: bar_width, times, .. } = *grid;
        let arrow = match row.span.kind {
            SpanKind::Server | SpanKind::Consumer => '←',
            SpanKind::Client | SpanKind::Producer => '→',
            SpanKind::Internal => '·',
        };
        let service = fit(&row.service(SERVICE_WIDTH), tree.saturating_sub(columns(prefix)));
        let self_text = format!("{:>times$}", duration(self_time.ns()));
        let mut cells = vec![
            palette.text(DIM, prefix) + &palette.text(color, &service),
            format!("{arrow} {}", fit(&self.requests[index], request)),
            palette.status(row.tone, &fit(&row.status, status)),
            palette.text(
                if row.is_error() { RED } else { color },
                &fit(&bar(self_time, self.time, bar_width), bar_width),
            ),
            format!("{:>times$}", duration(row.span.duration_ns())),
            // Where most of the trace's time went.
            if self_time.ns() == self.longest_self_ns { palette.text(BOLD, &self_text) } else { self_text },
        ];
        cells.extend(row.span.evidence().map(|evidence| palette.text(DIM, evidence.name())));
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
    fn include(&mut self, rows: &[Row<'_>], lines: &[Branch], requests: &[String], time: Interval) {
        for Branch { node, prefix } in lines {
            let Node::Span(index) = node else { continue };
            let row = &rows[*index];
            self.tree = self.tree.max(columns(prefix) + columns(&row.service(SERVICE_WIDTH)));
            self.request = self.request.max(columns(&requests[*index]));
            self.status = self.status.max(columns(&row.status));
            let evidence =
                row.span.evidence().map_or(0, |evidence| evidence.name().len().max(EVIDENCE.len()));
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

    use super::*;
    use crate::{
        correlate::Evidence,
        span::{
            Attributes,
            SpanKind::{Client, Server},
        },
        trace::tests::{Said, span, span_that},
    };

    /// What is drawn, without the time of day, which depends on the zone of the machine.
    fn drawn(spans: &[Span], width: usize) -> String {
        let mut out = Vec::new();
        Waterfall::new(Palette(false)).draw(&mut out, spans, width, |_| false);
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
        let error = Said { outcome: Ok(500), is_error: true, ..Said::default() };
        let failed = span_that("prices", Server, 5, wire(4), (50_000, 58_000), &error);
        let unanswered =
            Said { method: "DELETE", outcome: Err("no_response"), is_error: true, ..Said::default() };
        let refused = span_that("shop", Client, 6, call(2), (60_000, 90_000), &unanswered);
        // In the order in which they end.
        let spans = [
            span("shop", Client, 3, call(2), (20_000, 40_000)),
            failed,
            span("shop", Client, 4, call(2), (49_000, 59_000)),
            refused,
            span("shop", Server, 2, wire(1), (10_000, 95_000)),
            span("nginx", Client, 1, None, (0, 100_000)),
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
    fn a_whole_trace_has_a_row_for_each_span_and_names_what_is_missing() {
        let served = span("shop", Server, 1, Some((9_999, Evidence::Wire)), (0, 5_000));
        let queries = (2..=1_000).map(|id| Span {
            name: "SELECT orders".into(),
            kind: SpanKind::Internal,
            attributes: Attributes::default(),
            ..span("shop", Client, id, call(1), (id, id + 1))
        });
        let spans: Vec<Span> = std::iter::once(served).chain(queries).collect();
        let mut out = Vec::new();
        Waterfall::of_whole_traces(Palette(false)).draw(&mut out, &spans, 100, |_| false);
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1_003);
        assert!(
            lines[0].starts_with("started 1970-01-01 ") || lines[0].starts_with("started 1969-12-31 "),
            "{}",
            lines[0]
        );
        assert_eq!(lines[2], "  (parent 000000000000270f missing)");
        assert!(lines[4].starts_with("    ├ shop  · SELECT orders  -    █ "), "{}", lines[4]);
    }

    #[test]
    fn a_whole_trace_says_when_it_started_beside_its_titles_or_above_them() {
        let lines_of = |width| {
            let spans =
                [span("shop", Server, 1, None, (0, 5_000)), span("shop", Client, 2, call(1), (5, 10))];
            let mut out = Vec::new();
            Waterfall::of_whole_traces(Palette(false)).draw(&mut out, &spans, width, |_| false);
            String::from_utf8(out).expect("text").lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let (wide, narrow) = (lines_of(140), lines_of(80));
        assert!(wide[0].starts_with("started ") && wide[0].contains("  2 spans"), "{wide:?}");
        assert_eq!((wide.len(), narrow.len()), (3, 4));
        assert!(narrow[0].starts_with("started ") && !narrow[0].contains("spans"), "{narrow:?}");
        assert!(narrow[1].starts_with("11111111111111111111111111111111 2 spans"), "{narrow:?}");
        for lines in [&wide, &narrow] {
            let [.., header, first, _] = lines.as_slice() else { panic!("{lines:?}") };
            let titles_end = header.find(" self").map(|at| columns(&header[..at]) + columns(" self"));
            assert_eq!(titles_end, Some(columns(first)), "{lines:?}");
        }
    }

    #[test]
    fn a_parent_that_is_not_there_is_named_above_its_children() {
        let elsewhere = Some((0xabc, Evidence::Header));
        let spans = [
            span("shop", Server, 1, elsewhere, (0, 10)),
            span("cart", Server, 2, elsewhere, (20, 40)),
            span("cart", Client, 3, call(0xdef), (5, 35)),
            // Ids of hostile traffic: its own parent, and two that are each other's.
            span("self", Server, 4, wire(4), (0, 1)),
            span("ring", Server, 5, wire(6), (38, 40)),
            span("ring", Server, 6, wire(5), (39, 40)),
            // Of two with one id the first has the children.
            span("twin", Server, 7, None, (30, 40)),
            span("twin", Server, 7, None, (31, 40)),
            span("twin", Client, 8, call(7), (32, 39)),
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
    fn a_parent_that_came_before_is_not_elsewhere() {
        let mut waterfall = Waterfall::new(Palette(false));
        let parents = |waterfall: &mut Waterfall, spans: &[Span]| {
            let mut out = Vec::new();
            // Of these, 9 was left out because too much was to be drawn.
            waterfall.draw(&mut out, spans, 80, |id| *id <= 9u64.to_be_bytes());
            let text = String::from_utf8(out).expect("text");
            let parents = text.lines().filter(|line| line.contains("(parent "));
            parents.map(|line| line.split("000").last().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        let of = |id, parent| span("shop", Client, id, Some((parent, Evidence::Header)), (id, id + 1));
        assert_eq!(parents(&mut waterfall, &[of(1, 10), of(2, 10)]), ["a elsewhere)"]);
        waterfall.add_line(&of(3, 10));
        let later = [of(4, 1), of(5, 3), of(6, 9), span("shop", Client, 7, call(2), (20, 21))];
        let expected = ["1 drawn above)", "3 drawn above)", "9 not shown)", "2 drawn above)"];
        assert_eq!(parents(&mut waterfall, &later), expected);
    }

    #[test]
    fn texts_are_cut_by_what_they_take_on_the_screen() {
        let target = format!("/価格/\u{1b}[31m{}", "x".repeat(500));
        let said = Said { target: &target, ..Said::default() };
        let long = span_that("価格サービスの価格サービス", Server, 1, None, (0, 10), &said);
        let spans = [long, span("a-rather-long-name-of-a-service", Client, 2, call(1), (0, 10))];
        let expected = " 11111111111111111111111111111111 2 spans       10µs   self evidence
  価格サービスの…  ← GET /価格/\\u{1b}[… 200 ─────────────   10µs    0ns
  └ a-rather-long… → GET 10.0.0.1:80/a  200 █████████████   10µs   10µs unit
";
        assert_eq!(drawn(&spans, 80), expected);
    }

    #[test]
    fn columns_stay_where_they_are_from_trace_to_trace() {
        let mut waterfall = Waterfall::new(Palette(false));
        let mut out = Vec::new();
        let said = Said { target: "/a/longer/path", ..Said::default() };
        let far = span_that("inventory", Server, 1, None, (0, 10), &said);
        let traces = [
            [far, span("inventory", Client, 2, Some((1, Evidence::SoleRequest)), (0, 5))],
            [span("a", Server, 1, None, (0, 10)), span("a", Client, 2, call(1), (0, 5))],
        ];
        for trace in &traces {
            waterfall.draw(&mut out, trace, 100, |_| false);
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
            span("shop", Client, id, parent, (id, 3_000 - id))
        };
        let spans: Vec<Span> = (0..1_000).map(chain).collect();
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
        let error = Said { is_error: true, ..Said::default() };
        let failed = span_that("b", Server, 2, wire(1), (0, 10), &error);
        let spans = [span("a", Server, 1, None, (0, 10)), failed];
        let mut out = Vec::new();
        Waterfall::new(Palette(true)).draw(&mut out, &spans, 80, |_| false);
        let text = String::from_utf8(out).expect("text");
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[0].contains("\x1b[31m, 1 error\x1b[0m"), "{text:?}");
        assert!(rows[1].contains(&format!("{}───", SERVICES[0])), "{text:?}");
        assert!(rows[2].contains("\x1b[31m200") && rows[2].contains("\x1b[31m███"), "{text:?}");
    }

    fn any_span() -> impl Strategy<Value = Span> {
        let evidence = prop_oneof![Just(Evidence::Header), Just(Evidence::Wire), Just(Evidence::Unit)];
        let parent = proptest::option::of((0..20u64, evidence));
        let kind = prop_oneof![Just(Server), Just(Client)];
        let texts = (".{0,24}", ".{0,200}", prop_oneof![Just(Ok(200)), Just(Err("no_response"))]);
        // Up to a day; some end before they start.
        let times = (0..86_400_000_000u64, 0..86_400_000_000u64);
        (texts, kind, 0..20u64, parent, times).prop_map(|(texts, kind, id, parent, times)| {
            let (service, target, outcome) = texts;
            span_that(
                &service,
                kind,
                id,
                parent,
                times,
                &Said { target: &target, outcome, ..Said::default() },
            )
        })
    }

    proptest! {
        #[test]
        fn any_spans_are_drawn_once_each_within_the_width(
            spans in prop::collection::vec(any_span(), 1..50),
            width in 80..161usize,
        ) {
            let mut rows = Vec::new();
            Tree::new(&spans).visit(|node, _| match node {
                Node::Span(index) => rows.push(index),
                Node::Absent { .. } => {}
            });
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
