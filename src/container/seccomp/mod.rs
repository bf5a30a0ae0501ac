//! The seccomp filter of a container: a policy (see [`policy`]) as a program for the kernel's BPF machine.
//!
//! A filter is usually a list that compares the number with one call after the other. The kernel runs it once for
//! each number when it is installed, to know which need no look at their arguments, and then for each call that does.
//! So here it is a binary search over ranges of numbers that share their fate: some eight instructions instead of
//! some three hundred.

mod condition;
mod errno;
mod policy;
mod profile;
mod syscalls;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
};

pub use self::profile::LONGEST as LONGEST_PROFILE;
use self::{
    policy::{Check, Outcome, Policy},
    profile::{Fate, Profile},
};
use super::{
    capability::Capabilities,
    error::{Error, Result},
};

/// What stands in the place of a profile for none, and for this program's own.
pub const UNCONFINED: &str = "unconfined";
/// See [`UNCONFINED`].
pub const BUILT_IN: &str = "builtin";

/// `AUDIT_ARCH_X86_64`: little-endian, 64 bits, machine 62.
const ARCHITECTURE: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data`, which a filter reads.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;
/// Most instructions of a filter (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

/// One instruction, as `struct sock_filter` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u32,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

impl Instruction {
    const fn new(code: u32, operand: u32) -> Self {
        Self { code, jump_true: 0, jump_false: 0, operand }
    }

    /// The word at this offset becomes the accumulator.
    const fn load(offset: u32) -> Self {
        Self::new(BPF_LD | BPF_W | BPF_ABS, offset)
    }

    const fn give(action: u32) -> Self {
        Self::new(BPF_RET | BPF_K, action)
    }

    /// Skips so many instructions if the accumulator compares so, and else goes on.
    const fn jump(comparison: u32, operand: u32, skip: u8) -> Self {
        Self { code: BPF_JMP | comparison | BPF_K, jump_true: skip, jump_false: 0, operand }
    }

    /// As the agent is told it, see [`hull_protocol::Process::seccomp`].
    fn encode(self) -> u64 {
        u64::from(self.code) << 48
            | u64::from(self.jump_true) << 40
            | u64::from(self.jump_false) << 32
            | u64::from(self.operand)
    }
}

/// The filter of a container with these capabilities, as Docker's default policy has it.
///
/// # Errors
/// When the policy in the program is damaged, which a test rules out.
pub fn docker_default(capabilities: Capabilities) -> Result<Vec<u64>> {
    let policy = Policy::docker_default()
        .map_err(|error| Error::Invalid(format!("the seccomp policy is damaged: {error}")))?;
    Ok(compile(&policy.ranges(capabilities), conclude))
}

/// The filter of a container with these capabilities, as this profile (a JSON document) has it. One that is `confined` does not reach the
/// host, whatever the profile says.
///
/// # Errors
/// When it is no profile, or one that cannot be kept.
pub fn of_profile(text: &str, capabilities: Capabilities, confined: bool) -> Result<Vec<u64>> {
    let mut profile = Profile::read(text, capabilities)?;
    if confined {
        profile.keep_from_host();
    }
    let program = compile(&profile.ranges(), follow);
    if program.len() > LONGEST {
        return Err(Error::Invalid(format!(
            "invalid seccomp profile: its filter has {} instructions, {LONGEST} are possible; use fewer conditions",
            program.len()
        )));
    }
    Ok(program)
}

/// The program that has this become of these ranges of numbers.
fn compile<T: Copy>(ranges: &[(u32, T)], conclude: fn(T) -> Vec<Instruction>) -> Vec<u64> {
    let mut program = vec![
        Instruction::load(ARCHITECTURE_AT),
        Instruction::jump(BPF_JEQ, ARCHITECTURE, 1),
        // The guest's kernel has no other ABI; a program that asks for one is not what it says.
        Instruction::give(SECCOMP_RET_KILL_PROCESS),
        Instruction::load(NUMBER_AT),
    ];
    program.extend(search(ranges, conclude));
    program.into_iter().map(Instruction::encode).collect()
}

/// Finds the range of the number in the accumulator.
fn search<T: Copy>(ranges: &[(u32, T)], conclude: fn(T) -> Vec<Instruction>) -> Vec<Instruction> {
    if let [(_, outcome)] = ranges {
        return conclude(*outcome);
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let below = search(below, conclude);
    let mut program = Vec::new();
    match u8::try_from(below.len()) {
        Ok(skip) => program.push(Instruction::jump(BPF_JGE, above[0].0, skip)),
        // A conditional jump reaches 255 instructions, an unconditional one any number.
        Err(_) => program.extend([
            Instruction { jump_false: 1, ..Instruction::jump(BPF_JGE, above[0].0, 0) },
            Instruction::new(BPF_JMP | BPF_JA, below.len() as u32),
        ]),
    }
    program.extend(below);
    program.extend(search(above, conclude));
    program
}

fn conclude(outcome: Outcome<'_>) -> Vec<Instruction> {
    match outcome {
        Outcome::Allow => vec![Instruction::give(SECCOMP_RET_ALLOW)],
        Outcome::Errno(errno) => vec![Instruction::give(SECCOMP_RET_ERRNO | u32::from(errno))],
        Outcome::Check(check) => examine(check),
    }
}

/// What the first rule says that holds.
fn follow(fate: Fate<'_>) -> Vec<Instruction> {
    let mut program: Vec<Instruction> = fate.rules.iter().flat_map(condition::rule).collect();
    program.push(Instruction::give(fate.otherwise));
    program
}

/// Looks at the lower half of an argument.
fn examine(check: &Check) -> Vec<Instruction> {
    let fail = Instruction::give(SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let pass = Instruction::give(SECCOMP_RET_ALLOW);
    // All that are compared with lead to the last instruction, all others to the one before.
    let (values, otherwise, found) =
        if check.is.is_empty() { (&check.is_not, pass, fail) } else { (&check.is, fail, pass) };
    let mut program = vec![
        Instruction::load(ARGUMENTS_AT + 8 * u32::from(check.index)),
        Instruction::new(BPF_ALU | BPF_AND | BPF_K, check.mask),
    ];
    for (at, value) in values.iter().enumerate() {
        program.push(Instruction::jump(BPF_JEQ, *value, (values.len() - at) as u8));
    }
    program.extend([otherwise, found]);
    program
}

#[cfg(test)]
#[path = "seccomp_test.rs"]
mod tests;
