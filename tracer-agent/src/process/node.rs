//! Processes that run Node: where their memory has what tells the callbacks of the event loop apart. No symbol is needed.
//!
//! Async ids: Node shares four numbers with its JavaScript code, in an array that one structure describes. That is found
//! by its form: in the heap of the main thread, or else in another one.
//!
//! The stack: while the main thread waits in `epoll_pwait`, the system call's arguments and the chain of frame pointers
//! lead to the frame of `uv__io_poll` and to that of `uv_run`, which stay where they are as long as the loop runs.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    io::{self, Read as _},
    ops::Range,
    time::Duration,
};

use tracer_common::NodePlan;

use super::{
    facts::Proc,
    memory::{Memory, ProcessMemory},
};

/// Why a plan was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The process is gone, or may not be looked at.
    #[error("its memory cannot be read")]
    Unreadable,
    /// The main thread does not wait for its sockets, or not as it does in libuv.
    #[error("its main thread was not seen to wait in libuv's loop")]
    NotWaiting,
    /// There is no array of async ids, or more than one thing that looks so.
    #[error("its async ids were not found")]
    NoIds,
}

/// A part of the memory of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    range: Range<u64>,
    is_writable: bool,
    is_code: bool,
    name: String,
}

/// Bytes read of the list of a process's mappings.
const MOST_MAPS: u64 = 4 << 20;

/// Finds where a process that runs Node has what is read of it.
///
/// # Errors
/// See [`NodeError`].
pub fn plan(proc: &Proc, pid: u32) -> Result<NodePlan, NodeError> {
    let unreadable = |_: io::Error| NodeError::Unreadable;
    let mut maps = String::new();
    let file = File::open(proc.path(pid, "maps")).map_err(unreadable)?;
    file.take(MOST_MAPS).read_to_string(&mut maps).map_err(unreadable)?;
    let mappings = mappings(&maps);
    let memory = proc.memory(pid).map_err(unreadable)?;
    let frames = frames(proc, pid, &memory, &mappings)?;
    let ids = ids(&memory, &mappings).ok_or(NodeError::NoIds)?;
    // What io_uring has done is told by callbacks that libuv does not count.
    let counts_all = fs::read(proc.path(pid, "environ")).is_ok_and(|environ| !may_use_io_uring(&environ));
    let checks = if counts_all { frames.checks } else { 0 };
    Ok(NodePlan { ids, checks, ..frames })
}

/// Whether a process with these variables lets libuv use io_uring for files.
fn may_use_io_uring(environ: &[u8]) -> bool {
    let mut variables = environ.split(|byte| *byte == 0);
    variables.any(|it| it.strip_prefix(b"UV_USE_IO_URING=").is_some_and(|value| value != b"0"))
}

/// The frames of the loop, looked for a few times: a thread that runs has no place yet.
fn frames(
    proc: &Proc,
    pid: u32,
    memory: &ProcessMemory,
    mappings: &[Mapping],
) -> Result<NodePlan, NodeError> {
    const ATTEMPTS: u32 = 40;
    const PAUSE: Duration = Duration::from_millis(3);
    for _ in 0..ATTEMPTS {
        let call = fs::read_to_string(proc.path(pid, "syscall")).map_err(|_| NodeError::Unreadable)?;
        let now_ns = crate::clock::monotonic_ns();
        if let Some(plan) = WaitCall::parse(&call).and_then(|call| call.frames(memory, mappings, now_ns)) {
            return Ok(plan);
        }
        std::thread::sleep(PAUSE);
    }
    Err(NodeError::NotWaiting)
}

/// What `/proc/PID/maps` tells (proc_pid_maps(5)).
fn mappings(text: &str) -> Vec<Mapping> {
    let address = |text: &str| u64::from_str_radix(text, 16).ok();
    let mapping = |line: &str| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let access = fields.next()?;
        let name = fields.nth(3).unwrap_or_default().to_owned();
        Some(Mapping {
            range: address(start)?..address(end)?,
            is_writable: access.starts_with("rw"),
            is_code: access.contains('x') && name.starts_with('/'),
            name,
        })
    };
    text.lines().filter_map(mapping).collect()
}

/// A thread that waits for its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WaitCall {
    /// Descriptor of the epoll instance.
    epoll: u32,
    stack_pointer: u64,
}

impl WaitCall {
    /// Reads what `/proc/PID/syscall` tells: the number, six arguments, stack pointer and program counter.
    fn parse(text: &str) -> Option<Self> {
        /// `epoll_wait` and `epoll_pwait` on x86-64.
        const CALLS: [&str; 2] = ["232", "281"];
        /// The events that libuv asks for.
        const EVENTS: u64 = 1024;
        let mut fields = text.split_whitespace();
        let number = fields.next()?;
        let mut word = |index: usize| u64::from_str_radix(fields.nth(index)?.strip_prefix("0x")?, 16).ok();
        let (epoll, most, stack_pointer) = (word(0)?, word(1)?, word(3)?);
        let is_libuvs = CALLS.contains(&number) && most == EVENTS;
        is_libuvs.then_some(Self { epoll: epoll as u32, stack_pointer })
    }

    /// The places of the plan on the stack, and libuv's counters.
    fn frames(&self, memory: &dyn Memory, mappings: &[Mapping], now_ns: u64) -> Option<NodePlan> {
        /// Words of the C library's frame, and of libuv's.
        const OWN_WORDS: u64 = 64;
        const FRAME_BYTES: u64 = 32 << 10;
        let stack = mappings.iter().find(|it| it.range.contains(&self.stack_pointer))?;
        let is_code = |address: u64| mappings.iter().any(|it| it.is_code && it.range.contains(&address));
        let on_stack = |address: u64, above: u64| {
            address > above && address < stack.range.end && address.is_multiple_of(8)
        };
        for index in 1..OWN_WORDS {
            let site = self.stack_pointer + 8 * index;
            if !is_code(memory.word(site)?) {
                continue;
            }
            // The caller's frame begins where the word before points to.
            let frame = memory.word(site - 8)?;
            if !on_stack(frame, site) || frame - site > FRAME_BYTES {
                continue;
            }
            let phase = frame + 8;
            let polls = memory.word(phase)?;
            if !on_stack(memory.word(frame)?, frame) || !is_code(polls) {
                continue;
            }
            let Some(uv_loop) = self.uv_loop(memory, site..phase + 512) else { continue };
            let turns = turns(memory, uv_loop, now_ns).unwrap_or(0);
            let checks = if turns == 0 { None } else { checks(memory, mappings, uv_loop, polls) };
            return Some(NodePlan {
                ids: 0,
                phase,
                polls,
                site,
                turns,
                watchers: uv_loop + WATCHERS,
                checks: checks.unwrap_or(0),
                queues: [uv_loop + PENDING, uv_loop + IDLE],
            });
        }
        None
    }

    /// The loop: its epoll instance is that of the call.
    fn uv_loop(&self, memory: &dyn Memory, places: Range<u64>) -> Option<u64> {
        let mut bytes = vec![0; usize::try_from(places.end - places.start).ok()?];
        if !memory.read(places.start, &mut bytes) {
            return None;
        }
        let mut words =
            bytes.chunks_exact(8).map(|bytes| bytes.first_chunk().copied().map_or(0, u64::from_le_bytes));
        words.find(|word| {
            let is_loop = || {
                let first = memory.word(word + HANDLES)?;
                // The queue of handles is a circle.
                let is_circle = is_pointer(first) && memory.word(first + 8)? == word + HANDLES;
                let is_waiting = memory.word(word + EPOLL)? as u32 == self.epoll;
                Some(is_circle && is_waiting && is_pointer(memory.word(word + WATCHERS)?))
            };
            is_pointer(*word) && is_loop() == Some(true)
        })
    }
}

/// Fields of `uv_loop_t`, which libuv 1 does not move (its ABI is stable): the queue of handles, `internal_fields`,
/// `backend_fd`, `pending_queue`, `watchers`, `check_handles`, `idle_handles`.
const HANDLES: u64 = 16;
const INTERNAL: u64 = 40;
const EPOLL: u64 = 64;
const PENDING: u64 = 72;
const WATCHERS: u64 = 104;
const CHECK: u64 = 400;
const IDLE: u64 = 416;

/// The return address into `uv_run` of the phase that runs immediates: where `uv__run_check` is called, which begins with the
/// queue of these handles. Node always has one.
fn checks(memory: &dyn Memory, mappings: &[Mapping], uv_loop: u64, polls: u64) -> Option<u64> {
    /// Code before and behind the call of `uv__io_poll`, in which `uv_run` lies or most of it; and that of a function's begin.
    const CODE_BYTES: u64 = 2048;
    const BEGIN_BYTES: usize = 48;
    /// `call rel32`.
    const CALL: u8 = 0xe8;
    let is_circle = |queue: u64| {
        let first = memory.word(queue)?;
        (is_pointer(first) && memory.word(first + 8)? == queue).then_some(first != queue)
    };
    if !is_circle(uv_loop + CHECK)? {
        return None;
    }
    is_circle(uv_loop + PENDING)?;
    is_circle(uv_loop + IDLE)?;
    let code = mappings.iter().find(|it| it.is_code && it.range.contains(&polls))?;
    let start = code.range.start.max(polls.saturating_sub(CODE_BYTES));
    let mut bytes = vec![0; code.range.end.min(polls + CODE_BYTES).checked_sub(start)? as usize];
    if !memory.read(start, &mut bytes) {
        return None;
    }
    let mut found = None;
    for at in memchr::memchr_iter(CALL, &bytes) {
        let Some(distance) = bytes.get(at + 1..).and_then(|rest| rest.first_chunk().copied()) else { break };
        let next = start + at as u64 + 5;
        let target = next.wrapping_add(i64::from(i32::from_le_bytes(distance)) as u64);
        let mut begin = [0; BEGIN_BYTES];
        if code.range.contains(&target)
            && memory.read(target, &mut begin)
            && loads_queue(&begin, CHECK as u32)
        {
            if found.is_some() {
                return None;
            }
            found = Some(next);
        }
    }
    found
}

/// Whether this code takes the address of a field that lies so far behind an argument: `lea`.
fn loads_queue(code: &[u8], field: u32) -> bool {
    const LEA: u8 = 0x8d;
    let field = field.to_le_bytes();
    code.windows(6).any(|it| it[0] == LEA && it[1] & 0xc7 == 0x87 && it[2..] == field)
}

/// Where libuv counts, if it does (1.45 and later).
fn turns(memory: &dyn Memory, uv_loop: u64, now_ns: u64) -> Option<u64> {
    /// No loop turns more often than once in a microsecond; what an earlier libuv has there is a time.
    const TURN_NS: u64 = 1000;
    let internal = memory.word(uv_loop + INTERNAL).filter(|it| is_pointer(*it))?;
    let found = internal + 8;
    (1..now_ns / TURN_NS).contains(&memory.word(found)?).then_some(found)
}

fn is_pointer(word: u64) -> bool {
    (4096..1 << 47).contains(&word) && word.is_multiple_of(8)
}

/// Bytes of a process that are looked at.
const MOST_BYTES: u64 = 64 << 20;

/// The address of the async ids, if exactly one thing looks like their array.
fn ids(memory: &dyn Memory, mappings: &[Mapping]) -> Option<u64> {
    // Other threads of the process have ids and heaps of their own: that of the main thread has this name, as a rule.
    let (heap, others): (Vec<_>, Vec<_>) =
        mappings.iter().filter(|it| it.is_writable).partition(|it| it.name == "[heap]");
    let in_heap = ids_in(memory, &heap)?;
    match in_heap {
        Some(found) => Some(found),
        None => {
            let anonymous: Vec<_> = others.into_iter().filter(|it| it.name.is_empty()).collect();
            ids_in(memory, &anonymous)?
        }
    }
}

/// The address of the async ids in these mappings, if there are some; nothing if it cannot be told.
fn ids_in(memory: &dyn Memory, mappings: &[&Mapping]) -> Option<Option<u64>> {
    const CHUNK: u64 = 1 << 20;
    /// Descriptions that are followed: a process may be full of them.
    const MOST_DESCRIBED: u32 = 65_536;
    let mut described_left = MOST_DESCRIBED;
    let mut found = None;
    let mut left = MOST_BYTES;
    let mut chunk = vec![0; (CHUNK + DESCRIPTION_BYTES) as usize];
    for Mapping { range, .. } in mappings {
        let mut at = range.start;
        let end = range.end.min(at + left);
        left -= end - at;
        while at < end {
            // A description that begins in this chunk may end in the next one.
            let length = (end - at).min(CHUNK + DESCRIPTION_BYTES) as usize;
            let bytes = &mut chunk[..length];
            if !memory.read_present(at, bytes) {
                return None;
            }
            for (_, address) in described(bytes).take_while(|(place, _)| *place < CHUNK as usize) {
                described_left = described_left.checked_sub(1)?;
                if !is_array_of_ids(memory, address) {
                    continue;
                }
                if found.is_some_and(|other| other != address) {
                    return None;
                }
                found = Some(address);
            }
            at += CHUNK;
        }
    }
    Some(found)
}

/// Isolate, number of elements, offset, array.
const DESCRIPTION_BYTES: u64 = 32;

/// The arrays of four elements that are described in this memory (`AliasedBufferBase`), with the places of the descriptions.
fn described(bytes: &[u8]) -> impl Iterator<Item = (usize, u64)> + '_ {
    const COUNT_AND_OFFSET: [u8; 16] = [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let word = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes);
    memchr::memmem::find_iter(bytes, &COUNT_AND_OFFSET).filter_map(move |at| {
        let start = at.checked_sub(8).filter(|start| start.is_multiple_of(8))?;
        let (isolate, array) = (word(start)?, word(start + 24)?);
        (is_pointer(isolate) && is_pointer(array)).then_some((start, array))
    })
}

fn is_array_of_ids(memory: &dyn Memory, address: u64) -> bool {
    let mut bytes = [0; 32];
    if !memory.read(address, &mut bytes) {
        return false;
    }
    let mut numbers =
        bytes.chunks_exact(8).map(|bytes| bytes.first_chunk().copied().map_or(0, u64::from_le_bytes));
    let mut number = || numbers.next().map(f64::from_bits).unwrap_or_default();
    let (execution, trigger, last, default) = (number(), number(), number(), number());
    let is_id = |id: f64| id >= 0.0 && id <= last && id.fract() == 0.0;
    (1.0..1e15).contains(&last) && is_id(last) && is_id(execution) && is_id(trigger) && default == -1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that begins at an address.
    struct Fake(u64, Vec<u8>);

    impl Memory for Fake {
        fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
            let found =
                address.checked_sub(self.0).and_then(|at| self.1.get(at as usize..)?.get(..bytes.len()));
            found.is_some_and(|found| {
                bytes.copy_from_slice(found);
                true
            })
        }
    }

    impl Fake {
        fn set(&mut self, address: u64, word: u64) {
            let at = (address - self.0) as usize;
            self.1[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }

        fn describe(&mut self, at: u64, array: u64, numbers: [f64; 4]) {
            for (index, word) in [0x10_0000, 4, 0, array].into_iter().enumerate() {
                self.set(at + 8 * index as u64, word);
            }
            for (index, number) in numbers.into_iter().enumerate() {
                self.set(array + 8 * index as u64, number.to_bits());
            }
        }
    }

    const HEAP: u64 = 0x20_0000;

    fn heap(bytes: u64) -> [Mapping; 1] {
        let range = HEAP..HEAP + bytes;
        [Mapping { range, is_writable: true, is_code: false, name: "[heap]".to_owned() }]
    }

    #[test]
    fn the_array_of_ids_is_found_if_it_is_the_only_one() {
        let mut memory = Fake(HEAP, vec![0; 3 << 20]);
        assert_eq!(ids(&memory, &heap(3 << 20)), None);
        // What looks like it but is none: no count, a fraction, an id that was not given out.
        memory.describe(HEAP + 64, HEAP + 4096, [0.0, 0.0, 0.0, -1.0]);
        memory.describe(HEAP + 128, HEAP + 4160, [0.5, 0.0, 7.0, -1.0]);
        memory.describe(HEAP + 192, HEAP + 4224, [9.0, 0.0, 7.0, -1.0]);
        memory.describe(HEAP + 256, HEAP + 4288, [1.0, 0.0, f64::NAN, -1.0]);
        assert_eq!(ids(&memory, &heap(3 << 20)), None);
        // One at the border of two chunks.
        memory.describe(HEAP + (1 << 20) - 8, HEAP + 8192, [0.0, 0.0, 7.0, -1.0]);
        assert_eq!(ids(&memory, &heap(3 << 20)), Some(HEAP + 8192));
        memory.describe(HEAP + (2 << 20), HEAP + 8256, [0.0, 0.0, 8.0, -1.0]);
        assert_eq!(ids(&memory, &heap(3 << 20)), None, "two of them are none");
        assert_eq!(ids(&memory, &[]), None);
        // The heap of the main thread comes first; without a find there, others are looked at.
        let [mapping] = heap(2 << 20);
        let other = |name: &str, range| Mapping { name: name.to_owned(), range, ..mapping.clone() };
        let rest = other("", HEAP + (2 << 20)..HEAP + (3 << 20));
        assert_eq!(ids(&memory, &[rest.clone(), mapping.clone()]), Some(HEAP + 8192));
        let empty = other("[heap]", HEAP + 16_384..HEAP + 20_480);
        assert_eq!(ids(&memory, &[empty.clone(), rest.clone()]), Some(HEAP + 8256));
        assert_eq!(ids(&memory, &[empty, other("/a/file", rest.range)]), None);
        // Memory that is not there.
        assert_eq!(ids(&memory, &heap(1 << 40)), None);
    }

    #[test]
    fn a_process_that_is_full_of_descriptions_is_not_searched_to_its_end() {
        let mut memory = Fake(HEAP, vec![0; 4 << 20]);
        memory.describe(HEAP, HEAP + (4 << 20) - 64, [0.0, 0.0, 7.0, -1.0]);
        assert!(ids(&memory, &heap(4 << 20)).is_some());
        for index in 1..70_000 {
            for (at, word) in [0x10_0000, 4, 0, HEAP].into_iter().enumerate() {
                memory.set(HEAP + 32 * index + 8 * at as u64, word);
            }
        }
        assert_eq!(ids(&memory, &heap(4 << 20)), None);
    }

    #[test]
    fn the_frames_of_a_thread_that_waits_are_found_or_refused() {
        const STACK: u64 = 0x7000_0000_0000;
        const CODE: u64 = 0x40_0000;
        let mappings = [
            Mapping {
                range: CODE..CODE + 4096,
                is_writable: false,
                is_code: true,
                name: "/bin/node".to_owned(),
            },
            Mapping {
                range: STACK..STACK + 65_536,
                is_writable: true,
                is_code: false,
                name: "[stack]".to_owned(),
            },
        ];
        let text = format!("281 0xd {:#x} 0x400 0x10 0x0 0x8 {STACK:#x} 0x7f0000000000", STACK + 512);
        let call = WaitCall::parse(&text).expect("a call");
        assert_eq!(call, WaitCall { epoll: 13, stack_pointer: STACK });
        for other in ["running", "281 0xd", "0 0xd 0x0 0x400 0x10 0x0 0x8 0x10 0x10", "-1 0x10 0x20", ""] {
            assert_eq!(WaitCall::parse(other), None, "{other}");
        }
        let mut memory = Fake(STACK, vec![0; 65_536]);
        assert_eq!(call.frames(&memory, &mappings, 1), None);
        // A stale return address whose frame leads nowhere.
        memory.set(STACK + 24, CODE + 5);
        memory.set(STACK + 16, STACK + 1);
        let (site, frame) = (STACK + 40, STACK + 16_384);
        memory.set(site, CODE + 16);
        memory.set(site - 8, frame);
        assert_eq!(call.frames(&memory, &mappings, 1), None);
        memory.set(frame, frame + 256);
        memory.set(frame + 8, CODE + 32);
        assert_eq!(call.frames(&memory, &mappings, 1), None, "no loop");
        let uv_loop = STACK + 32_768;
        memory.set(frame - 8, uv_loop);
        memory.set(uv_loop + 16, uv_loop + 16);
        memory.set(uv_loop + 24, uv_loop + 16);
        memory.set(uv_loop + 64, 13);
        memory.set(uv_loop + 104, uv_loop + 2048);
        let watchers = uv_loop + 104;
        let queues = [uv_loop + 72, uv_loop + 416];
        let plan = NodePlan {
            ids: 0,
            phase: frame + 8,
            polls: CODE + 32,
            site,
            turns: 0,
            watchers,
            checks: 0,
            queues,
        };
        assert_eq!(call.frames(&memory, &mappings, 1_000_000), Some(plan));
        // Its counters may not be more than can be.
        memory.set(uv_loop + 40, uv_loop + 1024);
        memory.set(uv_loop + 1032, 77);
        let turns = uv_loop + 1032;
        assert_eq!(call.frames(&memory, &mappings, 1_000_000), Some(NodePlan { turns, ..plan }));
        assert_eq!(call.frames(&memory, &mappings, 70_000), Some(plan));
        memory.set(uv_loop + 64, 14);
        assert_eq!(call.frames(&memory, &mappings, 1_000_000), None, "the loop of another thread");
        // The stack ends early.
        memory.1.truncate(8192);
        assert_eq!(call.frames(&memory, &mappings, 1), None);
    }

    #[test]
    fn the_call_of_the_phase_of_immediates_is_found_or_refused() {
        const CODE: u64 = 0x40_0000;
        let mappings = [Mapping {
            range: CODE..CODE + 16_384,
            is_writable: false,
            is_code: true,
            name: "/bin/node".to_owned(),
        }];
        let (uv_loop, polls, function) = (CODE + 32_768, CODE + 4096, CODE + 8192);
        let mut memory = Fake(CODE, vec![0; 65_536]);
        let find = |memory: &Fake| checks(memory, &mappings, uv_loop, polls);
        // The queues: one handle for immediates; the others are empty.
        let handle = uv_loop + 4096;
        for (at, word) in [
            (uv_loop + 400, handle),
            (handle + 8, uv_loop + 400),
            (uv_loop + 72, uv_loop + 72),
            (uv_loop + 80, uv_loop + 72),
            (uv_loop + 416, uv_loop + 416),
            (uv_loop + 424, uv_loop + 416),
        ] {
            memory.set(at, word);
        }
        let call = |memory: &mut Fake, at: u64| {
            let start = (at - CODE) as usize;
            memory.1[start] = 0xe8;
            memory.1[start + 1..start + 5].copy_from_slice(&((function - at - 5) as u32).to_le_bytes());
        };
        call(&mut memory, polls + 100);
        assert_eq!(find(&memory), None, "it calls something else");
        let start = (function - CODE) as usize + 8;
        memory.1[start..start + 7].copy_from_slice(&[0x4c, 0x8d, 0xa7, 0x90, 0x01, 0, 0]);
        assert_eq!(find(&memory), Some(polls + 105));
        call(&mut memory, polls - 200);
        assert_eq!(find(&memory), None, "two of them");
        memory.set(polls - 200, 0);
        assert_eq!(find(&memory), Some(polls + 105));
        memory.set(uv_loop + 424, 0);
        assert_eq!(find(&memory), None, "no queue");
        memory.set(uv_loop + 424, uv_loop + 416);
        memory.set(uv_loop + 400, uv_loop + 400);
        memory.set(uv_loop + 408, uv_loop + 400);
        assert_eq!(find(&memory), None, "no handle");
        assert_eq!(checks(&memory, &[], uv_loop, polls), None, "no code");
    }

    #[test]
    fn io_uring_is_used_only_if_a_variable_says_so() {
        assert!(!may_use_io_uring(b""));
        assert!(!may_use_io_uring(b"A=1\0UV_USE_IO_URING=0\0XUV_USE_IO_URING=1\0"));
        assert!(may_use_io_uring(b"A=1\0UV_USE_IO_URING=1\0"));
    }

    #[test]
    fn senseless_maps_are_no_mappings() {
        let text = "00400000-00401000 r-xp 00000000 fd:00 12 /bin/node\nx\n10-zz rw-p 0 0 0\n\
                    7000-8000 rw-p 00000000 00:00 0 [heap]\n";
        let found = mappings(text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].is_code && !found[0].is_writable && found[1].is_writable && !found[1].is_code);
    }
}
