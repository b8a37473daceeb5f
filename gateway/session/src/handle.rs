//! How others reach a live connection: to wake it, to let it read again, to tell it to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use portcullis_mqtt::ReasonCode;
use portcullis_router::Wake;

/// What somebody else wants of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Have the grant looked at again: something that it depends on has changed, or its policy was replaced.
    Reevaluate,
    /// Judge again what lives under the grant, which stays: answers of its policy that are remembered are forgotten,
    /// and the session's subscriptions, what waits for it, and its will are put to it anew.
    Recheck,
    /// Other topics are filtered from now on: those of the `filters` in the listener's rules.
    Filter(Option<Arc<[String]>>),
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

/// Wishes that the owner has not looked at yet. One of a kind: a later one takes the place of an earlier.
#[derive(Debug, Default)]
struct Wishes {
    filter: Option<Control>,
    recheck: Option<Control>,
    reevaluate: Option<Control>,
    /// A stronger one stays.
    end: Option<Control>,
}

impl Wishes {
    fn add(&mut self, control: Control) {
        match control {
            Control::Filter(_) => self.filter = Some(control),
            Control::Recheck => self.recheck = Some(control),
            Control::Reevaluate => self.reevaluate = Some(control),
            Control::TakenOver if self.end.is_some() => {}
            Control::TakenOver | Control::Disconnect { .. } => self.end = Some(control),
        }
    }

    /// The next one. An end makes the others pointless.
    fn take(&mut self) -> Option<Control> {
        let Self { filter, recheck, reevaluate, end } = self;
        [end, filter, recheck, reevaluate].into_iter().find_map(Option::take)
    }

    fn is_empty(&self) -> bool {
        [&self.filter, &self.recheck, &self.reevaluate, &self.end].into_iter().all(Option::is_none)
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
    wishes: Mutex<Option<Box<Wishes>>>,
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
        self.wishes.lock().get_or_insert_default().add(control);
        self.flags.fetch_or(CONTROL, Ordering::Release);
        self.waker.wake();
    }

    /// For the owner: what is asked. Call it until there is nothing more.
    #[must_use]
    pub fn take_request(&self) -> Option<Control> {
        if self.flags.load(Ordering::Acquire) & CONTROL == 0 {
            return None;
        }
        let mut wishes = self.wishes.lock();
        let control = wishes.as_mut().and_then(|wishes| wishes.take());
        if wishes.as_ref().is_none_or(|wishes| wishes.is_empty()) {
            self.flags.fetch_and(!CONTROL, Ordering::AcqRel);
            *wishes = None;
        }
        control
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

    #[test]
    fn no_wish_is_lost_over_another_and_an_end_comes_first() {
        let handle = Handle::new(1);
        let end = Control::Disconnect { reason: ReasonCode::SERVER_SHUTTING_DOWN, detail: String::new() };
        for control in [Control::Reevaluate, Control::Filter(None), end.clone(), Control::Recheck, Control::TakenOver] {
            handle.request(control);
        }
        let asked: Vec<_> = std::iter::from_fn(|| handle.take_request()).collect();
        assert_eq!(asked, [end, Control::Filter(None), Control::Recheck, Control::Reevaluate]);
        handle.request(Control::TakenOver);
        assert_eq!(handle.take_request(), Some(Control::TakenOver));
        assert_eq!(handle.take_request(), None);
    }
}
