//! Inside one VMM process: memory, vCPUs, exits, wiring.

pub mod channel;
pub mod config;
pub mod control;
mod seccomp;
