//! A condition on an argument of a system call, and the instructions that see whether it holds. Arguments have 64 bits, the kernel's
//! machine 32.

use libc::{BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_K};

use super::{ARGUMENTS_AT, Instruction, profile::Rule};

/// A condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// What is true of it.
    pub test: Test,
}

/// What is true of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// It is this.
    Equal(u64),
    /// It is not.
    NotEqual(u64),
    /// It is more.
    Above(u64),
    /// It is this or more.
    AtLeast(u64),
    /// It is less.
    Below(u64),
    /// It is this or less.
    AtMost(u64),
    /// These bits of it are those of this.
    Masked(u64, u64),
}

/// Where it goes on behind an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    /// Behind the condition, which holds.
    Holds,
    /// Behind the rule, which does not.
    Fails,
}

/// An instruction whose jumps are not known yet.
#[derive(Clone, Copy)]
struct Piece {
    instruction: Instruction,
    yes: To,
    no: To,
}

impl Piece {
    const fn plain(instruction: Instruction) -> Self {
        Self { instruction, yes: To::Next, no: To::Next }
    }

    const fn branch(comparison: u32, operand: u32, yes: To, no: To) -> Self {
        Self { instruction: Instruction::jump(comparison, operand, 0), yes, no }
    }

    const fn and(mask: u32) -> Self {
        Self::plain(Instruction::new(BPF_ALU | BPF_AND | BPF_K, mask))
    }
}

impl Condition {
    fn pieces(self) -> Vec<Piece> {
        use To::{Fails, Holds, Next};
        let at = ARGUMENTS_AT + 8 * u32::from(self.index);
        let (low, high) = (Piece::plain(Instruction::load(at)), Piece::plain(Instruction::load(at + 4)));
        let halves = |value: u64| (value as u32, (value >> 32) as u32);
        let compare = |value, comparison, yes, no| {
            let (lower, upper) = halves(value);
            vec![
                high,
                Piece::branch(BPF_JGT, upper, yes, Next),
                Piece::branch(BPF_JEQ, upper, Next, no),
                low,
                Piece::branch(comparison, lower, yes, no),
            ]
        };
        match self.test {
            Test::Equal(value) => Self { test: Test::Masked(u64::MAX, value), ..self }.pieces(),
            Test::NotEqual(value) => {
                let (lower, upper) = halves(value);
                let differs = Piece::branch(BPF_JEQ, upper, Next, Holds);
                vec![high, differs, low, Piece::branch(BPF_JEQ, lower, Fails, Holds)]
            }
            Test::Above(value) => compare(value, BPF_JGT, Holds, Fails),
            Test::AtLeast(value) => compare(value, BPF_JGE, Holds, Fails),
            Test::Below(value) => compare(value, BPF_JGE, Fails, Holds),
            Test::AtMost(value) => compare(value, BPF_JGT, Fails, Holds),
            Test::Masked(mask, value) => {
                let ((lower_mask, upper_mask), (lower, upper)) = (halves(mask), halves(value & mask));
                vec![
                    high,
                    Piece::and(upper_mask),
                    Piece::branch(BPF_JEQ, upper, Next, Fails),
                    low,
                    Piece::and(lower_mask),
                    Piece::branch(BPF_JEQ, lower, Holds, Fails),
                ]
            }
        }
    }
}

/// The instructions of a rule, which go on behind themselves if it does not hold. There are at most 37: a rule has one condition on each
/// argument, so that no jump is too far.
pub fn rule(rule: &Rule) -> Vec<Instruction> {
    let mut pieces: Vec<(Piece, usize)> = Vec::new();
    for condition in &rule.conditions {
        let own = condition.pieces();
        let end = pieces.len() + own.len();
        pieces.extend(own.into_iter().map(|piece| (piece, end)));
    }
    let end = pieces.len() + 1;
    let mut program: Vec<Instruction> = Vec::with_capacity(end);
    for (at, (piece, holds)) in pieces.into_iter().enumerate() {
        let skip = |to| match to {
            To::Next => 0,
            To::Holds => (holds - at - 1) as u8,
            To::Fails => (end - at - 1) as u8,
        };
        program.push(Instruction {
            jump_true: skip(piece.yes),
            jump_false: skip(piece.no),
            ..piece.instruction
        });
    }
    program.push(Instruction::give(rule.action));
    program
}
