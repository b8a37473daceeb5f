//! One client as the model sees it: what it said, what it was sent, what it is owed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use portcullis_mqtt::{ProtocolVersion, QoS};

use super::topics::Role;

/// The number of a message; 0 is every message without a payload.
pub(crate) type Number = u32;

/// A message, as it was published.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub topic: &'static str,
    /// Whose, for the order; wills are nobody's.
    pub publisher: Option<usize>,
    pub qos: QoS,
    /// It has a content type.
    pub described: bool,
    /// It has a long payload.
    pub big: bool,
    /// Seconds of the model's time.
    pub expires: Option<u64>,
}

/// A delivery that a session has to expect.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub topic: &'static str,
    pub qos: QoS,
    pub retain: bool,
    /// Sorted; one for each subscription, the same twice if two have the same.
    pub ids: Vec<u32>,
    /// Because of SUBSCRIBE, not of PUBLISH: its place among others is not fixed.
    pub stored: bool,
    /// Whether its absence is a mistake.
    pub must: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub requested: QoS,
    pub granted: QoS,
    pub no_local: bool,
    pub as_published: bool,
    pub id: Option<u32>,
}

/// A message that was sent to the client and whose exchange it has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub number: Number,
    pub qos: QoS,
    /// PUBREC was sent.
    pub received: bool,
    /// The gateway was restarted since: it waits with what was not sent yet, and is held to a new grant as that is.
    pub waits: bool,
    /// It may be done with, because it was too large for a connection since, or denied by a grant while it waited.
    pub excused: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct WillModel {
    pub number: Number,
    pub topic: &'static str,
    pub qos: QoS,
    pub retain: bool,
    pub delay: u64,
}

/// What outlives a connection.
#[derive(Default)]
pub(crate) struct Session {
    /// By the filter as it was written, with its share.
    pub subscriptions: BTreeMap<String, Subscribed>,
    pub role: Option<Role>,
    /// QoS 2 identifiers that the gateway must remember.
    pub unreleased: BTreeSet<u16>,
    pub expected: BTreeMap<Number, Vec<Expected>>,
    pub held: BTreeMap<u16, Held>,
    /// The last first delivery by publisher, topic, quality of service, and whether it came directly.
    pub last: BTreeMap<(Option<usize>, &'static str, QoS, bool), Number>,
    /// It had a connection that takes small packets only.
    pub small: bool,
    pub will: Option<(WillModel, u64)>,
    pub ends: Option<u64>,
}

/// What the gateway has to answer, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// First octet, identifier, whether it is refused.
    Ack(u8, u16, bool),
    SubAck(u16, Vec<u8>),
    UnsubAck(u16),
    Pong,
}

/// An acknowledgement that the client has not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    Ack(u16),
    Rec(u16),
    Comp(u16),
}

/// A live connection.
pub(crate) struct Connection {
    pub line: usize,
    pub version: ProtocolVersion,
    pub role: Role,
    pub receive_maximum: usize,
    pub max_packet: usize,
    /// Seconds of silence that end it.
    pub silence: Option<u64>,
    pub heard: u64,
    pub grant_ends: Option<u64>,
    pub expiry: u64,
    pub asked_zero: bool,
    pub will: Option<WillModel>,
    pub aliases: BTreeSet<&'static str>,
    /// How many the client takes.
    pub topic_alias_maximum: u16,
    /// Topics by the alias that the gateway gave them.
    pub named: BTreeMap<u16, String>,
    pub owed: VecDeque<Owed>,
    pub todo: Vec<Todo>,
    /// Identifiers that count against the receive maximum.
    pub unacknowledged: BTreeSet<u16>,
    /// Its socket was never full: what arrives was sent just now.
    pub prompt: bool,
    pub bytes: Vec<u8>,
    /// Why the gateway has to end it.
    pub doomed: Option<&'static str>,
}

#[derive(Default)]
pub(crate) struct Client {
    pub connection: Option<Connection>,
    pub session: Option<Session>,
}

/// A fresh connection, before its CONNACK.
pub(crate) fn connection(line: usize, version: ProtocolVersion, role: Role, now: u64) -> Connection {
    Connection {
        line,
        version,
        role,
        receive_maximum: usize::from(u16::MAX),
        max_packet: usize::MAX,
        silence: None,
        heard: now,
        grant_ends: None,
        expiry: 0,
        asked_zero: true,
        will: None,
        aliases: BTreeSet::new(),
        topic_alias_maximum: 0,
        named: BTreeMap::new(),
        owed: Vec::<Owed>::new().into(),
        todo: Vec::<Todo>::new(),
        unacknowledged: BTreeSet::new(),
        prompt: true,
        bytes: Vec::new(),
        doomed: None,
    }
}

impl Session {
    /// Whether something that must come has not come.
    pub(crate) fn missing(&self) -> Option<(Number, &Expected)> {
        self.expected.iter().find_map(|(n, list)| list.iter().find(|e| e.must).map(|e| (*n, e)))
    }
}
