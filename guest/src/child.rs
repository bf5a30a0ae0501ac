//! A process on its way from the agent to what it is to execute.
//!
//! There is no launcher process. A child is a clone that shares the agent's memory (`CLONE_VM`, as `vfork` does, but the agent
//! does not wait for it) and has its own stack, descriptor table and, if asked for, namespaces. Nothing is copied when it is
//! made and no page faults for a copy afterwards, so it costs the same however large the agent has become; what it is to
//! do is handed over by a pointer. For the next container such a child is made in advance, performs the steps that every
//! container needs, and waits in a read: it is the empty namespace set that a template holds, and starting a
//! container in it is configuration and `execve`.
//!
//! The price: a child runs beside the agent in the same memory. So it only performs [`Step`]s, which neither allocate nor panic nor
//! call the C library, and tells of failure by atomic numbers. And a container must not look into it: the agent is not
//! dumpable ([`crate::sys::hide_memory`]), and the files that a child has open are closed before it resolves a path of the
//! container.
//!
//! A socket pair leads from a child to the agent. It brings files to the child, a terminal's master and namespaces to the agent, and
//! its end says that the child has executed its program or is gone.

use std::{
    ffi::c_void,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, Ordering},
};

use rustix::{
    fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd},
    io::{self, Errno},
    net::{
        self, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags,
    },
};

use crate::{
    step::{Context, Fault, GIVEN, HANDED, Handed, Hint, SOCKET, Step, TERMINAL},
    sys,
};

/// Bytes of a child's stack. The deepest step holds a path or two.
const STACK: usize = 32 << 10;

/// How far a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Performing steps, or waiting for more.
    Underway,
    /// This step failed, for this reason; the child is about to end.
    Failed { part: Part, step: usize, fault: Fault },
    /// All steps but the last are done, and that one does not come back when it succeeds.
    Executing,
}

/// Which list of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The steps it was made with.
    First,
    /// The steps it was given later.
    Second,
}

/// What a child has to say.
pub enum News {
    /// The master of its terminal.
    Terminal(Vec<OwnedFd>),
    /// Its namespaces.
    Namespaces(Vec<OwnedFd>),
    /// It has executed its program, or is gone.
    Left,
}

/// A child, from its start until it has executed its program or is gone.
pub struct Child {
    pid: u32,
    socket: OwnedFd,
    /// Shared with the child; freed by [`Child::released`] only.
    shared: *mut Shared,
}

/// What agent and child both see.
struct Shared {
    first: Vec<Step>,
    second: AtomicPtr<Vec<Step>>,
    /// Files of the agent's table that a child that does not wait uses, by [`Handed`].
    files: [RawFd; HANDED],
    waits: bool,
    socket: RawFd,
    state: AtomicU32,
    failed_step: AtomicU32,
    error: AtomicU32,
    hint: AtomicU32,
    stack: Box<[MaybeUninit<u8>]>,
}

/// Number for what fails between steps.
const NO_STEP: usize = u32::MAX as usize;

const UNDERWAY: u32 = 0;
const FAILED_FIRST: u32 = 1;
const FAILED_SECOND: u32 = 2;
const EXECUTING: u32 = 3;

/// Files for a child: which, and what.
pub type Files<'a> = [(Handed, BorrowedFd<'a>)];

impl Child {
    /// Makes a child in the namespaces `kinds` (`CLONE_NEW*`) that performs `steps`, the last of which executes something.
    /// Its pidfd comes with it.
    ///
    /// # Errors
    /// Those of `socketpair` and `clone3`.
    pub fn start(
        kinds: i32,
        cgroup: BorrowedFd<'_>,
        steps: Vec<Step>,
        files: &Files<'_>,
    ) -> io::Result<(Self, OwnedFd)> {
        Self::make(kinds, cgroup, steps, files, false)
    }

    /// Makes a child that performs `steps` and then waits for [`Child::go`].
    ///
    /// # Errors
    /// Those of `socketpair` and `clone3`.
    pub fn park(kinds: i32, cgroup: BorrowedFd<'_>, steps: Vec<Step>) -> io::Result<(Self, OwnedFd)> {
        Self::make(kinds, cgroup, steps, &[], true)
    }

    fn make(
        kinds: i32,
        cgroup: BorrowedFd<'_>,
        first: Vec<Step>,
        files: &Files<'_>,
        waits: bool,
    ) -> io::Result<(Self, OwnedFd)> {
        let (socket, theirs) = net::socketpair(
            net::AddressFamily::UNIX,
            net::SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let mut numbers = [-1; HANDED];
        for (which, file) in files {
            numbers[*which as usize] = file.as_raw_fd();
        }
        let shared = Box::into_raw(Box::new(Shared {
            first,
            second: AtomicPtr::new(ptr::null_mut()),
            files: numbers,
            waits,
            socket: theirs.as_raw_fd(),
            state: AtomicU32::new(UNDERWAY),
            failed_step: AtomicU32::new(0),
            error: AtomicU32::new(0),
            hint: AtomicU32::new(0),
            stack: Box::new_uninit_slice(STACK),
        }));
        // SAFETY: the stack is the child's alone from here on, and `shared` is freed only when the child has left this
        // memory; the entry performs steps, which keep the rules.
        let cloned = unsafe {
            let stack = &mut (*shared).stack;
            sys::clone_sharing_memory(kinds, cgroup, stack, enter, shared.cast_const().cast())
        };
        match cloned {
            Ok((pid, pidfd)) => Ok((Self { pid, socket, shared }, pidfd)),
            Err(error) => {
                // SAFETY: no child was made, so nobody else has it.
                drop(unsafe { Box::from_raw(shared) });
                Err(error)
            }
        }
    }

    /// Lets a parked child go on with `steps`, the last of which executes something.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn go(&mut self, steps: Vec<Step>, files: &Files<'_>) -> io::Result<()> {
        let steps = Box::into_raw(Box::new(steps));
        // SAFETY: `shared` lives until `released`.
        unsafe { (*self.shared).second.store(steps, Ordering::Release) };
        let which: Vec<u8> = files.iter().map(|(which, _)| *which as u8).collect();
        let files: Vec<BorrowedFd<'_>> = files.iter().map(|(_, file)| *file).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(Errno::NOBUFS);
        }
        let parts = [io::IoSlice::new(&which)];
        net::sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// Its PID as the agent sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes readable when [`Child::receive`] has something.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// What came from the child.
    ///
    /// # Errors
    /// `EAGAIN` when nothing came yet.
    pub fn receive(&self) -> io::Result<News> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GIVEN))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        match net::recvmsg(&self.socket, &mut [io::IoSliceMut::new(&mut byte)], &mut control, flags) {
            Err(Errno::AGAIN) => Err(Errno::AGAIN),
            Ok(message) if message.bytes > 0 => {
                let mut files = control.drain().filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(files) => Some(files),
                    _ => None,
                });
                let files: Vec<OwnedFd> = files.by_ref().flatten().collect();
                Ok(if byte == [TERMINAL] { News::Terminal(files) } else { News::Namespaces(files) })
            }
            _ => Ok(News::Left),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        // SAFETY: `shared` lives until `released`; only its atomics are read while the child runs.
        let shared = unsafe { &*self.shared };
        let failed = |part| Progress::Failed {
            part,
            step: shared.failed_step.load(Ordering::Relaxed) as usize,
            fault: Fault {
                error: Errno::from_raw_os_error(shared.error.load(Ordering::Relaxed) as i32),
                hint: match shared.hint.load(Ordering::Relaxed) {
                    1 => Hint::Directory,
                    2 => Hint::Interpreter,
                    _ => Hint::None,
                },
            },
        };
        match shared.state.load(Ordering::Acquire) {
            UNDERWAY => Progress::Underway,
            EXECUTING => Progress::Executing,
            FAILED_FIRST => failed(Part::First),
            _ => failed(Part::Second),
        }
    }

    /// The step with this number, to speak of its failure.
    pub fn step(&self, part: Part, number: usize) -> Option<&Step> {
        // SAFETY: as above; nobody changes a list once the child has it.
        let list = unsafe {
            match part {
                Part::First => &(*self.shared).first,
                Part::Second => (*self.shared).second.load(Ordering::Acquire).as_ref()?,
            }
        };
        list.get(number)
    }

    /// Frees what it shared with the agent.
    ///
    /// # Safety
    /// The child must have executed its program or be gone: the end of its socket says so.
    pub unsafe fn released(self) {
        // SAFETY: both were made by `Box::into_raw`, and the caller says that the child no longer uses them.
        unsafe {
            let shared = Box::from_raw(self.shared);
            let second = shared.second.load(Ordering::Acquire);
            if !second.is_null() {
                drop(Box::from_raw(second));
            }
        }
    }
}

/// Where a child starts.
extern "C" fn enter(shared: *const c_void) -> ! {
    // SAFETY: `Child::make` passes this, and it lives until the child has left this memory.
    let shared = unsafe { &*shared.cast::<Shared>() };
    let mut context = Context { files: shared.files };
    if prepare(shared).is_ok() {
        let _ = shared.run(&mut context);
    }
    sys::exit(1)
}

/// Puts the socket in its place; a child that waits must not hold anything else that the agent has open meanwhile.
fn prepare(shared: &Shared) -> Result<(), ()> {
    let report = |error: Errno| shared.fail(FAILED_FIRST, NO_STEP, error.into());
    if shared.socket != SOCKET {
        sys::duplicate(shared.socket, SOCKET, true).map_err(report)?;
    }
    if shared.waits {
        sys::close_from(SOCKET + 1).map_err(report)?;
    }
    Ok(())
}

impl Shared {
    fn run(&self, context: &mut Context) -> Result<(), ()> {
        self.perform(&self.first, context, FAILED_FIRST)?;
        if !self.waits {
            return Ok(());
        }
        self.await_files(context).map_err(|error| self.fail(FAILED_SECOND, NO_STEP, error.into()))?;
        // SAFETY: the agent stored the list before it sent the files.
        let second = unsafe { self.second.load(Ordering::Acquire).as_ref() };
        self.perform(second.map_or(&[], Vec::as_slice), context, FAILED_SECOND)
    }

    fn perform(&self, steps: &[Step], context: &mut Context, failure: u32) -> Result<(), ()> {
        for (number, step) in steps.iter().enumerate() {
            if matches!(step, Step::Execute { .. } | Step::ExecuteInit { .. } | Step::EmptyTrash) {
                self.state.store(EXECUTING, Ordering::Release);
            }
            step.perform(context).map_err(|fault| self.fail(failure, number, fault))?;
        }
        Ok(())
    }

    fn fail(&self, state: u32, step: usize, fault: Fault) {
        self.failed_step.store(step as u32, Ordering::Relaxed);
        self.error.store(fault.error.raw_os_error() as u32, Ordering::Relaxed);
        self.hint.store(fault.hint as u32, Ordering::Relaxed);
        self.state.store(state, Ordering::Release);
    }

    /// Waits for the files that come with [`Child::go`].
    fn await_files(&self, context: &mut Context) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut which = [0; HANDED];
        // SAFETY: the socket was put there by `prepare` and stays open.
        let socket = unsafe { BorrowedFd::borrow_raw(SOCKET) };
        let mut parts = [io::IoSliceMut::new(&mut which)];
        let count = net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        if count == 0 {
            // The agent no longer wants this child.
            return Err(Errno::PIPE);
        }
        let mut which = which.iter().take(count);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                for (file, which) in files.zip(&mut which) {
                    if let Some(place) = context.files.get_mut(*which as usize) {
                        *place = file.into_raw_fd();
                    }
                }
            }
        }
        Ok(())
    }
}
