//! `hull vm run FILE`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::cli::terminal::{self, RawTerminal};
use crate::config::{Console, VmFile};
use crate::vm::signals::Signals;
use crate::vm::{foreground, launch};
use crate::vmm::control::ExitReason;

/// The arguments of `hull vm run`.
#[derive(Debug, Args)]
#[command(after_help = "The VM ends when its guest powers off or reboots, at Ctrl-A X, or at SIGTERM.

A file, all of it optional:
  [kernel]
  image = \"vmlinux\"                 # ELF or bzImage; hull's own kernel when absent
  initrd = \"initrd.img\"
  command_line = \"console=hvc0 root=/dev/vda ro\"
  [machine]
  vcpus = 2
  memory = \"512M\"
  [[disk]]                          # vda, vdb, ... in this order
  path = \"root.img\"
  read_only = true
  [console]
  type = \"virtio\"                   # hvc0; or \"serial\" (ttyS0), or \"none\"")]
pub struct Run {
    /// The VM, in TOML
    file: PathBuf,
}

impl Run {
    /// Boots the VM and stays until it has ended: 0 when the guest ended itself, 1 when it crashed.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let file = VmFile::read(&self.file)?;
        // Before anything is made, so that a signal meets the loop that ends the VM.
        let signals = Signals::take(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT])
            .context("cannot prepare for signals")?;
        let console = launch::console().context("cannot make the console")?;
        let mut descriptors = launch::Descriptors::default();
        let (config, keyboard) = foreground::prepare(&file, &mut descriptors, &console.1)?;
        let mut vmm = launch::spawn(launch::vmm_program(), &config, descriptors, console)
            .context("cannot start the VMM")?;
        let raw =
            (file.console != Console::None && terminal::is_input()).then(RawTerminal::enter).transpose();
        let raw = raw.context("cannot make the terminal raw")?;
        let reason = foreground::serve(&mut vmm, keyboard, &signals);
        drop(raw);

        let name = file.name.unwrap_or_default();
        match reason? {
            ExitReason::Stopped | ExitReason::PowerOff => Ok(ExitCode::SUCCESS),
            ExitReason::Reset => {
                eprintln!("hull: the guest of VM {name} reset itself");
                Ok(ExitCode::SUCCESS)
            }
            ExitReason::Panic => {
                anyhow::bail!("the kernel of VM {name} panicked; its console's last lines say why")
            }
            ExitReason::Crash { detail } => anyhow::bail!("the guest of VM {name} crashed: {detail}"),
            ExitReason::Failed { detail } => anyhow::bail!("VM {name}: {detail}"),
        }
    }
}
