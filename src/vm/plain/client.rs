//! What commands do with plain VMs: start them, and speak to their keepers.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::Context;

use super::{
    Claim, Description, Folder, Status,
    control::{ClientMessage, KeeperMessage},
};
use crate::{
    vm::{detached, folder},
    vmm::{
        channel::{Channel, Received},
        control::ExitReason,
    },
};

/// A connection to the keeper of a VM.
pub struct Keeper {
    channel: Channel,
}

/// A VM that stands still, until this is dropped.
pub struct Frozen<'a> {
    keeper: &'a Keeper,
    /// The writable disks, by their place. What is written to them is the VM's loss.
    pub disks: Vec<(usize, OwnedFd)>,
}

/// Starts a VM. With `tied` it ends when the connection does.
///
/// # Errors
/// When it cannot be started; the message says what to do.
pub fn start(claim: Claim, description: &Description, tied: bool) -> anyhow::Result<Keeper> {
    claim.folder.write_description(description)?;
    let name = claim.folder.name.clone();
    let options: &[&str] = if tied { &["--tied"] } else { &[] };
    let spawned = detached::spawn("vm-keeper", name.as_str(), claim.finish()?, options);
    let keeper = Keeper { channel: spawned.context("cannot start the VM's keeper")? };
    match keeper.receive()? {
        KeeperMessage::Started => Ok(keeper),
        KeeperMessage::Failed { message } => anyhow::bail!("VM {name}: {message}"),
        other => anyhow::bail!("the VM's keeper says {other:?}"),
    }
}

/// Connects to the keeper of a VM; `None` when it does not run.
pub fn connect(folder: &Folder) -> Option<Keeper> {
    if folder.state().status == Status::Exited {
        return None;
    }
    // One whose keeper has no socket yet, or none any more, is as good as none.
    let channel = Channel::from(folder::connect(folder.path()).ok()?);
    Some(Keeper { channel })
}

impl Keeper {
    /// The next message.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn receive(&self) -> anyhow::Result<KeeperMessage> {
        match self.channel.receive().context("the VM's keeper is not understood")? {
            Received::Message(message, _) => Ok(message),
            Received::Nothing | Received::Closed => anyhow::bail!("the VM's keeper was killed"),
        }
    }

    /// Connects the guest's console with this stream socket.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn console(&self, socket: &OwnedFd) -> io::Result<()> {
        self.channel.send(&ClientMessage::Console, Some(socket.as_fd()))
    }

    /// Asks for the end of the VM.
    pub fn ask_to_stop(&self) {
        // A failed send is a keeper that has just ended.
        let _ = self.channel.send(&ClientMessage::Stop, None);
    }

    /// Ends the VM, and waits until it has.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn stop(&self) -> anyhow::Result<ExitReason> {
        self.ask_to_stop();
        loop {
            match self.receive()? {
                KeeperMessage::Ended { reason } => return Ok(reason),
                // It was not up yet.
                KeeperMessage::Failed { .. } => return Ok(ExitReason::Stopped),
                _ => {}
            }
        }
    }

    /// Writes the VM, or of its memory only the `difference` to its last snapshot, to an empty file and has it stand still.
    ///
    /// # Errors
    /// When it cannot be written, or somebody else does that; the VM goes on.
    pub fn freeze(&self, file: &std::fs::File, difference: bool) -> anyhow::Result<Frozen<'_>> {
        let asked = self.channel.send(&ClientMessage::Freeze { difference }, Some(file.as_fd()));
        asked.context("the VM's keeper does not answer")?;
        let mut frozen = Frozen { keeper: self, disks: Vec::new() };
        loop {
            match self.channel.receive().context("the VM's keeper is not understood")? {
                Received::Message(KeeperMessage::Disk { index }, Some(disk)) => {
                    frozen.disks.push((index, disk))
                }
                Received::Message(KeeperMessage::Frozen, _) => return Ok(frozen),
                Received::Message(KeeperMessage::Refused { message }, _) => anyhow::bail!("{message}"),
                Received::Message(KeeperMessage::Ended { reason }, _) => {
                    anyhow::bail!("the VM has ended: {}", super::ending(Some(&reason)).0)
                }
                Received::Message(..) => {}
                Received::Nothing | Received::Closed => anyhow::bail!("the VM's keeper was killed"),
            }
        }
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // A keeper that is gone has taken its VM with it.
        let _ = self.keeper.channel.send(&ClientMessage::Thaw, None);
    }
}
