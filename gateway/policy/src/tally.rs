//! How one version of a policy fares: whom it lets in, whom it refuses, how often it fails. Begins with the version.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one generation.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) admitted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Logins that it let in.
    pub admitted: u64,
    /// Logins that it refused, or passed on when nobody else took them.
    pub refused: u64,
    /// Calls in which it trapped, was late, or answered what the contract does not allow.
    pub failed: u64,
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn score(&self) -> Score {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Score { admitted: read(&self.admitted), refused: read(&self.refused), failed: read(&self.failed) }
    }
}

impl Score {
    /// Logins that were decided.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.admitted + self.refused
    }

    /// Of those, how many in ten thousand were refused. None: nobody came.
    #[must_use]
    pub fn refused_share(&self) -> Option<u64> {
        (self.refused * 10_000).checked_div(self.decided())
    }
}
