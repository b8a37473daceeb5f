//! Retained messages (§3.3.1.3) and what a subscription wants of them.

use crate::*;

/// Has a message retained.
async fn keep(world: &World, version: Version, topic: &str, payload: &str) {
    let mut peer = world.client(version).await;
    peer.tell(Publish::new(version, topic, payload).retained()).await;
    peer.leave().await;
}

/// What a new subscriber is sent.
async fn kept(world: &World, version: Version, filter: &str) -> Vec<(String, u8, bool)> {
    let mut peer = world.client(version).await;
    peer.subscribe(filter, 2).await;
    let packets = peer.settled().await;
    packets
        .iter()
        .map(|packet| {
            let message = packet.publication(version);
            (message.text().to_owned(), message.qos, message.retain)
        })
        .collect()
}

#[tokio::test]
async fn the_last_retained_message_is_kept_with_its_qos() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("kept");
        let mut peer = world.client(version).await;
        for qos in [0, 1, 2, 1, 0] {
            let payload = format!("with {qos}");
            let message = Publish::new(version, &topic, &payload).retained();
            match qos {
                0 => {
                    peer.send(message.octets()).await;
                    peer.quiet().await;
                }
                1 => {
                    peer.send(message.qos(1, 1).octets()).await;
                    peer.reason(kind::PUBACK, 1).await;
                }
                _ => {
                    peer.send(message.qos(2, 2).octets()).await;
                    peer.reason(kind::PUBREC, 2).await;
                    peer.send(acknowledge(kind::PUBREL, 2)).await;
                    peer.reason(kind::PUBCOMP, 2).await;
                }
            }
            assert_eq!(kept(&world, version, &topic).await, [(payload, qos, true)]);
        }
    }
}

#[tokio::test]
async fn an_empty_retained_message_clears_and_is_delivered() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("cleared");
        keep(&world, version, &topic, "old").await;
        let mut live = world.client(version).await;
        live.subscribe(&topic, 1).await;
        assert_eq!(live.receive().await.text(), "old");
        keep(&world, version, &topic, "").await;
        let message = live.receive().await;
        assert_eq!((message.text(), message.retain), ("", false), "as any other, to those who are there");
        assert_eq!(kept(&world, version, &topic).await, []);
        // Of nothing, it makes nothing.
        keep(&world, version, &topic, "").await;
        assert_eq!(kept(&world, version, &topic).await, []);
    }
}

#[tokio::test]
async fn a_message_that_is_not_retained_changes_nothing() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("stays");
        let mut peer = world.client(version).await;
        peer.publish(&topic, "passing").await;
        assert_eq!(kept(&world, version, &topic).await, []);
        keep(&world, version, &topic, "kept").await;
        peer.publish(&topic, "passing").await;
        peer.publish(&topic, "").await;
        assert_eq!(kept(&world, version, &topic).await, [("kept".to_owned(), 1, true)]);
    }
}

#[tokio::test]
async fn each_matching_topic_has_its_own() {
    let world = World::get().await;
    for version in Version::ALL {
        let base = name("tree");
        for topic in ["", "/a", "/b", "/b/c"] {
            keep(&world, version, &format!("{base}{topic}"), if topic.is_empty() { "root" } else { topic }).await;
        }
        let found = async |filter: &str| {
            let mut texts: Vec<String> =
                kept(&world, version, &format!("{base}{filter}")).await.into_iter().map(|(text, ..)| text).collect();
            texts.sort();
            texts
        };
        assert_eq!(found("/#").await, ["/a", "/b", "/b/c", "root"]);
        assert_eq!(found("/+").await, ["/a", "/b"]);
        assert_eq!(found("/+/+").await, ["/b/c"]);
        assert_eq!(found("").await, ["root"]);
    }
}

#[tokio::test]
async fn retain_is_set_for_new_subscriptions_only() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("flag");
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 1).await;
        keep(&world, version, &topic, "live").await;
        assert!(!peer.receive().await.retain, "to a subscription that was there");
        peer.subscribe(&topic, 1).await;
        assert!(peer.receive().await.retain, "sent because of SUBSCRIBE");
    }
}

#[tokio::test]
async fn retain_handling_decides_what_subscribe_sends() {
    let world = World::get().await;
    let topic = name("handling");
    keep(&world, V5, &topic, "kept").await;
    let (always, new, never) = (0x00, 0x10, 0x20);
    let mut peer = world.client(V5).await;
    let mut sends = async |options: u8, expected: bool| {
        peer.subscribe(&topic, options).await;
        let came = peer.settled().await;
        assert_eq!(came.len(), usize::from(expected), "{options:#04x}: {came:02x?}");
    };
    sends(never, false).await;
    sends(new, false).await;
    sends(always, true).await;
    sends(always, true).await;
    let mut peer = world.client(V5).await;
    peer.subscribe(&topic, new).await;
    assert!(peer.publication().await.retain);
    peer.subscribe(&topic, new).await;
    peer.quiet().await;
    peer.unsubscribe(&topic).await;
    peer.subscribe(&topic, new).await;
    assert!(peer.publication().await.retain, "new again");
}

#[tokio::test]
async fn retain_as_published_keeps_the_flag() {
    let world = World::get().await;
    let topic = name("as-published");
    let mut keeps = world.client(V5).await;
    keeps.subscribe(&topic, 0x08).await;
    let mut clears = world.client(V5).await;
    clears.subscribe(&topic, 0x00).await;
    let mut peer = world.client(V5).await;
    for retain in [true, false] {
        let message = Publish::new(V5, &topic, "m");
        peer.tell(if retain { message.retained() } else { message }).await;
        assert_eq!(keeps.publication().await.retain, retain);
        assert!(!clears.publication().await.retain);
    }
    // Over QoS 1, through a queue, and from an older client.
    let hello = Hello::new(V5, name("away")).lasting();
    let mut away = world.connect(&hello).await;
    away.subscribe(&topic, 0x29).await;
    away.leave().await;
    keep(&world, V311, &topic, "queued").await;
    let message = world.connect(&hello).await.receive().await;
    assert_eq!((message.text(), message.retain), ("queued", true));
}

#[tokio::test]
async fn a_retained_message_comes_with_the_lower_qos() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("lower");
        keep(&world, version, &topic, "kept").await;
        for (granted, expected) in [(0, 0), (1, 1), (2, 1)] {
            let mut peer = world.client(version).await;
            peer.subscribe(&topic, granted).await;
            assert_eq!(peer.receive().await.qos, expected);
        }
    }
}
