//! `hull vm run FILE`.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Args;

use super::session;
use crate::{
    config::{Name, VmFile},
    vm::{
        plain::{Description, Store},
        timestamp,
    },
};

/// The arguments of `hull vm run`.
#[derive(Debug, Args)]
#[command(
    after_help = "The VM ends when its guest powers off or reboots, at Ctrl-A X, at SIGTERM, or with this command; \
with --detach, when its guest does or at `hull vm stop`.

A file, all of it optional:
  name = \"web\"                      # the file's own without ending when absent
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
  type = \"virtio\"                   # hvc0; or \"serial\" (ttyS0), or \"none\""
)]
pub struct Run {
    /// Name of the VM, instead of the file's
    #[arg(long)]
    name: Option<Name>,
    /// Start it and leave it to itself
    #[arg(short, long)]
    detach: bool,
    /// The VM, in TOML
    file: PathBuf,
}

impl Run {
    /// Boots the VM and stays until it has ended: 0 when the guest ended itself, 1 when it crashed.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut vm = VmFile::read(&self.file)?;
        let name = self.name.or(vm.name.take()).unwrap_or_else(|| Name::near("vm"));
        vm.name = Some(name.clone());
        let claim = Store::open()?.claim(&name)?;
        let description = Description {
            created: timestamp::now(),
            vm,
            snapshot: None,
            below: Vec::new(),
            fault_handler: None,
            stamps: BTreeMap::new(),
            made: Vec::new(),
            keep: self.detach,
        };
        session::start(claim, &description, self.detach)
    }
}
