//! Mounts of a request: options as mount(8) has them, sorted into flags and what the file system gets.

use hull_protocol::{Mount, SHARE};
use rustix::mount::MountFlags;

use crate::{
    failure::{Failure, text},
    shares,
    step::{Step, Target},
};

/// The steps that make the mounts of a request.
///
/// # Errors
/// When a destination is no absolute path, or something is asked for that is not possible.
pub fn steps(mounts: &[Mount]) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    if mounts.iter().any(|mount| mount.kind == SHARE) {
        steps.extend(shares::all()?);
    }
    for mount in mounts {
        check_destination(&mount.destination)?;
        if mount.kind == SHARE {
            steps.extend(shares::one(mount)?);
        } else {
            steps.push(step(mount)?);
        }
    }
    Ok(steps)
}

fn check_destination(destination: &str) -> Result<(), Failure> {
    if !destination.starts_with('/') || destination.trim_matches('/').is_empty() {
        return Err(Failure::invalid(format!(
            "{destination:?} is not a path that something can be mounted on"
        )));
    }
    Ok(())
}

/// The step that mounts a file system.
fn step(mount: &Mount) -> Result<Step, Failure> {
    let destination = &*mount.destination;
    if mount.kind.is_empty() || mount.kind == "bind" {
        return Err(Failure::invalid(format!("the mount on {destination} has no file system type")));
    }
    let (flags, options) = sort(&mount.options).map_err(|option| {
        Failure::invalid(format!("the option {option:?} of the mount on {destination} is not possible"))
    })?;
    let source = if mount.source.is_empty() { &*mount.kind } else { &*mount.source };
    Ok(Step::Mount {
        source: text("mount source", source)?,
        path: text("mount destination", destination)?,
        kind: text("file system type", &*mount.kind)?,
        flags,
        options: text("mount options", options)?,
        target: Target::Directory,
    })
}

/// Options by what understands them: flags for the kernel's mount, the rest for the file system. An error is an option that
/// neither can have in a container.
fn sort(options: &[String]) -> Result<(MountFlags, String), &str> {
    let mut flags = MountFlags::empty();
    let mut rest = Vec::new();
    for option in options.iter().flat_map(|list| list.split(',')).filter(|option| !option.is_empty()) {
        let (set, clear) = match option {
            "defaults" | "rw" => (MountFlags::empty(), MountFlags::RDONLY),
            "ro" => (MountFlags::RDONLY, MountFlags::empty()),
            "nosuid" => (MountFlags::NOSUID, MountFlags::empty()),
            "suid" => (MountFlags::empty(), MountFlags::NOSUID),
            "nodev" => (MountFlags::NODEV, MountFlags::empty()),
            "dev" => (MountFlags::empty(), MountFlags::NODEV),
            "noexec" => (MountFlags::NOEXEC, MountFlags::empty()),
            "exec" => (MountFlags::empty(), MountFlags::NOEXEC),
            "sync" => (MountFlags::SYNCHRONOUS, MountFlags::empty()),
            "async" => (MountFlags::empty(), MountFlags::SYNCHRONOUS),
            "dirsync" => (MountFlags::DIRSYNC, MountFlags::empty()),
            "noatime" => (MountFlags::NOATIME, MountFlags::RELATIME | MountFlags::STRICTATIME),
            "atime" => (MountFlags::empty(), MountFlags::NOATIME),
            "nodiratime" => (MountFlags::NODIRATIME, MountFlags::empty()),
            "diratime" => (MountFlags::empty(), MountFlags::NODIRATIME),
            "relatime" => (MountFlags::RELATIME, MountFlags::NOATIME | MountFlags::STRICTATIME),
            "norelatime" => (MountFlags::empty(), MountFlags::RELATIME),
            "strictatime" => (MountFlags::STRICTATIME, MountFlags::NOATIME | MountFlags::RELATIME),
            "nostrictatime" => (MountFlags::empty(), MountFlags::STRICTATIME),
            // What every mount of a container is.
            "private" | "rprivate" => (MountFlags::empty(), MountFlags::empty()),
            "bind" | "rbind" | "remount" | "move" | "shared" | "rshared" | "slave" | "rslave"
            | "unbindable" | "runbindable" | "tmpcopyup" => return Err(option),
            other => {
                rest.push(other);
                continue;
            }
        };
        flags = flags.difference(clear).union(set);
    }
    Ok((flags, rest.join(",")))
}

#[cfg(test)]
#[path = "mounts_test.rs"]
mod tests;
