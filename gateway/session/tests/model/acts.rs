//! What connected clients do: subscribe, publish, acknowledge.

use std::num::NonZeroU16;

use portcullis_mqtt::{
    Ack, Packet, ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Subscribe,
    SubscribeFilter, SubscribeFilters, SubscribeOptions, Unsubscribe, UnsubscribeFilters, UserProperties,
};

use super::client::{Owed, Published, Subscribed, Todo};
use super::events::{Dice, id};
use super::topics::{FILTERS, Role, TOPICS};
use super::world::{Received, World};

impl World {
    pub(crate) fn on_subscribe(&mut self, client: usize, dice: &mut Dice<'_>) {
        let Some(c) = self.connection(client) else { return };
        let v5 = c.version == ProtocolVersion::V5;
        let subscription_id = Some(u32::from(dice.below(4))).filter(|n| v5 && *n > 0);
        let mut names = Vec::new();
        for _ in 0..=dice.below(2) {
            let filter = dice.of(&FILTERS);
            let shared = dice.below(4) == 3;
            let options = SubscribeOptions {
                qos: dice.qos(),
                no_local: v5 && !shared && dice.coin(),
                retain_as_published: v5 && dice.coin(),
                retain_handling: if v5 {
                    dice.of(&[RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend])
                } else {
                    RetainHandling::Send
                },
            };
            names.push((if shared { format!("$share/g/{filter}") } else { filter.to_owned() }, options));
        }
        let mut codes = Vec::new();
        let mut stored = Vec::new();
        for (filter, options) in &names {
            let held = Subscribed {
                requested: options.qos,
                granted: options.qos,
                no_local: options.no_local,
                as_published: options.retain_as_published,
                id: subscription_id,
            };
            let (code, found) = self.subscribe(client, filter, held, |new| match options.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => new,
                RetainHandling::DoNotSend => false,
            });
            codes.push(if code >= 0x80 && !v5 { 0x80 } else { code });
            stored.extend(found);
        }
        if let Some(session) = &mut self.clients[client].session {
            for (number, expected) in stored {
                session.expected.entry(number).or_default().push(expected);
            }
        }
        self.owe(client, Owed::SubAck(77, codes));
        let filters: Vec<SubscribeFilter<'_>> =
            names.iter().map(|(filter, options)| SubscribeFilter { filter, options: *options }).collect();
        self.send(
            client,
            &Packet::Subscribe(Subscribe {
                packet_id: id(77),
                subscription_id,
                user: UserProperties::EMPTY,
                filters: SubscribeFilters::from_slice(&filters),
            }),
        );
    }

    pub(crate) fn on_unsubscribe(&mut self, client: usize, dice: &mut Dice<'_>) {
        let filter = dice.of(&FILTERS);
        let filter = if dice.below(4) == 3 { format!("$share/g/{filter}") } else { filter.to_owned() };
        if let Some(session) = &mut self.clients[client].session {
            session.subscriptions.remove(&filter);
        }
        self.owe(client, Owed::UnsubAck(78));
        self.send(
            client,
            &Packet::Unsubscribe(Unsubscribe {
                packet_id: id(78),
                user: UserProperties::EMPTY,
                filters: UnsubscribeFilters::from_slice(&[&filter]),
            }),
        );
    }

    pub(crate) fn on_publish(&mut self, client: usize, dice: &mut Dice<'_>) {
        // The store's writer, which sends what waited for it, has a clock that no test moves forward.
        let lasting = self.stored;
        let Some(c) = self.connection(client) else { return };
        let (v5, role) = (c.version == ProtocolVersion::V5, c.role);
        let (topic, qos, retain) = (dice.of(&TOPICS), dice.qos(), dice.below(3) == 2);
        let dup = qos > QoS::AtMostOnce && dice.below(4) == 3;
        let count = u16::from(dice.below(6)) + 1;
        let first = u16::from(dice.below(6)) + 1;
        let (big, empty) = (dice.below(4) == 3, dice.below(6) == 5);
        // Those without a payload have no number to remember a time under.
        let expiry = dice.of(&[None, None, Some(5), Some(61)]).filter(|_| v5 && !empty && !lasting);
        let described = v5 && dice.coin();
        let alias = NonZeroU16::new(TOPICS.iter().position(|t| *t == topic).unwrap_or(0) as u16 + 1)
            .filter(|_| v5 && dice.below(3) == 2);
        let known_alias = alias.is_some() && !c.aliases.insert(topic);
        let mut payloads = Vec::new();
        for i in 0..count {
            let expires = expiry.map(|s| self.now + u64::from(s));
            let message = Published { topic, publisher: Some(client), qos, described, big, expires };
            let number = if empty { 0 } else { self.number(message) };
            let mut payload = if empty { Vec::new() } else { number.to_be_bytes().to_vec() };
            payload.resize(
                if empty {
                    0
                } else if big {
                    200
                } else {
                    4
                },
                b'x',
            );
            payloads.push(payload);
            if self.connection(client).is_some_and(|c| c.doomed.is_none()) {
                self.one_publish(client, number, topic, qos, retain, first + i, role);
            }
        }
        let packets: Vec<Packet<'_>> = payloads
            .iter()
            .enumerate()
            .map(|(i, payload)| {
                Packet::Publish(Publish {
                    dup,
                    qos,
                    retain,
                    topic: if known_alias { "" } else { topic },
                    packet_id: (qos > QoS::AtMostOnce).then(|| id(first + i as u16)),
                    properties: PublishProperties {
                        message_expiry: expiry,
                        topic_alias: alias,
                        content_type: described.then_some("text"),
                        ..PublishProperties::default()
                    },
                    payload,
                })
            })
            .collect();
        self.send_all(client, &packets);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a PUBLISH")]
    fn one_publish(
        &mut self,
        client: usize,
        number: u32,
        topic: &'static str,
        qos: QoS,
        retain: bool,
        id: u16,
        role: Role,
    ) {
        let v5 = self.connection(client).is_some_and(|c| c.version == ProtocolVersion::V5);
        let allowed = role.may_publish(topic, qos);
        let kind = if qos == QoS::ExactlyOnce { 0x50 } else { 0x40 };
        let known = self.clients[client].session.as_ref().is_some_and(|s| s.unreleased.contains(&id));
        if qos == QoS::ExactlyOnce && (allowed || known) {
            match self.receive_qos_2(client, id) {
                Received::New => self.publish(number, topic, qos, retain, Some(client)),
                Received::Known => {}
                Received::TooMany => {
                    if let Some(c) = self.connection(client) {
                        c.doomed = Some("too many unreleased");
                    }
                    return;
                }
            }
            self.owe(client, Owed::Ack(kind, id, false));
            return;
        }
        if allowed {
            self.publish(number, topic, qos, retain, Some(client));
        }
        if qos > QoS::AtMostOnce {
            self.owe(client, Owed::Ack(kind, id, v5 && !allowed));
        }
    }

    pub(crate) fn on_acknowledge(&mut self, client: usize, dice: &mut Dice<'_>) {
        let (which, refuse) = (dice.below(8), dice.below(8) == 7);
        for _ in 0..=dice.below(4) {
            let Some(c) = self.connection(client) else { return };
            if c.todo.is_empty() {
                return;
            }
            let todo = c.todo.remove(usize::from(which) % c.todo.len());
            self.acknowledge(client, todo, refuse);
            self.hear(client);
        }
    }

    pub(crate) fn acknowledge(&mut self, client: usize, todo: Todo, refuse: bool) {
        let held = &mut self.clients[client].session.as_mut().expect("it has a session").held;
        let c = self.clients[client].connection.as_mut().expect("it is connected");
        let ok = |n| Ack::new(id(n), ReasonCode::SUCCESS);
        let packet = match todo {
            Todo::Ack(n) => {
                held.remove(&n);
                c.unacknowledged.remove(&n);
                Packet::PubAck(ok(n))
            }
            Todo::Rec(n) if refuse && c.version == ProtocolVersion::V5 => {
                held.remove(&n);
                c.unacknowledged.remove(&n);
                Packet::PubRec(Ack::new(id(n), ReasonCode::QUOTA_EXCEEDED))
            }
            Todo::Rec(n) => {
                held.get_mut(&n).expect("it is in flight").received = true;
                Packet::PubRec(ok(n))
            }
            Todo::Comp(n) => {
                if held.get(&n).is_some_and(|h| h.received) {
                    held.remove(&n);
                    c.unacknowledged.remove(&n);
                }
                Packet::PubComp(ok(n))
            }
        };
        self.send(client, &packet);
    }

    /// Acknowledgements of what is not in flight, or awaits another packet: they change nothing.
    pub(crate) fn on_wrong_acknowledgement(&mut self, client: usize, dice: &mut Dice<'_>) {
        let session = self.clients[client].session.as_ref().expect("it has a session");
        let n = match session.held.iter().nth(usize::from(dice.below(4))) {
            Some((n, held)) if held.qos == QoS::ExactlyOnce && !held.received => {
                let ack = Ack::new(id(*n), ReasonCode::SUCCESS);
                let packet = if dice.coin() { Packet::PubAck(ack) } else { Packet::PubComp(ack) };
                return self.send(client, &packet);
            }
            _ => 60_000 + u16::from(dice.below(100)),
        };
        let ack = Ack::new(id(n), ReasonCode::SUCCESS);
        let mut packets = vec![match dice.below(3) {
            0 => Packet::PubAck(ack),
            1 => Packet::PubRec(ack),
            _ => Packet::PubComp(ack),
        }];
        // A right one right behind it counts.
        let c = self.clients[client].connection.as_mut().expect("it is connected");
        if let Some(at) = c.todo.iter().position(|t| matches!(t, Todo::Ack(_)))
            && let Todo::Ack(n) = c.todo.remove(at)
        {
            c.unacknowledged.remove(&n);
            self.clients[client].session.as_mut().expect("it has one").held.remove(&n);
            packets.push(Packet::PubAck(Ack::new(id(n), ReasonCode::SUCCESS)));
        }
        self.send_all(client, &packets);
    }

    pub(crate) fn on_release(&mut self, client: usize, dice: &mut Dice<'_>) {
        let n = u16::from(dice.below(12)) + 1;
        let v5 = self.connection(client).is_some_and(|c| c.version == ProtocolVersion::V5);
        let known = self.clients[client].session.as_mut().is_some_and(|s| s.unreleased.remove(&n));
        self.owe(client, Owed::Ack(0x70, n, v5 && !known));
        self.send(client, &Packet::PubRel(Ack::new(id(n), ReasonCode::SUCCESS)));
    }
}
