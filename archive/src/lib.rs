//! Tar archives: read ([`tar`]), written ([`write`]), made of what is in a directory ([`pack`]) and unpacked into one ([`unpack`]).
//!
//! The host and the guest's tool have it in common. Neither believes an archive, nor what is in a directory: each path is resolved by the
//! kernel, beneath a directory or inside a root (`openat2(2)`), and all memory that is taken is bounded.

pub mod pack;
pub mod tar;
pub mod unpack;
pub mod write;
