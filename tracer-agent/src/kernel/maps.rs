//! Maps of the loaded object, by name.

#![forbid(unsafe_code)]

use aya::{Ebpf, maps::Map};

use super::error::KernelError;

/// A map that the agent reads.
pub(super) fn map<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Map, KernelError> {
    ebpf.map(name).ok_or_else(|| KernelError::Load(format!("the object has no map {name}")))
}

/// A map that the agent writes.
pub(super) fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map, KernelError> {
    ebpf.map_mut(name).ok_or_else(|| KernelError::Load(format!("the object has no map {name}")))
}

/// A map of our own; it must outlive the loading of the programs, which know it by its descriptor.
pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, KernelError> {
    ebpf.take_map(name).ok_or_else(|| KernelError::Load(format!("the object has no map {name}")))
}
