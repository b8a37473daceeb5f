//! What ought to happen: sessions, subscriptions, retained messages and wills as the specification has them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use portcullis_mqtt::{ProtocolVersion, QoS};
use portcullis_session::ListenerRules;
use portcullis_store::{Options, Store};

use super::client::{Client, Connection, Expected, Number, Owed, Published, Session, Subscribed, Todo, WillModel};
use super::topics::{Role, matches};
use crate::desk::Desk;

/// Unreleased QoS 2 messages that the gateway takes from a client.
pub(crate) const UNRELEASED: usize = 4;
/// Seconds; the longest session expiry.
pub(crate) const LONGEST_EXPIRY: u64 = 3601;

/// Where one message goes by shared subscriptions: each group has it given to one of its candidates. Which group it was
/// that a client got it from cannot always be told.
#[derive(Default)]
pub(crate) struct ToGroups {
    pub(crate) groups: Vec<BTreeMap<usize, Expected>>,
    /// For each delivery the groups that it may have come from.
    pub(crate) received: Vec<Vec<usize>>,
}

impl ToGroups {
    /// Notes a delivery to `client`. False: no group has given it, whichever gave the others.
    pub(crate) fn receive(&mut self, client: usize, fits: impl Fn(&Expected) -> bool) -> bool {
        let from = (0..self.groups.len()).filter(|g| self.groups[*g].get(&client).is_some_and(&fits)).collect();
        self.received.push(from);
        self.assigned(&self.received, self.groups.len()) == self.received.len()
    }

    /// How many of the groups the client was in.
    pub(crate) fn with(&self, client: usize) -> usize {
        self.groups.iter().filter(|group| group.contains_key(&client)).count()
    }

    /// Whether no group was left out that had to give it to somebody.
    pub(crate) fn complete(&self) -> bool {
        let due = (0..self.groups.len()).filter(|g| self.groups[*g].values().all(|e| e.must));
        let came = |g: usize| (0..self.received.len()).filter(|r| self.received[*r].contains(&g)).collect();
        let due: Vec<Vec<usize>> = due.map(came).collect();
        self.assigned(&due, self.received.len()) == due.len()
    }

    /// How many of `from` can have a place of their own among those that each may have.
    fn assigned(&self, from: &[Vec<usize>], places: usize) -> usize {
        fn place(at: usize, from: &[Vec<usize>], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
            from[at].iter().any(|p| {
                if std::mem::replace(&mut tried[*p], true) {
                    return false;
                }
                let free = taken[*p].is_none_or(|other| place(other, from, taken, tried));
                if free {
                    taken[*p] = Some(at);
                }
                free
            })
        }
        let mut taken = vec![None; places];
        (0..from.len()).filter(|at| place(*at, from, &mut taken, &mut vec![false; places])).count()
    }

    /// Nobody can tell any more whether it has to arrive.
    fn excuse(&mut self, mut which: impl FnMut(&BTreeMap<usize, Expected>) -> bool) {
        for group in self.groups.iter_mut().filter(|g| which(g)) {
            group.values_mut().for_each(|e| e.must = false);
        }
    }
}

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

    /// The session is over.
    pub(crate) fn forget(&mut self, client: usize) {
        if let Some(session) = self.clients[client].session.take() {
            // It may have been the one that was chosen.
            self.groups.values_mut().for_each(|groups| groups.excuse(|g| g.contains_key(&client)));
            if let Some((will, _)) = session.will {
                self.publish_will(&will);
            }
        }
    }

    fn publish_will(&mut self, will: &WillModel) {
        self.publish(will.number, will.topic, will.qos, will.retain, None);
    }

    /// The connection ended. `will`: without a word.
    pub(crate) fn leave(&mut self, client: usize, will: bool) {
        let Some(connection) = self.clients[client].connection.take() else { return };
        let now = self.now;
        let Some(session) = &mut self.clients[client].session else { return };
        // What was not read yet at QoS 0 is gone.
        for list in session.expected.values_mut() {
            list.retain(|e| e.qos > QoS::AtMostOnce);
        }
        for groups in self.groups.values_mut() {
            groups.excuse(|g| g.get(&client).is_some_and(|e| e.qos == QoS::AtMostOnce));
        }
        let pending = connection.will.filter(|_| will);
        if connection.expiry == 0 {
            self.forget(client);
            if let Some(will) = pending {
                self.publish_will(&will);
            }
            return;
        }
        session.ends = Some(now + connection.expiry);
        match pending {
            Some(will) if will.delay > 0 => {
                let at = now + will.delay.min(connection.expiry);
                session.will = Some((will, at));
            }
            Some(will) => self.publish_will(&will),
            None => {}
        }
    }

    /// The gateway is gone for `seconds`, and every connection with it. None: it cannot be said what ought to come of that.
    ///
    /// What was due meanwhile happens when it is back, in any order: of several wills for one topic any may be the one that
    /// is retained.
    pub(crate) fn restart(&mut self, seconds: u64) -> Option<()> {
        let wills = self.clients.iter().flat_map(|client| {
            let absent = client.session.iter().filter_map(|s| s.will.as_ref().map(|(will, _)| will));
            client.connection.iter().filter_map(|c| c.will.as_ref()).chain(absent)
        });
        if wills.filter(|will| will.retain).count() > 1 {
            return None;
        }
        let back = self.now + seconds;
        for client in 0..self.clients.len() {
            let Some(connection) = self.clients[client].connection.take() else { continue };
            if connection.expiry == 0 && connection.will.is_none() {
                self.forget(client);
                continue;
            }
            let Some(session) = &mut self.clients[client].session else { continue };
            for list in session.expected.values_mut() {
                list.retain(|e| e.qos > QoS::AtMostOnce);
            }
            for groups in self.groups.values_mut() {
                groups.excuse(|g| g.get(&client).is_some_and(|e| e.qos == QoS::AtMostOnce));
            }
            // As far as anybody can tell it was lost when the gateway came back.
            session.ends = Some(back + connection.expiry);
            session.will = connection.will.map(|will| {
                let at = back + will.delay.min(connection.expiry);
                (will, at)
            });
        }
        self.now = back;
        // Until the client is back, nobody knows what its grant denies.
        for client in &mut self.clients {
            if let Some(session) = &mut client.session {
                session.role = None;
                session.held.values_mut().for_each(|held| held.waits = !held.received);
            }
        }
        for client in 0..self.clients.len() {
            if let Some(session) = &mut self.clients[client].session
                && let Some((will, _)) = session.will.take_if(|(_, at)| *at <= back)
            {
                self.publish_will(&will);
            }
        }
        for client in 0..self.clients.len() {
            if self.clients[client].session.as_ref().is_some_and(|s| s.ends.is_some_and(|ends| ends <= back)) {
                self.forget(client);
            }
        }
        self.pass(0);
        Some(())
    }

    /// The session that a CONNECT gets. True: it was there.
    pub(crate) fn open(&mut self, client: usize, clean: bool) -> bool {
        let present = self.clients[client].session.is_some() && !clean;
        if clean {
            self.forget(client);
        }
        let session = self.clients[client].session.get_or_insert_default();
        session.will = None;
        session.ends = None;
        present
    }

    /// Seconds pass.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.now;
        let mut due: Vec<(u64, usize, bool)> = Vec::new();
        for (at, client) in self.clients.iter_mut().enumerate() {
            if let Some(session) = &client.session {
                due.extend(session.will.iter().filter(|w| w.1 <= now).map(|w| (w.1, at, false)));
                due.extend(session.ends.iter().filter(|ends| **ends <= now).map(|ends| (*ends, at, true)));
            }
        }
        due.sort_unstable();
        for (_, client, ends) in due {
            if ends {
                self.forget(client);
            } else if let Some((will, _)) = self.clients[client].session.as_mut().and_then(|s| s.will.take()) {
                self.publish_will(&will);
            }
        }
        for (number, message) in &self.messages {
            if message.expires.is_some_and(|at| at <= now) {
                for client in &mut self.clients {
                    let session = client.session.iter_mut();
                    session.flat_map(|s| s.expected.get_mut(number)).flatten().for_each(|e| e.must = false);
                }
                self.groups.entry(*number).or_default().excuse(|_| true);
            }
        }
        let messages = &self.messages;
        self.retained.retain(|_, number| messages[number].expires.is_none_or(|at| at > now));
        for client in &mut self.clients {
            let Some(c) = &mut client.connection else { continue };
            if c.grant_ends.is_some_and(|at| at <= now) {
                c.doomed = Some("its grant ended");
            } else if c.silence.is_some_and(|s| c.heard + s <= now) {
                c.doomed = Some("it was silent");
            }
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
