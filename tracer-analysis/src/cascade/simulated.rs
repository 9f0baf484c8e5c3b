//! Traffic that tests make up: a chain of services with random latencies, and faults from a moment on.

use tracer_model::facts::Gathered;

use crate::{corpus::Corpus, samples::Sketch, statistics::random::Random};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MS;

/// When the first request comes.
pub(crate) const BEGIN_NS: u64 = 1_000 * SECOND;

/// What a fault does to a service at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effect {
    /// Its own time is so many times as long.
    pub(crate) slower: f64,
    /// Part of its requests that fail.
    pub(crate) errors: f64,
    /// Nothing listens.
    pub(crate) is_dead: bool,
    /// It goes on at this second only.
    pub(crate) stands_until: Option<u64>,
}

impl Default for Effect {
    fn default() -> Self {
        Self { slower: 1.0, errors: 0.01, is_dead: false, stands_until: None }
    }
}

/// Services in a chain; each asks the next one, and the second one asks the mail besides.
pub(crate) struct Simulation<'a> {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// Requests in a second.
    pub(crate) rate: u64,
    /// How often a call that fails is made.
    pub(crate) attempts: u32,
    /// How long calls of the third service wait.
    pub(crate) timeout_ns: Option<u64>,
    /// Of a service, at a second from the beginning.
    pub(crate) fault: &'a dyn Fn(&str, u64) -> Effect,
}

const CHAIN: [&str; 4] = ["front", "shop", "stock", "depot"];

impl Simulation<'_> {
    pub(crate) fn corpus(&self) -> Corpus {
        let mut gathered = Gathered::default();
        let mut run = Run { simulation: self, random: Random::new(self.seed), spans: Vec::new() };
        for number in 0..self.seconds * self.rate {
            let start_ns = BEGIN_NS + number * SECOND / self.rate + run.random.bits() % (10 * MS);
            run.serve(CHAIN[0], 0, start_ns);
            let spans: Vec<_> =
                run.spans.drain(..).map(|sketch| sketch.span(u128::from(number) + 1)).collect();
            gathered.add(&spans);
        }
        gathered.into()
    }
}

struct Run<'a> {
    simulation: &'a Simulation<'a>,
    random: Random,
    spans: Vec<Sketch>,
}

impl Run<'_> {
    /// Serves a request: when it ended, and whether it went well.
    fn serve(&mut self, service: &str, parent: u64, start_ns: u64) -> (u64, bool) {
        let second = (start_ns - BEGIN_NS) / SECOND;
        let effect = (self.simulation.fault)(service, second);
        let place = self.spans.len();
        let id = place as u64 + 1;
        self.spans.push(Sketch::server(service, "GET /", id, parent, start_ns..start_ns));
        let own_ns = 5e6 * (0.4 * self.random.normal()).exp() * effect.slower;
        let waits_ns =
            effect.stands_until.map_or(0, |until| (BEGIN_NS + until * SECOND).saturating_sub(start_ns));
        let mut now = start_ns + own_ns as u64 + waits_ns;
        let mut is_fine = true;
        let next = CHAIN.iter().position(|of| *of == service).and_then(|at| CHAIN.get(at + 1));
        let called = next.into_iter().chain((service == CHAIN[1]).then_some(&"mail"));
        for called in called.copied().collect::<Vec<_>>() {
            let mut answered = false;
            for _ in 0..self.simulation.attempts {
                (now, answered) = self.call(service, called, id, now);
                if answered {
                    break;
                }
            }
            is_fine &= answered;
        }
        is_fine &= self.random.uniform() >= effect.errors;
        let span = Sketch::server(service, "GET /", id, parent, start_ns..now);
        self.spans[place] = if is_fine { span } else { span.error("500") };
        (now, is_fine)
    }

    fn call(&mut self, from: &str, to: &str, parent: u64, start_ns: u64) -> (u64, bool) {
        let place = self.spans.len();
        let id = place as u64 + 1;
        let span = |end_ns| Sketch::client(from, &format!("GET {to}"), id, parent, start_ns..end_ns);
        self.spans.push(span(start_ns));
        if (self.simulation.fault)(to, (start_ns - BEGIN_NS) / SECOND).is_dead {
            self.spans[place] = span(start_ns + MS / 10)
                .error("connection_refused")
                .with("server.address", tracer_model::span::Value::Str(to.into()));
            return (start_ns + MS / 5, false);
        }
        let (end_ns, is_fine) = self.serve(to, id, start_ns + MS / 10);
        let limit_ns = self.simulation.timeout_ns.filter(|_| from == CHAIN[2]).map(|of| start_ns + of);
        if let Some(limit_ns) = limit_ns.filter(|limit| *limit < end_ns) {
            self.spans[place] = span(limit_ns).error("timeout");
            return (limit_ns, false);
        }
        let end_ns = end_ns + MS / 10;
        self.spans[place] = if is_fine { span(end_ns) } else { span(end_ns).error("500") };
        (end_ns, is_fine)
    }
}
