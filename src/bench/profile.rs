//! Where the guest's kernel spends its time: samples of the instruction pointer against `System.map`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;

/// One sample as the VMM writes it: time and instruction pointer, both little-endian.
pub const SAMPLE_SIZE: usize = 16;
/// Share of samples that are in user space, or in nothing the map knows.
const USER: &str = "(user space)";
/// First address of the kernel's half.
const KERNEL_HALF: u64 = 1 << 63;

/// Where the vCPU was at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub time_ns: u64,
    /// The guest's instruction pointer.
    pub rip: u64,
}

/// The whole samples in what a VMM wrote.
pub fn samples(bytes: &[u8]) -> impl Iterator<Item = Sample> {
    let (samples, _) = bytes.as_chunks::<SAMPLE_SIZE>();
    samples.iter().map(|sample| {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| sample[at + i]));
        Sample { time_ns: number(0), rip: number(8) }
    })
}

/// The functions of a kernel by address.
#[derive(Debug, Default)]
pub struct SymbolMap {
    symbols: Vec<(u64, String)>,
}

impl SymbolMap {
    /// Reads a `System.map`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read {}; --profile needs the System.map beside hull's kernel", path.display())
        })?;
        Ok(Self::parse(&text))
    }

    /// Of lines `address type name`; others, and symbols that are not code, are passed over.
    pub fn parse(text: &str) -> Self {
        let mut symbols: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                let is_code = matches!(words.next()?, "t" | "T" | "w" | "W");
                is_code.then_some((address, words.next()?.to_owned()))
            })
            .collect();
        symbols.sort();
        Self { symbols }
    }

    /// The function an address is in.
    pub fn name(&self, address: u64) -> &str {
        let after = self.symbols.partition_point(|(start, _)| *start <= address);
        match after.checked_sub(1) {
            Some(index) if address >= KERNEL_HALF => &self.symbols[index].1,
            _ => USER,
        }
    }
}

/// How often each function was seen, the most frequent first.
pub fn hottest(map: &SymbolMap, samples: impl IntoIterator<Item = Sample>) -> Vec<(&str, usize)> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for sample in samples {
        *counts.entry(map.name(sample.rip)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    counts
}

#[cfg(test)]
#[path = "profile_test.rs"]
mod tests;
