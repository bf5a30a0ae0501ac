//! Devices of a VM: virtio ones behind a transport, and the few of a PC that are needed.
//!
//! Knows nothing of KVM. A device is given guest memory, a way to interrupt its driver, and eventfds by which its driver
//! notifies it; the VMM connects those to its hypervisor.
//!
//! # Wiring
//!
//! ```no_run
//! use std::os::fd::OwnedFd;
//! use std::sync::{Arc, Mutex};
//!
//! use event_manager::{EventManager, MutEventSubscriber, SubscriberOps};
//! use hull_devices::block::{Block, FileDisk, Layers};
//! use hull_devices::bus::Bus;
//! use hull_devices::console::Console;
//! use hull_devices::device::Memory;
//! use hull_devices::event_loop::OnLoop;
//! use hull_devices::legacy::{I8042, I8042_BASE, I8042_SIZE};
//! use hull_devices::transport::mmio::{MMIO_SIZE, MmioTransport, QUEUE_NOTIFY};
//! use hull_devices::vsock::{HostSide, Refused, Vsock};
//! use vmm_sys_util::eventfd::EventFd;
//!
//! struct ToKeeper;
//! impl HostSide for ToKeeper {
//!     fn connection(&mut self, port: u32, stream: OwnedFd) -> Result<(), Refused> {
//!         Err(Refused) // or: send `port` and `stream` to whoever listens
//!     }
//! }
//!
//! # fn register_irqfd(_: &EventFd, _: u32) {}
//! # fn register_ioeventfd(_: &EventFd, _: u64, _: u32) {}
//! # fn confine_disk_thread() {}
//! fn wire(memory: Arc<Memory>, output: OwnedFd, rootfs: std::fs::File) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut events: EventManager<Box<dyn MutEventSubscriber + Send>> = EventManager::new()?;
//!     let (mut mmio, mut pio) = (Bus::new(), Bus::new());
//!
//!     // Devices on the event loop: the loop and the transport share them.
//!     let console = Arc::new(Mutex::new(Console::new(None, output, None)?));
//!     let vsock = Arc::new(Mutex::new(Vsock::new(3, Box::new(ToKeeper))?));
//!     events.add_subscriber(Box::new(OnLoop::new(console.clone())));
//!     events.add_subscriber(Box::new(OnLoop::new(vsock.clone())));
//!
//!     // Disks have a worker each, which starts here and is confined by the VMM.
//!     let disk = FileDisk::new(rootfs, true)?;
//!     let disk = Arc::new(Mutex::new(Block::new(Arc::new(disk), "rootfs".try_into()?, confine_disk_thread)?));
//!     let layers = Arc::new(Layers::new(vec![])?);
//!     let layer_disk = Arc::new(Mutex::new(Block::new(layers.clone(), "layers".try_into()?, confine_disk_thread)?));
//!
//!     let devices: [hull_devices::device::SharedDevice; 4] = [console.clone(), vsock.clone(), disk, layer_disk.clone()];
//!     for (device, (base, line)) in devices.into_iter().zip((0..).map(|n| (0xd000_0000 + n * MMIO_SIZE, 5 + n as u32))) {
//!         let transport = Arc::new(MmioTransport::new(device, memory.clone())?);
//!         register_irqfd(transport.interrupt_event(), line);
//!         for (queue, notifier) in (0u32..).zip(transport.notifiers()) {
//!             register_ioeventfd(notifier, base + QUEUE_NOTIFY, queue);
//!         }
//!         mmio.insert(base, MMIO_SIZE, transport)?;
//!     }
//!
//!     let reset = EventFd::new(libc::EFD_NONBLOCK)?;
//!     pio.insert(I8042_BASE, I8042_SIZE, Arc::new(I8042::new(reset.try_clone()?)))?;
//!
//!     // vCPU threads: an exit goes to `pio` or `mmio`, as `bus.read(address, data)` or `bus.write(address, data)`.
//!
//!     // While it runs, on the event loop's thread:
//!     let extent = layers.append(std::fs::File::open("layer.erofs")?)?;
//!     layer_disk.lock().unwrap().capacity_changed();
//!     println!("the guest finds the layer at byte {}", extent.offset);
//!
//!     // When it has ended, its vCPUs stopped: let out what the guest has already said.
//!     while vsock.lock().unwrap().drain() || console.lock().unwrap().has_pending_output() {
//!         events.run_with_timeout(100)?;
//!     }
//!     eprintln!("last words: {}", String::from_utf8_lossy(&console.lock().unwrap().tail()));
//!     Ok(())
//! }
//! ```
//!
//! # System calls, by thread
//!
//! * vCPU (registers, reset): `read`, `write`, `close`, `futex`, and memory for the heap.
//! * event loop: `epoll_wait`, `epoll_ctl`, `read`, `write`, `recvmsg`, `sendmsg`, `sendto`, `socketpair`, `shutdown`,
//!   `fstat`, `getrandom`, and what the VMM gives memory back with.
//! * share worker: what a file system does, below descriptors that it was given (`src/vmm/confinement.rs` has the list).
//! * disk worker: `epoll_wait`, `read`, `write`, `preadv`, `pwritev`, `pwrite64`, `fallocate`, `fdatasync`, `futex`.

#![deny(unsafe_code)]

pub mod backing;
pub mod balloon;
pub mod block;
pub mod bus;
pub mod console;
pub mod device;
pub mod entropy;
pub mod event_loop;
pub mod fs;
pub mod guest_io;
#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
mod input;
pub mod legacy;
pub mod mem;
pub mod net;
mod notifiers;
pub mod output;
mod poll_set;
pub mod queue;
#[cfg(test)]
mod test_driver;
pub mod transport;
pub mod vsock;
