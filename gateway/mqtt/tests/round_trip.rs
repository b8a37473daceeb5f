//! What is written is read back, and the bytes are those of the specification.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
mod common;

use std::num::NonZeroU16;

use common::{VERSIONS, decode_whole, encode, packet, publish, text, version};
use portcullis_mqtt::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_packet_is_read_as_it_was_written((version, packet) in version().prop_flat_map(|v| (Just(v), packet(v)))) {
        let bytes = encode(version, &packet);
        let read = decode_whole(version, &bytes);
        prop_assert_eq!(read, Ok(packet));
        // What was read is a view of the bytes; written again it gives the same.
        prop_assert_eq!(encode(version, &read.unwrap()), bytes);
    }

    #[test]
    fn the_fast_path_finds_the_same_parts((version, publish) in version().prop_flat_map(|v| (Just(v), publish(v, false)))) {
        let bytes = encode(version, &Packet::Publish(publish));
        let body = &bytes[frame(&bytes, 0, u32::MAX).unwrap().unwrap().body..];
        let flags = PublishFlags::read(bytes[0]).unwrap();
        prop_assert_eq!(flags.first(), bytes[0]);
        let head = publish_head(version, body, flags.qos as u8).unwrap();
        prop_assert_eq!(head.topic(body), publish.topic);
        prop_assert_eq!(&body[head.payload_at..], publish.payload);
        prop_assert_eq!(head.topic_alias, publish.properties.topic_alias);
        let packet_id = head.packet_id_at.map(|at| u16::from_be_bytes([body[at], body[at + 1]]));
        prop_assert_eq!(packet_id, publish.packet_id.map(PacketId::get));
        prop_assert_eq!(PublishProperties::decode(&body[head.properties]), Ok(publish.properties));
    }

    #[test]
    fn user_properties_are_the_same_from_wherever_they_come(pairs in prop::collection::vec((text(), text()), 0..5)) {
        let owned: Vec<(String, String)> = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let (borrowed, owned) = (UserProperties::from_pairs(&pairs), UserProperties::from_owned(&owned));
        prop_assert_eq!(borrowed, owned);
        prop_assert_eq!(borrowed.is_empty(), pairs.is_empty());
        let properties = PublishProperties { user: owned, message_expiry: Some(7), ..Default::default() };
        let mut out = Vec::new();
        properties.encode(&mut out).unwrap();
        let block = &out[varint_len(out.len() as u32 - 1)..];
        let read = PublishProperties::decode(block).unwrap();
        prop_assert_eq!(read.user, borrowed);
        prop_assert!(read.user.iter().eq(pairs.iter().copied()));
    }
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

/// Bytes taken apart by hand, so that a mistake made on both sides does not cancel out.
#[test]
fn the_bytes_are_those_of_the_specification() {
    let filters = [
        SubscribeFilter { filter: "a/b", options: SubscribeOptions::new(QoS::AtLeastOnce) },
        SubscribeFilter { filter: "c", options: SubscribeOptions::new(QoS::ExactlyOnce) },
    ];
    let v5_filters = [SubscribeFilter {
        filter: "#",
        options: SubscribeOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        },
    }];
    let connect = |version| Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: "id",
        username: Some("u"),
        password: Some(&[0xFF, 0x00]),
        will: Some(Will {
            topic: "w",
            payload: b"x",
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: WillProperties { delay: 5, ..Default::default() },
        }),
        properties: ConnectProperties { session_expiry: Some(1), ..Default::default() },
    };
    let publish = Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "t",
        packet_id: Some(id(0x0102)),
        properties: PublishProperties { topic_alias: NonZeroU16::new(9), ..Default::default() },
        payload: b"hi",
    };
    let (v31, v311, v5) = (VERSIONS[0], VERSIONS[1], VERSIONS[2]);
    let table: [(ProtocolVersion, Packet<'_>, &[u8]); 23] = [
        (
            v31,
            Packet::Connect(connect(v31)),
            b"\x10\x1d\0\x06MQIsdp\x03\xee\0\x3c\0\x02id\0\x01w\0\x01x\0\x01u\0\x02\xff\0",
        ),
        (v311, Packet::Connect(connect(v311)), b"\x10\x1b\0\x04MQTT\x04\xee\0\x3c\0\x02id\0\x01w\0\x01x\0\x01u\0\x02\xff\0"),
        (
            v5,
            Packet::Connect(connect(v5)),
            b"\x10\x27\0\x04MQTT\x05\xee\0\x3c\x05\x11\0\0\0\x01\0\x02id\x05\x18\0\0\0\x05\0\x01w\0\x01x\0\x01u\0\x02\xff\0",
        ),
        (v311, Packet::ConnAck(ConnAck { session_present: true, code: 0, ..Default::default() }), b"\x20\x02\x01\0"),
        (v31, Packet::ConnAck(ConnAck { session_present: true, code: 0, ..Default::default() }), b"\x20\x02\0\0"),
        (v5, Packet::ConnAck(ConnAck { session_present: false, code: 0x87, ..Default::default() }), b"\x20\x03\0\x87\0"),
        (v311, Packet::Publish(publish), b"\x3b\x07\0\x01t\x01\x02hi"),
        (v5, Packet::Publish(publish), b"\x3b\x0b\0\x01t\x01\x02\x03\x23\0\x09hi"),
        (v311, Packet::PubAck(Ack::new(id(7), ReasonCode::SUCCESS)), b"\x40\x02\0\x07"),
        (v5, Packet::PubAck(Ack::new(id(7), ReasonCode::SUCCESS)), b"\x40\x02\0\x07"),
        (v5, Packet::PubRec(Ack::new(id(7), ReasonCode::NOT_AUTHORIZED)), b"\x50\x03\0\x07\x87"),
        (
            v5,
            Packet::PubRel(Ack { reason_string: Some("r"), ..Ack::new(id(7), ReasonCode::PACKET_IDENTIFIER_NOT_FOUND) }),
            b"\x62\x08\0\x07\x92\x04\x1f\0\x01r",
        ),
        (v311, Packet::PubComp(Ack::new(id(7), ReasonCode::SUCCESS)), b"\x70\x02\0\x07"),
        (
            v311,
            Packet::Subscribe(Subscribe {
                packet_id: id(1),
                subscription_id: None,
                user: UserProperties::EMPTY,
                filters: SubscribeFilters::from_slice(&filters),
            }),
            b"\x82\x0c\0\x01\0\x03a/b\x01\0\x01c\x02",
        ),
        (
            v5,
            Packet::Subscribe(Subscribe {
                packet_id: id(1),
                subscription_id: Some(300),
                user: UserProperties::EMPTY,
                filters: SubscribeFilters::from_slice(&v5_filters),
            }),
            b"\x82\x0a\0\x01\x03\x0b\xac\x02\0\x01#\x2e",
        ),
        (
            v311,
            Packet::SubAck(SubAck {
                packet_id: id(1),
                reason_string: Some("left out"),
                user: UserProperties::EMPTY,
                codes: &[1, 0x87],
            }),
            b"\x90\x04\0\x01\x01\x80",
        ),
        (
            v5,
            Packet::SubAck(SubAck { packet_id: id(1), reason_string: None, user: UserProperties::EMPTY, codes: &[0x87] }),
            b"\x90\x04\0\x01\0\x87",
        ),
        (
            v5,
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(1),
                user: UserProperties::from_pairs(&[("k", "v")]),
                filters: UnsubscribeFilters::from_slice(&["a"]),
            }),
            b"\xa2\x0d\0\x01\x07\x26\0\x01k\0\x01v\0\x01a",
        ),
        (
            v311,
            Packet::UnsubAck(UnsubAck { packet_id: id(1), reason_string: None, user: UserProperties::EMPTY, codes: &[0] }),
            b"\xb0\x02\0\x01",
        ),
        (v311, Packet::PingReq, b"\xc0\0"),
        (v5, Packet::Disconnect(Disconnect::default()), b"\xe0\0"),
        (v5, Packet::Disconnect(Disconnect::new(ReasonCode::SESSION_TAKEN_OVER)), b"\xe0\x01\x8e"),
        (
            v5,
            Packet::Auth(Auth {
                reason: ReasonCode::CONTINUE_AUTHENTICATION,
                method: Some("m"),
                data: Some(&[0]),
                ..Default::default()
            }),
            b"\xf0\x0a\x18\x08\x15\0\x01m\x16\0\x01\0",
        ),
    ];
    for (version, packet, bytes) in table {
        assert_eq!(encode(version, &packet), bytes, "{version} {packet:?}");
        assert!(decode_whole(version, bytes).is_ok(), "{version} {packet:?}");
    }
}

#[test]
fn forms_that_we_do_not_write_but_others_may() {
    let v5 = ProtocolVersion::V5;
    // A reason code of success said aloud, and an empty property block after it.
    for bytes in [&b"\x40\x03\0\x07\0"[..], b"\x40\x04\0\x07\0\0"] {
        assert_eq!(decode_whole(v5, bytes), Ok(Packet::PubAck(Ack::new(id(7), ReasonCode::SUCCESS))));
    }
    for bytes in [&b"\xe0\x01\0"[..], b"\xe0\x02\0\0"] {
        assert_eq!(decode_whole(v5, bytes), Ok(Packet::Disconnect(Disconnect::default())));
    }
    // Defaults said aloud.
    let connect = b"\x10\x1a\0\x04MQTT\x05\x02\0\x3c\x07\x19\0\x17\x01\x22\0\0\0\x06client";
    let Ok(Packet::Connect(connect)) = decode_whole(v5, connect) else { panic!() };
    assert_eq!(connect.properties, ConnectProperties::default());
}

#[test]
fn mqtt_3_1_is_read_as_leniently_as_it_says() {
    let v31 = ProtocolVersion::V31;
    // DUP on SUBSCRIBE, UNSUBSCRIBE and PUBREL.
    for bytes in [&b"\x8a\x06\0\x01\0\x01a\0"[..], b"\xaa\x05\0\x01\0\x01a", b"\x6a\x02\0\x01"] {
        assert!(decode_whole(v31, bytes).is_ok(), "{bytes:02x?}");
        assert!(matches!(decode_whole(ProtocolVersion::V311, bytes), Err(Error::FixedHeaderFlags { .. })));
    }
    // User name and password flags without the strings.
    let Ok(connect) = decode_connect(b"\0\x06MQIsdp\x03\xc2\0\x3c\0\x01c") else { panic!() };
    assert_eq!((connect.username, connect.password), (None, None));
    let Ok(connect) = decode_connect(b"\0\x06MQIsdp\x03\xc2\0\x3c\0\x01c\0\x01u") else { panic!() };
    assert_eq!((connect.username, connect.password), (Some("u"), None));
    // More than 23 characters of client identifier.
    let connect = decode_connect(b"\0\x06MQIsdp\x03\x02\0\x3c\0\x1babcdefghijklmnopqrstuvwxyz0");
    assert_eq!(connect.map(|c| c.client_id.len()), Ok(27));
}

#[test]
fn an_empty_client_id_is_read_and_judged() {
    let connect = |version, clean_start, client_id| Connect {
        version,
        clean_start,
        keep_alive: 0,
        client_id,
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties::default(),
    };
    for (version, clean_start, allowed) in [
        (ProtocolVersion::V31, true, false),
        (ProtocolVersion::V31, false, false),
        (ProtocolVersion::V311, true, true),
        (ProtocolVersion::V311, false, false),
        (ProtocolVersion::V5, true, true),
        (ProtocolVersion::V5, false, true),
    ] {
        assert_eq!(connect(version, clean_start, "").client_id_allowed(), allowed, "{version} {clean_start}");
        assert!(connect(version, clean_start, "c").client_id_allowed());
        let bytes = encode(version, &Packet::Connect(connect(version, clean_start, "")));
        assert!(decode_whole(version, &bytes).is_ok());
    }
}

#[test]
fn what_cannot_be_read_is_not_written_and_leaves_the_buffer_alone() {
    let v5 = ProtocolVersion::V5;
    let long = "x".repeat(65_536);
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        properties: PublishProperties::default(),
        payload: &[],
    };
    let subscribe = |filters| Subscribe {
        packet_id: PacketId::MIN,
        subscription_id: None,
        user: UserProperties::EMPTY,
        filters: SubscribeFilters::from_slice(filters),
    };
    let no_local = SubscribeOptions { no_local: true, ..SubscribeOptions::default() };
    let shared = [SubscribeFilter { filter: "$share/g/a", options: no_local }];
    let nameless = [SubscribeFilter { filter: "", options: SubscribeOptions::default() }];
    let named = [SubscribeFilter { filter: "a", options: SubscribeOptions::default() }];
    let long_pair = [("k", long.as_str())];
    let zero = SubscriptionIds::from_slice(&[0]);
    let bad: Vec<(ProtocolVersion, Packet<'_>)> = vec![
        (v5, Packet::Publish(Publish { topic: "", ..publish })),
        (v5, Packet::Publish(Publish { topic: "a/#", ..publish })),
        (v5, Packet::Publish(Publish { topic: "a\0", ..publish })),
        (v5, Packet::Publish(Publish { topic: &long, ..publish })),
        (v5, Packet::Publish(Publish { dup: true, ..publish })),
        (v5, Packet::Publish(Publish { packet_id: Some(PacketId::MIN), ..publish })),
        (v5, Packet::Publish(Publish { qos: QoS::AtLeastOnce, ..publish })),
        (
            v5,
            Packet::Publish(Publish {
                properties: PublishProperties { subscription_ids: zero, ..Default::default() },
                ..publish
            }),
        ),
        (
            v5,
            Packet::Publish(Publish {
                properties: PublishProperties { response_topic: Some("+"), ..Default::default() },
                ..publish
            }),
        ),
        (v5, Packet::PubAck(Ack { reason_string: Some("\0"), ..Ack::new(PacketId::MIN, ReasonCode::SUCCESS) })),
        (v5, Packet::PubAck(Ack::new(PacketId::MIN, ReasonCode::SERVER_BUSY))),
        (
            v5,
            Packet::PubAck(Ack {
                user: UserProperties::from_pairs(&long_pair),
                ..Ack::new(PacketId::MIN, ReasonCode::SUCCESS)
            }),
        ),
        (v5, Packet::Subscribe(subscribe(&[]))),
        (v5, Packet::Subscribe(subscribe(&shared))),
        (v5, Packet::Subscribe(subscribe(&nameless))),
        (v5, Packet::Subscribe(Subscribe { subscription_id: Some(MAX_REMAINING_LENGTH + 1), ..subscribe(&named) })),
        (v5, Packet::ConnAck(ConnAck { session_present: true, code: 0x87, ..Default::default() })),
        (v5, Packet::ConnAck(ConnAck { code: 1, ..Default::default() })),
        (ProtocolVersion::V311, Packet::ConnAck(ConnAck { code: 0x87, ..Default::default() })),
        (ProtocolVersion::V311, Packet::Auth(Auth::default())),
        (v5, Packet::Auth(Auth { reason: ReasonCode::CONTINUE_AUTHENTICATION, ..Default::default() })),
        (v5, Packet::Disconnect(Disconnect::new(ReasonCode::GRANTED_QOS_1))),
    ];
    for (version, packet) in bad {
        let mut out = vec![1, 2, 3];
        assert!(packet.encode(version, &mut out).is_err(), "{packet:?}");
        assert_eq!(out, [1, 2, 3], "{packet:?}");
    }
}
