//! All containers of one user: made, found, removed.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{Folder, Journal, Lock, State, Status};
use crate::{
    container::{
        ContainerId, ContainerName, Description,
        error::{Error, Result},
        shared::store::Vms,
        volume::Volumes,
    },
    folders,
    image::{Digest, store::User},
};

/// The containers of one user.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A container that is being made. Dropped before it is [finished](Claim::finish), nothing of it is left.
#[derive(Debug)]
pub struct Claim<'a> {
    /// Its folder.
    pub folder: Folder,
    /// Its name.
    pub name: ContainerName,
    /// Keeps others from taking it for one whose maker was killed.
    pub lock: Lock,
    store: &'a Store,
    finished: bool,
}

impl Store {
    /// This user's store; its folders are made when absent.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn open() -> Result<Self> {
        Self::open_at(folders::state())
    }

    /// The store in this folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open_at(root: PathBuf) -> Result<Self> {
        let store = Self { root };
        for folder in [store.containers(), store.names()] {
            // Output and environments of containers are their owner's.
            folders::make_all_private(&folder).map_err(Error::file("cannot make folder", &folder))?;
        }
        Ok(store)
    }

    /// Where the folders are.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// What happened to the containers.
    pub fn journal(&self) -> Journal {
        Journal::new(&self.root.join("events"))
    }

    /// Waits until nobody else makes or removes containers, and keeps them from it.
    fn lock(&self) -> Result<Lock> {
        let path = self.root.join("lock");
        let lock = Lock::take(&path, true).map_err(Error::file("cannot lock", &path))?;
        lock.ok_or_else(|| Error::file("cannot lock", &path)(ErrorKind::WouldBlock.into()))
    }

    /// Begins a container: its folder, locked, and its name, or one that is made up.
    ///
    /// # Errors
    /// When the name is taken, or the disk is full.
    pub fn claim(&self, name: Option<&ContainerName>) -> Result<Claim<'_>> {
        let _lock = self.lock()?;
        let id = ContainerId::random();
        let name = match name {
            Some(name) => {
                self.link(name, &id)?;
                name.clone()
            }
            None => self.link_any(&id)?,
        };
        let folder = Folder::new(&self.containers(), id);
        let locked = folders::make_private(folder.path())
            .and_then(|()| folder.try_lock())
            .and_then(|lock| lock.ok_or_else(|| ErrorKind::WouldBlock.into()));
        match locked {
            Ok(lock) => Ok(Claim { folder, name, lock, store: self, finished: false }),
            Err(error) => {
                self.unlink(&name, &folder.id);
                let _ = fs::remove_dir_all(folder.path());
                Err(Error::file("cannot make", folder.path())(error))
            }
        }
    }

    /// Gives a container a name that nobody has.
    fn link_any(&self, id: &ContainerId) -> Result<ContainerName> {
        for attempt in 0.. {
            let name = ContainerName::random(attempt);
            match self.link(&name, id) {
                Ok(()) => return Ok(name),
                Err(Error::NameTaken { .. }) if attempt < 1000 => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Gives a container a name. A name of a container that is no more is free.
    fn link(&self, name: &ContainerName, id: &ContainerId) -> Result<()> {
        let path = self.names().join(name.as_str());
        loop {
            match symlink(id.as_str(), &path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::file("cannot make", &path)(error)),
            }
            match self.owner(name) {
                Some(owner) if self.folder(&owner).is_some() => {
                    return Err(Error::NameTaken { name: name.clone(), id: owner });
                }
                _ => drop(fs::remove_file(&path)),
            }
        }
    }

    fn unlink(&self, name: &ContainerName, id: &ContainerId) {
        if self.owner(name).as_ref() == Some(id) {
            let _ = fs::remove_file(self.names().join(name.as_str()));
        }
    }

    /// The container that has a name.
    fn owner(&self, name: &ContainerName) -> Option<ContainerId> {
        let target = fs::read_link(self.names().join(name.as_str())).ok()?;
        ContainerId::try_from(target.to_str()?.to_owned()).ok()
    }

    /// A container's folder, if it is there.
    fn folder(&self, id: &ContainerId) -> Option<Folder> {
        let folder = Folder::new(&self.containers(), id.clone());
        folder.path().is_dir().then_some(folder)
    }

    /// The container that a person means: an id, a name, or the beginning of an id, in Docker's order.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, text: &str) -> Result<Folder> {
        let not_found = || Error::NotFound(text.to_owned());
        if let Ok(id) = ContainerId::try_from(text.to_owned())
            && let Some(folder) = self.folder(&id)
        {
            return self.settled(folder)?.ok_or_else(not_found);
        }
        if let Ok(name) = text.parse()
            && let Some(folder) = self.owner(&name).and_then(|id| self.folder(&id))
        {
            return self.settled(folder)?.ok_or_else(not_found);
        }
        let prefix = text.to_ascii_lowercase();
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let mut matching = self.ids()?.into_iter().filter(|id| id.as_str().starts_with(&prefix));
        match (matching.next(), matching.next()) {
            (None, _) => Err(not_found()),
            (Some(id), None) => self.settled(Folder::new(&self.containers(), id))?.ok_or_else(not_found),
            (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
        }
    }

    fn ids(&self) -> Result<Vec<ContainerId>> {
        let path = self.containers();
        let entries = fs::read_dir(&path).map_err(Error::file("cannot read", &path))?;
        Ok(entries
            .flatten()
            .filter_map(|entry| ContainerId::try_from(entry.file_name().into_string().ok()?).ok())
            .collect())
    }

    /// Puts right what killed commands and keepers left; gives the containers that there are.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sweep(&self) -> Result<Vec<Folder>> {
        // One that is removed at this moment, or is damaged, must not hide the others.
        let settled = |id| self.settled(Folder::new(&self.containers(), id)).ok().flatten();
        let folders = self.ids()?.into_iter().filter_map(settled).collect();
        if self.stale_names().next().is_some() {
            // A name is made before its container, both under this lock.
            let _lock = self.lock()?;
            self.stale_names().for_each(|path| drop(fs::remove_file(path)));
        }
        Ok(folders)
    }

    /// Names of containers that are no more.
    fn stale_names(&self) -> impl Iterator<Item = PathBuf> {
        let names = fs::read_dir(self.names()).into_iter().flatten().flatten();
        let containers = self.containers();
        names
            .map(|entry| entry.path())
            .filter(move |path| fs::read_link(path).is_ok_and(|id| !containers.join(id).exists()))
    }

    /// All containers, the youngest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<(Folder, Description, State)>> {
        let mut all = Vec::new();
        for folder in self.sweep()? {
            if let Ok(Some(description)) = folder.description()
                && let Ok(state) = folder.state()
            {
                all.push((folder, description, state));
            }
        }
        all.sort_by(|(_, a, _), (_, b, _)| b.created.cmp(&a.created));
        Ok(all)
    }

    /// What all containers are, whatever became of their keepers: nothing is put right.
    ///
    /// # Errors
    /// When the store, or what one of them is, cannot be read: what it uses is not to be taken for unused.
    pub fn descriptions(&self) -> Result<Vec<Description>> {
        let folders = self.ids()?.into_iter().map(|id| Folder::new(&self.containers(), id));
        folders.filter_map(|folder| folder.description().transpose()).collect()
    }

    /// A container of this image: one that runs, if there is one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn user_of(&self, image: Digest) -> Result<Option<User>> {
        let users = self.list()?.into_iter().filter(|(_, description, _)| description.image == image);
        let user = |(folder, _, state): (Folder, Description, State)| User {
            container: folder.id.short().to_owned(),
            running: state.status.needs_keeper(),
        };
        Ok(users.map(user).max_by_key(|user| user.running))
    }

    /// The container, with its state put right if its keeper or maker was killed. `None` when that was its end.
    fn settled(&self, folder: Folder) -> Result<Option<Folder>> {
        let cannot = |error| Error::file("cannot read", folder.path())(error);
        let made = folder.file("config.json").exists();
        if made && !folder.state()?.status.needs_keeper() {
            return Ok(Some(folder));
        }
        // Its maker holds this lock until the folder's own is taken.
        let _lock = if made { None } else { Some(self.lock()?) };
        let _keeper = match folder.try_lock() {
            Ok(Some(lock)) => lock,
            // Alive, or about to be a container.
            Ok(None) => return Ok(made.then_some(folder)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        let Some(description) = folder.description()? else {
            remove_folder(folder.path()).map_err(cannot)?;
            return Ok(None);
        };
        // Read again: it was not under the lock before.
        let state = folder.state()?;
        if state.status.needs_keeper() {
            let state = state.after_crash();
            let journal = self.journal();
            if state.status == Status::Exited {
                journal.append("die", &description, &[("exitCode", state.exit_code.to_string())]);
            }
            if description.host_config.auto_remove {
                drop(_lock);
                self.remove(&folder, &description)?;
                return Ok(None);
            }
            folder.write_state(&state)?;
        }
        Ok(Some(folder))
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// When another container has it, or the disk is full.
    pub fn rename(&self, folder: &Folder, name: &ContainerName) -> Result<()> {
        let _lock = self.lock()?;
        let gone = || Error::NotFound(folder.id.to_string());
        let description = folder.description()?.ok_or_else(gone)?;
        if description.name == *name {
            return Err(Error::Conflict(
                "Renaming a container with the same name as its current name".to_owned(),
            ));
        }
        // One that was killed on its way to this name may have left it.
        self.unlink(name, &folder.id);
        self.link(name, &folder.id)?;
        let renamed = Description { name: name.clone(), ..description.clone() };
        if let Err(error) = folder.write_description(&renamed) {
            self.unlink(name, &folder.id);
            return Err(error);
        }
        self.unlink(&description.name, &folder.id);
        self.journal().append("rename", &renamed, &[("oldName", format!("/{}", description.name))]);
        Ok(())
    }

    /// Changes what was asked of a container; gives what is asked now.
    ///
    /// # Errors
    /// When it is gone, the change is refused, or it cannot be written.
    pub fn change(
        &self,
        folder: &Folder,
        change: impl FnOnce(Description) -> Result<Description>,
    ) -> Result<Description> {
        // Nobody gives it another name meanwhile.
        let _lock = self.lock()?;
        let description = folder.description()?.ok_or_else(|| Error::NotFound(folder.id.to_string()))?;
        let description = change(description)?;
        folder.write_description(&description)?;
        Ok(description)
    }

    /// Removes the volumes that were made for a container that has gone.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn remove_volumes(&self, description: &Description) -> Result<()> {
        if description.mounts.iter().any(|mount| mount.anonymous) {
            Volumes::open()?.remove_anonymous(&description.mounts, self)?;
        }
        Ok(())
    }

    /// Removes a container, whose lock the caller holds.
    ///
    /// # Errors
    /// When a file cannot be removed; then a later attempt goes on.
    pub fn remove(&self, folder: &Folder, description: &Description) -> Result<()> {
        let _lock = self.lock()?;
        // A keeper does not know of a name that it got meanwhile.
        let renamed = folder.description().ok().flatten();
        let description = renamed.as_ref().unwrap_or(description);
        self.unlink(&description.name, &folder.id);
        if let Some(vm) = &description.host_config.vm {
            Vms::open().forget(vm, &folder.id)?;
        }
        remove_folder(folder.path()).map_err(Error::file("cannot remove", folder.path()))?;
        self.journal().append("destroy", description, &[]);
        drop(_lock);
        if let Some(vm) = &description.host_config.vm {
            Vms::open().sweep(vm, self);
        }
        if description.host_config.auto_remove {
            self.remove_volumes(description)?;
        }
        Ok(())
    }
}

impl Claim<'_> {
    /// Makes the container one that others see.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(mut self, description: &Description, state: &State) -> Result<(Folder, Lock)> {
        self.folder.write_state(state)?;
        self.folder.write_description(description)?;
        self.store.journal().append("create", description, &[]);
        self.finished = true;
        let lock = self.lock.0.try_clone().map_err(Error::file("cannot lock", self.folder.path()))?;
        Ok((self.folder.clone(), Lock(lock)))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.finished
            && let Ok(_lock) = self.store.lock()
        {
            self.store.unlink(&self.name, &self.folder.id);
            let _ = remove_folder(self.folder.path());
        }
    }
}

/// Removes a folder, what makes it a container first: cut short, the rest is swept up as half made.
fn remove_folder(path: &Path) -> io::Result<()> {
    for first in ["config.json", "state.json"] {
        match fs::remove_file(path.join(first)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir_all(path)
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
