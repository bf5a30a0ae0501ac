//! What a child does on its way to being a container's process, one step after the other.
//!
//! The agent compiles a request into a list of steps, where strings may be built and things can be tested; a child only
//! performs them. It does so beside the agent in the same memory, so nothing here may allocate, panic, or call the C library.

use std::{
    ffi::{CStr, c_char},
    fmt,
    mem::MaybeUninit,
};

use hull_protocol::FailureKind;
use rustix::{
    fd::{AsFd, BorrowedFd, RawFd},
    fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid},
    io::{self, Errno},
    mount::{self, MountFlags, MoveMountFlags, UnmountFlags},
    net::{self, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    process, system, thread,
};

use crate::{
    failure::{Failure, Reason, Text},
    sys::{self, Instruction},
    trash,
};

/// Where a container's root is attached before it becomes the root.
pub const NEW_ROOT: &CStr = c"/c";

/// Descriptor of a child's socket to the agent, from its first moment on.
pub const SOCKET: RawFd = 3;

/// A file the agent hands to a child; the number is its place in [`Context::files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// The mount that becomes the root.
    Root = 0,
    /// Standard input.
    Stdin = 1,
    /// Standard output.
    Stdout = 2,
    /// Standard error.
    Stderr = 3,
    /// The agent's own program, for `--init`.
    Init = 4,
}

/// How many kinds of [`Handed`] there are.
pub const HANDED: usize = 5;

/// What steps share.
#[derive(Debug)]
pub struct Context {
    /// By [`Handed`]; -1 is none.
    pub files: [RawFd; HANDED],
}

impl Context {
    fn file(&self, which: Handed) -> RawFd {
        self.files[which as usize]
    }
}

/// A list of C strings, as `execve` takes it.
pub struct StringList {
    strings: Vec<Text>,
    pointers: Vec<*const c_char>,
}

impl StringList {
    /// The list of these strings.
    pub fn new(strings: Vec<Text>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Self { strings, pointers }
    }
}

/// What a mount needs to find at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It is there, or its absence is an error.
    Present,
    /// Made when absent, with its parents.
    Directory,
    /// Made when absent, empty, with its parents.
    File,
}

/// One thing a child does.
pub enum Step {
    /// `umask`.
    Umask(u32),
    /// Leaves these kinds of namespaces (`CLONE_NEW*`) for new ones.
    Unshare(i32),
    /// Gives the mount namespace to the agent, and that of the network if it is a new one, by what this `/proc` has of them.
    ShowNamespaces { network: bool },
    /// Enters namespaces (`CLONE_NEW*`) of the process behind a pidfd.
    Enter { pidfd: RawFd, kinds: i32 },
    /// `mount(2)`.
    Mount { source: Text, path: Text, kind: Text, flags: MountFlags, options: Text, target: Target },
    /// Detaches what is mounted at a path.
    Unmount(Text),
    /// Hides a path, if it exists.
    Mask(Text),
    /// Makes what is under a path read-only, if it exists.
    ReadOnly(Text),
    /// Makes the mount at a path read-only.
    Seal(Text),
    /// Makes the root read-only, not what is mounted below it.
    ReadOnlyRoot,
    /// `mkdir`.
    Directory { path: Text, mode: u32 },
    /// `rmdir`.
    RemoveDirectory(Text),
    /// `mknod` of a device.
    Device { path: Text, kind: FileType, number: u64 },
    /// A device of the guest's made visible, where `mknod` is not allowed.
    BorrowDevice { from: Text, path: Text },
    /// `symlink`.
    Link { to: Text, path: Text },
    /// Writes a file, made when absent if `make`.
    Write { path: Text, content: Vec<u8>, make: bool },
    /// Switches the loopback interface on.
    Loopback,
    /// Names the machine.
    HostName(String),
    /// Attaches the root that the agent made at [`NEW_ROOT`].
    AttachRoot,
    /// Moves a mount of the old root to a directory of the new one, made when absent, whose last component is not followed.
    Move { from: Text, to: Text },
    /// Makes [`NEW_ROOT`] the root and forgets the old one.
    Pivot,
    /// Opens a terminal, gives its master to the agent, and its other end to the standard streams.
    Terminal { path: Text, columns: u16, rows: u16 },
    /// Puts the standard streams in their places, closes everything else that the agent had open, and keeps the program
    /// for [`Step::ExecuteInit`] if one was handed over.
    Streams,
    /// Gives the terminal, which is standard input, to a user.
    TerminalOwner(Uid),
    /// `setsid`.
    Session,
    /// Makes standard input the controlling terminal.
    ControllingTerminal,
    /// `chdir`, made when absent if `make`.
    WorkingDirectory { path: Text, make: bool },
    /// `setrlimit`.
    Limit { resource: u32, soft: u64, hard: u64 },
    /// Takes every capability that is not in the mask out of the bounding set.
    Bounding(u64),
    /// No program executed from here on gives more rights.
    NoNewPrivileges,
    /// Installs a seccomp program.
    Filter(Vec<Instruction>),
    /// `setgroups`.
    Groups(Vec<Gid>),
    /// `setresgid`, then `setresuid`.
    User { uid: Uid, gid: Gid },
    /// Executes the first of the candidates that exists.
    Execute { candidates: Vec<Text>, arguments: StringList, environment: StringList },
    /// Removes what is in the trash, and is done.
    EmptyTrash,
    /// Executes the program handed over as [`Handed::Init`].
    ExecuteInit { arguments: StringList, environment: StringList },
}

/// More than an error number says, for words that users know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Hint {
    /// Nothing.
    None = 0,
    /// The program is a directory.
    Directory = 1,
    /// The program is there, its interpreter is not.
    Interpreter = 2,
}

/// Why a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What the kernel said.
    pub error: Errno,
    /// What else is known.
    pub hint: Hint,
}

impl From<Errno> for Fault {
    fn from(error: Errno) -> Self {
        Self { error, hint: Hint::None }
    }
}

impl Step {
    /// Does it. [`Step::Execute`] comes back only with an error.
    pub fn perform(&self, context: &mut Context) -> Result<(), Fault> {
        match self {
            Self::Umask(mask) => {
                process::umask(Mode::from_raw_mode(*mask));
            }
            Self::Unshare(kinds) => sys::unshare(*kinds)?,
            Self::ShowNamespaces { network } => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let open = |path| fs::openat(CWD, path, flags, Mode::empty());
                let mounts = open(c"/proc/self/ns/mnt")?;
                if *network {
                    let network = open(c"/proc/self/ns/net")?;
                    give(NAMESPACES, &[mounts.as_fd(), network.as_fd()])?;
                } else {
                    give(NAMESPACES, &[mounts.as_fd()])?;
                }
            }
            Self::Enter { pidfd, kinds } => sys::enter_namespaces(*pidfd, *kinds)?,
            Self::Mount { source, path, kind, flags, options, target } => {
                let attempt = || mount::mount(&**source, &**path, &**kind, *flags, &**options);
                match attempt() {
                    Err(Errno::NOENT) if *target != Target::Present => {
                        make_target(path, *target == Target::Directory)?;
                        attempt()?;
                    }
                    other => other?,
                }
            }
            Self::Unmount(path) => mount::unmount(&**path, UnmountFlags::DETACH)?,
            Self::Mask(path) => match mount::mount_bind(c"/dev/null", &**path) {
                Err(Errno::NOTDIR) => mount::mount(c"tmpfs", &**path, c"tmpfs", MountFlags::RDONLY, c"")?,
                other => unless_absent(other)?,
            },
            Self::ReadOnly(path) => match mount::mount_bind_recursive(&**path, &**path) {
                Ok(()) => sys::make_mount_read_only(path)?,
                other => unless_absent(other)?,
            },
            Self::Seal(path) => sys::make_mount_read_only(path)?,
            Self::ReadOnlyRoot => sys::make_mount_read_only(c"/")?,
            Self::Directory { path, mode } => fs::mkdirat(CWD, &**path, Mode::from_raw_mode(*mode))?,
            Self::RemoveDirectory(path) => fs::unlinkat(CWD, &**path, AtFlags::REMOVEDIR)?,
            Self::BorrowDevice { from, path } => {
                make_file(path)?;
                mount::mount_bind(&**from, &**path)?;
            }
            Self::Device { path, kind, number } => {
                fs::mknodat(CWD, &**path, *kind, Mode::from_raw_mode(0o666), *number)?;
            }
            Self::Link { to, path } => fs::symlinkat(&**to, CWD, &**path)?,
            Self::Write { path, content, make } => {
                let make = if *make { OFlags::CREATE } else { OFlags::empty() };
                let flags = OFlags::WRONLY | OFlags::CLOEXEC | make;
                let file = fs::openat(CWD, &**path, flags, Mode::from_raw_mode(0o644))?;
                let mut rest = content.as_slice();
                while !rest.is_empty() {
                    rest = rest.get(io::write(&file, rest)?..).unwrap_or_default();
                }
            }
            Self::Loopback => {
                let socket = net::socket(net::AddressFamily::INET, net::SocketType::DGRAM, None)?;
                sys::loopback_up(socket.as_fd())?;
            }
            Self::HostName(name) => system::sethostname(name.as_bytes())?,
            Self::AttachRoot => {
                let root = borrow(context.file(Handed::Root));
                mount::move_mount(root, c"", CWD, NEW_ROOT, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            }
            Self::Move { from, to } => {
                let attempt = || mount::move_mount(CWD, &**from, CWD, &**to, MoveMountFlags::empty());
                match attempt() {
                    Err(Errno::NOENT) => {
                        fs::mkdirat(CWD, &**to, Mode::from_raw_mode(0o755))?;
                        attempt()?;
                    }
                    // The target is a file or a symbolic link.
                    Err(Errno::INVAL) => return Err(Errno::NOTDIR.into()),
                    other => other?,
                }
            }
            Self::Pivot => {
                process::chdir(NEW_ROOT)?;
                process::pivot_root(c".", c".")?;
                // The old root is now on top of the new one, and both are at ".".
                mount::unmount(c".", UnmountFlags::DETACH)?;
            }
            Self::Terminal { path, columns, rows } => {
                let terminal = open_terminal(path, *columns, *rows)?;
                for which in [Handed::Stdin, Handed::Stdout, Handed::Stderr] {
                    context.files[which as usize] = terminal;
                }
            }
            Self::Streams => take_streams(context)?,
            Self::TerminalOwner(uid) => fs::fchown(borrow(0), Some(*uid), None)?,
            Self::Session => {
                process::setsid()?;
            }
            Self::ControllingTerminal => sys::control_terminal(borrow(0))?,
            Self::WorkingDirectory { path, make } => match process::chdir(&**path) {
                Err(Errno::NOENT) if *make => {
                    make_target(path, true)?;
                    process::chdir(&**path)?;
                }
                other => other?,
            },
            Self::Limit { resource, soft, hard } => sys::set_limit(0, *resource, *soft, *hard)?,
            Self::Bounding(kept) => drop_capabilities(*kept)?,
            Self::NoNewPrivileges => thread::set_no_new_privs(true)?,
            Self::Filter(program) => sys::install_filter(program)?,
            Self::Groups(groups) => thread::set_thread_groups(groups)?,
            Self::User { uid, gid } => {
                thread::set_thread_res_gid(*gid, *gid, *gid)?;
                thread::set_thread_res_uid(*uid, *uid, *uid)?;
            }
            Self::EmptyTrash => sys::exit(trash::empty().is_err().into()),
            Self::Execute { candidates, arguments, environment } => {
                return Err(execute(candidates, arguments, environment));
            }
            Self::ExecuteInit { arguments, environment } => {
                // A signal that comes before the init waits for signals waits for it. PID 1 would just lose it.
                sys::block_signals();
                // SAFETY: both lists end with null.
                let error = unsafe {
                    sys::execute_file(INIT, arguments.pointers.as_ptr(), environment.pointers.as_ptr())
                };
                return Err(error.into());
            }
        }
        Ok(())
    }
}

impl Step {
    /// Why it failed. The request is to blame where a step does what the request says, unless the guest was out of something.
    pub fn explain(&self, fault: Fault) -> Failure {
        let requested = matches!(
            self,
            Self::Mount { .. }
                | Self::Mask(_)
                | Self::ReadOnly(_)
                | Self::Seal(_)
                | Self::Move { .. }
                | Self::Write { .. }
                | Self::HostName(_)
                | Self::Limit { .. }
                | Self::Filter(_)
        );
        let message = format!("cannot {self}: {}", Reason(fault.error));
        let kind = match fault.error {
            Errno::NOMEM | Errno::NOSPC | Errno::NFILE => FailureKind::Internal,
            _ if requested => FailureKind::Invalid,
            _ => FailureKind::Internal,
        };
        Failure { kind, message }
    }
}

/// Where [`Handed::Init`] is kept once everything else is closed.
const INIT: RawFd = SOCKET + 1;

/// Executes the first of the candidates that exists; one that may not be executed does not end the search, as in a shell.
fn execute(candidates: &[Text], arguments: &StringList, environment: &StringList) -> Fault {
    let mut refused = None;
    for path in candidates {
        // SAFETY: both lists end with null.
        let error = unsafe { sys::execute(path, arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
        match error {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => refused = Some(path),
            error => return error.into(),
        }
    }
    if let Some(path) = refused {
        let directory = fs::statat(CWD, &**path, AtFlags::empty())
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Directory);
        let hint = if directory { Hint::Directory } else { Hint::None };
        return Fault { error: Errno::ACCESS, hint };
    }
    let exists = candidates.iter().any(|path| fs::statat(CWD, &**path, AtFlags::empty()).is_ok());
    let hint = if exists { Hint::Interpreter } else { Hint::None };
    Fault { error: Errno::NOENT, hint }
}

fn take_streams(context: &Context) -> Result<(), Fault> {
    for (place, which) in [(0, Handed::Stdin), (1, Handed::Stdout), (2, Handed::Stderr)] {
        sys::duplicate(context.file(which), place, false)?;
    }
    let init = context.file(Handed::Init);
    if init < 0 {
        return Ok(sys::close_from(INIT)?);
    }
    if init != INIT {
        sys::duplicate(init, INIT, true)?;
    }
    Ok(sys::close_from(INIT + 1)?)
}

/// A new terminal of the instance at `path`: its master is on its way to the agent, the other end is the result.
fn open_terminal(path: &CStr, columns: u16, rows: u16) -> Result<RawFd, Fault> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let master = fs::openat(CWD, path, flags, Mode::empty())?;
    let terminal = sys::terminal_peer(master.as_fd())?;
    sys::set_window_size(master.as_fd(), columns, rows)?;
    give(TERMINAL, &[master.as_fd()])?;
    Ok(terminal)
}

/// What a message to the agent brings: a terminal's master.
pub const TERMINAL: u8 = b't';

/// What a message to the agent brings: namespaces.
pub const NAMESPACES: u8 = b'n';

/// How many files a message brings at most.
pub const GIVEN: usize = 2;

/// Gives files to the agent.
fn give(what: u8, files: &[BorrowedFd<'_>]) -> Result<(), Fault> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GIVEN))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(Errno::NOBUFS.into());
    }
    net::sendmsg(borrow(SOCKET), &[io::IoSlice::new(&[what])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Makes a directory or an empty file with its parents. Links are followed, a dangling one to what it names.
fn make_target(path: &CStr, directory: bool) -> Result<(), Fault> {
    make_parents(path)?;
    let made = if directory { make_directory(path) } else { make_file(path) };
    if made != Err(Errno::NOENT) && made != Err(Errno::NOTDIR) {
        return Ok(made?);
    }
    // A link whose target has no parents either. Its target is taken from the root: relative ones are rare here.
    let mut buffer = [MaybeUninit::<u8>::uninit(); LONGEST_PATH];
    let (target, rest) = fs::readlinkat_raw(CWD, path, &mut buffer[..LONGEST_PATH - 1])?;
    let length = target.len();
    if let Some(end) = rest.first_mut() {
        end.write(0);
    }
    // SAFETY: `length` bytes were written by the kernel and the one behind them just now.
    let target = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length + 1) };
    let target = CStr::from_bytes_with_nul(target).map_err(|_| Errno::NAMETOOLONG)?;
    make_parents(target)?;
    Ok(if directory { make_directory(target) } else { make_file(target) }?)
}

const LONGEST_PATH: usize = 4096;

/// `mkdir` of each directory above a path; those that exist are left as they are.
fn make_parents(path: &CStr) -> Result<(), Fault> {
    let bytes = path.to_bytes();
    let mut buffer = [0u8; LONGEST_PATH];
    if bytes.len() >= buffer.len() {
        return Err(Errno::NAMETOOLONG.into());
    }
    for (place, &byte) in bytes.iter().enumerate() {
        if byte == b'/' && place > 0 {
            // The byte at `place` is still zero, so what was copied so far is a C string.
            if let Ok(parent) = CStr::from_bytes_until_nul(&buffer) {
                make_directory(parent)?;
            }
        }
        if let Some(slot) = buffer.get_mut(place) {
            *slot = byte;
        }
    }
    Ok(())
}

fn make_directory(path: &CStr) -> io::Result<()> {
    match fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

fn make_file(path: &CStr) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    fs::openat(CWD, path, flags, Mode::from_raw_mode(0o644)).map(drop)
}

fn unless_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn drop_capabilities(kept: u64) -> io::Result<()> {
    for capability in (0..u64::BITS).filter(|bit| kept >> bit & 1 == 0) {
        match sys::drop_from_bounding_set(capability) {
            // The kernel knows no more capabilities.
            Err(Errno::INVAL) if capability > 0 => break,
            other => other?,
        }
    }
    Ok(())
}

/// A descriptor of this child by its number.
fn borrow<'a>(file: RawFd) -> BorrowedFd<'a> {
    // SAFETY: numbers come from [`Context`] and from [`Step::Streams`], both of which hold open descriptors; a wrong one
    // makes the call that uses it fail with EBADF.
    unsafe { BorrowedFd::borrow_raw(file) }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |text: &Text| text.to_string_lossy().into_owned();
        match self {
            Self::Umask(_) => write!(f, "set the file mode mask"),
            Self::Unshare(_) => write!(f, "make the namespaces of a container"),
            Self::ShowNamespaces { .. } => write!(f, "show the namespaces"),
            Self::Enter { .. } => write!(f, "enter the container's namespaces"),
            Self::Mount { path, kind, .. } if kind.is_empty() => write!(f, "mount {}", show(path)),
            Self::Mount { path, kind, .. } => write!(f, "mount {} on {}", show(kind), show(path)),
            Self::Unmount(path) => write!(f, "unmount {}", show(path)),
            Self::Mask(path) => write!(f, "hide {}", show(path)),
            Self::ReadOnly(path) | Self::Seal(path) => write!(f, "make {} read-only", show(path)),
            Self::ReadOnlyRoot => write!(f, "make the root read-only"),
            Self::Directory { path, .. } => write!(f, "make the directory {}", show(path)),
            Self::RemoveDirectory(path) => write!(f, "remove the directory {}", show(path)),
            Self::Device { path, .. } | Self::BorrowDevice { path, .. } => {
                write!(f, "make the device {}", show(path))
            }
            Self::Link { path, .. } => write!(f, "make the link {}", show(path)),
            Self::Write { path, .. } => write!(f, "write {}", show(path)),
            Self::Loopback => write!(f, "switch the loopback interface on"),
            Self::HostName(name) => write!(f, "set the host name {name:?}"),
            Self::AttachRoot => write!(f, "attach the root file system"),
            Self::Move { to, .. } => {
                write!(f, "mount {}", show(to).trim_start_matches(&*NEW_ROOT.to_string_lossy()))
            }
            Self::Pivot => write!(f, "change to the new root"),
            Self::Terminal { .. } => write!(f, "open a terminal"),
            Self::Streams => write!(f, "set up the standard streams"),
            Self::TerminalOwner(_) => write!(f, "give the terminal to the user"),
            Self::Session => write!(f, "start a session"),
            Self::ControllingTerminal => write!(f, "take the controlling terminal"),
            Self::WorkingDirectory { path, .. } => {
                write!(f, "change to the working directory {:?}", show(path))
            }
            Self::Limit { resource, .. } => write!(f, "set resource limit {resource}"),
            Self::Bounding(_) => write!(f, "drop capabilities"),
            Self::NoNewPrivileges => write!(f, "set no_new_privs"),
            Self::Filter(_) => write!(f, "install the seccomp filter"),
            Self::Groups(_) => write!(f, "set the groups"),
            Self::User { uid, gid } => {
                write!(f, "become user {} of group {}", uid.as_raw(), gid.as_raw())
            }
            Self::EmptyTrash => write!(f, "remove writable layers"),
            Self::Execute { arguments, .. } | Self::ExecuteInit { arguments, .. } => {
                let command = arguments.strings.first();
                write!(f, "execute {}", command.map(show).unwrap_or_default())
            }
        }
    }
}
