//! Attaching kernel programs to their hooks.

#![forbid(unsafe_code)]

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, Program},
};

use super::error::{KernelError, load_error, refused};

/// Loads the program of this name and attaches it to the hook of the same name.
pub(super) fn attach(ebpf: &mut Ebpf, hook: &str, types: &Btf) -> Result<(), KernelError> {
    let program = ebpf
        .program_mut(hook)
        .ok_or_else(|| KernelError::Load(format!("the object has no program {hook}")))?;
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
