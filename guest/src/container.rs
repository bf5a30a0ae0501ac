//! A container: what it holds in the guest, and the steps that turn an empty one into it.

use std::borrow::Cow;

use hull_protocol::{Container as Request, Process, ProcessId, SHARE};
use rustix::{
    fd::{AsFd, BorrowedFd, RawFd},
    fs::{Gid, Uid},
    io,
    mount::MountFlags,
};

use crate::{
    cgroup::Cgroup,
    failure::{Failure, text},
    inside,
    layers::Layers,
    mounts,
    network::Card,
    process,
    rootfs::{self, Root},
    skeleton::{self, FILES, NAMESPACES, Skeleton},
    step::{Step, Target},
    system::System,
    user::{self, User},
    user_namespace::UserNamespace,
};

/// A container that was started and is not over.
#[derive(Debug)]
pub struct Container {
    /// As the host named it.
    pub id: String,
    /// Its first process.
    pub init: ProcessId,
    /// Whether it has a memory limit of its own.
    pub has_memory_limit: bool,
    /// What is to be known of it where it is a whole system.
    pub system: Option<System>,
    /// Whether it may divide its cgroup.
    pub has_own_tree: bool,
    read_only: bool,
    root: Root,
    cgroup: Cgroup,
    user_namespace: Option<UserNamespace>,
    /// Its network card, where it has one of its own.
    card: Option<Card>,
}

/// Refuses ids that are not the hexadecimal digits they should be: they become names of directories.
///
/// # Errors
/// [`hull_protocol::FailureKind::Invalid`].
pub fn check_id(id: &str) -> Result<(), Failure> {
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::invalid(format!("{id:?} is not a container's id")));
    }
    Ok(())
}

impl Container {
    /// A container of these parts.
    pub fn new(
        request: &Request,
        init: ProcessId,
        root: Root,
        cgroup: Cgroup,
        user_namespace: Option<UserNamespace>,
        card: Option<Card>,
    ) -> Self {
        let has_memory_limit = request.limits.memory.is_some();
        let (id, read_only) = (request.id.clone(), request.read_only);
        let system = request.system.then(System::default);
        let has_own_tree = request.system || request.privileged;
        Self {
            id,
            init,
            has_memory_limit,
            system,
            has_own_tree,
            read_only,
            root,
            cgroup,
            user_namespace,
            card,
        }
    }

    /// Its user namespace, if it has one of its own.
    pub fn user_namespace(&self) -> Option<&UserNamespace> {
        self.user_namespace.as_ref()
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Its root, for as long as the first process has not attached it, and for a look into it afterwards.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.mount.as_fd()
    }

    /// What the guest's tool is told of it, behind its arguments.
    pub fn told(&self) -> Vec<String> {
        let mut told = vec![self.cgroup.name().to_owned()];
        told.push(if self.read_only { "-".to_owned() } else { rootfs::upper(&self.id) });
        told.extend(self.root.layers());
        told
    }

    /// Gives back what it held, when its last process is gone, but for its card and cgroup, whose end takes longer.
    pub fn release(self, layers: &mut Layers) -> (Option<Card>, Cgroup) {
        if self.has_own_tree {
            self.cgroup.clear();
        }
        self.root.release(layers);
        (self.card, self.cgroup)
    }
}

/// Who a process is in the container with this root.
///
/// # Errors
/// When there is no such user or group.
pub fn resolve_user(root: BorrowedFd<'_>, process: &Process) -> Result<User, Failure> {
    let groups = read_inside(root, "etc/group");
    let mut user = user::resolve(&process.user, &read_inside(root, "etc/passwd"), &groups)?;
    user.join(&process.groups, &groups)?;
    Ok(user)
}

/// A small file of the container, empty if it is not there.
fn read_inside(root: BorrowedFd<'_>, path: &str) -> Vec<u8> {
    const PIECE: usize = 4096;
    let Some(file) = inside::open(root, path) else { return Vec::new() };
    let mut bytes = Vec::new();
    loop {
        let length = bytes.len();
        bytes.resize(length + PIECE, 0);
        let Ok(count) = io::read(&file, &mut bytes[length..]) else { return Vec::new() };
        bytes.truncate(length + count);
        if count < PIECE || bytes.len() >= user::LONGEST_FILE {
            return bytes;
        }
    }
}

/// The steps of the first process, from an empty container of the right kind to the program.
///
/// # Errors
/// When a part of the request is not possible.
pub fn first_process(request: &Request, process: &Process, user: &User) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::with_capacity(32);
    if let Some(size) = process.terminal {
        let path = Cow::Borrowed(c"/dev/pts/ptmx");
        steps.push(Step::Terminal { path, columns: size.columns, rows: size.rows });
    }
    steps.extend([Step::AttachRoot, Step::Streams]);
    steps.extend(Skeleton::moves());
    steps.push(Step::Pivot);
    if !request.hostname.is_empty() {
        steps.push(Step::HostName(request.hostname.clone()));
    }
    if process.terminal.is_some() {
        steps.push(bind("/dev/pts/0", "/dev/console")?);
    }
    if request.user_namespace && request.mounts.iter().any(|mount| mount.kind == SHARE) {
        return Err(Failure::invalid(
            "a container with a user namespace cannot have anything of the host yet",
        ));
    }
    steps.extend(mounts::steps(&request.mounts)?);
    place_files(request, &mut steps)?;
    for path in request.masked_paths.iter().filter(|path| !skeleton::covers(path)) {
        steps.push(Step::Mask(text("path", path.as_str())?));
    }
    for path in request.read_only_paths.iter().filter(|path| !skeleton::covers(path)) {
        steps.push(Step::ReadOnly(text("path", path.as_str())?));
    }
    let mut last = process::steps(process, user, true)?;
    if request.read_only {
        // A working directory that has to be made comes first.
        let place = last.iter().position(|step| matches!(step, Step::WorkingDirectory { .. }));
        last.insert(place.map_or(0, |place| place + 1), Step::ReadOnlyRoot);
    }
    steps.push(Step::Umask(0o022));
    steps.extend(last);
    Ok(steps)
}

/// Writes the host's files to a file system of their own and binds each to its place, so that the layers keep theirs.
fn place_files(request: &Request, steps: &mut Vec<Step>) -> Result<(), Failure> {
    for (number, file) in request.files.iter().enumerate() {
        if !file.path.starts_with('/') {
            return Err(Failure::invalid(format!("the path {:?} is not absolute", file.path)));
        }
        let source = format!("{FILES}/{number}");
        let content = file.content.as_bytes().to_vec();
        steps.push(Step::Write { path: text("path", &*source)?, content, make: true });
        steps.push(bind(&source, &file.path)?);
    }
    steps.push(Step::Unmount(text("path", FILES)?));
    steps.push(Step::RemoveDirectory(text("path", FILES)?));
    Ok(())
}

fn bind(source: &str, path: &str) -> Result<Step, Failure> {
    Ok(Step::Mount {
        source: text("path", source)?,
        path: text("path", path)?,
        kind: Cow::Borrowed(c""),
        flags: MountFlags::BIND,
        options: Cow::Borrowed(c""),
        target: Target::File,
    })
}

/// The steps of the guest's tool, outside of the container.
///
/// # Errors
/// When a part of the request is not possible.
pub fn tool_beside(process: &Process) -> Result<Vec<Step>, Failure> {
    let mut steps = vec![Step::Streams];
    steps.extend(process::steps(process, &User::default(), false)?);
    Ok(steps)
}

/// The steps of a further process in a container, made in that container's PID namespace; `init` is the pidfd of its first.
///
/// # Errors
/// When a part of the request is not possible.
pub fn further_process(
    init: RawFd,
    has_user_namespace: bool,
    process: &Process,
    user: &User,
) -> Result<Vec<Step>, Failure> {
    let mut kinds = NAMESPACES;
    let mut steps: Vec<Step> = process::limits(process).collect();
    if has_user_namespace {
        kinds |= libc::CLONE_NEWUSER;
        steps.push(Step::Enter { pidfd: init, kinds });
        steps.push(Step::User { uid: Uid::ROOT, gid: Gid::ROOT });
    } else {
        steps.push(Step::Enter { pidfd: init, kinds });
    }
    if let Some(size) = process.terminal {
        let path = Cow::Borrowed(c"/dev/pts/ptmx");
        steps.push(Step::Terminal { path, columns: size.columns, rows: size.rows });
    }
    steps.push(Step::Streams);
    steps.extend(process::steps(process, user, false)?);
    Ok(steps)
}

#[cfg(test)]
#[path = "container_test.rs"]
mod tests;
