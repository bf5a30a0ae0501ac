//! A front end that is attached to a container: its streams, its terminal, its signals, until the container ends.

use std::{
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread::{self, JoinHandle},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, poll},
    pipe::{PipeFlags, pipe_with},
    process::{Signal, getpid, kill_process},
    stdio::{stderr, stdin, stdout},
};

use super::{
    detach::{DetachKeys, Matcher},
    options::Attached,
};
use crate::{
    cli::terminal::{self, RawTerminal},
    container::{Error, Result},
    vm::{
        control::{ClientMessage, ExecNews, KeeperMessage, Stream, Timings},
        signals::Signals,
    },
    vmm::channel::{Channel, Received},
};

/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;
/// Signals that are passed on to the container, or end the front end.
const PASSED_ON: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTERM,
    libc::SIGALRM,
    libc::SIGPWR,
];

/// What a front end wants of a container.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The streams to attach.
    pub attached: Attached,
    /// The container has a terminal.
    pub tty: bool,
    /// Signals are passed on to the container.
    pub pass_signals: bool,
    /// What is typed to leave the container.
    pub detach_keys: DetachKeys,
    /// It is about a process that the keeper has prepared, not about the container's.
    pub exec: bool,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The container ended.
    Exited {
        /// Exit code for this process.
        code: u8,
        /// When things happened, if the keeper could say.
        timings: Option<Timings>,
    },
    /// The front end leaves, the container goes on.
    Detached,
}

/// Stays with a container until it ends or the front end is told to leave.
///
/// # Errors
/// When the keeper cannot be told what is wanted.
pub fn run(channel: &Channel, wish: &Wish) -> Result<End> {
    let mut session = Session::new(channel, wish)?;
    let end = session.serve();
    session.terminal = None;
    session.finish_output();
    end
}

/// A session.
struct Session<'a> {
    channel: &'a Channel,
    wish: &'a Wish,
    signals: Signals,
    /// Readable when the detach keys were typed.
    detach: OwnedFd,
    /// The pipe that input goes into, until the container runs.
    input: Option<OwnedFd>,
    outputs: Vec<JoinHandle<io::Result<()>>>,
    terminal: Option<RawTerminal>,
    /// The container runs.
    started: bool,
    /// The keeper has yet to note how the terminal is: until then it must stay so.
    noting: bool,
    /// Exit code, once the container has told it.
    code: Option<u8>,
}

fn unreachable_keeper(error: io::Error) -> Error {
    Error::Keeper(format!("does not answer: {error}"))
}

impl<'a> Session<'a> {
    fn new(channel: &'a Channel, wish: &'a Wish) -> Result<Self> {
        let mut signals = PASSED_ON.to_vec();
        if wish.tty {
            signals.extend([libc::SIGWINCH, libc::SIGTSTP]);
        }
        // Before any thread is made, so that none of them is interrupted.
        let signals = Signals::take(&signals).map_err(unreachable_keeper)?;
        let detach = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from);
        let mut session = Self {
            channel,
            wish,
            signals,
            detach: detach.map_err(unreachable_keeper)?,
            input: None,
            outputs: Vec::new(),
            terminal: None,
            started: false,
            noting: false,
            code: None,
        };
        session.attach().map_err(unreachable_keeper)?;
        Ok(session)
    }

    /// Tells the keeper. One that is gone has said why, which is read later.
    fn tell(&self, message: &ClientMessage, descriptor: Option<BorrowedFd<'_>>) {
        let _ = self.channel.send(message, descriptor);
    }

    /// Hands the keeper the far ends of pipes for the streams.
    fn attach(&mut self) -> io::Result<()> {
        let Attached { stdin, stdout, stderr } = self.wish.attached;
        if stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            self.tell(&ClientMessage::Attach { stream: Stream::Stdin }, Some(read.as_fd()));
            self.input = Some(write);
        }
        for (wanted, stream) in [(stdout, Stream::Stdout), (stderr && !self.wish.tty, Stream::Stderr)] {
            if wanted {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                self.tell(&ClientMessage::Attach { stream }, Some(write.as_fd()));
                self.outputs.push(thread::spawn(move || copy_output(&read, stream)));
            }
        }
        if self.wish.tty {
            self.tell_size();
            if stdin {
                self.tell(&ClientMessage::Terminal, Some(rustix::stdio::stdin()));
                self.noting = true;
            }
        }
        if self.wish.exec {
            self.tell(&ClientMessage::Begin, None);
        }
        Ok(())
    }

    fn tell_size(&self) {
        if let Some(size) = terminal::size() {
            self.tell(&ClientMessage::Resize { size }, None);
        }
    }

    fn serve(&mut self) -> Result<End> {
        let mut timings = None;
        loop {
            let (keeper, signal, detach) = self.wait();
            if keeper {
                match self.channel.receive::<KeeperMessage>().map_err(unreachable_keeper)? {
                    Received::Message(KeeperMessage::Gone { timings: told, .. }, _) => timings = Some(told),
                    Received::Message(message, _) => self.hear(message),
                    Received::Nothing => {}
                    Received::Closed => break,
                }
                if self.wish.exec && self.code.is_some() {
                    break;
                }
            }
            if signal {
                while let Some(signal) = self.signals.next() {
                    if let Some(end) = self.signalled(signal) {
                        return Ok(end);
                    }
                }
            }
            if detach {
                return Ok(self.leave());
            }
        }
        match self.code {
            Some(code) => Ok(End::Exited { code, timings }),
            None => Err(Error::Keeper("was killed; the container is over".to_owned())),
        }
    }

    /// Waits, and says who has something: the keeper, a signal, the detach keys.
    fn wait(&self) -> (bool, bool, bool) {
        let mut set = [
            PollFd::new(self.channel, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.detach, PollFlags::IN),
        ];
        // An interrupted poll says nothing, and is simply repeated.
        if poll(&mut set, None).is_err() {
            return (false, false, false);
        }
        let ready = |at: usize| !set[at].revents().is_empty();
        (ready(0), ready(1), ready(2))
    }

    fn hear(&mut self, message: KeeperMessage) {
        match message {
            KeeperMessage::Exec { news } => self.hear_of_exec(news),
            // The container's start and end are its own; a process that ends with it says so.
            KeeperMessage::Started | KeeperMessage::Failed { .. } | KeeperMessage::Exited { .. }
                if self.wish.exec => {}
            KeeperMessage::Started => {
                self.started = true;
                self.begin();
            }
            KeeperMessage::TerminalKept => {
                self.noting = false;
                self.begin();
            }
            KeeperMessage::Failed { code, message } => {
                self.code = Some(code);
                eprintln!("hull: {message}");
            }
            KeeperMessage::Exited { code, error, .. } => {
                self.code = Some(code);
                // Whoever typed is back in their own terminal before anything is printed.
                self.terminal = None;
                if let Some(error) = error {
                    eprintln!("hull: {error}");
                }
            }
            // The others are for whoever asks for them.
            KeeperMessage::Gone { .. }
            | KeeperMessage::Frozen
            | KeeperMessage::Paused
            | KeeperMessage::Updated { .. }
            | KeeperMessage::Refused { .. }
            | KeeperMessage::GoesOn => {}
        }
    }

    fn hear_of_exec(&mut self, news: ExecNews) {
        match news {
            ExecNews::Started => {
                self.started = true;
                self.begin();
            }
            ExecNews::Refused { message } => {
                self.code = Some(1);
                eprintln!("hull: {message}");
            }
            ExecNews::Failed { code, message } => {
                self.code = Some(code);
                self.terminal = None;
                eprintln!("hull: {message}");
            }
            ExecNews::Exited { code } => {
                self.code = Some(code);
                self.terminal = None;
            }
        }
    }

    /// The container runs: from now on it is what keys are typed to.
    fn begin(&mut self) {
        if !self.started || self.noting {
            return;
        }
        let Some(pipe) = self.input.take() else { return };
        let mut matcher = None;
        if self.wish.tty {
            // Without a terminal here the input is passed on as it comes.
            self.terminal = RawTerminal::enter().ok();
            matcher = Some(self.wish.detach_keys.matcher());
        }
        if let Ok(detach) = self.detach.try_clone() {
            // Never waited for: it may be reading a terminal for as long as this process lives.
            thread::spawn(move || copy_input(&pipe, matcher, &detach));
        }
    }

    fn signalled(&mut self, signal: u8) -> Option<End> {
        match i32::from(signal) {
            libc::SIGWINCH => self.tell_size(),
            libc::SIGTSTP => self.pause(),
            number => {
                if self.wish.pass_signals {
                    self.tell(&ClientMessage::Signal { signal }, None);
                }
                // Without its terminal the front end is of no use; and what is not passed on is for itself.
                if !self.wish.pass_signals || (self.wish.tty && number == libc::SIGHUP) {
                    return Some(End::Exited { code: 128 + signal, timings: None });
                }
            }
        }
        None
    }

    /// Stops as a job of the shell, which gets its terminal as it left it, and goes on when it is told to.
    fn pause(&mut self) {
        let was_raw = self.terminal.take().is_some();
        let _ = kill_process(getpid(), Signal::STOP);
        if was_raw {
            self.terminal = RawTerminal::enter().ok();
        }
        self.tell_size();
    }

    fn leave(&mut self) -> End {
        self.terminal = None;
        self.tell(&ClientMessage::Detach, None);
        End::Detached
    }

    /// Waits until all output is printed. The keeper has closed its ends, or does when this process leaves.
    fn finish_output(&mut self) {
        if self.code.is_some() {
            for output in self.outputs.drain(..) {
                let _ = output.join();
            }
        }
        let _ = io::stdout().flush();
    }
}

/// From the container to this process's own stream. When nobody reads that any more, the process ends as others do
/// that write to a closed pipe.
fn copy_output(from: &OwnedFd, stream: Stream) -> io::Result<()> {
    let to = if stream == Stream::Stderr { stderr() } else { stdout() };
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut *buffer))?;
        if count == 0 {
            return Ok(());
        }
        if let Err(error) = write_all(to, &buffer[..count]) {
            if error.kind() == io::ErrorKind::BrokenPipe && stream == Stream::Stdout {
                terminal::restore();
                std::process::exit(128 + libc::SIGPIPE);
            }
            return Err(error);
        }
    }
}

/// From this process's own input to the container, until its end or the detach keys.
fn copy_input(to: &OwnedFd, mut matcher: Option<Matcher>, detach: &OwnedFd) {
    let mut buffer = vec![0; CHUNK];
    let mut passed = Vec::new();
    while let Ok(count) = rustix::io::retry_on_intr(|| rustix::io::read(stdin(), &mut *buffer)) {
        let bytes = match &mut matcher {
            Some(matcher) => {
                passed.clear();
                if matcher.push(&buffer[..count], &mut passed) {
                    let _ = rustix::io::write(detach, &1u64.to_ne_bytes());
                    // Keep the pipe open: the container's input does not end with this.
                    loop {
                        thread::park();
                    }
                }
                &passed[..]
            }
            None => &buffer[..count],
        };
        if count == 0 || write_all(to.as_fd(), bytes).is_err() {
            return;
        }
    }
}

/// Writes everything, waiting where the descriptor is non-blocking: another process may have made it so.
fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                poll(&mut [PollFd::new(&to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
