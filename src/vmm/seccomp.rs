//! System calls the threads of a VMM may make: everything else ends the process.
//!
//! Each kind of thread has a list of its own, installed when it has everything it needs and before it handles
//! anything the guest made. No list has a call that makes a process or changes an identity; one that opens a path only the
//! share's workers have.

use std::collections::BTreeMap;

use kvm_bindings::{
    kvm_clock_data, kvm_cpuid2, kvm_debugregs, kvm_irqchip, kvm_lapic_state, kvm_mp_state, kvm_msrs,
    kvm_pit_state2, kvm_regs, kvm_sregs, kvm_userspace_memory_region, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// A kind of thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// The event loop: console, vsock, entropy, the control socket.
    Events,
    /// A virtual CPU.
    Vcpu,
    /// A disk's worker.
    Disk,
    /// Who notices that a page fault handler is gone.
    Watch,
    /// A worker of the share. The only kind that opens anything: below what the process was given, for there is nothing else to
    /// be seen where it is (see [`super::confinement`]).
    Share,
}

/// What every thread needs: memory for its heap, locks, the end of a thread, and the way out of the process.
const COMMON: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_futex,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Descriptors of the control socket and of streams, readiness, randomness for the guest, writing a snapshot, and asking what
/// is to be in it.
const EVENTS: &[i64] = &[
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_socketpair,
    libc::SYS_shutdown,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_timerfd_settime,
    libc::SYS_getrandom,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
];

/// Reading and writing at an offset, and giving space back.
const DISK: &[i64] = &[
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_fstat,
    libc::SYS_lseek,
];

/// Noticing the end of a connection, and telling the keeper.
const WATCH: &[i64] = &[libc::SYS_poll, libc::SYS_ppoll, libc::SYS_sendmsg];
/// What a file system does.
const SHARE: &[i64] = &[
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_lseek,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_copy_file_range,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_getxattr,
    libc::SYS_setxattr,
    libc::SYS_listxattr,
    libc::SYS_removexattr,
];

/// The number of a KVM request that reads (`_IOR`), writes (`_IOW`) or exchanges (`_IOWR`) a `T`.
const fn read<T>(number: u32) -> u32 {
    2 << 30 | (size_of::<T>() as u32) << 16 | KVMIO | number
}
const fn write<T>(number: u32) -> u32 {
    1 << 30 | (size_of::<T>() as u32) << 16 | KVMIO | number
}
const fn exchange<T>(number: u32) -> u32 {
    1 << 30 | read::<T>(number)
}
/// The letter of KVM's requests.
const KVMIO: u32 = 0xae << 8;

/// Running the guest, saving a vCPU for a snapshot, and letting it go on.
const VCPU_REQUESTS: &[u32] = &[
    KVMIO | 0x80, // KVM_RUN
    read::<kvm_regs>(0x81),
    read::<kvm_sregs>(0x83),
    exchange::<kvm_msrs>(0x88),
    read::<kvm_lapic_state>(0x8e),
    exchange::<kvm_cpuid2>(0x91),
    read::<kvm_mp_state>(0x98),
    read::<kvm_vcpu_events>(0x9f),
    read::<kvm_debugregs>(0xa1),
    KVMIO | 0xa3, // KVM_GET_TSC_KHZ
    KVMIO | 0xad, // KVM_KVMCLOCK_CTRL
    read::<kvm_xsave>(0xa4),
    read::<kvm_xcrs>(0xa6),
    read::<kvm_xsave>(0xcf), // KVM_GET_XSAVE2
];

/// Pipes and sockets, memory that a VM gets, and saving what a VM's vCPUs share: interrupt controllers, clock, timer.
const EVENTS_REQUESTS: &[u32] = &[
    0x5421, // FIONBIO
    0x541b, // FIONREAD
    write::<kvm_userspace_memory_region>(0x46),
    exchange::<kvm_irqchip>(0x62),
    read::<kvm_clock_data>(0x7c),
    read::<kvm_pit_state2>(0x9f),
];

/// Giving space back.
const DISK_REQUESTS: &[u32] = &[
    0x1277, // BLKDISCARD
    0x127f, // BLKZEROOUT
];

/// `ioctl` requests, by thread. A request is compared in its low 32 bits, which is all the kernel looks at.
const fn ioctls(thread: Thread) -> &'static [u32] {
    match thread {
        Thread::Events => EVENTS_REQUESTS,
        Thread::Vcpu => VCPU_REQUESTS,
        Thread::Disk => DISK_REQUESTS,
        Thread::Watch => &[],
        Thread::Share => &[],
    }
}

/// The filter of a kind of thread.
///
/// # Errors
/// When seccompiler refuses the list, which would be a mistake in this file.
pub fn filter(thread: Thread) -> Result<BpfProgram, seccompiler::BackendError> {
    let own = match thread {
        Thread::Events => EVENTS,
        Thread::Vcpu => &[],
        Thread::Disk => DISK,
        Thread::Watch => WATCH,
        Thread::Share => SHARE,
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        COMMON.iter().chain(own).map(|call| (*call, vec![])).collect();
    // A page that is both written and executed, or made executable later, is not to be had.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let executable = libc::PROT_EXEC as u64;
        let condition =
            SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(executable), 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    // Signals are for threads of this process.
    let own =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
    if thread == Thread::Share {
        // Where assertions are compiled in, the standard library looks whether what it closes is open.
        let looks =
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::F_GETFD as u64)?;
        rules.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![looks])?]);
    }
    let requests: Result<Vec<_>, _> = ioctls(thread)
        .iter()
        .map(|request| {
            let condition =
                SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(*request))?;
            SeccompRule::new(vec![condition])
        })
        .collect();
    rules.insert(libc::SYS_ioctl, requests?);
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?
        .try_into()
}

/// Confines the calling thread, for good.
///
/// # Errors
/// When the kernel has no seccomp filters.
pub fn confine(filter: &BpfProgram) -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(filter)
}

#[cfg(test)]
#[path = "seccomp_test.rs"]
mod tests;
