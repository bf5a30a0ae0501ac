//! Writing a guest's output to a descriptor without ever blocking, and remembering the last of it.

/// How much of a guest's last output is remembered, in bytes.
pub const TAIL_SIZE: usize = 16 << 10;
