//! The agent: PID 1 of the guest.
//!
//! It starts containers and processes in them for the keeper on the host, which it talks to over vsock ([`control`]). One
//! thread waits for everything ([`agent`]); what a process has to go through before it is the container's is compiled to
//! [`step`]s and performed by a [`child`]. Guests run on hosts where a system call costs a quarter of a millisecond and a
//! page fault one, so the rule throughout is: as few as possible, as late as possible.
//!
//! The guest rootfs is read-only and holds:
//!
//! | path | what |
//! | --- | --- |
//! | `/init` | this program, also the init of `--init` |
//! | `/tool` | what reads and writes files of containers for the host (`tool/`) |
//! | `/dev` | the kernel's devtmpfs |
//! | `/proc`, `/sys` | where a container's are put together; `/proc` the guest's own when needed |
//! | `/cgroup` | the cgroup tree |
//! | `/layers/1` to `/layers/255` | the mounted layers |
//! | `/data` | the data disk |
//! | `/c` | a container's root before it becomes the root |
//! | `/skeleton` | lowest layer of every container: mount targets |
#![cfg_attr(not(test), no_main)]

mod agent;
mod cgroup;
mod child;
mod container;
mod control;
mod devices;
mod failure;
mod host;
mod init;
mod inside;
mod layers;
mod memory;
mod mounts;
mod network;
mod parked;
mod path;
mod populate;
mod power;
mod process;
mod pump;
mod read_ahead;
mod rootfs;
mod shares;
mod skeleton;
mod spare;
mod stdio;
mod step;
mod sys;
mod system;
mod task;
mod trash;
mod user;
mod user_namespace;
mod views;
mod wake;

use std::ffi::{CStr, c_char, c_int};

use agent::{Agent, Place};
use host::Host;

/// What containers inherit unless they say otherwise, as with Docker: files enough for servers that ask for them, but no more at
/// first, since some programs close all that they may have; and as many processes as their cgroup lets them have, whatever
/// memory the guest began with.
const LIMITS: [(u32, u64, u64); 2] =
    [(libc::RLIMIT_NOFILE, 1024, 524_288), (libc::RLIMIT_NPROC, libc::RLIM_INFINITY, libc::RLIM_INFINITY)];

/// Where the C library starts the program. Rust's own start would look at the streams, set signal handlers and a stack guard, and
/// read a file, none of which PID 1 needs.
// SAFETY: the C library calls `main`, as C has it, and nothing else in the program has this name.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main(_count: c_int, arguments: *const *const c_char) -> c_int {
    let first_instruction = sys::monotonic();
    // SAFETY: the C library passes a null-terminated list of C strings.
    let name = unsafe { (*arguments).as_ref().map(|name| CStr::from_ptr(name)) };
    if name.is_some_and(|name| name.to_bytes() == init::NAME.as_bytes()) {
        // SAFETY: the list goes on behind the name, and ends with null.
        return unsafe { init::run(arguments.add(1)) };
    }
    if !rustix::process::getpid().is_init() {
        control::last_word("this is the init of a hull guest; it does nothing anywhere else");
        return 1;
    }
    std::panic::set_hook(Box::new(|panic| {
        control::last_word(&format!("the agent failed: {panic}"));
        power::sync_and_reset();
    }));
    let _ = sys::hide_memory();
    for (resource, soft, hard) in LIMITS {
        let _ = sys::set_limit(0, resource, soft, hard);
    }
    let setting = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let place = Place {
        host: std::env::var("HULL_AGENT_SOCKET").map_or(Host::Vsock, Host::Unix),
        layer_disk: setting("HULL_LAYER_DISK", "/dev/vdb"),
        data_disk: setting("HULL_DATA_DISK", "/dev/vdc"),
    };
    Agent::new(place, first_instruction).run()
}
