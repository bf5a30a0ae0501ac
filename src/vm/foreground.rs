//! A VM in the foreground: the process that was asked for it is its keeper, and the terminal its console.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::launch::{Descriptors, Vmm};
use super::signals::Signals;
use crate::assets::Assets;
use crate::config::{Console, Disk, VmFile};
use crate::vmm::channel::Received;
use crate::vmm::config::{DeviceConfig, KernelKind, Start, VmmConfig};
use crate::vmm::control::{ExitReason, KeeperMessage, VmmMessage};

/// How much of a console is moved at once, in bytes.
const CHUNK: usize = 16 << 10;

/// Opens what the file names and describes the VM to its VMM.
///
/// # Errors
/// When something is not there, cannot be opened, or is used by another VM.
pub fn prepare(
    file: &VmFile,
    descriptors: &mut Descriptors,
    console: &OwnedFd,
) -> anyhow::Result<(VmmConfig, Option<Keyboard>)> {
    let open = |what: &str, path: &Path| {
        File::open(path).with_context(|| format!("cannot open the {what} {}", path.display()))
    };
    let kvm = File::options().read(true).write(true).open("/dev/kvm");
    let kvm = descriptors.add(kvm.context("cannot open /dev/kvm; `hull doctor` says what to do")?);

    let own_kernel = file.kernel.image.is_none();
    let kernel = match &file.kernel.image {
        Some(path) => open("kernel", path)?,
        None => Assets::open(&Assets::find()?.kernel())?,
    };
    let kernel = descriptors.add(kernel);
    let initrd = match &file.kernel.initrd {
        Some(path) => Some(descriptors.add(open("RAM disk", path)?)),
        None => None,
    };

    let mut devices = Vec::new();
    let (input, typed) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut typed = Some(typed);
    let output = descriptors.add(console.try_clone()?);
    match file.console {
        Console::Virtio => {
            devices.push(DeviceConfig::Console { input: Some(descriptors.add(input)), output })
        }
        Console::Serial => devices.push(DeviceConfig::Serial { input: Some(descriptors.add(input)), output }),
        Console::None => typed = None,
    }
    devices.push(DeviceConfig::Entropy);
    for (index, disk) in file.disks.iter().enumerate() {
        devices.push(open_disk(index, disk, descriptors)?);
    }

    let config = VmmConfig {
        kvm,
        vcpus: file.machine.vcpus,
        memory: file.machine.memory.0,
        start: Start::Boot {
            kernel,
            initrd,
            command_line: file.kernel.command_line.clone(),
            kernel_kind: if own_kernel { KernelKind::Hull } else { KernelKind::Foreign },
        },
        devices,
        profile: None,
    };
    Ok((config, typed.map(Keyboard::new).transpose()?))
}

/// Opens a disk and locks it: for this VM alone when it writes, with other readers when it does not.
fn open_disk(index: usize, disk: &Disk, descriptors: &mut Descriptors) -> anyhow::Result<DeviceConfig> {
    let path = disk.path.display();
    let file = File::options().read(true).write(!disk.read_only).open(&disk.path);
    let file = file.with_context(|| format!("cannot open the disk {path}"))?;
    let lock = if disk.read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match rustix::fs::flock(&file, lock) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => anyhow::bail!(
            "the disk {path} is in use by another VM; stop that one, or give both the disk with read_only = true"
        ),
        Err(error) => return Err(error).with_context(|| format!("cannot lock the disk {path}")),
    }
    Ok(DeviceConfig::Disk {
        file: descriptors.add(file),
        read_only: disk.read_only,
        serial: format!("disk{index}"),
    })
}

/// What is typed on the way to the guest.
pub struct Keyboard {
    pipe: OwnedFd,
    pending: Vec<u8>,
    /// Ctrl-A was typed on a terminal: the next key says what is meant.
    escaped: bool,
    terminal: bool,
}

/// Ctrl-A, which Ctrl-A again sends to the guest; with X behind it, it ends the VM.
const ESCAPE: u8 = 1;

impl Keyboard {
    /// Types into `pipe`, which is made non-blocking.
    fn new(pipe: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Self { pipe, pending: Vec::new(), escaped: false, terminal: io::stdin().is_terminal() })
    }

    /// Takes what was typed; `false` when it ends the VM.
    fn take(&mut self, typed: &[u8]) -> bool {
        for &key in typed {
            match (self.escaped, key) {
                (false, ESCAPE) if self.terminal => self.escaped = true,
                (true, b'x' | b'X') => return false,
                _ => {
                    self.escaped = false;
                    self.pending.push(key);
                }
            }
        }
        true
    }

    /// Writes what the pipe takes; `false` when nobody reads it any more.
    fn flush(&mut self) -> bool {
        match rustix::io::write(&self.pipe, &self.pending) {
            Ok(count) => {
                self.pending.drain(..count);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }
}

/// Serves a VM until it has ended: console out, keyboard in, the VMM's messages, signals.
///
/// # Errors
/// When the VMM ends without a word, or standard output cannot be written.
pub fn serve(vmm: &mut Vmm, mut keyboard: Option<Keyboard>, signals: &Signals) -> anyhow::Result<ExitReason> {
    let stdin = io::stdin();
    let mut buffer = vec![0; CHUNK];
    let mut reason = None;
    let mut console_open = true;
    loop {
        let none = PollFlags::empty();
        let wanted = |condition: bool, flags| if condition { flags } else { none };
        let typing = keyboard.as_ref().is_some_and(|keyboard| keyboard.pending.is_empty());
        let pipe = keyboard.as_ref().map_or(signals.as_fd(), |keyboard| keyboard.pipe.as_fd());
        let mut waits = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::from_borrowed_fd(vmm.process.exit(), PollFlags::IN),
            PollFd::new(&vmm.control, wanted(reason.is_none(), PollFlags::IN)),
            PollFd::new(&vmm.console, wanted(console_open, PollFlags::IN)),
            PollFd::new(&stdin, wanted(typing, PollFlags::IN)),
            PollFd::from_borrowed_fd(pipe, wanted(keyboard.is_some() && !typing, PollFlags::OUT)),
        ];
        match poll(&mut waits, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the VM"),
        }
        let [signalled, exited, spoke, printed, typed, drained] =
            waits.map(|wait| !wait.revents().is_empty());

        if printed && console_open {
            console_open = copy_console(vmm, &mut buffer)?;
        }
        if spoke && reason.is_none() {
            reason = hear(vmm);
        }
        let mut stop = signalled && signals.next().is_some();
        if typed && typing {
            match rustix::io::read(&stdin, &mut buffer[..]) {
                Ok(0) | Err(_) => keyboard = None,
                Ok(count) => {
                    stop |= keyboard.as_mut().is_some_and(|keyboard| !keyboard.take(&buffer[..count]))
                }
            }
        } else if drained && keyboard.as_mut().is_some_and(|keyboard| !keyboard.flush()) {
            keyboard = None;
        }
        if stop {
            // A VMM that is gone already needs no telling.
            let _ = vmm.control.send(&KeeperMessage::Stop, None);
        }
        if exited {
            while console_open && copy_console(vmm, &mut buffer)? {}
            reason = reason.or_else(|| hear(vmm));
            let how = vmm.process.reap();
            return reason.with_context(|| format!("the VMM {how} without a word"));
        }
    }
}

/// The VMM's next message that is about its end.
fn hear(vmm: &Vmm) -> Option<ExitReason> {
    loop {
        match vmm.control.receive() {
            Ok(Received::Message(VmmMessage::Exit(reason), _)) => return Some(reason),
            Ok(Received::Message(..)) => {}
            Ok(Received::Nothing | Received::Closed) | Err(_) => return None,
        }
    }
}

/// Copies what the guest says; `false` when there is no more.
fn copy_console(vmm: &Vmm, buffer: &mut [u8]) -> anyhow::Result<bool> {
    match rustix::io::read(&vmm.console, &mut buffer[..]) {
        Ok(0) => Ok(false),
        Ok(count) => {
            let mut out = io::stdout().lock();
            let written = out.write_all(&buffer[..count]).and_then(|()| out.flush());
            written.context("cannot write the console's output")?;
            Ok(true)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(true),
        Err(error) => Err(error).context("cannot read the console"),
    }
}
