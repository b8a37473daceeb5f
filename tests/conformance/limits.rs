//! Maximum packet size, both ways (5 §3.1.2.11.4, §3.2.2.3.6), and patience with half a packet.

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
async fn half_a_packet_does_not_count_as_a_sign_of_life() {
    let world = World::get().await;
    for version in Version::ALL {
        let started = std::time::Instant::now();
        let mut peer = world.connect(&Hello::new(version, name("half")).keep_alive(1)).await;
        let whole = Publish::new(version, name("half"), "x".repeat(100)).octets();
        // An octet now and then, each within the keep-alive of the one before.
        for octet in &whole[..4] {
            peer.send([*octet]).await;
            let mut clock = Peer::open(&world.to("impatient"), V5).await;
            assert_eq!(clock.closed().await, [], "a clock of 300 ms");
        }
        peer.thrown_out(0x8d, "silence").await;
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
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
