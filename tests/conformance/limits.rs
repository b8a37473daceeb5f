//! Maximum packet size, both ways (5 §3.1.2.11.4, §3.2.2.3.6), and patience with half a packet.

use std::time::{Duration, Instant};

use portcullis_tests::{Config, Gateway, Transport, within};

use crate::wire::{subscribe_with, unsubscribe};
use crate::*;

/// A client that takes packets of so many octets.
async fn small(world: &World, size: u32) -> Peer {
    world.connect(&Hello::new(V5, name("small")).lasting().with(|p| p.four(property::MAXIMUM_PACKET_SIZE, size))).await
}

#[tokio::test]
async fn a_message_too_large_for_a_client_is_dropped_for_it_alone() {
    let world = World::get().await;
    for qos in 0..3 {
        let topic = name("large");
        let mut peer = small(&world, 60).await;
        peer.subscribe(&topic, qos).await;
        let mut large = world.client(V5).await;
        large.subscribe(&topic, qos).await;
        let mut other = world.client(V5).await;
        for (id, payload) in [(1, "x".repeat(100)), (2, "fits".to_owned())] {
            let message = Publish::new(V5, &topic, &payload);
            other.send(if qos == 0 { message.octets() } else { message.qos(qos, id).octets() }).await;
        }
        assert_eq!(peer.receive().await.text(), "fits", "QoS {qos}: as if the other had been sent");
        assert_eq!(large.receive().await.payload.len(), 100);
        assert_eq!(large.receive().await.text(), "fits");
        other.settled().await;
    }
}

#[tokio::test]
async fn the_limit_is_exact() {
    let world = World::get().await;
    let topic = name("exact");
    // First octet, remaining length, topic with its length, identifier, no properties, payload.
    let around = 1 + 1 + 2 + topic.len() + 2 + 1;
    let mut peer = small(&world, 100).await;
    peer.subscribe(&topic, 1).await;
    let mut other = world.client(V5).await;
    for size in [100 - around, 101 - around, 99 - around] {
        other.publish(&topic, &"x".repeat(size)).await;
    }
    for expected in [100 - around, 99 - around] {
        assert_eq!(peer.receive().await.payload.len(), expected);
    }
    peer.quiet().await;
}

#[tokio::test]
async fn queued_retained_and_resent_messages_keep_to_the_limit() {
    let world = World::get().await;
    let topic = name("waits");
    let hello = Hello::new(V5, name("waits")).lasting();
    let tight = hello.clone().with(|p| p.four(property::MAXIMUM_PACKET_SIZE, 80));
    let mut peer = world.connect(&hello).await;
    peer.subscribe(&topic, 1).await;
    let mut other = world.client(V5).await;
    other.publish(&topic, &"sent".repeat(50)).await;
    peer.publication().await;
    peer.vanish();
    other.tell(Publish::new(V5, &topic, "queued".repeat(50)).retained()).await;
    other.publish(&topic, "small").await;
    let mut peer = world.connect(&tight).await;
    assert_eq!(peer.receive().await.text(), "small");
    peer.subscribe(&topic, 1).await;
    peer.quiet().await;
    peer.leave().await;
    // What could not be sent is done with: with room again, it does not come back.
    let mut peer = world.connect(&hello).await;
    peer.quiet().await;
}

#[tokio::test]
async fn what_is_said_about_a_packet_fits_too() {
    let world = World::get().await;
    // Reasons go without their text where it does not fit; what is left is the shortest form.
    let mut peer = small(&world, 20).await;
    peer.subscribe("a", 0).await;
    peer.send(unsubscribe(V5, 1, &["a"])).await;
    assert!(peer.expect(kind::UNSUBACK).await.size() <= 20);
    peer.send(Publish::new(V5, name("a"), "m").qos(1, 1).octets()).await;
    assert!(peer.expect(kind::PUBACK).await.size() <= 20);
    peer.send(Publish::new(V5, name("a"), "m").qos(2, 2).octets()).await;
    assert!(peer.expect(kind::PUBREC).await.size() <= 20);
    peer.send(acknowledge(kind::PUBREC, 99)).await;
    assert!(peer.expect(kind::PUBREL).await.size() <= 20);
    peer.send(acknowledge(kind::PUBREL, 99)).await;
    assert!(peer.expect(kind::PUBCOMP).await.size() <= 20);
    peer.send([0x00, 0x00]).await;
    let came = peer.closed().await;
    assert_eq!(came.len(), 1);
    assert!(came[0].size() <= 20, "{} octets: {came:02x?}", came[0].size());
}

#[tokio::test]
async fn a_packet_beyond_our_limit_ends_the_connection_at_its_header() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = Peer::connect(&world.to("small"), &Hello::new(version, name("big"))).await;
        let topic = name("big");
        let fixed = Publish::new(version, &topic, "").octets().len() + 1;
        peer.send(Publish::new(version, &topic, "x".repeat(1024 - fixed)).octets()).await;
        peer.quiet().await;
        peer.send(&Publish::new(version, &topic, "x".repeat(1025 - fixed)).octets()[..3]).await;
        peer.thrown_out(0x95, "more than the maximum packet size").await;
        let mut peer = Peer::open(&world.to("small"), version).await;
        peer.send([kind::CONNECT, 0xff, 0x7f]).await;
        let came = peer.closed().await;
        assert!(came.iter().all(|packet| packet.connack(version).1 == 0x95), "{came:02x?}");
    }
}

#[tokio::test]
async fn a_client_that_cannot_take_its_connack_is_not_let_in() {
    let world = World::get().await;
    let topic = name("too-tight");
    for size in 1..=20 {
        let will = Will::new(&topic, "m");
        let hello = Hello::new(V5, name("tight")).will(will).with(|p| p.four(property::MAXIMUM_PACKET_SIZE, size));
        let mut peer = Peer::open(&world.open(), V5).await;
        peer.send(hello.octets()).await;
        let first = peer.next().await;
        assert!(first.as_ref().is_none_or(|packet| packet.size() <= size as usize), "{size}: {first:02x?}");
        match size {
            // Nothing can be said in so few.
            1..=4 => assert_eq!(first, None),
            // It would not learn what it has to keep to.
            5..=12 => {
                assert_eq!(first.map(|packet| packet.connack(V5).1), Some(0x95), "{size}");
                assert_eq!(peer.closed().await, []);
            }
            // Aliases are offered where there is room for them.
            _ => {
                let (_, code, properties) = first.expect("CONNACK").connack(V5);
                assert_eq!((code, properties.has(property::TOPIC_ALIAS_MAXIMUM)), (0, size >= 16), "{size}");
                peer.leave().await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_cannot_take_an_answer_is_told_so() {
    let world = World::get().await;
    // Five octets, and one for each filter.
    let topics: Vec<String> = (0..16).map(|_| name("filter")).collect();
    let filters: Vec<(&str, u8)> = topics.iter().map(|topic| (&**topic, 1)).collect();
    let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let hello = Hello::new(V5, name("answers")).lasting().with(|p| p.four(property::MAXIMUM_PACKET_SIZE, 20));
    let mut peer = world.connect(&hello).await;
    peer.send(wire::subscribe(V5, 1, &filters[1..])).await;
    assert_eq!(peer.expect(kind::SUBACK).await.size(), 20);
    peer.send(wire::subscribe(V5, 2, &filters)).await;
    peer.thrown_out(0x95, "a SUBACK of 21 octets").await;
    let mut peer = world.connect(&hello).await;
    peer.send(unsubscribe(V5, 3, &names)).await;
    peer.thrown_out(0x95, "an UNSUBACK of 21 octets").await;
    // Neither was done: it would not know of it.
    let mut peer = world.connect(&hello.clone().with(|_| Properties::new()).lasting()).await;
    let mut other = world.client(V5).await;
    for (number, topic) in topics.iter().enumerate() {
        assert_eq!(other.publish(topic, "m").await, if number == 0 { 0x10 } else { 0 }, "{number}");
    }
    for topic in &topics[1..] {
        assert_eq!(&peer.receive().await.topic, topic);
    }
}

#[tokio::test]
async fn topics_are_as_long_and_deep_as_the_listener_says() {
    let world = World::get().await;
    let will = |topic: &str| Will::new(topic, "m");
    for version in Version::ALL {
        for (topic, good) in
            [("x".repeat(20), true), ("x".repeat(21), false), ("a/b/c".into(), true), ("///".into(), false)]
        {
            let mut peer = Peer::connect(&world.to("shallow"), &Hello::new(version, name("shallow"))).await;
            let code = peer.subscribe(&topic, 0).await;
            assert_eq!(
                code,
                if good {
                    0
                } else if version == V5 {
                    0x8f
                } else {
                    0x80
                },
                "{topic}"
            );
            peer.send(Publish::new(version, &topic, "m").octets()).await;
            match good {
                true => assert_eq!(peer.receive().await.text(), "m"),
                false => peer.thrown_out(0x90, &topic).await,
            }
            let hello = Hello::new(version, name("shallow")).will(will(&topic));
            let (peer, connack) = Peer::introduce(&world.to("shallow"), &hello).await;
            assert_eq!(connack.code == 0, good, "{topic}: {connack:02x?}");
            if good {
                peer.leave().await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_publishes_too_fast_is_told_so() {
    let world = World::get().await;
    for version in Version::ALL {
        for qos in 0..3 {
            let mut peer = Peer::connect(&world.to("rated"), &Hello::new(version, name("fast"))).await;
            let octets: Vec<u8> = (1..=30)
                .flat_map(|id| match qos {
                    0 => Publish::new(version, name("$conformance/fast"), "m").octets(),
                    _ => Publish::new(version, name("$conformance/fast"), "m").qos(qos, id).octets(),
                })
                .collect();
            peer.send(octets).await;
            peer.thrown_out(0x96, "thirty at once where three a second are taken").await;
            let mut peer = Peer::connect(&world.to("rated"), &Hello::new(version, name("wide"))).await;
            peer.send(Publish::new(version, name("wide"), "x".repeat(1024)).octets()).await;
            peer.thrown_out(0x96, "more octets at once than are taken a second").await;
        }
        // Those who pace themselves are not.
        let mut peer = Peer::connect(&world.to("rated"), &Hello::new(version, name("fair"))).await;
        for _ in 0..3 {
            let topic = name("$conformance/fair");
            assert_eq!(peer.publish(&topic, "m").await, if version == V5 { 0x10 } else { 0 });
        }
        peer.quiet().await;
    }
}

#[tokio::test]
async fn what_finds_no_room_among_the_retained_messages_is_told_and_counted() {
    let limits = "[limits]\nretained-messages = 40";
    let gateway = Gateway::start(&Config::tcp(&["anonymous"]).toml(limits)).await;
    let route = gateway.route(Transport::Tcp);
    let refused = async || {
        let page = gateway.admin().get("/metrics").await.body;
        let line = page.lines().find(|line| line.contains("messages_refused_total")).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("a counter")
    };
    // The gateway's own, `$SYS`, come all at once a moment after its start. Later they would be among those that are refused.
    gateway.until_metric("portcullis_retained_messages", |kept| kept > 0).await;
    let mut peer = Peer::connect(&route, &Hello::new(V5, name("fills"))).await;
    let mut kept = Vec::new();
    loop {
        let topic = name("kept");
        match peer.tell(Publish::new(V5, &topic, "old").retained()).await {
            0x97 => break,
            code => assert_eq!(code, 0x10),
        }
        kept.push(topic);
        assert!(kept.len() <= 40, "there is no end to it");
    }
    for version in Version::ALL {
        let before = refused().await;
        let (mut peer, topic) = (Peer::connect(&route, &Hello::new(version, name("late"))).await, name("late"));
        let code = if version == V5 { 0x97 } else { 0 };
        let mut there = Peer::connect(&route, &Hello::new(version, name("there"))).await;
        there.subscribe(&topic, 2).await;
        peer.send(Publish::new(version, &topic, "0").retained().octets()).await;
        peer.send(Publish::new(version, &topic, "1").retained().qos(1, 1).octets()).await;
        assert_eq!(peer.reason(kind::PUBACK, 1).await, code);
        peer.send(Publish::new(version, &topic, "2").retained().qos(2, 2).octets()).await;
        assert_eq!(peer.reason(kind::PUBREC, 2).await, code);
        // Those who are there hear it all the same.
        for heard in ["0", "1", "2"] {
            assert_eq!(there.receive().await.text(), heard);
        }
        peer.quiet().await;
        // They are counted at the end of the turn that answers them.
        within("the refused messages to be counted", async { while refused().await < before + 3 {} }).await;
        assert_eq!(refused().await, before + 3, "{version:?}");
        // And nobody who comes later; what there is may be replaced, and make room.
        let mut later = Peer::connect(&route, &Hello::new(version, name("later"))).await;
        later.subscribe(&topic, 0).await;
        later.quiet().await;
        peer.tell(Publish::new(version, &kept[0], "new").retained()).await;
        later.send(wire::subscribe(version, 1, &[(&kept[0], 0)])).await;
        later.expect(kind::SUBACK).await;
        assert_eq!(later.receive().await.text(), "new");
    }
    let mut peer = Peer::connect(&route, &Hello::new(V5, name("clears"))).await;
    peer.tell(Publish::new(V5, &kept[0], "").retained()).await;
    assert_eq!(peer.tell(Publish::new(V5, name("room"), "m").retained()).await, 0x10);
}

#[tokio::test]
async fn a_large_packet_may_take_its_time() {
    let world = World::get().await;
    in_time("each part of a packet", 3, async |keep_alive| {
        let silence = Duration::from_millis(u64::from(keep_alive) * 1_500);
        let mut said = Instant::now();
        let keep_alive = u16::try_from(keep_alive).expect("a short time");
        let mut peer = world.connect(&Hello::new(V5, name("slow")).keep_alive(keep_alive)).await;
        let parts = usize::from(keep_alive) * 7;
        let whole = Publish::new(V5, name("slow"), "x".repeat(parts * 1100)).qos(1, 1).octets();
        // Each part well within the keep-alive of the one before, all of them together for longer than one and a half.
        for part in whole.chunks(1100) {
            let saying = Instant::now();
            peer.send(part).await;
            if said.elapsed() >= silence {
                return None;
            }
            said = saying;
            let mut clock = Peer::open(&world.to("impatient"), V5).await;
            assert_eq!(clock.closed().await, [], "a clock of 300 ms");
        }
        assert!(peer.reason(kind::PUBACK, 1).await < 0x80, "it is acknowledged");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn half_a_packet_does_not_count_as_a_sign_of_life() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = world.connect(&Hello::new(version, name("half")).keep_alive(1)).await;
        let whole = Publish::new(version, name("half"), "x".repeat(100)).octets();
        // An octet now and then, each within the keep-alive of the one before, and for much longer than that.
        let mut octets = whole[..whole.len() - 1].iter();
        while !peer.has_something().await {
            peer.send([*octets.next().expect("it is thrown out before its packet is nearly whole")]).await;
            let mut clock = Peer::open(&world.to("impatient"), V5).await;
            assert_eq!(clock.closed().await, [], "a clock of 300 ms");
        }
        peer.thrown_out(0x8d, "silence").await;
    }
}

#[tokio::test]
async fn a_reason_string_comes_only_to_those_who_want_it() {
    let world = World::get().await;
    let hello = Hello::new(V5, name("terse")).with(|p| p.byte(property::REQUEST_PROBLEM_INFORMATION, 0));
    let mut peer = Peer::connect(&world.to("some"), &hello).await;
    let bare = |packet: &wire::Packet| {
        let (_, _, got) = packet.acknowledgement(V5);
        assert_eq!(got.0, [], "{packet:02x?}");
    };
    peer.send(Publish::new(V5, "closed", "m").qos(1, 1).octets()).await;
    bare(&peer.expect(kind::PUBACK).await);
    peer.send(Publish::new(V5, "closed", "m").qos(2, 1).octets()).await;
    bare(&peer.expect(kind::PUBREC).await);
    peer.send(subscribe_with(V5, 1, &Properties::new(), &[("closed", 0), ("a+", 0)])).await;
    assert_eq!(peer.expect(kind::SUBACK).await.codes(V5).2.0, []);
    peer.send(unsubscribe(V5, 1, &["closed"])).await;
    assert_eq!(peer.expect(kind::UNSUBACK).await.codes(V5).2.0, []);
    peer.send(acknowledge(kind::PUBREC, 9)).await;
    bare(&peer.expect(kind::PUBREL).await);
    peer.send(acknowledge(kind::PUBREL, 9)).await;
    bare(&peer.expect(kind::PUBCOMP).await);
}
