//! The init of `--init`: PID 1 of a container that only looks after its command, so that signals and orphans are as
//! programs expect them to be.
//!
//! It is the agent's program, executed under another name by a child that already is what the command is to be. So this
//! process is small, nobody else is in it, and the C library may be used.

use std::{
    ffi::{CStr, c_char},
    mem::MaybeUninit,
    ptr,
};

/// The program's name as the init of a container.
pub const NAME: &str = "hull-init";

/// Executed with all signals blocked, so that none is lost before it waits for them. Runs the command in `arguments` (a null-terminated list) and gives the code to exit with: the command's, 128 and its
/// signal, 127 when it does not exist, 126 when it cannot be executed.
///
/// # Safety
/// `arguments` must be a null-terminated list of C strings.
pub unsafe fn run(arguments: *const *const c_char) -> i32 {
    // SAFETY: plain calls on memory of this function; the list is the caller's promise.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"hull-init".as_ptr());
        let mut all = MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
        let command = libc::fork();
        if command == 0 {
            execute(arguments);
        }
        if command < 0 {
            complain(c"cannot fork");
            return 125;
        }
        loop {
            let signal = libc::sigwaitinfo(all.as_ptr(), ptr::null_mut());
            if signal != libc::SIGCHLD {
                if signal > 0 {
                    libc::kill(command, signal);
                }
                continue;
            }
            if let Some(code) = reap(command) {
                return code;
            }
        }
    }
}

/// Reaps everything that has ended; the exit code of the command if it is among it.
unsafe fn reap(command: i32) -> Option<i32> {
    let mut code = None;
    loop {
        let mut status = 0;
        // SAFETY: a good pointer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return code;
        }
        if pid == command {
            code = Some(if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            });
        }
    }
}

/// Becomes the command, in the foreground of its terminal if there is one.
unsafe fn execute(arguments: *const *const c_char) -> ! {
    // SAFETY: as in `run`; a forked child of a process with one thread may do everything.
    unsafe {
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::setpgid(0, 0);
        // SIGTTOU is still blocked, so that this does not stop the process.
        libc::tcsetpgrp(0, libc::getpgrp());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::execvp(*arguments, arguments);
        let error = *libc::__errno_location();
        complain(CStr::from_ptr(*arguments));
        libc::_exit(if error == libc::ENOENT { 127 } else { 126 })
    }
}

/// `what` and the last error on standard error.
fn complain(what: &CStr) {
    let line = format!("{NAME}: {}: {}\n", what.to_string_lossy(), std::io::Error::last_os_error());
    // SAFETY: a good pointer and length.
    unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}
