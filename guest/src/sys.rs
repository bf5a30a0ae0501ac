//! System calls that rustix does not have, or not in a form that takes any number.
//!
//! They are made without the C library, whose wrappers write `errno`: a [child](crate::child) shares the agent's memory, its
//! thread-local storage included.

use std::{
    arch::asm,
    ffi::{CStr, c_char, c_void},
    mem::{MaybeUninit, size_of},
    ptr,
};

use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    io::{Errno, Result},
};

/// One instruction of a seccomp program (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// Makes a system call.
///
/// # Safety
/// The arguments must be what the call asks for; pointers among them must be good for what it does to them.
unsafe fn call(number: i64, arguments: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the caller's promise; the kernel keeps every register but these three.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    check(result)
}

fn check(result: isize) -> Result<usize> {
    if result < 0 { Err(Errno::from_raw_os_error(-result as i32)) } else { Ok(result as usize) }
}

/// `CLONE_INTO_CGROUP`, which does not fit the type that the libc crate gives it.
const INTO_CGROUP: u64 = 1 << 33;

/// `struct clone_args`.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Where a new process starts.
pub type Entry = extern "C" fn(*const c_void) -> !;

/// Starts a process that shares this one's memory and nothing else, in the given cgroup and with `flags` (`CLONE_NEW*`).
/// Gives its PID as this process sees it, and its pidfd.
///
/// # Safety
/// `stack` must stay untouched and `argument` good for what `entry` does with it until the process has executed something or is
/// gone. `entry` runs beside the caller on the same thread-local storage: it must not allocate, panic, or call the C library.
pub unsafe fn clone_sharing_memory(
    flags: i32,
    cgroup: BorrowedFd<'_>,
    stack: &mut [MaybeUninit<u8>],
    entry: Entry,
    argument: *const c_void,
) -> Result<(u32, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    let bottom = stack.as_mut_ptr() as u64;
    let top = (bottom + stack.len() as u64) & !15;
    let arguments = CloneArguments {
        flags: flags as u64 | libc::CLONE_VM as u64 | libc::CLONE_PIDFD as u64 | INTO_CGROUP,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: bottom,
        stack_size: top - bottom,
        cgroup: cgroup.as_raw_fd() as u64,
        ..CloneArguments::default()
    };
    let result: isize;
    // SAFETY: the child comes back from the call on its own stack, aligned to 16 as the call of `entry` wants it, and never
    // leaves `entry`; the parent goes on behind it with only the listed registers changed.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {argument}",
            "call {entry}",
            "ud2",
            "2:",
            argument = in(reg) argument,
            entry = in(reg) entry,
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") &raw const arguments,
            in("rsi") size_of::<CloneArguments>(),
            // Not `lateout`: the child reads its two inputs after the call has changed these.
            out("rcx") _, out("r11") _,
        );
    }
    let pid = check(result)? as u32;
    // SAFETY: the kernel wrote the number of a new descriptor.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Ends this process.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: no pointers; does not come back.
        let _ = unsafe { call(libc::SYS_exit_group, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Makes `to` a copy of `from`, with `O_CLOEXEC` if asked for.
pub fn duplicate(from: RawFd, to: RawFd, close_on_exec: bool) -> Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC as usize } else { 0 };
    // SAFETY: no pointers; the caller owns its descriptor table.
    unsafe { call(libc::SYS_dup3, [from as usize, to as usize, flags, 0, 0, 0]) }.map(drop)
}

/// Closes every descriptor from `first` up.
pub fn close_from(first: RawFd) -> Result<()> {
    // SAFETY: no pointers; only a child on its way to `execve` calls this, and it owns nothing there.
    unsafe { call(libc::SYS_close_range, [first as usize, u32::MAX as usize, 0, 0, 0, 0]) }.map(drop)
}

/// Executes a program. Comes back only with an error.
///
/// # Safety
/// `arguments` and `environment` must be null-terminated lists of C strings.
pub unsafe fn execute(
    path: &CStr,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> Errno {
    let list = [path.as_ptr() as usize, arguments as usize, environment as usize, 0, 0, 0];
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_execve, list) }.err().unwrap_or(Errno::IO)
}

/// Executes the program behind a descriptor. Comes back only with an error.
///
/// # Safety
/// As [`execute`].
pub unsafe fn execute_file(
    file: RawFd,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> Errno {
    let list = [
        file as usize,
        c"".as_ptr() as usize,
        arguments as usize,
        environment as usize,
        libc::AT_EMPTY_PATH as usize,
        0,
    ];
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_execveat, list) }.err().unwrap_or(Errno::IO)
}

/// Installs a seccomp program.
pub fn install_filter(program: &[Instruction]) -> Result<()> {
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const Instruction,
    }
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = Program { length, instructions: program.as_ptr() };
    let list = [libc::SECCOMP_SET_MODE_FILTER as usize, 0, &raw const program as usize, 0, 0, 0];
    // SAFETY: the program and its instructions are alive for the call, which only reads them.
    unsafe { call(libc::SYS_seccomp, list) }.map(drop)
}

/// Takes a capability out of the bounding set.
pub fn drop_from_bounding_set(capability: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as usize, capability as usize, 0, 0, 0, 0]) }
        .map(drop)
}

/// Sets a resource limit of a process, 0 being this one.
pub fn set_limit(pid: u32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    let list = [pid as usize, resource as usize, limit.as_ptr() as usize, 0, 0, 0];
    // SAFETY: `struct rlimit64` is these two numbers; the call only reads it.
    unsafe { call(libc::SYS_prlimit64, list) }.map(drop)
}

/// Enters the given kinds (`CLONE_NEW*`) of another process's namespaces.
pub fn enter_namespaces(pidfd: RawFd, kinds: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setns, [pidfd as usize, kinds as usize, 0, 0, 0, 0]) }.map(drop)
}

/// `bpf(2)`; gives what it gives.
///
/// # Safety
/// `attributes` must be what the command takes, and pointers in it good for that.
pub unsafe fn bpf<T>(command: i32, attributes: &T) -> Result<RawFd> {
    let list = [command as usize, ptr::from_ref(attributes) as usize, size_of::<T>(), 0, 0, 0];
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_bpf, list) }.map(|result| result as RawFd)
}

/// Leaves the given kinds (`CLONE_NEW*`) of namespaces for new ones.
pub fn unshare(kinds: i32) -> Result<()> {
    // SAFETY: no pointers; a child shares none of what this changes.
    unsafe { call(libc::SYS_unshare, [kinds as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// Makes the mount at a path read-only and leaves its other flags as they are.
pub fn make_mount_read_only(path: &CStr) -> Result<()> {
    set_mount_attributes(libc::AT_FDCWD, path, 0, [libc::MOUNT_ATTR_RDONLY, 0, 0, 0])
}

/// Makes a mount that is attached nowhere yet show the ids of a user namespace for those of the guest.
pub fn shift_ids(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<()> {
    let attributes = [libc::MOUNT_ATTR_IDMAP, 0, 0, namespace.as_raw_fd() as u64];
    set_mount_attributes(tree.as_raw_fd(), c"", libc::AT_EMPTY_PATH, attributes)
}

/// `attributes` is `struct mount_attr`: those to set, those to clear, propagation, user namespace.
fn set_mount_attributes(directory: RawFd, path: &CStr, flags: i32, attributes: [u64; 4]) -> Result<()> {
    let list = [
        directory as usize,
        path.as_ptr() as usize,
        flags as usize,
        attributes.as_ptr() as usize,
        size_of_val(&attributes),
        0,
    ];
    // SAFETY: both pointers are good for the call, which only reads.
    unsafe { call(libc::SYS_mount_setattr, list) }.map(drop)
}

/// The user namespace of the process behind a pidfd.
pub fn user_namespace(pidfd: BorrowedFd<'_>) -> Result<OwnedFd> {
    const PIDFD_GET_USER_NAMESPACE: u64 = 0xff09;
    // SAFETY: the request takes nothing and gives the number of a new descriptor, which nobody else has.
    unsafe {
        let file = ioctl(pidfd, PIDFD_GET_USER_NAMESPACE, 0)?;
        Ok(OwnedFd::from_raw_fd(file as RawFd))
    }
}

/// Sends a signal, given by number, to the process behind a pidfd.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: u8) -> Result<()> {
    let list = [pidfd.as_raw_fd() as usize, signal as usize, 0, 0, 0, 0];
    // SAFETY: the only pointer, `siginfo`, is null.
    unsafe { call(libc::SYS_pidfd_send_signal, list) }.map(drop)
}

/// Sends `SIGKILL` to every process but this one, which must be PID 1.
pub fn kill_everything() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_kill, [-1isize as usize, libc::SIGKILL as usize, 0, 0, 0, 0]) }.map(drop)
}

/// Makes other processes that lack `CAP_SYS_PTRACE` unable to look into this one's memory.
pub fn hide_memory() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// Switches the loopback interface of the current network namespace on.
pub fn loopback_up(socket: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`.
    unsafe { ioctl(socket, libc::SIOCSIFFLAGS, &raw const request as usize) }.map(drop)
}

/// Unlocks a new terminal and opens the end that its process uses.
pub fn terminal_peer(master: BorrowedFd<'_>) -> Result<RawFd> {
    let unlocked = 0i32;
    let flags = (libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) as usize;
    // SAFETY: TIOCSPTLCK reads an int, TIOCGPTPEER takes flags; both fail on anything that is not a terminal's master.
    unsafe {
        ioctl(master, libc::TIOCSPTLCK, &raw const unlocked as usize)?;
        ioctl(master, libc::TIOCGPTPEER, flags).map(|file| file as RawFd)
    }
}

/// Sets a terminal's size in characters.
pub fn set_window_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a `winsize`.
    unsafe { ioctl(terminal, libc::TIOCSWINSZ, &raw const size as usize) }.map(drop)
}

/// Makes a terminal the controlling one of this session.
pub fn control_terminal(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: TIOCSCTTY takes a number.
    unsafe { ioctl(terminal, libc::TIOCSCTTY, 0) }.map(drop)
}

/// Makes or removes (with `length` 0) a partition of a disk, in bytes.
pub fn set_partition(disk: BorrowedFd<'_>, number: u32, offset: i64, length: i64) -> Result<()> {
    const BLKPG: u64 = 0x1269;
    const ADD: i32 = 1;
    const DELETE: i32 = 2;
    #[repr(C)]
    struct Partition {
        start: i64,
        length: i64,
        number: i32,
        names: [u8; 128],
    }
    #[repr(C)]
    struct Request {
        operation: i32,
        flags: i32,
        length: i32,
        data: *const Partition,
    }
    let partition = Partition { start: offset, length, number: number as i32, names: [0; 128] };
    let request = Request {
        operation: if length == 0 { DELETE } else { ADD },
        flags: 0,
        length: size_of::<Partition>() as i32,
        data: &raw const partition,
    };
    // SAFETY: BLKPG reads a `blkpg_ioctl_arg` that points to a `blkpg_partition`; these are their layouts.
    unsafe { ioctl(disk, BLKPG, &raw const request as usize) }.map(drop)
}

/// # Safety
/// `argument` must be what the request asks for.
unsafe fn ioctl(file: BorrowedFd<'_>, request: u64, argument: usize) -> Result<usize> {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_ioctl, [file.as_raw_fd() as usize, request as usize, argument, 0, 0, 0]) }
}

/// Nanoseconds on `CLOCK_MONOTONIC`. Not for a child: this is the C library's, which reads it without a system call.
pub fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a good pointer; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, ptr::from_mut(&mut now)) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Blocks every signal of the calling thread that can be blocked.
pub fn block_signals() {
    let mut all = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is filled before it is used; with a good set and operation this cannot fail.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
}
