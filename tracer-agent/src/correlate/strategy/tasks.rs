//! asyncio tasks: the kernel programs read which one makes a call, and which tasks await that one.
//!
//! A client request is for the server request that its task answers, or that a task answers which awaits its task. So it
//! waits for the answer. Until the process has shown that no task answers server requests of several connections, it
//! waits for the answers to all server requests that were in flight: it is attributed if a task of its own has answered
//! one of them and no other.
//!
//! A task may await one that works for many: a handler that waits for its result or for the death of a worker. So a task is
//! its awaiter's only if it is newer than the awaiter and than the server request. asyncio numbers tasks as it makes them,
//! but for those to which the program gives a name. Of these, the members of a task group are newer than the task that has
//! opened the group.
//!
//! Nor is a task that another one awaits always made by that one: a handler may begin a job and leave it to others. So tasks
//! of one coroutine function have to prove that each is awaited when it calls, and lose it by one call that is not, or by one
//! of a task that is older than its awaiter.
//!
//! A task that has answered a server request may go on with it: what it and the tasks below it do then is linked to nothing.
//! Nothing tells whether it works for the next request of its connection already, which the loop has read in the meantime.
//! The age of a task would not tell either: what goes on makes new tasks too.
//!
//! What no task does is left to the rules for threads.

use rustc_hash::FxHashMap;
use tracer_common::{HAS_GROUP, PythonTask, TaskRecord, UNNUMBERED};

use super::{Attribution, Attributions, ClientRequest, ServerRequest, Strategy, threads::Threads};
use crate::{
    correlate::{
        link::Evidence,
        open::Key,
        profile::{Doubt, Profile},
        programs::Shown,
    },
    exchange::Unit,
};

/// What is known of a process's tasks, and of its threads.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    threads: Threads,
    /// Server requests that a task has answered.
    answered: u32,
    /// Those of them that others overlapped.
    confirmed: u32,
    doubt: Option<Doubt>,
    /// By task, what it was told to be awaited by, and what tells its function.
    awaiters: FxHashMap<u64, ([u64; 4], u64)>,
    /// By function, its calls that an awaited task made; none if a task called that was not.
    functions: FxHashMap<u64, Option<u32>>,
    /// By task, the connection of its last answer, and the beginning of the newest server request at that time.
    answers: FxHashMap<u64, (u64, u64)>,
    /// A task has answered several server requests.
    has_lasting: bool,
    /// The newest task of those whose answers were forgotten: older ones may have answered before.
    forgotten: u64,
    /// The beginning of the newest server request.
    newest_ns: u64,
    /// The newest task that was seen.
    newest_task: u64,
    /// By server request, the newest task that was seen before it.
    before: FxHashMap<Key, u64>,
    waiting: FxHashMap<Key, Waiting>,
    /// The last client request, if it may wait.
    next: Option<(Key, Waiting)>,
    has_decided: bool,
}

/// A client request that waits for answers.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// When it was sent.
    at_ns: u64,
    /// Its task, and those that await it. Those that have a group of which the one before is a member have [`HAS_GROUP`].
    tasks: [u64; 5],
    /// What tells the function of its task.
    function: u64,
    /// Server requests that were in flight when it was sent, and are not answered yet.
    unanswered: u32,
    /// The server request that one of the tasks has answered.
    found: Option<Key>,
}

/// Why a task that a server request's own task awaits works for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bond {
    /// It is the request's own.
    Own,
    /// It is a member of a task group.
    Group,
    /// It is awaited, which only some functions' tasks are for what they do.
    Awaited,
}

impl Waiting {
    /// How the client request is bound to what this task answers: it is made by the task itself, or by tasks that it awaits
    /// and that are newer than it and than `before`. None if it is not.
    fn bond(&self, task: u64, before: u64) -> Option<Bond> {
        let at = self.position(task)?;
        let newer = task.max(before);
        let mut bond = if at == 0 { Bond::Own } else { Bond::Group };
        for (awaited, by) in self.tasks.iter().zip(self.tasks.iter().skip(1)).take(at) {
            let is_member = by & HAS_GROUP != 0;
            let is_newer = match awaited & UNNUMBERED {
                0 => awaited & !HAS_GROUP > newer,
                // It is newer than the task, and that is newer than the server request.
                _ => is_member && task > before,
            };
            if !is_newer {
                return None;
            }
            if !is_member {
                bond = Bond::Awaited;
            }
        }
        Some(bond)
    }

    /// Whether it is made by a task that is older than this one, which awaits it: another one has made that.
    fn is_handed_to(&self, task: u64) -> bool {
        let [own, awaiter, ..] = self.tasks;
        awaiter == task && own & UNNUMBERED == 0 && own < task
    }

    /// Which of the tasks this one is.
    fn position(&self, task: u64) -> Option<usize> {
        self.tasks.iter().position(|other| other & !HAS_GROUP == task)
    }
}

impl Tasks {
    /// Answers that prove that tasks do not answer for several connections.
    pub(crate) const ENOUGH: u32 = 16;
    /// Answers, each by another task, that prove that a task works for one request only. The kernel programs link calls to the
    /// only request in flight from the sixteenth request on.
    pub(crate) const SINGLE: u32 = 8;
    /// Calls that prove that tasks of a function are awaited.
    pub(crate) const AWAITED: u32 = 16;
    /// Functions that are remembered.
    const MOST_FUNCTIONS: usize = 4096;
    /// Tasks that are remembered.
    pub(crate) const MOST_TASKS: usize = 16_384;
    /// Client requests that wait, and for how long at most.
    const MOST_WAITING: usize = 4096;
    const LONGEST_NS: u64 = 60_000_000_000;

    fn doubt(&mut self, doubt: Doubt) {
        self.doubt.get_or_insert(doubt);
        self.has_decided |= !self.waiting.is_empty();
        self.waiting = FxHashMap::default();
    }

    /// A task has answered a server request.
    fn answers(&mut self, request: &ServerRequest, task: u64) {
        self.answered = self.answered.saturating_add(1);
        if self.answers.len() >= Self::MOST_TASKS {
            self.answers.clear();
            self.forgotten = self.newest_task;
        }
        let connection = request.key.connection;
        let before = self.answers.insert(task, (connection, self.newest_ns));
        self.has_lasting |= before.is_some();
        match before {
            Some((other, newest_ns)) if other != connection && request.start_ns <= newest_ns => {
                self.doubt(Doubt::SharedTask);
            }
            _ => self.confirmed = self.confirmed.saturating_add(u32::from(request.overlaps)),
        }
    }

    /// Whether a task has answered a server request, as far as is remembered.
    fn has_answered(&self, task: u64) -> bool {
        task <= self.forgotten || self.answers.contains_key(&task)
    }

    /// A task of this function calls. Whether another one awaits it tells how these tasks work.
    fn calls(&mut self, function: u64, is_awaited: bool) {
        let has_room = self.functions.len() < Self::MOST_FUNCTIONS;
        match self.functions.get_mut(&function) {
            Some(calls) => *calls = calls.filter(|_| is_awaited).map(|calls| calls.saturating_add(1)),
            None if has_room => {
                self.functions.insert(function, is_awaited.then_some(1));
            }
            None => {}
        }
    }

    /// A server request is answered, by this task if it is known, or will not be. Returns what that makes known. A task may
    /// have answered another one before.
    fn settle(&mut self, request: &ServerRequest, task: u64, has_answered: bool) -> Vec<Attribution> {
        let is_proven = self.confirmed >= Self::ENOUGH;
        // If too many are in flight to remember, only the task itself tells.
        let before = self.before.get(&request.key).copied().unwrap_or(u64::MAX);
        let mut known = Vec::new();
        let mut has_decided = false;
        for waiting in self.waiting.values().filter(|waiting| task != 0 && waiting.is_handed_to(task)) {
            if let Some(calls) = self.functions.get_mut(&waiting.function) {
                *calls = None;
            }
        }
        let functions = &self.functions;
        let is_bound = |waiting: &Waiting| match waiting.bond(task, before) {
            _ if has_answered => false,
            Some(Bond::Own | Bond::Group) => true,
            Some(Bond::Awaited) => {
                let awaited = functions.get(&waiting.function).copied().flatten();
                awaited.is_some_and(|calls| calls > Self::AWAITED)
            }
            None => false,
        };
        self.waiting.retain(|client, waiting| {
            if waiting.at_ns < request.start_ns {
                return true;
            }
            waiting.unanswered = waiting.unanswered.saturating_sub(1);
            if task != 0 && waiting.position(task).is_some() {
                match waiting.found {
                    // A task answers the requests of one connection in their order.
                    Some(found) if found.connection == request.key.connection => {}
                    None if is_bound(waiting) => waiting.found = Some(request.key),
                    Some(_) | None => {
                        has_decided = true;
                        return false;
                    }
                }
            }
            let is_known = waiting.unanswered == 0 || is_proven && waiting.found.is_some();
            if is_known {
                known.extend(waiting.found.map(|found| (waiting.at_ns, *client, found)));
                has_decided = true;
            }
            !is_known
        });
        self.has_decided |= has_decided;
        known.sort_unstable_by_key(|(at_ns, client, _)| (*at_ns, client.connection, client.offset));
        let attribution = |(_, client_request, server_request)| Attribution {
            client_request,
            server_request,
            evidence: Evidence::Task,
        };
        known.into_iter().map(attribution).collect()
    }
}

impl Strategy for Tasks {
    fn renewed(&self) -> Box<dyn Strategy> {
        Box::new(Self::default())
    }

    fn profile(&self) -> Profile {
        match self.doubt {
            Some(doubt) => Profile::Unknown(doubt),
            None if self.answered > 0 => Profile::Tasks { requests: self.answered },
            None => self.threads.profile(),
        }
    }

    fn inherit(&mut self) -> Vec<Attribution> {
        self.threads.inherit()
    }

    fn hold(&mut self, client_request: Key, candidate: (Key, u64), at_ns: u64) -> bool {
        let Some((_, waiting)) = self.next.take_if(|(next, _)| *next == client_request) else {
            return self.threads.hold(client_request, candidate, at_ns);
        };
        if self.waiting.len() >= Self::MOST_WAITING {
            self.waiting.retain(|_, other| at_ns.saturating_sub(other.at_ns) < Self::LONGEST_NS);
        }
        let has_room = self.waiting.len() < Self::MOST_WAITING;
        if has_room {
            self.waiting.insert(client_request, waiting);
        }
        has_room
    }

    fn release(&mut self) {
        self.threads.release();
        self.waiting = FxHashMap::default();
    }

    fn withdraw(&mut self) {
        self.threads.withdraw();
    }

    fn shown(&self) -> Option<Shown> {
        self.threads.shown()
    }

    fn kernel_rule(&self) -> Option<u8> {
        self.threads.kernel_rule()
    }

    fn task(&mut self, record: &TaskRecord) {
        let PythonTask { awaiters, function } = PythonTask::from_facts(record.facts);
        self.calls(function, awaiters[0] != 0);
        for task in awaiters.into_iter().chain([record.task]).filter(|task| task & UNNUMBERED == 0) {
            self.newest_task = self.newest_task.max(task & !HAS_GROUP);
        }
        if self.awaiters.len() >= Self::MOST_TASKS && !self.awaiters.contains_key(&record.task) {
            self.awaiters.clear();
        }
        self.awaiters.insert(record.task, (awaiters, function));
    }

    fn reads_requests(&self, unit: Unit) -> bool {
        self.threads.reads_requests(unit)
    }

    fn may_be_shared(&self) -> bool {
        self.threads.may_be_shared()
    }

    fn may_work_for(&self, unit: Unit, request: &ServerRequest) -> bool {
        self.threads.may_work_for(unit, request)
    }

    fn works_for_its_own(&self, unit: Unit, request: &ServerRequest) -> bool {
        // Where tasks answer, the thread is an event loop.
        self.answered == 0
            && (unit.task, request.unit.task) == (0, 0)
            && self.threads.works_for_its_own(unit, request)
    }

    fn may_attribute_later(&self, client_request: Key) -> bool {
        !self.waiting.is_empty() && self.waiting.contains_key(&client_request)
            || self.threads.may_attribute_later(client_request)
    }

    fn server_opened(&mut self, request: &ServerRequest, others: &mut [ServerRequest]) {
        self.newest_ns = self.newest_ns.max(request.start_ns);
        if self.before.len() < Self::MOST_TASKS {
            self.before.insert(request.key, self.newest_task);
        }
        self.threads.server_opened(request, others);
    }

    fn server_answered(&mut self, request: &ServerRequest, by: Unit) -> Vec<Attribution> {
        let task = if by.task & UNNUMBERED == 0 { by.task } else { 0 };
        let has_answered = self.has_answered(task);
        if task != 0 {
            self.newest_task = self.newest_task.max(task);
            self.answers(request, task);
        }
        self.settle(request, task, has_answered)
    }

    fn awaits(&self, server_request: Key) -> bool {
        self.waiting.values().any(|waiting| waiting.found == Some(server_request))
    }

    fn take_decided(&mut self) -> bool {
        std::mem::take(&mut self.has_decided)
    }

    fn server_closed(&mut self, request: &ServerRequest, answered_by: Option<Unit>) -> Vec<Attribution> {
        let mut known = self.threads.server_closed(request, answered_by);
        if !request.is_answered {
            known.extend(self.settle(request, 0, false));
        }
        self.before.remove(&request.key);
        known
    }

    fn works_unseen(&mut self, unit: Unit) {
        self.threads.works_unseen(unit);
    }

    fn attribute(&mut self, client: &ClientRequest<'_>, in_flight: &mut [ServerRequest]) -> Attributions {
        let task = client.unit.task;
        if task == 0 {
            return self.threads.attribute(client, in_flight);
        }
        self.next = None;
        let ([one, two, three, four], function) = self.awaiters.get(&task).copied().unwrap_or_default();
        let tasks = [task, one, two, three, four];
        if let Some((last, _)) = tasks.iter().find_map(|task| self.answers.get(&(task & !HAS_GROUP))) {
            // Where a task works for one request only, it goes on with that one.
            let is_its = |request: &ServerRequest| request.is_answered && request.key.connection == *last;
            let is_over = !in_flight.iter().any(is_its);
            return Attributions {
                is_certain: !self.has_lasting,
                is_background: !self.has_lasting && self.answered >= Self::SINGLE && is_over,
                ..Attributions::default()
            };
        }
        if self.doubt.is_some() {
            return Attributions::default();
        }
        let may_be_its =
            |request: &&mut ServerRequest| !request.is_answered && request.start_ns <= client.start_ns;
        let mut its = in_flight.iter_mut().filter(may_be_its);
        let Some(first) = its.next().map(|request| request.key) else { return Attributions::default() };
        let unanswered = 1 + its.count() as u32;
        let waiting = Waiting { at_ns: client.start_ns, tasks, function, unanswered, found: None };
        self.next = Some((client.key, waiting));
        Attributions { candidate: Some((first, 0)), ..Attributions::default() }
    }
}
