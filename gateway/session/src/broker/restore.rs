//! Sessions of the store, put back as they were.

use std::sync::Arc;

use portcullis_router::{MailboxLimits, RetainedLimits, Subscription, now_ms};

use super::Broker;
use super::leave::record;
use crate::deferred::Due;
use crate::durable::Found;
use crate::registry::Will;
use crate::scratch::Scratch;
use crate::state::{NEVER, SessionState};
use crate::subscription::split_share;
use crate::unix_now;

impl Broker {
    pub(super) fn restore(&self, found: Found, limits: MailboxLimits, s: &mut Scratch) {
        let Found { client_id, record: stored, subscriptions, unreleased, queued, released, withdrawn, will } = found;
        let mailbox = self.router.mailbox(limits, true);
        mailbox.restore(stored.number, queued, &released, withdrawn);
        let mut state = SessionState { expiry: stored.expiry, ..SessionState::default() };
        state.unreleased.extend(unreleased);
        for (filter, held) in subscriptions {
            let (share, inner) = split_share(&filter);
            // Without a grant at hand: what it denies is sorted out when the client is back.
            let subscription = Subscription {
                mailbox: Arc::clone(&mailbox),
                qos: held.requested.min(held.granted),
                no_local: held.no_local,
                retain_as_published: held.retain_as_published,
                id: held.id,
                check: None,
            };
            self.router.subscribe(inner, share, subscription);
            state.subscriptions.insert(filter.into(), held);
        }
        let expiry = stored.expiry;
        let entry = self.registry.restore(&client_id, stored.owner, stored.number, mailbox, state);
        let mut slot = entry.lock();
        let mut left_at = stored.left_at;
        if left_at == 0 {
            // One that had a connection when the gateway ended lost it at that moment, as far as anybody can tell: now. It
            // is written, or each further restart would give it its whole expiry anew.
            left_at = unix_now();
            s.journal.put_session(&client_id, record(&entry, stored.number, expiry, left_at).encode());
        }
        let gone_for = unix_now().saturating_sub(left_at);
        let now = now_ms();
        if expiry != NEVER {
            let at = now + u64::from(expiry).saturating_sub(gone_for) * 1000;
            slot.appointments().expiry = Some(self.deferred.schedule(at, &entry, slot.generation(), Due::Expiry));
        }
        if let Some(will) = will {
            let delay = u64::from(will.delay.min(expiry)).saturating_sub(gone_for);
            let generation = slot.generation();
            let due = slot.appointments();
            due.will = Some(self.deferred.schedule(now + delay * 1000, &entry, generation, Due::Will));
            let message = Arc::new(will.message.with_lifetime(will.lifetime));
            due.message = Some(Will { message, delay: will.delay, limits: RetainedLimits::NONE });
        }
    }
}
