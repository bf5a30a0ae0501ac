//! What the host shares with a container: roots of the guest's one file share, each at its place.
//!
//! The share is mounted in the container's own namespaces, where the host's small files wait too ([`FILES`]), and goes away with
//! them: what stays are the roots. A guest without anything shared never mounts it.

use std::borrow::Cow;

use hull_protocol::{Mount, SHARE_TAG};
use rustix::mount::MountFlags;

use crate::{
    failure::{Failure, text},
    skeleton::FILES,
    step::{Step, Target},
};

/// Name of the directory that the share is mounted on.
const PLACE: &str = "share";

/// The steps that mount the share, so that [`one`] finds its roots.
pub fn all() -> Result<[Step; 2], Failure> {
    let place = format!("{FILES}/{PLACE}");
    Ok([
        Step::Directory { path: text("path", &*place)?, mode: 0o700 },
        Step::Mount {
            source: text("share", SHARE_TAG)?,
            path: text("path", place)?,
            kind: Cow::Borrowed(c"virtiofs"),
            // A device of the host's would be another here.
            flags: MountFlags::NODEV,
            options: Cow::Borrowed(c""),
            target: Target::Present,
        },
    ])
}

/// The steps that give a root its place.
///
/// # Errors
/// When it is none, or is to be mounted in a way that is not possible.
pub fn one(mount: &Mount) -> Result<Vec<Step>, Failure> {
    let Mount { source, destination, .. } = mount;
    if source.is_empty() || !source.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::invalid(format!("{source:?} is not a root of the share")));
    }
    let mut steps = vec![Step::Mount {
        source: text("root", format!("{FILES}/{PLACE}/{source}"))?,
        path: text("mount destination", &**destination)?,
        kind: Cow::Borrowed(c""),
        flags: MountFlags::BIND,
        options: Cow::Borrowed(c""),
        target: if mount.file { Target::File } else { Target::Directory },
    }];
    for option in &mount.options {
        match &**option {
            "ro" => steps.push(Step::Seal(text("mount destination", &**destination)?)),
            "rw" => {}
            option => {
                return Err(Failure::invalid(format!(
                    "the option {option:?} of the mount on {destination} is not possible"
                )));
            }
        }
    }
    Ok(steps)
}
