//! Callbacks of Node's event loop.

mod parsers;

use tracer_common::{
    Kind as RecordKind, RUN_ALONE, RUN_CHECKS, RUN_CLIENT_REQUEST, RUN_CLIENT_RESPONSE, RUN_OTHER,
    RUN_SERVER_REQUEST, RUN_SERVER_RESPONSE, RunRecord, STACK_WORDS,
};

use super::*;
use crate::correlate::strategy::event_loop::ENOUGH;

const PID: u32 = 1;
/// Return addresses: in `uv_run` where it polls, where it runs timers and immediates, and in `uv__io_poll`.
const POLLS: u64 = 0x1000;
const TIMERS: u64 = 0x1010;
const CHECKS: u64 = 0x1020;
const SITE: u64 = 0x2000;
/// The word of the stack that tells the watcher.
const SLOT: usize = 11;

/// A Node service whose event loop is read.
struct NodeService {
    world: World,
    next_connection: u64,
    spare: Vec<End>,
    /// The last async id.
    last_id: u64,
    /// System calls that have read.
    reads: u64,
    /// Iterations of the loop, and the sockets that were served before this one and in it.
    turns: u64,
    served: [u64; 2],
    /// What is read comes in the iteration of what was read before.
    is_same_turn: bool,
    /// An immediate waits.
    has_immediate: bool,
    /// The phase, and the watcher in service.
    phase: u64,
    watcher: u64,
    /// The async id of what runs, and of what triggered it.
    ids: [u64; 2],
    /// The async id of the connection that sends; 0 if that is not told.
    handle: u64,
}

/// A client request that is on its way.
struct CallOut {
    client: End,
    pending: Pending,
}

/// A server request that is being worked on.
struct Request {
    end: End,
    pending: Pending,
}

impl NodeService {
    fn new() -> Self {
        let mut world = World::new();
        world.correlator.program(PID, "node", None);
        world.correlator.tasks_found(PID, TaskRuntime::Node, None);
        Self {
            world,
            next_connection: 100,
            spare: Vec::new(),
            last_id: 10,
            reads: 0,
            turns: 1,
            served: [0; 2],
            is_same_turn: false,
            has_immediate: false,
            phase: POLLS,
            watcher: 0,
            ids: [0; 2],
            handle: 0,
        }
    }

    fn connection(&mut self) -> (End, End) {
        self.next_connection += 1;
        self.world.connection(self.next_connection)
    }

    fn record(&mut self, part: u8, end: &End) -> RunRecord {
        let mut stack = [7; STACK_WORDS];
        stack[SLOT] = self.watcher;
        stack[STACK_WORDS - 1] = SITE;
        let [execution, trigger] = self.ids;
        let default = if self.handle == 0 { -1.0 } else { self.handle as f64 };
        RunRecord {
            kind: RecordKind::Run as u8,
            part,
            is_turn: 1,
            state: match self.phase {
                CHECKS => RUN_CHECKS,
                POLLS if !self.has_immediate => RUN_ALONE,
                _ => 0,
            },
            pid: PID,
            time_ns: self.world.now(),
            connection: end.0.number,
            reads: self.reads,
            ids: [execution as f64, trigger as f64, self.last_id as f64, default].map(f64::to_bits),
            phase: self.phase,
            turns: [self.turns, self.served[0]],
            watcher: if part == RUN_SERVER_REQUEST || part == RUN_CLIENT_RESPONSE { self.watcher } else { 0 },
            stack,
        }
    }

    fn tell(&mut self, part: u8, end: &End) {
        let record = self.record(part, end);
        self.world.correlator.run(&record);
    }

    /// A callback begins: it reads from a connection.
    fn reads(&mut self, part: u8, end: &End) {
        // Connections on which a first request was sent before.
        while self.spare.len() < 4 {
            (self.phase, self.ids) = (TIMERS, [0; 2]);
            let (client, _) = self.connection();
            self.tell(RUN_CLIENT_REQUEST, &client);
            self.spare.push(client);
        }
        (self.phase, self.ids) = (POLLS, [0; 2]);
        self.watcher = 0x10_0000 + 64 * end.0.number;
        if !self.is_same_turn {
            self.end_turn();
        }
        self.served[1] += 1;
        self.last_id += 3;
        self.tell(part, end);
        // The call is counted when it is over.
        self.reads += 1;
    }

    fn end_turn(&mut self) {
        self.turns += 1;
        self.served = [self.served.iter().sum(), 0];
        self.has_immediate = false;
    }

    /// The phase of immediates begins.
    fn checks(&mut self) {
        self.served = [self.served.iter().sum(), 0];
        self.phase = CHECKS;
    }

    /// What runs makes an immediate, and then other things.
    fn immediate(&mut self) -> u64 {
        self.has_immediate = true;
        self.last_id += 2;
        self.last_id - 1
    }

    /// As [`Self::call`], from an immediate that a promise has made.
    fn call_in(&mut self, immediate: u64) -> CallOut {
        self.ids = [immediate, 0];
        self.call()
    }

    fn request(&mut self) -> Request {
        let (_, end) = self.connection();
        self.reads(RUN_SERVER_REQUEST, &end);
        let pending = self.world.open(&end, thread(PID, PID), 0, None);
        Request { end, pending }
    }

    /// A client request is sent on a connection that is open already.
    fn call(&mut self) -> CallOut {
        let client = self.spare.pop().expect("enough of them");
        self.tell(RUN_CLIENT_REQUEST, &client);
        let pending = self.world.open(&client, thread(PID, PID), 0, None);
        CallOut { client, pending }
    }

    /// As [`Self::call`], from a timer.
    fn call_later(&mut self) -> CallOut {
        let timer = self.timer();
        self.call_by(timer)
    }

    /// What runs makes a timer.
    fn timer(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// As [`Self::call`], from this timer.
    fn call_by(&mut self, timer: u64) -> CallOut {
        (self.phase, self.ids) = (TIMERS, [timer, 0]);
        self.call()
    }

    /// The answer to a call is read.
    fn answer(&mut self, call: &CallOut) -> Exchange {
        self.reads(RUN_CLIENT_RESPONSE, &call.client);
        let exchange = self.world.exchange(&call.pending, thread(PID, PID));
        self.world.correlator.closed(&call.pending.facts, &exchange);
        exchange
    }

    /// The response to a server request is sent.
    fn respond(&mut self, request: &Request) -> Link {
        self.tell(RUN_SERVER_RESPONSE, &request.end);
        let facts = &request.pending.facts;
        let offset = request.pending.offset;
        self.world.correlator.answered(facts, Kind::Serve, offset, (PID, thread(PID, PID)));
        let exchange = self.world.exchange(&request.pending, thread(PID, PID));
        self.world.correlator.closed(facts, &exchange);
        self.world.correlator.link(facts, &exchange)
    }

    /// As [`Self::respond`], from a timer.
    fn respond_later(&mut self, request: &Request) -> Link {
        (self.phase, self.ids) = (TIMERS, [self.last_id, 0]);
        self.respond(request)
    }

    fn link(&mut self, call: &CallOut, exchange: &Exchange) -> Link {
        self.world.correlator.link(&call.pending.facts, exchange)
    }

    fn is_held(&self, call: &CallOut, exchange: &Exchange) -> bool {
        self.world.correlator.is_held(&call.pending.facts, exchange)
    }

    /// Two requests at once, each of which calls and answers upon the answer.
    fn round(&mut self) -> [(CallOut, Exchange, Link); 2] {
        let third = self.request();
        let one = self.request();
        let first = self.call();
        let other = self.request();
        let second = self.call();
        let first_answer = self.answer(&first);
        let one = self.respond(&one);
        let second_answer = self.answer(&second);
        let other = self.respond(&other);
        self.respond_later(&third);
        [(first, first_answer, one), (second, second_answer, other)]
    }

    /// So many that the strategy is trusted.
    fn learn(&mut self) {
        for _ in 0..=ENOUGH / 2 + 4 {
            self.round();
        }
        assert_eq!(self.profile(), "event-loop");
    }

    fn profile(&self) -> &'static str {
        self.world.correlator.profile(PID).expect("it serves").name()
    }

    /// Another server request is open all the time, so that no other rule links.
    fn with_another(&mut self) -> Request {
        self.request()
    }
}

/// A request that makes a promise and a call, or (`is_late`) a call from a timer later.
fn request_with_promise(service: &mut NodeService, is_late: bool) -> (Request, u64, CallOut) {
    let request = service.request();
    let promise = service.immediate();
    let call = service.call();
    if !is_late {
        return (request, promise, call);
    }
    service.answer(&call);
    (request, promise, service.call_later())
}

#[test]
fn a_response_of_a_promise_that_its_request_has_made_proves_as_much() {
    for is_late in [false, true] {
        let mut service = NodeService::new();
        for _ in 0..=ENOUGH / 2 + 4 {
            let third = service.request();
            let mut both = Vec::new();
            for _ in 0..2 {
                both.push(request_with_promise(&mut service, is_late));
            }
            for (request, promise, call) in both {
                service.answer(&call);
                service.ids = [promise, 0];
                service.respond(&request);
            }
            service.respond_later(&third);
        }
        assert_eq!(service.profile(), "event-loop", "{is_late}");
    }
}

#[test]
fn two_responses_upon_an_answer_to_a_call_that_came_from_nowhere_contradict_each_other() {
    let mut service = NodeService::new();
    service.learn();
    let (first, promise, call) = request_with_promise(&mut service, true);
    let (second, other_promise, _) = request_with_promise(&mut service, false);
    service.answer(&call);
    for (request, promise) in [(&first, promise), (&second, other_promise)] {
        service.ids = [promise, 0];
        service.respond(request);
    }
    assert_eq!(service.profile(), "unknown");
}

#[test]
fn pipelined_requests_contradict_nothing() {
    let mut service = NodeService::new();
    service.learn();
    let first = service.request();
    let pending = service.world.open(&first.end, thread(PID, PID), 100, None);
    let second = Request { end: first.end.clone(), pending };
    let call = service.call();
    let answer = service.answer(&call);
    service.respond(&first);
    service.respond(&second);
    assert_eq!(service.profile(), "event-loop");
    assert_eq!(parent(&service.link(&call, &answer)), None, "for which of them?");
}

fn parent(link: &Link) -> Option<([u8; 8], Evidence)> {
    link.parent
}

#[test]
fn calls_wait_for_the_proof_and_are_linked_then() {
    let mut service = NodeService::new();
    let mut waiting = Vec::new();
    // Until the word of the stack is known that tells the socket, sends tell nothing by themselves.
    for _ in 0..4 {
        service.round();
    }
    while service.profile() != "event-loop" {
        for (call, exchange, server) in service.round() {
            let is_proven = service.profile() == "event-loop";
            assert!(is_proven || service.is_held(&call, &exchange));
            waiting.push((call, exchange, server));
        }
        assert!(waiting.len() <= 2 * ENOUGH as usize);
    }
    for (call, exchange, server) in waiting {
        assert!(!service.is_held(&call, &exchange));
        let link = service.link(&call, &exchange);
        assert_eq!(parent(&link), Some((server.span_id, Evidence::EventLoop)));
        assert_eq!(link.trace_id, server.trace_id);
    }
}

#[test]
fn a_call_of_a_timer_is_linked_by_the_answer_that_it_leads_to() {
    let mut service = NodeService::new();
    service.learn();
    let other = service.with_another();
    let request = service.request();
    let call = service.call_later();
    let exchange = service.answer(&call);
    let server = service.respond(&request);
    assert!(service.is_held(&call, &exchange), "what is open now could contradict it");
    service.respond_later(&other);
    assert!(!service.is_held(&call, &exchange));
    assert_eq!(parent(&service.link(&call, &exchange)), Some((server.span_id, Evidence::EventLoop)));
}

#[test]
fn a_call_of_a_timer_that_no_answer_follows_is_of_nobody() {
    let mut service = NodeService::new();
    service.learn();
    let (other, request) = (service.with_another(), service.request());
    let call = service.call_later();
    let exchange = service.answer(&call);
    // Both are answered by timers.
    for request in [request, other] {
        service.respond_later(&request);
    }
    assert!(!service.is_held(&call, &exchange));
    assert_eq!(parent(&service.link(&call, &exchange)), None);
}

#[test]
fn what_is_read_by_others_in_between_ends_a_run() {
    type Between = fn(&mut NodeService, &Request);
    let between: [(&str, Between); 5] = [
        ("a file or an event", |service, _| service.reads += 1),
        ("another socket", |service, request| service.tell(RUN_OTHER, &request.end)),
        ("an iteration of the loop", |service, _| service.turns += 1),
        ("another phase", |service, _| service.phase = TIMERS),
        ("another watcher", |service, _| service.watcher += 64),
    ];
    for (what, between) in between {
        let mut service = NodeService::new();
        service.learn();
        let other = service.with_another();
        let request = service.request();
        between(&mut service, &request);
        let call = service.call();
        let exchange = service.answer(&call);
        service.respond_later(&request);
        service.respond_later(&other);
        assert_eq!(parent(&service.link(&call, &exchange)), None, "{what}");
    }
}

#[test]
fn an_id_leads_to_the_run_that_surely_made_it() {
    let mut service = NodeService::new();
    service.learn();
    let other = service.with_another();
    let request = service.request();
    // It sends, so that it is known up to which id it has made.
    service.last_id += 5;
    let queued = service.last_id - 1;
    let first = service.call();
    let first_answer = service.answer(&first);
    // In the callback of another request, what was queued is sent.
    let third = service.request();
    service.ids = [queued, 0];
    let call = service.call();
    let exchange = service.answer(&call);
    let server = service.respond(&request);
    service.respond_later(&third);
    service.respond_later(&other);
    for (call, exchange) in [(&first, &first_answer), (&call, &exchange)] {
        assert_eq!(parent(&service.link(call, exchange)), Some((server.span_id, Evidence::EventLoop)));
    }
    assert_eq!(service.profile(), "event-loop");
}

#[test]
fn what_an_unseen_callback_makes_is_not_of_the_callback_that_sends_next() {
    let mut service = NodeService::new();
    service.learn();
    let other = service.with_another();
    let request = service.request();
    service.last_id += 1;
    let (connecting, unseen) = (service.last_id, service.last_id + 4);
    // A connection is accepted, which nothing tells; then the callback that was made before sends.
    service.last_id = unseen + 2;
    (service.phase, service.ids) = (TIMERS, [connecting, 0]);
    let call = service.call();
    let exchange = service.answer(&call);
    let server = service.respond(&request);
    // The connection that was accepted carries a request, whose callback runs as what was made then.
    let last = service.request();
    service.ids = [unseen, 0];
    let own = service.call();
    let own_exchange = service.answer(&own);
    let last = service.respond(&last);
    service.respond_later(&other);
    assert_eq!(parent(&service.link(&call, &exchange)), Some((server.span_id, Evidence::EventLoop)));
    assert_eq!(parent(&service.link(&own, &own_exchange)), Some((last.span_id, Evidence::EventLoop)));
    assert_eq!(service.profile(), "event-loop");
}

#[test]
fn a_process_that_hands_work_over_gets_no_link_ever_again() {
    let mut service = NodeService::new();
    service.learn();
    let third = service.with_another();
    let one = service.request();
    let first = service.call();
    let other = service.request();
    // A limiter: the second one's call is sent when the first one's is answered.
    let first_answer = service.answer(&first);
    let second = service.call();
    service.respond(&one);
    assert!(service.is_held(&first, &first_answer), "the other one is open");
    let second_answer = service.answer(&second);
    service.respond(&other);
    service.respond_later(&third);
    assert_eq!(service.profile(), "unknown");
    for (call, exchange) in [(&first, &first_answer), (&second, &second_answer)] {
        assert!(!service.is_held(call, exchange));
        assert_eq!(parent(&service.link(call, exchange)), None);
    }
    for _ in 0..2 * ENOUGH {
        for (call, exchange, _) in service.round() {
            assert_ne!(parent(&service.link(&call, &exchange)).map(|(_, by)| by), Some(Evidence::EventLoop));
        }
    }
}

#[test]
fn a_call_that_is_not_answered_before_the_request_is_its_own_only_if_the_request_itself_sent_it() {
    let mut service = NodeService::new();
    service.learn();
    let other = service.with_another();
    let request = service.request();
    let (direct, first) = (service.call(), service.call());
    let first_answer = service.answer(&first);
    let later = service.call();
    let server = service.respond(&request);
    let (direct_answer, later_answer) = (service.answer(&direct), service.answer(&later));
    service.respond_later(&other);
    let expected = Some((server.span_id, Evidence::EventLoop));
    assert_eq!(parent(&service.link(&direct, &direct_answer)), expected);
    assert_eq!(parent(&service.link(&first, &first_answer)), expected);
    assert_eq!(parent(&service.link(&later, &later_answer)), None);
}

#[test]
fn words_that_cannot_be_ids_tell_nothing_and_end_the_plan() {
    for words in [[f64::NAN; 4], [0.5, 0.0, 1e6, -1.0], [0.0, 1e7, 1e6, -1.0], [0.0, 0.0, 3.0, -1.0]] {
        let mut service = NodeService::new();
        service.learn();
        let request = service.request();
        let other = service.with_another();
        let mut unread = 0;
        for _ in 0..16 {
            let record = service.record(RUN_CLIENT_RESPONSE, &request.end);
            let record = RunRecord { ids: words.map(f64::to_bits), ..record };
            unread += service.world.correlator.run(&record);
        }
        assert_eq!(unread, 16);
        assert_eq!(service.profile(), "unknown");
        let call = service.call();
        let exchange = service.answer(&call);
        service.respond(&request);
        service.respond(&other);
        assert_eq!(parent(&service.link(&call, &exchange)), None);
    }
}

#[test]
fn one_request_at_a_time_proves_nothing() {
    let mut service = NodeService::new();
    for _ in 0..3 * ENOUGH {
        let request = service.request();
        let call = service.call();
        let exchange = service.answer(&call);
        let server = service.respond(&request);
        assert_eq!(parent(&service.link(&call, &exchange)), Some((server.span_id, Evidence::SoleRequest)));
    }
    assert_eq!(service.profile(), "unknown");
}

/// Requests that come in one iteration, each of which makes an immediate in which it calls; `between` happens after the
/// sockets and before the immediates. Returns which calls are linked to their own request; none may be linked to another.
fn called_by_immediates(count: usize, between: fn(&mut NodeService)) -> Vec<bool> {
    let mut service = NodeService::new();
    service.learn();
    let other = service.with_another();
    let mut requests = Vec::new();
    for index in 0..count {
        service.is_same_turn = index > 0;
        let request = service.request();
        requests.push((request, service.immediate()));
    }
    service.is_same_turn = false;
    between(&mut service);
    service.checks();
    let calls: Vec<_> = requests.iter().map(|(_, immediate)| service.call_in(*immediate)).collect();
    // No answer leads to a response.
    let exchanges: Vec<_> = calls.iter().map(|call| service.answer(call)).collect();
    let servers: Vec<_> = requests.iter().map(|(request, _)| service.respond_later(request)).collect();
    service.respond_later(&other);
    assert_eq!(service.profile(), "event-loop");
    let parents = calls.iter().zip(&exchanges).map(|(call, exchange)| parent(&service.link(call, exchange)));
    parents
        .zip(&servers)
        .map(|(found, server)| {
            assert!(found.is_none_or(|found| found == (server.span_id, Evidence::EventLoop)), "{found:?}");
            found.is_some()
        })
        .collect()
}

#[test]
fn an_immediate_is_of_the_callback_that_has_surely_made_it() {
    assert_eq!(called_by_immediates(1, |_| {}), [true]);
    // What comes after the last socket could have made the last one.
    assert_eq!(called_by_immediates(2, |_| {}), [true, false]);
    assert_eq!(called_by_immediates(3, |_| {}), [true, true, false]);
}

#[test]
fn after_a_callback_that_is_not_seen_no_immediate_is_sure() {
    // A connection is accepted or established, ends, or work of other threads is done: the loop counts it.
    let unseen = |service: &mut NodeService| service.served[1] += 1;
    assert_eq!(called_by_immediates(1, unseen), [false]);
    assert_eq!(called_by_immediates(3, unseen), [false; 3]);
    // Timers run in another iteration.
    assert_eq!(called_by_immediates(2, |service| service.turns += 1), [false; 2]);
}

#[test]
fn what_an_immediate_begins_is_of_the_callback_that_made_the_immediate() {
    let mut service = NodeService::new();
    service.learn();
    let other = service.with_another();
    let one = service.request();
    let immediate = service.immediate();
    service.is_same_turn = true;
    let two = service.request();
    let last = service.immediate();
    service.is_same_turn = false;
    service.checks();
    // Ticks that they make, and one that a promise makes.
    let mut calls = Vec::new();
    for trigger in [immediate, last, 0] {
        service.last_id += 1;
        service.ids = [service.last_id, trigger];
        calls.push(service.call());
    }
    let exchanges: Vec<_> = calls.iter().map(|call| service.answer(call)).collect();
    let server = service.respond_later(&one);
    service.respond_later(&two);
    service.respond_later(&other);
    let found: Vec<_> =
        calls.iter().zip(&exchanges).map(|(call, exchange)| parent(&service.link(call, exchange))).collect();
    assert_eq!(found, [Some((server.span_id, Evidence::EventLoop)), None, None]);
}

#[test]
fn an_immediate_that_waited_before_is_not_of_the_callback_that_reads() {
    let mut service = NodeService::new();
    service.learn();
    let other = service.with_another();
    service.end_turn();
    // A timer of the iteration before has made it.
    let immediate = service.immediate();
    service.is_same_turn = true;
    let request = service.request();
    service.is_same_turn = false;
    service.checks();
    service.last_id += 1;
    service.ids = [service.last_id, 0];
    let (made, call) = (service.call(), service.call_in(immediate));
    let exchanges = [service.answer(&made), service.answer(&call)];
    service.respond_later(&request);
    service.respond_later(&other);
    for (call, exchange) in [made, call].iter().zip(&exchanges) {
        assert_eq!(parent(&service.link(call, exchange)), None);
    }
}

#[test]
fn an_immediate_that_answers_another_request_contradicts() {
    let mut service = NodeService::new();
    service.learn();
    let third = service.with_another();
    let one = service.request();
    let immediate = service.immediate();
    service.checks();
    let call = service.call_in(immediate);
    let other = service.request();
    let exchange = service.answer(&call);
    // What was called for the one answers the other.
    service.respond(&other);
    service.respond_later(&one);
    service.respond_later(&third);
    assert_eq!(service.profile(), "unknown");
    assert_eq!(parent(&service.link(&call, &exchange)), None);
}

#[test]
fn a_timer_of_an_answered_request_does_not_call_for_the_only_one_in_flight() {
    let mut service = NodeService::new();
    let mut late = None;
    for round in 0..40 {
        // Requests in turn: no moment is without one.
        let request = service.request();
        if let Some(timer) = late {
            let call = service.call_by(timer);
            let exchange = service.answer(&call);
            let link = service.link(&call, &exchange);
            assert_eq!((link.parent, link.withheld), (None, Some(Withheld::OtherThread)), "round {round}");
        }
        let own = service.call_later();
        let exchange = service.answer(&own);
        assert_eq!(parent(&service.link(&own, &exchange)).map(|it| it.1), Some(Evidence::SoleRequest));
        late = Some(service.timer());
        service.respond(&request);
    }
}
