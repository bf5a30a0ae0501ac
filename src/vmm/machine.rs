//! A VM from a [board](super::board) and its configuration: kernel and tables or a snapshot, devices.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use anyhow::Context;
use event_manager::EventManager;
use hull_arch::arguments;
use hull_arch::boot::{self, BootData, LoadOptions};
use hull_arch::cmdline::CommandLine;
use hull_arch::cpu::{self, CpuModel, StateFormat, VcpuState};
use hull_arch::layout::{self, MemoryMap};
use hull_arch::quirks::Quirks;
use hull_arch::tables::{self, Machine as MachineTables, TablesKind};
use hull_devices::device::{Memory, lock};
use hull_devices::fs::Share;
use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{VcpuFd, VmFd};

use super::backing::{Backing, Layers};
use super::board::Board;
use super::channel::Channel;
use super::config::{KernelKind, Served, Start, VmmConfig};
use super::control::{ExitReason, VmmMessage};
use super::descriptors::Descriptors;
use super::devices::{Devices, Wiring};
use super::events::{self, Ending, Loop, Supervisor};
use super::fault_handler::FaultHandler;
use super::freezer::Freezer;
use super::growth::Growth;
use super::parking::Parking;
use super::seccomp::{self, Thread};
use super::snapshot::State;
use super::vcpu::{self, Buses};
use super::{generation, monotonic_ns};

/// A VM that is ready to run.
pub struct Machine {
    // In the order in which they must go: what uses the memory before the memory.
    vcpus: Vec<VcpuFd>,
    devices: Devices,
    events: Loop,
    ending: Ending,
    keeper: Arc<Channel>,
    profile: Option<File>,
    freezer: Freezer,
}

impl Machine {
    /// Puts into the VM what its configuration says; `share` is what the guest sees of the host's files.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration, its files or KVM, naming the thing.
    pub fn build(
        board: Board,
        quirks: &Quirks,
        config: &VmmConfig,
        descriptors: &Descriptors,
        keeper: &Arc<Channel>,
        share: Option<Share>,
    ) -> anyhow::Result<Self> {
        // In this order, so that what uses the memory goes before the memory where this fails.
        let Board { memory, growth, map, kvm, vm, model, vcpus } = board;
        let (kernel_kind, backing, saved) = match &config.start {
            Start::Boot { kernel_kind, .. } => (*kernel_kind, Backing::none(), None),
            Start::Snapshot { file, below, served, .. } => {
                let files = std::iter::once(file).chain(below).map(|file| descriptors.file(*file));
                let layers = Layers::open(files.collect::<Result<_, _>>()?)?;
                let State { memory: size, grown, vcpus: saved, .. } = &layers.state;
                check_size((*size, *grown, saved.len()), (&map, vcpus.len()))?;
                check_cpu(&layers.state, &model, quirks)?;
                let (state, backing) = match served {
                    None => layers.show(&memory)?,
                    Some(served) => {
                        let state = layers.without_memory()?;
                        serve(*served, descriptors, &memory, state.memory, keeper)?;
                        (state, Backing::none())
                    }
                };
                growth.cover(state.grown)?;
                (state.kernel_kind, backing, Some(state))
            }
        };
        if has_pit(kernel_kind) {
            let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
            vm.create_pit2(pit).context("KVM_CREATE_PIT2")?;
        }

        let mut events: Loop = EventManager::new().context("cannot make the event loop")?;
        let wiring = Wiring {
            vm: &vm,
            memory: memory.clone(),
            growth: map.growth,
            descriptors,
            keeper,
            events: &mut events,
            share,
        };
        let serial = saved.as_ref().and_then(|state| state.serial.clone());
        let devices = Devices::build(&config.devices, serial, wiring)?;

        let format = StateFormat::new(&kvm, &vm)?;
        match saved {
            Some(mut state) => {
                if let Start::Snapshot { advance_clock: true, .. } = config.start {
                    let age = state.vm.age();
                    state.vm.advance(age);
                    state.vcpus.iter_mut().for_each(|vcpu| vcpu.advance(age));
                }
                // Where the TSC shows what time has passed, hull's kernel takes it away from its clock when it is told of the
                // pause, which only one can bear that has not looked before.
                let tell = !quirks.native_tsc()
                    || state.vcpus.iter().all(VcpuState::rests)
                    || state.vcpus.iter().any(VcpuState::is_of_another_boot);
                if quirks.native_tsc() {
                    state.vcpus.iter_mut().for_each(VcpuState::expire_timer);
                }
                restore(state, &format, &vm, &vcpus, &devices, &growth)?;
                if tell {
                    vcpus.iter().for_each(|vcpu| format.tell_of_pause(vcpu));
                }
                if kernel_kind == KernelKind::Foreign {
                    generation::renew(&memory)?;
                    generation::announce(&vm)?;
                }
            }
            None => {
                let entry = load(config, descriptors, quirks, &map, &memory, &devices, vcpus.len())?;
                for (index, vcpu) in (0u8..).zip(&vcpus) {
                    model.configure(vcpu, index)?;
                }
                cpu::configure_boot_vcpu(vcpus.first().context("a VM needs a vCPU")?, &entry)?;
            }
        }
        let parking = Parking::new(vcpus.len() as u8, format).context("cannot prepare for snapshots")?;

        let profile = config.profile.map(|fd| descriptors.file(fd)).transpose()?;
        let ending = Ending::new()?;
        let freezer = Freezer {
            vm,
            memory,
            growth,
            backing,
            kernel_kind,
            parking: Arc::new(parking),
            transports: devices.transports.clone(),
            serial: devices.serial.clone(),
            devices_paused: Cell::new(false),
            wait_for_rest: quirks.native_tsc(),
        };
        Ok(Self { vcpus, devices, events, ending, keeper: keeper.clone(), profile, freezer })
    }

    /// Runs the VM to its end. `started_ns` is when the process began, for the keeper.
    ///
    /// # Errors
    /// When a thread cannot be started or confined, or the keeper is gone.
    pub fn run(self, started_ns: u64) -> anyhow::Result<ExitReason> {
        let Self { vcpus, devices, mut events, ending, keeper, mut profile, freezer } = self;
        let reachable = Arc::new(devices.reachable);
        let parking = Arc::clone(&freezer.parking);
        let supervisor =
            Supervisor::new(keeper.clone(), ending.clone(), reachable.clone(), freezer, devices.ends);
        events::subscribe(&mut events, supervisor);
        let filter = seccomp::filter(Thread::Events)?;

        keeper
            .send(&VmmMessage::Running { started_ns, first_run_ns: monotonic_ns() }, None)
            .context("cannot tell the keeper that the VM runs")?;
        let buses = Buses { mmio: Arc::new(devices.mmio), pio: Arc::new(devices.pio) };
        // The boot processor last: it starts the others.
        for (index, vcpu) in vcpus.into_iter().enumerate().rev() {
            let index = index as u8;
            let profile = if index == 0 { profile.take() } else { None };
            vcpu::start(index, vcpu, buses.clone(), parking.clone(), ending.clone(), profile)
                .with_context(|| format!("cannot start the thread of vCPU {index}"))?;
        }
        seccomp::confine(&filter).context("cannot confine the VMM")?;
        events::run(&mut events, &ending, &reachable)
    }
}

/// Whether a VM of this memory and as many vCPUs can go on from a snapshot, of which the same is known: its bytes of memory, how many of
/// them it had grown by, and vCPUs.
fn check_size(
    (memory, grown, vcpus): (u64, u64, usize),
    (map, here): (&MemoryMap, usize),
) -> anyhow::Result<()> {
    anyhow::ensure!(
        memory.checked_sub(grown) == Some(map.memory()) && vcpus == here,
        "the snapshot is of a VM with {vcpus} vCPUs and {} MiB of memory, not {here} and {}",
        memory.saturating_sub(grown) >> 20,
        map.memory() >> 20,
    );
    anyhow::ensure!(
        grown <= map.growth.size,
        "the snapshot's guest has got {} MiB of memory, this VM can get {}",
        grown >> 20,
        map.growth.size >> 20,
    );
    Ok(())
}

/// Whether the CPU here has all that the snapshot's guest was shown.
fn check_cpu(state: &State, model: &CpuModel, quirks: &Quirks) -> anyhow::Result<()> {
    let lacking: BTreeSet<_> = state.vcpus.iter().flat_map(|vcpu| model.lacks(vcpu, quirks)).collect();
    anyhow::ensure!(
        lacking.is_empty(),
        "this host's CPU or KVM lacks what the snapshot's guest was shown: {}; go on where it was taken, or boot the VM anew",
        Vec::from_iter(lacking).join(", "),
    );
    Ok(())
}

/// hull's own kernel ticks by the local APIC; another may calibrate that against the PIT.
fn has_pit(kernel: KernelKind) -> bool {
    kernel == KernelKind::Foreign
}

/// Has a process serve the first `size` bytes of the memory.
fn serve(
    Served { socket, device }: Served,
    descriptors: &Descriptors,
    memory: &Memory,
    size: u64,
    keeper: &Arc<Channel>,
) -> anyhow::Result<()> {
    let (socket, device) =
        (descriptors.take(socket)?, device.map(|device| descriptors.take(device)).transpose()?);
    let handler = FaultHandler::hand_over(socket, device, memory, size).context("the page fault handler")?;
    handler.watch(keeper.clone()).context("cannot watch the page fault handler")
}

/// Makes a new VM what a saved one was, ready to go on.
fn restore(
    state: State,
    format: &StateFormat,
    vm: &VmFd,
    vcpus: &[VcpuFd],
    devices: &Devices,
    growth: &Growth,
) -> anyhow::Result<()> {
    let (saved, here) = (state.devices.len(), devices.transports.len());
    anyhow::ensure!(
        saved == here,
        "the snapshot is of a VM with {saved} virtio devices, this one has {here}"
    );
    for (state, transport) in state.devices.into_iter().zip(&devices.transports) {
        transport.restore(state).context("a device of the snapshot does not fit")?;
    }
    if let Some(mem) = &devices.reachable.mem {
        let usable = lock(mem).usable();
        anyhow::ensure!(
            usable <= growth.known(),
            "the snapshot lacks memory that its guest was given: it is damaged"
        );
    }
    state.vm.restore(vm)?;
    for (state, vcpu) in state.vcpus.iter().zip(vcpus) {
        format.restore(vcpu, state)?;
    }
    // Last: a device that goes on may interrupt.
    for transport in &devices.transports {
        transport.resume().context("a device of the snapshot does not go on")?;
    }
    Ok(())
}

/// Puts kernel, RAM disk, tables and boot data into memory.
fn load(
    config: &VmmConfig,
    descriptors: &Descriptors,
    quirks: &Quirks,
    map: &MemoryMap,
    memory: &Memory,
    devices: &Devices,
    vcpus: usize,
) -> anyhow::Result<boot::Entry> {
    let Start::Boot { kernel, initrd, kernel_kind, command_line: own_arguments } = &config.start else {
        anyhow::bail!("a VM that goes on from a snapshot loads no kernel");
    };
    let options = LoadOptions::default();
    let kernel = boot::load_kernel(memory, &descriptors.file(*kernel)?, options).context("the kernel")?;
    let initrd = match *initrd {
        Some(fd) => {
            let initrd = boot::load_initrd(memory, &descriptors.file(fd)?, &kernel, options.placement);
            Some(initrd.context("the RAM disk")?)
        }
        None => None,
    };

    let machine = MachineTables {
        serial: devices.serial.is_some(),
        pit: has_pit(*kernel_kind),
        pvpanic: true,
        generation_id: (*kernel_kind == KernelKind::Foreign).then_some(layout::GENERATION_ID_GSI),
        ..MachineTables::new(vcpus as u8, &devices.windows)
    };
    let mut command_line = CommandLine::new();
    let (kind, tables) = match kernel_kind {
        KernelKind::Hull => (arguments::KernelKind::Hull, TablesKind::Mp),
        KernelKind::Foreign => (arguments::KernelKind::Foreign, TablesKind::Acpi),
    };
    command_line.extend(arguments::kernel_arguments(kind, tables))?;
    command_line.extend(quirks.kernel_arguments(kind).iter().copied())?;
    command_line.push(own_arguments)?;
    let acpi = match tables {
        TablesKind::Mp => {
            tables::mp::write(memory, &machine)?;
            command_line.push_devices(&devices.windows)?;
            None
        }
        TablesKind::Acpi => {
            generation::renew(memory)?;
            Some(tables::acpi::write(memory, &machine)?)
        }
    };
    let data = BootData { command_line: &command_line, initrd, acpi, map };
    Ok(boot::write_boot_data(memory, &kernel, &data)?)
}

#[cfg(test)]
#[path = "machine_test.rs"]
mod tests;
