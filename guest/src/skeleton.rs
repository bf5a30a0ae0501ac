//! What a container has before anything is known of it but its kind: namespaces, `/proc`, `/dev`, `/sys`.
//!
//! A child puts them together in its own mount namespace, over the guest's, and later moves the three trees into the container's
//! root. Nearly every container is of one kind, [`Skeleton::default`], so a child of that kind is made in advance.

use std::{
    borrow::Cow,
    ffi::{CStr, CString},
};

use hull_protocol::{Container, defaults};
use rustix::{
    fd::RawFd,
    fs::{self, CWD, Dir, FileType, Gid, Mode, OFlags, Uid},
    mount::MountFlags,
};

use crate::{
    failure::{Failure, Text, text},
    step::{NEW_ROOT, Step, Target},
};

/// The kind of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skeleton {
    privileged: bool,
    /// Whether its cgroup tree is its own to divide.
    system: bool,
    user_namespace: bool,
    /// Whether its network is a namespace of its own, and not the guest's.
    own_network: bool,
    /// Or that of the process behind this pidfd.
    network_of: Option<RawFd>,
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
            system: false,
            user_namespace: false,
            own_network: false,
            network_of: None,
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
            system: container.system,
            user_namespace: container.user_namespace,
            // Its root would have no rights over the guest's.
            own_network: container.shared || container.user_namespace || container.networks.is_empty(),
            network_of: None,
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

/// Namespaces that a container has beside that of its PIDs.
pub const NAMESPACES: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

impl Skeleton {
    /// Whether it has a user namespace of its own.
    pub fn has_user_namespace(&self) -> bool {
        self.user_namespace
    }

    /// Whether its network is the guest's.
    pub fn has_guest_network(&self) -> bool {
        !self.own_network && self.network_of.is_none()
    }

    /// Takes a network namespace of its own.
    pub fn separate_network(&mut self) {
        self.own_network = true;
    }

    /// Has the network namespace of the process behind this pidfd, in which its first process is born.
    pub fn enter_network(&mut self, pidfd: RawFd) {
        (self.own_network, self.network_of) = (false, Some(pidfd));
    }

    /// The process whose network namespace it has, by pidfd.
    pub fn network_of(&self) -> Option<RawFd> {
        self.network_of
    }

    /// The namespaces that its first process makes for itself, beside the agent where there is more than one CPU. Only its PID
    /// namespace it must be born in.
    fn new_namespaces(&self) -> i32 {
        if self.own_network { NAMESPACES } else { NAMESPACES & !libc::CLONE_NEWNET }
    }

    /// The steps that put it together.
    ///
    /// # Errors
    /// When a path or a kernel parameter cannot be one.
    pub fn steps(&self) -> Result<Vec<Step>, Failure> {
        let mut steps = Vec::with_capacity(64);
        if self.user_namespace {
            // Whoever made the namespace is nobody in it, if with all rights.
            steps.push(Step::User { uid: Uid::ROOT, gid: Gid::ROOT });
        }
        steps.extend([Step::Unshare(self.new_namespaces()), Step::Umask(0), Step::Loopback]);
        steps.push(file_system("proc", "/proc", LOCKED, ""));
        if !self.user_namespace {
            // The kernel refuses at once what is more than there is. There will be more when it is touched.
            steps.push(Step::Write {
                path: Cow::Borrowed(c"/proc/sys/vm/overcommit_memory"),
                content: b"1".to_vec(),
                make: false,
            });
        }
        self.devices(&mut steps);
        let writable = if self.privileged { MountFlags::empty() } else { MountFlags::RDONLY };
        steps.push(file_system("sysfs", "/sys", LOCKED | writable, ""));
        let writable = if self.system { MountFlags::empty() } else { writable };
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
        // Last: who waits for it waits for all.
        steps.push(Step::ShowNamespaces { network: self.own_network || self.network_of.is_some() });
        Ok(steps)
    }

    /// `/dev`: a file system of the container's own with Docker's nodes. In a user namespace, which may not make devices, the
    /// guest's are borrowed, so they must not be covered before that.
    fn devices(&self, steps: &mut Vec<Step>) {
        let dev = if self.user_namespace { "/c" } else { "/dev" };
        let flags = MountFlags::NOSUID | MountFlags::STRICTATIME;
        steps.push(file_system("tmpfs", dev, flags, "mode=755,size=65536k"));
        for (name, major, minor) in NODES {
            let number = fs::makedev(*major, *minor);
            steps.push(self.device(dev, name, FileType::CharacterDevice, number));
        }
        if self.privileged {
            self.guest_devices(dev, "", steps);
        }
        for (name, to) in LINKS {
            steps.push(Step::Link { to: Cow::Borrowed(to), path: c_string(&format!("{dev}/{name}")) });
        }
        for (name, mode) in [("pts", 0o755), ("shm", 0o755), ("mqueue", 0o755), (".hull", 0o700)] {
            steps.push(Step::Directory { path: c_string(&format!("{dev}/{name}")), mode });
        }
        if self.user_namespace {
            steps.push(Step::Move { from: c_string(dev), to: Cow::Borrowed(c"/dev") });
        }
        let options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
        steps.push(file_system("devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, options));
        steps.push(file_system("tmpfs", "/dev/shm", LOCKED, &format!("mode=1777,size={}", self.shm_size)));
        steps.push(file_system("mqueue", "/dev/mqueue", LOCKED, ""));
        steps.push(file_system("tmpfs", FILES, LOCKED, "mode=755"));
    }

    fn device(&self, dev: &str, name: &str, kind: FileType, number: u64) -> Step {
        let path = c_string(&format!("{dev}/{name}"));
        if self.user_namespace {
            Step::BorrowDevice { from: c_string(&format!("/dev/{name}")), path }
        } else {
            Step::Device { path, kind, number }
        }
    }

    /// Every device that the guest has, for `--privileged`: those in its `/dev` and one level of directories below.
    fn guest_devices(&self, dev: &str, below: &str, steps: &mut Vec<Step>) {
        let path = format!("/dev/{below}");
        let Ok(file) = fs::openat(CWD, &*path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) else {
            return;
        };
        let Ok(entries) = Dir::read_from(&file) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            let full = format!("{below}{name}");
            match entry.file_type() {
                FileType::Directory
                    if below.is_empty() && !matches!(name, "." | ".." | "pts" | "shm" | "mqueue") =>
                {
                    steps.push(Step::Directory { path: c_string(&format!("{dev}/{full}")), mode: 0o755 });
                    self.guest_devices(dev, &format!("{full}/"), steps);
                }
                kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                    let known = NODES.iter().any(|(node, ..)| *node == full);
                    if !known
                        && !matches!(&*full, "ptmx" | "console")
                        && let Ok(status) = fs::statat(&file, name, fs::AtFlags::SYMLINK_NOFOLLOW)
                    {
                        steps.push(self.device(dev, &full, kind, status.st_rdev));
                    }
                }
                _ => {}
            }
        }
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

/// Docker's links: name, target.
const LINKS: &[(&str, &CStr)] = &[
    ("ptmx", c"pts/ptmx"),
    ("fd", c"/proc/self/fd"),
    ("stdin", c"/proc/self/fd/0"),
    ("stdout", c"/proc/self/fd/1"),
    ("stderr", c"/proc/self/fd/2"),
    ("core", c"/proc/kcore"),
];

/// A kernel parameter of the container's namespaces. Only those that are per namespace are taken: any other would change
/// the guest for all its containers.
fn sysctl(name: &str, value: &str) -> Result<Step, Failure> {
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
        || hull_protocol::IPC_SYSCTLS.iter().any(|known| known.replace('.', "/") == path);
    if !allowed || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Failure::invalid(format!(
            "sysctl {name:?} is not allowed: it is not of the container's namespaces"
        )));
    }
    let path = text("sysctl", format!("/proc/sys/{path}"))?;
    Ok(Step::Write { path, content: value.as_bytes().to_vec(), make: false })
}

fn file_system(kind: &str, path: &str, flags: MountFlags, options: &str) -> Step {
    Step::Mount {
        source: c_string(kind),
        path: c_string(path),
        kind: c_string(kind),
        flags,
        options: c_string(options),
        target: Target::Present,
    }
}

/// A string of the agent's own, which holds no NUL.
fn c_string(value: &str) -> Text {
    Cow::Owned(CString::new(value).unwrap_or_default())
}
