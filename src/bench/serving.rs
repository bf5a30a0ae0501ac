//! Containers that serve: each is sent a line a second, and sends it back.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use serde::Serialize;

use super::statistics::Summary;
use crate::{
    container::{action, state::Store},
    vm::{
        control::{ClientMessage, Stream},
        wait,
    },
    vmm::channel::Channel,
};

/// Between two requests to a container.
const INTERVAL: Duration = Duration::from_secs(1);
const REQUEST: &[u8] = b"are you there?\n";

/// How containers served.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Served {
    /// Lines that were sent.
    pub requests: usize,
    /// Lines that were not, since the one before had no answer yet.
    pub skipped: usize,
    /// Lines that came back.
    pub answers: usize,
    /// How long they took, in milliseconds.
    pub milliseconds: Option<Summary>,
}

/// Sends each of these containers, whose processes give back what they read, a line a second for this long, evenly spread.
///
/// # Errors
/// When a container ends, or its keeper does not answer.
pub fn measure(containers: &[String], duration: Duration) -> anyhow::Result<Served> {
    let store = Store::open()?;
    let begun = Instant::now();
    let step = INTERVAL / containers.len().max(1) as u32;
    let clients = containers.iter().enumerate();
    let clients = clients.map(|(place, id)| Client::of(&store, id, begun + step * place as u32));
    let mut clients: Vec<Client> = clients.collect::<anyhow::Result<_>>()?;
    let mut served = Served { requests: 0, skipped: 0, answers: 0, milliseconds: None };
    let mut times = Vec::new();
    let end = begun + duration;
    while Instant::now() < end {
        for client in &mut clients {
            if client.due <= Instant::now() {
                client.due += INTERVAL;
                if client.request()? { served.requests += 1 } else { served.skipped += 1 }
            }
        }
        wait(&clients, end)?;
        for client in &mut clients {
            if let Some(time) = client.answer()? {
                times.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    served.answers = times.len();
    served.milliseconds = Summary::of(times);
    Ok(served)
}

/// Waits for an answer, or until the next request.
fn wait(clients: &[Client], end: Instant) -> anyhow::Result<()> {
    let due = clients.iter().map(|client| client.due).fold(end, Instant::min);
    let left = wait::left(due);
    let mut sources: Vec<_> =
        clients.iter().map(|client| PollFd::new(&client.output, PollFlags::IN)).collect();
    match poll(&mut sources, Some(&left)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("cannot wait for answers"),
    }
}

/// Somebody attached to a container.
struct Client {
    container: String,
    input: OwnedFd,
    output: OwnedFd,
    /// When the request was sent that waits for an answer, and how much of that is there.
    waiting: Option<(Instant, usize)>,
    /// When to send the next.
    due: Instant,
    /// Its end would be taken for the front end's.
    _keeper: Channel,
}

impl Client {
    fn of(store: &Store, id: &str, due: Instant) -> anyhow::Result<Self> {
        let keeper = action::connect(store, &store.find(id)?)?;
        let keeper = keeper.with_context(|| format!("container {id} has ended"))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
        let ((far_input, input), (output, far_output)) = (pipe()?, pipe()?);
        rustix::io::ioctl_fionbio(&output, true)?;
        for (stream, far) in [(Stream::Stdin, far_input), (Stream::Stdout, far_output)] {
            keeper.send(&ClientMessage::Attach { stream }, Some(far.as_fd()))?;
        }
        Ok(Self { container: id.to_owned(), input, output, waiting: None, due, _keeper: keeper })
    }

    /// Sends a request, unless one waits for its answer.
    fn request(&mut self) -> anyhow::Result<bool> {
        if self.waiting.is_some() {
            return Ok(false);
        }
        // A pipe takes as much in one piece.
        rustix::io::write(&self.input, REQUEST)
            .with_context(|| format!("container {} reads nothing", self.container))?;
        self.waiting = Some((Instant::now(), 0));
        Ok(true)
    }

    /// How long the answer took that is complete now.
    fn answer(&mut self) -> anyhow::Result<Option<Duration>> {
        let mut buffer = [0; REQUEST.len()];
        let count = match rustix::io::read(&self.output, &mut buffer) {
            Ok(0) => anyhow::bail!("container {} has ended", self.container),
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error).context("cannot read an answer"),
        };
        let Some((sent, there)) = self.waiting else {
            anyhow::bail!("container {} says what nobody asked", self.container);
        };
        let expected = REQUEST.get(there..there + count);
        anyhow::ensure!(
            expected == Some(&buffer[..count]),
            "container {} says something else than it was told",
            self.container
        );
        let complete = there + count == REQUEST.len();
        self.waiting = (!complete).then_some((sent, there + count));
        Ok(complete.then(|| sent.elapsed()))
    }
}
