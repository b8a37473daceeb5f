//! Whether something grew: the first measurements against the last, and a line through all of them.
//!
//! The first quarter is left out: caches fill, the allocator finds its size. Of the rest, the median of the first third
//! is compared with the median of the last, and a straight line is fitted by least squares. Something grew when *both*
//! say so by more than the tolerance: a single outlier moves neither, and a staircase moves both.

use std::fmt;

/// The fewest measurements that can be judged.
pub(crate) const LEAST: usize = 8;

/// What may be gained from the first third to the last: this share of what there was, and this many octets.
const MEMORY: Tolerance = Tolerance { share: 0.10, fixed: 6.0 * 1024.0 * 1024.0 };
/// Sockets that the system has not taken back yet, and the admin interface's own.
const DESCRIPTORS: Tolerance = Tolerance { share: 0.0, fixed: 3.0 };
/// The engine grows a file by doubling, and reuses pages after that.
const STORE: Tolerance = Tolerance { share: 0.50, fixed: 2.0 * 1024.0 * 1024.0 };

struct Tolerance {
    share: f64,
    fixed: f64,
}

/// One measurement of an empty gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Since the beginning.
    pub(crate) seconds: f64,
    /// Resident octets.
    pub(crate) memory: u64,
    /// Open file descriptors.
    pub(crate) descriptors: u64,
    /// Octets of the store's file.
    pub(crate) store: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MB, {} descriptors, store {:.1} MB", mb(self.memory), self.descriptors, mb(self.store))
    }
}

/// Picks a figure of a measurement.
type Pick = fn(&Sample) -> u64;

/// What was measured: how it is called, where it is found, what it may gain.
const COLUMNS: [(&str, Pick, Tolerance); 3] = [
    ("resident memory", |s| s.memory, MEMORY),
    ("file descriptors", |s| s.descriptors, DESCRIPTORS),
    ("store", |s| s.store, STORE),
];

/// What grew beyond its tolerance, in words.
pub(crate) fn growth(samples: &[Sample]) -> Vec<String> {
    COLUMNS
        .iter()
        .filter_map(|(name, of, tolerance)| {
            let Trend { early, late, rise } = trend(samples, of);
            let allowed = early * tolerance.share + tolerance.fixed;
            let grew = late - early > allowed && rise > allowed;
            grew.then(|| {
                format!("{name} grew from {early:.0} to {late:.0} (line: {rise:+.0}); {allowed:.0} are allowed")
            })
        })
        .collect()
}

/// The figures, for the end of the run.
pub(crate) fn table(samples: &[Sample]) -> String {
    let mut lines = vec![format!("{:<18} {:>14} {:>14} {:>14}", "", "early median", "late median", "line")];
    for (name, of, _) in &COLUMNS {
        let Trend { early, late, rise } = trend(samples, of);
        lines.push(format!("{name:<18} {early:>14.0} {late:>14.0} {rise:>+14.0}"));
    }
    lines.join("\n")
}

struct Trend {
    /// Median of the first third of what is judged.
    early: f64,
    /// Median of the last third.
    late: f64,
    /// What the line gains over the time that is judged.
    rise: f64,
}

fn trend(samples: &[Sample], of: &Pick) -> Trend {
    let judged: Vec<(f64, f64)> =
        samples.iter().skip(samples.len() / 4).map(|sample| (sample.seconds, of(sample) as f64)).collect();
    let third = (judged.len() / 3).max(1);
    let early = median(&judged[..third]);
    let late = median(&judged[judged.len() - third..]);
    let count = judged.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| judged.iter().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut over, mut under) = (0.0, 0.0);
    for point in &judged {
        over += (point.0 - x) * (point.1 - y);
        under += (point.0 - x).powi(2);
    }
    let span = judged.last().map_or(0.0, |last| last.0) - judged.first().map_or(0.0, |first| first.0);
    Trend { early, late, rise: if under > 0.0 { over / under * span } else { 0.0 } }
}

fn median(points: &[(f64, f64)]) -> f64 {
    let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn mb(octets: u64) -> f64 {
    octets as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn samples(memory: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> u64) -> Vec<Sample> {
        (0..40)
            .map(|n| Sample { seconds: n as f64, memory: memory(n), descriptors: descriptors(n), store: MIB })
            .collect()
    }

    #[test]
    fn what_settles_or_jumps_once_has_not_grown() {
        let settled = samples(|n| 20 * MIB + 20 * MIB * n.min(5) / 5 + n % 3 * MIB, |_| 20);
        assert_eq!(growth(&settled), Vec::<String>::new());
        let outlier = samples(|n| if n == 39 { 400 * MIB } else { 40 * MIB }, |n| if n == 20 { 90 } else { 20 });
        assert_eq!(growth(&outlier), Vec::<String>::new());
    }

    #[test]
    fn what_leaks_has_grown() {
        let leaks = growth(&samples(|n| 40 * MIB + n * MIB, |n| 20 + n / 4));
        assert_eq!(leaks.len(), 2, "{leaks:?}");
        assert!(leaks[0].starts_with("resident memory grew"), "{leaks:?}");
        assert!(leaks[1].starts_with("file descriptors grew"), "{leaks:?}");
        let staircase = growth(&samples(|n| 40 * MIB + n / 10 * 8 * MIB, |_| 20));
        assert_eq!(staircase.len(), 1, "{staircase:?}");
    }

    #[test]
    fn the_fewest_measurements_can_be_judged() {
        let few: Vec<Sample> = samples(|_| MIB, |_| 20).into_iter().take(LEAST).collect();
        assert_eq!(growth(&few), Vec::<String>::new());
        assert!(table(&few).contains("store"));
    }
}
