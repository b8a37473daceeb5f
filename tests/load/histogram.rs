//! Times, counted in classes that are three per cent wide: percentiles of any number of them in a few kilobytes.

use std::time::Duration;

/// Classes of each power of two.
const FINE: u32 = 32;

pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; 64 * FINE as usize], total: 0 }
    }

    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.counts[class(nanoseconds)] += 1;
        self.total += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// p50, p99 and p99.9 in microseconds.
    pub(crate) fn summary(&self) -> [f64; 3] {
        [50.0, 99.0, 99.9].map(|percent| self.percentile(percent).as_secs_f64() * 1e6)
    }

    /// The time that so many of a hundred do not exceed (nearest rank, the class's upper end).
    fn percentile(&self, percent: f64) -> Duration {
        let rank = ((percent / 100.0 * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper(class));
            }
        }
        Duration::ZERO
    }
}

fn class(value: u64) -> usize {
    let power = value.max(u64::from(FINE)).ilog2();
    let part = value >> (power - FINE.ilog2());
    ((power - FINE.ilog2()) * FINE + part as u32) as usize
}

fn upper(class: usize) -> u64 {
    let (class, fine) = (class as u64, u64::from(FINE));
    if class < 2 * fine {
        return class;
    }
    let shift = class / fine - 1;
    ((class % fine + fine + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_right_within_three_per_cent() {
        let mut histogram = Histogram::new();
        (1..=100_000u64).for_each(|n| histogram.add(n * 10));
        for (percent, right) in [(50.0, 500_000), (99.0, 990_000), (99.9, 999_000), (100.0, 1_000_000)] {
            let told = histogram.percentile(percent).as_nanos() as u64;
            assert!(told >= right && told <= right + right / 30, "{percent}: {told}");
        }
        assert_eq!(histogram.total(), 100_000);
        for value in [0, 1, 31, 32, 63, 64, 1_000_000_007] {
            assert!(upper(class(value)) >= value && upper(class(value)) <= value + value / 30, "{value}");
        }
    }
}
