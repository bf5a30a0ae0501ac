//! Pools: VMs that go on from a template already, and wait for containers.
//!
//! ```text
//! pools/0123456789abcdef/    named after the template
//!     lock                   held while somebody counts or changes it
//!     about.json             what waits, and how many are to
//!     89abcdef01234567/      one VM
//!         lock               held by its keeper
//!         ctl                the keeper's socket
//!         data.img           its data disk
//! ```
//! Nobody runs a pool. Each VM has its keeper, as every VM has, and a keeper whose VM was taken starts the one that takes its place.

mod waiting;

use std::{
    fs,
    io::{self, ErrorKind},
    os::fd::AsFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

pub use waiting::{Arguments, run};

use super::{
    ContainerId, Host, HostConfig,
    error::{Error, Result},
    sizing::boot_limit,
    state::Lock,
    template::{Purpose, Templates},
};
use crate::{
    folders, image,
    vm::{detached, folder, timestamp},
    vmm::channel::{Channel, Received},
};

/// How long a VM that waits may take to say so.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Between two looks at one that is to end.
const PAUSE: Duration = Duration::from_millis(10);

/// VMs that one pool can have.
pub const MOST: u32 = 64;

/// What waits in a pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// The image, as the user calls it.
    pub image: String,
    /// `--cpus` of the containers that it serves, in billionths, 0 for none.
    pub nano_cpus: u64,
    /// How many are to wait.
    pub wanted: u32,
    /// When it was made (RFC 3339).
    pub created: String,
}

/// A pool as it is now.
#[derive(Debug)]
pub struct Pool {
    /// Name of its folder and of its template.
    pub id: String,
    /// What waits.
    pub about: About,
    /// How many do.
    pub waiting: usize,
    /// Containers of this image and size are still started from this template.
    pub current: bool,
}

/// To the keeper of a VM that waits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Request {
    /// Be this container's keeper; the lock of its folder is beside the message. The connection goes on as its front end's.
    Take {
        /// The container.
        container: ContainerId,
        /// It ends with the front end.
        tied: bool,
    },
    /// End.
    End,
}

/// From the keeper of a VM that waits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Answer {
    /// To whoever connects: it listens.
    Willing,
    /// To who started it: it waits.
    Ready,
    /// To who started it: it does not.
    Failed {
        /// Why.
        reason: String,
    },
    /// It keeps the container now.
    Taken,
    /// It does not, and goes on waiting.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A user's pools.
#[derive(Debug)]
pub struct Pools {
    root: PathBuf,
}

impl About {
    /// What a template for such containers is for, and the image.
    ///
    /// # Errors
    /// When the image is not there, or the host does not have so much.
    fn purpose(&self) -> Result<(Purpose, image::Image)> {
        let config = HostConfig { nano_cpus: self.nano_cpus, ..HostConfig::default() };
        let image = image::Store::open()?.find(&self.image)?;
        let image = image.ok_or_else(|| image::Error::NotFound(self.image.clone()))?;
        Ok((Purpose::of(Host::this().vm_size(&config)?, &config, &self.image, &image), image))
    }
}

impl Pools {
    /// This user's, beside the containers.
    pub fn open() -> Self {
        Self { root: folders::state().join("pools") }
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// Makes a pool, or changes how many are to wait in it. Those that it starts wait when this returns.
    ///
    /// # Errors
    /// When there is no template and none can be built, or a VM does not come up.
    pub fn start(&self, about: &About) -> Result<String> {
        let (purpose, image) = about.purpose()?;
        // A layer that is missing is made again.
        image.open_layers()?;
        let id = Templates::open().get(&purpose)?.id;
        let folder = self.folder(&id);
        folders::make_all_private(&folder).map_err(Error::file("cannot make folder", &folder))?;
        let excess = {
            let _lock = lock(&folder)?;
            write(&folder, about)?;
            let members = self.members(&id);
            members.get(about.wanted as usize..).unwrap_or_default().to_vec()
        };
        for member in excess {
            end(&folder.join(member))?;
        }
        for channel in self.refill(&id, true)? {
            await_ready(&channel)?;
        }
        Ok(id)
    }

    /// Starts as many VMs as the pool lacks, and gives the connections to their keepers, which tell when they wait. None where somebody
    /// else counts them now and this one is not to `wait` for that.
    ///
    /// # Errors
    /// When this program cannot be executed again.
    fn refill(&self, id: &str, wait: bool) -> Result<Vec<Channel>> {
        let path = self.folder(id).join("lock");
        let lock = Lock::take(&path, wait).map_err(Error::file("cannot lock", &path))?;
        let Some(_lock) = lock else { return Ok(Vec::new()) };
        let Some(about) = self.about(id) else { return Ok(Vec::new()) };
        let lacking = (about.wanted as usize).saturating_sub(self.members(id).len());
        (0..lacking).map(|_| self.add(id)).collect()
    }

    /// Starts what the pool lacks, if there is one with this id. What goes wrong, `hull pool ls` shows.
    pub fn replace(&self, id: &str) {
        if self.folder(id).exists() {
            let _ = self.refill(id, false);
        }
    }

    fn add(&self, id: &str) -> Result<Channel> {
        let name = &ContainerId::random().as_str()[..16].to_owned();
        let folder = self.folder(id).join(name);
        folders::make_private(&folder).map_err(Error::file("cannot make folder", &folder))?;
        let lock = Lock::take(&folder.join("lock"), false).map_err(Error::file("cannot lock", &folder))?;
        let lock = lock.ok_or_else(|| Error::file("cannot lock", &folder)(ErrorKind::WouldBlock.into()))?;
        detached::spawn("waiting", name, lock, &["--pool", id])
            .map_err(|error| Error::Keeper(format!("of a pool's VM cannot be started: {error}")))
    }

    /// What this pool is to be; `None` when it was stopped.
    fn about(&self, id: &str) -> Option<About> {
        folder::read(&self.folder(id).join("about.json")).ok().flatten()
    }

    /// Names of the VMs that have a keeper. What is left of others is removed.
    fn members(&self, id: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder(id)).into_iter().flatten().flatten();
        let mut members = Vec::new();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            match Lock::take(&entry.path().join("lock"), false) {
                Ok(None) => members.push(name),
                Ok(Some(_lock)) => drop(fs::remove_dir_all(entry.path())),
                Err(_) => {}
            }
        }
        members
    }

    /// What there is.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Pool>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("cannot read", &self.root)(error)),
        };
        let mut pools = Vec::new();
        for id in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let Some(about) = self.about(&id) else { continue };
            // Gone since, or being changed: then whoever does that sees to what is left of others.
            let folder = self.folder(&id);
            let Ok(_lock) = Lock::take(&folder.join("lock"), false) else { continue };
            let members = self.members(&id).into_iter();
            let waiting = members.filter(|name| folder::listens(&folder.join(name))).count();
            let current =
                about.purpose().is_ok_and(|(purpose, _)| Templates::id(&purpose).as_ref() == Some(&id));
            pools.push(Pool { id, about, waiting, current });
        }
        pools.sort_by(|a, b| (&a.about.created, &a.id).cmp(&(&b.about.created, &b.id)));
        Ok(pools)
    }

    /// Ends a pool: the VMs that wait, not those that were taken.
    ///
    /// # Errors
    /// When there is none with this id, or one does not end.
    pub fn stop(&self, id: &str) -> Result<()> {
        let folder = self.folder(id);
        if self.list()?.iter().all(|pool| pool.id != id) {
            return Err(Error::Invalid(format!("no such pool: {id}; `hull pool ls` shows what there is")));
        }
        // It stays known until nothing of it is left: one whose end was interrupted can be stopped again.
        let members = {
            let _lock = lock(&folder)?;
            let about = self.about(id).ok_or_else(|| Error::Invalid(format!("no such pool: {id}")))?;
            write(&folder, &About { wanted: 0, ..about })?;
            self.members(id)
        };
        for member in members {
            end(&folder.join(member))?;
        }
        let _lock = lock(&folder)?;
        // Somebody may have started it again meanwhile.
        if self.about(id).is_some_and(|about| about.wanted == 0) && self.members(id).is_empty() {
            fs::remove_dir_all(&folder).map_err(Error::file("cannot remove", &folder))?;
            // Unless there are others.
            let _ = fs::remove_dir(&self.root);
        }
        Ok(())
    }

    /// Has the keeper of a VM that waits keep this container, and gives the connection to it. `None` where nothing waits that
    /// fits; the container's own keeper has then the [pool](Self::replace) filled again.
    pub fn take(
        &self,
        purpose: &Purpose,
        container: &ContainerId,
        lock: &Lock,
        tied: bool,
    ) -> Option<Channel> {
        // Most users have no pool.
        if !self.root.exists() {
            return None;
        }
        let id = Templates::id(purpose)?;
        let entries = fs::read_dir(self.folder(&id)).ok()?.flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).find_map(|entry| {
            // One that was taken a moment ago does not listen any more, or closes the connection; one that hangs says nothing.
            let keeper = Channel::from(folder::connect(&entry.path()).ok()?);
            let mut source = [PollFd::new(&keeper, PollFlags::IN)];
            poll(&mut source, Some(&PATIENCE)).ok().filter(|count| *count > 0)?;
            let Ok(Received::Message(Answer::Willing, _)) = keeper.receive() else { return None };
            let request = Request::Take { container: container.clone(), tied };
            keeper.send(&request, Some(lock.0.as_fd())).ok()?;
            matches!(keeper.receive(), Ok(Received::Message(Answer::Taken, _))).then_some(keeper)
        })
    }
}

/// Waits until a VM waits.
fn await_ready(keeper: &Channel) -> Result<()> {
    let failed = |reason: &str| Error::Keeper(format!("of a pool's VM {reason}"));
    match keeper.receive() {
        Ok(Received::Message(Answer::Ready, _)) => Ok(()),
        Ok(Received::Message(Answer::Failed { reason }, _)) => Err(failed(&format!("says: {reason}"))),
        Ok(_) => Err(failed("was killed")),
        Err(error) => Err(failed(&format!("does not answer: {error}"))),
    }
}

/// Ends the VM that waits in this folder, or is about to, and waits for its end.
fn end(folder: &Path) -> Result<()> {
    let path = folder.join("lock");
    let deadline = Instant::now() + boot_limit();
    while Instant::now() < deadline {
        if let Ok(keeper) = folder::connect(folder) {
            let _ = Channel::from(keeper).send(&Request::End, None);
        }
        match Lock::take(&path, false) {
            Ok(None) => thread::sleep(PAUSE),
            // Its keeper removed the folder, or was killed.
            Ok(Some(_lock)) => {
                let _ = fs::remove_dir_all(folder);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::file("cannot lock", &path)(error)),
        }
    }
    Err(Error::Keeper(format!("of the VM that waits in {} does not end", folder.display())))
}

fn write(folder: &Path, about: &About) -> Result<()> {
    let path = folder.join("about.json");
    folder::write(&path, about).map_err(Error::file("cannot write", &path))
}

/// Keeps others from changing a pool.
fn lock(folder: &Path) -> Result<Lock> {
    let path = folder.join("lock");
    let lock = Lock::take(&path, true).and_then(|lock| lock.ok_or_else(|| io::ErrorKind::WouldBlock.into()));
    lock.map_err(Error::file("cannot lock", &path))
}

/// A pool that is to be.
///
/// # Errors
/// When it is too large.
pub fn about(image: &str, nano_cpus: u64, wanted: u32) -> Result<About> {
    if !(1..=MOST).contains(&wanted) {
        return Err(Error::Invalid(format!("a pool has 1 to {MOST} VMs, not {wanted}")));
    }
    Ok(About { image: image.to_owned(), nano_cpus, wanted, created: timestamp::now() })
}
