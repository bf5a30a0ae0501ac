//! Which devices containers reach that share a guest: a program of the kernel's at their cgroups (Documentation/admin-guide/cgroup-v2.rst,
//! "Device controller"; `bpf(2)`).
//!
//! A container may make nodes of any number, as Docker's may, and open those that Docker's have. The disk with the writable layers of all
//! is not among them. In a guest with one container nothing of this is needed.

use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    io::Result,
};

use crate::sys;

/// One instruction (Documentation/bpf/standardization/instruction-set.rst).
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    value: i32,
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, value }
}

/// `to = value`, `to = from`, `to &= value`, `to >>= value`, `to <<= from`.
const fn set(to: u8, value: i32) -> Instruction {
    instruction(0xb7, to, 0, 0, value)
}
const fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}
const fn and(to: u8, value: i32) -> Instruction {
    instruction(0x57, to, 0, 0, value)
}
const fn shift_right(to: u8, value: i32) -> Instruction {
    instruction(0x77, to, 0, 0, value)
}
const fn shift_left_by(to: u8, from: u8) -> Instruction {
    instruction(0x6f, to, from, 0, 0)
}
/// The word at this place of what the program is told.
const fn load(to: u8, offset: i16) -> Instruction {
    instruction(0x61, to, 1, offset, 0)
}
/// Passes over so many instructions if the register is, is not, or is more than the value.
const fn if_is(register: u8, value: i32, over: i16) -> Instruction {
    instruction(0x15, register, 0, over, value)
}
const fn if_not(register: u8, value: i32, over: i16) -> Instruction {
    instruction(0x55, register, 0, over, value)
}
const fn if_more(register: u8, value: i32, over: i16) -> Instruction {
    instruction(0x25, register, 0, over, value)
}
const fn pass_over(over: i16) -> Instruction {
    instruction(0x05, 0, 0, over, 0)
}
const EXIT: Instruction = instruction(0x95, 0, 0, 0, 0);

/// What is done, beside the kind of device in the lower half of the word.
const MAKE: i32 = 1;
const CHARACTER: i32 = 2;
/// Major numbers: memory (with `null` and its like), terminals, pseudo terminals.
const MEMORY: i32 = 1;
const TERMINAL: i32 = 5;
const PSEUDO_TERMINALS: (i32, i32) = (136, 143);
/// `null`, `zero`, `full`, `random` and `urandom`, a bit each.
const HARMLESS: i32 = 1 << 3 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9;
/// `tty`, `console` and `ptmx`.
const LAST_TERMINAL: i32 = 2;

/// Docker's devices only.
const DOCKERS: [Instruction; 24] = [
    load(2, 0),
    load(3, 4),
    load(4, 8),
    copy(0, 2),
    shift_right(0, 16),
    if_is(0, MAKE, 16), // allow
    and(2, 0xffff),
    if_not(2, CHARACTER, 12), // refuse
    if_is(3, TERMINAL, 7),    // to terminals
    if_not(3, MEMORY, 8),     // to pseudo terminals
    if_more(4, 31, 9),        // refuse
    set(5, 1),
    shift_left_by(5, 4),
    and(5, HARMLESS),
    if_not(5, 0, 7), // allow
    pass_over(4),    // refuse
    // Terminals.
    if_more(4, LAST_TERMINAL, 3), // refuse
    pass_over(4),                 // allow
    // Pseudo terminals.
    if_more(3, PSEUDO_TERMINALS.1, 1),     // refuse
    if_more(3, PSEUDO_TERMINALS.0 - 1, 2), // allow
    set(0, 0),
    EXIT,
    set(0, 1),
    EXIT,
];

/// All devices.
const ALL: [Instruction; 2] = [set(0, 1), EXIT];

/// Which devices the processes of a cgroup reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those of Docker's containers; so do all cgroups below it of which nothing else is said.
    Dockers,
    /// All that there are.
    All,
}

/// Says which devices are reached from a cgroup.
///
/// # Errors
/// When the kernel refuses.
pub fn allow(cgroup: BorrowedFd<'_>, reach: Reach) -> Result<()> {
    let program = match reach {
        Reach::Dockers => &DOCKERS[..],
        Reach::All => &ALL[..],
    };
    let program = load_program(program)?;
    let attach = Attach {
        cgroup: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: CGROUP_DEVICE,
        flags: ALLOW_OVERRIDE,
        rest: [0; 4],
    };
    // SAFETY: it is what this command takes, and only read.
    unsafe { sys::bpf(PROG_ATTACH, &attach) }.map(drop)
}

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
/// Kind of program, and kind of place.
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// What is said of a cgroup goes before what is said of one that it is in.
const ALLOW_OVERRIDE: u32 = 1;

/// `union bpf_attr` of `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: *const Instruction,
    license: *const libc::c_char,
    rest: [u64; 8],
}

/// `union bpf_attr` of `BPF_PROG_ATTACH`.
#[repr(C)]
struct Attach {
    cgroup: u32,
    program: u32,
    kind: u32,
    flags: u32,
    rest: [u32; 4],
}

fn load_program(program: &[Instruction]) -> Result<OwnedFd> {
    let load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr(),
        license: c"GPL".as_ptr(),
        rest: [0; 8],
    };
    // SAFETY: it is what this command takes; it and what it points to are alive for the call, which only reads them.
    let descriptor = unsafe { sys::bpf(PROG_LOAD, &load) }?;
    // SAFETY: the kernel gave a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
#[path = "devices_test.rs"]
mod tests;
