//! The standard streams of a process: pipes or a terminal on its side, a connection each on the host's.

use std::array;

use hull_protocol::{Stdio as Ports, WindowSize};
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, CWD, Mode, OFlags, Uid},
    io,
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    failure::Failure,
    host::{Host, await_connected},
    pump::{Pump, Severed, Waiting},
    step::Handed,
    sys,
};

const NAMES: [(Handed, &str); 3] =
    [(Handed::Stdin, "stdin"), (Handed::Stdout, "stdout"), (Handed::Stderr, "stderr")];

/// The streams of a process, by number.
#[derive(Debug)]
pub struct Stdio {
    pumps: [Option<Pump>; 3],
    /// Streams that are without a connection while the guest rests.
    severed: [Option<Severed>; 3],
    /// Connections that wait for a terminal to be opened.
    sockets: [Option<OwnedFd>; 3],
    terminal: Option<OwnedFd>,
}

/// The process's side of its streams, until it has them.
#[derive(Debug)]
pub struct Ends {
    pipes: [Option<OwnedFd>; 3],
    /// `/dev/null`, if a stream leads nowhere.
    null: Option<OwnedFd>,
}

impl Ends {
    /// What to hand to the process's child. Nothing for a terminal, which it opens itself.
    pub fn files(&self) -> Vec<(Handed, BorrowedFd<'_>)> {
        let ends = NAMES.iter().zip(&self.pipes);
        ends.filter_map(|((which, _), pipe)| Some((*which, pipe.as_ref().or(self.null.as_ref())?.as_fd())))
            .collect()
    }
}

impl Stdio {
    /// Connects to the host's ports and makes the pipes, which belong to `owner`: a process may open its streams again by name.
    ///
    /// # Errors
    /// When the host refuses a connection.
    pub fn open(host: &Host, ports: Ports, terminal: bool, owner: Uid) -> Result<(Self, Ends), Failure> {
        let stderr = if terminal { None } else { ports.stderr };
        let sockets = connect(host, [ports.stdin, ports.stdout, stderr])?;
        let (pumps, severed) = (array::from_fn(|_| None), array::from_fn(|_| None));
        let mut streams = Self { pumps, severed, sockets, terminal: None };
        let mut ends = Ends { pipes: array::from_fn(|_| None), null: None };
        if !terminal {
            for (number, end) in ends.pipes.iter_mut().enumerate() {
                let Some(socket) = streams.sockets[number].take() else { continue };
                let (reader, writer) =
                    pipe_of(owner).map_err(|error| Failure::internal("cannot make a pipe", error))?;
                let (pump, theirs) = if number == 0 {
                    (Pump::to_pipe(socket, writer), reader)
                } else {
                    (Pump::from_pipe(reader, socket), writer)
                };
                streams.pumps[number] = Some(pump);
                *end = Some(theirs);
            }
            if ends.pipes.iter().any(Option::is_none) {
                let null = fs::openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|error| Failure::internal("cannot open /dev/null", error))?;
                ends.null = Some(null);
            }
        }
        Ok((streams, ends))
    }

    /// Takes the master of the process's terminal.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn set_terminal(&mut self, master: OwnedFd) -> io::Result<()> {
        if let Some(socket) = self.sockets[0].take() {
            self.pumps[0] = Some(Pump::to_terminal(socket, io::fcntl_dupfd_cloexec(&master, 0)?));
        }
        if let Some(socket) = self.sockets[1].take() {
            self.pumps[1] = Some(Pump::from_terminal(io::fcntl_dupfd_cloexec(&master, 0)?, socket));
        }
        self.terminal = Some(master);
        Ok(())
    }

    /// Changes the size of the terminal, if there is one.
    pub fn resize(&self, size: WindowSize) {
        if let Some(terminal) = &self.terminal {
            // A terminal that is hung up has no size to change.
            let _ = sys::set_window_size(terminal.as_fd(), size.columns, size.rows);
        }
    }

    /// Starts to move bytes; `token` gives the epoll token for a stream's number.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn watch(&self, epoll: &OwnedFd, token: impl Fn(usize) -> u64) -> io::Result<()> {
        for (number, pump) in self.pumps.iter().enumerate() {
            if let Some(pump) = pump {
                epoll::add(epoll, pump.source(), EventData::new_u64(token(number)), EventFlags::IN)?;
            }
        }
        Ok(())
    }

    /// Moves what can be moved of one stream. True when anything was.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn run(&mut self, number: usize, epoll: &OwnedFd, token: u64) -> io::Result<bool> {
        let Some(pump) = self.pumps.get_mut(number).and_then(Option::as_mut) else { return Ok(false) };
        let before = pump.waiting();
        let after = pump.run();
        let moved = pump.has_moved();
        let data = EventData::new_u64(token);
        match (before, after) {
            // What is watched ends with its descriptor.
            (_, Waiting::Nothing) => self.pumps[number] = None,
            (Waiting::Source, Waiting::Sink) => {
                epoll::delete(epoll, pump.source())?;
                epoll::add(epoll, pump.sink(), data, EventFlags::OUT)?;
            }
            (Waiting::Sink, Waiting::Source) => {
                epoll::delete(epoll, pump.sink())?;
                epoll::add(epoll, pump.source(), data, EventFlags::IN)?;
            }
            _ => {}
        }
        Ok(moved)
    }

    /// Whether all that the process wrote is with the host.
    pub fn is_drained(&self) -> bool {
        [1, 2].iter().all(|&number| self.pumps[number].is_none() && self.severed[number].is_none())
    }

    /// Whether it is without connections to the host.
    pub fn is_severed(&self) -> bool {
        self.severed.iter().any(Option::is_some)
    }

    /// Closes the connections of outputs, behind what was sent there. What was not sent stays here.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn sever_outputs(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        self.sever(1, epoll)?;
        self.sever(2, epoll)
    }

    /// Takes what is left of the input, whose connection the host has half-closed, and closes it.
    ///
    /// # Errors
    /// When the host has not.
    pub fn sever_input(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        if let Some(pump) = &mut self.pumps[0] {
            pump.take_all()?;
        }
        self.sever(0, epoll)
    }

    fn sever(&mut self, number: usize, epoll: &OwnedFd) -> io::Result<()> {
        let Some(pump) = self.pumps[number].take() else { return Ok(()) };
        match pump.waiting() {
            Waiting::Source => epoll::delete(epoll, pump.source())?,
            Waiting::Sink => epoll::delete(epoll, pump.sink())?,
            Waiting::Nothing => {}
        }
        self.severed[number] = Some(pump.sever());
        Ok(())
    }

    /// Connects again what was severed, and goes on where it was; `token` is as for [`watch`](Self::watch).
    ///
    /// # Errors
    /// When the host refuses a connection.
    pub fn mend(
        &mut self,
        host: &Host,
        ports: Ports,
        epoll: &OwnedFd,
        token: impl Fn(usize) -> u64,
    ) -> Result<(), Failure> {
        let mut wanted = [ports.stdin, ports.stdout, ports.stderr];
        for (port, severed) in wanted.iter_mut().zip(&self.severed) {
            *port = port.filter(|_| severed.is_some());
        }
        for (number, socket) in connect(host, wanted)?.into_iter().enumerate() {
            let Some((severed, socket)) = self.severed[number].take().zip(socket) else { continue };
            let pump = severed.mend(socket).and_then(|pump| {
                let data = EventData::new_u64(token(number));
                match pump.waiting() {
                    Waiting::Sink => epoll::add(epoll, pump.sink(), data, EventFlags::OUT)?,
                    _ => epoll::add(epoll, pump.source(), data, EventFlags::IN)?,
                }
                Ok(pump)
            });
            let name = NAMES[number].1;
            let pump =
                pump.map_err(|error| Failure::internal(format_args!("cannot reopen {name}"), error))?;
            self.pumps[number] = Some(pump);
        }
        Ok(())
    }
}

/// Connects streams, by number, to the host's ports.
fn connect(host: &Host, ports: [Option<u32>; 3]) -> Result<[Option<OwnedFd>; 3], Failure> {
    let mut sockets = [None, None, None];
    for (number, port) in ports.iter().enumerate() {
        if let Some(port) = port {
            let socket = host.connect(*port).map_err(|error| refused(number, *port, error))?;
            sockets[number] = Some(socket);
        }
    }
    let (numbers, started): (Vec<usize>, Vec<&OwnedFd>) =
        sockets.iter().enumerate().filter_map(|(number, s)| Some((number, s.as_ref()?))).unzip();
    await_connected(&started).map_err(|(place, error)| {
        let number = numbers[place];
        refused(number, ports[number].unwrap_or_default(), error)
    })?;
    Ok(sockets)
}

fn pipe_of(owner: Uid) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    if owner != Uid::ROOT {
        fs::fchown(&reader, Some(owner), None)?;
    }
    Ok((reader, writer))
}

fn refused(number: usize, port: u32, error: io::Errno) -> Failure {
    Failure::internal(format_args!("cannot connect {} to the host's port {port}", NAMES[number].1), error)
}
