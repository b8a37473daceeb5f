//! Packets of clients, written short, and what they are answered.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what must be true by unwrapping it")]

use portcullis_mqtt::{
    Connect, ConnectProperties, Packet, PacketId, ProtocolVersion, Publish, PublishProperties, QoS, Subscribe,
    SubscribeFilter, SubscribeFilters, SubscribeOptions, UserProperties, decode, frame,
};

use crate::desk::Desk;

/// An MQTT 5 CONNECT with a clean start and nothing else.
pub(crate) fn v5(client_id: &str) -> Connect<'_> {
    Connect {
        version: ProtocolVersion::V5,
        clean_start: true,
        keep_alive: 0,
        client_id,
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties::default(),
    }
}

/// One whose session outlives its connections.
pub(crate) fn lasting(client_id: &str) -> Connect<'_> {
    let properties = ConnectProperties { session_expiry: Some(600), ..ConnectProperties::default() };
    Connect { clean_start: false, properties, ..v5(client_id) }
}

pub(crate) fn connect(connect: Connect<'_>) -> Vec<u8> {
    bytes(connect.version, Packet::Connect(connect))
}

pub(crate) fn bytes(version: ProtocolVersion, packet: Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out).unwrap();
    out
}

pub(crate) fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

pub(crate) fn publish(topic: &str, qos: QoS, n: u16, payload: &[u8]) -> Vec<u8> {
    let packet_id = (qos != QoS::AtMostOnce).then(|| id(n));
    let properties = PublishProperties::default();
    let publish = Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload };
    bytes(ProtocolVersion::V5, Packet::Publish(publish))
}

pub(crate) fn subscribe(filter: &str, qos: QoS) -> Vec<u8> {
    subscribe_many(&[(filter, SubscribeOptions::new(qos))], None)
}

pub(crate) fn subscribe_many(filters: &[(&str, SubscribeOptions)], subscription_id: Option<u32>) -> Vec<u8> {
    let filters: Vec<_> =
        filters.iter().map(|(filter, options)| SubscribeFilter { filter, options: *options }).collect();
    let filters = SubscribeFilters::from_slice(&filters);
    let subscribe = Subscribe { packet_id: id(1), subscription_id, user: UserProperties::EMPTY, filters };
    bytes(ProtocolVersion::V5, Packet::Subscribe(subscribe))
}

/// The code of the CONNACK that came first.
pub(crate) fn connack(desk: &mut Desk, line: usize) -> u8 {
    let got = desk.take_output(line);
    let f = frame(&got, 0, u32::MAX).unwrap().expect("a packet");
    match decode(ProtocolVersion::V5, f.first, &got[f.body..f.end]).unwrap() {
        Packet::ConnAck(ack) => ack.code,
        other => panic!("{other:?} instead of CONNACK"),
    }
}

/// Everything that an MQTT 5 client was sent since it was last asked, given to `see`.
pub(crate) fn hear(desk: &mut Desk, line: usize, mut see: impl FnMut(&Packet<'_>, usize)) {
    let got = desk.take_output(line);
    let mut at = 0;
    while let Some(f) = frame(&got, at, u32::MAX).unwrap() {
        see(&decode(ProtocolVersion::V5, f.first, &got[f.body..f.end]).unwrap(), f.end - at);
        at = f.end;
    }
    assert_eq!(at, got.len(), "half a packet");
}

/// The payloads of the messages that came.
pub(crate) fn payloads(desk: &mut Desk, line: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    hear(desk, line, |packet, _| {
        if let Packet::Publish(p) = packet {
            found.push(p.payload.to_vec());
        }
    });
    found
}
