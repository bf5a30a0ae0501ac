//! `hull internal`: verbs that hull's own build and processes use.

use std::fs::File;
use std::io::Seek;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use crate::{image::erofs, vmm::config::VmSize};

/// The hidden verbs.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Turns the tar archive on standard input into an EROFS image on standard output
    Mkerofs,
    /// Writes the manual pages into a folder
    Manual(super::completion::Manual),
    /// Keeps a container from its start to its end
    Keeper(super::container::Keeper),
    /// Keeps a VM that several containers share
    SharedKeeper(super::container::SharedKeeper),
    /// Keeps a VM that waits for a container
    Waiting(super::pool::Waiting),
    /// Keeps a plain VM from its start to its end
    VmKeeper(super::vm::Keeper),
    /// Is a network, until its last VM is gone
    Net {
        /// The network.
        name: String,
        /// Descriptor of the socket that keepers connect to.
        door: std::os::fd::RawFd,
    },
    /// Runs the VM that a keeper describes on its standard input
    Vmm {
        /// Bytes that it begins with.
        memory: u64,
        /// Bytes that it can get beside these.
        growth: u64,
        /// Virtual CPUs.
        vcpus: u8,
    },
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Mkerofs => mkerofs(),
            Verb::Manual(verb) => verb.run(),
            Verb::Keeper(verb) => verb.run(),
            Verb::SharedKeeper(verb) => verb.run(),
            Verb::Waiting(verb) => verb.run(),
            Verb::VmKeeper(verb) => verb.run(),
            Verb::Net { name, door } => crate::network::run(&name, door).map(|()| ExitCode::SUCCESS),
            Verb::Vmm { memory, growth, vcpus } => Ok(crate::vmm::run(VmSize { memory, growth, vcpus })),
        }
    }
}

/// The image's first block is written last: only into a regular file can it go directly.
fn mkerofs() -> anyhow::Result<ExitCode> {
    let archive = std::io::stdin().lock();
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    if out.metadata()?.is_file() && out.stream_position()? == 0 {
        out.set_len(0)?;
        erofs::write_from_tar(archive, &mut out)?;
    } else {
        let mut image = tempfile::tempfile().context("cannot make a temporary file")?;
        erofs::write_from_tar(archive, &mut image)?;
        image.rewind()?;
        std::io::copy(&mut image, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}
