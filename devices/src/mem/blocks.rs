//! Which blocks of a region are plugged.

use std::ops::Range;

/// A bit a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocks {
    count: u64,
    plugged: u64,
    words: Vec<u64>,
}

impl Blocks {
    /// So many blocks, none plugged.
    pub(super) fn new(count: u64) -> Self {
        Self { count, plugged: 0, words: vec![0; count.div_ceil(64) as usize] }
    }

    /// So many blocks, of which those are plugged whose bits are set; `None` if others are, too.
    pub(super) fn from_words(count: u64, words: Vec<u64>) -> Option<Self> {
        let plugged = words.iter().map(|word| u64::from(word.count_ones())).sum();
        let fits = words.len() as u64 == count.div_ceil(64);
        let blocks = Self { count, plugged, words };
        (fits && blocks.end() <= count).then_some(blocks)
    }

    /// The bits.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many are plugged.
    pub(super) fn plugged(&self) -> u64 {
        self.plugged
    }

    /// The number behind the last that is plugged.
    pub(super) fn end(&self) -> u64 {
        let last = self.words.iter().rposition(|word| *word != 0);
        last.map_or(0, |last| (last as u64 + 1) * 64 - u64::from(self.words[last].leading_zeros()))
    }

    /// Whether all of these are plugged, or none is.
    pub(super) fn all(&self, range: &Range<u64>, plugged: bool) -> bool {
        parts(range.clone()).all(|(word, mask)| self.words[word] & mask == if plugged { mask } else { 0 })
    }

    /// Marks these as plugged, or not.
    pub(super) fn set(&mut self, range: Range<u64>, plugged: bool) {
        assert!(range.end <= self.count);
        for (word, mask) in parts(range) {
            let before = self.words[word];
            self.words[word] = if plugged { before | mask } else { before & !mask };
            self.plugged += u64::from(self.words[word].count_ones());
            self.plugged -= u64::from(before.count_ones());
        }
    }
}

/// The words with bits of a range, and which bits.
fn parts(range: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    (range.start / 64..range.end.div_ceil(64)).map(move |word| {
        let from = range.start.max(word * 64) - word * 64;
        let to = range.end.min(word * 64 + 64) - word * 64;
        let below = |bits: u64| if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        (word as usize, below(to) & !below(from))
    })
}

#[cfg(test)]
#[path = "blocks_test.rs"]
mod tests;
