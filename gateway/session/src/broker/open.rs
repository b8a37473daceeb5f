//! A session for a login: made, resumed, or waited for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portcullis_grant::{Action, Grant};
use portcullis_router::{Mailbox, MailboxLimits};

use super::Broker;
use crate::handle::Handle;
use crate::machine::{Asked, unanswered};
use crate::registry::{Entry, Live};
use crate::scratch::Scratch;
use crate::state::SessionState;
use crate::unix_now;

/// What came of asking for a session.
pub(crate) enum Opened {
    /// It is the caller's.
    Yes { entry: Arc<Entry>, mailbox: Arc<Mailbox>, state: SessionState, present: bool },
    /// Another connection has it and was told to leave, or what that one did is not on disk yet; the caller is woken
    /// when it may try again.
    Wait,
    /// It has a subscription that the gatekeeper has to be asked about first. The caller has it only after that: messages
    /// go on waiting for it meanwhile.
    Ask(Action),
    /// It belongs to somebody else.
    OfAnother,
    /// The identity has as many connections as its grant allows.
    Full,
}

/// Whose session is to be opened, and how.
pub(crate) struct Opening<'a> {
    pub client_id: &'a str,
    pub clean_start: bool,
    pub grant: &'a Arc<Grant>,
    /// What the gatekeeper answered so far about subscriptions of the session.
    pub asked: &'a Asked,
    pub limits: MailboxLimits,
    pub handle: &'a Arc<Handle>,
}

impl Broker {
    /// Asks for the session of `client_id`.
    pub(crate) fn open(&self, login: &Opening<'_>, s: &mut Scratch) -> Opened {
        let &Opening { client_id, clean_start, grant, asked, limits, handle } = login;
        loop {
            let mailbox = || self.router.mailbox(limits, false);
            let (entry, _) = self.registry.get_or_create(client_id, &grant.identity, mailbox);
            let mut slot = entry.lock();
            if slot.is_gone() {
                continue;
            }
            if !entry.belongs_to(&grant.identity) {
                return Opened::OfAnother;
            }
            if slot.give_way_to(handle) {
                return Opened::Wait;
            }
            // What the last connection did is known here before it is on disk. Were it answered again now (a PUBREC for
            // what is resent, a PUBREL), that would be an acknowledgement of what may yet be lost.
            if slot.unsettled().is_some_and(|held| held.keeps_waiting(handle)) {
                return Opened::Wait;
            }
            slot.set_unsettled(None);
            let resumed = slot.state().filter(|_| !clean_start);
            if let Some(action) = resumed.and_then(|state| unanswered(state, grant, asked)) {
                return Opened::Ask(action);
            }
            // Last of all, and with the session in hand: whoever comes again while its old connection is not known to be dead takes
            // that one's place, and nobody who waits for another takes a place meanwhile.
            if grant.limits().connections.is_some_and(|most| !self.registry.admit(&grant.identity, most)) {
                // One that was made for this login alone goes again.
                if slot.generation() == 0 {
                    slot.mailbox.close();
                    slot.end();
                    self.registry.remove(&entry);
                }
                return Opened::Full;
            }
            self.cancel_appointments(&mut slot);
            let mut state = slot.take_state().unwrap_or_default();
            let known = slot.generation() > 0;
            if known && clean_start {
                self.unsubscribe_all(&state, &slot.mailbox);
                slot.mailbox.close();
                slot.mailbox = self.router.mailbox(limits, false);
                state = SessionState::default();
                if slot.number != 0 {
                    s.journal.delete_session(&entry.client_id, slot.number);
                    slot.number = 0;
                }
                if let Some(will) = slot.take_will() {
                    self.publish_will(&entry.owner, &will, s);
                }
            }
            // The client is back before the delay has passed: the will is not sent (MQTT 5 §3.1.3.2.2).
            drop(slot.take_will());
            slot.begin_generation();
            slot.since = u32::try_from(unix_now()).unwrap_or(u32::MAX);
            slot.live = Some(Live { handle: Arc::clone(handle), grant: Arc::clone(grant) });
            self.stats.connections.fetch_add(1, Ordering::Relaxed);
            self.stats.connected.fetch_add(1, Ordering::Relaxed);
            let mailbox = Arc::clone(&slot.mailbox);
            drop(slot);
            return Opened::Yes { entry, mailbox, state, present: known && !clean_start };
        }
    }

    /// Another grant is in force on a live connection.
    pub(crate) fn regrant(&self, entry: &Entry, grant: &Arc<Grant>) {
        if let Some(live) = &mut entry.lock().live {
            live.grant = Arc::clone(grant);
        }
    }
}
