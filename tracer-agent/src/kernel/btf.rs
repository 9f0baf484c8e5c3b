//! Reads the running kernel's type information (BTF) for the offsets of structure fields.
//!
//! Format: `Documentation/bpf/btf.rst` in the kernel tree. Only what names and offsets need is read.

#![forbid(unsafe_code)]

use std::{collections::HashMap, fs, path::Path};

use tracer_common::{ABSENT, Offsets};

/// Where the kernel shows its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What can be wrong with type information.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not BTF, or cut.
    #[error("the kernel's BTF is damaged: {0}")]
    Damaged(&'static str),
    /// A field that the programs need does not exist.
    #[error("this kernel has no field {structure}.{field}: it is not one that tracer knows")]
    Missing {
        /// Name of the structure.
        structure: &'static str,
        /// Path of fields.
        field: &'static str,
    },
}

/// Kinds of types: `include/uapi/linux/btf.h`.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// A kernel's types.
pub struct Types {
    data: Vec<u8>,
    /// Offset in `data` of the string section.
    strings: usize,
    /// Offset in `data` of each type, by number; 0 is `void`.
    types: Vec<u32>,
    /// Structures and typedefs by name.
    names: HashMap<Vec<u8>, u32>,
}

/// A place in a structure, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BtfField {
    bit: u32,
    type_id: u32,
}

impl Types {
    /// Reads the running kernel's.
    pub fn from_kernel() -> Result<Self, BtfError> {
        Self::from_file(Path::new(VMLINUX))
    }

    /// Reads a file of raw BTF.
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        let data =
            fs::read(path).map_err(|source| BtfError::Read { path: path.display().to_string(), source })?;
        Self::parse(data)
    }

    fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        const MAGIC: u32 = 0xeb9f;
        let word = |at: usize| read_u32(&data, at).ok_or(BtfError::Damaged("the header is cut"));
        if word(0)? & 0xffff != MAGIC {
            return Err(BtfError::Damaged("it has no BTF header"));
        }
        let header = word(4)? as usize;
        let (types_at, types_length) = (header + word(8)? as usize, word(12)? as usize);
        let strings = header + word(16)? as usize;
        let end = types_at + types_length;
        let mut types = vec![0u32];
        let mut structures = Vec::new();
        let mut at = types_at;
        while at < end {
            let info = read_u32(&data, at + 4).ok_or(BtfError::Damaged("a type is cut"))?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            if matches!(kind, kind::STRUCT | kind::TYPEDEF) {
                structures.push((at, types.len() as u32));
            }
            types.push(at as u32);
            at += 12
                + match kind {
                    kind::INT | kind::VAR | kind::DECL_TAG => 4,
                    kind::ARRAY => 12,
                    kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
                    kind::ENUM | kind::FUNC_PROTO => count * 8,
                    _ => 0,
                };
        }
        let mut this = Self { data, strings, types, names: HashMap::new() };
        for (at, id) in structures {
            let name = this.string(read_u32(&this.data, at).unwrap_or(0)).to_vec();
            if !name.is_empty() {
                this.names.entry(name).or_insert(id);
            }
        }
        Ok(this)
    }

    /// Whether the kernel has the tracepoint `name`: BTF holds a typedef for each.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.names.contains_key(format!("btf_trace_{name}").as_bytes())
    }

    /// Whether the kernel has the function `name` with its type, so that programs can be attached to
    /// it; those in modules are not seen.
    pub fn has_function(&self, name: &str) -> bool {
        self.types.iter().skip(1).any(|at| {
            let at = *at as usize;
            read_u32(&self.data, at + 4).is_some_and(|info| info >> 24 & 0x1f == kind::FUNC)
                && read_u32(&self.data, at).is_some_and(|text| self.string(text) == name.as_bytes())
        })
    }

    /// Offset in bytes of `field` (a path with dots, through anonymous members) in `structure`.
    pub fn offset_of(&self, structure: &'static str, field: &'static str) -> Result<u32, BtfError> {
        self.find(structure, field).map(|found| found.bit / 8).ok_or(BtfError::Missing { structure, field })
    }

    /// Byte of a bit field, and the mask in that byte of its lowest bit.
    pub fn bit_of(&self, structure: &'static str, field: &'static str) -> Result<(u32, u32), BtfError> {
        self.find(structure, field)
            .map(|found| (found.bit / 8, 1 << (found.bit % 8)))
            .ok_or(BtfError::Missing { structure, field })
    }

    /// Value of `constant` in `enum name`; one without a name has the empty one.
    pub fn value_of(&self, name: &'static str, constant: &'static str) -> Result<u32, BtfError> {
        let is_it = |at: &u32| {
            let at = *at as usize;
            read_u32(&self.data, at + 4).is_some_and(|info| info >> 24 & 0x1f == kind::ENUM)
                && read_u32(&self.data, at).is_some_and(|text| self.string(text) == name.as_bytes())
        };
        // Many have no name.
        let found = self.types.iter().skip(1).filter(|at| is_it(at)).find_map(|at| {
            let at = *at as usize;
            let count = (read_u32(&self.data, at + 4)? & 0xffff) as usize;
            (0..count).map(|index| at + 12 + index * 8).find_map(|entry| {
                let text = read_u32(&self.data, entry)?;
                (self.string(text) == constant.as_bytes()).then(|| read_u32(&self.data, entry + 4))?
            })
        });
        found.ok_or(BtfError::Missing { structure: name, field: constant })
    }

    fn find(&self, structure: &str, path: &str) -> Option<BtfField> {
        let mut place = BtfField { bit: 0, type_id: *self.names.get(structure.as_bytes())? };
        for name in path.split('.') {
            let found = self.member(place.type_id, name.as_bytes(), 0)?;
            place = BtfField { bit: place.bit + found.bit, type_id: found.type_id };
        }
        Some(place)
    }

    fn member(&self, type_id: u32, name: &[u8], depth: u32) -> Option<BtfField> {
        // Anonymous members nest a few levels in a real kernel; damaged BTF may loop.
        if depth > 16 {
            return None;
        }
        let at = self.resolve(type_id)?;
        let info = read_u32(&self.data, at + 4)?;
        let bitfields = info >> 31 != 0;
        for index in 0..(info & 0xffff) as usize {
            let entry = at + 12 + index * 12;
            let offset = read_u32(&self.data, entry + 8)?;
            let bit = if bitfields { offset & 0x00ff_ffff } else { offset };
            let type_id = read_u32(&self.data, entry + 4)?;
            let member = self.string(read_u32(&self.data, entry)?);
            if member == name {
                return Some(BtfField { bit, type_id });
            }
            if member.is_empty()
                && let Some(inner) = self.member(type_id, name, depth + 1)
            {
                return Some(BtfField { bit: bit + inner.bit, type_id: inner.type_id });
            }
        }
        None
    }

    /// Place of the structure or union behind typedefs and qualifiers.
    fn resolve(&self, mut type_id: u32) -> Option<usize> {
        for _ in 0..32 {
            let at = *self.types.get(type_id as usize)? as usize;
            let info = read_u32(&self.data, at + 4)?;
            match info >> 24 & 0x1f {
                kind::STRUCT | kind::UNION => return Some(at),
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    type_id = read_u32(&self.data, at + 8)?;
                }
                _ => return None,
            }
        }
        None
    }

    fn string(&self, offset: u32) -> &[u8] {
        let rest = self.data.get(self.strings + offset as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

/// All offsets that the programs read, or the name of the field that this kernel lacks.
pub fn offsets(types: &Types) -> Result<Offsets, BtfError> {
    let (sock_kern_sock, sock_kern_sock_mask) = types.bit_of("sock", "sk_kern_sock")?;
    let (tcp_sock_nonagle, tcp_sock_nonagle_mask) = types.bit_of("tcp_sock", "nonagle")?;
    let (tcp_sock_recverr, tcp_sock_recverr_mask) = recverr(types)?;
    let (tcp_sock_pinet6, inet6_recverr, inet6_recverr_mask) = recverr_of_ipv6(types)?;
    let has_parent = matches!(types.offset_of("mem_cgroup", "css"), Ok(0))
        && types.offset_of("mem_cgroup", "css.parent").is_ok();
    Ok(Offsets {
        tcp_sock_write_seq: types.offset_of("tcp_sock", "write_seq")?,
        tcp_sock_copied_seq: types.offset_of("tcp_sock", "copied_seq")?,
        tcp_sock_rcv_nxt: types.offset_of("tcp_sock", "rcv_nxt")?,
        tcp_sock_snd_nxt: types.offset_of("tcp_sock", "snd_nxt")?,
        tcp_sock_bytes_sent: types.offset_of("tcp_sock", "bytes_sent")?,
        tcp_sock_bytes_retrans: types.offset_of("tcp_sock", "bytes_retrans")?,
        tcp_sock_bytes_received: types.offset_of("tcp_sock", "bytes_received")?,
        tcp_sock_icsk_ulp_ops: types.offset_of("tcp_sock", "inet_conn.icsk_ulp_ops")?,
        sock_family: types.offset_of("sock", "__sk_common.skc_family")?,
        sock_state: types.offset_of("sock", "__sk_common.skc_state")?,
        sock_num: types.offset_of("sock", "__sk_common.skc_num")?,
        sock_dport: types.offset_of("sock", "__sk_common.skc_dport")?,
        sock_daddr: types.offset_of("sock", "__sk_common.skc_daddr")?,
        sock_rcv_saddr: types.offset_of("sock", "__sk_common.skc_rcv_saddr")?,
        sock_v6_daddr: types.offset_of("sock", "__sk_common.skc_v6_daddr")?,
        sock_v6_rcv_saddr: types.offset_of("sock", "__sk_common.skc_v6_rcv_saddr")?,
        sock_net: types.offset_of("sock", "__sk_common.skc_net.net")?,
        sock_type: types.offset_of("sock", "sk_type")?,
        sock_protocol: types.offset_of("sock", "sk_protocol")?,
        sock_err: types.offset_of("sock", "sk_err")?,
        sock_flags: types.offset_of("sock", "__sk_common.skc_flags")?,
        sock_zerocopy: types.value_of("sock_flags", "SOCK_ZEROCOPY")?,
        sock_tsflags: types.offset_of("sock", "sk_tsflags")?,
        tcp_sock_recverr,
        tcp_sock_recverr_mask,
        inet6_recverr,
        inet6_recverr_mask,
        tcp_sock_pinet6,
        sock_socket: types.offset_of("sock", "sk_socket")?,
        sock_user_data: types.offset_of("sock", "sk_user_data")?,
        sock_wmem_queued: types.offset_of("sock", "sk_wmem_queued")?,
        sock_sndbuf: types.offset_of("sock", "sk_sndbuf")?,
        sock_lock_owned: types.offset_of("sock", "sk_lock.owned")?,
        sock_prot: types.offset_of("sock", "__sk_common.skc_prot")?,
        sock_memcg: types.offset_of("sock", "sk_memcg").unwrap_or(ABSENT),
        proto_memory_pressure: types.offset_of("proto", "memory_pressure")?,
        memcg_socket_pressure: if has_parent {
            types.offset_of("mem_cgroup", "socket_pressure").unwrap_or(ABSENT)
        } else {
            ABSENT
        },
        memcg_parent: types.offset_of("mem_cgroup", "css.parent").unwrap_or(ABSENT),
        memcg_tcpmem: types.offset_of("mem_cgroup", "tcpmem").unwrap_or(ABSENT),
        page_counter_usage: types.offset_of("page_counter", "usage").unwrap_or(ABSENT),
        page_counter_max: types.offset_of("page_counter", "max").unwrap_or(ABSENT),
        page_counter_parent: types.offset_of("page_counter", "parent").unwrap_or(ABSENT),
        tcp_sock_snd_una: types.offset_of("tcp_sock", "snd_una")?,
        tcp_sock_bytes_acked: types.offset_of("tcp_sock", "bytes_acked")?,
        tcp_sock_mss_cache: types.offset_of("tcp_sock", "mss_cache")?,
        tcp_sock_cb_flags: types.offset_of("tcp_sock", "bpf_sock_ops_cb_flags")?,
        tcp_sock_nonagle,
        tcp_sock_nonagle_mask,
        socket_file: types.offset_of("socket", "file")?,
        file_flags: types.offset_of("file", "f_flags")?,
        sock_kern_sock,
        sock_kern_sock_mask,
        net_inum: types.offset_of("net", "ns.inum")?,
        task_flags: types.offset_of("task_struct", "flags")?,
        task_pid: types.offset_of("task_struct", "pid")?,
        task_tgid: types.offset_of("task_struct", "tgid")?,
        task_fsbase: types.offset_of("task_struct", "thread.fsbase")?,
        task_signal: types.offset_of("task_struct", "signal")?,
        task_files: types.offset_of("task_struct", "files")?,
        task_io_uring: types.offset_of("task_struct", "io_uring").unwrap_or(ABSENT),
        task_reads: types.offset_of("task_struct", "ioac.syscr").unwrap_or(ABSENT),
        task_group_leader: types.offset_of("task_struct", "group_leader")?,
        signal_live: types.offset_of("signal_struct", "live")?,
        files_fdt: types.offset_of("files_struct", "fdt")?,
        fdtable_fd: types.offset_of("fdtable", "fd")?,
        fdtable_max_fds: types.offset_of("fdtable", "max_fds")?,
        file_private_data: types.offset_of("file", "private_data")?,
        file_inode: types.offset_of("file", "f_inode")?,
        file_dentry: types.offset_of("file", "f_path.dentry")?,
        socket_sk: types.offset_of("socket", "sk")?,
        inode_ino: types.offset_of("inode", "i_ino")?,
        inode_sb: types.offset_of("inode", "i_sb")?,
        super_block_dev: types.offset_of("super_block", "s_dev")?,
        dentry_name: types.offset_of("dentry", "d_name.name")?,
        binprm_file: types.offset_of("linux_binprm", "file")?,
    })
}

/// Byte of the socket that contains the bit of `IP_RECVERR`, and the mask in that byte.
fn recverr(types: &Types) -> Result<(u32, u32), BtfError> {
    // A bit field until 6.5.
    types
        .bit_of("tcp_sock", "inet_conn.icsk_inet.recverr")
        .or_else(|_| inet_flag(types, "INET_FLAGS_RECVERR"))
}

/// As [`recverr`], of `IPV6_RECVERR`; before them the pointer to the structure that contains the byte.
fn recverr_of_ipv6(types: &Types) -> Result<(u32, u32, u32), BtfError> {
    let Ok(pointer) = types.offset_of("tcp_sock", "inet_conn.icsk_inet.pinet6") else {
        return Ok((ABSENT, 0, 0));
    };
    // A bit field until 6.6.
    if let Ok((byte, mask)) = types.bit_of("ipv6_pinfo", "recverr") {
        return Ok((pointer, byte, mask));
    }
    let (byte, mask) = inet_flag(types, "INET_FLAGS_RECVERR6")?;
    Ok((ABSENT, byte, mask))
}

/// Byte of the socket that contains a bit of `inet_flags`, and the mask in that byte.
fn inet_flag(types: &Types, flag: &'static str) -> Result<(u32, u32), BtfError> {
    let flags = types.offset_of("tcp_sock", "inet_conn.icsk_inet.inet_flags")?;
    let bit = types.value_of("", flag)?;
    Ok((flags + bit / 8, 1 << (bit % 8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_an_error_and_not_a_panic() {
        assert!(Types::parse(Vec::new()).is_err());
        assert!(Types::parse(vec![0x9f, 0xeb, 1, 0, 24, 0, 0]).is_err());
        let mut cut = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 64, 0, 0, 0, 9, 0, 0, 0];
        cut.extend_from_slice(&[0xff; 20]);
        assert!(Types::parse(cut).is_err());
    }

    #[test]
    fn a_member_is_found_through_anonymous_structures_and_typedefs() {
        let strings = b"\0outer\0inner_t\0field\0flag\0";
        let name = |text: &str| {
            let at = strings
                .windows(text.len() + 2)
                .position(|w| w[0] == 0 && &w[1..=text.len()] == text.as_bytes());
            at.expect("a test string") as u32 + 1
        };
        let mut types: Vec<u32> = Vec::new();
        // 1: an anonymous structure with `field` at bit 64 and the bit field `flag` at 67.
        types.extend([0, kind::STRUCT << 24 | 2 | 1 << 31, 16]);
        types.extend([name("field"), 0, 64]);
        types.extend([name("flag"), 0, 1 << 24 | 67]);
        // 2: a typedef of it.
        types.extend([name("inner_t"), kind::TYPEDEF << 24, 1]);
        // 3: struct outer holds one without a name at bit 32.
        types.extend([name("outer"), kind::STRUCT << 24 | 1, 20]);
        types.extend([0, 2, 32]);
        let types = parsed(&types, strings);
        assert_eq!(types.offset_of("outer", "field").expect("there"), 12);
        assert_eq!(types.bit_of("outer", "flag").expect("there"), (12, 8));
        assert!(types.offset_of("outer", "absent").is_err());
    }

    #[test]
    fn a_constant_is_found_in_each_enumeration_without_a_name() {
        let strings = b"\0FIRST\0SECOND\0";
        let mut types: Vec<u32> = Vec::new();
        for (constant, value) in [(1, 9), (7, 26)] {
            types.extend([0, kind::ENUM << 24 | 1, 4, constant, value]);
        }
        let types = parsed(&types, strings);
        assert_eq!(types.value_of("", "FIRST").expect("there"), 9);
        assert_eq!(types.value_of("", "SECOND").expect("there"), 26);
        assert!(types.value_of("", "THIRD").is_err());
    }

    /// The types and the strings behind a header.
    fn parsed(types: &[u32], strings: &[u8]) -> Types {
        let length = types.len() as u32 * 4;
        let mut data: Vec<u8> = Vec::new();
        for word in [0x1_eb9f, 24, 0, length, length, strings.len() as u32].iter().chain(types) {
            data.extend(word.to_le_bytes());
        }
        data.extend(strings);
        Types::parse(data).expect("well-formed")
    }
}
