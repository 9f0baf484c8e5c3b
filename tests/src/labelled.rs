//! Links compared with the truth, which the paths tell: a server request for `/r/N` causes client requests for
//! `/c/N/…`.

use std::collections::BTreeMap;

use crate::{
    Agent, LONGEST, eventually,
    programs::{Program, ask_by},
    receiver::{Received, Receiver},
};

/// A service that answers requests for `/r/N`.
pub struct Service {
    /// As the table calls it.
    pub name: String,
    /// Its process.
    pub program: Program,
    /// Client requests for each server request.
    pub calls: u32,
}

/// Requests that are sent to each service.
#[derive(Clone, Copy)]
pub struct Phase {
    /// How many at once.
    pub at_once: u32,
    /// How many.
    pub count: u32,
    /// The number of the first.
    pub first: u32,
    /// Whether the agent still learns.
    pub learns: bool,
    /// Whether the clients keep their connections.
    pub keeps: bool,
}

const fn phase(at_once: u32, count: u32, first: u32, learns: bool, keeps: bool) -> Phase {
    Phase { at_once, count, first, learns, keeps }
}

/// How many numbers of requests belong to one service.
const RANGE: u32 = 1_000_000;

/// From the fourth on, the way that changes is another.
pub const PHASES: [Phase; 5] = [
    phase(1, 20, 0, true, false),
    phase(1, 40, 1000, false, false),
    phase(8, 120, 2000, true, false),
    phase(8, 120, 5000, false, false),
    phase(16, 160, 6000, false, false),
];

/// The same, and clients that keep their connections.
pub const PHASES_AND_KEPT: [Phase; 6] =
    [PHASES[0], PHASES[1], PHASES[2], PHASES[3], PHASES[4], phase(8, 120, 7000, false, true)];

/// Requests of clients that keep their connections.
pub const KEPT: [Phase; 3] = [PHASES[0], PHASES[2], PHASES_AND_KEPT[5]];

/// The links that were found for the client requests of a service in a phase.
#[derive(Default)]
pub struct Found {
    /// Client requests.
    pub calls: u32,
    /// Links by evidence.
    pub links: BTreeMap<String, u32>,
    /// Links that are right.
    pub right: u32,
    /// The wrong links: the paths of client request and parent.
    pub wrong: Vec<String>,
}

impl Found {
    /// All links.
    pub fn linked(&self) -> u32 {
        self.links.values().sum()
    }

    /// The share of client requests that have the right link.
    pub fn recall(&self) -> f64 {
        f64::from(self.right) / f64::from(self.calls)
    }

    /// The share of links that are right.
    pub fn precision(&self) -> Option<f64> {
        (self.linked() > 0).then(|| f64::from(self.right) / f64::from(self.linked()))
    }
}

/// The number of the request that a path belongs to.
fn number(path: &str) -> Option<u32> {
    path.split('/').nth(2)?.parse().ok()
}

/// Compares the links of the client requests whose numbers are in a range with the truth.
fn compare(spans: &[Received], by_id: &BTreeMap<&[u8], usize>, numbers: std::ops::Range<u32>) -> Found {
    let mut found = Found::default();
    for span in spans.iter().filter(|span| !span.is_server()) {
        let path = span.path();
        if !number(&path).is_some_and(|number| numbers.contains(&number)) {
            continue;
        }
        found.calls += 1;
        if span.span.parent_span_id.is_empty() {
            continue;
        }
        let parent = &spans[by_id[&span.span.parent_span_id[..]]];
        let evidence = span.attribute("tracer.link.evidence").expect("each link has its evidence");
        *found.links.entry(evidence.clone()).or_default() += 1;
        if parent.is_server()
            && parent.path().starts_with("/r/")
            && number(&parent.path()) == number(&path)
            && parent.span.trace_id == span.span.trace_id
        {
            found.right += 1;
        } else {
            found.wrong.push(format!("{path} hangs on {} by {evidence}", parent.path()));
        }
    }
    found
}

/// Whether client requests get trace headers: the test runs either way.
pub fn propagates() -> bool {
    std::env::var("TRACER_PROPAGATION").is_ok_and(|mode| mode == "headers")
}

/// The parent of each server request of the backend is the client request at the other end of its connection.
fn assert_wire(spans: &[Received], by_id: &BTreeMap<&[u8], usize>) {
    for span in spans.iter().filter(|span| span.is_server() && span.path().starts_with("/c/")) {
        let parent = by_id.get(&span.span.parent_span_id[..]).map(|at| &spans[*at]);
        let parent = parent.unwrap_or_else(|| panic!("{} hangs on nothing", span.path()));
        assert_eq!((parent.path(), parent.is_server()), (span.path(), false));
        assert_eq!(parent.span.trace_id, span.span.trace_id, "{}", span.path());
        let evidence = span.attribute("tracer.link.evidence").unwrap_or_default();
        assert!(evidence == "wire" || evidence == "header" && propagates(), "{evidence}");
    }
}

/// Each request has one span, and each call one of either side: a sum of spans does not tell that one is doubled and
/// another one missing.
fn assert_each_is_there_once(spans: &[Received]) {
    // By path: those of clients, and those of servers.
    let mut counts = BTreeMap::<String, [u32; 2]>::new();
    for span in spans {
        counts.entry(span.path()).or_default()[usize::from(span.is_server())] += 1;
    }
    for (path, counts) in counts {
        match path.starts_with("/r/") {
            true => assert_eq!(counts, [0, 1], "{path}"),
            // A call that is tried again has its path more than once.
            false => assert_eq!(counts[0], counts[1], "{path}"),
        }
    }
}

/// Sends the requests of all phases to all services, traces them, and compares their links with the truth. Returns the
/// agent, and what was found by service and phase.
pub fn measure(backend: &Program, services: &[&Service], phases: &[Phase]) -> (Agent, Vec<Vec<Found>>) {
    let receiver = Receiver::start();
    let pids: Vec<u32> =
        services.iter().map(|service| service.program.pid()).chain([backend.pid()]).collect();
    let agent = Agent::tracing(&pids, &receiver);
    let mut expected = 0;
    for (index, service) in (1..).zip(services) {
        for phase in phases {
            ask_by(
                service.program.port,
                index * RANGE + phase.first,
                phase.count,
                phase.at_once,
                phase.keeps,
            );
            // Each request is a span, each call two.
            expected += (phase.count * (1 + 2 * service.calls)) as usize;
        }
    }
    eventually(LONGEST, || receiver.count() >= expected);
    let spans = receiver.spans();
    assert_each_is_there_once(&spans);
    assert_eq!(spans.len(), expected, "spans");
    let by_id = (0..).zip(&spans).map(|(at, span)| (&span.span.span_id[..], at)).collect();
    assert_wire(&spans, &by_id);
    let found = (1..).zip(services).map(|(index, _)| {
        let numbers = |phase: &Phase| index * RANGE + phase.first..index * RANGE + phase.first + phase.count;
        phases.iter().map(|phase| compare(&spans, &by_id, numbers(phase))).collect()
    });
    (agent, found.collect())
}
