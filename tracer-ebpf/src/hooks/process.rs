//! Programs that run when a process forks, executes and ends: selection follows at once.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_kernel_str},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    ExecRecord, FileKey, KernelCounter, Kind, NAME_BYTES, ProcessRecord, RULE_EXCLUDE, RULE_LOOK, RULE_SELECT,
};

use crate::{
    context::process::thread_gone,
    memory::{
        layout::{load, offset, propagates, report_every_exec},
        words::{clear, copy},
    },
    ring::{FORCE_WAKEUP, count, report, reserve},
    select::{Current, is_selected, rule_for, set_selected},
};

/// `sched_process_fork(parent, child)`: runs in the parent, before the child does.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let child: *const c_void = ctx.arg(1);
    // SAFETY: the tracepoint's argument.
    let (pid, tgid): (u32, u32) =
        unsafe { (load(child, offset!(task_pid)), load(child, offset!(task_tgid))) };
    if pid != tgid {
        return 0;
    }
    let Some(parent) = Current::selected() else {
        // The bit of a process that had ended when the agent selected it is not its successor's.
        if is_selected(pid) {
            set_selected(pid, false);
        }
        return 0;
    };
    set_selected(pid, true);
    report(ProcessRecord {
        kind: Kind::Fork as u8,
        selected: 1,
        pid,
        parent: parent.pid(),
        ..ProcessRecord::default()
    });
    0
}

/// `sched_process_exec(task, old_pid, bprm)`: the new program has not run yet.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let bprm: *const c_void = ctx.arg(2);
    let pid = Current::any().pid();
    // By words: the compiler would clear and copy single bytes.
    let mut words = MaybeUninit::<[u64; NAME_BYTES / 8]>::uninit();
    // SAFETY: any bytes are a name; nothing reads it before it is cleared.
    let name: &mut [u8; NAME_BYTES] = unsafe {
        clear(words.as_mut_ptr());
        &mut *words.as_mut_ptr().cast()
    };
    let mut file_key = FileKey::default();
    // SAFETY: a chain of typed pointers from the tracepoint's argument; the name is copied bounded.
    unsafe {
        let file: *const c_void = load(bprm, offset!(binprm_file));
        let inode: *const c_void = load(file, offset!(file_inode));
        file_key.inode = load(inode, offset!(inode_ino));
        let super_block: *const c_void = load(inode, offset!(inode_sb));
        file_key.device = u64::from(load::<u32>(super_block, offset!(super_block_dev)));
        let dentry: *const c_void = load(file, offset!(file_dentry));
        let text: *const c_void = load(dentry, offset!(dentry_name));
        bpf_probe_read_kernel_str(name.as_mut_ptr().cast(), NAME_BYTES as u32, text);
    }
    let was_selected = is_selected(pid);
    let rule = rule_for(&file_key, name);
    let selected = match rule {
        RULE_EXCLUDE => {
            set_selected(pid, false);
            0
        }
        RULE_SELECT if !was_selected => {
            set_selected(pid, true);
            2
        }
        _ => u8::from(was_selected),
    };
    if was_selected || selected != 0 || rule == RULE_LOOK || report_every_exec() {
        let Some(mut entry) = reserve::<ExecRecord>() else {
            count(KernelCounter::LostProcess, 1);
            return 0;
        };
        let process = ProcessRecord {
            kind: Kind::Exec as u8,
            selected,
            pid,
            // SAFETY: a helper without arguments.
            time_ns: unsafe { bpf_ktime_get_ns() },
            ..ProcessRecord::default()
        };
        // SAFETY: both fields of the record; the name stands at a multiple of eight.
        unsafe {
            let record = entry.as_mut_ptr();
            (&raw mut (*record).process).write(process);
            copy(words.assume_init_ref(), &mut *(&raw mut (*record).name).cast());
        }
        entry.submit(FORCE_WAKEUP);
    }
    0
}

/// `sched_process_exit(task)`: clears the bit with the last thread. The process's sockets close
/// after this.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let Some(current) = Current::selected() else { return 0 };
    let task: *const c_void = ctx.arg(0);
    // SAFETY: typed pointers from the tracepoint's argument; `signal->live` was decremented before.
    let live: i32 = unsafe {
        let signal: *const c_void = load(task, offset!(task_signal));
        load(signal, offset!(signal_live))
    };
    if propagates() {
        thread_gone(current, live == 0);
    }
    if live != 0 {
        return 0;
    }
    set_selected(current.pid(), false);
    report(ProcessRecord {
        kind: Kind::Exit as u8,
        selected: 1,
        pid: current.pid(),
        ..ProcessRecord::default()
    });
    0
}
