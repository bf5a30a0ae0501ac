//! Reading tar archives: see [`hull_archive::tar`].

pub use hull_archive::tar::*;

#[cfg(test)]
#[path = "../../archive/src/tar/build_test.rs"]
pub(crate) mod build;
