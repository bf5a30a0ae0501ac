//! Handing over by PVH: `hvm_start_info` (Xen's `xen/include/public/arch-x86/hvm/start_info.h`, version 1).

use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry,
    hvm_start_info,
};
use vm_memory::{Address, Bytes, GuestMemoryBackend};

use super::{BootData, LoadError};
use crate::layout::{COMMAND_LINE, PVH_MEMORY_MAP, PVH_START_INFO};

/// Writes the start info, and what it points to but the command line.
pub(super) fn write<M: GuestMemoryBackend>(memory: &M, data: &BootData) -> Result<(), LoadError> {
    let entries = data.map.e820();
    let modules = PVH_START_INFO.unchecked_add(size_of::<hvm_start_info>() as u64);
    let info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        nr_modules: data.initrd.is_some().into(),
        modlist_paddr: if data.initrd.is_some() { modules.0 } else { 0 },
        cmdline_paddr: COMMAND_LINE.0,
        rsdp_paddr: data.acpi.map_or(0, |address| address.0),
        memmap_paddr: PVH_MEMORY_MAP.0,
        memmap_entries: entries.len() as u32,
        ..Default::default()
    };
    memory.write_obj(info, PVH_START_INFO)?;
    if let Some(initrd) = data.initrd {
        let module =
            hvm_modlist_entry { paddr: initrd.range.start, size: initrd.range.size, ..Default::default() };
        memory.write_obj(module, modules)?;
    }
    let mut address = PVH_MEMORY_MAP;
    for entry in entries {
        let entry = hvm_memmap_table_entry {
            addr: entry.start,
            size: entry.size,
            type_: XEN_HVM_MEMMAP_TYPE_RAM,
            reserved: 0,
        };
        memory.write_obj(entry, address)?;
        address = address.unchecked_add(size_of::<hvm_memmap_table_entry>() as u64);
    }
    Ok(())
}
