//! What a template is for, and how it is found again.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use sha2::{Digest, Sha256};

use crate::{
    assets::Assets,
    container::{
        Config, HostConfig,
        create::with_image,
        error::{Error, Result},
        machine::COMMAND_LINE,
        sizing::{Host, VmSize},
    },
    image::Image,
    vmm::snapshot,
};

/// Changes when a template of the same inputs would be another.
const VERSION: u32 = 2;

/// What a template is for.
#[derive(Debug, Clone)]
pub struct Purpose {
    /// VMs of this size.
    pub size: VmSize,
    /// Containers of this image only.
    pub image: Option<AtHand>,
}

/// An image, as far as a template has to do with it.
#[derive(Debug, Clone)]
pub struct AtHand {
    /// What the user calls it.
    pub name: String,
    /// The files of its layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// What its containers execute, and the `PATH` to find that.
    pub command: String,
    /// See `command`.
    pub path: Option<String>,
}

impl Purpose {
    /// What a container of this image needs that is configured so.
    ///
    /// # Errors
    /// When it asks for more than the host has.
    pub fn of(config: &Config, host_config: &HostConfig, image: &Image) -> Result<Self> {
        let variable = |name: &str| {
            let entries = config.env.iter().rev();
            entries.filter_map(|entry| entry.split_once('=')).find(|(key, _)| *key == name)
        };
        let image = AtHand {
            name: config.image.clone(),
            layers: image.layers.iter().map(|layer| layer.path.clone()).collect(),
            command: config.args().into_iter().next().unwrap_or_default(),
            path: variable("PATH").map(|(_, value)| value.to_owned()),
        };
        Ok(Self { size: Host::this().vm_size(host_config)?, image: Some(image) })
    }

    /// What a container with these limits needs, of whatever image or of this one, under the name that it was asked for by.
    ///
    /// # Errors
    /// When it asks for more than the host has.
    pub fn in_advance(host_config: &HostConfig, image: Option<(&str, &Image)>) -> Result<Self> {
        match image {
            None => Ok(Self { size: Host::this().vm_size(host_config)?, image: None }),
            Some((name, image)) => {
                let config = Config { image: name.to_owned(), ..Config::default() };
                Self::of(&with_image(config, &image.config)?, host_config, image)
            }
        }
    }

    /// The same, whatever the image.
    pub fn any_image(&self) -> Self {
        Self { size: self.size, image: None }
    }
}

/// What a template is found by.
pub struct Key {
    /// Name of its folder.
    pub id: String,
    /// See [`About`](super::About).
    pub origin: String,
    /// See [`About`](super::About).
    pub inputs: String,
}

impl Key {
    /// The key of the template for this purpose.
    ///
    /// # Errors
    /// When a file that it is built of is missing.
    pub fn of(purpose: &Purpose, assets: &Assets) -> Result<Self> {
        let program = PathBuf::from("/proc/self/exe");
        // What a guest decides at its boot depends on the host's kernel, KVM and microcode: a template lives as long as they do.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
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
        let mut layers = String::new();
        for path in purpose.image.iter().flat_map(|image| &image.layers) {
            // Named after its content, in whatever store it is.
            let name = path.file_name().unwrap_or_default().display();
            let length = fs::metadata(path).map_err(Error::file("cannot look at", path))?.size();
            layers += &format!(" {name}.{length}");
        }
        let VmSize { memory, vcpus } = purpose.size;
        let digest = Sha256::digest(format!("{memory} {vcpus} {COMMAND_LINE} {inputs};{layers}"));
        let id = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, origin, inputs })
    }
}
