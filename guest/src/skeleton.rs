//! What a container has before anything is known of it but its kind: namespaces, `/proc`, `/dev`, `/sys`.
//!
//! A child puts them together in its own mount namespace, over the guest's, and later moves the three trees into the container's
//! root. Nearly every container is of one kind, [`Skeleton::default`], so a child of that kind is made in advance.

use std::{borrow::Cow, ffi::CString};

use hull_protocol::{Container, defaults};
use rustix::{
    fs::{self, CWD, Dir, FileType, Mode, OFlags},
    mount::MountFlags,
};

use crate::{
    failure::{Failure, text},
    step::{NEW_ROOT, Step, Target},
};

/// The kind of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skeleton {
    privileged: bool,
    masked: Vec<String>,
    read_only: Vec<String>,
    sysctls: Vec<(String, String)>,
    shm_size: u64,
}

impl Default for Skeleton {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Self {
            privileged: false,
            masked: owned(defaults::MASKED_PATHS),
            read_only: owned(defaults::READ_ONLY_PATHS),
            sysctls: defaults::SYSCTLS.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            shm_size: defaults::SHM_SIZE,
        }
    }
}

impl From<&Container> for Skeleton {
    fn from(container: &Container) -> Self {
        Self {
            privileged: container.privileged,
            masked: container.masked_paths.iter().filter(|path| covers(path)).cloned().collect(),
            read_only: container.read_only_paths.iter().filter(|path| covers(path)).cloned().collect(),
            sysctls: container.sysctls.clone(),
            shm_size: if container.shm_size == 0 { defaults::SHM_SIZE } else { container.shm_size },
        }
    }
}

/// Whether a path to hide or to protect lies in a skeleton, and not in the image.
pub fn covers(path: &str) -> bool {
    ["/proc/", "/sys/", "/dev/"].iter().any(|tree| path.starts_with(tree)) && !path.contains("/..")
}

/// Where the files that the host provides wait for their place; gone when the container runs.
pub const FILES: &str = "/dev/.hull";

const LOCKED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Namespaces of every container; that of its cgroup is made by [`Step::CgroupNamespace`], since a clone's would be rooted at
/// its parent's cgroup.
pub const NAMESPACES: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

impl Skeleton {
    /// The steps that put it together.
    ///
    /// # Errors
    /// When a path or a kernel parameter cannot be one.
    pub fn steps(&self) -> Result<Vec<Step>, Failure> {
        let mut steps = vec![Step::CgroupNamespace, Step::Umask(0), Step::Loopback];
        steps.push(file_system("proc", "/proc", LOCKED, ""));
        self.devices(&mut steps);
        let writable = if self.privileged { MountFlags::empty() } else { MountFlags::RDONLY };
        steps.push(file_system("sysfs", "/sys", LOCKED | writable, ""));
        steps.push(file_system("cgroup2", "/sys/fs/cgroup", LOCKED | writable, ""));
        for (name, value) in &self.sysctls {
            steps.push(sysctl(name, value)?);
        }
        for path in &self.masked {
            steps.push(Step::Mask(text("path", path.as_str())?));
        }
        for path in &self.read_only {
            steps.push(Step::ReadOnly(text("path", path.as_str())?));
        }
        Ok(steps)
    }

    /// `/dev`: a file system of the container's own with Docker's nodes.
    fn devices(&self, steps: &mut Vec<Step>) {
        steps.push(file_system(
            "tmpfs",
            "/dev",
            MountFlags::NOSUID | MountFlags::STRICTATIME,
            "mode=755,size=65536k",
        ));
        for (name, major, minor) in NODES {
            steps.push(device(name, FileType::CharacterDevice, fs::makedev(*major, *minor)));
        }
        if self.privileged {
            guest_devices("", steps);
        }
        for (path, to) in LINKS {
            steps.push(Step::Link { to: Cow::Borrowed(to), path: Cow::Borrowed(path) });
        }
        for (path, mode) in
            [(c"/dev/pts", 0o755), (c"/dev/shm", 0o755), (c"/dev/mqueue", 0o755), (c"/dev/.hull", 0o700)]
        {
            steps.push(Step::Directory { path: Cow::Borrowed(path), mode });
        }
        let options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
        steps.push(file_system("devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, options));
        steps.push(file_system("tmpfs", "/dev/shm", LOCKED, &format!("mode=1777,size={}", self.shm_size)));
        steps.push(file_system("mqueue", "/dev/mqueue", LOCKED, ""));
        steps.push(file_system("tmpfs", FILES, LOCKED, "mode=755"));
    }

    /// The steps that move it into the new root.
    pub fn moves() -> impl Iterator<Item = Step> {
        [(c"/dev", c"/c/dev"), (c"/proc", c"/c/proc"), (c"/sys", c"/c/sys")].into_iter().map(|(from, to)| {
            debug_assert!(to.to_bytes().starts_with(NEW_ROOT.to_bytes()));
            Step::Move { from: Cow::Borrowed(from), to: Cow::Borrowed(to) }
        })
    }
}

/// Docker's devices: name, major, minor.
const NODES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Docker's links.
const LINKS: &[(&std::ffi::CStr, &std::ffi::CStr)] = &[
    (c"/dev/ptmx", c"pts/ptmx"),
    (c"/dev/fd", c"/proc/self/fd"),
    (c"/dev/stdin", c"/proc/self/fd/0"),
    (c"/dev/stdout", c"/proc/self/fd/1"),
    (c"/dev/stderr", c"/proc/self/fd/2"),
    (c"/dev/core", c"/proc/kcore"),
];

/// Steps that make every device the guest has, for `--privileged`, from its `/dev` and one level of directories below.
fn guest_devices(directory: &str, steps: &mut Vec<Step>) {
    let path = format!("/dev/{directory}");
    let Ok(file) = fs::openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) else {
        return;
    };
    let Ok(entries) = Dir::read_from(&file) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        let full = format!("{directory}{name}");
        match entry.file_type() {
            FileType::Directory
                if directory.is_empty() && !matches!(name, "." | ".." | "pts" | "shm" | "mqueue") =>
            {
                let Ok(path) = CString::new(format!("/dev/{full}")) else { continue };
                steps.push(Step::Directory { path: Cow::Owned(path), mode: 0o755 });
                guest_devices(&format!("{full}/"), steps);
            }
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                let known =
                    NODES.iter().any(|(node, ..)| *node == full) || matches!(&*full, "ptmx" | "console");
                if let Ok(status) = fs::statat(&file, name, fs::AtFlags::SYMLINK_NOFOLLOW)
                    && !known
                {
                    steps.push(device(&full, kind, status.st_rdev));
                }
            }
            _ => {}
        }
    }
}

fn device(name: &str, kind: FileType, number: u64) -> Step {
    let path = CString::new(format!("/dev/{name}")).unwrap_or_default();
    Step::Device { path: Cow::Owned(path), kind, number }
}

/// A kernel parameter of the container's namespaces. Only those that are per namespace are taken: any other would change
/// the guest for all its containers.
fn sysctl(name: &str, value: &str) -> Result<Step, Failure> {
    const IPC: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    // Docker takes slashes for dots and the other way round, as sysctl(8) does.
    let path = match name.find(['.', '/']).map(|place| name.as_bytes()[place]) {
        Some(b'.') => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    };
    let allowed = path.starts_with("net/")
        || path.starts_with("fs/mqueue/")
        || matches!(&*path, "kernel/domainname")
        || IPC.iter().any(|known| known.replace('.', "/") == path);
    if !allowed || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Failure::invalid(format!(
            "sysctl {name:?} is not allowed: it is not of the container's namespaces"
        )));
    }
    let path = text("sysctl", format!("/proc/sys/{path}"))?;
    Ok(Step::Write { path, content: value.as_bytes().to_vec(), make: false })
}

fn file_system(kind: &'static str, path: &'static str, flags: MountFlags, options: &str) -> Step {
    let text = |value: &str| Cow::Owned(CString::new(value).unwrap_or_default());
    Step::Mount {
        source: text(kind),
        path: text(path),
        kind: text(kind),
        flags,
        options: text(options),
        target: Target::Present,
    }
}
