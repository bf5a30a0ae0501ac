//! Templates: a VM booted once, its agent ready and idle, from whose snapshot containers are started.
//!
//! ```text
//! templates/0123456789abcdef/   named after a hash of all that went into it
//!     snapshot                  the VM; mapped privately by every VM that goes on from it
//!     data.img                  its data disk at that moment: the two belong together
//!     about.json
//! ```
//! A template whose inputs changed is never found again, and makes way for the next that is built.

mod build;

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    HostConfig,
    error::{Error, Result},
    keeper::boot_limit,
    machine::COMMAND_LINE,
    sizing::{Host, VmSize},
    state::Lock,
};
use crate::{assets::Assets, vm::timestamp, vmm::cpu};

/// Changes when a template of the same inputs would be another.
const VERSION: u32 = 1;

/// A user's templates.
#[derive(Debug)]
pub struct Templates {
    root: PathBuf,
}

/// A template, opened.
#[derive(Debug)]
pub struct Template {
    /// The VM.
    pub snapshot: File,
    /// Its data disk.
    pub data_disk: File,
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
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
        Self { root: cache.unwrap_or_else(|| PathBuf::from("/var/cache")).join("hull/templates") }
    }

    /// The template for VMs of this size; built when there is none, in a VM that comes up within `limit`. Of several who
    /// want it, one builds.
    ///
    /// # Errors
    /// When the VM does not come up, or the disk is full.
    pub fn get(&self, size: VmSize, limit: Duration) -> Result<Template> {
        let assets = Assets::find().map_err(Error::missing)?;
        let (origin, inputs) = inputs(&assets)?;
        let id = id(size, &inputs);
        if let Some(template) = self.find(&id) {
            return Ok(template);
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(Error::file("cannot make folder", &self.root))?;
        let path = self.root.join(format!("{id}.lock"));
        let _lock = Lock::take(&path, true).map_err(Error::file("cannot lock", &path))?;
        if let Some(template) = self.find(&id) {
            return Ok(template);
        }
        self.remove_stale(&origin, &inputs);
        let unfinished = self.root.join(format!(".{id}"));
        remove(&unfinished)?;
        fs::create_dir(&unfinished).map_err(Error::file("cannot make folder", &unfinished))?;
        let started = Instant::now();
        let built = build::build(&unfinished, &assets, size, limit).and_then(|()| {
            let build_ms = started.elapsed().as_millis() as u64;
            let VmSize { vcpus, memory } = size;
            let created = timestamp::now();
            self.finish(
                &unfinished,
                About { id: id.clone(), vcpus, memory, created, build_ms, origin, inputs },
            )
        });
        if let Err(error) = built {
            let _ = remove(&unfinished);
            return Err(error);
        }
        self.find(&id)
            .ok_or_else(|| Error::file("cannot open", &self.root.join(&id))(ErrorKind::NotFound.into()))
    }

    /// Sees to it that there is a template for containers with these limits, and gives its id.
    ///
    /// # Errors
    /// As [`get`](Self::get), and when there can be no such container.
    pub fn build(&self, host_config: &HostConfig) -> Result<String> {
        let size = Host::this().vm_size(host_config)?;
        self.get(size, boot_limit())?;
        Ok(id(size, &inputs(&Assets::find().map_err(Error::missing)?)?.1))
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
                let folder = entry.ok()?.path();
                let about: About = serde_json::from_slice(&fs::read(folder.join("about.json")).ok()?).ok()?;
                let blocks = |name| fs::metadata(folder.join(name)).map_or(0, |file| file.blocks() * 512);
                Some((about, blocks("snapshot") + blocks("data.img")))
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
        remove(&self.root.join(id))
    }

    fn find(&self, id: &str) -> Option<Template> {
        let folder = self.root.join(id);
        let snapshot = File::open(folder.join("snapshot")).ok()?;
        let data_disk = File::open(folder.join("data.img")).ok()?;
        Some(Template { snapshot, data_disk })
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

    /// Removes what earlier versions of the same program and assets left.
    fn remove_stale(&self, origin: &str, inputs: &str) {
        for (about, _) in self.list().unwrap_or_default() {
            if about.origin == origin && about.inputs != inputs {
                let _ = remove(&self.root.join(about.id));
            }
        }
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("cannot remove", folder)(error)),
        _ => Ok(()),
    }
}

/// Where program and assets are, and what they are.
fn inputs(assets: &Assets) -> Result<(String, String)> {
    let program = PathBuf::from("/proc/self/exe");
    let (mut origin, mut inputs) = (String::new(), format!("{VERSION} {}", cpu()));
    for path in [program, assets.kernel(), assets.rootfs(), assets.data_disk()] {
        let file = Assets::open(&path).map_err(Error::missing)?;
        let file = file.metadata().map_err(Error::file("cannot look at", &path))?;
        let name = fs::canonicalize(&path).unwrap_or(path);
        origin += &format!("{} ", name.display());
        let (dev, ino, size) = (file.dev(), file.ino(), file.size());
        inputs += &format!(" {dev}.{ino}.{size}.{}.{}", file.mtime(), file.mtime_nsec());
    }
    Ok((origin, inputs))
}

fn id(size: VmSize, inputs: &str) -> String {
    let VmSize { memory, vcpus } = size;
    let digest = Sha256::digest(format!("{memory} {vcpus} {COMMAND_LINE} {inputs}"));
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
