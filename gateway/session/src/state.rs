//! What a session is made of, apart from its mailbox: what outlives a connection.

use hashbrown::HashMap;
use portcullis_mqtt::QoS;

use crate::identifiers::Identifiers;

/// One subscription, with what is needed to make it again under another grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// As the client asked for.
    pub requested: QoS,
    /// What is in force: no more than the grant permits, or the last one of a session without a connection.
    pub granted: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub id: Option<u32>,
}

/// Expiry interval of a session that never ends by itself (MQTT 5 §3.1.2.11.2).
pub(crate) const NEVER: u32 = u32::MAX;

/// State of one session (MQTT 5 §4.1).
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    pub subscriptions: Subscriptions,
    /// Identifiers of QoS 2 messages that were received and not yet released.
    pub unreleased: Identifiers,
    /// Seconds that it lives on after its connection. 0: it ends with it.
    pub expiry: u32,
}

/// Filters come from strangers: the seed is random.
type Map = HashMap<Box<str>, Held, foldhash::quality::RandomState>;

/// Subscriptions by the filter as the client wrote it, `$share/…` included. Clients that only publish have none, and then it is
/// one word.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Option<Box<Map>>);

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |map| map.len())
    }

    pub(crate) fn contains_key(&self, filter: &str) -> bool {
        self.get(filter).is_some()
    }

    pub(crate) fn get(&self, filter: &str) -> Option<&Held> {
        self.0.as_ref()?.get(filter)
    }

    pub(crate) fn insert(&mut self, filter: Box<str>, held: Held) {
        self.0.get_or_insert_default().insert(filter, held);
    }

    pub(crate) fn remove(&mut self, filter: &str) -> Option<Held> {
        let removed = self.0.as_mut()?.remove(filter);
        if self.len() == 0 {
            self.0 = None;
        }
        removed
    }

    pub(crate) fn filters(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(filter, _)| filter)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Held)> + Clone {
        self.0.iter().flat_map(|map| map.iter()).map(|(filter, held)| (&**filter, held))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Held)> {
        self.0.iter_mut().flat_map(|map| map.iter_mut()).map(|(filter, held)| (&**filter, held))
    }
}
