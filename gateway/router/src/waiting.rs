//! What waits for the receivers of the whole gateway, so that many slow ones together are bounded as each is.
//!
//! Knows nothing of mailboxes: each says by itself how much it holds.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets that a session may hold whatever the others do: about what one read of a publisher brings.
pub(crate) const SHARE: usize = 64 * 1024;

/// A session that holds less is not counted, and one that is counted says so again only when it has changed by as much:
/// what is written as fast as it comes costs nobody a shared cache line.
const GRAIN: usize = 16 * 1024;

/// The octets that all sessions hold together, and their bound.
#[derive(Debug)]
pub(crate) struct Waiting {
    bytes: AtomicUsize,
    most: usize,
}

impl Waiting {
    /// A sum that is full at `most` octets.
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), most }
    }

    /// Octets now, to within 16 KiB a session.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether nobody may hold more than [`SHARE`] now.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= self.most
    }

    /// A session that was counted with `counted` octets holds `held` now.
    pub(crate) fn count(&self, counted: &mut u32, held: usize) {
        // Bounds of sessions are less than 4 GiB.
        let held = if held < GRAIN { 0 } else { u32::try_from(held).unwrap_or(u32::MAX) };
        if (held.abs_diff(*counted) as usize) < GRAIN && (held > 0 || *counted == 0) {
            return;
        }
        if held > *counted {
            self.bytes.fetch_add((held - *counted) as usize, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub((*counted - held) as usize, Ordering::Relaxed);
        }
        *counted = held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_given_back_to_the_last_octet() {
        let waiting = Waiting::new(100_000);
        let (mut one, mut other) = (0, 0);
        for held in [10_000, 40_000, 45_000, 90_000, 30_000] {
            waiting.count(&mut one, held);
            waiting.count(&mut other, held / 2);
        }
        assert_eq!(waiting.bytes(), (one + other) as usize);
        assert!(!waiting.is_full());
        waiting.count(&mut other, 80_000);
        assert!(waiting.is_full());
        waiting.count(&mut one, 5);
        waiting.count(&mut other, 0);
        assert_eq!(waiting.bytes(), 0);
    }
}
