//! Subscribing, and what comes of it.

use portcullis_mqtt::{Packet, Publish, QoS, Subscribe, SubscribeFilter, SubscribeOptions, UserProperties};

use super::client::{Client, Got, ack, packet_id};

impl Client {
    /// SUBSCRIBE with the identifier that is given, and nothing awaited.
    pub fn send_subscribe(&mut self, filter: &str, qos: QoS) -> u16 {
        let filters = [SubscribeFilter { filter, options: SubscribeOptions::new(qos) }];
        let id = self.id();
        self.encode(Packet::Subscribe(Subscribe {
            packet_id: packet_id(id),
            subscription_id: None,
            user: UserProperties::EMPTY,
            filters: portcullis_mqtt::SubscribeFilters::from_slice(&filters),
        }));
        id
    }

    pub fn subscribe_code(&mut self, filter: &str, qos: QoS) -> u8 {
        let id = self.send_subscribe(filter, qos);
        self.packet(|p| match p {
            Packet::SubAck(ack) => {
                assert_eq!(ack.packet_id.get(), id);
                ack.codes[0]
            }
            other => panic!("{other:?} instead of SUBACK"),
        })
    }

    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        assert_eq!(self.subscribe_code(filter, qos), qos as u8);
    }

    /// The next message, acknowledged.
    pub fn message(&mut self) -> Got {
        let got = self.message_unacknowledged();
        let Some(id) = got.id else { return got };
        if got.qos == QoS::AtLeastOnce {
            self.encode(Packet::PubAck(ack(id.get())));
        } else {
            self.encode(Packet::PubRec(ack(id.get())));
            self.await_release(id.get());
            self.encode(Packet::PubComp(ack(id.get())));
        }
        got
    }

    /// Waits for a PUBREL; messages on the way are kept.
    fn await_release(&mut self, id: u16) {
        loop {
            let early = self.packet(|p| match p {
                Packet::PubRel(a) if a.packet_id.get() == id => None,
                Packet::Publish(m) => Some(got(&m)),
                other => panic!("{other:?} instead of PUBREL"),
            });
            match early {
                Some(message) => self.early.push_back(message),
                None => return,
            }
        }
    }

    /// The next message, of QoS 2, answered with PUBREC and not further: the PUBREL that comes is left lying.
    pub fn message_received(&mut self) -> Got {
        let got = self.message_unacknowledged();
        self.encode(Packet::PubRec(ack(got.id())));
        self.await_release(got.id());
        got
    }

    /// A PUBREL, answered.
    pub fn expect_release(&mut self, id: u16) {
        self.await_release(id);
        self.encode(Packet::PubComp(ack(id)));
    }

    pub fn message_unacknowledged(&mut self) -> Got {
        if let Some(message) = self.early.pop_front() {
            return message;
        }
        self.packet(|p| match p {
            Packet::Publish(m) => got(&m),
            other => panic!("{other:?} instead of a message"),
        })
    }
}

fn got(m: &Publish<'_>) -> Got {
    Got {
        topic: m.topic.to_owned(),
        payload: m.payload.to_vec(),
        qos: m.qos,
        retain: m.retain,
        dup: m.dup,
        id: m.packet_id,
    }
}
