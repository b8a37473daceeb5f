//! How a decision came about: what audit and `portcullis why` say beside the decision itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How new the knowledge is that a decision rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Everything was looked up for this decision.
    #[default]
    Fresh,
    /// Something was remembered from an earlier one, and not yet due to be looked up again: an answer to an action, keys that
    /// another server publishes.
    Cached,
    /// Something was remembered that was due, and could not be looked up again.
    Stale,
}

impl Freshness {
    /// The word for audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Cached => "cached",
            Self::Stale => "stale",
        }
    }
}

/// What a decision cost, and what it rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Microseconds that the policy took: waiting for its turn, guest and host together.
    pub micros: u64,
    /// The oldest knowledge that it used.
    pub freshness: Freshness,
}

/// Where host interfaces note what they answered a call from. Shared, so that it outlives a call that is given up.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<AtomicU8>);

impl Sources {
    /// Notes that something of this age was used.
    pub fn note(&self, freshness: Freshness) {
        self.0.fetch_max(freshness as u8, Ordering::Relaxed);
    }

    /// The oldest that was noted.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        match self.0.load(Ordering::Relaxed) {
            0 => Freshness::Fresh,
            1 => Freshness::Cached,
            _ => Freshness::Stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_counts() {
        let sources = Sources::default();
        assert_eq!(sources.freshness(), Freshness::Fresh);
        sources.note(Freshness::Stale);
        sources.clone().note(Freshness::Cached);
        assert_eq!(sources.freshness(), Freshness::Stale);
    }
}
