//! What a template is for, and how it is found again.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    assets::Assets,
    container::{
        HostConfig,
        error::{Error, Result},
        machine::COMMAND_LINE,
        shared::Plan,
        sizing::{Host, VmSize},
    },
    image::Image,
    vmm::snapshot,
};

/// Changes when a template of the same inputs would be another.
const VERSION: u32 = 3;

/// What a template is for.
#[derive(Debug, Clone)]
pub struct Purpose {
    /// VMs of this size.
    pub size: VmSize,
    /// Containers of this image only.
    pub image: Option<AtHand>,
}

/// An image, as far as a template has to do with it: what its containers have in common.
#[derive(Debug, Clone)]
pub struct AtHand {
    /// What the user calls it.
    pub name: String,
    /// The files of its layers, lowest first. Their names say what is in them, and who wrote it.
    pub layers: Vec<PathBuf>,
    /// What its containers execute unless they are told otherwise, and the `PATH` to find that.
    pub command: String,
    /// See `command`.
    pub path: Option<String>,
}

impl Purpose {
    /// What containers of this image need, under the name that it was asked for by, in VMs of this size.
    pub fn of(size: VmSize, host_config: &HostConfig, name: &str, image: &Image) -> Self {
        // The root that a template has ready can be written to.
        let image = (!host_config.readonly_rootfs).then(|| AtHand::of(name, image));
        Self { size, image }
    }

    /// What a container of this image needs that is to be, in a VM of its own or one that it shares.
    ///
    /// # Errors
    /// When its limits are out of range, or the shared VM's file is wrong.
    pub fn of_container(host_config: &HostConfig, name: &str, image: &Image) -> Result<Self> {
        match &host_config.vm {
            Some(vm) => Ok(Plan::of(vm)?.purpose()),
            None => Ok(Self::of(Host::this().vm_size(host_config)?, host_config, name, image)),
        }
    }

    /// Whether a VM that was made for this serves for that.
    pub fn serves(&self, other: &Self) -> bool {
        let layers = |purpose: &'_ Self| purpose.image.as_ref().map(|image| image.layers.clone());
        self.size == other.size && layers(self) == layers(other)
    }

    /// The same, whatever the image.
    pub fn any_image(&self) -> Self {
        Self { size: self.size, image: None }
    }
}

impl AtHand {
    fn of(name: &str, image: &Image) -> Self {
        let config = image.config.config().as_ref();
        let words = |words: Option<&Option<Vec<String>>>| words.cloned().flatten().unwrap_or_default();
        let entrypoint = words(config.map(|config| config.entrypoint()));
        let command = entrypoint.into_iter().chain(words(config.map(|config| config.cmd()))).next();
        let environment = words(config.map(|config| config.env()));
        Self {
            name: name.to_owned(),
            layers: image.layers.iter().map(|layer| layer.path.clone()).collect(),
            command: command.unwrap_or_default(),
            path: environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).map(str::to_owned),
        }
    }
}

/// What every template is built of; its texts are those of [`About`](super::About).
pub struct Inputs {
    /// The files' names.
    pub origin: String,
    /// Their contents, as far as the file system tells of them, and the host.
    pub inputs: String,
}

impl Inputs {
    /// What a template would be built of now.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn now(assets: &Assets) -> Result<Self> {
        let program = PathBuf::from("/proc/self/exe");
        // What a guest decides at its boot depends on the host's kernel, KVM and microcode: a template lives as long as they do.
        let boot_id = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = fs::read_to_string(boot_id).map_err(Error::file("cannot read", boot_id))?;
        let (mut origin, mut inputs) =
            (String::new(), format!("{VERSION} {} {}", snapshot::cpu(), boot.trim()));
        for path in [program, assets.kernel(), assets.rootfs(), assets.data_disk()] {
            let file = Assets::open(&path).map_err(Error::missing)?;
            let file = file.metadata().map_err(Error::file("cannot look at", &path))?;
            let name = fs::canonicalize(&path).unwrap_or(path);
            origin += &format!("{} ", name.display());
            let (dev, ino, length) = (file.dev(), file.ino(), file.size());
            inputs += &format!(" {dev}.{ino}.{length}.{}.{}", file.mtime(), file.mtime_nsec());
        }
        Ok(Self { origin, inputs })
    }

    /// The name of the template of these for this purpose.
    pub fn id(&self, purpose: &Purpose) -> String {
        let mut layers = String::new();
        for path in purpose.image.iter().flat_map(|image| &image.layers) {
            layers += &format!(" {}", path.file_name().unwrap_or_default().display());
        }
        let VmSize { memory, growth, vcpus } = purpose.size;
        let digest =
            Sha256::digest(format!("{memory} {growth} {vcpus} {COMMAND_LINE} {};{layers}", self.inputs));
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}
