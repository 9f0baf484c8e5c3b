//! asyncio tasks that work for the server requests that they, or tasks which await them, answer.

use tracer_common::{
    HAS_GROUP, Kind as RecordKind, PythonTask, RUNTIME_PYTHON, SEND, TaskRecord, UNNUMBERED,
};

use super::*;
use crate::correlate::strategy::tasks::Tasks;

const PID: u32 = 1;
/// The loop's thread.
const LOOP: u32 = 7;

/// A Python program whose event loop serves several connections.
struct Service {
    world: World,
    next_connection: u64,
    next_task: u64,
}

/// A client request whose response has come.
struct Called {
    pending: Pending,
    exchange: Exchange,
}

impl Service {
    fn new() -> Self {
        let mut world = World::new();
        world.correlator.tasks(PID, TaskRuntime::Python, None);
        Self { world, next_connection: 100, next_task: 10 }
    }

    fn connection(&mut self) -> (End, End) {
        self.next_connection += 1;
        self.world.connection(self.next_connection)
    }

    fn task(&mut self) -> u64 {
        self.next_task += 1;
        self.next_task
    }

    /// The loop reads a request of a new connection.
    fn read(&mut self) -> Pending {
        let (_, server) = self.connection();
        self.read_on(&server, 0)
    }

    fn read_on(&mut self, end: &End, offset: u64) -> Pending {
        self.world.open(end, thread(PID, LOOP), offset, None)
    }

    /// A task calls, and gets a response.
    fn call(&mut self, task: u64, awaiters: &[u64]) -> Called {
        let mut all = [0; 4];
        all[..awaiters.len()].copy_from_slice(awaiters);
        // Handlers are awaited by nobody.
        let function = if awaiters.is_empty() { 2 } else { 1 };
        self.call_of(function, task, all)
    }

    /// A task of this function calls, and gets a response.
    fn call_of(&mut self, function: u64, task: u64, awaiters: [u64; 4]) -> Called {
        let facts = PythonTask { awaiters, function }.facts();
        self.world.correlator.task(&TaskRecord {
            kind: RecordKind::Task as u8,
            direction: SEND,
            runtime: RUNTIME_PYTHON as u8,
            pid: PID,
            time_ns: self.world.now_ns,
            task,
            facts,
            ..TaskRecord::default()
        });
        self.call_by(Unit { task, ..thread(PID, LOOP) })
    }

    fn call_by(&mut self, unit: Unit) -> Called {
        let (client, _) = self.connection();
        let pending = self.world.open(&client, unit, 0, None);
        let exchange = self.world.exchange(&pending, thread(PID, LOOP));
        self.world.correlator.closed(&pending.facts, &exchange);
        Called { pending, exchange }
    }

    /// A task begins the response to a request.
    fn answer(&mut self, request: &Pending, task: u64) {
        let by = Unit { task, ..thread(PID, LOOP) };
        self.world.correlator.answered(&request.facts, Kind::Serve, request.offset, (PID, by));
    }

    /// The response has ended.
    fn end(&mut self, request: &Pending) -> Link {
        self.world.close_by(request, thread(PID, LOOP))
    }

    fn finish(&mut self, request: &Pending, task: u64) -> Link {
        self.answer(request, task);
        self.end(request)
    }

    fn is_held(&self, called: &Called) -> bool {
        self.world.correlator.is_held(&called.pending.facts, &called.exchange)
    }

    fn link(&mut self, called: &Called) -> Link {
        self.world.correlator.link(&called.pending.facts, &called.exchange)
    }

    fn profile(&self) -> (&'static str, String) {
        let profile = self.world.correlator.profile(PID).expect("it serves");
        (profile.name(), profile.to_string())
    }

    /// Shows that tasks of function 1 are awaited when they call.
    fn prove_awaited(&mut self) {
        for _ in 0..Tasks::AWAITED {
            let (one, other) = (self.read(), self.read());
            let (handler, second) = (self.task(), self.task());
            let own = self.task();
            let call = self.call(own, &[handler]);
            self.finish(&one, handler);
            self.finish(&other, second);
            assert_eq!(evidence(&self.link(&call)), None, "nothing is proven yet");
        }
    }

    /// Shows that each request has a task of its own.
    fn prove(&mut self) {
        for _ in 0..Tasks::ENOUGH {
            let (one, other) = (self.read(), self.read());
            let (task, second) = (self.task(), self.task());
            self.finish(&one, task);
            self.finish(&other, second);
        }
    }
}

fn evidence(link: &Link) -> Option<Evidence> {
    link.parent.map(|(_, evidence)| evidence)
}

#[test]
fn a_call_is_for_the_request_that_its_task_answers() {
    let mut service = Service::new();
    let (one, other) = (service.read(), service.read());
    let (task, second) = (service.task(), service.task());
    let (first_call, second_call) = (service.call(task, &[]), service.call(second, &[]));
    assert!(service.is_held(&first_call) && service.is_held(&second_call));
    let other = service.finish(&other, second);
    assert!(service.is_held(&second_call), "its task may answer the other one too");
    let decisions = service.world.correlator.decisions();
    let one = service.finish(&one, task);
    assert!(service.world.correlator.decisions() > decisions, "what is held goes on");
    for (call, server) in [(first_call, one), (second_call, other)] {
        assert!(!service.is_held(&call));
        let link = service.link(&call);
        assert_eq!(link.parent, Some((server.span_id, Evidence::Task)));
        assert_eq!(link.trace_id, server.trace_id);
    }
    assert_eq!(service.profile(), ("tasks", "2 requests that an asyncio task answered".to_owned()));
}

#[test]
fn a_call_is_for_the_request_that_an_awaiter_of_its_task_answers() {
    let mut service = Service::new();
    service.prove_awaited();
    let (one, other) = (service.read(), service.read());
    let (task, second) = (service.task(), service.task());
    let calls: Vec<_> = (1..=4)
        .map(|depth| {
            let mut awaiters: Vec<u64> = (1..depth).map(|_| service.task()).collect();
            awaiters.push(task);
            let own = service.task();
            service.call(own, &awaiters)
        })
        .collect();
    let one = service.finish(&one, task);
    service.finish(&other, second);
    for call in calls {
        assert_eq!(service.link(&call).parent, Some((one.span_id, Evidence::Task)));
    }
}

/// A handler begins a job and leaves it to whoever asks next.
#[test]
fn tasks_of_a_function_that_called_without_being_awaited_are_nobodys() {
    let mut service = Service::new();
    service.prove_awaited();
    let (one, other) = (service.read(), service.read());
    let (handler, second, job) = (service.task(), service.task(), service.task());
    let call = service.call(job, &[handler]);
    let free = service.task();
    service.call_of(1, free, [0; 4]);
    service.finish(&one, handler);
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
    // Not even when others are awaited for long.
    service.prove_awaited();
    service.prove_awaited();
}

#[test]
fn a_task_that_answers_several_requests_does_not_tell_for_which_one_it_awaits_another() {
    let mut service = Service::new();
    service.prove_awaited();
    let (_, end) = service.connection();
    let keeper = service.task();
    let (first, other) = (service.read_on(&end, 0), service.read());
    let own = service.task();
    let call = service.call(own, &[keeper]);
    let first = service.finish(&first, keeper);
    let second = service.task();
    service.finish(&other, second);
    assert_eq!(service.link(&call).parent, Some((first.span_id, Evidence::Task)));
    // Another request's task made the job before, and it calls only now.
    let (next, other) = (service.read_on(&end, 100), service.read());
    let job = service.task();
    let call = service.call(job, &[keeper]);
    service.finish(&next, keeper);
    let second = service.task();
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
}

/// The loop reads the next request of a connection while the connection's task still works for the one before.
#[test]
fn a_task_that_goes_on_after_its_answer_does_not_call_for_the_next_request() {
    let mut service = Service::new();
    service.prove_awaited();
    let (_, end) = service.connection();
    let keeper = service.task();
    let first = service.read_on(&end, 0);
    service.finish(&first, keeper);
    let (next, other) = (service.read_on(&end, 100), service.read());
    let (member, own) = (service.task(), service.task());
    let calls = [
        service.call(keeper, &[]),
        service.call(member, &[keeper | HAS_GROUP]),
        service.call(UNNUMBERED | 0x7000, &[keeper | HAS_GROUP]),
        service.call(own, &[keeper]),
    ];
    service.finish(&next, keeper);
    let second = service.task();
    service.finish(&other, second);
    for call in calls {
        assert_eq!(evidence(&service.link(&call)), None);
    }
}

/// A handler begins a job, and one that came later awaits it.
#[test]
fn tasks_of_a_function_one_of_which_was_older_than_its_awaiter_are_nobodys() {
    let mut service = Service::new();
    service.prove_awaited();
    let (one, other) = (service.read(), service.read());
    let job = service.task();
    let (handler, second) = (service.task(), service.task());
    let older = service.call(job, &[handler]);
    service.finish(&one, handler);
    service.finish(&other, second);
    let (one, other) = (service.read(), service.read());
    let (handler, second, own) = (service.task(), service.task(), service.task());
    let newer = service.call(own, &[handler]);
    service.finish(&one, handler);
    service.finish(&other, second);
    for call in [older, newer] {
        assert_eq!(evidence(&service.link(&call)), None);
    }
}

#[test]
fn a_task_whose_answers_were_forgotten_may_have_answered() {
    let mut service = Service::new();
    service.prove_awaited();
    let (_, end) = service.connection();
    let keeper = service.task();
    let first = service.read_on(&end, 0);
    service.finish(&first, keeper);
    for _ in 0..Tasks::MOST_TASKS {
        let (request, task) = (service.read(), service.task());
        service.finish(&request, task);
    }
    let (next, other) = (service.read_on(&end, 100), service.read());
    let job = service.task();
    let call = service.call(job, &[keeper]);
    service.finish(&next, keeper);
    let second = service.task();
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
}

#[test]
fn a_call_of_a_task_that_nobody_awaits_is_for_none_of_several() {
    let mut service = Service::new();
    let (one, other) = (service.read(), service.read());
    let (task, second, worker) = (service.task(), service.task(), service.task());
    let call = service.call(worker, &[]);
    service.finish(&one, task);
    assert!(service.is_held(&call), "it may answer the other one");
    service.finish(&other, second);
    assert!(!service.is_held(&call));
    assert_eq!(evidence(&service.link(&call)), None);
}

#[test]
fn once_tasks_have_shown_how_they_work_a_call_waits_for_its_own_answer_only() {
    let mut service = Service::new();
    service.prove();
    // A request that waits for long.
    let long = service.read();
    let request = service.read();
    let task = service.task();
    let call = service.call(task, &[]);
    let server = service.finish(&request, task);
    assert!(!service.is_held(&call));
    assert_eq!(service.link(&call).parent, Some((server.span_id, Evidence::Task)));
    let last = service.task();
    service.finish(&long, last);
}

#[test]
fn a_request_that_came_after_the_call_is_not_its_own() {
    let mut service = Service::new();
    service.prove();
    let (one, other) = (service.read(), service.read());
    let task = service.task();
    let call = service.call(task, &[]);
    // The same number would be another task's: it is not used twice, but nothing depends on that here.
    let later = service.read();
    service.finish(&later, task);
    assert!(service.is_held(&call));
    let (first, second) = (service.task(), service.task());
    service.finish(&one, first);
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
}

#[test]
fn a_call_whose_tasks_answer_two_of_the_requests_is_for_neither() {
    let mut service = Service::new();
    let (one, other) = (service.read(), service.read());
    let (task, second) = (service.task(), service.task());
    // The second task awaits what the first one does.
    let call = service.call(task, &[second]);
    service.finish(&one, task);
    service.finish(&other, second);
    assert!(!service.is_held(&call));
    assert_eq!(evidence(&service.link(&call)), None);
}

#[test]
fn a_task_that_answers_for_several_connections_ends_it() {
    let mut service = Service::new();
    let (one, other, third) = (service.read(), service.read(), service.read());
    let (worker, task) = (service.task(), service.task());
    let (call, own) = (service.call(worker, &[]), service.call(task, &[]));
    service.finish(&one, worker);
    let decisions = service.world.correlator.decisions();
    service.finish(&other, worker);
    assert!(service.world.correlator.decisions() > decisions);
    service.finish(&third, task);
    for call in [call, own] {
        assert!(!service.is_held(&call));
        assert_eq!(evidence(&service.link(&call)), None);
    }
    let told = service.profile();
    assert_eq!(
        told,
        ("unknown", "an asyncio task worked for requests of several connections at once".into())
    );
    let (one, other) = (service.read(), service.read());
    let (task, second) = (service.task(), service.task());
    let call = service.call(task, &[]);
    assert!(!service.is_held(&call));
    service.finish(&one, task);
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
}

/// It may go on with what it has answered.
#[test]
fn a_worker_whose_requests_do_not_overlap_tells_of_the_first_one_only() {
    let mut service = Service::new();
    let (worker, task) = (service.task(), service.task());
    for number in 0..4 {
        let request = service.read();
        let other = service.read();
        let call = service.call(worker, &[]);
        let server = service.finish(&request, worker);
        service.finish(&other, task + 100);
        let link = service.link(&call);
        assert_eq!(link.parent, (number == 0).then_some((server.span_id, Evidence::Task)));
        service.next_task += 1;
    }
    assert_eq!(service.profile().0, "tasks");
    // With one request at a time there is one that it can be for.
    service.world.rest();
    let request = service.read();
    let call = service.call(worker, &[]);
    service.finish(&request, worker);
    assert_eq!(evidence(&service.link(&call)), Some(Evidence::SoleRequest));
}

/// A task that a framework begins for one request goes on after the response.
#[test]
fn what_a_task_does_after_its_answer_is_not_for_the_only_request_in_flight() {
    let mut service = Service::new();
    for _ in 0..Tasks::ENOUGH {
        let (request, task) = (service.read(), service.task());
        service.finish(&request, task);
        let (next, child) = (service.read(), service.task());
        let calls = [service.call(task, &[]), service.call(child, &[task])];
        let own = service.task();
        service.finish(&next, own);
        for call in calls {
            assert_eq!(evidence(&service.link(&call)), None);
        }
    }
    // Nor is what nobody can tell anything of: the address is one of background requests.
    let request = service.read();
    let call = service.call_by(thread(PID, 99));
    let task = service.task();
    service.finish(&request, task);
    assert_eq!(evidence(&service.link(&call)), None);
}

/// It sends the response piece by piece.
#[test]
fn what_a_task_does_while_it_answers_shows_no_background_request() {
    let mut service = Service::new();
    service.prove();
    let (request, task) = (service.read(), service.task());
    service.answer(&request, task);
    let call = service.call(task, &[]);
    service.end(&request);
    assert_eq!(evidence(&service.link(&call)), None);
    service.world.rest();
    let (request, task) = (service.read(), service.task());
    let call = service.call_by(thread(PID, 99));
    service.finish(&request, task);
    assert_eq!(evidence(&service.link(&call)), Some(Evidence::SoleRequest));
}

#[test]
fn of_pipelined_requests_of_one_task_the_first_is_worked_for_first() {
    let mut service = Service::new();
    let (_, end) = service.connection();
    let other = service.read();
    let (one, next) = (service.read_on(&end, 0), service.read_on(&end, 100));
    let (task, second) = (service.task(), service.task());
    let call = service.call(task, &[]);
    let one = service.finish(&one, task);
    let later = service.call(task, &[]);
    service.finish(&next, task);
    service.finish(&other, second);
    assert_eq!(service.link(&call).parent, Some((one.span_id, Evidence::Task)));
    assert_eq!(evidence(&service.link(&later)), None, "it may go on with the first one");
    assert_eq!(service.profile().0, "tasks");
}

#[test]
fn a_number_that_holds_for_a_moment_answers_nothing() {
    let mut service = Service::new();
    let (one, other) = (service.read(), service.read());
    let task = UNNUMBERED | 0x7f00_1000;
    let second = service.task();
    // Nor does it tell how old the task is: it may work for many.
    let (call, own) = (service.call(task, &[]), service.call(UNNUMBERED | 0x10, &[second]));
    service.finish(&one, task);
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
    assert_eq!(evidence(&service.link(&own)), None);
}

#[test]
fn a_member_of_a_task_group_is_newer_than_the_task_that_opened_the_group() {
    let mut service = Service::new();
    let (one, other) = (service.read(), service.read());
    let (handler, second) = (service.task(), service.task());
    let (member, inner) = (UNNUMBERED | 0x7000, UNNUMBERED | 0x8000);
    let call = service.call(member, &[handler | HAS_GROUP]);
    let deep = service.call(inner, &[member | HAS_GROUP, second | HAS_GROUP]);
    // It awaits one that another task may have made.
    let awaited = service.call(inner, &[member, second | HAS_GROUP]);
    let one = service.finish(&one, handler);
    let other = service.finish(&other, second);
    assert_eq!(service.link(&call).parent, Some((one.span_id, Evidence::Task)));
    assert_eq!(service.link(&deep).parent, Some((other.span_id, Evidence::Task)));
    assert_eq!(evidence(&service.link(&awaited)), None);
}

#[test]
fn a_member_of_a_group_that_may_be_older_than_the_request_is_linked_to_nothing() {
    let mut service = Service::new();
    // The task of a connection, which answers all requests of it, has a group all the time.
    let keeper = service.task();
    service.call(keeper, &[]);
    let (one, other) = (service.read(), service.read());
    let second = service.task();
    let member = service.call(UNNUMBERED | 0x7000, &[keeper | HAS_GROUP]);
    // One that is newer than the request by its number.
    let newer = service.task();
    let numbered = service.call(newer, &[keeper | HAS_GROUP]);
    let one = service.finish(&one, keeper);
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&member)), None);
    assert_eq!(service.link(&numbered).parent, Some((one.span_id, Evidence::Task)));
}

#[test]
fn a_request_that_is_never_answered_holds_nothing_for_ever() {
    let mut service = Service::new();
    let (one, other) = (service.read(), service.read());
    let task = service.task();
    let call = service.call(task, &[]);
    let one = service.finish(&one, task);
    assert!(service.is_held(&call));
    service.world.correlator.left(other.facts.number);
    assert!(!service.is_held(&call));
    assert_eq!(service.link(&call).parent, Some((one.span_id, Evidence::Task)));
}

#[test]
fn the_only_request_in_flight_needs_no_answer() {
    let mut service = Service::new();
    let request = service.read();
    let task = service.task();
    let call = service.call(task, &[]);
    assert!(!service.is_held(&call));
    let server = service.finish(&request, task);
    assert_eq!(service.link(&call).parent, Some((server.span_id, Evidence::SoleRequest)));
}

#[test]
fn a_thread_of_a_pool_has_no_task_and_no_request() {
    let mut service = Service::new();
    service.prove();
    let (one, other) = (service.read(), service.read());
    let call = service.call_by(thread(PID, 99));
    assert!(!service.is_held(&call));
    let (task, second) = (service.task(), service.task());
    service.finish(&one, task);
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
}

#[test]
fn a_python_program_without_tasks_is_one_of_threads() {
    let mut service = Service::new();
    let mut last = None;
    for _ in 0..40 {
        let ends: Vec<_> = (0..2).map(|_| service.connection().1).collect();
        let requests: Vec<_> =
            (10..).zip(&ends).map(|(tid, end)| service.world.open(end, thread(PID, tid), 0, None)).collect();
        let calls: Vec<_> = [10, 11].map(|tid| service.call_by(thread(PID, tid))).into();
        let servers: Vec<_> = requests.iter().map(|request| service.world.close(request)).collect();
        last = Some((service.link(&calls[1]), servers[1].span_id));
    }
    let (link, server) = last.expect("forty");
    assert_eq!(link.parent, Some((server, Evidence::Unit)));
    assert_eq!(service.profile().0, "threads");
}

#[test]
fn a_worker_that_several_handlers_await_is_none_of_theirs() {
    let mut service = Service::new();
    let worker = service.task();
    service.prove();
    // Its handler waits for the result, or for the death of the worker, which works for another handler.
    let (one, other) = (service.read(), service.read());
    let (handler, second) = (service.task(), service.task());
    let call = service.call(worker, &[handler]);
    service.finish(&one, handler);
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
    // A handler of a connection is older than the worker that another one has started.
    let (_, server) = service.connection();
    let handler = service.task();
    let late_worker = service.task();
    service.call(late_worker, &[]);
    let (one, other) = (service.read_on(&server, 0), service.read());
    let call = service.call(late_worker, &[handler]);
    service.finish(&one, handler);
    let second = service.task();
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
    // Nothing tells how old a task is that the program has named.
    let (one, other) = (service.read(), service.read());
    let (handler, second) = (service.task(), service.task());
    let call = service.call(UNNUMBERED | 0x7000, &[handler]);
    service.finish(&one, handler);
    service.finish(&other, second);
    assert_eq!(evidence(&service.link(&call)), None);
}

#[test]
fn a_busy_worker_without_tasks_works_for_its_own_request() {
    let mut service = Service::new();
    for number in 0..8 {
        let request = service.read();
        // The first requests call nobody.
        let call = (number > 3).then(|| service.call_by(thread(PID, LOOP)));
        service.world.close(&request);
        if let Some(call) = call {
            assert_eq!(evidence(&service.link(&call)), Some(Evidence::SoleRequest), "{number}");
        }
    }
}
