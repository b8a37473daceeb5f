//! What ought to happen: sessions, subscriptions, retained messages and wills as the specification has them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use portcullis_mqtt::QoS;
use portcullis_session::ListenerRules;
use portcullis_store::{Options, Store};

use super::client::{Client, Connection, Expected, Number, Published, Subscribed};
use super::groups::ToGroups;
use super::topics::{Role, matches};
use crate::desk::Desk;

/// Unreleased QoS 2 messages that the gateway takes from a client.
pub(crate) const UNRELEASED: usize = 4;
/// Seconds; the longest session expiry.
pub(crate) const LONGEST_EXPIRY: u64 = 3601;

pub(crate) struct World {
    pub desk: Desk,
    /// Sessions are kept, and outlive the gateway.
    pub stored: bool,
    pub clients: [Client; 4],
    pub messages: BTreeMap<Number, Published>,
    pub next: Number,
    pub retained: BTreeMap<&'static str, Number>,
    pub(crate) groups: BTreeMap<Number, ToGroups>,
    /// Seconds.
    pub now: u64,
    /// Retained messages of the gateway's own, `$SYS`.
    pub(crate) own: usize,
    /// Whoever connects now is nobody that the model knows.
    pub strange: Rc<Cell<bool>>,
    /// What was done so far; kept where the variable `STORY` is set, and told when something is wrong.
    story: Option<Vec<String>>,
}

#[allow(clippy::print_stderr, reason = "whoever looks for what is wrong asked for it")]
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.story.iter().flatten().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// The share name, if any, and the filter.
pub(crate) fn split(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((share, inner)) => (Some(share), inner),
        None => (None, filter),
    }
}

impl World {
    /// `stored`: sessions are kept, and outlive the gateway.
    pub(crate) fn new(stored: bool) -> Self {
        let rules = ListenerRules {
            receive_maximum: UNRELEASED as u16,
            session_expiry_max: LONGEST_EXPIRY as u32,
            topic_alias_maximum: 8,
            ..ListenerRules::default()
        };
        let store = stored.then(|| Store::in_memory(Options::default()).expect("a store in memory"));
        let mut desk = Desk::on(store, rules);
        desk.pass(1);
        Self {
            own: desk.broker.retained().0,
            desk,
            stored,
            clients: Default::default(),
            messages: BTreeMap::new(),
            next: 1,
            retained: BTreeMap::new(),
            groups: BTreeMap::new(),
            now: 0,
            strange: Rc::default(),
            story: std::env::var_os("STORY").map(|_| Vec::new()),
        }
    }

    pub(crate) fn connection(&mut self, client: usize) -> Option<&mut Connection> {
        self.clients[client].connection.as_mut()
    }

    /// Adds a line to the story.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(line());
        }
    }

    /// Numbers a message.
    pub(crate) fn number(&mut self, message: Published) -> Number {
        let number = self.next;
        self.next += 1;
        self.messages.insert(number, message);
        number
    }

    fn alive(&self, number: Number) -> bool {
        self.messages.get(&number).is_none_or(|m| m.expires.is_none_or(|at| at > self.now))
    }

    /// A message was published: what is retained, and who has to expect it. Number 0 has no payload.
    pub(crate) fn publish(
        &mut self,
        number: Number,
        topic: &'static str,
        qos: QoS,
        retain: bool,
        publisher: Option<usize>,
    ) {
        if retain {
            if number == 0 {
                self.retained.remove(topic);
            } else {
                self.retained.insert(topic, number);
            }
        }
        let big = self.messages.get(&number).is_some_and(|m| m.big);
        let mut groups: BTreeMap<String, BTreeMap<usize, Expected>> = BTreeMap::new();
        for (at, client) in self.clients.iter_mut().enumerate() {
            let online = client.connection.is_some();
            let Some(session) = &mut client.session else { continue };
            let receives = session.role.is_none_or(|r| r.may_receive(topic));
            let own = publisher == Some(at);
            let fits = !(big && session.small);
            let mut direct: Option<Expected> = None;
            for (filter, held) in &session.subscriptions {
                let (share, inner) = split(filter);
                if !matches(inner, topic) || !receives || (own && held.no_local) {
                    continue;
                }
                let qos = held.granted.min(qos);
                let expected = Expected {
                    topic,
                    qos,
                    retain: retain && held.as_published,
                    ids: held.id.into_iter().collect(),
                    stored: false,
                    must: fits && (online || qos > QoS::AtMostOnce),
                };
                match (share, &mut direct) {
                    (Some(_), _) => {
                        // Without a number nobody can tell which of them came to whom.
                        let expected = Expected { must: expected.must && number != 0, ..expected };
                        groups.entry(filter.clone()).or_default().insert(at, expected);
                    }
                    (None, Some(direct)) => {
                        direct.qos = direct.qos.max(qos);
                        direct.retain |= expected.retain;
                        direct.must |= expected.must;
                        direct.ids.extend(expected.ids);
                        direct.ids.sort_unstable();
                    }
                    (None, none) => *none = Some(expected),
                }
            }
            // At QoS 0 nothing waits for those who are away.
            session.expected.entry(number).or_default().extend(direct.filter(|d| online || d.qos > QoS::AtMostOnce));
        }
        if !groups.is_empty() {
            self.groups.entry(number).or_default().groups.extend(groups.into_values());
        }
    }

    /// One filter of a SUBSCRIBE. Returns the code of SUBACK, and the retained messages that go with it.
    pub(crate) fn subscribe(
        &mut self,
        client: usize,
        filter: &str,
        held: Subscribed,
        send_retained: impl FnOnce(bool) -> bool,
    ) -> (u8, Vec<(Number, Expected)>) {
        let role = self.clients[client].connection.as_ref().map_or(Role::Full, |c| c.role);
        let (share, inner) = split(filter);
        let Some(most) = role.may_subscribe(inner) else { return (0x87, Vec::new()) };
        let granted = held.requested.min(most);
        let mut found = Vec::new();
        let Some(session) = &mut self.clients[client].session else { return (0x80, found) };
        let (id, small) = (held.id, session.small);
        let new = session.subscriptions.insert(filter.to_owned(), Subscribed { granted, ..held }).is_none();
        if share.is_none() && send_retained(new) {
            for (topic, number) in &self.retained {
                if matches(inner, topic) && role.may_receive(topic) && self.alive(*number) {
                    let message = &self.messages[number];
                    found.push((
                        *number,
                        Expected {
                            topic,
                            qos: message.qos.min(granted),
                            retain: true,
                            ids: id.into_iter().collect(),
                            stored: true,
                            must: !(message.big && small),
                        },
                    ));
                }
            }
        }
        (granted as u8, found)
    }

    /// The session's subscriptions and queue under another grant.
    pub(crate) fn regrant(&mut self, client: usize, role: Role) {
        for groups in self.groups.values_mut() {
            // It may have been the one that was chosen.
            groups.excuse(|g| g.get(&client).is_some_and(|e| !role.may_receive(e.topic)));
        }
        let client = &mut self.clients[client];
        if let Some(connection) = &mut client.connection {
            connection.role = role;
            connection.grant_ends = (role == Role::Short).then_some(self.now + super::topics::SHORT);
            if connection.will.as_ref().is_some_and(|w| !role.may_publish(w.topic, w.qos)) {
                connection.will = None;
            }
        }
        let Some(session) = &mut client.session else { return };
        session.role = Some(role);
        session.subscriptions.retain(|filter, held| match role.may_subscribe(split(filter).1) {
            Some(most) => {
                held.granted = held.requested.min(most);
                true
            }
            None => false,
        });
        for expected in session.expected.values_mut().flatten() {
            expected.must &= role.may_receive(expected.topic);
        }
        for held in session.held.values_mut().filter(|held| held.waits) {
            // Of those without a number nobody knows the topic.
            held.excused |= self.messages.get(&held.number).is_none_or(|m| !role.may_receive(m.topic));
        }
    }

    /// What is large does not reach this client any more.
    pub(crate) fn excuse_large(&mut self, client: usize) {
        let big = |n: &Number| self.messages.get(n).is_some_and(|m| m.big);
        for (_, groups) in self.groups.iter_mut().filter(|(n, _)| big(n)) {
            groups.excuse(|g| g.contains_key(&client));
        }
        let Some(session) = &mut self.clients[client].session else { return };
        // What is too large is done with, even where it was sent before (MQTT 5 §3.1.2.11.4).
        session.held.values_mut().for_each(|held| held.excused |= big(&held.number));
        for (_, list) in session.expected.iter_mut().filter(|(n, _)| big(n)) {
            list.iter_mut().for_each(|e| e.must = false);
        }
    }

    /// Whether the number of unreleased messages leaves room for this one, and whether it is new.
    pub(crate) fn receive_qos_2(&mut self, client: usize, id: u16) -> Received {
        let Some(session) = &mut self.clients[client].session else { return Received::TooMany };
        if session.unreleased.contains(&id) {
            return Received::Known;
        }
        if session.unreleased.len() >= UNRELEASED {
            return Received::TooMany;
        }
        session.unreleased.insert(id);
        Received::New
    }
}

pub(crate) enum Received {
    New,
    Known,
    TooMany,
}
