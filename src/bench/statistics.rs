//! Minimum, median, 90th percentile and maximum of repeated measurements.

use serde::Serialize;

/// A summary of at least one measurement, in the unit of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// How many measurements.
    pub count: usize,
    /// The smallest.
    pub min: f64,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest that at least nine tenths do not exceed.
    pub p90: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Of these measurements; `None` when there are none.
    pub fn of(measurements: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = measurements.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]);
        let p90 = sorted[(count * 9).div_ceil(10).max(1) - 1];
        Some(Self { count, min, median, p90, max })
    }
}

#[cfg(test)]
#[path = "statistics_test.rs"]
mod tests;
