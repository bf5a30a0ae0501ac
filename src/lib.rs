//! hull as a library: everything `src/main.rs` runs.

pub mod assets;
pub mod bench;
pub mod cli;
pub mod config;
pub mod container;
pub mod doctor;
pub mod folders;
pub mod image;
pub mod network;
pub mod vm;
pub mod vmm;
