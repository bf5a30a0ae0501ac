//! hull as a library: everything `src/main.rs` runs.

pub mod config;
pub mod vmm;
