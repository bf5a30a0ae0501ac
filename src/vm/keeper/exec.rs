//! Further processes of a container (`hull exec`).
//!
//! ```text
//! front end: Exec ▶ Attach … ▶ Begin ─▶ agent: Exec ─▶ Started ─▶ Exited ─ all its output is delivered ─▶ over
//! ```
//! From [`ClientMessage::Exec`](crate::vm::control::ClientMessage::Exec) on a front end's connection has to do with that process, and
//! no more with the container's. A front end that dies leaves its process alone; the container's end is the end of all.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use hull_protocol::{
    AgentMessage, FailureKind, HostMessage, MAX_FRAME, Process, ProcessId, WindowSize, frame,
};

use super::{
    ClientId, Input, KILL, Keeper, PROCESS, Stage, Streams, events::stdio, health::KEEPER,
    outcome::printable, outputs,
};
use crate::vm::control::{ExecNews, KeeperMessage};

/// Most of them at once.
const MAX_EXECS: usize = 128;
/// Most of them that a front end waits for: there are to be connections left for what is wanted of the container.
const MAX_WAITING: usize = 48;

/// A process beside the container's first.
#[derive(Debug)]
pub struct Exec {
    /// Its number.
    pub id: ProcessId,
    /// Its streams.
    pub streams: Streams,
    client: ClientId,
    /// It has an input.
    input: bool,
    progress: Progress,
}

/// How far it is.
#[derive(Debug)]
enum Progress {
    /// To be started when the front end says so.
    Prepared(Box<Process>),
    /// To be started when the agent listens.
    Begun(Box<Process>),
    Starting,
    Running,
    Over(ExecNews),
}

impl Keeper {
    /// A front end wants to start what is described in the file.
    pub(super) fn prepare_exec(&mut self, client: ClientId, input: bool, detached: bool, file: OwnedFd) {
        let id = self.next_process;
        self.next_process += 1;
        if let Some(client) = self.clients.iter_mut().find(|known| known.id == client) {
            // Also if nothing comes of it: what it attaches is not for the container.
            client.exec = Some(id);
        }
        let waiting = self.clients.iter().filter(|client| client.exec.is_some()).count();
        let refusal = match self.stage {
            Stage::Running | Stage::Resting if self.execs.len() >= MAX_EXECS || waiting >= MAX_WAITING => {
                let count = self.execs.len();
                format!("{count} commands run in the container by now, {waiting} of them attached; end some")
            }
            Stage::Running if self.is_paused() => {
                "the container is paused, unpause the container before exec".to_owned()
            }
            Stage::Running | Stage::Resting => match read_process(file) {
                Ok(process) => {
                    let terminal = process.terminal.is_some();
                    let outputs = if detached { &[] } else { outputs(terminal) };
                    let streams = Streams::new(Input::new(input, !terminal), outputs);
                    let streams = if process.tool.is_some() { streams.for_readers() } else { streams };
                    let progress = Progress::Prepared(process);
                    return self.execs.push(Exec { id, streams, client, input, progress });
                }
                Err(error) => format!("the command is not understood: {error}"),
            },
            _ => "the container is not running".to_owned(),
        };
        self.tell_exec(client, ExecNews::Refused { message: refusal });
    }

    /// The front end has attached what it wants to: the process can be started.
    pub(super) fn begin_exec(&mut self, client: ClientId) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.client == client) else { return };
        exec.progress = match std::mem::replace(&mut exec.progress, Progress::Starting) {
            Progress::Prepared(process) => Progress::Begun(process),
            other => other,
        };
    }

    /// Starts the next that is to be, when the agent has taken what it was told before: what it is told may be long.
    pub(super) fn start_exec(&mut self) {
        let listens = self.agent.as_ref().is_some_and(|agent| !agent.descriptor().1);
        if self.stage != Stage::Running || self.is_paused() || !listens {
            return;
        }
        let begun = |exec: &&mut Exec| matches!(exec.progress, Progress::Begun(_));
        let Some(exec) = self.execs.iter_mut().find(begun) else { return };
        let stdio = stdio(exec.id, &exec.streams, exec.input);
        let Progress::Begun(process) = std::mem::replace(&mut exec.progress, Progress::Starting) else {
            return;
        };
        let message = HostMessage::Exec { process_id: exec.id, first: PROCESS, process, stdio };
        if frame::encode(&message).is_ok() {
            self.tell_agent(&message);
        } else {
            let message = "its arguments and environment are too long".to_owned();
            exec.over(ExecNews::Failed { code: 126, message });
        }
    }

    /// The terminal of one has another size.
    pub(super) fn resize_exec(&mut self, id: ProcessId, size: WindowSize) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.id == id) else { return };
        match &mut exec.progress {
            Progress::Prepared(process) | Progress::Begun(process) => {
                process.terminal = process.terminal.map(|_| size);
            }
            Progress::Starting | Progress::Running => {
                self.tell_agent_at_last(HostMessage::Resize { process_id: id, size });
            }
            Progress::Over(_) => {}
        }
    }

    /// Takes what the agent says of one; gives back what is about something else.
    pub(super) fn hear_of_exec(&mut self, message: AgentMessage) -> Option<AgentMessage> {
        let (AgentMessage::Started { process_id, .. }
        | AgentMessage::Failed { process_id, .. }
        | AgentMessage::Exited { process_id, .. }) = message
        else {
            return Some(message);
        };
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.id == process_id) else {
            return Some(message);
        };
        match (message, &exec.progress) {
            (AgentMessage::Started { .. }, Progress::Starting) => {
                exec.progress = Progress::Running;
                let client = exec.client;
                self.tell_exec(client, ExecNews::Started);
            }
            (AgentMessage::Failed { kind, message, .. }, Progress::Starting) => {
                // As Docker has it, all but what is not found is what cannot be executed.
                let code = if kind == FailureKind::NotFound { 127 } else { 126 };
                let message = printable(message.as_bytes());
                exec.over(ExecNews::Failed { code, message });
            }
            (AgentMessage::Exited { status, .. }, Progress::Running) => {
                exec.over(ExecNews::Exited { code: status.code() });
            }
            (_, Progress::Over(_)) => {}
            (message, _) => return Some(message),
        }
        None
    }

    /// The container has ended, and with it all that ran there.
    pub(super) fn end_execs(&mut self) {
        for exec in &mut self.execs {
            exec.over(ExecNews::Exited { code: 128 + KILL });
        }
    }

    /// Lets go of those that are over and whose output is delivered.
    pub(super) fn settle_execs(&mut self) {
        while let Some(at) = self.execs.iter().position(Exec::is_done) {
            let exec = self.execs.swap_remove(at);
            if let Progress::Over(news) = exec.progress {
                if exec.client == KEEPER {
                    self.checked(exec.id, Some(&news));
                }
                self.tell_exec(exec.client, news);
            }
        }
    }

    /// A front end is gone. What it has not begun will not be.
    pub(super) fn lose_exec(&mut self, client: ClientId) {
        self.execs.retain(|exec| exec.client != client || !matches!(exec.progress, Progress::Prepared(_)));
    }

    fn tell_exec(&self, client: ClientId, news: ExecNews) {
        if let Some(client) = self.clients.iter().find(|known| known.id == client) {
            client.tell(&KeeperMessage::Exec { news });
        }
    }
}

impl Exec {
    /// One that is to be started when the agent listens; it has no input.
    pub(super) fn begun(id: ProcessId, streams: Streams, client: ClientId, process: Box<Process>) -> Self {
        Self { id, streams, client, input: false, progress: Progress::Begun(process) }
    }

    fn over(&mut self, news: ExecNews) {
        if !matches!(self.progress, Progress::Over(_)) {
            self.progress = Progress::Over(news);
            self.streams.end();
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.progress, Progress::Over(_)) && self.streams.are_done()
    }
}

/// A process, as a front end has written it down.
fn read_process(file: OwnedFd) -> io::Result<Box<Process>> {
    let file = File::from(file);
    let about = file.metadata()?;
    if !about.is_file() || about.len() > u64::from(MAX_FRAME) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = vec![0; about.len() as usize];
    file.read_exact_at(&mut text, 0)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
#[path = "exec_test.rs"]
mod tests;
