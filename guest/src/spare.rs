//! The root of a container that is to come: its image is known before it is, so this is made while nobody waits, and kept in a
//! template for that image.

use std::io::Read;

use hull_protocol::{Container, Extent, Image};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{Mode, OFlags, ResolveFlags, openat2},
};

use crate::{
    container::resolve_user,
    failure::Failure,
    layers::Layers,
    path,
    rootfs::{DataDisk, Root},
};

/// Of each program so many bytes are read in advance, at most.
const MOST_BYTES: u64 = 16 << 20;

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
        let inside = root.mount.as_fd();
        // Whoever the user will be, the files are these.
        let _ = resolve_user(inside, "");
        let path: Vec<String> = image.path.iter().map(|path| format!("PATH={path}")).collect();
        let candidates = path::candidates(&image.command, &path);
        if let Some(head) = candidates.iter().find_map(|program| read_ahead(inside, program))
            && let Some(interpreter) = interpreter(&head)
        {
            read_ahead(inside, &interpreter);
        }
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

/// Reads a file of the container once, so that its pages are in memory. `None` if it is not there, else its beginning.
fn read_ahead(root: BorrowedFd<'_>, path: &str) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    let mut file = std::fs::File::from(file);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut piece = vec![0; 64 << 10];
    let count = file.read(&mut piece).ok()?;
    let head = piece[..count.min(4096)].to_vec();
    let mut rest = file.take(MOST_BYTES);
    while rest.read(&mut piece).is_ok_and(|count| count > 0) {}
    Some(head)
}

/// The interpreter that an ELF program of 64 bits names (System V ABI, "Program Interpreter"), if it names one.
fn interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(head.get(at..at.checked_add(8)?)?.try_into().ok()?));
    if !head.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let (table, size, count) = (u64_at(32)?, u16_at(54)?, u16_at(56)?);
    for number in 0..count {
        let at = usize::try_from(table).ok()?.checked_add(usize::from(size) * usize::from(number))?;
        if head.get(at..at.checked_add(4)?)? == PT_INTERP.to_le_bytes() {
            let begin = usize::try_from(u64_at(at + 8)?).ok()?;
            let end = begin.checked_add(usize::try_from(u64_at(at + 32)?).ok()?)?;
            let path = head.get(begin..end)?.split(|byte| *byte == 0).next()?;
            return String::from_utf8(path.to_vec()).ok();
        }
    }
    None
}

#[cfg(test)]
#[path = "spare_test.rs"]
mod tests;
