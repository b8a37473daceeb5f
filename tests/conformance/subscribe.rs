//! SUBSCRIBE and SUBACK (§3.8, §3.9).

use crate::wire::{filters, subscribe, subscribe_with};
use crate::*;

#[tokio::test]
async fn every_filter_is_answered_in_its_place() {
    let world = World::get().await;
    for version in Version::ALL {
        let base = name("many");
        let topics: Vec<String> = (0..6).map(|number| format!("{base}/{number}")).collect();
        let wanted: Vec<(&str, u8)> = topics.iter().zip([0, 1, 2, 1, 0, 2]).map(|(t, q)| (t.as_str(), q)).collect();
        let mut peer = world.client(version).await;
        peer.send(subscribe(version, 4, &wanted)).await;
        let (id, codes, _) = peer.expect(kind::SUBACK).await.codes(version);
        assert_eq!((id, codes), (4, vec![0, 1, 2, 1, 0, 2]));
        // And each is a subscription like one that came alone.
        let mut other = world.client(version).await;
        for (topic, granted) in wanted {
            other.send(Publish::new(version, topic, "m").qos(2, 1).octets()).await;
            other.reason(kind::PUBREC, 1).await;
            other.send(acknowledge(kind::PUBREL, 1)).await;
            other.reason(kind::PUBCOMP, 1).await;
            let message = peer.receive().await;
            assert_eq!((message.topic.as_str(), message.qos), (topic, granted));
        }
    }
}

#[tokio::test]
async fn refused_filters_are_told_one_by_one() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = Peer::connect(&world.to("some"), &Hello::new(version, name("partly"))).await;
        let wanted = [("open/a", 2), ("closed", 1), ("both/#", 2), ("a/#/b", 0), ("both/x+", 0)];
        peer.send(subscribe(version, 4, &wanted)).await;
        let (_, codes, _) = peer.expect(kind::SUBACK).await.codes(version);
        let refused = |code| if version == V5 { code } else { 0x80 };
        if version == V31 {
            // 3.1 has no code for a refusal; ours is that of 3.1.1, which clients of 3.1 take for one.
            assert_eq!(codes, [1, 0x80, 2, 0x80, 0x80]);
        } else {
            assert_eq!(codes, [1, refused(0x87), 2, refused(0x8f), refused(0x8f)]);
        }
        peer.quiet().await;
    }
}

#[tokio::test]
async fn a_listener_may_keep_its_reasons_to_itself() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = Peer::connect(&world.to("plain"), &Hello::new(version, name("plain"))).await;
        // Not permitted, not a filter, and one more than there may be.
        let wanted = [("open/a", 1), ("closed", 1), ("a/#/b", 0), ("open/b", 1), ("open/c", 1)];
        peer.send(subscribe(version, 4, &wanted)).await;
        assert_eq!(peer.expect(kind::SUBACK).await.codes(version).1, [1, 0x80, 0x80, 1, 0x80]);
    }
}

#[tokio::test]
async fn reserved_bits_of_the_options_end_the_connection() {
    let world = World::get().await;
    for version in Version::ALL {
        let wrong: &[u8] =
            if version == V5 { &[0x40, 0x80, 0xc1, 0x03] } else { &[0x04, 0x10, 0x40, 0x80, 0x03, 0xff] };
        for options in wrong {
            let mut peer = world.client(version).await;
            peer.send(subscribe(version, 1, &[("a", *options)])).await;
            let came = peer.closed().await;
            assert!(came.iter().all(|packet| packet.kind() == kind::DISCONNECT), "{options:#04x}: {came:02x?}");
            if version == V5 {
                assert!(matches!(came[0].reason(V5).0, 0x81 | 0x82), "{options:#04x}: {came:02x?}");
            }
        }
    }
    let mut peer = world.client(V5).await;
    peer.send(subscribe(V5, 1, &[("a", 0x30)])).await;
    peer.thrown_out(0x82, "retain handling 3").await;
}

#[tokio::test]
async fn subscribe_without_a_filter_ends_the_connection() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = world.client(version).await;
        peer.send(subscribe(version, 1, &[])).await;
        peer.thrown_out(0x82, "no filter").await;
        let mut peer = world.client(version).await;
        let block = Properties::new().block(version);
        peer.send(packet(kind::SUBSCRIBE, [&[0, 1], &block[..], &text("a")].concat())).await;
        peer.thrown_out(0x81, "a filter without options").await;
    }
}

#[tokio::test]
async fn an_empty_filter_is_refused() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = world.client(version).await;
        peer.send(subscribe(version, 1, &[("", 0)])).await;
        match peer.next().await {
            None => {}
            Some(packet) if packet.kind() == kind::DISCONNECT => {
                assert!(matches!(packet.reason(version).0, 0x81 | 0x82));
            }
            Some(packet) => assert!(packet.codes(version).1[0] >= 0x80, "{packet:02x?}"),
        }
    }
}

#[tokio::test]
async fn subscribing_again_replaces_the_subscription() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("replace");
        let mut peer = world.client(version).await;
        let mut other = world.client(version).await;
        other.tell(Publish::new(version, &topic, "kept").retained()).await;
        for qos in [0, 2, 1] {
            assert_eq!(peer.subscribe(&topic, qos).await, qos);
            let message = peer.receive().await;
            assert_eq!((message.text(), message.retain), ("kept", true), "sent again each time");
            other.send(Publish::new(version, &topic, "live").qos(2, 1).octets()).await;
            other.reason(kind::PUBREC, 1).await;
            other.send(acknowledge(kind::PUBREL, 1)).await;
            other.reason(kind::PUBCOMP, 1).await;
            assert_eq!(peer.receive().await.qos, qos);
            peer.quiet().await;
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_while_a_subscription_is_replaced() {
    const COUNT: u32 = 300;
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("swap");
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 1).await;
        let mut other = world.client(version).await;
        let publish = async {
            for number in 0..COUNT {
                other
                    .send(Publish::new(version, &topic, number.to_string()).qos(1, 1 + number as u16 % 1000).octets())
                    .await;
                other.expect(kind::PUBACK).await;
            }
        };
        let receive = async {
            let mut expected = 0;
            let mut sent = 0u16;
            while expected < COUNT {
                if sent < 50 {
                    sent += 1;
                    peer.send(subscribe(version, sent, &[(&topic, 1)])).await;
                }
                let packet = peer.next().await.unwrap();
                if packet.kind() == kind::PUBLISH {
                    let message = packet.publication(version);
                    assert_eq!(message.text(), expected.to_string());
                    expected += 1;
                    peer.settle(&message).await;
                }
            }
        };
        tokio::join!(publish, receive);
    }
}

#[tokio::test]
async fn no_local_keeps_a_clients_own_messages_from_it() {
    let world = World::get().await;
    let topic = name("local");
    let hello = Hello::new(V5, name("deaf")).lasting();
    let mut peer = world.connect(&hello).await;
    peer.subscribe(&topic, 0x05).await;
    peer.publish(&topic, "mine").await;
    peer.quiet().await;
    let mut other = world.client(V5).await;
    other.publish(&topic, "theirs").await;
    assert_eq!(peer.receive().await.text(), "theirs");
    // By client identifier, not by connection.
    peer.leave().await;
    let mut peer = world.connect(&hello).await;
    peer.publish(&topic, "mine still").await;
    peer.quiet().await;
}

#[tokio::test]
async fn overlapping_subscriptions_take_the_highest_qos() {
    let world = World::get().await;
    for version in Version::ALL {
        let base = name("overlap");
        let mut peer = world.client(version).await;
        for (filter, qos) in [("#", 0), ("+", 2), ("x", 1)] {
            peer.subscribe(&format!("{base}/{filter}"), qos).await;
        }
        let mut other = world.client(version).await;
        for published in 0..3 {
            let message = Publish::new(version, format!("{base}/x"), "m");
            let message = if published == 0 { message } else { message.qos(published, 1) };
            other.send(message.octets()).await;
            if published == 2 {
                other.reason(kind::PUBREC, 1).await;
                other.send(acknowledge(kind::PUBREL, 1)).await;
            }
            other.settled().await;
            let message = peer.receive().await;
            assert_eq!(message.qos, published, "one copy, with the best that was granted");
            peer.quiet().await;
        }
    }
}

#[tokio::test]
async fn subscription_identifiers_come_with_the_message() {
    let world = World::get().await;
    let base = name("ids");
    let mut peer = world.client(V5).await;
    let with = |id: usize| Properties::new().varint(property::SUBSCRIPTION_ID, id);
    for (filter, id) in [("#", 1), ("+", 268_435_455), ("x", 7), ("y", 7)] {
        peer.send(subscribe_with(V5, 1, &with(id), &[(&format!("{base}/{filter}"), 1)])).await;
        peer.expect(kind::SUBACK).await;
    }
    peer.subscribe(&format!("{base}/x/#"), 1).await;
    let mut other = world.client(V5).await;
    for (topic, expected) in [("x", vec![1, 7, 268_435_455]), ("z", vec![1, 268_435_455]), ("z/z", vec![1])] {
        for qos in [0, 1] {
            let message = Publish::new(V5, format!("{base}/{topic}"), "m");
            other.send(if qos == 0 { message.octets() } else { message.qos(1, 1).octets() }).await;
            other.settled().await;
            let message = peer.receive().await;
            assert_eq!(message.properties.subscriptions(), expected, "{topic} QoS {qos}: one copy with all of them");
            peer.quiet().await;
        }
    }
    // Replaced without one, it has none.
    for filter in ["#", "+", "x"] {
        peer.subscribe(&format!("{base}/{filter}"), 1).await;
    }
    other.publish(&format!("{base}/x"), "m").await;
    assert_eq!(peer.receive().await.properties.subscriptions(), Vec::<u32>::new());
}

#[tokio::test]
async fn subscription_identifiers_come_with_retained_and_queued_messages() {
    let world = World::get().await;
    let topic = name("ids");
    let hello = Hello::new(V5, name("ids")).lasting();
    let mut other = world.client(V5).await;
    other.tell(Publish::new(V5, &topic, "kept").retained()).await;
    let mut peer = world.connect(&hello).await;
    let with = Properties::new().varint(property::SUBSCRIPTION_ID, 300);
    peer.send(subscribe_with(V5, 1, &with, &[(&topic, 1)])).await;
    // The SUBACK of a session that is stored waits for the disk; what is retained may overtake it (§3.8.4).
    let (mut acknowledged, mut retained) = (false, None);
    while !acknowledged || retained.is_none() {
        match peer.next().await {
            Some(packet) if packet.kind() == kind::SUBACK => acknowledged = true,
            Some(packet) => retained = Some(packet.publication(V5)),
            None => panic!("the server closed the connection"),
        }
    }
    assert_eq!(retained.map(|message| message.properties.subscriptions()).unwrap_or_default(), [300], "retained");
    peer.vanish();
    other.publish(&topic, "queued").await;
    let mut peer = world.connect(&hello).await;
    for expected in ["kept", "queued"] {
        let message = peer.receive().await;
        assert_eq!((message.text(), message.properties.subscriptions()), (expected, vec![300]));
    }
}

#[tokio::test]
async fn suback_comes_before_what_it_brings() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("before");
        let mut peer = world.client(version).await;
        peer.tell(Publish::new(version, &topic, "kept").retained()).await;
        peer.send(packet(
            kind::SUBSCRIBE,
            [vec![0, 1], Properties::new().block(version), filters(&[(&topic, 0)])].concat(),
        ))
        .await;
        peer.expect(kind::SUBACK).await;
        assert_eq!(peer.publication().await.text(), "kept");
    }
}

#[tokio::test]
async fn subscriptions_beyond_the_limit_are_refused_with_a_reason() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = Peer::connect(&world.to("tight"), &Hello::new(version, name("tight"))).await;
        let topics = [name("limit"), name("limit"), name("limit")];
        let wanted: Vec<(&str, u8)> = topics.iter().map(|topic| (topic.as_str(), 1)).collect();
        peer.send(subscribe(version, 1, &wanted)).await;
        let (_, codes, _) = peer.expect(kind::SUBACK).await.codes(version);
        assert_eq!(codes, [1, 1, if version == V5 { 0x97 } else { 0x80 }]);
        assert_eq!(peer.subscribe(&topics[0], 0).await, 0, "one that is there may be replaced");
        peer.unsubscribe(&topics[0]).await;
        assert_eq!(peer.subscribe(&topics[2], 0).await, 0);
    }
}
