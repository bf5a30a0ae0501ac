//! The agent's connection to its keeper: frames in, frames out.

use std::{
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

use hull_protocol::{
    AGENT_PORT, AgentMessage, HostMessage, MAX_FRAME, VERSION,
    frame::{Decoder, FrameError, encode},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsRawFd, BorrowedFd, OwnedFd},
    io::{self, Errno},
    net::{self, RecvFlags, SendFlags},
    system,
    time::Timespec,
};

use crate::{
    host::{Host, Listener, await_connected},
    power, sys,
};

/// Bytes read at once; most requests fit.
const PIECE: usize = 16 << 10;

/// The descriptor for a last word from anywhere, see [`last_word`]; -1 before there is a connection.
static LAST_WORD: AtomicI32 = AtomicI32::new(-1);

/// The connection. What cannot be said on it can be said to nobody: then the guest resets.
#[derive(Debug)]
pub struct Control {
    socket: OwnedFd,
    decoder: Decoder,
    /// Whether the last read took all there was.
    drained: bool,
    greeted: bool,
}

/// What a read of the connection came to.
pub enum Incoming {
    /// A whole message.
    Message(Box<HostMessage>),
    /// Nothing more for now.
    Nothing,
    /// The host closed the connection.
    End,
}

impl Control {
    /// Connects and says hello.
    pub fn open(host: &Host, first_instruction_ns: u64) -> Self {
        let connected = host
            .connect(AGENT_PORT)
            .and_then(|socket| await_connected(&[&socket]).map(|()| socket).map_err(|(_, error)| error));
        let socket = match connected {
            Ok(socket) => socket,
            Err(error) => {
                last_word(&format!("cannot connect to the host's port {AGENT_PORT}: {error}"));
                power::reset();
            }
        };
        Self::greeting(socket, first_instruction_ns)
    }

    /// Takes a connection that the host made, and says hello.
    pub fn accept(listener: &Listener) -> io::Result<Self> {
        Ok(Self::greeting(listener.accept()?, sys::monotonic()))
    }

    fn greeting(socket: OwnedFd, first_instruction_ns: u64) -> Self {
        LAST_WORD.store(socket.as_raw_fd(), Ordering::Relaxed);
        let mut control = Self { socket, decoder: Decoder::default(), drained: false, greeted: false };
        control.send(&AgentMessage::Hello {
            version: VERSION,
            max_frame: MAX_FRAME,
            features: Vec::new(),
            kernel: system::uname().release().to_string_lossy().into_owned(),
            first_instruction_ns,
            ready_ns: sys::monotonic(),
        });
        control
    }

    /// The socket, to wait on.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Sends a message; resets the guest if that is not possible.
    pub fn send(&mut self, message: &AgentMessage) {
        let sent = encode(message).map_err(|error| error.to_string());
        if let Err(reason) = sent.and_then(|frame| send_all(&self.socket, &frame).map_err(|e| e.to_string()))
        {
            last_word(&format!("cannot speak to the host: {reason}"));
            power::sync_and_reset();
        }
    }

    /// The next message that is here. What the host may not send ends the guest.
    pub fn receive(&mut self) -> Incoming {
        loop {
            match self.decoder.next() {
                Ok(Some(message)) => return Incoming::Message(Box::new(self.greet(message))),
                Ok(None) if self.drained => {
                    self.drained = false;
                    return Incoming::Nothing;
                }
                Ok(None) => {}
                Err(FrameError::TooLong(length)) => {
                    self.fatal(&format!("the host sent a frame of {length} bytes, {MAX_FRAME} are allowed"))
                }
                Err(error) => self.fatal(&format!("the host sent what is {error}")),
            }
            let mut piece = vec![0; PIECE];
            match net::recv(&self.socket, &mut *piece, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Incoming::End,
                Ok((count, _)) => {
                    self.drained = count < PIECE;
                    self.decoder.push(piece.get(..count).unwrap_or_default());
                }
                Err(Errno::AGAIN) => return Incoming::Nothing,
                Err(Errno::INTR) => {}
                Err(_) => return Incoming::End,
            }
        }
    }

    /// Sees to it that the first message is a hello of a version that this agent knows.
    fn greet(&mut self, message: HostMessage) -> HostMessage {
        match &message {
            HostMessage::Hello { version, .. } if *version != VERSION => self.fatal(&format!(
                "the host speaks version {version} of the protocol, this agent version {VERSION}"
            )),
            HostMessage::Hello { .. } => self.greeted = true,
            _ if !self.greeted => self.fatal("the host did not say hello first"),
            _ => {}
        }
        message
    }

    /// Tells the host why the guest cannot go on, and resets it.
    pub fn fatal(&self, message: &str) -> ! {
        last_word(message);
        power::sync_and_reset()
    }

    /// Waits until the host closes the connection, but not for longer than this.
    pub fn await_end(&self, patience: Duration) {
        let patience = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: 0 };
        let mut piece = [0; 256];
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&patience)) {
                Ok(1..) => match net::recv(&self.socket, &mut piece, RecvFlags::DONTWAIT) {
                    Ok((1.., _)) | Err(Errno::AGAIN | Errno::INTR) => {}
                    _ => return,
                },
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }
}

/// Says why the guest ends: to the host, and on the console.
pub fn last_word(message: &str) {
    let file = LAST_WORD.load(Ordering::Relaxed);
    if file >= 0
        && let Ok(frame) = encode(&AgentMessage::Fatal { message: message.to_owned() })
    {
        // SAFETY: a connection is closed only after another is stored there.
        let _ = send_all(unsafe { BorrowedFd::borrow_raw(file) }, &frame);
    }
    let line = format!("hull-agent: {message}\n");
    // SAFETY: if the kernel gave no console, this fails with EBADF or writes a line where nobody minds.
    let _ = io::write(unsafe { BorrowedFd::borrow_raw(2) }, line.as_bytes());
}

/// Sends all of it, waiting for room.
fn send_all(socket: impl rustix::fd::AsFd, mut bytes: &[u8]) -> io::Result<()> {
    const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
    let socket = socket.as_fd();
    while !bytes.is_empty() {
        match net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::OUT)], Some(&PATIENCE)) == Ok(0) {
                    return Err(Errno::TIMEDOUT);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
