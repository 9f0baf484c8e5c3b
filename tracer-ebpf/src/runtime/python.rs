//! Tasks of CPython's asyncio.
//!
//! A thread state knows its thread by the address that `%fs` holds, so no other thread is taken for one that runs an
//! event loop. asyncio keeps the tasks that run, one for each loop, or (since Python 3.14) for each thread. A task runs in its own context object, which no two
//! threads can be in at once: the task whose context is the thread's is the one that makes the call.
//!
//! What awaits a task is in the callbacks that the task calls when it is done: the method that wakes another task, a
//! method of a task group, a function of `asyncio.tasks` that completes the future which another task awaits, or a function
//! that anyio makes for a task of a group of its own.
//!
//! A thread of anyio's pool works for the task that awaits its result: the future is made and awaited by one function of
//! anyio, and nobody else gets it. The function that the thread runs all the time has it in one of its variables. A future
//! of `run_in_executor` may be awaited by anybody, so that it tells nothing.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use tracer_common::{
    GREENLET, HAS_GROUP, IN_ATTRIBUTES, KernelCounter, PythonLayout, PythonPlan, PythonTask, RUNTIME_PYTHON,
    UNNUMBERED,
};

use super::base::{Part, Plan, tell, word, words};
use crate::{
    memory::layout::{load, offset},
    ring::count,
    select::Current,
};

/// Where all versions have these fields, in objects of theirs.
mod at {
    /// `PyObject.ob_type`.
    pub(super) const TYPE: u32 = 8;
    /// `PyDictObject.ma_keys`.
    pub(super) const KEYS: u32 = 32;
    /// `FutureObj.fut_callback0`; behind it are that callback's context, and the other callbacks.
    pub(super) const CALLBACK: u32 = 24;
    /// `FutureObj.fut_awaited_by`, since Python 3.14. The sixth byte of the next word tells whether it is a set.
    pub(super) const AWAITED_BY: u32 = 96;
    /// `PyMethodObject.im_self`.
    pub(super) const SELF: u32 = 24;
    /// `PyTupleObject.ob_size`; behind it are the items.
    pub(super) const SIZE: u32 = 16;
    /// `PyTupleObject.ob_item`.
    pub(super) const ITEMS: u32 = 24;
    /// `PyCellObject.ob_ref`, and the first word of an `int`.
    pub(super) const CONTENT: u32 = 16;
    /// [`super::PythonLayout::waker`], if what wakes a task is told by its type.
    pub(super) const OF_TYPE: u16 = TYPE as u16;
    /// Where a task has its name, its coroutine is before and its context behind.
    pub(super) const NEXT: u32 = 8;
}

/// The number of the task that makes the running call; 0 if none does, or if it is not known. Tells about it if it sends a
/// client request.
#[inline(always)]
pub(super) unsafe fn task(plan: &Plan, current: Current, part: Part, now: u64) -> u64 {
    // SAFETY: the plan is a live map value.
    unsafe {
        let mut task = tracer_python_task(plan);
        if task == 0 && part == Part::ClientRequest {
            let work = tracer_python_work(plan);
            task = if work == 0 { 0 } else { tracer_python_awaiter(plan, work) & !PARENT };
        }
        if task == 0 {
            return 0;
        }
        let layout = &(*plan.python()).layout;
        let (mut coroutine, mut is_sender) = (0, false);
        if part == Part::ClientRequest {
            coroutine = word(task, u32::from(layout.name) - at::NEXT);
            let caller = tracer_python_caller(plan, coroutine);
            is_sender = caller == SENDS;
            if caller > SENDS {
                task = caller;
                coroutine = word(task, u32::from(layout.name) - at::NEXT);
            }
        }
        // What sends for a task that is not known tells nothing.
        let number = if is_sender { UNNUMBERED | task } else { tracer_python_number(plan, task) };
        if part == Part::ServerResponse {
            return number;
        }
        let mut awaiters = [0u64; 4];
        let mut next = task;
        for awaiter in &mut awaiters {
            let found = tracer_python_awaiter(plan, next);
            if found == 0 {
                break;
            }
            next = found & !PARENT;
            let group = if found & PARENT != 0 { HAS_GROUP } else { 0 };
            *awaiter = tracer_python_number(plan, next) | group;
        }
        let function = word(coroutine, layout.function.into());
        tell(RUNTIME_PYTHON, current, part, now, number, PythonTask { awaiters, function }.facts());
        number
    }
}

/// The greenlet that makes the running call; 0 if it is not known. Each has chunks of frames of its own, and what switches
/// greenlets keeps them with the thread state: the oldest chunk stays as long as the greenlet does.
#[inline(always)]
pub(super) unsafe fn greenlet(plan: &PythonPlan) -> u64 {
    /// Chunks that a greenlet may have.
    const MOST: u32 = 8;
    /// CPython maps each of them by itself.
    const PAGE: u64 = 4096;
    // SAFETY: as in `thread`.
    let thread = unsafe { thread(plan) };
    if thread != 0 {
        let mut frames = word(thread, plan.layout.frames.into());
        for _ in 0..MOST {
            match word(frames, 0) {
                // The slots of tasks are chosen by the low bits.
                0 if frames != 0 && frames % PAGE == 0 => return GREENLET | frames / PAGE,
                before => frames = before,
            }
        }
    }
    count(KernelCounter::TaskUnread, 1);
    0
}

/// The task that runs in this thread, and makes the call; 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tracer_python_task(plan: *const Plan) -> u64 {
    /// Entries that are looked at: one for each loop that runs, the newest last.
    const MOST: u64 = 3;
    const ENTRY_BYTES: u64 = 24;
    /// In an entry: a hash, a key, a value.
    const VALUE: u64 = 16;
    /// A dictionary with eight places has no more.
    const PLACES: u64 = 5;
    // SAFETY: the verifier passes a live value of that size, or null; user memory is read through helpers.
    unsafe {
        let Some(plan) = plan.as_ref() else { return 0 };
        let PythonPlan { running, task, layout, .. } = &*plan.python();
        let thread = thread(&*plan.python());
        if thread == 0 {
            return 0;
        }
        let context = word(thread, layout.context.into());
        let is_running = |candidate: u64| {
            candidate != 0
                && word(candidate, at::TYPE) == *task
                && word(candidate, u32::from(layout.name) + at::NEXT) == context
        };
        if context == 0 {
            return 0;
        }
        let mut is_other = false;
        if layout.running_task != 0 {
            let candidate = word(thread, layout.running_task.into());
            if is_running(candidate) {
                return candidate;
            }
            is_other = candidate != 0;
        } else {
            let keys = word(*running, at::KEYS);
            let header: [u64; 5] = words(keys, 0);
            let count_of = match layout.entries {
                24 => header[3],
                32 => header[4],
                _ => return 0,
            };
            if header[1] as u8 != layout.eight as u8 || count_of > PLACES {
                return 0;
            }
            for back in 1..=MOST {
                if back > count_of {
                    break;
                }
                let entry = keys + u64::from(layout.first) + (count_of - back) * ENTRY_BYTES;
                let candidate = word(entry, VALUE as u32);
                if is_running(candidate) {
                    return candidate;
                }
                is_other |= candidate != 0;
            }
        }
        if is_other {
            count(KernelCounter::TaskUnread, 1);
        }
    }
    0
}

/// The `PyThreadState` of this thread; 0 if it is not known.
#[inline(always)]
unsafe fn thread(plan: &PythonPlan) -> u64 {
    // SAFETY: a typed pointer, which the kernel keeps; user memory is read through helpers.
    let own: u64 = unsafe {
        let this: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        load(this, offset!(task_fsbase))
    };
    let is_own = |thread: u64| thread != 0 && word(thread, plan.layout.thread_id.into()) == own;
    let [first, other] = plan.threads;
    let first = if plan.place == 0 { first } else { word(own, plan.place as u32) };
    if is_own(first) {
        first
    } else if is_own(other) {
        other
    } else {
        0
    }
}

/// The future of asyncio that the work of this thread completes, if it is one of a pool; else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tracer_python_work(plan: *const Plan) -> u64 {
    /// Chunks of frames that a thread may have. Each knows the one before.
    const MOST: u32 = 4;
    // SAFETY: as in `tracer_python_task`.
    let Some(plan) = (unsafe { plan.as_ref() }) else { return 0 };
    // SAFETY: the plan is a live map value.
    let plan = unsafe { &*plan.python() };
    let worker = &plan.worker;
    // SAFETY: as above.
    let thread = if worker.code == 0 { 0 } else { unsafe { thread(plan) } };
    if thread == 0 {
        return 0;
    }
    let mut frames = word(thread, plan.layout.frames.into());
    for _ in 1..MOST {
        match word(frames, 0) {
            0 => break,
            before => frames = before,
        }
    }
    if in_frame(frames, worker.frame) != worker.code {
        return 0;
    }
    let future = in_frame(frames, worker.item);
    if word(future, at::TYPE) == plan.future { future } else { 0 }
}

/// An object that a frame refers to. Since Python 3.14, the low bits of the word tell how.
#[inline(always)]
fn in_frame(base: u64, offset: u32) -> u64 {
    word(base, offset) & !3
}

/// [`tracer_python_caller`]: the task sends for another one, which cannot be read.
const SENDS: u64 = 1;

/// The task for which the one with this coroutine sends a request of aiohttp's client; 0 if it sends none, [`SENDS`] if that
/// is not known. One coroutine makes the sending task and waits for the response, in the request's timer all the time: the
/// first task of the timer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tracer_python_caller(plan: *const Plan, coroutine: u64) -> u64 {
    // SAFETY: as in `tracer_python_task`.
    let Some(plan) = (unsafe { plan.as_ref() }) else { return 0 };
    // SAFETY: the plan is a live map value.
    let plan = unsafe { &*plan.python() };
    let sender = &plan.sender;
    if sender.code == 0 {
        return 0;
    }
    if in_frame(coroutine, sender.frame) != sender.code {
        return 0;
    }
    let request = in_frame(coroutine, sender.variable);
    if sender.timer_at == 0 || word(request, at::TYPE) != sender.request {
        return SENDS;
    }
    let timer = word(attributes(&plan.layout, request), sender.timer_at);
    if word(timer, at::TYPE) != sender.timer {
        return SENDS;
    }
    // `PyListObject.ob_size` and `ob_item`.
    let [size, items] = words(word(timer, sender.tasks), at::SIZE);
    let caller = word(items, 0);
    if size != 0 && word(caller, at::TYPE) == plan.task { caller } else { SENDS }
}

/// The task that awaits this one, directly or through futures; 0 if none is known, or if there may be several. With
/// [`PARENT`], if it has opened the task group of which this one is a member.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tracer_python_awaiter(plan: *const Plan, task: u64) -> u64 {
    /// Futures between two tasks.
    const MOST: u32 = 2;
    // SAFETY: as in `tracer_python_task`.
    let Some(own) = (unsafe { plan.as_ref() }) else { return 0 };
    // SAFETY: the plan is a live map value.
    let own = unsafe { &*own.python() };
    let mut future = task;
    for _ in 0..=MOST {
        // The first callback, its context, the others.
        let [callback, _, others] = words(future, at::CALLBACK);
        if callback == 0 {
            return 0;
        }
        if own.layout.running_task != 0 {
            let [awaiter, form] = words(future, at::AWAITED_BY);
            if awaiter != 0 {
                let kind = word(awaiter, at::TYPE);
                if form >> 40 & 0xff != 0 || kind != own.task && kind != own.future && kind != own.gathering {
                    return 0;
                }
                if kind == own.task {
                    let is_member = own.group != 0 && word(word(callback, at::SELF), at::TYPE) == own.group;
                    return if is_member { awaiter | PARENT } else { awaiter };
                }
                future = awaiter;
                continue;
            }
        }
        let mut next = tracer_python_next(plan, callback);
        if others != 0 {
            // One of two callbacks may be for something else: `shield`, and programs that keep sets of tasks, add such.
            let [size, items] = words(others, at::SIZE);
            if size != 1 || next != 0 && next & PARENT == 0 {
                return 0;
            }
            let other = tracer_python_next(plan, word(word(items, 0), at::ITEMS));
            if next == 0 {
                next = other;
            } else if other != 0 && other != next & !PARENT {
                // Others than the one that has opened the group await its member.
                return 0;
            }
        }
        if next & PARENT != 0 {
            return next;
        }
        let kind = word(next, at::TYPE);
        if kind == own.task {
            return next;
        }
        if kind != own.future && kind != own.gathering {
            return 0;
        }
        future = next;
    }
    0
}

/// Mark of an address: the parent of a task group.
const PARENT: u64 = 1;

/// What a callback of a task or a future wakes: a task, or a future that another task awaits. 0 if that is not known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tracer_python_next(plan: *const Plan, callback: u64) -> u64 {
    // SAFETY: as in `tracer_python_task`.
    let Some(plan) = (unsafe { plan.as_ref() }) else { return 0 };
    // SAFETY: the plan is a live map value.
    let plan = unsafe { &*plan.python() };
    let layout = &plan.layout;
    // Its type, what it calls (`partialobject.fn`), for whom (`PyMethodObject.im_self`, `partialobject.args`).
    let [kind, calls, group] = words(callback, at::TYPE);
    let (waker, woken) = match layout.waker {
        at::OF_TYPE => (kind, calls),
        _ => (calls, group),
    };
    // SAFETY: a live map value, of which other threads may change one word.
    if waker != 0 && waker == unsafe { (&raw const plan.waker).read_volatile() } {
        return woken;
    }
    if plan.group != 0 && word(group, at::TYPE) == plan.group {
        let parent = attribute(layout, group, PARENT_TASK);
        return if word(parent, at::TYPE) == plan.task { parent | PARENT } else { 0 };
    }
    if plan.anyio_group != 0 {
        let host = host(plan, callback);
        if host != 0 {
            return host | PARENT;
        }
    }
    if word(callback, layout.globals.into()) == plan.globals {
        let future = completed(layout, callback);
        let kind = word(future, at::TYPE);
        return if kind == plan.future || kind == plan.gathering { future } else { 0 };
    }
    if plan.release != 0 && calls == plan.release {
        return word(group, at::ITEMS);
    }
    if !is_waker(word(word(waker, layout.waker_name.into()), 0)) {
        return 0;
    }
    // SAFETY: as above. Whoever else does this writes the same.
    unsafe { (&raw const plan.waker).cast_mut().write_volatile(waker) };
    woken
}

/// The task that has opened the task group of anyio, of which a task is a member that calls this when it is done. The first
/// cell in the function's closure has the group.
#[inline(always)]
fn host(plan: &PythonPlan, callback: u64) -> u64 {
    let layout = &plan.layout;
    let [_, cell] = words(word(callback, layout.closure.into()), at::SIZE);
    let group = word(cell, at::CONTENT);
    if word(group, at::TYPE) != plan.anyio_group {
        return 0;
    }
    let scope = word(attributes(layout, group), plan.anyio_scope);
    let from = if plan.anyio_host & IN_ATTRIBUTES != 0 { attributes(layout, scope) } else { scope };
    let host = word(from, plan.anyio_host & !IN_ATTRIBUTES);
    if word(host, at::TYPE) == plan.task { host } else { 0 }
}

/// Which attribute `TaskGroup._parent_task` is.
const PARENT_TASK: u32 = 4;

/// An attribute of an object whose class is written in Python: by its number, in the order in which `__init__` makes them.
#[inline(always)]
fn attribute(layout: &PythonLayout, object: u64, number: u32) -> u64 {
    word(attributes(layout, object), u32::from(layout.first_attribute) + number * 8)
}

/// From where the attributes of such an object are counted.
#[inline(always)]
fn attributes(layout: &PythonLayout, object: u64) -> u64 {
    match layout.attributes {
        0 => object,
        before => word(object, 0u32.wrapping_sub(before.into())),
    }
}

/// The future that a function of `asyncio.tasks` completes. It is in the function's closure: the fourth cell in `gather`
/// and `wait`, the only one in `shield`.
#[inline(always)]
fn completed(layout: &PythonLayout, callback: u64) -> u64 {
    let closure = word(callback, layout.closure.into());
    let [size, first] = words(closure, at::SIZE);
    let cell = if size > 3 { word(closure, at::ITEMS + 3 * 8) } else { first };
    word(cell, at::CONTENT)
}

/// Whether this is the beginning of the name of what wakes a task.
#[inline(always)]
fn is_waker(name: u64) -> bool {
    name == u64::from_le_bytes(*b"task_wak") || name == u64::from_le_bytes(*b"TaskWake")
}

/// The number of a task, which no other one of the process gets: that in its name, if asyncio named it. Of others a
/// number that only tells the tasks of one moment apart.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tracer_python_number(plan: *const Plan, task: u64) -> u64 {
    /// `Task-`.
    const NAME: u64 = 0x2d_6b73_6154;
    const NAME_BYTES: u64 = 5;
    const MOST_DIGITS: u64 = 10;
    const DIGIT: u64 = (1 << 30) - 1;
    const IN_ADVANCE: u64 = 1 << 2;
    // SAFETY: as in `tracer_python_task`.
    unsafe {
        let Some(plan) = plan.as_ref() else { return 0 };
        let plan = &*plan.python();
        let unnumbered = UNNUMBERED | task;
        let name = word(task, plan.layout.name.into());
        // The type, the length, and up to the first characters.
        let words: [u64; 7] = words(name, at::TYPE);
        let [kind, length, value, ..] = words;
        if kind == plan.int {
            // The number, until somebody asks for the name: its form, and its digits. Since Python 3.14, the numbers that
            // are made in advance (up to 256) have a mark.
            return match length & !IN_ADVANCE {
                0x8 => value & DIGIT,
                0x10 => value & DIGIT | (value >> 32 & DIGIT) << 30,
                _ => unnumbered,
            };
        }
        let (first, second) = match plan.layout.text {
            40 => (words[4], words[5]),
            _ => (words[5], words[6]),
        };
        // `PyASCIIObject.length`.
        let digits = length.wrapping_sub(NAME_BYTES);
        if first & (1 << (8 * NAME_BYTES)) - 1 != NAME || digits.wrapping_sub(1) >= MOST_DIGITS {
            return unnumbered;
        }
        // The first eight digits, and the rest.
        let head = first >> (8 * NAME_BYTES) | second << (8 * (8 - NAME_BYTES));
        if digits <= 8 {
            return decimal(head << (64 - 8 * digits), digits).unwrap_or(unnumbered);
        }
        let rest = digits - 8;
        let tail = second >> (8 * NAME_BYTES) << (64 - 8 * rest);
        match (decimal(head, 8), decimal(tail, rest)) {
            (Some(head), Some(tail)) => head * if rest == 1 { 10 } else { 100 } + tail,
            _ => unnumbered,
        }
    }
}

/// The number whose last digits are this text: `digits` of them (1 to 8), the last one in the highest byte, zeros below. None
/// if they are no digits.
#[inline(always)]
fn decimal(text: u64, digits: u64) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    // Six more than nine is no digit.
    const SIXES: u64 = 0x0606_0606_0606_0606;
    let expected = ZEROS << (64 - 8 * digits);
    let own = u64::MAX << (64 - 8 * digits);
    if text & HIGH != expected || (text.wrapping_add(SIXES) & own) & HIGH != expected {
        return None;
    }
    // Pairs, then fours, then all: the lower byte counts more.
    let ones = text & !HIGH;
    let pairs = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}
