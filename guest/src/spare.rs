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
    number: usize,
    layers: Vec<Extent>,
    root: Root,
}

impl SpareRoot {
    /// Puts it together, with a number that no other has, and lets the kernel look up what a container of this image will have it look up first.
    ///
    /// # Errors
    /// As [`Root::build`].
    pub fn make(
        number: usize,
        image: &Image,
        layers: &mut Layers,
        data: &mut DataDisk,
    ) -> Result<Self, Failure> {
        let root = Root::spare(number, &image.layers, layers, data)?;
        let mount = root.mount.as_fd();
        // Found once, names stay known, each in every layer.
        for path in ["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"] {
            let _ = inside::open(mount, path);
        }
        // Whoever the user will be, the files are these.
        let _ = resolve_user(mount, &Process::default());
        Ok(Self { number, layers: image.layers.clone(), root })
    }

    /// Lets the kernel read the image's program, which none has run yet.
    pub fn read_ahead(&self, image: &Image) {
        let path: Vec<String> = image.path.iter().map(|path| format!("PATH={path}")).collect();
        let candidates = path::candidates(&image.command, &path);
        read_ahead::program(self.root.mount.as_fd(), &candidates);
    }

    /// Its number.
    pub fn number(&self) -> usize {
        self.number
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
        match Root::claim_spare(self.number, id) {
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
