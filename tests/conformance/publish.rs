//! PUBLISH (§3.3): flags, topic names, and who may.

use crate::*;

#[tokio::test]
async fn qos_3_ends_the_connection() {
    let world = World::get().await;
    for version in Version::ALL {
        for first in [0x36, 0x37, 0x3e, 0x3f] {
            let mut peer = world.client(version).await;
            let mut octets = Publish::new(version, name("qos"), "m").qos(1, 1).octets();
            octets[0] = first;
            peer.send(octets).await;
            peer.thrown_out(0x81, "QoS 3").await;
        }
    }
}

#[tokio::test]
async fn dup_with_qos_0_is_malformed_in_mqtt_5() {
    let world = World::get().await;
    // 3.1.1 forbids it as well (§3.3.1.1) and names no consequence but the one for malformed packets.
    for version in [V311, V5] {
        let mut peer = world.client(version).await;
        peer.send(Publish::new(version, name("dup"), "m").again().octets()).await;
        peer.thrown_out(0x81, "DUP with QoS 0").await;
    }
}

#[tokio::test]
async fn dup_is_not_passed_on() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("dup");
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 2).await;
        for qos in [1, 2] {
            let mut other = world.client(version).await;
            other.send(Publish::new(version, &topic, "m").qos(qos, 1).again().octets()).await;
            assert!(!peer.receive().await.dup);
        }
    }
}

#[tokio::test]
async fn a_topic_name_has_no_wildcards_and_is_not_empty() {
    let world = World::get().await;
    for version in Version::ALL {
        for wrong in ["#", "+", "a/+", "a/#", "a+b", "a#", "/+/", ""] {
            for qos in [0, 1] {
                let mut peer = world.client(version).await;
                let publish = Publish::new(version, wrong, "m");
                let publish = if qos == 0 { publish } else { publish.qos(1, 1) };
                peer.send(publish.octets()).await;
                let came = peer.closed().await;
                assert!(came.iter().all(|packet| packet.kind() == kind::DISCONNECT), "{wrong:?}: {came:02x?}");
                if version == V5 {
                    assert!(matches!(came[0].reason(V5).0, 0x81 | 0x82 | 0x90), "{wrong:?}: {came:02x?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_will_topic_has_no_wildcards_and_is_not_empty() {
    let world = World::get().await;
    for version in Version::ALL {
        for wrong in ["a/+", "#", ""] {
            let mut peer = Peer::open(&world.open(), version).await;
            peer.send(Hello::new(version, name("will")).will(Will::new(wrong, "m")).octets()).await;
            let codes: Vec<u8> = peer.closed().await.iter().map(|packet| packet.connack(version).1).collect();
            let fair = codes.is_empty() || version == V5 && matches!(codes[..], [0x81 | 0x82 | 0x90]);
            assert!(fair, "{wrong:?} ({version:?}): {codes:02x?}");
        }
    }
}

#[tokio::test]
async fn the_topic_of_a_delivery_matches_the_filter() {
    let world = World::get().await;
    for version in Version::ALL {
        let base = name("match");
        let mut peer = world.client(version).await;
        peer.subscribe(&format!("{base}/+/x"), 0).await;
        let mut other = world.client(version).await;
        for topic in ["a/x", "a/y", "a/b/x", "/x", "a/x/"] {
            other.send(Publish::new(version, format!("{base}/{topic}"), topic).octets()).await;
        }
        other.settled().await;
        for expected in ["a/x", "/x"] {
            let message = peer.publication().await;
            assert_eq!(message.topic, format!("{base}/{expected}"));
        }
        peer.quiet().await;
    }
}

#[tokio::test]
async fn a_publication_that_is_not_permitted_is_told_dropped_or_ends_the_connection() {
    let world = World::get().await;
    let topic = name("forbidden");
    let mut watcher = world.client(V5).await;
    watcher.subscribe(&topic, 0).await;
    for version in Version::ALL {
        let mut peer = Peer::connect(&world.to("some"), &Hello::new(version, name("refused"))).await;
        let expected = if version == V5 { 0x87 } else { 0 };
        peer.send(Publish::new(version, &topic, "0").octets()).await;
        assert_eq!(peer.publish(&topic, "1").await, expected, "3.1.1 §3.3.5: a positive answer");
        peer.send(Publish::new(version, &topic, "2").qos(2, 2).octets()).await;
        assert_eq!(peer.reason(kind::PUBREC, 2).await, expected);
        // The other choice that 3.1.1 leaves, where the operator makes it.
        let mut peer = Peer::connect(&world.to("strict"), &Hello::new(version, name("refused"))).await;
        if version == V5 {
            assert_eq!(peer.publish(&topic, "1").await, 0x87);
        } else {
            peer.send(Publish::new(version, &topic, "1").qos(1, 1).octets()).await;
            assert_eq!(peer.closed().await, []);
        }
    }
    watcher.quiet().await;
}

#[tokio::test]
async fn a_publication_without_subscribers_is_accepted() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("$conformance/alone");
        let mut peer = world.client(version).await;
        assert_eq!(peer.publish(&topic, "1").await, if version == V5 { 0x10 } else { 0 });
        peer.send(Publish::new(version, &topic, "2").qos(2, 2).octets()).await;
        assert_eq!(peer.reason(kind::PUBREC, 2).await, if version == V5 { 0x10 } else { 0 });
        peer.subscribe(&topic, 0).await;
        let mut other = world.client(version).await;
        assert_eq!(other.publish(&topic, "3").await, 0);
    }
}

#[tokio::test]
async fn any_payload_travels_whole() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("payload");
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 1).await;
        for size in [0usize, 1, 120, 127, 128, 16_370, 16_384, 200_000] {
            let payload: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
            let mut other = world.client(version).await;
            other.tell(Publish::new(version, &topic, &payload)).await;
            assert!(peer.receive().await.payload == payload, "{size} octets");
        }
    }
}
