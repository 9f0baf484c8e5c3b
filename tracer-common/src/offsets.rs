//! Where the fields of the kernel's structures are.

use core::mem::size_of;

/// Value in [`Offsets`] for a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of the kernel structures' fields that the programs read. The agent finds them in the kernel's BTF and
/// sets them before it loads the programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "each name is structure and field")]
pub struct Offsets {
    pub tcp_sock_write_seq: u32,
    pub tcp_sock_copied_seq: u32,
    pub tcp_sock_rcv_nxt: u32,
    pub tcp_sock_snd_nxt: u32,
    pub tcp_sock_bytes_sent: u32,
    pub tcp_sock_bytes_retrans: u32,
    pub tcp_sock_bytes_received: u32,
    pub tcp_sock_icsk_ulp_ops: u32,
    pub sock_family: u32,
    pub sock_state: u32,
    pub sock_num: u32,
    pub sock_dport: u32,
    pub sock_daddr: u32,
    pub sock_rcv_saddr: u32,
    pub sock_v6_daddr: u32,
    pub sock_v6_rcv_saddr: u32,
    pub sock_net: u32,
    pub sock_type: u32,
    pub sock_protocol: u32,
    pub sock_err: u32,
    pub sock_flags: u32,
    /// Number of the bit in `sk_flags` (`enum sock_flags`): the socket sends without copying.
    pub sock_zerocopy: u32,
    /// Flags of `SO_TIMESTAMPING`; the lowest 16 bits are read.
    pub sock_tsflags: u32,
    /// Byte of the socket that contains the bit of `IP_RECVERR`.
    pub tcp_sock_recverr: u32,
    /// Mask of the bit in that byte.
    pub tcp_sock_recverr_mask: u32,
    /// Byte that contains the bit of `IPV6_RECVERR`.
    pub inet6_recverr: u32,
    /// Mask of the bit in that byte; 0 in a kernel without IPv6.
    pub inet6_recverr_mask: u32,
    /// Pointer to the structure that contains that byte; [`ABSENT`] if the socket itself does.
    pub tcp_sock_pinet6: u32,
    pub sock_socket: u32,
    pub sock_user_data: u32,
    pub sock_wmem_queued: u32,
    pub sock_sndbuf: u32,
    /// Not 0 while a task holds the socket; interrupts then defer their work.
    pub sock_lock_owned: u32,
    pub sock_prot: u32,
    /// [`ABSENT`] in a kernel without memory groups.
    pub sock_memcg: u32,
    pub proto_memory_pressure: u32,
    /// [`ABSENT`] in a kernel without memory groups.
    pub memcg_socket_pressure: u32,
    /// Where the address of the parent is: `css.parent`, since `css` is the first member of both.
    pub memcg_parent: u32,
    /// [`ABSENT`] in a kernel without limits of TCP's memory (cgroup v1).
    pub memcg_tcpmem: u32,
    pub page_counter_usage: u32,
    pub page_counter_max: u32,
    pub page_counter_parent: u32,
    pub tcp_sock_snd_una: u32,
    pub tcp_sock_bytes_acked: u32,
    pub tcp_sock_mss_cache: u32,
    pub tcp_sock_cb_flags: u32,
    /// Byte that contains the bits `nonagle`.
    pub tcp_sock_nonagle: u32,
    /// Mask of the lowest of them in that byte.
    pub tcp_sock_nonagle_mask: u32,
    pub socket_file: u32,
    pub file_flags: u32,
    /// Byte that contains the bit `sk_kern_sock`.
    pub sock_kern_sock: u32,
    /// Mask of the bit in that byte.
    pub sock_kern_sock_mask: u32,
    pub net_inum: u32,
    pub task_flags: u32,
    pub task_pid: u32,
    pub task_tgid: u32,
    pub task_fsbase: u32,
    pub task_signal: u32,
    pub task_files: u32,
    /// [`ABSENT`] in a kernel without io_uring.
    pub task_io_uring: u32,
    /// `task_struct.ioac.syscr`: system calls of the thread that have read. [`ABSENT`] in a kernel that does not count them.
    pub task_reads: u32,
    pub task_group_leader: u32,
    pub signal_live: u32,
    pub files_fdt: u32,
    pub fdtable_fd: u32,
    pub fdtable_max_fds: u32,
    pub file_private_data: u32,
    pub file_inode: u32,
    pub file_dentry: u32,
    pub socket_sk: u32,
    pub inode_ino: u32,
    pub inode_sb: u32,
    pub super_block_dev: u32,
    pub dentry_name: u32,
    pub binprm_file: u32,
}

const _: () = {
    assert!(size_of::<Offsets>() == 75 * 4);
};
