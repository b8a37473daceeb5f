//! Totals of the gateway.

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_router::Counts;

/// Counters, added to once a batch.
#[derive(Debug, Default)]
pub struct Stats {
    received: AtomicU64,
    received_bytes: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    oversized: AtomicU64,
    unauthorized: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) logins_refused: AtomicU64,
    pub(crate) malformed: AtomicU64,
}

/// A reading of [`Stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// PUBLISH packets taken from clients.
    pub received: u64,
    /// Octets of them.
    pub received_bytes: u64,
    /// PUBLISH packets put into mailboxes or queues.
    pub delivered: u64,
    /// QoS 0 messages not delivered to a receiver that was too slow.
    pub dropped: u64,
    /// QoS 1 and 2 messages refused by a receiver's full queue, and messages that could not be retained.
    pub refused: u64,
    /// Messages larger than their receiver takes.
    pub oversized: u64,
    /// Publications that the grant did not permit.
    pub unauthorized: u64,
    /// Sessions with a connection, now.
    pub connections: u64,
    /// Logins that succeeded, ever.
    pub connected: u64,
    /// Logins that were refused, ever.
    pub logins_refused: u64,
    /// Connections ended for a malformed or forbidden packet, ever.
    pub malformed: u64,
}

impl Stats {
    /// Adds a batch and clears it.
    pub fn add(&self, counts: &mut Counts) {
        let c = std::mem::take(counts);
        let pairs = [
            (&self.received, c.received),
            (&self.received_bytes, c.received_bytes),
            (&self.delivered, c.delivered),
            (&self.dropped, c.dropped),
            (&self.refused, c.refused),
            (&self.oversized, c.oversized),
            (&self.unauthorized, c.unauthorized),
        ];
        for (total, n) in pairs {
            if n > 0 {
                total.fetch_add(n, Ordering::Relaxed);
            }
        }
    }

    /// The totals now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        Totals {
            received: get(&self.received),
            received_bytes: get(&self.received_bytes),
            delivered: get(&self.delivered),
            dropped: get(&self.dropped),
            refused: get(&self.refused),
            oversized: get(&self.oversized),
            unauthorized: get(&self.unauthorized),
            connections: get(&self.connections),
            connected: get(&self.connected),
            logins_refused: get(&self.logins_refused),
            malformed: get(&self.malformed),
        }
    }
}
