//! Bounds on what a mailbox holds, and how another grant changes them while messages arrive.
//!
//! Knows nothing of who sets them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bounds on what a mailbox holds.
#[derive(Clone, Copy, Debug)]
pub struct MailboxLimits {
    /// Octets of unsent output and queue above which publishers wait.
    pub high_water: usize,
    /// QoS 1 and 2 messages that wait beyond the window.
    pub queued_messages: usize,
    /// Octets of them.
    pub queued_bytes: usize,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self { high_water: 512 * 1024, queued_messages: 10_000, queued_bytes: 16 * 1024 * 1024 }
    }
}

/// [`MailboxLimits`] that may change. Each is read by itself: whoever puts a message in at the moment of a change meets
/// the old bound or the new one.
pub(crate) struct Bounds {
    high_water: AtomicUsize,
    queued_messages: AtomicUsize,
    queued_bytes: AtomicUsize,
}

impl Bounds {
    pub(crate) fn new(limits: MailboxLimits) -> Self {
        Self {
            high_water: limits.high_water.into(),
            queued_messages: limits.queued_messages.into(),
            queued_bytes: limits.queued_bytes.into(),
        }
    }

    pub(crate) fn set(&self, limits: MailboxLimits) {
        self.high_water.store(limits.high_water, Ordering::Relaxed);
        self.queued_messages.store(limits.queued_messages, Ordering::Relaxed);
        self.queued_bytes.store(limits.queued_bytes, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> MailboxLimits {
        MailboxLimits {
            high_water: self.high_water.load(Ordering::Relaxed),
            queued_messages: self.queued_messages.load(Ordering::Relaxed),
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed),
        }
    }
}
