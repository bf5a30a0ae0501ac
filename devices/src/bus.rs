//! Buses: which device an access of a vCPU goes to. One for port I/O, one for memory-mapped I/O.

use std::sync::Arc;

/// A device on a bus. Called by any vCPU at any time, so it locks what it must inside.
pub trait BusDevice: Send + Sync {
    /// A read of `data.len()` bytes (1, 2, 4 or 8), `offset` bytes into the device's range.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// A write, likewise.
    fn write(&self, offset: u64, data: &[u8]);
}

/// Why a device cannot be put on a bus.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BusError {
    /// Something else is there.
    #[error("bus range {base:#x}+{length:#x} overlaps {other_base:#x}+{other_length:#x}")]
    Overlap {
        /// Where the range begins.
        base: u64,
        /// Its length.
        length: u64,
        /// Where the one before it begins.
        other_base: u64,
        /// Its length.
        other_length: u64,
    },
    /// The range is empty or does not end.
    #[error("bus range {base:#x}+{length:#x} is empty or passes the end of the bus")]
    Range {
        /// Where the range begins.
        base: u64,
        /// Its length.
        length: u64,
    },
}

struct Range {
    base: u64,
    length: u64,
    device: Arc<dyn BusDevice>,
}

/// Devices by address, in ranges that do not overlap. Built once, then shared by the vCPUs without a lock.
#[derive(Default)]
pub struct Bus {
    /// Sorted by `base`.
    ranges: Vec<Range>,
}

impl Bus {
    /// A bus with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a device at `base..base + length`.
    ///
    /// # Errors
    /// When the range is empty, passes the end of the address space, or overlaps another.
    pub fn insert(&mut self, base: u64, length: u64, device: Arc<dyn BusDevice>) -> Result<(), BusError> {
        let end = base.checked_add(length).filter(|end| *end > base);
        let end = end.ok_or(BusError::Range { base, length })?;
        let at = self.ranges.partition_point(|range| range.base < base);
        let before = at.checked_sub(1).map(|i| &self.ranges[i]).filter(|r| r.base + r.length > base);
        let after = self.ranges.get(at).filter(|r| r.base < end);
        if let Some(other) = before.or(after) {
            let (other_base, other_length) = (other.base, other.length);
            return Err(BusError::Overlap { base, length, other_base, other_length });
        }
        self.ranges.insert(at, Range { base, length, device });
        Ok(())
    }

    /// Reads; returns whether a device was there. Where none is, all bits are one, as on a PC.
    pub fn read(&self, address: u64, data: &mut [u8]) -> bool {
        match self.find(address, data.len()) {
            Some((range, offset)) => range.device.read(offset, data),
            None => {
                data.fill(0xff);
                return false;
            }
        }
        true
    }

    /// Writes; returns whether a device was there.
    pub fn write(&self, address: u64, data: &[u8]) -> bool {
        match self.find(address, data.len()) {
            Some((range, offset)) => range.device.write(offset, data),
            None => return false,
        }
        true
    }

    /// The range that holds all of an access, and how far into it the access is.
    fn find(&self, address: u64, length: usize) -> Option<(&Range, u64)> {
        let at = self.ranges.partition_point(|range| range.base <= address).checked_sub(1)?;
        let range = &self.ranges[at];
        let offset = address - range.base;
        let end = offset.checked_add(length as u64)?;
        (end <= range.length).then_some((range, offset))
    }
}

#[cfg(test)]
#[path = "bus_test.rs"]
mod tests;
