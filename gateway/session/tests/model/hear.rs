//! What a client is sent, held against what it had to expect.

use std::num::NonZeroU16;

use portcullis_mqtt::{Packet, ProtocolVersion, Publish, QoS, ReasonCode, decode, frame};

use super::client::{Expected, Held, Number, Owed, Todo};
use super::world::World;

impl World {
    /// Everybody reads what has arrived.
    pub(crate) fn hear_all(&mut self) {
        for client in 0..self.clients.len() {
            self.hear(client);
        }
    }

    pub(crate) fn hear(&mut self, client: usize) {
        let Some(connection) = &mut self.clients[client].connection else { return };
        let mut bytes = std::mem::take(&mut connection.bytes);
        bytes.extend(self.desk.take_output(connection.line));
        let (version, max_packet) = (connection.version, connection.max_packet);
        let mut at = 0;
        while let Some(f) = frame(&bytes, at, u32::MAX).expect("well formed") {
            assert!(f.end - at <= max_packet, "a packet of {} octets to client {client}", f.end - at);
            let packet = decode(version, f.first, &bytes[f.body..f.end]).expect("well formed");
            self.packet(client, &packet);
            at = f.end;
        }
        if let Some(connection) = &mut self.clients[client].connection {
            connection.bytes = bytes[at..].to_vec();
        }
    }

    fn packet(&mut self, client: usize, packet: &Packet<'_>) {
        let Some(c) = self.clients[client].connection.as_mut() else { return };
        let (got, refused) = match packet {
            Packet::Publish(publish) => return self.delivery(client, publish),
            Packet::PubRel(ack) => {
                c.todo.push(Todo::Comp(ack.packet_id.get()));
                return;
            }
            Packet::Disconnect(_) => {
                assert!(c.version == ProtocolVersion::V5, "DISCONNECT to a client that does not know it");
                return;
            }
            Packet::PubAck(a) => (Owed::Ack(0x40, a.packet_id.get(), a.reason.is_error()), a.reason),
            Packet::PubRec(a) => (Owed::Ack(0x50, a.packet_id.get(), a.reason.is_error()), a.reason),
            Packet::PubComp(a) => (Owed::Ack(0x70, a.packet_id.get(), a.reason.is_error()), a.reason),
            Packet::SubAck(a) => (Owed::SubAck(a.packet_id.get(), a.codes.to_vec()), ReasonCode::SUCCESS),
            Packet::UnsubAck(a) => (Owed::UnsubAck(a.packet_id.get()), ReasonCode::SUCCESS),
            Packet::PingResp => (Owed::Pong, ReasonCode::SUCCESS),
            other => panic!("client {client} was sent {other:?}"),
        };
        assert_eq!(c.owed.pop_front(), Some(got), "what client {client} is owed ({})", refused.name());
    }

    fn delivery(&mut self, client: usize, p: &Publish<'_>) {
        let number = match p.payload {
            [] => 0,
            payload => Number::from_be_bytes(payload[..4].try_into().expect("four octets at least")),
        };
        let published = self.messages.get(&number).cloned();
        let c = self.clients[client].connection.as_mut().expect("it is connected");
        let mut topic = p.topic.to_owned();
        if let Some(alias) = p.properties.topic_alias.map(NonZeroU16::get) {
            assert!(alias <= c.topic_alias_maximum, "alias {alias} to client {client}");
            if topic.is_empty() {
                topic = c.named.get(&alias).expect("an alias that was given").clone();
            } else {
                c.named.insert(alias, topic.clone());
            }
        }
        if let Some(message) = &published {
            assert_eq!(message.topic, topic);
            let described = message.described && c.version == ProtocolVersion::V5;
            assert_eq!(p.properties.content_type.is_some(), described, "content type of {number}");
            assert!(p.payload.len() == if message.big { 200 } else { 4 });
            if c.version == ProtocolVersion::V5 {
                assert_eq!(p.properties.message_expiry.is_some(), message.expires.is_some());
            }
            if let (true, false, Some(at)) = (c.prompt, p.dup, message.expires) {
                assert!(at > self.now, "{number} has expired");
                if let Some(left) = p.properties.message_expiry {
                    assert_eq!(u64::from(left), at - self.now, "seconds left of {number}");
                }
            }
        }
        let session = self.clients[client].session.as_mut().expect("it has a session");
        if let Some(id) = p.packet_id.map(portcullis_mqtt::PacketId::get) {
            assert!(c.unacknowledged.insert(id), "identifier {id} is in use on this connection");
            assert!(c.unacknowledged.len() <= c.receive_maximum, "more in flight than client {client} takes");
            let todo = if p.qos == QoS::ExactlyOnce { Todo::Rec(id) } else { Todo::Ack(id) };
            c.todo.push(todo);
            if let Some(held) = session.held.get(&id) {
                assert!(p.dup, "identifier {id} is in flight, and used without DUP");
                assert!(!held.received, "{number} was received already");
                assert_eq!((held.number, held.qos), (number, p.qos), "identifier {id} was another message's");
                return;
            }
            session.held.insert(id, Held { number, qos: p.qos, received: false, waits: false, excused: false });
        }
        let v5 = c.version == ProtocolVersion::V5;
        let mut ids: Vec<u32> = p.properties.subscription_ids.iter().collect();
        ids.sort_unstable();
        let fits = |e: &Expected| {
            let same_ids = !v5 || e.ids == ids;
            e.topic == topic && e.qos == p.qos && e.retain == p.retain && same_ids
        };
        let list = session.expected.entry(number).or_default();
        let direct = list.iter().position(|e| e.must && fits(e)).or_else(|| list.iter().position(fits));
        let stored = direct.map(|at| list.remove(at).stored);
        if stored.is_none() && !self.groups.get_mut(&number).is_some_and(|g| g.receive(client, fits)) {
            panic!(
                "client {client} was sent {number} ({published:?}) as {:?} retain {} ids {ids:?} dup {}; it may expect {list:?}",
                p.qos, p.retain, p.dup
            );
        }
        if number != 0 && stored != Some(true) {
            let publisher = published.as_ref().and_then(|m| m.publisher);
            let topic = published.as_ref().map_or("", |m| m.topic);
            // One message comes once to each group and once directly; each of these is in order. A client that is in several
            // groups gets what they share out in turn, and nothing tells which of them a message came from: topics are
            // ordered for subscriptions that are not shared (MQTT-4.6.0-7).
            let of_several = direct.is_none() && self.groups.get(&number).is_some_and(|g| g.with(client) > 1);
            let last = session.last.insert((publisher, topic, p.qos, direct.is_some()), number);
            let ordered = publisher.is_some() && !of_several;
            assert!(!ordered || last.is_none_or(|l| l <= number), "{number} came after {last:?}");
        }
    }
}
