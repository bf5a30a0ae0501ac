//! Containers: what Docker's states, names, fields and error texts say they are, each in a VM of its own.
//!
//! The command line prints what is here, and a Docker API would serve it. A container is a folder (see [`state`]);
//! while it runs a keeper owns it (see [`keeper`]), and commands speak to the keeper.

pub mod action;
pub mod attachment;
mod budget;
mod capability;
pub mod checkpoint;
mod config;
mod create;
mod disk;
pub mod duration;
pub mod error;
pub mod exec;
pub mod files;
pub mod health;
mod id;
mod inspect;
pub mod keeper;
pub mod limits;
pub mod logs;
mod machine;
pub mod mount;
pub mod networking;
pub mod pool;
mod process;
pub mod publish;
pub mod restart;
pub mod seccomp;
pub mod shared;
pub mod signal;
mod sizing;
mod start;
pub mod state;
pub mod system;
pub mod template;
pub mod update;
pub mod volume;

pub use config::{
    Config, Description, DeviceRate, Endpoint, HostConfig, LogConfig, MoreNetwork, Port, PortBinding, Ulimit,
};
pub use create::{Created, Request, create};
pub use error::{Error, Result};
pub use id::{ContainerId, ContainerName};
pub use inspect::inspect;
pub use machine::PROFILE_VARIABLE;
pub use sizing::{Host, Share, VmSize};
pub use start::{Beginning, start};
