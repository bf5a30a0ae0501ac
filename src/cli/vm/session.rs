//! A terminal that is the console of a VM.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

use anyhow::Context;
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair},
};

use crate::{
    cli::terminal::{self, RawTerminal},
    config::{Console, Name},
    vm::{
        backlog::{Backlog, read},
        plain::{
            Claim, Description,
            client::{self, Keeper},
            control::KeeperMessage,
            ending,
        },
        signals::Signals,
    },
    vmm::control::ExitReason,
};

/// Bytes copied at a time.
const CHUNK: usize = 16 << 10;
/// Ctrl-A, which Ctrl-A again sends to the guest; with X behind it, it ends the session.
const ESCAPE: u8 = 1;

/// Starts a VM: with this terminal as its console, or without one and by itself.
///
/// # Errors
/// When it cannot be started, or ended as it should not.
pub fn start(claim: Claim, description: &Description, detach: bool) -> anyhow::Result<ExitCode> {
    let name = claim.folder.name.clone();
    if detach {
        client::start(claim, description, false)?;
        println!("{name}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut session = Session::new(true)?;
    let keeper = client::start(claim, description, true)?;
    let reason = session.serve(&keeper, description.vm.console)?;
    match reason {
        Some(reason) => tell(&name, &reason),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Connects this terminal with the console of a VM that runs, until either ends.
///
/// # Errors
/// When the keeper does not answer, or the VM ended as it should not.
pub fn attach(name: &Name, keeper: &Keeper, console: Console) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        console != Console::None,
        "VM {name} has no console; give it one in its file ([console] type)"
    );
    match Session::new(false)?.serve(keeper, console)? {
        Some(reason) => tell(name, &reason),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Says how a VM ended: 0 when it was stopped or ended itself, 1 when it crashed.
fn tell(name: &Name, reason: &ExitReason) -> anyhow::Result<ExitCode> {
    match (ending(Some(reason)), reason) {
        ((_, true), ExitReason::Stopped | ExitReason::PowerOff) => Ok(ExitCode::SUCCESS),
        ((words, true), _) => {
            eprintln!("hull: VM {name}: {words}");
            Ok(ExitCode::SUCCESS)
        }
        ((words, false), _) => anyhow::bail!("VM {name}: {words}"),
    }
}

/// A session.
struct Session {
    signals: Signals,
    /// The VM ends with it.
    tied: bool,
    /// The session's end of the console, and what the guest has not taken.
    socket: OwnedFd,
    typed: Backlog,
    /// The keeper's end, until it has it.
    far: Option<OwnedFd>,
    /// Standard input has not ended.
    typing: bool,
    keys: Keys,
}

/// What is typed, without what is meant for the session.
#[derive(Default)]
struct Keys {
    terminal: bool,
    escaped: bool,
}

impl Keys {
    /// Takes what was typed and gives what is for the guest; `None` when it ends the session.
    fn take(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::with_capacity(typed.len());
        for &key in typed {
            match (self.escaped, key) {
                (false, ESCAPE) if self.terminal => self.escaped = true,
                (true, b'x' | b'X') => return None,
                _ => {
                    self.escaped = false;
                    passed.push(key);
                }
            }
        }
        Some(passed)
    }
}

impl Session {
    /// To be made before the VM is, so that a signal meets the loop that ends it.
    fn new(tied: bool) -> anyhow::Result<Self> {
        let signals = Signals::take(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT])
            .context("cannot prepare for signals")?;
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let (socket, far) = pair.context("cannot make the console's socket")?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        let keys = Keys { terminal: io::stdin().is_terminal(), escaped: false };
        Ok(Self { signals, tied, socket, typed: Backlog::default(), far: Some(far), typing: true, keys })
    }

    /// Serves until the VM has ended, and says why; `None` when the session left it.
    fn serve(&mut self, keeper: &Keeper, console: Console) -> anyhow::Result<Option<ExitReason>> {
        if let Some(far) = self.far.take() {
            keeper.console(&far).context("the VM's keeper does not answer")?;
        }
        let raw = (console != Console::None && terminal::is_input()).then(RawTerminal::enter).transpose();
        let _raw = raw.context("cannot make the terminal raw")?;
        self.typing = console != Console::None;
        let mut buffer = vec![0; CHUNK];
        let mut showing = true;
        let mut ended = None;
        // The keeper lets go of the console when all of it was said.
        while showing || ended.is_none() {
            let [spoke, shown, drained, typed, signalled] = self.wait(keeper, showing, ended.is_none())?;
            if spoke && let KeeperMessage::Ended { reason } = keeper.receive()? {
                ended = Some(reason);
            }
            if shown {
                showing = self.show(&mut buffer)?;
            }
            if drained && self.typed.flush(self.socket.as_fd()).is_err() {
                self.typing = false;
            }
            let leave = signalled && self.signals.next().is_some() || typed && !self.pass_on(&mut buffer);
            if leave && !self.tied {
                return Ok(None);
            }
            if leave {
                keeper.ask_to_stop();
            }
        }
        Ok(ended)
    }

    /// Waits, and says who has something: the keeper, the guest, the guest's input, the terminal, a signal.
    fn wait(&self, keeper: &Keeper, showing: bool, listening: bool) -> anyhow::Result<[bool; 5]> {
        let stdin = io::stdin();
        let mut waits: Vec<(usize, PollFd<'_>)> = Vec::new();
        if listening {
            waits.push((0, PollFd::new(keeper, PollFlags::IN)));
        }
        if showing {
            waits.push((1, PollFd::new(&self.socket, PollFlags::IN)));
            if !self.typed.is_empty() {
                waits.push((2, PollFd::new(&self.socket, PollFlags::OUT)));
            }
        }
        if self.typing && self.typed.is_empty() {
            waits.push((3, PollFd::new(&stdin, PollFlags::IN)));
        }
        waits.push((4, PollFd::new(&self.signals, PollFlags::IN)));
        let (places, mut set): (Vec<_>, Vec<_>) = waits.into_iter().unzip();
        let mut ready = [false; 5];
        match poll(&mut set, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(ready),
            Err(error) => return Err(error).context("cannot wait for the VM"),
        }
        for (place, wait) in places.iter().zip(&set) {
            ready[*place] = !wait.revents().is_empty();
        }
        Ok(ready)
    }

    /// Prints what the guest says; `false` when there is no more.
    fn show(&self, buffer: &mut [u8]) -> anyhow::Result<bool> {
        match read(self.socket.as_fd(), buffer) {
            None => Ok(true),
            Some(0) => Ok(false),
            Some(count) => {
                let mut out = io::stdout().lock();
                let written = out.write_all(&buffer[..count]).and_then(|()| out.flush());
                written.context("cannot write the console's output")?;
                Ok(true)
            }
        }
    }

    /// Passes on what is typed; `false` when that ends the session.
    fn pass_on(&mut self, buffer: &mut [u8]) -> bool {
        if !self.typing || !self.typed.is_empty() {
            return true;
        }
        match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
            Ok(0) | Err(_) => {
                // The guest's input does not end: there is only no more of it.
                self.typing = false;
                let _ = shutdown(&self.socket, Shutdown::Write);
                true
            }
            Ok(count) => match self.keys.take(&buffer[..count]) {
                Some(passed) => {
                    self.typing = self.typed.send(self.socket.as_fd(), &passed).is_ok();
                    true
                }
                None => false,
            },
        }
    }
}
