//! What a VMM sees of the host's files when it shares some with its guest: those, and nothing else.
//!
//! Three walls stand behind the seccomp lists, the first two raised before the process makes its first thread:
//!
//! 1. **Namespaces.** The process moves into a user namespace (root needs none) and a mount namespace of its own whose root is empty. What is shared it has as
//!    copies of mounts that are attached nowhere (`open_tree(2)`): `..` at the top of one leads back to it, and no
//!    link in it is followed, no device opened, no set-user-id bit honoured, by the kernel, whoever asks. A folder shared read-only is a
//!    read-only mount.
//! 2. **Landlock.** No file outside of the roots can be opened, whatever descriptor one begins at; none can be executed; no TCP port
//!    bound or connected to.
//! 3. **Capabilities** are given up, but for those that root on the host needs for giving files away.
//!
//! On hosts that allow ordinary users no namespaces, or nothing in them, landlock stands alone; without both nothing is shared.

use std::io;
use std::os::fd::AsFd;

use anyhow::Context;
use hull_devices::fs::{Limits, Owners, Root, Share};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{AtFlags, FileType, Mode, StatxFlags, statx};
use rustix::process::{Resource, Rlimit, chdir, getrlimit, setrlimit, umask};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::config::{DeviceConfig, VmmConfig};
use super::descriptors::Descriptors;
use super::namespaces;

/// Descriptors that a VMM needs beside those of a share.
const OTHER_DESCRIPTORS: u64 = 512;
/// Most files that are held open for what a guest knows of, and that it has open.
const MOST_PLACES: u64 = 16 << 10;
const MOST_HANDLES: u64 = 32 << 10;

/// What this VM shares with its guest, if anything; confines the process if so. To be called before it has threads.
///
/// # Errors
/// When a root is not what it was, or the host can confine nothing.
pub fn share(config: &VmmConfig, descriptors: &Descriptors) -> anyhow::Result<Option<Share>> {
    let mut devices = config.devices.iter();
    let roots = devices.find_map(|device| match device {
        DeviceConfig::Share { roots } if !roots.is_empty() => Some(roots),
        _ => None,
    });
    let Some(roots) = roots else { return Ok(None) };
    let mut opened = Vec::new();
    for root in roots {
        opened.push(Root { place: descriptors.take(root.place)?, policy: root.policy });
    }
    let limits = limits().context("cannot raise the limit of open files")?;
    let refused = namespaces::refused().context("cannot try whether this host has namespaces")?;
    match refused {
        None => namespaces::enter(&mut opened)?,
        Some(_) => chdir("/proc/self/fd").context("cannot enter /proc/self/fd")?,
    }
    umask(Mode::empty());
    let landlock = restrict(&opened).context("landlock")?;
    if let (Some(reason), false) = (&refused, landlock) {
        anyhow::bail!(
            "this host has neither user namespaces ({reason}) nor landlock to confine a VM with that sees the host's files; allow one \
             of them (`hull doctor` says how)"
        );
    }
    let privileged = roots.iter().any(|root| root.policy.owners == Owners::Same);
    give_up_capabilities(privileged, refused.is_none()).context("cannot give up capabilities")?;
    Ok(Some(Share::new(opened, limits).context("cannot look at what is shared")?))
}

/// Has the process have as many descriptors as it may, and divides them.
fn limits() -> io::Result<Limits> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let free = maximum.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS).max(64);
    let places = (free / 2).min(MOST_PLACES);
    Ok(Limits { places: places as usize, handles: (free - places).min(MOST_HANDLES) as usize })
}

/// Whether this kernel has landlock, and it is switched on.
pub fn has_landlock() -> bool {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the kernel is given no memory, and gives back a number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) > 0 }
}

/// Confines the process by landlock, as far as the kernel has it. False where it has none.
fn restrict(roots: &[Root]) -> anyhow::Result<bool> {
    let all = AccessFs::from_all(ABI::V5);
    let never = make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | MakeFifo | MakeSock | IoctlDev});
    let mut rules = Ruleset::default()
        .handle_access(all)?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    for root in roots {
        let status = statx(&root.place, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
        let directory = FileType::from_raw_mode(status.stx_mode.into()) == FileType::Directory;
        let of_kind: BitFlags<AccessFs> = if directory { all } else { AccessFs::from_file(ABI::V5) };
        let wanted = if root.policy.read_only { AccessFs::from_read(ABI::V5) } else { all };
        rules = rules.add_rule(PathBeneath::new(root.place.as_fd(), of_kind & wanted & !never))?;
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// Keeps, of all capabilities, what root needs to make files anybody's; and in a user namespace, where they are good for files of this one
/// user and group, what opens those in spite of their permissions.
fn give_up_capabilities(privileged: bool, in_namespace: bool) -> io::Result<()> {
    let any_file = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let kept = if privileged {
        any_file | CapabilitySet::CHOWN | CapabilitySet::FOWNER | CapabilitySet::FSETID
    } else if in_namespace && !rustix::process::geteuid().is_root() {
        any_file
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}
