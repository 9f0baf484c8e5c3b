//! Versions of the kernel.

#![forbid(unsafe_code)]

/// The oldest kernel on which the programs are tested, and for which they are written.
pub const FLOOR: (u32, u32) = (6, 1);

/// The running kernel's version, if it tells one.
pub fn version() -> Option<(u32, u32)> {
    parse_version(&std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
}

/// The first two numbers of a release: `6.1.0-13-amd64`.
pub fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    Some((numbers.next()?, numbers.next()?))
}
