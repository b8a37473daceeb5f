//! What came of a shadow: counters, and the last logins about which the two differ.

use crate::shadow::Comparison;
use crate::stats::Figures;

/// A question to which the two gave other answers. It holds no credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Seconds since 1970.
    pub at: u64,
    /// `login`, `continue`, `authorize` or `renew`.
    pub what: &'static str,
    /// The client identifier.
    pub client: String,
    /// The user name.
    pub username: Option<String>,
    /// The listener.
    pub listener: String,
    /// In which way they differ.
    pub comparison: Comparison,
    /// The parts of the grants that differ.
    pub parts: Vec<&'static str>,
    /// What the live policy answered.
    pub live: String,
    /// What the candidate answered.
    pub candidate: String,
    /// What the candidate could not do as a shadow while it answered, so that the difference may be due to that.
    pub hindered: bool,
}

/// The counters at one moment.
#[derive(Clone, Debug)]
pub struct ShadowReport {
    /// Seconds since 1970 at which it began.
    pub since: u64,
    /// Questions by [`Comparison::ALL`].
    pub comparisons: [u64; Comparison::ALL.len()],
    /// Grants that differ, by the part that does.
    pub parts: Vec<(&'static str, u64)>,
    /// Questions that were not asked since too many waited.
    pub dropped: u64,
    /// Answers to challenges that could not be put to the candidate: it had asked the client something else.
    pub not_followed: u64,
    /// The live policy, for the same questions.
    pub live: Figures,
    /// The candidate.
    pub candidate: Figures,
    /// Whether the candidate keeps failing and is left alone for a while.
    pub quarantined: bool,
    /// Changes of its storage, which went to a scratch.
    pub stored: u64,
    /// Changes of the directory that were refused.
    pub directory: u64,
    /// Requests to other servers that were refused.
    pub http: u64,
    /// The last differences, the latest first.
    pub differences: Vec<Difference>,
}

impl ShadowReport {
    /// Questions with one result.
    #[must_use]
    pub fn count(&self, comparison: Comparison) -> u64 {
        self.comparisons[comparison as usize]
    }

    /// Questions that both were asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.comparisons.iter().sum()
    }
}
