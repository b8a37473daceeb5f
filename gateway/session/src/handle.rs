//! How others reach a live connection: to wake it, to let it read again, to tell it to end.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use portcullis_mqtt::ReasonCode;
use portcullis_router::Wake;

/// What somebody else wants of a connection. A later, stronger wish replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Have the grant looked at again: something that it depends on has changed, or its policy was replaced.
    Reevaluate,
    /// The same client identifier has connected elsewhere (MQTT 5 reason 0x8E).
    TakenOver,
    /// End, and say why.
    Disconnect {
        /// For the client, on MQTT 5.
        reason: ReasonCode,
        /// For the log.
        detail: String,
    },
}

impl Control {
    fn strength(&self) -> u8 {
        match self {
            Self::Reevaluate => 0,
            Self::TakenOver => 1,
            Self::Disconnect { .. } => 2,
        }
    }
}

const PAUSED: u8 = 1;
const TIMER: u8 = 2;
const CONTROL: u8 = 4;
const CROWDED: u8 = 8;

/// One connection, as the rest of the gateway holds it.
#[derive(Debug, Default)]
pub struct Handle {
    waker: AtomicWaker,
    flags: AtomicU8,
    control: Mutex<Option<Box<Control>>>,
    /// The connection's number: unique while the process lives.
    pub number: u64,
}

impl Handle {
    /// A handle for connection `number`.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// For the owner: who is to be woken. Call it before looking at anything that others change.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Asks something of the owner.
    pub fn request(&self, control: Control) {
        let mut slot = self.control.lock();
        if slot.as_ref().is_none_or(|old| old.strength() <= control.strength()) {
            *slot = Some(Box::new(control));
        }
        drop(slot);
        self.flags.fetch_or(CONTROL, Ordering::Release);
        self.waker.wake();
    }

    /// For the owner: what is asked.
    #[must_use]
    pub fn take_request(&self) -> Option<Control> {
        if self.flags.load(Ordering::Acquire) & CONTROL == 0 {
            return None;
        }
        self.flags.fetch_and(!CONTROL, Ordering::AcqRel);
        self.control.lock().take().map(|c| *c)
    }

    /// For the timer: the time that the owner named has come.
    pub fn time_is_up(&self) {
        self.flags.fetch_or(TIMER, Ordering::Release);
        self.waker.wake();
    }

    /// For the owner: whether its time has come.
    #[must_use]
    pub fn take_timer(&self) -> bool {
        self.flags.load(Ordering::Acquire) & TIMER != 0 && self.flags.fetch_and(!TIMER, Ordering::AcqRel) & TIMER != 0
    }

    /// For the owner: whether it must not read, because a receiver of its messages, or the store, is too far behind.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (PAUSED | CROWDED) != 0
    }

    /// For the owner, before it asks the store to be let go on by it. A flag of its own: whoever has caught up says
    /// nothing for the other.
    pub(crate) fn wait_for_store(&self) {
        self.flags.fetch_or(CROWDED, Ordering::AcqRel);
    }

    /// The store has room again.
    pub(crate) fn store_has_room(&self) {
        self.flags.fetch_and(!CROWDED, Ordering::AcqRel);
        self.waker.wake();
    }

    /// For the owner, before it asks a mailbox to be resumed by it.
    pub fn pause(&self) {
        self.flags.fetch_or(PAUSED, Ordering::AcqRel);
    }

    /// For the owner, when there was nothing to wait for.
    pub fn unpause(&self) {
        self.flags.fetch_and(!PAUSED, Ordering::AcqRel);
    }
}

impl Wake for Handle {
    fn wake(&self) {
        self.waker.wake();
    }

    fn resume(&self) {
        self.unpause();
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_receiver_and_for_the_store_goes_on_when_both_have_room() {
        let ends: [fn(&Handle); 3] = [Handle::resume, Handle::unpause, Handle::store_has_room];
        for (first, second) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
            let handle = Handle::new(1);
            handle.pause();
            handle.wait_for_store();
            ends[first](&handle);
            assert!(handle.is_paused(), "the other is still behind");
            ends[second](&handle);
            assert!(!handle.is_paused());
        }
    }
}
