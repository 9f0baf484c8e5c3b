//! Processes that run CPython: which version, and where asyncio keeps the tasks that run.
//!
//! The runtime is an exported object of the executable or of its library (`_PyRuntime`). From there the imported modules
//! are found, by name, and in them the objects that the kernel programs compare with. All of it is the process's own
//! memory, which may hold anything: each step checks what it can, and the number of steps is bounded.

#![forbid(unsafe_code)]

mod libraries;
mod objects;
mod version;

use std::{fs::File, io};

use tracer_common::{PythonLayout, PythonPlan, PythonSender, PythonWorker, TaskPlan};

use self::{
    libraries::{anyio_group, sender, worker},
    objects::Memory,
    version::{Told, VERSIONS, Version},
};
use super::{
    memory::ProcessMemory,
    symbols::{self, Symbol},
    tasks::TaskProgram,
};
use crate::task_runtime::TaskRuntime;

/// What the executable and the mappings of a process tell, and its memory.
pub(super) struct Process<'a> {
    /// `/proc/PID/maps`.
    pub(super) maps: &'a str,
    /// Opens a file that is mapped.
    pub(super) open: &'a dyn Fn(&Mapping<'_>) -> io::Result<File>,
    pub(super) memory: &'a ProcessMemory,
    /// Path of the executable.
    pub(super) executable: &'a str,
    /// A thread that serves, as the process itself numbers it; 0 if none is known.
    pub(super) thread: u32,
}

/// A line of `/proc/PID/maps` at which a file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping<'a> {
    pub(super) begin: u64,
    /// The addresses, as the line has them: the name of a link in `/proc/PID/map_files`.
    pub(super) range: &'a str,
    pub(super) path: &'a str,
}

/// The beginnings of mapped files.
pub(super) fn mappings(maps: &str) -> impl Iterator<Item = Mapping<'_>> {
    maps.lines().filter_map(|line| {
        // Addresses, access, offset, device, inode, path (proc_pid_maps(5)).
        let (range, rest) = line.split_once(' ')?;
        let path = rest.get(rest.find('/')?..)?;
        let is_first = rest.split_whitespace().nth(1)?.bytes().all(|byte| byte == b'0');
        let begin = u64::from_str_radix(range.split_once('-')?.0, 16).ok()?;
        is_first.then_some(Mapping { begin, range, path })
    })
}

/// Whether an executable is CPython, as far as its name tells.
pub(super) fn is_named(executable: &str) -> bool {
    executable.rsplit('/').next().is_some_and(|name| name.starts_with("python"))
}

/// Whether a process may run CPython, as far as names tell.
pub(super) fn may_run(executable: &str, maps: &str) -> bool {
    is_named(executable) || maps.contains("/libpython3.")
}

/// The runtime of a process.
struct Interpreter {
    version: &'static Version,
    /// As it is shown.
    shown: String,
    runtime: u64,
    int: u64,
}

/// What a process runs, if that is CPython: with a plan, if its tasks can be read by now.
pub(super) fn find(process: &Process<'_>) -> Option<TaskProgram> {
    let (version, plan) = match interpreter(process)? {
        Ok(interpreter) => {
            let mut memory = Memory::of(process.memory);
            if let Some(plan) = greenlets(&mut memory, &interpreter, process.thread) {
                let plan = Some(TaskPlan::Greenlets(plan));
                return Some(TaskProgram::new(TaskRuntime::Greenlets, interpreter.shown, plan));
            }
            let plan = plan(&mut memory, &interpreter, process.thread);
            (interpreter.shown, plan)
        }
        Err(version) => return Some(TaskProgram::new(TaskRuntime::Python, version, None)),
    };
    let is_awaited = plan.is_none();
    Some(TaskProgram {
        is_awaited,
        ..TaskProgram::new(TaskRuntime::Python, version, plan.map(TaskPlan::Python))
    })
}

/// Whether the name of a file says that CPython is in it: `python3.11`, `libpython3.11.so.1.0`.
fn minor_in(path: &str) -> Option<u32> {
    let name = path.rsplit('/').next()?;
    let rest = name.strip_prefix("lib").unwrap_or(name).strip_prefix("python3.")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// The interpreter; or its version, if its tasks are not read.
fn interpreter(process: &Process<'_>) -> Option<Result<Interpreter, String>> {
    let is_python = |mapping: &Mapping<'_>| {
        let name = mapping.path.rsplit('/').next().unwrap_or_default();
        mapping.path == process.executable && name.starts_with("python") || name.starts_with("libpython3.")
    };
    /// Files that are looked at: the executable, and its library.
    const MOST: usize = 4;
    mappings(process.maps).filter(is_python).take(MOST).find_map(|mapping| {
        let file = (process.open)(&mapping).ok()?;
        let names: [&[u8]; 3] = [b"_PyRuntime", b"Py_Version", b"PyLong_Type"];
        let [runtime, version, int] = symbols::find(&file, mapping.begin, names).ok()??;
        let Symbol { address: runtime, .. } = runtime?;
        let told = version.and_then(|version| {
            let word = Memory::of(process.memory).word(version.address)? as u32;
            (word >> 24 == 3).then_some((word >> 16 & 0xff, Some(word >> 8 & 0xff)))
        });
        let (minor, micro) = told.or_else(|| Some((minor_in(mapping.path)?, None)))?;
        let shown = micro.map_or_else(|| format!("3.{minor}"), |micro| format!("3.{minor}.{micro}"));
        let known = VERSIONS.iter().find(|version| version.minor == minor);
        Some(match (known, int) {
            (Some(version), Some(int)) => Ok(Interpreter { version, shown, runtime, int: int.address }),
            _ => Err(shown),
        })
    })
}

/// What the interpreter keeps.
struct State {
    version: Version,
    /// The dictionary of modules.
    modules: u64,
    /// See [`PythonPlan::threads`].
    threads: [u64; 2],
}

impl State {
    fn read(memory: &mut Memory<'_>, interpreter: &Interpreter, thread: u32) -> Option<Self> {
        let version = match &interpreter.version.told {
            Some(places) => Version::told(memory, interpreter, places)?,
            None => *interpreter.version,
        };
        let first = memory.pointer(interpreter.runtime.checked_add(version.interpreters)?)?;
        let modules = memory.pointer(first.checked_add(version.modules)?)?;
        let newest = memory.pointer(first.checked_add(version.threads)?)?;
        let threads = threads(memory, &version, newest, thread)?;
        Some(Self { version, modules, threads })
    }
}

/// How its greenlets are read; none if it has imported no sockets of gevent or eventlet, or before Python 3.11.
fn greenlets(memory: &mut Memory<'_>, interpreter: &Interpreter, thread: u32) -> Option<PythonPlan> {
    /// Modules with the sockets that switch greenlets.
    const SOCKETS: [&[u8]; 2] = [b"gevent._socket3", b"eventlet.greenio.base"];
    let State { version, modules, threads } = State::read(memory, interpreter, thread)?;
    let layout = version.plan;
    let sockets = memory.look_up_all(&layout, modules, SOCKETS)?;
    if layout.frames == 0 || sockets.iter().all(Option::is_none) {
        return None;
    }
    let place = place(memory, &layout, threads[0]).unwrap_or_default();
    Some(PythonPlan { threads, place, layout, ..PythonPlan::default() })
}

/// How its tasks are read; none if asyncio is not imported yet.
fn plan(memory: &mut Memory<'_>, interpreter: &Interpreter, thread: u32) -> Option<PythonPlan> {
    let State { version, modules, threads } = State::read(memory, interpreter, thread)?;
    let layout = version.plan;
    let modules = memory.look_up_all(&layout, modules, MODULES)?;
    let [own, tasks, groups, threading, anyio, requests, helpers] =
        modules.map(|module| memory.pointer(module?.checked_add(MODULE_GLOBALS)?));
    let (own, tasks) = (own?, tasks?);
    let running = match layout.running_task {
        0 => memory.look_up(&layout, own, b"_current_tasks")?,
        _ => 0,
    };
    let task = memory.look_up(&layout, own, b"Task")?;
    let future = memory.look_up(&layout, own, b"Future")?;
    let gathering = memory.look_up(&layout, tasks, b"_GatheringFuture")?;
    let is_there = (running == 0 || memory.is_named(running, b"dict")?)
        && memory.type_is_named(task, b"_asyncio.Task")?;
    if !is_there {
        return None;
    }
    let release = memory.look_up(&layout, tasks, b"_release_waiter").unwrap_or_default();
    let group = groups.and_then(|groups| memory.look_up(&layout, groups, b"TaskGroup")).unwrap_or_default();
    let anyio_group =
        anyio.filter(|_| version.keys != 0).and_then(|anyio| anyio_group(memory, &version, anyio));
    let (anyio_group, anyio_scope, anyio_host) = anyio_group.unwrap_or_default();
    let place = place(memory, &layout, threads[0]).unwrap_or_default();
    let worker = match (threading, anyio) {
        (Some(threading), Some(anyio)) if place != 0 && layout.frames != 0 => {
            worker(memory, &version, threading, anyio).unwrap_or_default()
        }
        _ => PythonWorker::default(),
    };
    let sender = match (requests, helpers) {
        (Some(requests), Some(helpers)) if version.keys != 0 => {
            sender(memory, &version, requests, helpers).unwrap_or_default()
        }
        _ => PythonSender::default(),
    };
    Some(PythonPlan {
        threads,
        running,
        task,
        future,
        gathering,
        group,
        globals: tasks,
        release,
        int: interpreter.int,
        anyio_group,
        anyio_scope,
        anyio_host,
        worker,
        sender,
        place,
        waker: 0,
        layout,
    })
}

/// The modules in which objects are looked for.
const MODULES: [&[u8]; 7] = [
    b"_asyncio",
    b"asyncio.tasks",
    b"asyncio.taskgroups",
    b"threading",
    b"anyio._backends._asyncio",
    b"aiohttp.client_reqrep",
    b"aiohttp.helpers",
];

/// `PyModuleObject.md_dict`, in all versions.
const MODULE_GLOBALS: u64 = 16;

/// How far from the address in `%fs` on threads have the address of their thread state: a value of a key
/// (`pthread_getspecific`) of glibc. None with another library.
fn place(memory: &mut Memory<'_>, layout: &PythonLayout, thread: u64) -> Option<u64> {
    /// `struct pthread.specific_1stblock`, of glibc for x86-64: values of the first keys, each behind a number.
    const FIRST: u64 = 784 + 8;
    const BYTES: u64 = 16;
    const KEYS: u64 = 32;
    let own = memory.pointer(thread.checked_add(layout.thread_id.into())?)?;
    (0..KEYS)
        .map(|key| FIRST + key * BYTES)
        .find(|at| own.checked_add(*at).and_then(|at| memory.word(at)) == Some(thread))
}

/// The thread states of the first thread and of that which serves.
fn threads(memory: &mut Memory<'_>, version: &Version, newest: u64, serving: u32) -> Option<[u64; 2]> {
    /// Thread states that are looked at.
    const MOST: usize = 4096;
    /// Where `struct pthread` of glibc has the thread's number, in all versions for x86-64.
    const NUMBER: u64 = 720;
    let mut found = [0; 2];
    let mut at = newest;
    for _ in 0..MOST {
        // The oldest is the last.
        found[0] = at;
        let thread = memory.pointer(at.checked_add(version.plan.thread_id.into())?)?;
        let number = thread.checked_add(NUMBER).and_then(|at| memory.word(at));
        if serving != 0 && number.map(|number| number as u32) == Some(serving) {
            found[1] = at;
        }
        match memory.word(at.checked_add(version.next)?)? {
            0 => return Some(if found[0] == found[1] { [found[0], 0] } else { found }),
            next => at = next,
        }
    }
    None
}

impl Version {
    /// What the runtime itself tells of its structures (`_Py_DebugOffsets`, Python 3.13 and later).
    fn told(memory: &mut Memory<'_>, interpreter: &Interpreter, places: &Told) -> Option<Self> {
        const COOKIE: &[u8; 8] = b"xdebugpy";
        const FREE_THREADED: usize = 2;
        let mut words = [0; 8 * 28];
        memory.read(interpreter.runtime, &mut words)?;
        let word = |at: usize| words.chunks_exact(8).nth(at)?.first_chunk().copied().map(u64::from_le_bytes);
        let is_known = words.starts_with(COOKIE) && word(FREE_THREADED)? == 0;
        let known = interpreter.version;
        let told = Self {
            // The first interpreter is behind the newest.
            interpreters: word(places.interpreters)?.checked_add(8)?,
            threads: word(places.threads)?,
            modules: word(places.modules)?,
            next: word(places.next)?,
            ..*known
        };
        // What is before the context has the places that are known, so the context has too.
        (is_known && word(places.thread_id)? == u64::from(known.plan.thread_id)).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Seek, SeekFrom, Write},
        path::PathBuf,
        time::Instant,
    };

    use super::{
        version::{LAYOUT_3_8, LAYOUT_3_11, LAYOUT_3_13},
        *,
    };

    /// The memory of a process that does not exist: a file, removed with it.
    struct Fake(File, PathBuf, ProcessMemory);

    impl Fake {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tracer-python-{}-{name}", std::process::id()));
            let file = File::options().read(true).write(true).create_new(true).open(&path).expect("created");
            file.set_len(1 << 24).expect("sparse");
            let memory = ProcessMemory::whole(file.try_clone().expect("cloned"));
            Self(file, path, memory)
        }

        fn put(&mut self, address: u64, words: &[u64]) {
            self.0.seek(SeekFrom::Start(address)).expect("there");
            for word in words {
                self.0.write_all(&word.to_le_bytes()).expect("written");
            }
        }

        fn text(&mut self, object: u64, layout: &PythonLayout, text: &[u8]) {
            self.put(object + 16, &[text.len() as u64]);
            self.0.seek(SeekFrom::Start(object + u64::from(layout.text))).expect("there");
            self.0.write_all(text).expect("written");
        }

        fn memory(&self) -> Memory<'_> {
            Memory::of(&self.2)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.1);
        }
    }

    #[test]
    fn values_are_found_by_name_in_dictionaries_of_all_versions() {
        for (version, layout) in [(8, LAYOUT_3_8), (11, LAYOUT_3_11)] {
            for has_hash in [true, false] {
                if version == 8 && !has_hash {
                    continue;
                }
                let mut fake = Fake::new(&format!("look-up-{version}-{has_hash}"));
                let (dictionary, keys, name, other, value) = (0x1000, 0x2000, 0x3000, 0x4000, 0x5000);
                fake.put(dictionary + 32, &[keys, 0]);
                // Eight places of one byte each: as a number, or as logarithms.
                fake.put(keys + 8, &[if version == 8 { 8 } else { 0x0303 | u64::from(!has_hash) << 16 }]);
                fake.put(keys + u64::from(layout.entries), &[3]);
                let entry = |key, value| if has_hash { vec![7, key, value] } else { vec![key, value] };
                let entries = [entry(other, value + 1), entry(0, 0), entry(name, value)].concat();
                fake.put(keys + u64::from(layout.first), &entries);
                fake.text(name, &layout, b"_asyncio");
                fake.text(other, &layout, b"_asynci");
                assert_eq!(fake.memory().look_up(&layout, dictionary, b"_asyncio"), Some(value), "{version}");
                assert_eq!(fake.memory().look_up(&layout, dictionary, b"asyncio"), None);
            }
        }
    }

    #[test]
    fn senseless_dictionaries_cost_bounded_reads() {
        let mut fake = Fake::new("senseless");
        fake.put(0x1020, &[0x2000, 0]);
        for form in [0, u64::MAX, 0x3f_3f03, 0xff03, 1 << 40] {
            for count in [u64::MAX, 65_536, 5] {
                fake.put(0x2000 + 8, &[form]);
                fake.put(0x2000 + 24, &[count]);
                fake.put(0x2000 + 32, &[count]);
                for layout in [LAYOUT_3_8, LAYOUT_3_11, LAYOUT_3_13] {
                    let mut memory = fake.memory();
                    assert_eq!(memory.look_up(&layout, 0x1000, b"x"), None);
                    assert_eq!(memory.look_up(&layout, u64::MAX - 8, b"x"), None);
                }
            }
        }
    }

    #[test]
    fn the_runtime_tells_its_offsets_since_3_13() {
        for minor in [13, 14] {
            let version = VERSIONS.iter().find(|version| version.minor == minor).expect("it is known");
            let places = version.told.as_ref().expect("it tells");
            let mut fake = Fake::new(&format!("told-{minor}"));
            fake.put(0x1000, &[u64::from_le_bytes(*b"xdebugpy"), 0, 0]);
            let thread_id = u64::from(version.plan.thread_id);
            for (word, value) in [
                (places.interpreters, 808),
                (places.threads, 7000),
                (places.modules, 8000),
                (places.next, 8),
                (places.thread_id, thread_id),
            ] {
                fake.put(0x1000 + 8 * word as u64, &[value]);
            }
            let interpreter = Interpreter { version, shown: String::new(), runtime: 0x1000, int: 0 };
            let told = Version::told(&mut fake.memory(), &interpreter, places).expect("all is there");
            assert_eq!((told.interpreters, told.threads, told.modules, told.next), (816, 7000, 8000, 8));
            // Another layout of thread states, and a build without the lock.
            for (word, value) in [(places.thread_id, thread_id + 8), (2, 1)] {
                let mut fake = Fake::new(&format!("other-{minor}-{word}"));
                fake.put(0x1000, &[u64::from_le_bytes(*b"xdebugpy"), 0, 0]);
                fake.put(0x1000 + 8 * places.thread_id as u64, &[thread_id]);
                fake.put(0x1000 + 8 * word as u64, &[value]);
                assert!(Version::told(&mut fake.memory(), &interpreter, places).is_none());
            }
        }
    }

    #[test]
    fn a_circle_of_thread_states_ends() {
        let mut fake = Fake::new("circle");
        let version = &VERSIONS[3];
        fake.put(0x1000 + 8, &[0x2000]);
        fake.put(0x2000 + 8, &[0x1000]);
        for state in [0x1000, 0x2000] {
            fake.put(state + u64::from(version.plan.thread_id), &[0x9000]);
        }
        assert_eq!(threads(&mut fake.memory(), version, 0x1000, 0), None);
        fake.put(0x2000 + 8, &[0]);
        assert_eq!(threads(&mut fake.memory(), version, 0x1000, 0), Some([0x2000, 0]));
    }

    #[test]
    fn the_thread_that_serves_is_found_by_its_number() {
        let mut fake = Fake::new("serves");
        let version = &VERSIONS[3];
        for (state, next, thread, number) in
            [(0x1000, 0x2000, 0x9000, 43), (0x2000, 0x3000, 0xa000, 42), (0x3000, 0, 0xb000, 41)]
        {
            fake.put(state + 8, &[next]);
            fake.put(state + u64::from(version.plan.thread_id), &[thread]);
            fake.put(thread + 720, &[number]);
        }
        for (serving, expected) in [(0, 0), (41, 0), (42, 0x2000), (43, 0x1000), (44, 0)] {
            let found = threads(&mut fake.memory(), version, 0x1000, serving);
            assert_eq!(found, Some([0x3000, expected]), "{serving}");
        }
    }

    #[test]
    fn the_place_of_the_thread_state_is_that_of_a_key() {
        let mut fake = Fake::new("place");
        let (state, thread) = (0x1000, 0x9000);
        fake.put(state + u64::from(LAYOUT_3_13.thread_id), &[thread]);
        assert_eq!(place(&mut fake.memory(), &LAYOUT_3_13, state), None);
        // Any other word of the thread may be the address by chance.
        fake.put(thread + 784 + 16, &[state, 7]);
        assert_eq!(place(&mut fake.memory(), &LAYOUT_3_13, state), None);
        fake.put(thread + 784 + 32, &[1, state]);
        assert_eq!(place(&mut fake.memory(), &LAYOUT_3_13, state), Some(784 + 40));
    }

    /// A dictionary with these entries; its keys are behind it, and its strings behind them.
    fn put_dictionary(fake: &mut Fake, layout: &PythonLayout, at: u64, entries: &[(&[u8], u64)]) {
        let (keys, mut text) = (at + 0x100, at + 0x800);
        fake.put(at + 32, &[keys, 0]);
        fake.put(keys + 8, &[0x0303]);
        fake.put(keys + u64::from(layout.entries), &[entries.len() as u64]);
        for (entry, (name, value)) in (keys + u64::from(layout.first)..).step_by(24).zip(entries) {
            fake.put(entry, &[7, text, *value]);
            fake.text(text, layout, name);
            text += 0x80;
        }
    }

    #[test]
    fn what_threads_of_a_pool_run_is_found_behind_the_frames_of_every_thread() {
        for (version, code_at, sizes) in [(&VERSIONS[3], 32, [14, 16]), (&VERSIONS[5], 0, [14, 16])] {
            let mut fake = Fake::new(&format!("workers-{}", version.minor));
            let layout = &version.plan;
            // The type of functions, and classes and functions of it.
            fake.put(0x100 + 24, &[0x180]);
            fake.put(0x180, &[u64::from_le_bytes(*b"function"), 0]);
            let function = |fake: &mut Fake, at: u64, words: u64, names: &[&[u8]]| {
                let code = at + 0x1000;
                fake.put(at + 8, &[0x100]);
                fake.put(at + 48, &[code]);
                let variables = names.len() as u64;
                match version.minor {
                    11 => fake.put(code + 68, &[(words - 9 - variables) | 1 << 32, variables | 9 << 32]),
                    _ => fake.put(code + 72, &[variables | words << 32]),
                }
                fake.put(code + 96, &[code + 0x200]);
                for (number, name) in (0..).zip(names) {
                    let text = code + 0x400 + number * 0x80;
                    fake.put(code + 0x200 + 24 + number * 8, &[text]);
                    fake.text(text, layout, name);
                }
                at
            };
            let one = function(&mut fake, 0x1_0000, sizes[0], &[b"self"]);
            let two = function(&mut fake, 0x1_4000, sizes[1], &[b"self"]);
            let run = function(&mut fake, 0x2_0000, 30, &[b"self", b"item", b"future"]);
            let other = function(&mut fake, 0x2_4000, 20, &[b"self", b"item"]);
            let methods: [&[(&[u8], u64)]; 3] =
                [&[(b"_bootstrap", one), (b"_bootstrap_inner", two)], &[(b"run", run)], &[(b"run", other)]];
            let classes = [0x3_0000, 0x3_4000, 0x3_8000];
            for (class, methods) in classes.into_iter().zip(methods) {
                fake.put(class + 264, &[class + 0x1000]);
                put_dictionary(&mut fake, layout, class + 0x1000, methods);
            }
            let (threading, anyio, changed) = (0x4_0000, 0x5_0000, 0x6_0000);
            put_dictionary(&mut fake, layout, threading, &[(b"Thread", classes[0])]);
            put_dictionary(&mut fake, layout, anyio, &[(b"WorkerThread", classes[1])]);
            put_dictionary(&mut fake, layout, changed, &[(b"WorkerThread", classes[2])]);
            let begin = 32 + 8 * 30;
            let expected =
                PythonWorker { code: run + 0x1000, frame: begin + code_at, item: begin + 72 + 2 * 8 };
            assert_eq!(worker(&mut fake.memory(), version, threading, anyio), Some(expected));
            // Another version of anyio has no such variable, and no such class.
            assert_eq!(worker(&mut fake.memory(), version, threading, changed), None);
            assert_eq!(worker(&mut fake.memory(), version, threading, threading), None);
        }
    }

    #[test]
    fn what_sends_requests_of_aiohttp_is_found_and_its_timer_once_there_was_a_request() {
        for version in [&VERSIONS[3], &VERSIONS[5]] {
            let mut fake = Fake::new(&format!("sender-{}", version.minor));
            let layout = &version.plan;
            // The types of functions and of slots.
            fake.put(0x100 + 24, &[0x180]);
            fake.put(0x180, &[u64::from_le_bytes(*b"function"), 0]);
            fake.put(0x200 + 24, &[0x280]);
            let name = [*b"member_d", *b"escripto", *b"r\0\0\0\0\0\0\0"].map(u64::from_le_bytes);
            fake.put(0x280, &name);
            let (function, code) = (0x1_0000, 0x1_1000);
            fake.put(function + 8, &[0x100]);
            fake.put(function + 48, &[code]);
            let (slot, definition) = (0x2_0000, 0x2_1000);
            fake.put(slot + 8, &[0x200]);
            fake.put(slot + 40, &[definition]);
            fake.put(definition + 16, &[32]);
            let (request, timer) = (0x3_0000, 0x4_0000);
            fake.put(request + 264, &[request + 0x1000]);
            put_dictionary(&mut fake, layout, request + 0x1000, &[(b"write_bytes", function)]);
            fake.put(timer + 264, &[timer + 0x1000]);
            put_dictionary(&mut fake, layout, timer + 0x1000, &[(b"_tasks", slot)]);
            let (requests, helpers) = (0x5_0000, 0x6_0000);
            put_dictionary(&mut fake, layout, requests, &[(b"ClientRequest", request)]);
            put_dictionary(&mut fake, layout, helpers, &[(b"TimerContext", timer)]);
            let (frame, variable) = if version.minor == 11 { (112, 152) } else { (72, 144) };
            let expected = PythonSender { code, request, timer, frame, variable, timer_at: 0, tasks: 32 };
            assert_eq!(sender(&mut fake.memory(), version, requests, helpers), Some(expected));
            let keys = 0x7_0000;
            fake.put(request + version.keys, &[keys]);
            fake.put(keys + 8, &[0x2_0303]);
            fake.put(keys + u64::from(layout.entries), &[2]);
            fake.put(keys + u64::from(layout.first), &[keys + 0x1000, 0, keys + 0x1080, 0]);
            fake.text(keys + 0x1000, layout, b"_session");
            fake.text(keys + 0x1080, layout, b"_timer");
            let expected = PythonSender { timer_at: u32::from(layout.first_attribute) + 8, ..expected };
            assert_eq!(sender(&mut fake.memory(), version, requests, helpers), Some(expected));
            // Another version has no such class.
            assert_eq!(sender(&mut fake.memory(), version, helpers, requests), None);
        }
    }

    #[test]
    fn no_more_memory_is_read_than_is_allowed() {
        let fake = Fake::new("bounded");
        let mut memory = fake.memory();
        let mut bytes = vec![0; 1 << 20];
        assert_eq!((0..100).take_while(|_| memory.read(0, &mut bytes).is_some()).count(), 4);
        let mut memory = fake.memory();
        memory.until = Instant::now();
        assert_eq!(memory.word(0), None);
        assert_eq!(fake.memory().word(u64::MAX - 3), None);
    }

    #[test]
    fn a_file_that_only_claims_to_be_python_is_none() {
        let fake = Fake::new("claims");
        let maps = "00400000-00500000 r-xp 00000000 08:01 7 /usr/bin/python3.11\n";
        let open = |_: &Mapping<'_>| fake.0.try_clone();
        let process =
            Process { maps, open: &open, memory: &fake.2, executable: "/usr/bin/python3.11", thread: 0 };
        assert!(may_run(process.executable, maps));
        assert_eq!(find(&process), None);
    }

    #[test]
    fn mappings_and_versions_are_told_by_names() {
        let maps = "7f0000-7f1000 r--p 00000000 08:01 7                 /a b/libpython3.12.so.1.0\n\
                    7f1000-7f2000 r-xp 00001000 08:01 7                 /a b/libpython3.12.so.1.0\n\
                    7f3000-7f4000 rw-p 00000000 00:00 0 \n";
        let found: Vec<_> = mappings(maps).collect();
        let expected =
            Mapping { begin: 0x7f_0000, range: "7f0000-7f1000", path: "/a b/libpython3.12.so.1.0" };
        assert_eq!(found, [expected]);
        assert_eq!(minor_in(expected.path), Some(12));
        assert_eq!(minor_in("/usr/bin/python3.8"), Some(8));
        assert_eq!(minor_in("/usr/bin/python2.7"), None);
        assert!(!may_run("/usr/bin/pypy3", "") && may_run("/usr/bin/uwsgi", maps));
    }
}
