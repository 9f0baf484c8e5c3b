//! Trace headers as the agent sees them: who may get one, and what it tells the kernel programs.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, SockHash, lpm_trie},
    programs::{CgroupAttachMode, SkMsg, SockOps},
};
use tracer_common::{PORT_WORDS, VERDICT_SLOTS, verdict_slot, verdict_tag};

use super::{KernelError, load_error, map, map_mut, mapped::Words, refused, take};

/// What requests get headers, as the kernel programs need to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropagationPlan {
    /// Address ranges with the length of their prefix, and whether headers may go there. The longest
    /// prefix that fits an address decides.
    pub destinations: Vec<(IpAddr, u8, bool)>,
    /// Ports that are known to speak HTTP/1.
    pub http_ports: Vec<u16>,
}

/// How long the kernel programs go on when the agent says nothing.
const LEASE_NS: u64 = 2_000_000_000;

/// Tells the kernel programs of requests and processes.
pub struct Propagation {
    boundaries: Words,
    http_ports: Words,
    lease: Words,
    profiles: HashMap<MapData, u32, u8>,
}

impl Propagation {
    /// Attaches the programs.
    pub(super) fn start(ebpf: &mut Ebpf, plan: &PropagationPlan) -> Result<Self, KernelError> {
        let boundaries = Words::map(map(ebpf, "BOUNDARIES")?, VERDICT_SLOTS)?;
        let http_ports = Words::map(map(ebpf, "HTTP_PORTS")?, PORT_WORDS)?;
        let lease = Words::map(map(ebpf, "LEASE")?, 1)?;
        let mut destinations: lpm_trie::LpmTrie<&mut MapData, [u8; 16], u8> =
            map_mut(ebpf, "DESTINATIONS").and_then(|map| map.try_into().map_err(load_error))?;
        for (address, length, allowed) in &plan.destinations {
            let (bytes, length) = match address {
                IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), length + 96),
                IpAddr::V6(address) => (address.octets(), *length),
            };
            let key = lpm_trie::Key::new(u32::from(length), bytes);
            destinations.insert(&key, u8::from(*allowed), 0).map_err(load_error)?;
        }
        let profiles = take(ebpf, "PROFILES").and_then(|map| HashMap::try_from(map).map_err(load_error))?;
        let this = Self { boundaries, http_ports, lease, profiles };
        for port in &plan.http_ports {
            this.http_port(*port);
        }

        let sockets: SockHash<&mut MapData, u64> =
            map_mut(ebpf, "SOCKETS").and_then(|map| SockHash::try_from(map).map_err(load_error))?;
        let sockets = sockets.fd().try_clone().map_err(load_error)?;
        let messages: &mut SkMsg = program(ebpf, "tracer_sk_msg")?;
        messages
            .load()
            .and_then(|()| messages.attach(&sockets).map(drop))
            .map_err(|error| refused("sk_msg", error))?;
        let root = root_cgroup().map_err(|error| {
            KernelError::Load(format!(
                "trace headers need the cgroup2 hierarchy, which cannot be opened: {error}"
            ))
        })?;
        // A link stands beside the programs of others whatever the mode, and the kernel takes no other.
        let connections: &mut SockOps = program(ebpf, "tracer_sock_ops")?;
        connections
            .load()
            .and_then(|()| connections.attach(root, CgroupAttachMode::Single).map(drop))
            .map_err(|error| refused("sock_ops", error))?;
        Ok(this)
    }

    /// The agent lives: headers may be pushed for a while.
    pub fn renew(&self, now_ns: u64) {
        self.lease.store(0, now_ns + LEASE_NS);
    }

    /// A request begins on a connection at this place of what its process sends, if one follows.
    pub fn boundary(&self, connection: u64, position: u32) {
        let word = verdict_tag(connection) | 1 << 32 | u64::from(position);
        self.boundaries.store(verdict_slot(connection), word);
    }

    /// This port speaks HTTP/1.
    pub fn http_port(&self, port: u16) {
        let (word, bit) = (u32::from(port) / 64, 1u64 << (port % 64));
        if self.http_ports.load(word) & bit == 0 {
            self.http_ports.set_bits(word, bit);
        }
    }

    /// How a process works: `PROFILE_*`; none if it is gone.
    pub fn profile(&mut self, pid: u32, profile: Option<u8>) {
        // A full map, or a process that was not in it: its calls begin traces of their own.
        let _ = match profile {
            Some(profile) => self.profiles.insert(pid, profile, 0),
            None => self.profiles.remove(&pid),
        };
    }
}

fn program<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut T, KernelError>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| KernelError::Load(format!("the object has no program {name}")))?;
    program.try_into().map_err(load_error)
}

/// The root of the cgroup2 hierarchy that this cgroup namespace shows, wherever and whether it is mounted:
/// a mount of our own that no path leads to.
fn root_cgroup() -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    let checked = |result: libc::c_long| -> io::Result<libc::c_int> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
    };
    // SAFETY: the strings end with zero; each descriptor that is returned is new and ours.
    unsafe {
        let context = OwnedFd::from_raw_fd(checked(libc::syscall(
            libc::SYS_fsopen,
            c"cgroup2".as_ptr(),
            FSOPEN_CLOEXEC,
        ))?);
        let none = std::ptr::null::<libc::c_char>();
        checked(libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0))?;
        let mount = libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0);
        Ok(OwnedFd::from_raw_fd(checked(mount)?))
    }
}
