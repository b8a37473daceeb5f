//! A session whose connection has ended: what is kept of it, for how long, and its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portcullis_router::{Mailbox, now_ms};

use super::Broker;
use crate::deferred::Due;
use crate::durable::{Held, SessionRecord, WillRecord};
use crate::registry::{Entry, Slot, Will};
use crate::scratch::Scratch;
use crate::state::{NEVER, SessionState};
use crate::subscription::split_share;
use crate::unix_now;

impl Broker {
    /// Whether a session is stored: one that outlives its connection, or that has a will to be sent after it. Gives it
    /// its number.
    pub(crate) fn store_session(
        &self,
        entry: &Entry,
        state: &SessionState,
        will: Option<&Will>,
        s: &mut Scratch,
    ) -> u64 {
        let Some(durable) = &self.durable else { return 0 };
        let mut slot = entry.lock();
        if state.expiry == 0 && will.is_none() {
            if slot.number != 0 {
                s.journal.delete_session(&entry.client_id, slot.number);
                slot.number = 0;
            }
            return 0;
        }
        if slot.number == 0 {
            slot.number = durable.number();
        }
        s.journal.put_session(&entry.client_id, record(entry, slot.number, state.expiry, 0).encode());
        match will {
            Some(will) => s.journal.put_will(slot.number, WillRecord::encode(&will.message, will.delay)),
            None => s.journal.delete_will(slot.number),
        };
        slot.number
    }

    /// The connection of a session ended; its mailbox is detached already. `will`: to be published unless the client
    /// comes back in time. `held`: what it was to be answered.
    pub(crate) fn leave(
        &self,
        entry: &Arc<Entry>,
        state: SessionState,
        will: Option<Will>,
        held: Option<Arc<Held>>,
        s: &mut Scratch,
    ) {
        let mut slot = entry.lock();
        slot.live = None;
        slot.set_unsettled(held);
        self.stats.connections.fetch_sub(1, Ordering::Relaxed);
        let now = now_ms();
        if state.expiry == 0 {
            self.end(entry, &mut slot, &state, s);
            if let Some(will) = will {
                self.publish_will(&entry.owner, &will, s);
            }
        } else {
            let generation = slot.generation();
            if slot.number != 0 {
                s.journal.put_session(&entry.client_id, record(entry, slot.number, state.expiry, unix_now()).encode());
                if will.as_ref().is_none_or(|w| w.delay == 0) {
                    s.journal.delete_will(slot.number);
                }
            }
            if state.expiry != NEVER {
                let at = now + u64::from(state.expiry) * 1000;
                slot.appointments().expiry = Some(self.deferred.schedule(at, entry, generation, Due::Expiry));
            }
            match will {
                Some(will) if will.delay > 0 => {
                    // Not later than the end of the session (MQTT 5 §3.1.3.2.2).
                    let delay = u64::from(will.delay.min(state.expiry));
                    let at = now + delay * 1000;
                    let due = slot.appointments();
                    due.will = Some(self.deferred.schedule(at, entry, generation, Due::Will));
                    due.message = Some(will);
                }
                Some(will) => self.publish_will(&entry.owner, &will, s),
                None => {}
            }
            slot.set_state(state);
        }
        let waiters = slot.take_waiters();
        drop(slot);
        for waiter in waiters {
            portcullis_router::Wake::wake(&*waiter);
        }
    }

    /// Ends a session for good: no trace of it stays in the router.
    fn end(&self, entry: &Arc<Entry>, slot: &mut Slot, state: &SessionState, s: &mut Scratch) {
        self.unsubscribe_all(state, &slot.mailbox);
        slot.mailbox.close();
        slot.end();
        self.registry.remove(entry);
        self.cancel_appointments(slot);
        if slot.number != 0 {
            s.journal.delete_session(&entry.client_id, slot.number);
        }
        if let Some(will) = slot.take_will() {
            self.publish_will(&entry.owner, &will, s);
        }
    }

    /// Delayed wills and ends of sessions whose time has come.
    pub(super) fn do_what_is_due(&self, s: &mut Scratch) {
        let now = now_ms();
        while let Some((entry, generation, due)) = self.deferred.pop(now) {
            let mut slot = entry.lock();
            if slot.live.is_some() || slot.generation() != generation {
                continue;
            }
            match due {
                Due::Will => {
                    slot.appointments().will = None;
                    if let Some(will) = slot.take_will() {
                        self.publish_will(&entry.owner, &will, s);
                    }
                    if slot.number != 0 {
                        s.journal.delete_will(slot.number);
                    }
                }
                Due::Expiry => {
                    slot.appointments().expiry = None;
                    if let Some(state) = slot.take_state() {
                        self.end(&entry, &mut slot, &state, s);
                    }
                }
            }
        }
    }

    pub(super) fn unsubscribe_all(&self, state: &SessionState, mailbox: &Mailbox) {
        for filter in state.subscriptions.filters() {
            let (share, filter) = split_share(filter);
            self.router.unsubscribe(filter, share, mailbox);
        }
    }

    pub(super) fn cancel_appointments(&self, slot: &mut Slot) {
        for appointment in slot.take_appointments().into_iter().flatten() {
            self.deferred.cancel(appointment);
        }
    }
}

/// What is stored of a session. `left_at`: see [`SessionRecord::left_at`].
pub(super) fn record(entry: &Entry, number: u64, expiry: u32, left_at: u64) -> SessionRecord {
    SessionRecord { number, expiry, left_at, owner: entry.owner.clone() }
}
