//! What differs between versions of CPython.

#![forbid(unsafe_code)]

use tracer_common::PythonLayout;

/// What is the same in all programs of one minor version of CPython 3: measured in programs that each version built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) minor: u32,
    /// From the runtime on: the first interpreter.
    pub(super) interpreters: u64,
    /// From the interpreter on: the newest thread state, and the dictionary of modules.
    pub(super) threads: u64,
    pub(super) modules: u64,
    /// Of a thread state: the next one.
    pub(super) next: u64,
    /// `_PyInterpreterFrame.f_code` (3.13: `f_executable`), `PyCodeObject.co_nlocalsplus` and
    /// `PyHeapTypeObject.ht_cached_keys`, of Python 3.11 and later.
    pub(super) code: u64,
    pub(super) variables: u64,
    pub(super) keys: u64,
    /// Bytes of a frame before its variables (`_PyInterpreterFrame.localsplus`), of Python 3.11 and later.
    pub(super) frame_head: u64,
    /// Where the runtime tells its own offsets; none before Python 3.13.
    pub(super) told: Option<Told>,
    pub(super) plan: PythonLayout,
}

/// Which words of `_Py_DebugOffsets` tell what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// `runtime_state.interpreters_head`.
    pub(super) interpreters: usize,
    /// Those of `interpreter_state`.
    pub(super) threads: usize,
    pub(super) modules: usize,
    /// Those of `thread_state`.
    pub(super) next: usize,
    pub(super) thread_id: usize,
}

pub(super) const LAYOUT_3_8: PythonLayout = PythonLayout {
    thread_id: 176,
    context: 240,
    eight: 8,
    entries: 32,
    first: 48,
    name: 120,
    text: 48,
    waker: 8,
    waker_name: 24,
    globals: 24,
    closure: 48,
    attributes: 0,
    first_attribute: 0,
    function: 56,
    frames: 0,
    running_task: 0,
};

pub(super) const LAYOUT_3_10: PythonLayout = PythonLayout {
    name: 168,
    waker: 16,
    waker_name: 0,
    globals: 16,
    closure: 72,
    function: 48,
    ..LAYOUT_3_8
};

pub(super) const LAYOUT_3_11: PythonLayout = PythonLayout {
    thread_id: 152,
    context: 224,
    eight: 3,
    entries: 24,
    first: 40,
    name: 144,
    attributes: 32,
    first_attribute: 0,
    function: 40,
    frames: 296,
    ..LAYOUT_3_10
};

pub(super) const LAYOUT_3_12: PythonLayout = PythonLayout {
    thread_id: 136,
    context: 208,
    text: 40,
    attributes: 24,
    // The address has its lowest bit cleared by this.
    first_attribute: 1,
    function: 32,
    frames: 232,
    ..LAYOUT_3_11
};

pub(super) const LAYOUT_3_13: PythonLayout =
    PythonLayout { thread_id: 152, name: 128, attributes: 0, first_attribute: 24, ..LAYOUT_3_12 };

const LAYOUT_3_14: PythonLayout = PythonLayout { name: 136, running_task: 872, ..LAYOUT_3_13 };

const VERSION_3_10: Version = Version {
    minor: 10,
    interpreters: 40,
    threads: 8,
    modules: 856,
    next: 8,
    code: 0,
    variables: 0,
    keys: 0,
    frame_head: 72,
    told: None,
    plan: LAYOUT_3_8,
};

pub(super) const VERSION_3_13: Version = Version {
    minor: 13,
    interpreters: 640,
    threads: 7344,
    modules: 7656,
    next: 8,
    code: 0,
    variables: 72,
    keys: 880,
    frame_head: 72,
    told: Some(Told { interpreters: 5, threads: 9, modules: 11, next: 21, thread_id: 24 }),
    plan: LAYOUT_3_13,
};

pub(super) const VERSIONS: [Version; 7] = [
    Version { minor: 8, modules: 56, ..VERSION_3_10 },
    Version { minor: 9, plan: PythonLayout { name: 160, ..LAYOUT_3_8 }, ..VERSION_3_10 },
    Version { plan: LAYOUT_3_10, ..VERSION_3_10 },
    Version {
        minor: 11,
        interpreters: 48,
        threads: 16,
        modules: 888,
        code: 32,
        variables: 76,
        keys: 872,
        plan: LAYOUT_3_11,
        ..VERSION_3_10
    },
    Version {
        minor: 12,
        interpreters: 48,
        threads: 72,
        modules: 944,
        told: None,
        plan: LAYOUT_3_12,
        ..VERSION_3_13
    },
    VERSION_3_13,
    Version {
        minor: 14,
        frame_head: 80,
        told: Some(Told { interpreters: 5, threads: 9, modules: 12, next: 24, thread_id: 27 }),
        plan: LAYOUT_3_14,
        ..VERSION_3_13
    },
];
