//! Attaching kernel programs to their hooks.

#![forbid(unsafe_code)]

use aya::{
    Btf, Ebpf,
    maps::{MapData, ProgramArray},
    programs::{BtfTracePoint, Program},
};

use super::{
    error::{KernelError, load_error, refused},
    maps::map_mut,
};

/// Loads the program of this name and attaches it to the hook of the same name.
pub(super) fn attach(ebpf: &mut Ebpf, hook: &str, types: &Btf) -> Result<(), KernelError> {
    attach_to(ebpf, hook, hook, types)
}

/// Loads the program of this name and attaches it to this hook.
pub(super) fn attach_to(ebpf: &mut Ebpf, name: &str, hook: &str, types: &Btf) -> Result<(), KernelError> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| KernelError::Load(format!("the object has no program {name}")))?;
    let attached = match program {
        Program::FExit(program) => program.load(hook, types).and_then(|()| program.attach().map(drop)),
        Program::FEntry(program) => program.load(hook, types).and_then(|()| program.attach().map(drop)),
        program => {
            let tracepoint: &mut BtfTracePoint = program.try_into().map_err(load_error)?;
            tracepoint.load(hook, types).and_then(|()| tracepoint.attach().map(drop))
        }
    };
    attached.map_err(|error| refused(hook, error))
}

/// Lets other programs go on in the program of this name, which is loaded: it becomes the only one of an array. The array
/// must live as long as they do, because the kernel empties it when nobody has it open.
pub(super) fn share(ebpf: &mut Ebpf, name: &str, array: &str) -> Result<(), KernelError> {
    let program = ebpf.program(name).and_then(|program| program.fd().ok());
    let program = program.ok_or_else(|| KernelError::Load(format!("{name} is not loaded")))?;
    let program = program.try_clone().map_err(|error| KernelError::Load(error.to_string()))?;
    let mut programs: ProgramArray<&mut MapData> =
        map_mut(ebpf, array).and_then(|map| ProgramArray::try_from(map).map_err(load_error))?;
    programs.set(0, &program, 0).map_err(load_error)
}
