//! How a store is to behave.

use std::time::Duration;

use crate::clock::Clock;

/// When a batch counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on disk: its ticket is done after the sync that it shares with others.
    #[default]
    Ack,
    /// At once; the disk is synced within this time. A crash or power cut loses at most what this time brought.
    Interval(Duration),
    /// At once; the disk is synced when the store is closed, when a batch with another durability comes, and when 16 MiB
    /// are waiting. A crash or power cut loses what came since.
    None,
}

/// Settings of a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// For batches that do not say otherwise.
    pub durability: Durability,
    /// Octets of batches that may wait for the writer; what comes beyond is refused or waits. A batch larger than this
    /// is taken when nothing else waits.
    pub queue: usize,
    /// Octets of memory for the engine's cache of pages, read and written.
    pub cache: usize,
    /// A file of up to so many octets is verified page by page when it is opened, not only after a crash: a check reads
    /// the whole file.
    pub verify_up_to: u64,
    /// A file of at least so many octets that is four times as large as what it holds is rewritten when it is opened. While
    /// it is open its free pages are used again, and nothing is ever rewritten.
    pub rewrite_from: u64,
    /// Tells when values expire.
    pub clock: Clock,
}

impl Default for Options {
    /// Acknowledged means on disk; a queue of 16 MiB, a cache of 16 MiB, files up to 64 MiB are verified, and larger
    /// ones are rewritten when they are mostly empty.
    fn default() -> Self {
        Self {
            durability: Durability::Ack,
            queue: 16 << 20,
            cache: 16 << 20,
            verify_up_to: 64 << 20,
            rewrite_from: 64 << 20,
            clock: Clock::system(),
        }
    }
}
