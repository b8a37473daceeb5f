//! Live connections, as others see them and ask something of them.

use std::sync::Arc;

use portcullis_grant::{ConnectionFacts, Dependency, Grant};
use portcullis_mqtt::ReasonCode;
use portcullis_router::Backlog;

use super::Broker;
use crate::handle::{Control, Handle};

/// A connection as the admin interface shows it.
#[derive(Clone, Debug)]
pub struct ConnectionSummary {
    /// Its client identifier.
    pub client_id: Arc<str>,
    /// Where it comes from.
    pub facts: ConnectionFacts,
    /// Its grant.
    pub grant: Arc<Grant>,
    /// Seconds since 1970 at which it was let in.
    pub since: u64,
    /// What waits for it.
    pub backlog: Backlog,
}

/// Which session of a client identifier this is, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionMark {
    /// Its number in the store; 0: it is not stored.
    pub number: u64,
    /// The last sequence number that one of its QoS 1 and 2 messages was given: number `n` is sent under the packet
    /// identifier `(n - 1) mod 65,535 + 1`.
    pub sequence: u64,
}

impl Broker {
    /// Live connections in the order of their client identifiers, at most `most`, after the one named `after`.
    #[must_use]
    pub fn connections(&self, after: Option<&str>, most: usize) -> Vec<ConnectionSummary> {
        let mut found = Vec::new();
        self.registry.for_each(|entry| {
            if after.is_some_and(|a| &*entry.client_id <= a) {
                return;
            }
            let slot = entry.lock();
            if let Some(live) = &slot.live {
                found.push(ConnectionSummary {
                    client_id: (&*entry.client_id).into(),
                    facts: self.facts(&live.handle),
                    grant: Arc::clone(&live.grant),
                    since: slot.since.into(),
                    backlog: slot.mailbox.backlog(),
                });
            }
        });
        found.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        found.truncate(most);
        found
    }

    /// A client's session as far as it can be told apart from later ones of the same name. None: there is none.
    #[must_use]
    pub fn session(&self, client_id: &str) -> Option<SessionMark> {
        let entry = self.registry.get(client_id)?;
        let slot = entry.lock();
        Some(SessionMark { number: slot.number, sequence: slot.mailbox.last_sequence() })
    }

    /// Asks something of the connection of one client. False: it has none.
    pub fn request(&self, client_id: &str, control: Control) -> bool {
        let Some(entry) = self.registry.get(client_id) else { return false };
        let slot = entry.lock();
        match &slot.live {
            Some(live) => {
                live.handle.request(control);
                true
            }
            None => false,
        }
    }

    /// Asks something of all connections that `which` picks. Returns how many.
    pub fn request_where(&self, control: &Control, mut which: impl FnMut(&Handle, &Grant) -> bool) -> usize {
        let mut asked = 0;
        self.registry.for_each(|entry| {
            if let Some(live) = &entry.lock().live
                && which(&live.handle, &live.grant)
            {
                live.handle.request(control.clone());
                asked += 1;
            }
        });
        asked
    }

    /// Something in the directory changed: connections whose grant was derived from it are looked at again. Returns how
    /// many. Logins that are being decided meanwhile are looked at again once they are admitted.
    pub fn changed(&self, dependency: &Dependency) -> usize {
        self.changes.note(dependency);
        self.request_where(&Control::Reevaluate, |_, grant| grant.depends_on(dependency))
    }

    /// Another version of a policy is live, with this serial: connections under grants of those before it are asked this.
    /// Returns how many. Logins that one of those is deciding meanwhile are asked it once they are admitted.
    pub fn replaced(&self, policy: &str, serial: u64, control: Option<Control>) -> usize {
        self.changes.note_replaced(policy, serial, control.clone());
        let Some(control) = control else { return 0 };
        self.request_where(&control, |_, grant| *grant.policy.name == *policy && grant.policy.serial < serial)
    }

    /// From now on these policies stand before a listener: connections that another one let in are looked at again. Returns
    /// how many. Logins that another one is deciding meanwhile are looked at again once they are admitted.
    pub fn rechained(&self, listener: &str, policies: Arc<[Arc<str>]>) -> usize {
        self.changes.note_chain(listener, Arc::clone(&policies));
        self.request_where(&Control::Reevaluate, |handle, grant| {
            *handle.listener() == *listener && !policies.contains(&grant.policy.name)
        })
    }

    /// Ends all connections: the gateway stops.
    pub fn shut_down(&self) -> usize {
        let control =
            Control::Disconnect { reason: ReasonCode::SERVER_SHUTTING_DOWN, detail: "the gateway stops".to_owned() };
        self.request_where(&control, |_, _| true)
    }
}
