//! Starts this program anew, as a process whose end is tied to ours.

use std::{
    ffi::CStr,
    io::{self, Write},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    ptr,
};

use rustix::{
    process::{Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, kill_process, waitpid},
    thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity},
};

/// Exit code of a process that could not become this program, as with a shell.
const NOT_EXECUTED: i32 = 126;

/// Starts this program with these arguments, beginning with its name, these standard streams, no signal blocked, and no other
/// descriptor of ours that is closed on execution. It is killed when this thread ends, however it ends. Gives it, and what becomes readable
/// when it has ended.
///
/// `std::process::Command` waits until the program is executed, a processor idle meanwhile. This does not: if it cannot be
/// executed, it says so on its standard error and exits with 126.
///
/// # Errors
/// When there can be no more processes, or no more descriptors.
pub fn spawn(arguments: &[&CStr], streams: [BorrowedFd<'_>; 3]) -> io::Result<(Pid, OwnedFd)> {
    let mut pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(ptr::null());
    let parent = getpid();
    // SAFETY: the child makes system calls only, and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is the child, and the pointers end with a null pointer.
        unsafe { become_program(&pointers, streams, parent) }
    }
    let Some(pid) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() else {
        return Err(io::Error::last_os_error());
    };
    // Where this fails, it begins somewhat later.
    let _ = give_processor(pid);
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).map(|exit| (pid, exit)).map_err(|error| {
        // Neither can fail: it is a child that nobody has waited for.
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
        error.into()
    })
}

/// Has a new process run beside this one. Left alone, Linux has it wait for its parent's processor until that waits for something.
fn give_processor(pid: Pid) -> rustix::io::Result<()> {
    let mut others = sched_getaffinity(None)?;
    let mut every = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| every.set(cpu));
    // Whoever may use some only must not stay with those that are there now: Linux keeps to what it was asked for once.
    // SAFETY: asks for a number.
    let free = i64::from(others.count()) == unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    others.unset(sched_getcpu());
    if free && others.count() > 0 {
        sched_setaffinity(Some(pid), &others)?;
        sched_setaffinity(Some(pid), &every)?;
    }
    Ok(())
}

/// In the child.
///
/// # Safety
/// To be called between fork and exec, with arguments that end with a null pointer.
unsafe fn become_program(arguments: &[*const libc::c_char], streams: [BorrowedFd<'_>; 3], parent: Pid) -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have died before the line above: then no signal comes any more.
    let orphan = getppid() != Some(parent);
    // SAFETY: system calls on descriptors and memory of ours.
    unsafe {
        let placed = (0..).zip(streams).all(|(target, stream)| libc::dup2(stream.as_raw_fd(), target) >= 0);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        if placed && !orphan {
            libc::execv(c"/proc/self/exe".as_ptr(), arguments.as_ptr());
            let number = io::Error::last_os_error().raw_os_error().unwrap_or_default();
            let mut complaint = [0; 64];
            let left = {
                let mut left = &mut complaint[..];
                let _ = writeln!(left, "hull: cannot execute itself: error {number}");
                left.len()
            };
            libc::write(libc::STDERR_FILENO, complaint.as_ptr().cast(), complaint.len() - left);
        }
        libc::_exit(NOT_EXECUTED)
    }
}
