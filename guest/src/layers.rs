//! Layers: ranges of the layer disk, each an EROFS image, each made a partition and mounted once.
//!
//! Of the ways to give a file system a part of a disk that Linux 6.12 has without device-mapper, a partition is the cheapest to read
//! through: a loop device would copy each page again, and EROFS has no offset option yet. A mounted layer stays mounted
//! after its last container, with what is cached of it, until its place is needed.

use hull_protocol::Extent;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, CWD, Mode, OFlags},
    io::{self, Errno},
    mount::{self, MountFlags, UnmountFlags},
    thread,
    time::Timespec,
};

use crate::{failure::Failure, sys};

/// Partitions of a disk have numbers up to this (`DISK_MAX_PARTS`, less the whole disk).
pub const MOST: usize = 255;

/// The mounted layers.
#[derive(Debug)]
pub struct Layers {
    disk: String,
    file: Option<OwnedFd>,
    /// By number of the partition, less one.
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    /// `None` when it could not be mounted, or made way for one that could not.
    extent: Option<Extent>,
    users: u32,
}

/// A layer in use; to be given back to [`Layers::release`].
#[derive(Debug)]
pub struct Layer(usize);

impl Layer {
    /// Where it is mounted.
    pub fn path(&self) -> String {
        path(self.0)
    }
}

fn path(place: usize) -> String {
    format!("/layers/{}", place + 1)
}

impl Layers {
    /// No layers yet, of the disk with this device file.
    pub fn new(disk: String) -> Self {
        Self { disk, file: None, places: Vec::new() }
    }

    /// Whether mounting `count` more layers may need the places of others.
    pub fn crowded(&self, count: usize) -> bool {
        self.places.len() + count > MOST
    }

    /// The layer at this extent, mounted if it is not.
    ///
    /// # Errors
    /// When the extent is not one, holds no EROFS image, or every place is in use.
    pub fn acquire(&mut self, extent: Extent) -> Result<Layer, Failure> {
        let known = self.places.iter().position(|place| place.extent == Some(extent));
        let place = match known {
            Some(place) => place,
            None => self.map(extent)?,
        };
        self.places[place].users += 1;
        Ok(Layer(place))
    }

    /// Ends the use of a layer.
    pub fn release(&mut self, layer: Layer) {
        self.places[layer.0].users -= 1;
    }

    fn map(&mut self, extent: Extent) -> Result<usize, Failure> {
        let named = format!("the layer at byte {}, {} bytes long", extent.offset, extent.length);
        let (Ok(offset), Ok(length)) = (i64::try_from(extent.offset), i64::try_from(extent.length)) else {
            return Err(Failure::invalid(format!("{named}, is beyond any disk")));
        };
        if length == 0 || offset % 4096 != 0 || length % 4096 != 0 || offset.checked_add(length).is_none() {
            return Err(Failure::invalid(format!("{named}, is not a range of whole 4096-byte blocks")));
        }
        let place = self.free_place()?;
        let disk = self.open()?;
        let number = place as u32 + 1;
        partition(disk, number, offset, length)
            .map_err(|error| Failure::internal(format_args!("cannot map {named}"), error))?;
        let device = partition_name(&self.disk, number);
        if let Err(error) = mount::mount(&*device, &*path(place), c"erofs", MountFlags::RDONLY, c"") {
            let _ = sys::set_partition(self.open()?, number, 0, 0);
            return Err(Failure::internal(format_args!("cannot mount {named}"), error));
        }
        self.places[place].extent = Some(extent);
        Ok(place)
    }

    /// A place without a layer: a new one, or that of a layer nobody uses.
    fn free_place(&mut self) -> Result<usize, Failure> {
        if let Some(place) = self.places.iter().position(|place| place.extent.is_none()) {
            return Ok(place);
        }
        if self.places.len() < MOST {
            self.places.push(Place { extent: None, users: 0 });
            return Ok(self.places.len() - 1);
        }
        let Some(place) = self.places.iter().position(|place| place.users == 0) else {
            return Err(Failure::invalid(format!("more than {MOST} layers in use at once")));
        };
        let fail = |error| Failure::internal("cannot take an unused layer away", error);
        mount::unmount(&*path(place), UnmountFlags::empty()).map_err(fail)?;
        self.places[place].extent = None;
        sys::set_partition(self.open()?, place as u32 + 1, 0, 0).map_err(fail)?;
        Ok(place)
    }

    fn open(&mut self) -> Result<BorrowedFd<'_>, Failure> {
        let file = match self.file.take() {
            Some(file) => file,
            None => fs::openat(CWD, &*self.disk, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(
                |error| Failure::internal(format_args!("cannot open the layer disk {}", self.disk), error),
            )?,
        };
        let file: &OwnedFd = self.file.insert(file);
        Ok(file.as_fd())
    }
}

/// Makes a partition. The host may have appended the range just now: then the news of the disk's new size, which is
/// an interrupt, can be later than the request, which is a message.
fn partition(disk: BorrowedFd<'_>, number: u32, offset: i64, length: i64) -> io::Result<()> {
    const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    const TRIES: u32 = 200;
    for _ in 1..TRIES {
        match sys::set_partition(disk, number, offset, length) {
            Err(Errno::INVAL) => drop(thread::nanosleep(&PAUSE)),
            other => return other,
        }
    }
    sys::set_partition(disk, number, offset, length)
}

/// The device file of a partition, as the kernel names it.
fn partition_name(disk: &str, number: u32) -> String {
    let separator = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{separator}{number}")
}

#[cfg(test)]
#[path = "layers_test.rs"]
mod tests;
