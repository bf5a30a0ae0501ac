//! What the keeper waits for.

use std::os::fd::{AsFd, BorrowedFd};

use hull_protocol::ProcessId;
use rustix::event::{PollFd, PollFlags};

use super::{ClientId, Keeper, PROCESS, streams::Streams};
use crate::vm::wait;

/// Somebody the keeper hears from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The VMM's control socket.
    Control,
    /// The VMM's process.
    Exit,
    /// The guest's console.
    Console,
    /// The agent.
    Agent,
    /// An output of a process, by its place.
    Output(ProcessId, usize),
    /// A front end's pipe for an output.
    Sink(ProcessId, usize, ClientId),
    /// A front end's pipe with input for a process.
    InputFrom(ProcessId, ClientId),
    /// The input of a process.
    Input(ProcessId),
    /// The output of a health check.
    Health,
    /// A front end.
    Client(ClientId),
    /// New front ends.
    Listener,
    /// A network of the VM's, by its place.
    Network(u32),
    /// Signals to the keeper.
    Signals,
}

/// The descriptors of one `poll(2)`, and whose they are.
#[derive(Default)]
struct Set<'a>(Vec<(Source, PollFd<'a>)>);

impl<'a> Set<'a> {
    fn add(&mut self, source: Source, descriptor: BorrowedFd<'a>, flags: PollFlags) {
        self.0.push((source, PollFd::from_borrowed_fd(descriptor, flags)));
    }

    fn add_streams(&mut self, process: ProcessId, streams: &'a Streams) {
        for (index, output) in streams.outputs.iter().enumerate() {
            if let Some(descriptor) = output.readable() {
                self.add(Source::Output(process, index), descriptor, PollFlags::IN);
            }
            for (client, descriptor, waiting) in output.sinks() {
                self.add(Source::Sink(process, index, client), descriptor, output_if(waiting));
            }
        }
        if let Some((descriptor, waiting)) = streams.input.guest() {
            self.add(Source::Input(process), descriptor, output_if(waiting));
        }
        for (client, descriptor) in streams.input.readable() {
            self.add(Source::InputFrom(process, client), descriptor, PollFlags::IN);
        }
    }
}

/// `POLLOUT` if something waits to be written; the other side's end is always reported.
fn output_if(waiting: bool) -> PollFlags {
    if waiting { PollFlags::OUT } else { PollFlags::empty() }
}

impl Keeper {
    /// Waits until something happens or a time limit is over. The VMM's messages come first, the agent's next:
    /// a connection is known before anything is said about it.
    pub(super) fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut set = Set::default();
        if self.control_open {
            set.add(Source::Control, self.vmm.control.as_fd(), PollFlags::IN);
        }
        if self.console_open {
            set.add(Source::Console, self.vmm.console.as_fd(), PollFlags::IN);
        }
        if let Some(agent) = &self.agent {
            let (descriptor, unsent) = agent.descriptor();
            set.add(Source::Agent, descriptor, PollFlags::IN | output_if(unsent));
        }
        set.add_streams(PROCESS, &self.streams);
        for exec in &self.execs {
            set.add_streams(exec.id, &exec.streams);
        }
        if let Some(output) = self.watch.output() {
            set.add(Source::Health, output, PollFlags::IN);
        }
        for client in &self.clients {
            set.add(Source::Client(client.id), client.as_fd(), PollFlags::IN);
        }
        if let Some(listener) = &self.listener {
            set.add(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        for (place, network) in self.networks.descriptors() {
            set.add(Source::Network(place), network, PollFlags::IN);
        }
        if let Some(signals) = &self.signals {
            set.add(Source::Signals, signals.as_fd(), PollFlags::IN);
        }
        // Last: by then everything that the VMM sent before its end is read.
        if self.stage != super::Stage::Gone {
            set.add(Source::Exit, self.vmm.process.exit(), PollFlags::IN);
        }
        wait::wait(set.0, self.next_deadline())
    }
}
