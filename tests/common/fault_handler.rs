//! A page fault handler, as Firecracker's documentation has it, that serves a guest's memory from a snapshot's file.

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{JoinHandle, spawn};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

const PAGE: u64 = 4096;

/// A handler that runs.
pub struct FaultHandler {
    /// It ends when this is closed.
    leash: UnixStream,
    thread: JoinHandle<usize>,
}

/// `struct uffdio_copy`.
#[repr(C)]
struct Copy {
    to: u64,
    from: u64,
    length: u64,
    mode: u64,
    copied: i64,
}

impl FaultHandler {
    /// Serves the first VM that connects to the socket.
    pub fn start(socket: &Path, snapshot: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let file = File::open(snapshot).expect("the snapshot");
        let (leash, leashed) = UnixStream::pair().expect("a pair of sockets");
        Self { leash, thread: spawn(move || serve(&listener, &file, &leashed)) }
    }

    /// Ends it; gives how many pages it has served.
    pub fn end(self) -> usize {
        drop(self.leash);
        self.thread.join().expect("a handler without errors")
    }
}

fn serve(listener: &UnixListener, file: &File, leash: &UnixStream) -> usize {
    let (connection, _) = listener.accept().expect("a VM");
    let Some((faults, mappings)) = receive(&connection) else { return 0 };
    let number = |mapping: &Value, name: &str| mapping[name].as_u64().expect("a number");
    let mut served = 0;
    loop {
        let mut polled = [PollFd::new(&faults, PollFlags::IN), PollFd::new(leash, PollFlags::IN)];
        poll(&mut polled, None).expect("an event");
        if !polled[1].revents().is_empty() {
            return served;
        }
        // `struct uffd_msg`: what it is, and behind two more numbers the address.
        let mut message = [0; 32];
        if !matches!(rustix::io::read(&faults, &mut message), Ok(32)) {
            continue;
        }
        assert_eq!(message[0], 0x12, "a page fault");
        let address = u64::from_le_bytes(message[16..24].try_into().expect("eight bytes")) & !(PAGE - 1);
        let within = |mapping: &&Value| {
            let start = number(mapping, "base_host_virt_addr");
            (start..start + number(mapping, "size")).contains(&address)
        };
        let mapping = mappings.iter().find(within).expect("an address of the guest's memory");
        assert_eq!(number(mapping, "page_size"), PAGE);
        let mut page = [0; PAGE as usize];
        let at = number(mapping, "offset") + address - number(mapping, "base_host_virt_addr");
        file.read_exact_at(&mut page, at).expect("a page of the snapshot");
        let mut copy = Copy { to: address, from: page.as_ptr() as u64, length: PAGE, mode: 0, copied: 0 };
        // SAFETY: UFFDIO_COPY reads a page of ours and writes into memory of the process that sent the userfaultfd.
        let result = unsafe { libc::ioctl(faults.as_raw_fd(), 0xc028_aa03, &raw mut copy) };
        // Another vCPU may have asked for it too.
        let there = std::io::Error::last_os_error().raw_os_error() == Some(libc::EEXIST);
        assert!(result == 0 || there, "{}", std::io::Error::last_os_error());
        served += usize::from(result == 0);
    }
}

/// The userfaultfd, and where the guest's memory is; `None` when the VM ended before it said.
fn receive(mut connection: &UnixStream) -> Option<(OwnedFd, Vec<Value>)> {
    let mut text = vec![0; 64 << 10];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut text)];
    let received = recvmsg(connection, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
    let mut length = received.expect("a message").bytes;
    let faults = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    while serde_json::from_slice::<Value>(&text[..length]).is_err() {
        match connection.read(&mut text[length..]).expect("the rest of it") {
            0 => return None,
            count => length += count,
        }
    }
    let mappings: Value = serde_json::from_slice(&text[..length]).expect("JSON");
    Some((faults.expect("a userfaultfd"), mappings.as_array().expect("a list").clone()))
}
