//! Publishing, as far as a test wants it to go.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::time::Duration;

use portcullis_mqtt::{Packet, Publish, PublishProperties, QoS, ReasonCode, decode, frame};

use super::client::{Client, Kind, ack, packet_id};

impl Client {
    fn publish_packet(&self, topic: &str, qos: QoS, retain: bool, id: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let packet_id = (qos != QoS::AtMostOnce).then(|| packet_id(id));
        let properties = PublishProperties::default();
        Packet::Publish(Publish { dup: false, qos, retain, topic, packet_id, properties, payload })
            .encode(self.version, &mut out)
            .unwrap();
        out
    }

    /// Publishes and goes through the whole exchange, which must end well.
    pub fn publish(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        let id = self.id();
        let packet = self.publish_packet(topic, qos, false, id, payload);
        self.send(&packet);
        self.exchange(qos, id);
    }

    fn exchange(&mut self, qos: QoS, id: u16) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => match self.packet_kind() {
                Kind::PubAck(i, reason) if i == id && !reason.is_error() => {}
                other => panic!("{other:?}"),
            },
            QoS::ExactlyOnce => {
                assert_eq!(self.packet_kind(), Kind::PubRec(id));
                self.release(id);
            }
        }
    }

    pub fn release(&mut self, id: u16) {
        self.encode(Packet::PubRel(ack(id)));
        assert_eq!(self.packet_kind(), Kind::PubComp(id));
    }

    pub fn publish_retained(&mut self, topic: &str, payload: &[u8]) {
        let id = self.id();
        let packet = self.publish_packet(topic, QoS::AtLeastOnce, true, id, payload);
        self.send(&packet);
        self.exchange(QoS::AtLeastOnce, id);
    }

    pub fn publish_aliased(&mut self, topic: &str, alias: u16, payload: &[u8]) {
        let mut out = Vec::new();
        let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..PublishProperties::default() };
        let publish =
            Publish { dup: false, qos: QoS::AtMostOnce, retain: false, topic, packet_id: None, properties, payload };
        Packet::Publish(publish).encode(self.version, &mut out).unwrap();
        self.send(&out);
    }

    /// `count` messages in one write; the payload is their number.
    pub fn publish_many(&mut self, topic: &str, qos: QoS, count: u32) {
        let mut all = Vec::new();
        for n in 0..count {
            let id = self.id();
            all.extend_from_slice(&self.publish_packet(topic, qos, false, id, &n.to_be_bytes()));
        }
        self.send(&all);
    }

    pub fn publish_unacknowledged(&mut self, topic: &str, qos: QoS, id: u16, payload: &[u8]) {
        let packet = self.publish_packet(topic, qos, false, id, payload);
        self.send(&packet);
    }

    /// QoS 0, as far as the socket takes it within a second.
    pub fn try_publish(&mut self, topic: &str, payload: &[u8]) -> std::io::Result<()> {
        self.stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        let packet = self.publish_packet(topic, QoS::AtMostOnce, false, 0, payload);
        self.stream.write_all(&packet)
    }

    pub fn publish_in_pieces(&mut self, topic: &str, payload: &[u8], piece: usize) {
        let packet = self.publish_packet(topic, QoS::AtLeastOnce, false, 1, payload);
        for piece in packet.chunks(piece) {
            self.send(piece);
        }
        self.exchange(QoS::AtLeastOnce, 1);
    }

    pub fn publish_code(&mut self, topic: &str, qos: QoS) -> ReasonCode {
        let id = self.id();
        let packet = self.publish_packet(topic, qos, false, id, b"x");
        self.send(&packet);
        match self.packet_kind() {
            Kind::PubAck(i, reason) | Kind::PubRecRefused(i, reason) if i == id => reason,
            // Its own messages, on the way: they are read later.
            Kind::Other(_) => {
                self.at = 0;
                self.code_after_message(id)
            }
            other => panic!("{other:?}"),
        }
    }

    /// An acknowledgement behind messages; those stay in the buffer.
    fn code_after_message(&mut self, id: u16) -> ReasonCode {
        let mut at = 0;
        loop {
            while let Some(whole) = frame(&self.buffer, at, u32::MAX).unwrap() {
                if let Packet::PubAck(a) =
                    decode(self.version, whole.first, &self.buffer[whole.body..whole.end]).unwrap()
                {
                    assert_eq!(a.packet_id.get(), id);
                    let reason = a.reason;
                    self.buffer.drain(at..whole.end);
                    return reason;
                }
                at = whole.end;
            }
            let mut more = [0; 4096];
            let n = self.stream.read(&mut more).unwrap();
            assert!(n > 0);
            self.buffer.extend_from_slice(&more[..n]);
        }
    }

    /// PUBREC, PUBREL or PUBCOMP by its first octet, and nothing awaited.
    pub fn send_ack(&mut self, first: u8, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.send(&[first, 2, high, low]);
    }

    pub fn expect_acknowledgements(&mut self, count: usize) {
        for _ in 0..count {
            match self.packet_kind() {
                Kind::PubAck(_, reason) if !reason.is_error() => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
