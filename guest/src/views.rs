//! The guest's own `/proc` and `/sys`. Most guests never need them, so they are mounted when something does.

use rustix::mount::{self, MountFlags};

use crate::failure::Failure;

/// Which are mounted.
#[derive(Debug, Default)]
pub struct Views {
    proc: bool,
    sys: bool,
}

impl Views {
    /// Mounts `/proc`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn need_proc(&mut self) -> Result<(), Failure> {
        need(&mut self.proc, "proc", "/proc")
    }

    /// Mounts `/sys`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn need_sys(&mut self) -> Result<(), Failure> {
        need(&mut self.sys, "sysfs", "/sys")
    }
}

fn need(mounted: &mut bool, kind: &str, path: &str) -> Result<(), Failure> {
    if !*mounted {
        mount::mount(kind, path, kind, MountFlags::empty(), c"")
            .map_err(|error| Failure::internal(format_args!("cannot mount {path}"), error))?;
        *mounted = true;
    }
    Ok(())
}
