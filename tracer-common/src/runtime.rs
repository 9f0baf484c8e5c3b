//! Tasks of runtimes: how the kernel programs read them from a process's memory, and what they report.

/// Words of a process's plan in the kernel's map, after the word that tells the runtime.
pub const PLAN_WORDS: usize = 25;

/// The first word of a plan: goroutines, by a [`GoPlan`].
pub const RUNTIME_GO: u64 = 1;
/// See [`RUNTIME_GO`]: the client's connection, by nginx's request structure.
pub const RUNTIME_NGINX: u64 = 2;
/// See [`RUNTIME_GO`]: tasks of CPython's asyncio, by a [`PythonPlan`].
pub const RUNTIME_PYTHON: u64 = 3;
/// See [`RUNTIME_GO`]: callbacks of Node's event loop, by a [`NodePlan`].
pub const RUNTIME_NODE: u64 = 4;

/// See [`RUNTIME_GO`]: virtual threads of Java, by a [`JavaPlan`].
pub const RUNTIME_JAVA: u64 = 5;

/// See [`RUNTIME_GO`]: greenlets of CPython, by a [`PythonPlan`] of which only threads and layout count.
pub const RUNTIME_GREENLETS: u64 = 6;

/// How the task that makes a system call is read in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskPlan {
    /// A Go program.
    Go(GoPlan),
    /// nginx: its structures are the same in all versions.
    Nginx,
    /// CPython with asyncio.
    Python(PythonPlan),
    /// CPython with gevent or eventlet.
    Greenlets(PythonPlan),
    /// A program that Node runs.
    Node(NodePlan),
    /// Java with virtual threads.
    Java(JavaPlan),
}

/// How the virtual thread that makes a system call is read in a process that runs HotSpot: offsets of fields in its
/// structures, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct JavaPlan {
    /// Address of a mask (`ZPointerLoadBadMask`): handles with one of these bits are not valid now. 0 if handles have plain
    /// addresses.
    pub bad_mask: u64,
    /// Address of the number of bits that handles have behind an address (`ZPointerLoadShift`).
    pub shift: u64,
    /// `JavaThread::_osthread`.
    pub os_thread: u32,
    /// `OSThread::_pthread_id`.
    pub pthread: u32,
    /// `JavaThread::_threadObj`: a handle of the thread's own `java.lang.Thread`.
    pub own: u32,
    /// `JavaThread::_vthread`: a handle of the `java.lang.Thread` that runs on it.
    pub running: u32,
    /// `java.lang.Thread.tid`.
    pub id: u32,
    /// `java.lang.Thread.eetop`: the `JavaThread` of a thread that is not virtual.
    pub native: u32,
}

const _: () = assert!(size_of::<JavaPlan>() <= PLAN_WORDS * 8);

/// Mark of a task that is a greenlet: the page of what it has for itself as long as it lives.
pub const GREENLET: u64 = 1 << 60;

/// Mark of a task that is a virtual thread of Java: its number. The mark alone stands for a thread of which that could not
/// be read.
pub const VIRTUAL_THREAD: u64 = 1 << 61;

/// How the goroutine that makes a system call is read in a process that runs a Go program: offsets of fields in Go's own
/// structures, bytes, and two addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct GoPlan {
    /// `runtime.g.goid`.
    pub id: u32,
    /// `runtime.g.parentGoid`; 0 before Go 1.21, which does not have it.
    pub creator: u32,
    /// `runtime.g.startpc`.
    pub start: u32,
    /// `runtime.m.curg`: the goroutine that a thread runs.
    pub running: u32,
    /// `runtime.m.p`, or `oldp` where a system call takes the processor away.
    pub processor: u32,
    /// `runtime.p.goidcache`.
    pub next_id: u32,
    /// `runtime.hchan.recvq`.
    pub receivers: u32,
    /// `runtime.sudog.c`.
    pub channel: u32,
    /// The data of `net/http.Request.ctx`; 0 if contexts cannot be followed.
    pub context: u32,
    /// Distance of the channel on which a caller waits from the end of the stack of `net/http`'s write loop; 0 if it is
    /// not known.
    pub written: u32,
    /// Where a goroutine of that loop starts; 0 if the program has none.
    pub write_loop: u64,
    /// Address of `runtime.sched.goidgen`; 0 if it is not known.
    pub last_id: u64,
}

const _: () = assert!(size_of::<GoPlan>() <= PLAN_WORDS * 8);

/// How the asyncio task that makes a system call is read in one process that runs CPython: addresses of objects, and
/// offsets of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct PythonPlan {
    /// Where `place` is 0: `PyThreadState` of threads that run an event loop, which are the first thread, and
    /// another one; 0 if there is none.
    pub threads: [u64; 2],
    /// The dictionary of the tasks that run, by event loop (`_asyncio._current_tasks`).
    pub running: u64,
    /// `_asyncio.Task`.
    pub task: u64,
    /// `_asyncio.Future`.
    pub future: u64,
    /// `asyncio.tasks._GatheringFuture`.
    pub gathering: u64,
    /// `asyncio.TaskGroup`; 0 before Python 3.11.
    pub group: u64,
    /// The globals of the module `asyncio.tasks`.
    pub globals: u64,
    /// `asyncio.tasks._release_waiter`; 0 from Python 3.12 on, where a task waits for itself.
    pub release: u64,
    /// `int`.
    pub int: u64,
    /// `TaskGroup` of anyio's backend for asyncio; 0 if it is not imported.
    pub anyio_group: u64,
    /// Its attribute `cancel_scope`, as [`PythonLayout::first_attribute`].
    pub anyio_scope: u32,
    /// `CancelScope._host_task` of that backend: in the object itself, or (with [`IN_ATTRIBUTES`]) as `anyio_scope`.
    pub anyio_host: u32,
    /// What threads of anyio's pool run.
    pub worker: PythonWorker,
    /// What sends a request with a body for a task.
    pub sender: PythonSender,
    /// How far from the address in `%fs` on a thread has the address of its `PyThreadState`; 0 if that is not known.
    pub place: u64,
    /// What tells the callbacks that wake a task. The agent writes 0, and the kernel programs what they find.
    pub waker: u64,
    /// Where the objects have their fields.
    pub layout: PythonLayout,
}

/// A function that threads of a pool run. Its frame is at one distance from the beginning of what each thread keeps its
/// frames in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct PythonWorker {
    /// The code of the function; 0 if the process has none.
    pub code: u64,
    /// Where its frame has the address of the code: bytes from the beginning of the thread's oldest `_PyStackChunk` on.
    pub frame: u32,
    /// Where the variable is that holds the future of the present work, in the same way.
    pub item: u32,
}

/// The coroutine function of aiohttp's client that sends a request with a body, in a task of its own. Its first variable is the
/// request, which has the tasks that have begun it and wait for the response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct PythonSender {
    /// The code of the function; 0 if the process has none.
    pub code: u64,
    /// The class of the request.
    pub request: u64,
    /// The class of its timer.
    pub timer: u64,
    /// Where a coroutine has the address of its code.
    pub frame: u32,
    /// Where it has its first variable.
    pub variable: u32,
    /// The request's attribute that is the timer, as [`PythonLayout::first_attribute`]; 0 if it is not known yet.
    pub timer_at: u32,
    /// Where the timer has the list of those tasks.
    pub tasks: u32,
}

/// Offsets of fields in CPython's own structures, bytes. They are the same in all programs of one minor version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct PythonLayout {
    /// `PyThreadState.thread_id`.
    pub thread_id: u16,
    /// `PyThreadState.context`.
    pub context: u16,
    /// Low byte of the word at 8 in the keys of a dictionary with eight places.
    pub eight: u16,
    /// The number of entries in the keys of a dictionary.
    pub entries: u16,
    /// The first entry in the keys of a dictionary with eight places.
    pub first: u16,
    /// `TaskObj.task_name`; before it is the coroutine, and behind it the context.
    pub name: u16,
    /// The characters of a string of ASCII.
    pub text: u16,
    /// Of the callback that wakes a task: what has its name. The task is the next word.
    pub waker: u16,
    /// In that: the name.
    pub waker_name: u16,
    /// `PyFunctionObject.func_globals`.
    pub globals: u16,
    /// `PyFunctionObject.func_closure`.
    pub closure: u16,
    /// How far before an object whose class is written in Python its attributes' address is; 0 if the attributes are in
    /// the object itself.
    pub attributes: u16,
    /// From there: the first attribute.
    pub first_attribute: u16,
    /// `PyCoroObject.cr_qualname`.
    pub function: u16,
    /// `PyThreadState.datastack_chunk`; 0 before Python 3.11, which does not have it.
    pub frames: u16,
    /// `_PyThreadStateImpl.asyncio_running_task`; 0 before Python 3.14, which keeps the tasks that run in a dictionary.
    pub running_task: u16,
}

const _: () = assert!(size_of::<PythonPlan>() <= PLAN_WORDS * 8);

/// A number that stands for a task of which the runtime's own number is not known: it is not the same at another time.
pub const UNNUMBERED: u64 = 1 << 63;

/// Mark of [`PythonPlan::anyio_host`].
pub const IN_ATTRIBUTES: u32 = 1 << 31;

/// Mark of a task in [`PythonTask::awaiters`]: the task before it is a member of a group that it has opened, and so is newer,
/// whatever their numbers are.
pub const HAS_GROUP: u64 = 1 << 62;

/// What is told of an asyncio task that makes a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PythonTask {
    /// The task that awaits it, the task that awaits that one, and so on; 0 where none is known.
    pub awaiters: [u64; 4],
    /// What tells the functions that tasks run from one another.
    pub function: u64,
}

impl PythonTask {
    /// As a record has it.
    pub const fn facts(self) -> [u64; TASK_FACTS] {
        let [first, second, third, fourth] = self.awaiters;
        [first, second, third, fourth, self.function]
    }

    /// What a record tells.
    pub const fn from_facts([first, second, third, fourth, function]: [u64; TASK_FACTS]) -> Self {
        Self { awaiters: [first, second, third, fourth], function }
    }
}

/// Words that a runtime tells of a task.
pub const TASK_FACTS: usize = 5;

/// A task reads the head of a server request or sends a client request. It comes before the data record of that call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct TaskRecord {
    /// [`Kind::Task`](crate::Kind::Task).
    pub kind: u8,
    /// [`RECEIVE`](crate::RECEIVE) or [`SEND`](crate::SEND).
    pub direction: u8,
    /// Low byte of the plan's first word (`RUNTIME_*`).
    pub runtime: u8,
    /// Always 0.
    pub zero: u8,
    /// Process, in the initial namespace.
    pub pid: u32,
    /// Time, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The task; of a request that another one sends for it, the one that waits.
    pub task: u64,
    /// What the runtime tells of it: [`GoTask`], [`PythonTask`].
    pub facts: [u64; TASK_FACTS],
}

/// What is told of a goroutine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoTask {
    /// The goroutine that made it; 0 if that is not known.
    pub creator: u64,
    /// Address of the function that it runs.
    pub start: u64,
    /// No goroutine that exists has a higher number; 0 if that is not known.
    pub last_id: u64,
    /// The next goroutine that is made on the same processor gets this number, if its batch is not used up; 0 if that
    /// is not known.
    pub next_id: u64,
    /// Of a client request: the goroutine that serves the request whose context it carries; 0 if that is not known.
    pub serving: u64,
}

impl GoTask {
    /// As a record has it.
    pub const fn facts(self) -> [u64; TASK_FACTS] {
        [self.creator, self.start, self.last_id, self.next_id, self.serving]
    }

    /// What a record tells.
    pub const fn from_facts([creator, start, last_id, next_id, serving]: [u64; TASK_FACTS]) -> Self {
        Self { creator, start, last_id, next_id, serving }
    }
}

/// Where a process that runs Node has what tells the callbacks of its event loop apart: addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct NodePlan {
    /// Four numbers of type `double`: see [`RunRecord::ids`].
    pub ids: u64,
    /// Where the stack of the main thread has the return address into `uv_run`: it tells the phase of the loop.
    pub phase: u64,
    /// The return address of the phase in which the loop waits for sockets.
    pub polls: u64,
    /// Where the stack has the return address of a callback into `uv__io_poll`. What the callback saves lies below it.
    pub site: u64,
    /// Two counters of libuv: the loop's iterations, and the events that it has handled; 0 if it has none.
    pub turns: u64,
    /// The loop's pointer to an array of its watchers, by descriptor.
    pub watchers: u64,
    /// The return address of the phase that runs immediates; 0 if it is not known.
    pub checks: u64,
    /// The loop's queue of what is to be told before that phase, and its queue of handles that are active while immediates
    /// wait. Each is empty if it points to itself.
    pub queues: [u64; 2],
}

const _: () = assert!(size_of::<NodePlan>() <= PLAN_WORDS * 8);

/// Words of the stack that are told of a callback.
pub const STACK_WORDS: usize = 17;

/// The event loop of a process receives, or begins to send. It comes before the data record of that call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct RunRecord {
    /// [`Kind::Run`](crate::Kind::Run).
    pub kind: u8,
    /// `RUN_*`.
    pub part: u8,
    /// 1 if the direction of the connection has changed.
    pub is_turn: u8,
    /// [`RUN_CHECKS`], [`RUN_ALONE`].
    pub state: u8,
    /// Process, in the initial namespace.
    pub pid: u32,
    /// Time, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The connection; 0 if it is none that is followed.
    pub connection: u64,
    /// System calls of the thread that have read something, until now.
    pub reads: u64,
    /// Async ids, numbers of type `double`: that of the execution, that of what triggered it, the last one given out, and
    /// -1 unless a program sets a default.
    pub ids: [u64; 4],
    /// Return address into `uv_run`.
    pub phase: u64,
    /// Iterations of the loop, and events that it has handled.
    pub turns: [u64; 2],
    /// The watcher of the socket that is read.
    pub watcher: u64,
    /// Words of the stack, the last one is the return address into `uv__io_poll`.
    pub stack: [u64; STACK_WORDS],
}

/// [`RunRecord::part`]: a server request is read.
pub const RUN_SERVER_REQUEST: u8 = 0;
/// See [`RUN_SERVER_REQUEST`]: the response to one is sent.
pub const RUN_SERVER_RESPONSE: u8 = 1;
/// See [`RUN_SERVER_REQUEST`]: a client request is sent.
pub const RUN_CLIENT_REQUEST: u8 = 2;
/// See [`RUN_SERVER_REQUEST`]: the response to one is read.
pub const RUN_CLIENT_RESPONSE: u8 = 3;
/// See [`RUN_SERVER_REQUEST`]: something is read from another kind of socket.
pub const RUN_OTHER: u8 = 4;
/// See [`RUN_SERVER_REQUEST`]: a connection to a server begins to be established.
pub const RUN_CONNECT: u8 = 5;

/// [`RunRecord::state`]: the loop is in the phase that runs immediates.
pub const RUN_CHECKS: u8 = 1;
/// [`RunRecord::state`], of what is read: when that began, no immediate waited, and nothing that is told before them.
pub const RUN_ALONE: u8 = 2;
