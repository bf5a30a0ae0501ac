//! How fast a network's process is.

pub mod guest;
