//! Templates: a VM booted once, its agent ready and idle, from whose snapshot containers are started.
//!
//! ```text
//! templates/0123456789abcdef/   named after a hash of all that went into it
//!     snapshot                  the VM; mapped privately by every VM that goes on from it
//!     data.img                  its data disk at that moment: the two belong together
//!     spare.img                 a copy of it for the next container, made while the last one started
//!     touched.json              what the first container needed of the snapshot
//!     about.json
//! ```
//! There is one for each number of CPUs (1, 2, 4, …), which is booted, and one for each image that runs in it, which goes on from that: the layers
//! are mounted, the root is put together, and the program's pages are in memory. Nothing of any container is in either.
//!
//! A template whose inputs changed, the host's boot among them, is never found again, and makes way for the next that is
//! built. The state in a snapshot has a checksum; the memory has none, for it is never read as a whole.

mod build;
mod purpose;

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::fd::{AsRawFd, OwnedFd},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use serde::{Deserialize, Serialize};

pub use self::purpose::{AtHand, Purpose};
use self::{build::Blueprint, purpose::Inputs};
use super::{
    disk,
    error::{Error, Result},
    sizing::VmSize,
    state::Lock,
};
use crate::{
    assets::Assets,
    folders,
    vm::{folder, timestamp, touched::Touched},
    vmm::snapshot,
};

/// Name of a copy of the data disk in a template's folder.
const SPARE: &str = "spare.img";
/// Name of the record of what VMs need of a template's snapshot.
const TOUCHED: &str = "touched.json";
/// A copy is not made where there is less room than this, in bytes.
const SPARE_ROOM: u64 = 256 << 20;
/// Templates that one hull keeps.
const MOST: usize = 16;
/// For `utimensat`: whatever the time is.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };

/// A user's templates.
#[derive(Debug)]
pub struct Templates {
    root: PathBuf,
}

/// A template, opened.
#[derive(Debug)]
pub struct Template {
    /// Name of its folder.
    pub id: String,
    /// The VM.
    pub snapshot: File,
    /// Its data disk.
    pub data_disk: File,
    /// Held open: another may have its name by the time it is used.
    folder: OwnedFd,
    lock: PathBuf,
}

impl Template {
    /// Makes a container's data disk: the copy that an earlier container left here for the next, or a new one.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn make_disk(&self, path: &Path) -> Result<()> {
        match rustix::fs::renameat(&self.folder, SPARE, CWD, path) {
            Ok(()) => Ok(()),
            // There is none, or it is on another file system.
            Err(_) => disk::make(&self.data_disk, path),
        }
    }

    /// Leaves a copy of the data disk for the next container, unless there is one or the disk is nearly full. What goes wrong, the
    /// next will see.
    pub fn leave_spare(&self) {
        let room = rustix::fs::fstatvfs(&self.folder).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        let path = self.file(SPARE);
        if room > SPARE_ROOM
            && !path.exists()
            && let Ok(Some(_lock)) = Lock::take(&self.lock, false)
        {
            let _ = disk::make(&self.data_disk, &path);
        }
    }
}

impl Template {
    /// Has what a VM will need of the snapshot read, if it was seen what that is.
    pub fn read_ahead(&self) {
        if let Ok(Some(touched)) = folder::read::<Touched>(&self.file(TOUCHED)) {
            touched.read_ahead(&self.snapshot);
        }
    }

    /// Notes what the VM in this process needed of the snapshot, unless that is known.
    pub fn note_touched(&self, vmm: u32) {
        let path = self.file(TOUCHED);
        if !path.exists()
            && let Ok(touched) = Touched::by(vmm, &self.snapshot)
        {
            // Nothing depends on it.
            let _ = folder::write(&path, &touched);
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd())).join(name)
    }
}

/// What a template is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// Name of its folder.
    pub id: String,
    /// Virtual CPUs.
    pub vcpus: u8,
    /// Bytes of memory.
    pub memory: u64,
    /// The image, as whoever ran it first called it.
    #[serde(default)]
    pub image: Option<String>,
    /// When it was built (RFC 3339).
    pub created: String,
    /// Milliseconds that took.
    pub build_ms: u64,
    /// Program and assets that it was built with, wherever they are.
    origin: String,
    /// The same with their contents, as far as the file system tells of them.
    inputs: String,
}

impl Templates {
    /// This user's: in `$XDG_CACHE_HOME/hull/templates`, or `~/.cache/hull/templates`. The folder is made when the first is
    /// built.
    pub fn open() -> Self {
        let cache = folders::user(None, "XDG_CACHE_HOME", ".cache", "/var/cache/hull");
        Self { root: cache.join("templates") }
    }

    /// The template for this purpose; built when there is none. Of several who want it, one builds.
    ///
    /// # Errors
    /// When the VM does not come up, or the disk is full.
    pub fn get(&self, purpose: &Purpose) -> Result<Template> {
        let assets = Assets::find().map_err(Error::missing)?;
        let inputs = Inputs::now(&assets)?;
        let id = inputs.id(purpose);
        if let Some(template) = self.open_one(&id) {
            return Ok(template);
        }
        folders::make_all_private(&self.root).map_err(Error::file("cannot make folder", &self.root))?;
        self.check_owner()?;
        let path = self.lock_path(&id);
        let _lock = Lock::take(&path, true).map_err(Error::file("cannot lock", &path))?;
        if let Some(template) = self.open_one(&id) {
            return Ok(template);
        }
        self.remove_stale(&inputs);
        let failed = self.root.join(format!("{id}.failed"));
        if recent(&failed) {
            let why = fs::read_to_string(&failed).unwrap_or_default();
            let remedy = format!("remove {} to try again", failed.display());
            return Err(Error::Conflict(format!("a moment ago: {why}; {remedy}")));
        }
        let unfinished = self.root.join(format!(".{id}"));
        remove(&unfinished)?;
        folders::make_private(&unfinished).map_err(Error::file("cannot make folder", &unfinished))?;
        let built = self.blueprint(purpose).and_then(|blueprint| {
            let started = Instant::now();
            build::build(&unfinished, &assets, blueprint)?;
            let build_ms = started.elapsed().as_millis() as u64;
            let VmSize { vcpus, memory, .. } = purpose.size;
            let created = timestamp::now();
            let image = purpose.image.as_ref().map(|image| image.name.clone());
            let Inputs { origin, inputs } = inputs;
            let about = About { id: id.clone(), vcpus, memory, image, created, build_ms, origin, inputs };
            self.finish(&unfinished, about)
        });
        if let Err(error) = built {
            let _ = remove(&unfinished);
            // Whoever waits for the lock, or comes soon, boots instead of trying the same: but what is missing is found at once, and
            // what was killed may do well the next time.
            if !matches!(error, Error::Missing(_) | Error::Killed(_)) {
                let _ = fs::write(&failed, error.to_string());
            }
            return Err(error);
        }
        self.open_one(&id)
            .ok_or_else(|| Error::file("cannot open", &self.root.join(&id))(ErrorKind::NotFound.into()))
    }

    /// What to build a template of: one of an image goes on from the one for its size.
    fn blueprint(&self, purpose: &Purpose) -> Result<Blueprint> {
        let Some(image) = purpose.image.clone() else {
            return Ok(Blueprint { size: purpose.size, image: None });
        };
        Ok(Blueprint { size: purpose.size, image: Some((self.get(&purpose.any_image())?, image)) })
    }

    /// Whether a template for this purpose is to be built: there is none, and none could be built a moment ago either.
    pub fn lacks(&self, purpose: &Purpose) -> bool {
        Self::id(purpose).is_some_and(|id| {
            !self.root.join(&id).exists() && !recent(&self.root.join(format!("{id}.failed")))
        })
    }

    /// The template for this purpose, if there is one, or that for any image.
    pub fn find(&self, purpose: &Purpose) -> Option<Template> {
        let inputs = Self::inputs()?;
        let any_image = || self.open_one(&inputs.id(&purpose.any_image()));
        self.open_one(&inputs.id(purpose)).or_else(any_image)
    }

    /// The same, if it can have this for its data disk: a guest asks only once how large one is.
    pub fn find_for(&self, purpose: &Purpose, data_disk: &File) -> Option<Template> {
        let length = |file: &File| file.metadata().map(|file| file.len()).ok();
        self.find(purpose).filter(|template| length(&template.data_disk) == length(data_disk))
    }

    /// Name of the template for this purpose, whether there is one or not. `None` when something to build it of is missing.
    pub fn id(purpose: &Purpose) -> Option<String> {
        Self::inputs().map(|inputs| inputs.id(purpose))
    }

    /// What a template would be built of now, if everything is there.
    fn inputs() -> Option<Inputs> {
        Inputs::now(&Assets::find().ok()?).ok()
    }

    /// What there is, the oldest first, each with the bytes it takes on disk.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<(About, u64)>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("cannot read", &self.root)(error)),
        };
        let mut found: Vec<(About, u64)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    return None; // unfinished, or on its way out
                }
                let folder = entry.path();
                let about: About = serde_json::from_slice(&fs::read(folder.join("about.json")).ok()?).ok()?;
                let blocks = |name| fs::metadata(folder.join(name)).map_or(0, |file| file.blocks() * 512);
                Some((about, blocks("snapshot") + blocks("data.img") + blocks(SPARE)))
            })
            .collect();
        found.sort_by(|(a, _), (b, _)| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        Ok(found)
    }

    /// Removes the template with this id. VMs that go on from it are not touched.
    ///
    /// # Errors
    /// When there is none, or it cannot be removed.
    pub fn remove(&self, id: &str) -> Result<()> {
        let known = self.list()?.into_iter().any(|(about, _)| about.id == id);
        if !known {
            return Err(Error::Invalid(format!(
                "no such template: {id}; `hull template ls` shows what there is"
            )));
        }
        let lock = self.lock_path(id);
        let _lock = Lock::take(&lock, true).map_err(Error::file("cannot lock", &lock))?;
        remove(&self.root.join(id))
    }

    /// Removes everything that nobody is just building; gives the ids of templates.
    ///
    /// # Errors
    /// When the folder cannot be read, or something cannot be removed.
    pub fn prune(&self) -> Result<Vec<(String, u64)>> {
        let mut removed = Vec::new();
        for (about, bytes) in self.list()? {
            self.remove(&about.id)?;
            removed.push((about.id, bytes));
        }
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.split_once('.')).map(|(id, _)| id);
            let Some(id) = id.filter(|id| !id.is_empty()) else { continue };
            if let Ok(Some(_lock)) = Lock::take(&self.lock_path(id), false) {
                let _ = fs::remove_file(entry.path());
            }
        }
        self.sweep();
        Ok(removed)
    }

    fn lock_path(&self, id: &str) -> PathBuf {
        self.root.join(format!("{id}.lock"))
    }

    /// Opens the template with this id. One that a VM could not go on from is removed.
    fn open_one(&self, id: &str) -> Option<Template> {
        let path = self.root.join(id);
        let folder = OwnedFd::from(File::open(&path).ok()?);
        self.check_owner().ok()?;
        let open = |name: &str| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&folder, name, flags, Mode::empty()).ok().map(File::from)
        };
        let (snapshot, data_disk) = (open("snapshot")?, open("data.img")?);
        if snapshot::read(&snapshot).is_err() {
            let _ = remove(&path);
            return None;
        }
        // Where there are too many, those go first that nobody used for long.
        let now = Timestamps { last_access: NOW, last_modification: NOW };
        let _ = rustix::fs::utimensat(&folder, "about.json", &now, AtFlags::empty());
        Some(Template { id: id.to_owned(), snapshot, data_disk, folder, lock: self.lock_path(id) })
    }

    /// What another user could write must not become this one's VM.
    fn check_owner(&self) -> Result<()> {
        let folder = fs::metadata(&self.root).map_err(Error::file("cannot look at", &self.root))?;
        if folder.uid() != rustix::process::geteuid().as_raw() || folder.mode() & 0o077 != 0 {
            return Err(Error::Conflict(format!(
                "{} is not this user's alone; remove it, or `chmod 700` it",
                self.root.display()
            )));
        }
        Ok(())
    }

    fn finish(&self, unfinished: &Path, about: About) -> Result<()> {
        let path = unfinished.join("about.json");
        let text =
            serde_json::to_vec(&about).map_err(|error| Error::file("cannot write", &path)(error.into()))?;
        fs::write(&path, text).map_err(Error::file("cannot write", &path))?;
        let finished = self.root.join(&about.id);
        // One that cannot be opened may be there.
        remove(&finished)?;
        fs::rename(unfinished, &finished).map_err(Error::file("cannot make folder", &finished))
    }

    /// Removes what earlier versions of the same program and assets left, what builders left that were killed, and the longest
    /// unused where there are too many of these.
    fn remove_stale(&self, Inputs { origin, inputs }: &Inputs) {
        let mut found = self.list().unwrap_or_default();
        found.retain(|(about, _)| about.origin == *origin);
        let used = |about: &About| {
            fs::metadata(self.root.join(&about.id).join("about.json")).and_then(|file| file.modified()).ok()
        };
        found.sort_by_cached_key(|(about, _)| used(about));
        let excess = (found.len() + 1).saturating_sub(MOST);
        for (place, (about, _)) in found.into_iter().enumerate() {
            if place < excess || about.inputs != *inputs {
                let _ = remove(&self.root.join(about.id));
            }
        }
        self.sweep();
    }

    /// Removes what builders left that were killed.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_prefix('.')) else { continue };
            // One that is being built is locked; what is on its way out is nobody's.
            let id = id.strip_prefix("gone").unwrap_or(id);
            if let Ok(Some(_lock)) = Lock::take(&self.lock_path(id), false) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Removes a folder, of which no part is seen under its name meanwhile.
fn remove(folder: &Path) -> Result<()> {
    let mut name = std::ffi::OsString::from(".gone");
    name.push(folder.file_name().unwrap_or_default());
    let going = folder.with_file_name(name);
    let removed = match fs::rename(folder, &going) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        // Something of an earlier removal is in the way.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            fs::remove_dir_all(&going).and_then(|()| fs::rename(folder, &going))
        }
        other => other,
    };
    removed.and_then(|()| fs::remove_dir_all(&going)).map_err(Error::file("cannot remove", folder))
}

/// Whether this file was written within the last minutes.
fn recent(path: &Path) -> bool {
    const WHILE: Duration = Duration::from_secs(300);
    let written = fs::metadata(path).and_then(|file| file.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age < WHILE))
}
