//! `hull vm run FILE`: a VM as a TOML file.
//!
//! ```toml
//! name = "web"
//!
//! [kernel]                          # absent: hull's own kernel
//! image = "vmlinux"                 # ELF or bzImage; paths are relative to this file
//! initrd = "initrd.img"
//! command_line = "console=hvc0 root=/dev/vda ro"
//!
//! [machine]
//! vcpus = 2
//! memory = "512M"
//!
//! [[disk]]                          # vda, vdb, … in this order
//! path = "root.img"
//! read_only = true
//!
//! [console]
//! type = "virtio"                   # hvc0; or "serial", ttyS0; or "none"
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Name, Size};

/// Most virtual CPUs of a VM.
pub const MAX_VCPUS: u8 = 32;
/// Most disks of a VM: each takes an interrupt line of the IOAPIC, as do console and entropy.
const MAX_DISKS: usize = 12;
/// A file over this many bytes is no VM file.
const MAX_FILE: u64 = 1 << 20;

/// A VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmFile {
    /// Its name; the file's name without ending when absent.
    pub name: Option<Name>,
    /// What it boots.
    #[serde(default)]
    pub kernel: Kernel,
    /// Its CPUs and memory.
    #[serde(default)]
    pub machine: Machine,
    /// Its disks.
    #[serde(default, rename = "disk")]
    pub disks: Vec<Disk>,
    /// Its console.
    #[serde(default)]
    pub console: Console,
}

/// What a VM boots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    /// ELF `vmlinux` or bzImage; hull's own kernel when absent.
    pub image: Option<PathBuf>,
    /// Initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Kernel command line. hull adds what describes its devices.
    pub command_line: String,
}

/// CPUs and memory of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// Virtual CPUs, 1 to 32.
    pub vcpus: u8,
    /// Memory; rounded up to 2 MiB.
    pub memory: Size,
    /// A virtio balloon, by which the guest gives back memory that is free.
    pub balloon: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self { vcpus: 1, memory: Size::mib(512), balloon: false }
    }
}

/// A disk of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// A raw image file or a block device.
    pub path: PathBuf,
    /// Refuse writes.
    #[serde(default)]
    pub read_only: bool,
}

/// Console of a VM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "type", rename_all = "snake_case")]
pub enum Console {
    /// virtio-console, `hvc0`.
    #[default]
    Virtio,
    /// A 16550, `ttyS0`.
    Serial,
    /// None.
    None,
}

/// What is wrong with a VM file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read the VM file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be; the message has line and column.
    #[error("{path}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
}

impl VmFile {
    /// Reads a file; paths in it that are relative to its folder become absolute.
    ///
    /// # Errors
    /// [`FileError`], which names the file and, for a mistake in it, line and column.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Read { path: path.into(), source };
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > MAX_FILE {
            return Err(failed(std::io::Error::other(format!("{length} bytes are too many for a VM file"))));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mut file =
            Self::parse(&text).map_err(|message| FileError::Invalid { path: path.into(), message })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let paths = file.kernel.image.iter_mut().chain(&mut file.kernel.initrd);
        for path in paths.chain(file.disks.iter_mut().map(|disk| &mut disk.path)) {
            *path = std::path::absolute(folder.join(&*path)).map_err(failed)?;
        }
        let stem = path.file_stem().map(|stem| Name::near(&stem.to_string_lossy()));
        file.name = file.name.or(stem);
        Ok(file)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut file: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        file.check()?;
        let unit = 2 * Size::MIB;
        let memory = file.machine.memory.0.checked_next_multiple_of(unit).map(Size);
        file.machine.memory =
            memory.ok_or_else(|| format!("machine.memory: {} is too much", file.machine.memory))?;
        Ok(file)
    }

    /// Whether a VM can be like this.
    ///
    /// # Errors
    /// What cannot be, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MAX_VCPUS).contains(&self.machine.vcpus) {
            return Err(format!("machine.vcpus: {} is not between 1 and {MAX_VCPUS}", self.machine.vcpus));
        }
        if self.machine.memory < Size::mib(32) {
            return Err(format!(
                "machine.memory: {} is less than the 32M that a kernel needs",
                self.machine.memory
            ));
        }
        if self.disks.len() > MAX_DISKS {
            return Err(format!("disk: {} are more than the {MAX_DISKS} a VM can have", self.disks.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "vm_file_test.rs"]
mod tests;
