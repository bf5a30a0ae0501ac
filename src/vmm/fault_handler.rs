//! Guest memory that another process serves, page by page, as it is touched (userfaultfd, with Firecracker's protocol).
//!
//! The handler gets the userfaultfd in one message over its socket, beside a list of the memory's mappings as JSON. Each begins
//! somewhere in the snapshot's file: so much of it, or of what another file or host has in its place, is what the handler copies
//! there. It keeps the connection for as long as it serves; a VM without its memory cannot go on, and ends when it is closed.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::Arc,
    thread,
};

use anyhow::Context;
use hull_devices::device::Memory;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use serde::Serialize;
use vm_memory::GuestMemoryBackend;

use super::{
    channel::Channel,
    control::{ExitReason, VmmMessage},
    seccomp::{self, Thread},
    snapshot::{MEMORY_OFFSET, PAGE, Part, parts},
};

/// The number of a userfaultfd request (linux/userfaultfd.h) that exchanges `size` bytes.
const fn request(number: u64, size: usize) -> u64 {
    3 << 30 | (size as u64) << 16 | IO | number
}
/// The letter of userfaultfd's requests.
const IO: u64 = 0xaa << 8;
/// Of `/dev/userfaultfd`: a new userfaultfd.
const NEW: u64 = IO;
const API: u64 = request(0x3f, size_of::<Api>());
const REGISTER: u64 = request(0x00, size_of::<Register>());
/// A page that was never there.
const MISSING: u64 = 1;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

/// What a handler is told of a mapping: the names are Firecracker's.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Mapping {
    base_host_virt_addr: u64,
    size: u64,
    /// Where it begins in the snapshot's file.
    offset: u64,
    page_size: usize,
    /// The same again, in bytes: older handlers read this.
    page_size_kib: usize,
}

/// A process that serves a VM's memory.
pub struct FaultHandler {
    socket: OwnedFd,
    /// As long as it is open a page that is not served is waited for; without it, it would be of zeroes.
    _faults: OwnedFd,
}

impl FaultHandler {
    /// Has the process at the other end of the socket serve the first `size` bytes of this memory, which nobody may have touched. The
    /// userfaultfd comes from `device`, an open `/dev/userfaultfd`, or from the system call.
    ///
    /// # Errors
    /// When the system does not let us, or the handler is gone.
    pub fn hand_over(
        socket: OwnedFd,
        device: Option<OwnedFd>,
        memory: &Memory,
        size: u64,
    ) -> anyhow::Result<Self> {
        let faults = open(device.as_ref()).context(
            "cannot have the system tell of page faults; `setfacl -m u:$USER:rw /dev/userfaultfd` as root gives access",
        )?;
        let mut api = Api { api: 0xaa, features: 0, ioctls: 0 };
        control(&faults, API, &mut api).context("UFFDIO_API")?;
        let mappings = mappings(memory, size)?;
        for mapping in &mappings {
            let (start, length) = (mapping.base_host_virt_addr, mapping.size);
            let mut register = Register { start, length, mode: MISSING, ioctls: 0 };
            control(&faults, REGISTER, &mut register).context("UFFDIO_REGISTER")?;
        }
        send(&socket, &serde_json::to_vec(&mappings)?, &faults).context("cannot hand over the memory")?;
        Ok(Self { socket, _faults: faults })
    }

    /// Ends the VM when the handler is gone. From a thread of its own: the others may be waiting for a page.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn watch(self, keeper: Arc<Channel>) -> io::Result<()> {
        let watch = move || {
            let confined = seccomp::filter(Thread::Watch).map_err(|error| error.to_string());
            let confined =
                confined.and_then(|filter| seccomp::confine(&filter).map_err(|error| error.to_string()));
            let detail = match confined {
                Ok(()) => {
                    self.await_end();
                    "the page fault handler is gone, and with it the guest's memory".to_owned()
                }
                Err(error) => format!("cannot watch the page fault handler: {error}"),
            };
            // A keeper that is gone has its VMM killed.
            let _ = keeper.send(&VmmMessage::Exit(ExitReason::Failed { detail }), None);
            std::process::exit(0);
        };
        thread::Builder::new().name("faults".to_owned()).stack_size(64 << 10).spawn(watch)?;
        Ok(())
    }

    /// Whatever else the handler says is of no meaning.
    fn await_end(&self) {
        loop {
            let mut polled = [PollFd::new(&self.socket, PollFlags::RDHUP)];
            match poll(&mut polled, None) {
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }
}

fn mappings(memory: &Memory, size: u64) -> anyhow::Result<Vec<Mapping>> {
    let mapping = |part: Part| {
        Ok(Mapping {
            base_host_virt_addr: memory.get_host_address(part.address)? as u64,
            size: part.length,
            offset: MEMORY_OFFSET + part.at,
            page_size: PAGE,
            page_size_kib: PAGE,
        })
    };
    parts(memory, std::slice::from_ref(&(0..size))).into_iter().map(mapping).collect()
}

/// A userfaultfd that also takes the faults of KVM, which are the kernel's.
fn open(device: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    const FLAGS: i32 = libc::O_CLOEXEC | libc::O_NONBLOCK;
    let number = match device {
        // SAFETY: the request takes flags by value.
        Some(device) => i64::from(unsafe { libc::ioctl(device.as_raw_fd(), NEW, FLAGS) }),
        // SAFETY: takes flags only.
        None => unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS) },
    };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number as RawFd) })
}

fn control<T>(faults: &OwnedFd, request: u64, argument: &mut T) -> io::Result<()> {
    // SAFETY: the requests of this file name the size of their argument, which is what the kernel reads and writes.
    let result = unsafe { libc::ioctl(faults.as_raw_fd(), request, std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn send(socket: &OwnedFd, text: &[u8], descriptor: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = sendmsg(socket, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

#[cfg(test)]
#[path = "fault_handler_test.rs"]
mod tests;
