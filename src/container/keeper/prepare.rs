//! What a run of a container begins with: everything that its keeper needs, opened.

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use hull_protocol::{Extent, Mount};

use super::{DISK, NEXT_DISK, Recorder, STOP_TIMEOUT, Visitors, limits};
use crate::{
    config::Name,
    container::{
        ContainerId, Error, Result,
        checkpoint::Checkpoint,
        disk, files, health, logs,
        machine::{self, Machine, Parts},
        mount::{self, Opened},
        networking, process,
        shared::{self, Plan},
        signal,
        sizing::{Host, VmSize},
        system,
        template::{Purpose, Template, Templates},
    },
    image::{self, Image},
    vm::{
        keeper::{Doors, Keeper, Origin, Task},
        launch::{Newborn, Vmm},
        log,
        signals::Signals,
    },
};

/// Everything that a keeper needs, opened.
pub(super) struct Prepared {
    task: Task,
    vm: Vm,
    log: log::Writer,
    listener: OwnedFd,
    signals: Signals,
}

/// The VM that a container is about to be in.
enum Vm {
    /// One of its own.
    Own { vmm: Newborn, machine: Box<Machine>, template: Option<Template> },
    /// One of several containers, by name, and the files of its layers.
    Shared { name: Name, layers: Vec<File>, template: bool },
}

impl Vm {
    /// Has it come up.
    fn enter(self, container: &ContainerId) -> Result<(Vmm, Option<Template>)> {
        match self {
            Self::Own { vmm, machine, template } => {
                let vmm = vmm.configure(&machine.config, machine.descriptors);
                Ok((vmm.map_err(machine::not_started)?, template))
            }
            Self::Shared { name, layers, template } => {
                Ok((shared::join(&name, container, layers, template)?, None))
            }
        }
    }
}

impl Prepared {
    pub(super) fn run(self, mut record: Recorder, visitors: Visitors, keeper_ns: u64) {
        match self.vm.enter(&record.folder.id) {
            Ok((mut vmm, template)) => {
                // Now, so that its process comes up beside the VMM.
                let network = match record.join() {
                    Ok(network) => network,
                    Err(error) => {
                        vmm.process.kill();
                        vmm.process.reap();
                        return record.not_started(&error, visitors, keeper_ns);
                    }
                };
                if let Some(template) = template {
                    record.pool = Some(template.id.clone());
                    // Beside the VMM, which has other things to do before it needs any of it.
                    template.read_ahead();
                    let _ = record.template.set(template);
                }
                // While the guest comes up there is time for what commands that were killed left behind.
                let _ = record.store.sweep();
                let doors = Doors {
                    listener: Some(self.listener),
                    first: visitors.first,
                    others: visitors.others,
                    signals: Some(self.signals),
                    agent: None,
                    network,
                };
                let keeper =
                    Keeper::new(self.task, limits(), vmm, doors, self.log, Box::new(record), keeper_ns);
                keeper.run();
            }
            Err(error) => record.not_started(&error, visitors, keeper_ns),
        }
    }
}

/// What a container's VM begins with.
struct Start {
    data_disk: File,
    /// What it goes on from.
    snapshot: Option<File>,
    /// The template that this is of.
    template: Option<Template>,
    origin: Origin,
}

impl Recorder {
    pub(super) fn image(&self) -> Result<Image> {
        let image = image::Store::open()?.find(&self.description.image.to_string())?;
        Ok(image.ok_or_else(|| image::Error::NotFound(self.description.config.image.clone()))?)
    }

    /// What is to run in a VM that it shares: where its layers are the VM's keeper knows.
    fn shared_task(&self, plan: &Plan, tied: bool) -> Result<Task> {
        let mut task = self.task_of(*plan, Vec::new(), Origin::Template, tied, Vec::new())?;
        task.container.limits = plan.limits(&self.description.host_config);
        if let Some(other) = networking::other(&self.description.host_config.network_mode) {
            networking::adopt(&mut task.container, &self.store, other)?;
        }
        Ok(task)
    }

    /// What is to run, in a VM that has the image's layers there.
    pub(super) fn task(
        &self,
        layers: Vec<Extent>,
        rootfs: OwnedFd,
        data_disk: OwnedFd,
        origin: Origin,
        tied: bool,
        shared: Vec<Mount>,
    ) -> Result<Task> {
        let (host, host_config) = (Host::this(), &self.description.host_config);
        let plan = Plan { size: host.vm_size(host_config)?, share: host.share(host_config)? };
        let task = self.task_of(plan, layers, origin, tied, shared)?;
        Ok(Task { rootfs: Some(rootfs), data_disk: Some(data_disk), ..task })
    }

    fn task_of(
        &self,
        Plan { size, share }: Plan,
        layers: Vec<Extent>,
        origin: Origin,
        tied: bool,
        shared: Vec<Mount>,
    ) -> Result<Task> {
        let description = &self.description;
        let config = &description.config;
        let (usual, seconds) = match description.host_config.is_system() {
            true => (system::SHUT_DOWN, system::STOP_TIMEOUT),
            false => (signal::TERM, STOP_TIMEOUT),
        };
        let stop_signal = config.stop_signal.as_deref().map_or(Ok(usual), signal::parse)?;
        let process = if self.hold { files::hold() } else { process::process(description)? };
        Ok(Task {
            check: if self.hold { None } else { health::check(config, &process) },
            container: process::container(description, layers, size, share, shared),
            process,
            memory: size.memory,
            most_memory: share.memory,
            stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            stop_signal,
            stop_timeout: config.stop_timeout.unwrap_or(seconds),
            // Who holds a container has it start with what it wrote, even if only once.
            keep_disk: self.hold || !description.host_config.auto_remove,
            origin,
            data_disk: None,
            rootfs: None,
            tied,
        })
    }

    pub(super) fn open_log(&self) -> Result<log::Writer> {
        let limits = logs::log_limits(&self.description.host_config.log_config)?;
        Ok(log::Writer::limited(self.folder.open_log()?, self.folder.file("log"), limits))
    }

    /// The same for a container that shares its VM.
    fn prepare_shared(
        &self,
        name: &Name,
        tied: bool,
        template: bool,
        listener: OwnedFd,
        signals: Signals,
    ) -> Result<Prepared> {
        let log = self.open_log()?;
        let layers = self.image()?.open_layers()?;
        let plan = Plan::of(name)?;
        plan.check(name, &self.description.host_config)?;
        self.vcpus.set(Some(plan.size.vcpus));
        let task = self.shared_task(&plan, tied)?;
        let vm = Vm::Shared { name: name.clone(), layers, template };
        Ok(Prepared { task, vm, log, listener, signals })
    }

    /// Opens everything. A listener is made unless there is one.
    pub(super) fn prepare(
        &self,
        tied: bool,
        template: bool,
        checkpoint: Option<&Path>,
        listener: Option<OwnedFd>,
    ) -> Result<Prepared> {
        let folder = &self.folder;
        let keeper = |error: io::Error| Error::Keeper(format!("cannot prepare: {error}"));
        let signals = Signals::take(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]).map_err(keeper)?;
        let listener = listener.map_or_else(|| folder.listen(), Ok).map_err(keeper)?;
        if let Some(name) = &self.description.host_config.vm {
            return self.prepare_shared(name, tied, template, listener, signals);
        }
        let checkpoint = checkpoint.map(Checkpoint::open).transpose()?;
        let size = match &checkpoint {
            Some(checkpoint) => checkpoint.size(),
            None => Host::this().vm_size(&self.description.host_config)?,
        };
        self.vcpus.set(Some(size.vcpus));
        let vmm = machine::begin(size)?;
        let log = self.open_log()?;
        let image = self.image()?;
        let layers = image.open_layers()?;
        let Start { data_disk, snapshot, template, origin } =
            self.start(size, template, checkpoint, &image)?;
        let (mut roots, mut shared) = (Vec::new(), Vec::new());
        let (opened, filling) = mount::open(&self.description.mounts)?;
        let _ = self.filling.set(filling);
        for Opened { place, policy, mount } in opened {
            roots.push((place, policy));
            shared.push(mount);
        }
        let disk = data_disk.try_clone().map_err(keeper)?;
        let machine =
            machine::describe(Parts { layers, data_disk, snapshot, roots, console: vmm.console() })?;
        let rootfs = machine.rootfs.try_clone().map_err(keeper)?;
        let task = self.task(machine.layers.clone(), rootfs.into(), disk.into(), origin, tied, shared)?;
        let vm = Vm::Own { vmm, machine: Box::new(machine), template };
        Ok(Prepared { task, vm, log, listener, signals })
    }

    /// What the container's VM begins with. A container that was started before has a data disk of its
    /// own, and needs a template that knows nothing of it.
    fn start(
        &self,
        size: VmSize,
        template: bool,
        checkpoint: Option<Checkpoint>,
        image: &Image,
    ) -> Result<Start> {
        let description = &self.description;
        let path = self.folder.file(DISK);
        let open = |path: &Path| File::options().read(true).write(true).open(path);
        // A keeper was killed that had not come so far.
        let _ = std::fs::remove_file(self.folder.file(NEXT_DISK));
        if let Some(checkpoint) = checkpoint {
            checkpoint.check(description, image)?;
            let next = self.folder.file(NEXT_DISK);
            disk::make(&checkpoint.disk, &next)?;
            let _ = self.original.set((checkpoint.about.container.clone(), checkpoint.about.leases()));
            return Ok(Start {
                data_disk: open(&next).map_err(Error::file("cannot open", &next))?,
                template: None,
                origin: Origin::Checkpoint { renaming: checkpoint.renaming(description) },
                snapshot: Some(checkpoint.snapshot),
            });
        }
        let purpose = Purpose::of(size, &description.host_config, &description.config.image, image);
        match open(&path) {
            Ok(data_disk) => return start_again(data_disk, template.then_some(&purpose)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("cannot open", &path)(error)),
        }
        let template = template.then(|| Templates::open().find(&purpose)).flatten();
        self.made_disk.set(true);
        match &template {
            Some(template) => template.make_disk(&path)?,
            None => disk::make_empty(&path)?,
        }
        let snapshot = template.as_ref().map(|template| template.snapshot.try_clone()).transpose();
        Ok(Start {
            data_disk: open(&path).map_err(Error::file("cannot open", &path))?,
            snapshot: snapshot.map_err(Error::file("cannot use", &path))?,
            origin: if template.is_some() { Origin::Template } else { Origin::Boot },
            template,
        })
    }
}

/// What a VM begins with whose container has this data disk already.
fn start_again(data_disk: File, purpose: Option<&Purpose>) -> Result<Start> {
    let template = purpose.and_then(|purpose| Templates::open().find_for(&purpose.any_image(), &data_disk));
    let snapshot = template.as_ref().map(|template| template.snapshot.try_clone()).transpose();
    let snapshot = snapshot.map_err(|error| Error::Keeper(format!("cannot prepare: {error}")))?;
    let origin = if template.is_some() { Origin::Template } else { Origin::Boot };
    Ok(Start { data_disk, snapshot, template, origin })
}
