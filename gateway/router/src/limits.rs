//! Bounds on what a mailbox holds, and how another grant changes them while messages arrive.
//!
//! Knows nothing of who sets them.

use std::sync::atomic::{AtomicU32, Ordering};

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

/// [`MailboxLimits`] that may change; 4 GiB, or as many messages, is as good as no bound. Each is read by itself: whoever puts a message in at the moment of a change meets
/// the old bound or the new one.
pub(crate) struct Bounds {
    high_water: AtomicU32,
    queued_messages: AtomicU32,
    queued_bytes: AtomicU32,
}

impl Bounds {
    pub(crate) fn new(limits: MailboxLimits) -> Self {
        Self {
            high_water: small(limits.high_water).into(),
            queued_messages: small(limits.queued_messages).into(),
            queued_bytes: small(limits.queued_bytes).into(),
        }
    }

    pub(crate) fn set(&self, limits: MailboxLimits) {
        self.high_water.store(small(limits.high_water), Ordering::Relaxed);
        self.queued_messages.store(small(limits.queued_messages), Ordering::Relaxed);
        self.queued_bytes.store(small(limits.queued_bytes), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> MailboxLimits {
        MailboxLimits {
            high_water: self.high_water.load(Ordering::Relaxed) as usize,
            queued_messages: self.queued_messages.load(Ordering::Relaxed) as usize,
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed) as usize,
        }
    }
}

fn small(limit: usize) -> u32 {
    limit.try_into().unwrap_or(u32::MAX)
}
