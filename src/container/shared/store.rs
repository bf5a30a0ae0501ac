//! The shared VMs of one user.
//!
//! ```text
//! ~/.local/state/hull/shared/
//!   .lock                 held while a VM is entered, ends or is removed
//!   NAME/
//!     lock                held by its keeper
//!     ctl                 its keeper's socket
//!     data.img            its data disk: the writable layers of its containers
//!     forgotten/ID        the layer of a container that is no more, to be removed when the VM runs
//!     console             last words of its guest, if it did not end as it should
//! ```

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::Hail;
use crate::{
    config::Name,
    container::{
        ContainerId, Description,
        error::{Error, Result},
        sizing::boot_limit,
        state::{Lock, Store},
    },
    folders,
    vm::{detached, folder},
    vmm::channel::Channel,
};

/// Between two looks at a VM that is about to end.
const PAUSE: Duration = Duration::from_millis(5);
/// Where the layers of containers that are no more are named.
const FORGOTTEN: &str = "forgotten";

/// The shared VMs of one user.
#[derive(Debug)]
pub struct Vms {
    root: PathBuf,
}

impl Vms {
    /// This user's.
    pub fn open() -> Self {
        Self { root: folders::state().join("shared") }
    }

    /// The folder of a VM.
    pub fn folder(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// Keeps others from entering, ending or removing a VM.
    ///
    /// # Errors
    /// When the file cannot be locked.
    pub fn lock(&self) -> Result<Lock> {
        folders::make_all_private(&self.root).map_err(Error::file("cannot make folder", &self.root))?;
        folder::lock(&self.root).map_err(|error| Error::Keeper(format!("of the VM: {error:#}")))
    }

    /// The same, unless somebody does so already.
    ///
    /// # Errors
    /// When the file cannot be locked.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        folder::try_lock(&self.root).map_err(Error::file("cannot lock", &self.root))
    }

    /// Connects to the keeper of a VM, which is started if there is none; with `template` its VM need not boot.
    ///
    /// # Errors
    /// When none can be started, or one that is about to end does not.
    pub fn enter(&self, name: &Name, template: bool) -> Result<Channel> {
        let folder = self.folder(name);
        let deadline = Instant::now() + boot_limit();
        loop {
            {
                let _entering = self.lock()?;
                folders::make_all_private(&folder).map_err(Error::file("cannot make folder", &folder))?;
                if let Ok(socket) = folder::connect(&folder) {
                    return Ok(Channel::from(socket));
                }
                if let Some(lock) = try_lock(&folder)? {
                    let options: &[&str] = if template { &["--template"] } else { &[] };
                    return detached::spawn("shared-keeper", name.as_str(), lock, options)
                        .map_err(|error| Error::Keeper(format!("of VM {name} cannot be started: {error}")));
                }
            }
            if Instant::now() > deadline {
                return Err(Error::Keeper(format!("of VM {name} neither listens nor ends")));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Notes that a container of this VM is about to be removed.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn forget(&self, name: &Name, container: &ContainerId) -> Result<()> {
        let folder = self.folder(name);
        if !folder.exists() {
            // Never started.
            return Ok(());
        }
        let path = folder.join(FORGOTTEN);
        folders::make_all_private(&path).map_err(Error::file("cannot make folder", &path))?;
        let path = path.join(container.as_str());
        fs::write(&path, "").map_err(Error::file("cannot write", &path))
    }

    /// The containers whose layers are to be removed.
    pub fn forgotten(&self, name: &Name) -> Vec<ContainerId> {
        let entries = fs::read_dir(self.folder(name).join(FORGOTTEN)).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| ContainerId::try_from(entry.file_name().into_string().ok()?).ok())
            .collect()
    }

    /// The layer of this one is removed.
    pub fn forgot(&self, name: &Name, container: &str) {
        let _ = fs::remove_file(self.folder(name).join(FORGOTTEN).join(container));
    }

    /// A container of this VM was removed: so is its layer, or the VM's disk if that was the last.
    pub fn sweep(&self, name: &Name, store: &Store) {
        let Ok(_entering) = self.lock() else { return };
        let folder = self.folder(name);
        if let Ok(socket) = folder::connect(&folder) {
            let _ = Channel::from(socket).send(&Hail::Sweep, None);
            return;
        }
        // Its keeper does the same when it ends.
        let Ok(Some(_lock)) = try_lock(&folder) else { return };
        if !has_containers(name, store) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

/// Whether there are containers that belong to a VM. There may be where that cannot be known.
pub fn has_containers(name: &Name, store: &Store) -> bool {
    let belongs = |container: &Description| container.host_config.vm.as_ref() == Some(name);
    store.descriptions().map_or(true, |all| all.iter().any(belongs))
}

/// The lock of a VM's folder, if no keeper holds it.
fn try_lock(folder: &Path) -> Result<Option<Lock>> {
    let path = folder.join("lock");
    match Lock::take(&path, false) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map_err(Error::file("cannot lock", &path)),
    }
}
