//! Segment descriptors of the boot protocols (Intel SDM volume 3, section 3.4.5): flat code and data, and the task state
//! segment that VT-x wants to see.
//!
//! The selectors are those that the Linux boot protocol names.

use kvm_bindings::kvm_segment;

use crate::boot::Protocol;

/// Selector of the code segment: `__BOOT_CS`.
const CODE: u16 = 0x10;
/// Selector of the data segment: `__BOOT_DS`.
const DATA: u16 = 0x18;
/// Selector of the task state segment; in long mode its descriptor takes two entries.
const TASK: u16 = 0x20;

/// Entries of the descriptor table.
pub(crate) const GDT_ENTRIES: usize = 6;

/// The code segment in which a kernel is entered.
pub(super) fn code(protocol: Protocol) -> kvm_segment {
    let long = u8::from(protocol == Protocol::Linux64);
    kvm_segment { type_: 0xb, l: long, db: 1 - long, ..flat(CODE) }
}

/// The data segment.
pub(super) fn data() -> kvm_segment {
    kvm_segment { type_: 0x3, db: 1, ..flat(DATA) }
}

/// The task state segment: busy, at 0, never used.
pub(super) fn task() -> kvm_segment {
    kvm_segment { selector: TASK, type_: 0xb, present: 1, limit: 0x67, ..Default::default() }
}

/// 4 GiB from 0, of type accessed.
fn flat(selector: u16) -> kvm_segment {
    kvm_segment { selector, limit: u32::MAX, present: 1, s: 1, g: 1, ..Default::default() }
}

/// The global descriptor table for `protocol`.
pub(crate) fn gdt(protocol: Protocol) -> [u64; GDT_ENTRIES] {
    let mut table = [0; GDT_ENTRIES];
    for segment in [code(protocol), data(), task()] {
        table[usize::from(segment.selector / 8)] = descriptor(&segment);
    }
    table
}

/// `segment` as the CPU reads it from the table.
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = u64::from(if segment.g == 1 { segment.limit >> 12 } else { segment.limit });
    let bit = |value: u8, position: u32| u64::from(value) << position;
    limit & 0xffff
        | (segment.base & 0xff_ffff) << 16
        | bit(segment.type_, 40)
        | bit(segment.s, 44)
        | bit(segment.dpl, 45)
        | bit(segment.present, 47)
        | (limit >> 16 & 0xf) << 48
        | bit(segment.avl, 52)
        | bit(segment.l, 53)
        | bit(segment.db, 54)
        | bit(segment.g, 55)
        | (segment.base >> 24 & 0xff) << 56
}

#[cfg(test)]
#[path = "segments_test.rs"]
mod tests;
