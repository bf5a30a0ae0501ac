//! Opens what is mounted in a container, each time that it is started.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;

use hull_devices::fs::Policy;
use hull_protocol::{Mount, SHARE};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, openat, statx};

use super::fill::Filling;
use super::{MountKind, MountPoint};
use crate::container::error::{Error, Result};

/// Something of the host's, opened.
#[derive(Debug)]
pub struct Opened {
    /// It, with `O_PATH`.
    pub place: OwnedFd,
    /// How the share shows it.
    pub policy: Policy,
    /// What the agent is to do with it, which is a root of the share.
    pub mount: Mount,
}

/// Opens the mounts of a container, in their order: the root with index `0` of the share is the first. With them comes what is to be held
/// until the container runs.
///
/// # Errors
/// When one is not there, not readable, or nothing that can be shared; the message is Docker's where it has one.
pub fn open(mounts: &[MountPoint]) -> Result<(Vec<Opened>, Filling)> {
    let filling = Filling::begin(mounts)?;
    let opened = mounts.iter().enumerate().map(|(index, mount)| open_one(index, mount, &filling));
    Ok((opened.collect::<Result<_>>()?, filling))
}

fn open_one(index: usize, mount: &MountPoint, filling: &Filling) -> Result<Opened> {
    let path = &mount.source;
    let shown = path.display();
    let open = || openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let place = match open() {
        Err(rustix::io::Errno::NOENT) if mount.create => {
            fs::create_dir_all(path).map_err(|error| {
                Error::Invalid(format!("error while creating mount source path '{shown}': {error}"))
            })?;
            open()
        }
        other => other,
    };
    let place = place.map_err(|error| {
        let error = std::io::Error::from(error);
        Error::Invalid(match (error.kind(), mount.kind) {
            (ErrorKind::NotFound, MountKind::Bind) => {
                format!("invalid mount config for type \"bind\": bind source path does not exist: {shown}")
            }
            (ErrorKind::NotFound, MountKind::Volume) => format!(
                "the volume {} has gone: {shown} does not exist; make it again, or remove the container",
                mount.name.as_deref().unwrap_or_default()
            ),
            _ => format!("cannot share {shown}: {error}"),
        })
    })?;
    let status = statx(&place, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE);
    let status = status.map_err(|error| Error::Invalid(format!("cannot share {shown}: {error}")))?;
    let kind = FileType::from_raw_mode(status.stx_mode.into());
    let is_file = match kind {
        FileType::Directory => false,
        FileType::RegularFile => true,
        _ => {
            let what = fs::metadata(path).map(|about| about.file_type());
            let what = match what {
                Ok(kind) if kind.is_socket() => "a socket",
                Ok(kind) if kind.is_fifo() => "a named pipe",
                _ => "a device",
            };
            return Err(Error::Invalid(format!(
                "cannot share {shown}: it is {what}, which means nothing in a VM; share folders and files"
            )));
        }
    };
    let readable = rustix::fs::accessat(CWD, path, rustix::fs::Access::READ_OK, AtFlags::empty());
    if readable.is_err() {
        return Err(Error::Invalid(format!("cannot share {shown}: you may not read it")));
    }
    let mut options = Vec::new();
    if !mount.writable {
        options.push("ro".to_owned());
    }
    Ok(Opened {
        place,
        policy: mount.policy(),
        mount: Mount {
            kind: SHARE.to_owned(),
            source: index.to_string(),
            destination: mount.destination.clone(),
            options,
            file: is_file,
            populate: filling.contains(&mount.destination),
        },
    })
}
