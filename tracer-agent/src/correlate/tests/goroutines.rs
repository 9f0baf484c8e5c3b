//! Goroutines that work for the server requests that they have read, or that were made for them.

use tracer_common::{GoTask, Kind as RecordKind, RECEIVE, SEND, TaskRecord};

use super::*;
use crate::correlate::strategy::goroutines::Goroutines;

const PID: u32 = 1;
/// Addresses of functions.
const SERVE: u64 = 0x1000;
const WORK: u64 = 0x2000;

/// A Go program that serves several connections, one goroutine for each.
struct GoService {
    world: World,
    /// The number of the goroutine that was made last.
    last_id: u64,
    /// Numbers of connections that are not used.
    next_connection: u64,
    /// Who serves the request whose context the next client request carries.
    serving: u64,
}

impl GoService {
    fn new() -> Self {
        let mut world = World::new();
        world.correlator.tasks(PID, TaskRuntime::Go, None);
        Self { world, last_id: 1024, next_connection: 100, serving: 0 }
    }

    fn go(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn connection(&mut self) -> (End, End) {
        self.next_connection += 1;
        self.world.connection(self.next_connection)
    }

    /// What the kernel programs tell of a goroutine. The thread has no batch of numbers left.
    fn tell(&mut self, direction: u8, task: u64, creator: u64, start: u64) {
        let record = TaskRecord {
            kind: RecordKind::Task as u8,
            direction,
            pid: PID,
            time_ns: self.world.now(),
            task,
            facts: GoTask { creator, start, last_id: self.last_id, next_id: 0, serving: self.serving }
                .facts(),
            ..TaskRecord::default()
        };
        self.world.correlator.task(&record);
    }

    /// A goroutine reads a request.
    fn read(&mut self, end: &End, task: u64, offset: u64) -> Pending {
        self.tell(RECEIVE, task, 1, SERVE);
        self.world.open(end, Unit { task, ..thread(PID, 7) }, offset, None)
    }

    /// A goroutine calls, on a thread that changes.
    fn call(&mut self, task: u64, creator: u64, start: u64) -> Pending {
        self.tell(SEND, task, creator, start);
        let (client, _) = self.connection();
        self.world.open(&client, Unit { task, ..thread(PID, 8) }, 0, None)
    }

    /// A goroutine calls with the context of the request that that one serves.
    fn call_with(&mut self, serving: u64, task: u64, start: u64) -> Pending {
        self.serving = serving;
        let made = self.call(task, 1, start);
        self.serving = 0;
        made
    }

    fn close(&mut self, pending: &Pending, task: u64) -> Link {
        let exchange = self.world.exchange(pending, Unit { task, ..thread(PID, 9) });
        self.world.correlator.closed(&pending.facts, &exchange);
        self.world.correlator.link(&pending.facts, &exchange)
    }
}

fn evidence(link: &Link) -> Option<Evidence> {
    link.parent.map(|(_, evidence)| evidence)
}

#[test]
fn a_goroutine_works_for_what_it_has_read_whatever_thread_it_is_on() {
    let mut service = GoService::new();
    let servers: Vec<_> = (0..4).map(|_| (service.connection().1, service.go())).collect();
    for round in 0..3 {
        let requests: Vec<_> =
            servers.iter().map(|(end, task)| (service.read(end, *task, round * 100), *task)).collect();
        for (request, task) in requests {
            let client = service.call(task, 1, SERVE);
            let link = service.close(&client, 0);
            let server = service.close(&request, task);
            assert_eq!(link.parent, Some((server.span_id, Evidence::Goroutine)));
            assert_eq!(link.trace_id, server.trace_id);
        }
    }
    let profile = service.world.correlator.profile(PID).expect("it serves");
    let told = (profile.name(), profile.to_string());
    assert_eq!(told, ("goroutines", "12 requests with their goroutine".to_owned()));
}

#[test]
fn goroutines_made_for_a_request_work_for_it_once_their_kind_is_known() {
    let mut service = GoService::new();
    let (one, other) = (service.connection().1, service.connection().1);
    let (task, second) = (service.go(), service.go());
    let mut waiting = Vec::new();
    for round in 0..Goroutines::ENOUGH as u64 {
        let open = service.read(&other, second, round * 100);
        let request = service.read(&one, task, round * 100);
        let child = service.go();
        let client = service.call(child, task, WORK);
        let exchange = service.world.exchange(&client, thread(PID, 8));
        service.world.correlator.closed(&client.facts, &exchange);
        let is_last = round + 1 == Goroutines::ENOUGH as u64;
        assert_eq!(service.world.correlator.is_held(&client.facts, &exchange), !is_last, "{round}");
        waiting.push((client, exchange, service.close(&request, task)));
        service.close(&open, second);
    }
    for (client, exchange, server) in waiting {
        assert!(!service.world.correlator.is_held(&client.facts, &exchange));
        let link = service.world.correlator.link(&client.facts, &exchange);
        assert_eq!(link.parent, Some((server.span_id, Evidence::GoroutineChild)));
    }
}

#[test]
fn workers_that_a_request_has_started_are_not_its_own() {
    let mut service = GoService::new();
    let (one, other) = (service.connection().1, service.connection().1);
    let (task, second) = (service.go(), service.go());
    let open = service.read(&other, second, 0);
    let request = service.read(&one, task, 0);
    let worker = service.go();
    // Its first work is for the request that started it, and looks so.
    let first = service.call(worker, task, WORK);
    service.close(&request, task);
    service.close(&open, second);
    for round in 1..40 {
        let open = service.read(&other, second, round * 100);
        let request = service.read(&one, task, round * 100);
        let client = service.call(worker, task, WORK);
        assert_eq!(evidence(&service.close(&client, 0)), None, "{round}");
        // Nor is a new one trusted, of this kind.
        let new = service.go();
        let client = service.call(new, task, WORK);
        assert_eq!(evidence(&service.close(&client, 0)), None, "{round}");
        service.close(&request, task);
        service.close(&open, second);
    }
    assert_eq!(evidence(&service.close(&first, 0)), None);
    // What a request's own goroutine calls is known all the same.
    let request = service.read(&one, task, 10_000);
    let client = service.call(task, 1, SERVE);
    assert_eq!(evidence(&service.close(&client, 0)), Some(Evidence::Goroutine));
    service.close(&request, task);
}

#[test]
fn a_goroutine_that_answers_what_another_has_read_ends_it() {
    let mut service = GoService::new();
    let (one, other) = (service.connection().1, service.connection().1);
    let (task, second) = (service.go(), service.go());
    let request = service.read(&one, task, 0);
    service.close(&request, second);
    let (open, request) = (service.read(&other, second, 0), service.read(&one, task, 100));
    let client = service.call(task, 1, SERVE);
    assert_eq!(evidence(&service.close(&client, 0)), None);
    assert_eq!(service.world.correlator.profile(PID).map(Profile::name), Some("unknown"));
    service.close(&request, task);
    service.close(&open, second);
}

#[test]
fn a_late_goroutine_is_not_of_the_only_request_that_is_open() {
    let mut service = GoService::new();
    let (one, other) = (service.connection().1, service.connection().1);
    let (task, second) = (service.go(), service.go());
    let request = service.read(&one, task, 0);
    let late = service.go();
    service.close(&request, task);
    let request = service.read(&other, second, 0);
    let client = service.call(late, task, WORK);
    let link = service.close(&client, 0);
    assert_eq!((link.parent, link.withheld), (None, Some(Withheld::OtherThread)));
    service.close(&request, second);
}

#[test]
fn a_goroutine_that_may_be_older_than_the_request_does_not_speak_against_its_kind() {
    let mut service = GoService::new();
    let (one, other) = (service.connection().1, service.connection().1);
    let (task, second) = (service.go(), service.go());
    for round in 0..3 * Goroutines::ENOUGH as u64 {
        let open = service.read(&other, second, round * 100);
        // A processor has taken this number, and gives it out when the request is there.
        let taken = service.go();
        let request = service.read(&one, task, round * 100);
        let unsure = service.call(taken, task, WORK);
        let child = service.go();
        let sure = service.call(child, task, WORK);
        assert_eq!(evidence(&service.close(&unsure, 0)), None, "{round}");
        let link = service.close(&sure, 0);
        let is_known = round + 1 >= Goroutines::ENOUGH as u64;
        assert_eq!(evidence(&link), is_known.then_some(Evidence::GoroutineChild), "{round}");
        service.close(&request, task);
        service.close(&open, second);
    }
}

#[test]
fn a_call_is_for_the_request_whose_context_it_carries_whoever_makes_it() {
    for is_opaque in [false, true] {
        let mut service = GoService::new();
        if is_opaque {
            service.world.correlator.opaque(PID);
        }
        let worker = service.go();
        let [one, two] = [service.go(), service.go()];
        let ends = [service.connection().1, service.connection().1];
        let requests = [service.read(&ends[0], one, 0), service.read(&ends[1], two, 0)];
        // Without a context, a worker that is older than the requests is nobody's.
        let calls = [two, one, 0].map(|serving| {
            let call = service.call_with(serving, worker, WORK);
            service.close(&call, worker)
        });
        // Its caller does not wait yet.
        let early = service.call_with(one, one, 0);
        let early = service.close(&early, one);
        let [one, two] = [service.close(&requests[0], one), service.close(&requests[1], two)];
        let of = |link: &Link| Some((link.span_id, Evidence::Context));
        assert_eq!(calls.map(|link| link.parent), [of(&two), of(&one), None]);
        assert_eq!(early.parent, of(&one));
    }
}

#[test]
fn a_goroutine_that_calls_with_another_request_s_context_may_work_for_both() {
    let mut service = GoService::new();
    let [one, two] = [service.go(), service.go()];
    let ends = [service.connection().1, service.connection().1];
    let requests = [service.read(&ends[0], one, 0), service.read(&ends[1], two, 0)];
    let shared = service.call_with(two, one, SERVE);
    assert_eq!(service.close(&shared, one).parent, None);
    let own = service.call_with(one, one, SERVE);
    assert_eq!(evidence(&service.close(&own, one)), Some(Evidence::Goroutine));
    service.close(&requests[1], two);
    service.close(&requests[0], one);
    // What was answered is nobody's reason any more.
    let late = service.call_with(two, service.last_id, WORK);
    assert_eq!(service.close(&late, one).parent, None);
}

#[test]
fn goroutines_that_cannot_be_read_are_no_evidence_any_more() {
    let mut service = GoService::new();
    let task = service.go();
    let (_, end) = service.connection();
    let serve = |service: &mut GoService, task: u64, offset: u64| {
        let request = service.read(&end, task, offset);
        let call = service.call(task, 1, SERVE);
        let link = service.close(&call, task);
        service.close(&request, task);
        evidence(&link)
    };
    for n in 0..63 {
        assert_ne!(serve(&mut service, 0, n * 100), Some(Evidence::Goroutine));
    }
    assert_eq!(serve(&mut service, task, 9_000), Some(Evidence::Goroutine), "one check in between");
    for n in 0..64 {
        serve(&mut service, 0, 10_000 + n * 100);
    }
    assert_ne!(serve(&mut service, task, 20_000), Some(Evidence::Goroutine));
    let profile = service.world.correlator.profile(PID).expect("known");
    assert!(profile.to_string().contains("could not be read"), "{profile}");
}

#[test]
fn a_goroutine_that_goes_on_after_its_answer_does_not_work_for_the_only_request_in_flight() {
    let mut service = GoService::new();
    let (one, other) = (service.connection().1, service.connection().1);
    let (task, second) = (service.go(), service.go());
    for round in 0..20 {
        let open = service.read(&other, second, round * 100);
        let request = service.read(&one, task, round * 100);
        service.close(&request, task);
        let client = service.call(task, 1, SERVE);
        assert_eq!(service.close(&client, 0).parent, None, "round {round}");
        service.close(&open, second);
    }
}

#[test]
fn a_goroutine_of_an_answered_request_does_not_work_for_the_next_one_of_the_connection() {
    let mut service = GoService::new();
    let (end, task) = (service.connection().1, service.go());
    let mut goes_on = None;
    for round in 0..40 {
        // Requests in turn: no moment is without one.
        let request = service.read(&end, task, round * 100);
        if let Some(child) = goes_on.replace(service.go()) {
            let client = service.call(child, task, WORK);
            assert_eq!(service.close(&client, 0).parent, None, "round {round}");
        }
        service.close(&request, task);
    }
}

#[test]
fn a_goroutine_that_may_be_older_than_the_only_request_waits_for_what_its_kind_does() {
    let mut service = GoService::new();
    let (end, task) = (service.connection().1, service.go());
    let mut waiting = Vec::new();
    for round in 0..Goroutines::ENOUGH as u64 {
        // A processor has taken this number, and gives it out when the request is there.
        let taken = service.go();
        let request = service.read(&end, task, round * 100);
        let client = service.call(taken, task, WORK);
        let exchange = service.world.exchange(&client, thread(PID, 8));
        service.world.correlator.closed(&client.facts, &exchange);
        assert!(service.world.correlator.is_held(&client.facts, &exchange), "{round}");
        let child = service.go();
        let sure = service.call(child, task, WORK);
        service.close(&sure, 0);
        waiting.push((client, exchange, service.close(&request, task)));
    }
    for (client, exchange, server) in waiting {
        let link = service.world.correlator.link(&client.facts, &exchange);
        assert_eq!(link.parent, Some((server.span_id, Evidence::SoleRequest)));
    }
}

#[test]
fn where_goroutines_go_on_after_their_answers_one_that_is_not_known_calls_for_nobody() {
    let mut service = GoService::new();
    let (one, other) = (service.connection().1, service.connection().1);
    let (task, second) = (service.go(), service.go());
    // The address is known to be called for requests.
    let (first, begins) = (service.connection().1, service.go());
    let begin = service.read(&first, begins, 0);
    let known = service.call(begins, 1, SERVE);
    service.close(&known, 0);
    service.close(&begin, begins);
    for round in 0..4 {
        let open = service.read(&other, second, round * 100);
        let request = service.read(&one, task, round * 100);
        // Another one answers.
        service.close(&request, if round < 2 { task } else { 77 });
        let unread = service.call(0, 0, 0);
        let link = service.close(&unread, 0);
        assert_eq!(evidence(&link), (round == 0).then_some(Evidence::SoleRequest), "round {round}");
        for goes_on in [task, 77] {
            let client = service.call(goes_on, 1, SERVE);
            let is_known = goes_on == task || round >= 2;
            let link = service.close(&client, 0);
            assert_eq!(evidence(&link), (!is_known).then_some(Evidence::SoleRequest), "round {round}");
        }
        service.close(&open, second);
    }
}
