//! Shared subscriptions (5 §4.8.2).

use std::collections::HashSet;

use crate::*;

/// Clients that share a subscription to a new topic. Gives them with the topic.
async fn group(world: &World, members: usize, qos: u8) -> (Vec<(Hello, Peer)>, String, String) {
    let topic = name("work");
    let filter = format!("$share/{}/{topic}", name("group"));
    let mut peers = Vec::new();
    for _ in 0..members {
        let hello = Hello::new(V5, name("member")).lasting();
        let mut peer = world.connect(&hello).await;
        assert_eq!(peer.subscribe(&filter, qos).await, qos);
        peers.push((hello, peer));
    }
    (peers, topic, filter)
}

#[tokio::test]
async fn each_message_goes_to_one_member() {
    let world = World::get().await;
    let (mut members, topic, _) = group(&world, 3, 1).await;
    let mut apart = world.client(V5).await;
    apart.subscribe(&topic, 0).await;
    let mut other = world.client(V5).await;
    for number in 0..30 {
        other.publish(&topic, &number.to_string()).await;
    }
    let mut seen = HashSet::new();
    for (_, peer) in &mut members {
        let came = peer.settled().await;
        assert!(came.len() >= 5, "fairly: {} of 30", came.len());
        for packet in came {
            assert!(seen.insert(packet.publication(V5).text().to_owned()), "twice");
        }
    }
    assert_eq!(seen.len(), 30);
    assert_eq!(apart.settled().await.len(), 30, "a subscription of one's own is not touched");
}

#[tokio::test]
async fn groups_are_apart_from_each_other() {
    let world = World::get().await;
    let topic = name("groups");
    let mut peers = Vec::new();
    for group in ["one", "two"] {
        let mut peer = world.client(V5).await;
        peer.subscribe(&format!("$share/{group}/{topic}"), 0).await;
        peers.push(peer);
    }
    world.client(V5).await.publish(&topic, "m").await;
    for peer in &mut peers {
        assert_eq!(peer.publication().await.text(), "m");
        peer.quiet().await;
    }
}

#[tokio::test]
async fn share_names_are_checked() {
    let world = World::get().await;
    for version in Version::ALL {
        for wrong in [
            "$share//a",
            "$share/g",
            "$share/g/",
            "$share/",
            "$share/+/a",
            "$share/#",
            "$share/g+/a",
            "$share/g#/a",
            "$share/g/a#",
        ] {
            let mut peer = world.client(version).await;
            let code = peer.subscribe(wrong, 0).await;
            assert_eq!(code, if version == V5 { 0x8f } else { 0x80 }, "{wrong} ({version:?})");
        }
    }
    let mut peer = world.client(V5).await;
    assert_eq!(peer.subscribe("$share/g/#", 0).await, 0);
}

#[tokio::test]
async fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let world = World::get().await;
    let mut peer = world.client(V5).await;
    peer.send(wire::subscribe(V5, 1, &[("$share/g/a", 0x04)])).await;
    peer.thrown_out(0x82, "no-local on a shared subscription").await;
}

#[tokio::test]
async fn each_member_gets_its_own_qos() {
    let world = World::get().await;
    for qos in 0..3 {
        let (mut members, topic, _) = group(&world, 1, qos).await;
        let mut other = world.client(V5).await;
        other.send(Publish::new(V5, &topic, "m").qos(2, 1).octets()).await;
        let message = members[0].1.receive().await;
        assert_eq!(message.qos, qos);
    }
}

#[tokio::test]
async fn no_retained_messages_come_to_a_shared_subscription() {
    let world = World::get().await;
    let topic = name("kept");
    let mut peer = world.client(V5).await;
    peer.tell(Publish::new(V5, &topic, "kept").retained()).await;
    peer.subscribe(&format!("$share/g/{topic}"), 1).await;
    peer.quiet().await;
}

#[tokio::test]
async fn a_member_that_went_finishes_what_it_began() {
    let world = World::get().await;
    for qos in [1, 2] {
        let (mut members, topic, _) = group(&world, 2, qos).await;
        let mut other = world.client(V5).await;
        for number in 0..4u8 {
            other.send(Publish::new(V5, &topic, [number]).qos(qos, 1 + u16::from(number)).octets()).await;
        }
        other.settled().await;
        let (hello, mut gone) = members.remove(0);
        let begun: Vec<_> = gone.settled().await.iter().map(|packet| packet.publication(V5)).collect();
        assert!(!begun.is_empty());
        gone.vanish();
        let (_, stays) = &mut members[0];
        let own = stays.settled().await.len();
        assert_eq!(own + begun.len(), 4, "what another was sent is not sent to this one");
        let mut back = world.connect(&hello).await;
        for expected in begun {
            let again = back.receive().await;
            assert_eq!((again.id, again.dup, again.payload), (expected.id, true, expected.payload));
        }
    }
}

#[tokio::test]
async fn a_member_whose_session_ends_leaves_qos_2_to_nobody() {
    let world = World::get().await;
    let topic = name("ended");
    let filter = format!("$share/{}/{topic}", name("group"));
    let mut first = world.client(V5).await;
    first.subscribe(&filter, 2).await;
    let mut other = world.client(V5).await;
    other.send(Publish::new(V5, &topic, "m").qos(2, 1).octets()).await;
    other.reason(kind::PUBREC, 1).await;
    first.publication().await;
    let mut second = world.client(V5).await;
    second.subscribe(&filter, 2).await;
    // Its session ends with its connection, in the midst of the exchange.
    first.vanish();
    other.publish(&topic, "next").await;
    loop {
        // The end of the first is a matter of a moment; until then it may still be chosen.
        let came = second.settled().await;
        let texts: Vec<String> = came.iter().map(|packet| packet.publication(V5).text().to_owned()).collect();
        assert!(!texts.contains(&"m".to_owned()), "{texts:?}");
        if !texts.is_empty() {
            break;
        }
        other.publish(&topic, "next").await;
    }
}

#[tokio::test]
async fn a_refusing_member_ends_the_message() {
    let world = World::get().await;
    let (mut members, topic, _) = group(&world, 2, 2).await;
    let mut other = world.client(V5).await;
    other.publish(&topic, "1").await;
    other.publish(&topic, "1").await;
    for (_, peer) in &mut members {
        let packets = peer.settled().await;
        for packet in packets {
            peer.send(acknowledge_with(kind::PUBACK, packet.id(), 0x80)).await;
        }
    }
    for (_, peer) in &mut members {
        peer.quiet().await;
    }
}

#[tokio::test]
async fn members_that_are_there_are_preferred() {
    let world = World::get().await;
    let (mut members, topic, _) = group(&world, 2, 1).await;
    let (_, gone) = members.remove(0);
    gone.leave().await;
    let mut other = world.client(V5).await;
    for number in 0..4 {
        other.publish(&topic, &number.to_string()).await;
    }
    assert_eq!(members[0].1.settled().await.len(), 4, "none waits for one who is away");
}

#[tokio::test]
async fn members_come_and_go() {
    let world = World::get().await;
    let (mut members, topic, filter) = group(&world, 2, 1).await;
    members[0].1.unsubscribe(&filter).await;
    let mut other = world.client(V5).await;
    for number in 0..3 {
        other.publish(&topic, &number.to_string()).await;
    }
    members[0].1.quiet().await;
    assert_eq!(members[1].1.settled().await.len(), 3);
}

#[tokio::test]
async fn older_clients_may_share_too() {
    let world = World::get().await;
    for version in OLD {
        let topic = name("older");
        let mut peers = [world.client(version).await, world.client(version).await];
        for peer in &mut peers {
            assert_eq!(peer.subscribe(&format!("$share/g/{topic}"), 1).await, 1);
        }
        let mut other = world.client(version).await;
        for number in 0..4 {
            other.publish(&topic, &number.to_string()).await;
        }
        let counts = [peers[0].settled().await.len(), peers[1].settled().await.len()];
        assert_eq!(counts, [2, 2]);
    }
}
