//! All plain VMs of one user: made, found, removed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{Description, State, Status};
use crate::{
    config::Name,
    folders,
    vm::folder::{self, Lock},
};

/// The VMs of one user.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// The folder of one VM.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The VM.
    pub name: Name,
    path: PathBuf,
}

/// A VM that is being made. Dropped before it is [finished](Claim::finish), nothing of it is left.
#[derive(Debug)]
pub struct Claim {
    /// Its folder.
    pub folder: Folder,
    lock: Option<Lock>,
}

impl Store {
    /// This user's; its folder is made when absent.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open() -> anyhow::Result<Self> {
        Self::open_at(folders::state().join("vms"))
    }

    /// The one in this folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open_at(root: PathBuf) -> anyhow::Result<Self> {
        // What a console says is its owner's.
        let made = folders::make_all_private(&root);
        made.with_context(|| format!("cannot make folder {}", root.display()))?;
        Ok(Self { root })
    }

    fn folder(&self, name: &Name) -> Folder {
        Folder { name: name.clone(), path: self.root.join(name.as_str()) }
    }

    /// Begins a VM of this name. One that has ended makes way for it.
    ///
    /// # Errors
    /// When one of this name runs, or the disk is full.
    pub fn claim(&self, name: &Name) -> anyhow::Result<Claim> {
        let _lock = folder::lock(&self.root)?;
        let folder = self.folder(name);
        self.clear(&folder)?;
        let made = folders::make_private(&folder.path);
        made.with_context(|| format!("cannot make folder {}", folder.path.display()))?;
        let lock = folder.try_lock()?;
        Ok(Claim { folder, lock })
    }

    /// Removes what is left of a VM that does not run. The store is locked.
    fn clear(&self, folder: &Folder) -> anyhow::Result<()> {
        if !folder.path.exists() {
            return Ok(());
        }
        let name = &folder.name;
        let _lock = folder.try_lock()?.with_context(|| {
            format!("VM {name} runs; stop it first (`hull vm stop {name}`), or give a new one another name (--name)")
        })?;
        fs::remove_dir_all(&folder.path).with_context(|| format!("cannot remove {}", folder.path.display()))
    }

    /// The VM of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &Name) -> anyhow::Result<Folder> {
        let folder = self.folder(name);
        let there = folder.file("vm.json").exists();
        anyhow::ensure!(there, "there is no VM {name}; `hull vm ls` shows what there is");
        Ok(folder)
    }

    /// All VMs by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<(Name, Description, State)>> {
        let entries =
            fs::read_dir(&self.root).with_context(|| format!("cannot read {}", self.root.display()))?;
        let mut all: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let folder = self.folder(&entry.file_name().to_str()?.parse().ok()?);
                // One that is removed at this moment, or is damaged, must not hide the others.
                let description = folder.description().ok()?;
                Some((folder.name.clone(), description, folder.state()))
            })
            .collect();
        all.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        Ok(all)
    }

    /// Removes a VM that does not run.
    ///
    /// # Errors
    /// When there is none, it runs, or a file cannot be removed.
    pub fn remove(&self, name: &Name) -> anyhow::Result<()> {
        let folder = self.find(name)?;
        let _lock = folder::lock(&self.root)?;
        self.clear(&folder)
    }
}

impl Folder {
    /// The folder of a VM, for its keeper.
    pub fn of(name: Name) -> anyhow::Result<Self> {
        Ok(Store::open()?.folder(&name))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The lock, if no keeper holds it.
    fn try_lock(&self) -> anyhow::Result<Option<Lock>> {
        let path = self.file("lock");
        Lock::take(&path, false).with_context(|| format!("cannot lock {}", path.display()))
    }

    /// What was asked.
    ///
    /// # Errors
    /// When the file is not there, or is damaged.
    pub fn description(&self) -> anyhow::Result<Description> {
        let path = self.file("vm.json");
        let description = folder::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        description.with_context(|| format!("there is no VM {}", self.name))
    }

    /// What became of it; also of one whose keeper was killed.
    pub fn state(&self) -> State {
        let read = || folder::read(&self.file("state.json")).ok().flatten().unwrap_or_default();
        let state: State = read();
        if state.status == Status::Exited || !matches!(self.try_lock(), Ok(Some(_))) {
            return state;
        }
        // Read again: its keeper may just have written how it ended.
        State { status: Status::Exited, ..read() }
    }

    /// Writes what was asked.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write_description(&self, description: &Description) -> anyhow::Result<()> {
        let path = self.file("vm.json");
        folder::write(&path, description).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes what became of it. What cannot be written, on a full disk, is lost.
    pub fn write_state(&self, state: &State) {
        let _ = folder::write(&self.file("state.json"), state);
    }
}

impl Claim {
    /// The VM is made: its folder stays, locked.
    ///
    /// # Errors
    /// When a keeper holds the lock, which no other can.
    pub fn finish(mut self) -> anyhow::Result<Lock> {
        self.lock.take().context("the VM's folder is locked by another")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = fs::remove_dir_all(&self.folder.path);
        }
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
