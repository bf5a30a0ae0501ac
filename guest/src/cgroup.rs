//! Control groups (Documentation/admin-guide/cgroup-v2.rst): one for each container, with the controllers that somebody asked for.

use std::ffi::{CStr, CString};

use hull_protocol::{DiskCount, DiskLimit, Limits};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::{self, Errno},
    mount::{self, MountFlags},
};

use crate::failure::Failure;

/// Where the tree is mounted in the guest.
pub const TREE: &str = "/cgroup";

/// Name of the cgroup that those of all containers are in, where several share the guest.
const COMMON: &str = "containers";

/// The tree of cgroups.
#[derive(Debug, Default)]
pub struct Cgroups {
    mounted: bool,
    /// Number of the next container's cgroup. Numbers, because a container that is prepared in advance has no name yet.
    next: u32,
    /// Controllers that are switched on for containers. Each costs time when a cgroup is made, so none is before it is needed.
    controllers: Vec<&'static str>,
    /// The one that those of all containers are in, where several share the guest.
    common: Option<Cgroup>,
}

/// A container's cgroup. Removed by [`Cgroup::remove`] when its processes are gone.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
    directory: OwnedFd,
}

impl Cgroups {
    /// Makes a cgroup, mounting the tree first if nobody did.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(&mut self) -> Result<Cgroup, Failure> {
        self.mount()?;
        let parent = self.common.as_ref().map_or(TREE, Cgroup::name).to_owned();
        loop {
            self.next += 1;
            let name = format!("{parent}/{}", self.next);
            match make(&name) {
                // One that could not be removed.
                Err(Errno::EXIST) => {}
                Err(error) => {
                    return Err(Failure::internal(format_args!("cannot make the cgroup {name}"), error));
                }
                Ok(cgroup) => return Ok(cgroup),
            }
        }
    }

    fn mount(&mut self) -> Result<(), Failure> {
        if !self.mounted {
            // A container cannot change the limits of its own cgroup, even where it may write in the tree.
            mount::mount(c"cgroup2", TREE, c"cgroup2", MountFlags::empty(), c"nsdelegate")
                .map_err(|error| Failure::internal("cannot mount the cgroup tree", error))?;
            self.mounted = true;
        }
        Ok(())
    }

    /// The cgroup that those of all containers are in from now on: what is true for all of them is said there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn common(&mut self) -> Result<&Cgroup, Failure> {
        self.mount()?;
        let common = match self.common.take() {
            Some(common) => common,
            None => {
                let name = format!("{TREE}/{COMMON}");
                let fail = |error| Failure::internal(format_args!("cannot make the cgroup {name}"), error);
                let common = make(&name).map_err(fail)?;
                for controller in &self.controllers {
                    switch_on(common.name(), controller)?;
                }
                common
            }
        };
        Ok(self.common.insert(common))
    }

    /// The cgroup above all, of the guest's own processes.
    ///
    /// # Errors
    /// When there is no tree.
    pub fn top() -> Result<OwnedFd, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = fs::openat(CWD, TREE, flags, Mode::empty());
        top.map_err(|error| Failure::internal("cannot open the cgroup tree", error))
    }

    /// Switches a controller on for all containers, if it is not: for that the kernel waits for all CPUs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn switch_on(&mut self, controller: &'static str) -> Result<(), Failure> {
        if !self.controllers.contains(&controller) {
            switch_on(TREE, controller)?;
            if let Some(common) = &self.common {
                switch_on(common.name(), controller)?;
            }
            self.controllers.push(controller);
        }
        Ok(())
    }

    /// Switches all controllers on that a system in a container finds things to do for.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn switch_all_on(&mut self) -> Result<(), Failure> {
        ["cpuset", "cpu", "io", "memory", "pids"]
            .into_iter()
            .try_for_each(|controller| self.switch_on(controller))
    }

    /// Applies limits to a cgroup.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn limit(&mut self, cgroup: &Cgroup, limits: &Limits) -> Result<(), Failure> {
        for (controller, file, value) in settings(limits) {
            self.switch_on(controller)?;
            match write(cgroup.directory.as_fd(), file, &value) {
                // A kernel without swap has nothing to limit there.
                Err(Errno::NOENT) if file == "memory.swap.max" => {}
                Err(error) => {
                    return Err(Failure::internal(format_args!("cannot set {file} to {value}"), error));
                }
                Ok(()) => {}
            }
        }
        for limit in &limits.disks {
            self.switch_on("io")?;
            let setting = disk_setting(limit)?;
            write(cgroup.directory.as_fd(), "io.max", &setting).map_err(|error| {
                Failure::internal(format_args!("cannot limit {} to {setting}", limit.device), error)
            })?;
        }
        Ok(())
    }
}

/// What to write for the limit of a disk.
fn disk_setting(limit: &DiskLimit) -> Result<String, Failure> {
    let status = fs::stat(&*limit.device)
        .ok()
        .filter(|status| FileType::from_raw_mode(status.st_mode) == FileType::BlockDevice)
        .ok_or_else(|| Failure::invalid(format!("{} is no disk of the guest", limit.device)))?;
    let what = match limit.what {
        DiskCount::ReadBytes => "rbps",
        DiskCount::WriteBytes => "wbps",
        DiskCount::Reads => "riops",
        DiskCount::Writes => "wiops",
    };
    let (major, minor) = (fs::major(status.st_rdev), fs::minor(status.st_rdev));
    Ok(format!("{major}:{minor} {what}={}", limit.rate))
}

/// What to write where for these limits: controller, file, value.
fn settings(limits: &Limits) -> Vec<(&'static str, &'static str, String)> {
    let mut settings = Vec::new();
    if let Some(bytes) = limits.memory {
        settings.push(("memory", "memory.max", bytes.to_string()));
        settings.push(("memory", "memory.swap.max", "0".to_owned()));
    }
    if !limits.cpuset.is_empty() {
        settings.push(("cpuset", "cpuset.cpus", limits.cpuset.clone()));
    } else if let Some(count) = limits.cpus {
        settings.push(("cpuset", "cpuset.cpus", format!("0-{}", count.saturating_sub(1))));
    }
    if let Some(thousandths) = limits.cpu_millis {
        // In microseconds; 100 ms is the period that the kernel and Docker use. Less than 1 ms of it is refused.
        let period = u64::from(limits.cpu_period.unwrap_or(100_000));
        let quota = (u64::from(thousandths) * period / 1000).max(1000);
        settings.push(("cpu", "cpu.max", format!("{quota} {period}")));
    }
    if let Some(weight) = limits.cpu_weight {
        settings.push(("cpu", "cpu.weight", weight.to_string()));
    }
    if let Some(bytes) = limits.memory_low {
        settings.push(("memory", "memory.low", bytes.to_string()));
    }
    if let Some(count) = limits.pids {
        let most = if count == u32::MAX { "max".to_owned() } else { count.to_string() };
        settings.push(("pids", "pids.max", most));
    }
    settings
}

impl Cgroup {
    /// Its name, which no other has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory, to make processes in it.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Has its processes stand still, or go on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        write(self.directory.as_fd(), "cgroup.freeze", if frozen { "1" } else { "0" })
    }

    /// How many of its processes the kernel killed for want of memory. Always 0 without a memory limit.
    pub fn oom_kills(&self) -> u64 {
        read(self.directory.as_fd(), "memory.events").map_or(0, |text| counter(&text, "oom_kill"))
    }

    /// Bounds what a container makes of it that may divide it: so deep, and so many.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delegate(&self) -> io::Result<()> {
        write(self.directory(), "cgroup.max.depth", &DEEPEST.to_string())?;
        write(self.directory(), "cgroup.max.descendants", "1000")
    }

    /// Removes all that are in it, if no process is left in them.
    pub fn clear(&self) {
        if let Ok(name) = CString::new(self.name.as_bytes()) {
            remove_below(CWD, &name, DEEPEST);
        }
    }

    /// Removes it, if no process is left in it.
    pub fn remove(self) {
        // One that cannot be removed costs a little memory and nothing else.
        let _ = fs::unlinkat(CWD, &*self.name, AtFlags::REMOVEDIR);
    }
}

/// How deep a container's cgroups are in each other.
const DEEPEST: u32 = 16;

/// Removes what is in a cgroup of a directory, whatever it is called.
fn remove_below(parent: impl AsFd, group: &CStr, depth: u32) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = fs::openat(parent, group, flags, Mode::empty()) else { return };
    for entry in Dir::read_from(&directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && ![c".", c".."].contains(&name) && depth > 0 {
            remove_below(&directory, name, depth - 1);
            let _ = fs::unlinkat(&directory, name, AtFlags::REMOVEDIR);
        }
    }
}

/// The value of a counter in a file of lines `name value`, 0 when it is not there.
pub fn counter(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name).and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

/// Switches a controller on for the cgroups in this one.
fn switch_on(group: &str, controller: &str) -> Result<(), Failure> {
    write(CWD, &format!("{group}/cgroup.subtree_control"), &format!("+{controller}")).map_err(|error| {
        Failure::internal(format_args!("cannot switch the cgroup controller {controller} on"), error)
    })
}

fn make(name: &str) -> io::Result<Cgroup> {
    fs::mkdirat(CWD, name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = fs::openat(CWD, name, flags, Mode::empty())?;
    Ok(Cgroup { name: name.to_owned(), directory })
}

/// Opens a file to read it.
pub fn open(directory: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    fs::openat(directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Sets a file.
pub fn write(directory: BorrowedFd<'_>, path: &str, value: &str) -> io::Result<()> {
    let file = fs::openat(directory, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    io::write(file, value.as_bytes()).map(drop)
}

/// A small file of counters.
pub fn read(directory: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let file = open(directory, path)?;
    let mut text = vec![0; 16 << 10];
    let length = io::read(file, &mut text)?;
    text.truncate(length);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
#[path = "cgroup_test.rs"]
mod tests;
