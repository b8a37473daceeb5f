//! Fixed header, packet identifiers, lengths (5 §2, 3.1.1 §2), and what is no packet at all.

use crate::wire::{filters, plain_unsubscribe, subscribe, unsubscribe};
use crate::*;

/// A well made packet of each type that a connected client may send.
fn good(version: Version, topic: &str) -> Vec<(u8, Vec<u8>)> {
    let mut all = vec![
        (kind::PUBACK, acknowledge(kind::PUBACK, 9)),
        (kind::PUBREC, acknowledge(kind::PUBREC, 9)),
        (kind::PUBREL, acknowledge(kind::PUBREL, 9)),
        (kind::PUBCOMP, acknowledge(kind::PUBCOMP, 9)),
        (kind::SUBSCRIBE, subscribe(version, 9, &[(topic, 0)])),
        (kind::UNSUBSCRIBE, unsubscribe(version, 9, &[topic])),
        (kind::PINGREQ, packet(kind::PINGREQ, [])),
        (kind::DISCONNECT, packet(kind::DISCONNECT, [])),
    ];
    if version == V5 {
        all.push((kind::AUTH, packet(kind::AUTH, [])));
    }
    all
}

#[tokio::test]
async fn reserved_flags_of_the_first_octet_end_the_connection() {
    let world = World::get().await;
    let topic = name("flags");
    for version in Version::ALL {
        for (first, octets) in good(version, &topic) {
            // MQTT 3.1 has DUP and QoS in these bits of PUBREL, SUBSCRIBE and UNSUBSCRIBE: only 3.1.1 reserved them.
            for flags in (0..16).filter(|flags| first & 0xf0 | flags != first) {
                let mut octets = octets.clone();
                octets[0] = first & 0xf0 | flags;
                let mut peer = world.client(version).await;
                peer.send(&octets).await;
                if version == V31 && first & 0x0f == 2 && flags & 0x07 == 2 {
                    // A duplicate, as 3.1 marks it: either is a fair reading.
                    continue;
                }
                peer.thrown_out(0x81, &format!("{octets:02x?}")).await;
            }
        }
    }
}

#[tokio::test]
async fn reserved_packet_types_end_the_connection() {
    let world = World::get().await;
    for version in Version::ALL {
        for first in [0x00, 0xf0] {
            if version == V5 && first == 0xf0 {
                continue;
            }
            let mut peer = world.client(version).await;
            peer.send([first, 0]).await;
            peer.thrown_out(0x81, &format!("{first:#04x}")).await;
        }
    }
}

#[tokio::test]
async fn packets_that_only_a_server_sends_end_the_connection() {
    let world = World::get().await;
    for version in Version::ALL {
        let block = Properties::new().block(version);
        let connack = packet(kind::CONNACK, [&[0, 0], &block[..]].concat());
        let suback = packet(kind::SUBACK, [&[0, 1], &block[..], &[0]].concat());
        let codes: &[u8] = if version == V5 { &[0] } else { &[] };
        let unsuback = packet(kind::UNSUBACK, [&[0, 1], &block[..], codes].concat());
        for octets in [connack, suback, unsuback, packet(kind::PINGRESP, [])] {
            let mut peer = world.client(version).await;
            peer.send(&octets).await;
            peer.thrown_out(0x82, &format!("{octets:02x?}")).await;
        }
    }
}

#[tokio::test]
async fn octets_too_many_or_too_few_end_the_connection() {
    let world = World::get().await;
    let topic = name("lengths");
    for version in Version::ALL {
        for (first, octets) in good(version, &topic) {
            let body = &octets[2..];
            // What MQTT 5 lets out at the end (reason and properties) may also be there: 0 is a reason.
            let optional = version == V5 && !matches!(first, kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::PINGREQ);
            let more: &[u8] = if optional { &[0, 0, 7] } else { &[7] };
            let mut wrong = vec![packet(first, [body, more].concat())];
            if !body.is_empty() {
                wrong.push(packet(first, &body[..body.len() - 1]));
                wrong.push(packet(first, []));
                wrong.push(packet(first, &body[..1]));
            }
            for octets in wrong {
                let mut peer = world.client(version).await;
                peer.send(&octets).await;
                let came = peer.closed().await;
                let reasons: Vec<u8> = came
                    .iter()
                    .filter(|packet| packet.kind() == kind::DISCONNECT)
                    .map(|packet| packet.reason(version).0)
                    .collect();
                let fair = if version == V5 { matches!(reasons[..], [0x81 | 0x82]) } else { reasons.is_empty() };
                assert!(fair, "{octets:02x?}: {came:02x?}");
            }
        }
    }
}

#[tokio::test]
async fn packet_identifier_zero_ends_the_connection() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("zero");
        for octets in [
            Publish::new(version, &topic, "m").qos(1, 0).octets(),
            Publish::new(version, &topic, "m").qos(2, 0).octets(),
            subscribe(version, 0, &[(&topic, 0)]),
            unsubscribe(version, 0, &[&topic]),
            acknowledge(kind::PUBACK, 0),
            acknowledge(kind::PUBREC, 0),
            acknowledge(kind::PUBREL, 0),
            acknowledge(kind::PUBCOMP, 0),
        ] {
            let mut peer = world.client(version).await;
            peer.send(&octets).await;
            let came = peer.closed().await;
            assert!(came.iter().all(|packet| packet.kind() == kind::DISCONNECT), "{octets:02x?}: {came:02x?}");
            if version == V5 {
                assert!(matches!(came[0].reason(version).0, 0x81 | 0x82), "{came:02x?}");
            }
        }
    }
}

#[tokio::test]
async fn qos_0_goes_without_an_identifier_both_ways() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("bare");
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 2).await;
        // What could be an identifier is payload.
        peer.send(Publish::new(version, &topic, [0, 7, 1]).octets()).await;
        let message = peer.publication().await;
        assert_eq!((message.qos, message.id, &message.payload[..]), (0, 0, &[0, 7, 1][..]));
    }
}

#[tokio::test]
async fn answers_carry_the_identifier_of_what_they_answer() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("ids");
        let mut peer = world.client(version).await;
        for id in [1, 2, 0x0100, 0xabcd, 0xffff] {
            peer.send(subscribe(version, id, &[(&topic, 0)])).await;
            assert_eq!(peer.expect(kind::SUBACK).await.id(), id);
            peer.send(unsubscribe(version, id, &[&topic])).await;
            assert_eq!(peer.expect(kind::UNSUBACK).await.id(), id);
            peer.send(Publish::new(version, &topic, "1").qos(1, id).octets()).await;
            assert!(peer.reason(kind::PUBACK, id).await < 0x80);
            peer.send(Publish::new(version, &topic, "2").qos(2, id).octets()).await;
            assert!(peer.reason(kind::PUBREC, id).await < 0x80);
            peer.send(acknowledge(kind::PUBREL, id)).await;
            assert_eq!(peer.reason(kind::PUBCOMP, id).await, 0);
        }
    }
}

#[tokio::test]
async fn identifiers_of_deliveries_are_unused_and_not_zero() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("fresh");
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 2).await;
        let mut other = world.client(version).await;
        for number in 0..40u8 {
            other
                .send(Publish::new(version, &topic, [number]).qos(1 + number % 2, 1 + u16::from(number)).octets())
                .await;
        }
        let mut seen = std::collections::HashSet::new();
        for number in 0..40 {
            let message = peer.publication().await;
            assert_eq!(message.payload, [number]);
            assert!(seen.insert(message.id), "{} is in use", message.id);
        }
    }
}

#[tokio::test]
async fn no_properties_is_a_length_of_zero() {
    let world = World::get().await;
    let topic = name("none");
    let mut peer = world.client(V5).await;
    peer.send(subscribe(V5, 3, &[(&topic, 0)])).await;
    let suback = peer.expect(kind::SUBACK).await;
    assert_eq!(suback.body, [0, 3, 0, 0], "the length is there and says zero");
    peer.send(Publish::new(V5, &topic, "m").octets()).await;
    assert_eq!(peer.expect(kind::PUBLISH).await.body, [text(&topic), vec![0, b'm']].concat());
    peer.send(unsubscribe(V5, 4, &[&topic])).await;
    assert_eq!(peer.expect(kind::UNSUBACK).await.body, [0, 4, 0, 0]);

    // Left out where it may not be: the next octets are taken for it, and do not fit.
    for octets in [
        packet(kind::SUBSCRIBE, [vec![0, 1], filters(&[(&topic, 0)])].concat()),
        plain_unsubscribe(V311, 1, &text(&topic)),
        packet(kind::PUBLISH, text(&topic)),
    ] {
        let mut peer = world.client(V5).await;
        peer.send(&octets).await;
        peer.thrown_out(0x81, &format!("{octets:02x?}")).await;
    }
}

#[tokio::test]
async fn properties_out_of_place_twice_or_out_of_range_end_the_connection() {
    let world = World::get().await;
    let topic = name("places");
    let p = Properties::new;
    let publish = |list: Properties| Publish::new(V5, &topic, "m").with(|_| list).octets();
    let subscribe = |list: Properties| wire::subscribe_with(V5, 1, &list, &[(&topic, 0)]);
    let ack = |list: Properties| packet(kind::PUBACK, [vec![0, 1, 0], list.block(V5)].concat());
    let leave = |list: Properties| packet(kind::DISCONNECT, [vec![0], list.block(V5)].concat());
    let cases = [
        // Unknown identifiers.
        (0x81, publish(p().byte(0x00, 0))),
        (0x81, publish(p().byte(0x7f, 0))),
        // Out of place.
        (0x81, publish(p().four(property::SESSION_EXPIRY, 1))),
        (0x81, publish(p().four(property::WILL_DELAY, 1))),
        (0x81, subscribe(p().text(property::CONTENT_TYPE, "x"))),
        (0x81, ack(p().two(property::TOPIC_ALIAS, 1))),
        (0x81, leave(p().four(property::MESSAGE_EXPIRY, 1))),
        // Twice.
        (0x82, publish(p().byte(property::PAYLOAD_FORMAT, 1).byte(property::PAYLOAD_FORMAT, 1))),
        (0x82, publish(p().four(property::MESSAGE_EXPIRY, 1).four(property::MESSAGE_EXPIRY, 1))),
        (0x82, publish(p().text(property::CONTENT_TYPE, "a").text(property::CONTENT_TYPE, "a"))),
        (0x82, publish(p().text(property::RESPONSE_TOPIC, "a").text(property::RESPONSE_TOPIC, "a"))),
        (0x82, publish(p().text(property::CORRELATION_DATA, "a").text(property::CORRELATION_DATA, "a"))),
        (0x82, publish(p().two(property::TOPIC_ALIAS, 1).two(property::TOPIC_ALIAS, 1))),
        (0x82, subscribe(p().varint(property::SUBSCRIPTION_ID, 1).varint(property::SUBSCRIPTION_ID, 2))),
        (0x82, ack(p().text(property::REASON_STRING, "a").text(property::REASON_STRING, "a"))),
        // Out of range.
        (0x82, publish(p().byte(property::PAYLOAD_FORMAT, 2))),
        (0x82, subscribe(p().varint(property::SUBSCRIPTION_ID, 0))),
        // Cut off inside.
        (0x81, publish(p().raw(property::MESSAGE_EXPIRY, [0, 0]))),
        (0x81, publish(p().raw(property::CONTENT_TYPE, [0, 9, b'x']))),
        (0x81, publish(p().raw(property::USER, [0, 1, b'x']))),
    ];
    for (reason, octets) in cases {
        let mut peer = world.client(V5).await;
        peer.send(&octets).await;
        peer.thrown_out(reason, &format!("{octets:02x?}")).await;
    }
}
