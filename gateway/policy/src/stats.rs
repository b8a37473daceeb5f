//! What a policy did and how long it took: counted without locks, read by metrics and `portcullis policy list`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::call::CallError;

/// Upper bounds of the latency buckets in microseconds; what is longer falls into one more.
pub const LATENCY_BOUNDS_US: [u64; 18] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000];

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum CallOutcome {
    /// `authenticate` or `continue-authentication` answered with a grant.
    Allow,
    /// It refused.
    Deny,
    /// Not its scheme.
    Pass,
    /// It asked the client for more.
    Challenge,
    /// Another export answered.
    Answer,
    /// It trapped, or could not be started.
    Trap,
    /// It did not answer in time.
    Deadline,
    /// Its answer broke the contract.
    Void,
    /// It was not called: too many calls, or quarantine.
    Refused,
}

impl CallOutcome {
    /// All of them, in the order of [`Figures::outcomes`].
    pub const ALL: [Self; 9] = [
        Self::Allow,
        Self::Deny,
        Self::Pass,
        Self::Challenge,
        Self::Answer,
        Self::Trap,
        Self::Deadline,
        Self::Void,
        Self::Refused,
    ];

    /// The word for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Pass => "pass",
            Self::Challenge => "challenge",
            Self::Answer => "answer",
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Void => "void",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn of(error: &CallError) -> Self {
        match error {
            CallError::Trap(_) | CallError::Start(_) | CallError::NoSuchExport(_) => Self::Trap,
            CallError::Deadline(_) => Self::Deadline,
            CallError::Void(_) => Self::Void,
            CallError::Busy | CallError::Quarantined { .. } => Self::Refused,
        }
    }
}

/// The counters of one policy. They live as long as its slot, whatever generations come and go.
#[derive(Debug, Default)]
pub struct Stats {
    outcomes: [AtomicU64; CallOutcome::ALL.len()],
    latency: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    total_us: AtomicU64,
    swaps: AtomicU64,
    last_error: Mutex<Option<LastError>>,
}

/// The last thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// Seconds since 1970.
    pub at: u64,
    /// SHA-256 of the component.
    pub digest: Arc<str>,
    /// A sentence's end: "it trapped: …".
    pub what: String,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls by [`CallOutcome::ALL`].
    pub outcomes: [u64; CallOutcome::ALL.len()],
    /// Calls that entered the policy by latency: not cumulative, one for each of [`LATENCY_BOUNDS_US`] and one beyond.
    pub latency: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of the latencies in microseconds.
    pub total_us: u64,
    /// Times that another generation was put in place.
    pub swaps: u64,
    /// What went wrong last.
    pub last_error: Option<LastError>,
}

impl Stats {
    pub(crate) fn count(&self, outcome: CallOutcome, took: Duration) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if outcome != CallOutcome::Refused {
            let us = took.as_micros() as u64;
            let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
            self.latency[bucket].fetch_add(1, Ordering::Relaxed);
            self.total_us.fetch_add(us, Ordering::Relaxed);
        }
    }

    pub(crate) fn failed(&self, at: u64, digest: &Arc<str>, error: &CallError) {
        *self.last_error.lock() = Some(LastError { at, digest: Arc::clone(digest), what: error.to_string() });
    }

    pub(crate) fn swapped(&self) {
        self.swaps.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now. They are read one after the other while calls go on.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            outcomes: std::array::from_fn(|n| read(&self.outcomes[n])),
            latency: std::array::from_fn(|n| read(&self.latency[n])),
            total_us: read(&self.total_us),
            swaps: read(&self.swaps),
            last_error: self.last_error.lock().clone(),
        }
    }
}

impl Figures {
    /// Calls with one outcome.
    #[must_use]
    pub fn outcome(&self, outcome: CallOutcome) -> u64 {
        self.outcomes[outcome as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_falls_into_the_bucket_that_bounds_it() {
        let stats = Stats::default();
        for us in [0, 1, 2, 3, 5, 500_000, 500_001] {
            stats.count(CallOutcome::Allow, Duration::from_micros(us));
        }
        stats.count(CallOutcome::Refused, Duration::ZERO);
        let figures = stats.figures();
        assert_eq!(figures.latency[..3], [2, 1, 2]);
        assert_eq!(figures.latency[17..], [1, 1]);
        assert_eq!(figures.outcome(CallOutcome::Allow), 7);
        assert_eq!(figures.latency.iter().sum::<u64>(), 7, "what was refused has no latency");
    }

    #[test]
    fn outcomes_are_listed_in_the_order_of_their_numbers() {
        assert!(CallOutcome::ALL.iter().enumerate().all(|(n, outcome)| *outcome as usize == n));
    }
}
