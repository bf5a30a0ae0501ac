//! The root of a container that is to come: its image is known before it is, so this is made while nobody waits, and kept in a
//! template for that image.

use hull_protocol::{Container, Extent, Image, Process};
use rustix::fd::AsFd;

use crate::{
    container::resolve_user,
    failure::Failure,
    inside,
    layers::Layers,
    path, read_ahead,
    rootfs::{DataDisk, Root},
};

/// A root that is ready, and of what.
#[derive(Debug)]
pub struct SpareRoot {
    layers: Vec<Extent>,
    root: Root,
}

impl SpareRoot {
    /// Puts it together, and lets the kernel read what a container of this image will have it read first.
    ///
    /// # Errors
    /// As [`Root::build`].
    pub fn make(image: &Image, layers: &mut Layers, data: &mut DataDisk) -> Result<Self, Failure> {
        let root = Root::spare(&image.layers, layers, data)?;
        let mount = root.mount.as_fd();
        // Found once, names stay known, each in every layer.
        for path in ["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"] {
            let _ = inside::open(mount, path);
        }
        // Whoever the user will be, the files are these.
        let _ = resolve_user(mount, &Process::default());
        let path: Vec<String> = image.path.iter().map(|path| format!("PATH={path}")).collect();
        let candidates = path::candidates(&image.command, &path);
        read_ahead::program(mount, &candidates);
        Ok(Self { layers: image.layers.clone(), root })
    }

    /// Whether it can be this container's root.
    pub fn fits(&self, container: &Container) -> bool {
        !container.read_only && !container.user_namespace && container.layers == self.layers
    }

    /// Makes it the root of the container with this id.
    ///
    /// # Errors
    /// When its writable layer cannot get that name.
    pub fn claim(self, id: &str, layers: &mut Layers) -> Result<Root, Failure> {
        match Root::claim_spare(id) {
            Ok(()) => Ok(self.root),
            Err(failure) => {
                self.release(layers);
                Err(failure)
            }
        }
    }

    /// Lets go of it.
    pub fn release(self, layers: &mut Layers) {
        self.root.release(layers);
    }
}
