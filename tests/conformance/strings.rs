//! Strings and numbers (5 §1.5, 3.1.1 §1.5.3): well formed or the connection ends.

use crate::wire::{plain_unsubscribe, subscribe_with};
use crate::*;

/// Octets that are no UTF-8: overlong, surrogates, beyond the last code point, cut off, alone.
const ILL_FORMED: [&[u8]; 8] = [
    b"\xc0\x80",
    b"a\xc1\xbf",
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"caf\xc3",
    b"\x80a",
];

/// CONNECT with these octets in each place where a string stands.
fn connects(version: Version, wrong: &[u8]) -> Vec<Vec<u8>> {
    let hello = Hello::new(version, name("string"));
    let id = text(&hello.id);
    let block = Properties::new().block(version);
    let flags = |flags: u8, rest: Vec<u8>| {
        let head = if version == V31 { text("MQIsdp") } else { text("MQTT") };
        let level = if version == V31 {
            3
        } else if version == V311 {
            4
        } else {
            5
        };
        packet(kind::CONNECT, [head, vec![level, flags, 0, 0], rest].concat())
    };
    let mut all = vec![
        flags(2, [block.clone(), blob(wrong)].concat()),
        flags(6, [&block[..], &id, &block, &blob(wrong), &blob("will")].concat()),
        flags(0x82, [&block[..], &id, &blob(wrong)].concat()),
    ];
    if version == V5 {
        let properties = [
            Properties::new().raw(property::USER, [blob(wrong), text("value")].concat()),
            Properties::new().raw(property::USER, [text("name"), blob(wrong)].concat()),
            Properties::new().text(property::AUTHENTICATION_METHOD, wrong),
        ];
        all.extend(properties.map(|list| flags(2, [list.block(version), id.clone()].concat())));
        let will = Properties::new().text(property::CONTENT_TYPE, wrong).block(version);
        all.push(flags(6, [&block[..], &id, &will, &text("t"), &text("m")].concat()));
    }
    all
}

/// The same for packets of those who are in.
fn packets(version: Version, wrong: &[u8]) -> Vec<Vec<u8>> {
    let with = |add: &dyn Fn(Properties) -> Properties| Publish::new(version, "t", "m").with(add).octets();
    let mut all = vec![
        Publish::new(version, wrong, "m").octets(),
        packet(kind::SUBSCRIBE, [vec![0, 1], Properties::new().block(version), blob(wrong), vec![0]].concat()),
        plain_unsubscribe(version, 1, &blob(wrong)),
    ];
    if version == V5 {
        all.extend([
            with(&|p| p.text(property::CONTENT_TYPE, wrong)),
            with(&|p| p.text(property::RESPONSE_TOPIC, wrong)),
            with(&|p| p.raw(property::USER, [blob(wrong), text("value")].concat())),
            with(&|p| p.raw(property::USER, [text("name"), blob(wrong)].concat())),
            packet(
                kind::DISCONNECT,
                [vec![0], Properties::new().text(property::REASON_STRING, wrong).block(version)].concat(),
            ),
        ]);
    }
    all
}

async fn refused(wrong: &[u8]) {
    let world = World::get().await;
    for version in Version::ALL {
        for octets in connects(version, wrong) {
            let mut peer = Peer::open(&world.open(), version).await;
            peer.send(&octets).await;
            let came = peer.closed().await;
            // 3.1.1 §3.1.4: without a CONNACK. MQTT 5 §4.13: it may say why.
            let codes: Vec<u8> = came.iter().map(|packet| packet.connack(version).1).collect();
            assert!(codes.is_empty() || (version == V5 && codes == [0x81]), "{octets:02x?}: {came:02x?}");
        }
        for octets in packets(version, wrong) {
            let mut peer = world.client(version).await;
            peer.send(&octets).await;
            peer.thrown_out(0x81, &format!("{octets:02x?}")).await;
        }
    }
}

#[tokio::test]
async fn ill_formed_utf_8_ends_the_connection() {
    for wrong in ILL_FORMED {
        refused(wrong).await;
    }
}

#[tokio::test]
async fn the_null_character_ends_the_connection() {
    refused(b"a\0b").await;
}

#[tokio::test]
async fn a_byte_order_mark_is_a_character_like_others() {
    let world = World::get().await;
    for version in Version::ALL {
        let plain = name("bom");
        let marked = format!("\u{feff}{plain}");
        let mut peer = world.client(version).await;
        peer.subscribe(&marked, 0).await;
        peer.send(Publish::new(version, &plain, "plain").octets()).await;
        peer.send(Publish::new(version, &marked, "marked").octets()).await;
        let message = peer.publication().await;
        assert_eq!((message.topic.as_str(), message.text()), (marked.as_str(), "marked"));
        peer.quiet().await;
    }
}

#[tokio::test]
async fn a_variable_byte_integer_is_as_short_as_it_can_be() {
    let world = World::get().await;
    let topic = name("short");
    let publish = Publish::new(V5, &topic, "m").octets();
    let filter = [text(&topic), vec![0]].concat();
    let wrong: [Vec<u8>; 5] = [
        // Remaining length; property length; the identifier of a property; the value of one; five octets.
        [&[publish[0], publish[1] | 0x80, 0], &publish[2..]].concat(),
        packet(kind::PUBLISH, [text(&topic), vec![0x80, 0]].concat()),
        packet(kind::PUBLISH, [text(&topic), vec![3, 0x81, 0, 1]].concat()),
        packet(kind::SUBSCRIBE, [vec![0, 1, 3, property::SUBSCRIPTION_ID, 0x81, 0], filter.clone()].concat()),
        vec![kind::PUBLISH, 0x80, 0x80, 0x80, 0x80, 0x01],
    ];
    for octets in wrong {
        let mut peer = world.client(V5).await;
        peer.send(&octets).await;
        peer.thrown_out(0x81, &format!("{octets:02x?}")).await;
    }
    let mut peer = world.client(V5).await;
    let properties = Properties::new().varint(property::SUBSCRIPTION_ID, 268_435_455);
    peer.send(subscribe_with(V5, 1, &properties, &[(&topic, 0)])).await;
    peer.expect(kind::SUBACK).await;
}

#[tokio::test]
async fn control_characters_and_non_characters_pass() {
    // §1.5.4 lets a server refuse them; this one does not, and must then carry them whole.
    let world = World::get().await;
    let topic = format!("{}\u{1}\u{9f}\u{ffff}\u{10ffff}", name("odd"));
    for version in Version::ALL {
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 0).await;
        peer.send(Publish::new(version, &topic, "m").octets()).await;
        assert_eq!(peer.publication().await.topic, topic);
    }
}
