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
    /// By the filter as the client wrote it, `$share/…` included. Filters come from strangers: the seed is random.
    pub subscriptions: HashMap<Box<str>, Held, foldhash::quality::RandomState>,
    /// Identifiers of QoS 2 messages that were received and not yet released.
    pub unreleased: Identifiers,
    /// Seconds that it lives on after its connection. 0: it ends with it.
    pub expiry: u32,
}
