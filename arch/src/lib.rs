//! What is x86_64 in hull: memory layout, boot protocols, CPU state, tables, host quirks.
//!
//! A VMM uses it in this order:
//!
//! 1. [`layout::MemoryMap`] says where RAM and everything else goes in the guest's physical addresses;
//! 2. [`boot::load_kernel`] and [`boot::load_initrd`] put the files there, copying as little as can be;
//! 3. [`tables`] describes CPUs and devices to the guest, by an MP table or by ACPI;
//! 4. [`boot::write_boot_data`] hands command line, memory map and RAM disk over by the kernel's boot protocol;
//! 5. [`cpu::CpuModel`] configures every vCPU, [`cpu::configure_boot_vcpu`] points the first at the kernel.
//!
//! [`quirks`] knows what is special about the host, [`cmdline`] builds the kernel's arguments.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("hull-arch describes x86_64 guests of Linux/KVM hosts; build it for x86_64 Linux");

pub mod arguments;
pub mod boot;
pub mod cmdline;
pub mod cpu;
pub mod layout;
pub mod quirks;
pub mod tables;
