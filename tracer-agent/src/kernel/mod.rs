//! The kernel side as the agent sees it: loading, selecting, policies, the ring. The only module
//! that names aya.

mod attach;
pub mod btf;
mod error;
mod maps;
mod mmap;
mod preexisting;
mod programs;
pub mod propagation;
pub mod ring;
pub(crate) mod socket_table;
mod switches;
mod tasks;
mod version;

use std::{
    os::fd::{AsFd, AsRawFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{HashMap, MapData, PerCpuArray, RingBuf},
    programs::Program,
};
use tracer_common::{
    CapturePolicy, FileKey, KERNEL_COUNTERS, KernelCounter, NAME_BYTES, Offsets, POLICY_WORDS, PORT_WORDS,
    RULE_EXCLUDE, RULE_LOOK, RULE_SELECT, SELECTION_WORDS, Seeds, Settings, policy_index,
};

use self::{
    attach::{attach, attach_to, share},
    btf::Types,
    error::{classify, load_error},
    maps::{map, map_mut, take},
    mmap::Words,
    programs::{NESTED_STATES, OPTIONS_HOOK, PROPAGATION_MAPS, RINGS_HOOK, SCRATCH, STATES},
    propagation::{Propagation, PropagationPlan},
    ring::Ring,
};
pub use self::{switches::Switches, tasks::TaskPlans};
use crate::{exchange::Direction, trace_context::sample::Sampler};

pub use self::{
    error::KernelError,
    programs::{DataHooks, PRE_SEND, TRACEPOINTS},
    version::{FLOOR, parse_version, version},
};

/// The kernel programs; empty in a build without them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("TRACER_EBPF_OBJECT"));

/// Whether this binary holds the kernel programs.
pub fn has_object() -> bool {
    !OBJECT.is_empty()
}

/// What the agent asks of the kernel programs when they load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Size of the ring, bytes: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Report every exec of the machine, because a selector needs userspace to judge.
    pub report_every_exec: bool,
    /// Ports whose listeners are selected at once.
    pub ports: Vec<u16>,
    /// Files whose execution selects (true) or excludes (false).
    pub files: Vec<(FileKey, bool)>,
    /// File names whose execution selects (true) or excludes (false).
    pub names: Vec<(Vec<u8>, bool)>,
    /// File names whose execution is reported, for userspace to judge.
    pub watched: Vec<Vec<u8>>,
    /// Which requests get trace headers; none if they get none.
    pub propagation: Option<PropagationPlan>,
    /// Seeds of the ids that requests get.
    pub seeds: Seeds,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// Other headers than `traceparent` tell of traces too.
    pub other_contexts: bool,
    /// What a test changes.
    pub switches: Switches,
}

/// The running kernel programs. Dropping it detaches them all.
pub struct Kernel {
    ebpf: Ebpf,
    ring: Option<Ring>,
    selected: SelectionSwitch,
    policies: Arc<Words>,
    counters: PerCpuArray<MapData, u64>,
    has_pre_send: bool,
    tasks: Option<TaskPlans>,
    sees_options: bool,
    propagation: Option<Propagation>,
}

/// The switch that selects processes, for any thread.
#[derive(Clone)]
pub struct SelectionSwitch {
    selected: Arc<Words>,
    /// Processes that use io_uring; none if no request gets a trace header.
    rings: Option<Rings>,
}

/// The map of processes that use io_uring.
type Rings = Arc<Mutex<HashMap<MapData, u32, u8>>>;

impl SelectionSwitch {
    /// A switch that no kernel program sees.
    #[cfg(test)]
    pub fn detached() -> Self {
        let selected = Arc::new(Words::detached(tracer_common::SELECTION_WORDS));
        Self { selected, rings: None }
    }

    /// Selects a process or lets it go.
    pub fn set(&self, pid: u32, selected: bool) {
        let (word, bit) = (pid / 64, 1u64 << (pid % 64));
        if selected {
            self.selected.set_bits(word, bit);
        } else {
            self.selected.clear_bits(word, bit);
        }
    }

    /// A process is selected that may have made rings of io_uring before. The kernel programs see later ones.
    pub fn look_for_rings(&self, pid: u32) {
        let Some(rings) = &self.rings else { return };
        if preexisting::has_a_ring(pid) {
            // In a full map the process is not remembered.
            let _ = rings.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, 1, 0);
        }
    }

    /// Whether a process is selected.
    pub fn contains(&self, pid: u32) -> bool {
        self.selected.load(pid / 64) >> (pid % 64) & 1 != 0
    }
}

/// Tells the programs what is wanted of connections.
pub struct CapturePolicies(Arc<Words>);

impl CapturePolicies {
    /// From now on this is wanted of a direction of a connection.
    pub fn set(&self, connection: u64, direction: Direction, policy: CapturePolicy) {
        self.0.store(policy_index(connection, direction.code()), policy.word(connection));
    }
}

impl DataHooks {
    /// Those of this kernel; none if it has neither.
    pub fn of(types: &Types, switches: &Switches) -> Option<Self> {
        if !switches.function_hooks && Self::TRACEPOINTS.iter().all(|name| types.has_tracepoint(name)) {
            return Some(Self::Tracepoints);
        }
        Self::FUNCTIONS.iter().all(|name| types.has_function(name)).then_some(Self::Functions)
    }
}

impl Kernel {
    /// Loads and attaches the programs. Nothing is selected yet, but for what `plan` names.
    pub fn load(plan: &Plan) -> Result<Self, KernelError> {
        if OBJECT.is_empty() {
            return Err(KernelError::NoObject);
        }
        check_pid_namespace()?;
        if let Some(version) = version()
            && version < FLOOR
        {
            return Err(KernelError::TooOld(version.0, version.1));
        }
        let types = Types::from_kernel()?;
        for (hook, since) in TRACEPOINTS {
            if !types.has_tracepoint(hook) {
                return Err(KernelError::Tracepoint(hook, since));
            }
        }
        let data_hooks = DataHooks::of(&types, &plan.switches).ok_or(KernelError::NoDataHooks)?;
        let data_programs = data_hooks.programs(&types);
        let offsets = btf::offsets(&types)?;
        let has_pre_send = types.has_tracepoint(PRE_SEND) && !plan.switches.without_pre_send;
        let sees_rings = plan.propagation.is_some() && types.has_tracepoint(RINGS_HOOK);
        let has_options = plan.propagation.is_some() && types.has_function(OPTIONS_HOOK);
        drop(types);

        let settings = Settings {
            wake_bytes: plan.ring_bytes / 4,
            report_every_exec: u32::from(plan.report_every_exec),
            propagate: u32::from(plan.propagation.is_some()),
            sample_above_high: (plan.sampler.threshold() >> 32) as u32,
            sample_above_low: plan.sampler.threshold() as u32,
            sample_by_parent: u32::from(plan.sampler.follows_parent()),
            other_contexts: u32::from(plan.other_contexts),
            seeds: plan.seeds,
        };
        let kernel_types = Btf::from_sys_fs().map_err(|error| KernelError::Load(error.to_string()))?;
        let mut loader = EbpfLoader::new();
        if plan.propagation.is_none() {
            for map in PROPAGATION_MAPS {
                loader.map_max_entries(map, 1);
            }
        } else {
            let processors =
                aya::util::nr_cpus().map_err(|(_, error)| KernelError::Load(error.to_string()))?;
            loader.map_max_entries(SCRATCH, 2 * processors as u32);
            if let Some(sockets) = plan.switches.sockets {
                loader.map_max_entries("SOCKETS", sockets);
            }
        }
        let mut ebpf = loader
            .btf(Some(&kernel_types))
            .override_global("OFFSETS", words_of(&offsets), true)
            .override_global("SETTINGS", words_of(&settings), true)
            .map_max_entries("EVENTS", plan.ring_bytes)
            .map_max_entries("WORK", data_hooks.work_slots())
            .load(OBJECT)
            .map_err(|error| classify(&error))?;

        let selected = Words::map(map(&ebpf, "SELECTED")?, SELECTION_WORDS)?;
        let policies = Words::map(map(&ebpf, "POLICIES")?, POLICY_WORDS)?;
        let ports = Words::map(map(&ebpf, "PORTS")?, PORT_WORDS)?;
        for port in &plan.ports {
            ports.set_bits(u32::from(*port) / 64, 1 << (port % 64));
        }
        fill_rules(&mut ebpf, plan)?;
        let ring = take(&mut ebpf, "EVENTS").and_then(|map| RingBuf::try_from(map).map_err(load_error))?;
        let counters =
            take(&mut ebpf, "COUNTERS").and_then(|map| PerCpuArray::try_from(map).map_err(load_error))?;

        let tasks = (!plan.switches.without_tasks).then(|| TaskPlans::new(&mut ebpf)).transpose()?;
        let mut propagation =
            plan.propagation.as_ref().map(|plan| Propagation::start(&mut ebpf, plan)).transpose()?;
        // The data hooks come last: nothing is missed between them and the rest.
        let hooks = TRACEPOINTS.iter().rev().map(|(hook, _)| *hook);
        for hook in hooks.chain(has_pre_send.then_some(PRE_SEND)).chain(sees_rings.then_some(RINGS_HOOK)) {
            attach(&mut ebpf, hook, &kernel_types)?;
        }
        attach_to(&mut ebpf, NESTED_STATES, STATES, &kernel_types)?;
        // Some kernels let no program be attached to a function.
        let sees_options = has_options
            && attach(&mut ebpf, OPTIONS_HOOK, &kernel_types)
                .inspect_err(|error| tracing::debug!(%error, "options of sockets are not seen"))
                .is_ok();
        let rings = propagation.as_ref().map(|_| rings(&mut ebpf)).transpose()?;
        let selected = SelectionSwitch { selected: Arc::new(selected), rings };
        if let Some(propagation) = &mut propagation {
            let own = std::process::id();
            propagation.verify(|on| selected.set(own, on), plan.switches.trust_fionread)?;
        }
        for hook in data_programs {
            attach(&mut ebpf, hook, &kernel_types)?;
            if let Some(array) = DataHooks::array_of(hook) {
                share(&mut ebpf, hook, array)?;
            }
        }
        log_sizes(&ebpf);
        // Loading has read the kernel's types twice: tens of megabytes that nobody needs again.
        drop(kernel_types);
        // SAFETY: no arguments that could be wrong; it gives free memory back to the kernel.
        unsafe { libc::malloc_trim(0) };
        Ok(Self {
            ebpf,
            ring: Some(Ring::new(ring)),
            selected,
            policies: Arc::new(policies),
            counters,
            has_pre_send,
            tasks,
            sees_options,
            propagation,
        })
    }

    /// The ring; there is one reader.
    pub fn take_ring(&mut self) -> Option<Ring> {
        self.ring.take()
    }

    /// The switch that selects processes.
    pub fn selection(&self) -> SelectionSwitch {
        self.selected.clone()
    }

    /// What tells the programs how tasks are read; there is one teller.
    pub fn take_tasks(&mut self) -> Option<TaskPlans> {
        self.tasks.take()
    }

    /// What tells the programs of requests that get trace headers; there is one teller, and none if no
    /// request gets one.
    pub fn take_propagation(&mut self) -> Option<Propagation> {
        self.propagation.take()
    }

    /// Whether sends are seen before their bytes leave (6.16 and later).
    pub fn has_pre_send(&self) -> bool {
        self.has_pre_send
    }

    /// What tells the programs what is wanted of connections.
    pub fn policies(&self) -> CapturePolicies {
        CapturePolicies(Arc::clone(&self.policies))
    }

    /// The programs' counters, summed over the CPUs, by [`KernelCounter`].
    pub fn counters(&self) -> [u64; KERNEL_COUNTERS as usize] {
        // Before the counters, so that no run of the second program is taken for one that nobody made up for.
        let missed = self.recursion_misses();
        let mut counters: [u64; KERNEL_COUNTERS as usize] = std::array::from_fn(|index| {
            self.counters.get(&(index as u32), 0).map(|values| values.iter().sum()).unwrap_or(0)
        });
        let not_made_up = missed.saturating_sub(counters[KernelCounter::Nested as usize]);
        counters[KernelCounter::Skipped as usize] += not_made_up;
        counters
    }

    /// How often the kernel skipped each program because it was running already
    /// (`bpf_prog_info.recursion_misses`).
    fn recursion_misses(&self) -> u64 {
        self.ebpf
            .programs()
            // It has nothing to do while the first one can run.
            .filter(|(name, _)| *name != NESTED_STATES)
            .filter_map(|(_, program)| program.fd().ok().map(|fd| fd.as_fd().as_raw_fd()))
            .filter_map(mmap::recursion_misses)
            .sum()
    }
}

fn rings(ebpf: &mut Ebpf) -> Result<Rings, KernelError> {
    let map = take(ebpf, "RINGS").and_then(|map| HashMap::try_from(map).map_err(load_error))?;
    Ok(Arc::new(Mutex::new(map)))
}

fn check_pid_namespace() -> Result<(), KernelError> {
    /// Inode of the initial pid namespace: `PROC_PID_INIT_INO`, `include/linux/proc_ns.h`.
    const INITIAL: &str = "pid:[4026531836]";
    match std::fs::read_link("/proc/self/ns/pid") {
        Ok(link) if link != Path::new(INITIAL) => Err(KernelError::PidNamespace),
        _ => Ok(()),
    }
}

fn fill_rules(ebpf: &mut Ebpf, plan: &Plan) -> Result<(), KernelError> {
    let action = |select: bool| if select { RULE_SELECT } else { RULE_EXCLUDE };
    let mut files: HashMap<&mut MapData, [u64; 2], u8> =
        map_mut(ebpf, "FILES").and_then(|map| HashMap::try_from(map).map_err(load_error))?;
    for (file, select) in &plan.files {
        files.insert([file.inode, file.device], action(*select), 0).map_err(load_error)?;
    }
    let mut names: HashMap<&mut MapData, [u8; NAME_BYTES], u8> =
        map_mut(ebpf, "NAMES").and_then(|map| HashMap::try_from(map).map_err(load_error))?;
    let watched = plan.watched.iter().map(|name| (name, RULE_LOOK));
    // A watched name that another rule decides is decided: the later one stays.
    for (name, rule) in watched.chain(plan.names.iter().map(|(name, select)| (name, action(*select)))) {
        let mut key = [0; NAME_BYTES];
        // The last byte stays zero, as in the copy that the kernel makes.
        for (to, from) in key.iter_mut().take(NAME_BYTES - 1).zip(name) {
            *to = *from;
        }
        names.insert(key, rule, 0).map_err(load_error)?;
    }
    Ok(())
}

/// The programs as the kernel took them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadedPrograms {
    /// How many.
    pub programs: u64,
    /// Their instructions after verification.
    pub instructions: u64,
    /// Instructions that the verifier went through on all paths.
    pub verified: u64,
    /// Only the first request on a connection can get a trace header: the kernel misleads who reads later.
    pub first_only: bool,
    /// A socket leaves the sockmap before its process sets an option that does not work there.
    pub sees_options: bool,
}

/// Bytes of an instruction.
const INSTRUCTION: u64 = 8;

/// Tells the log how large each program is after verification.
fn log_sizes(ebpf: &Ebpf) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for (name, program) in ebpf.programs() {
        if let Ok(info) = program.info() {
            let instructions = u64::from(info.size_translated().unwrap_or(0)) / INSTRUCTION;
            let verified = info.verified_instruction_count();
            tracing::debug!(name, instructions, verified, "kernel program");
        }
    }
}

/// What the kernel tells of the programs that are loaded.
pub fn loaded_programs(kernel: &Kernel) -> LoadedPrograms {
    let infos = kernel.ebpf.programs().filter_map(|(_, program): (&str, &Program)| program.info().ok());
    let first_only = kernel.propagation.as_ref().is_some_and(Propagation::first_only);
    let none = LoadedPrograms { first_only, sees_options: kernel.sees_options, ..LoadedPrograms::default() };
    infos.fold(none, |sum, info| LoadedPrograms {
        programs: sum.programs + 1,
        instructions: sum.instructions + u64::from(info.size_translated().unwrap_or(0)) / INSTRUCTION,
        verified: sum.verified + u64::from(info.verified_instruction_count().unwrap_or(0)),
        ..sum
    })
}

/// A structure of `u32` fields, as the loader takes it.
trait OfWords: Copy {}
impl OfWords for Offsets {}
impl OfWords for Settings {}

fn words_of<T: OfWords>(value: &T) -> &[u32] {
    // SAFETY: `OfWords` are repr(C) structures of nothing but u32 fields.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>() / size_of::<u32>()) }
}
