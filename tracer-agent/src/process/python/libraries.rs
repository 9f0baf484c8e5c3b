//! Libraries whose tasks and threads work for others: anyio and aiohttp.

#![forbid(unsafe_code)]

use tracer_common::{IN_ATTRIBUTES, PythonLayout, PythonSender, PythonWorker};

use super::{objects::Memory, version::Version};

/// What threads of anyio's pool run, by the globals of the modules `threading` and `anyio._backends._asyncio`. The first frames
/// of each thread are those of `threading`.
pub(super) fn worker(
    memory: &mut Memory<'_>,
    version: &Version,
    threading: u64,
    anyio: u64,
) -> Option<PythonWorker> {
    /// `_PyStackChunk.data`, without its first word, which no frame uses.
    const FIRST_FRAME: u64 = 32;
    /// `PyCodeObject.co_localsplusnames`, a tuple; where it has its items.
    const NAMES: u64 = 96;
    const ITEMS: u64 = 24;
    let layout = &version.plan;
    let thread = memory.look_up(layout, threading, b"Thread")?;
    let mut frame = FIRST_FRAME;
    for name in [&b"_bootstrap"[..], b"_bootstrap_inner"] {
        let code = method(memory, layout, thread, name)?;
        frame = frame.checked_add(frame_bytes(memory, version, code)?)?;
    }
    let class = memory.look_up(layout, anyio, b"WorkerThread")?;
    let code = method(memory, layout, class, b"run")?;
    let names = memory.pointer(code.checked_add(NAMES)?)?;
    let count = variables(memory, version, code)?;
    let number = (0..count).find(|number| {
        let name = names.checked_add(ITEMS + number * 8).and_then(|at| memory.pointer(at));
        name.is_some_and(|name| memory.is_text(layout, name, b"future"))
    })?;
    let at = |offset: u64| u32::try_from(frame.checked_add(offset)?).ok();
    Some(PythonWorker { code, frame: at(version.code)?, item: at(version.frame_head + number * 8)? })
}

/// What sends requests with a body, by the globals of the modules `aiohttp.client_reqrep` and `aiohttp.helpers`.
pub(super) fn sender(
    memory: &mut Memory<'_>,
    version: &Version,
    requests: u64,
    helpers: u64,
) -> Option<PythonSender> {
    /// From the name of a coroutine's function on: its frame, in Python 3.11 and later.
    const FRAME: u64 = 40;
    let layout = &version.plan;
    let request = memory.look_up(layout, requests, b"ClientRequest")?;
    let timer = memory.look_up(layout, helpers, b"TimerContext")?;
    let code = method(memory, layout, request, b"write_bytes")?;
    let tasks = memory.slot(layout, timer, b"_tasks")?;
    let timer_at = memory.attribute(layout, version.keys, request, b"_timer");
    let frame = u64::from(layout.function) + FRAME;
    let at = |offset: u64| u32::try_from(frame.checked_add(offset)?).ok();
    Some(PythonSender {
        code,
        request,
        timer,
        frame: at(version.code)?,
        variable: at(version.frame_head)?,
        // It is known when there was a request.
        timer_at: timer_at.unwrap_or_default(),
        tasks,
    })
}

/// The class of task groups in the module `anyio._backends._asyncio`, and where from a group on its task is:
/// [`anyio_scope`](tracer_common::PythonPlan::anyio_scope) and [`anyio_host`](tracer_common::PythonPlan::anyio_host). None before there was
/// a group.
pub(super) fn anyio_group(memory: &mut Memory<'_>, version: &Version, anyio: u64) -> Option<(u64, u32, u32)> {
    let layout = &version.plan;
    let [group, scope] = memory.look_up_all(layout, anyio, [b"TaskGroup", b"CancelScope"])?;
    let (group, scope) = (group?, scope?);
    let at = memory.attribute(layout, version.keys, group, b"cancel_scope")?;
    let host = match memory.slot(layout, scope, b"_host_task") {
        Some(slot) => slot,
        None => memory.attribute(layout, version.keys, scope, b"_host_task")? | IN_ATTRIBUTES,
    };
    Some((group, at, host))
}

/// The code of a method of a class.
fn method(memory: &mut Memory<'_>, layout: &PythonLayout, class: u64, name: &[u8]) -> Option<u64> {
    /// `PyFunctionObject.func_code`, in Python 3.11 and later.
    const CODE: u64 = 48;
    let function = memory.of_class(layout, class, name)?;
    memory.is_named(function, b"function")?.then(|| memory.pointer(function.checked_add(CODE)?)).flatten()
}

/// Variables and arguments of a function, of which there are few.
fn variables(memory: &mut Memory<'_>, version: &Version, code: u64) -> Option<u64> {
    const MOST: u64 = 64;
    let count = memory.word(code.checked_add(version.variables)?)? & u64::from(u32::MAX);
    (count <= MOST).then_some(count)
}

/// Bytes of a function's frame.
fn frame_bytes(memory: &mut Memory<'_>, version: &Version, code: u64) -> Option<u64> {
    const MOST: u64 = 1024;
    /// `PyCodeObject.co_stacksize` of 3.11, whose code does not tell the size of the frame.
    const STACK: u64 = 68;
    /// `PyCodeObject.co_framesize` of later versions.
    const SIZE: u64 = 76;
    let mut number = |at: u64| Some(memory.word(code.checked_add(at)?)? & u64::from(u32::MAX));
    let words = match version.minor {
        11 => number(STACK)? + number(version.variables)? + version.frame_head / 8,
        _ => number(SIZE)?,
    };
    (words <= MOST).then_some(words * 8)
}
