//! UNSUBSCRIBE and UNSUBACK (§3.10, §3.11).

use crate::wire::{plain_unsubscribe, unsubscribe};
use crate::*;

#[tokio::test]
async fn unsubscribing_stops_new_messages() {
    let world = World::get().await;
    for version in Version::ALL {
        let base = name("stop");
        let mut peer = world.client(version).await;
        let mut other = world.client(version).await;
        for filter in ["x", "+", "#"] {
            let filter = format!("{base}/{filter}");
            peer.subscribe(&filter, 1).await;
            other.publish(&format!("{base}/x"), "before").await;
            assert_eq!(peer.receive().await.text(), "before");
            peer.unsubscribe(&filter).await;
            other.publish(&format!("{base}/x"), "after").await;
            peer.quiet().await;
        }
    }
}

#[tokio::test]
async fn filters_are_compared_character_by_character() {
    let world = World::get().await;
    for version in Version::ALL {
        let base = name("exact");
        let mut peer = world.client(version).await;
        peer.subscribe(&format!("{base}/+"), 1).await;
        for other in ["x", "#", "+/", "/+", ""] {
            peer.unsubscribe(&format!("{base}/{other}")).await;
        }
        peer.unsubscribe(&base.to_uppercase()).await;
        world.client(version).await.publish(&format!("{base}/x"), "still").await;
        assert_eq!(peer.receive().await.text(), "still");
    }
}

#[tokio::test]
async fn unsuback_comes_even_if_nothing_was_there() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = world.client(version).await;
        peer.send(unsubscribe(version, 0xfffe, &["nothing"])).await;
        let (id, codes, _) = peer.expect(kind::UNSUBACK).await.codes(version);
        assert_eq!((id, codes), (0xfffe, if version == V5 { vec![0x11] } else { vec![] }));
    }
}

#[tokio::test]
async fn one_unsuback_answers_all_filters_in_order() {
    let world = World::get().await;
    for version in Version::ALL {
        let base = name("several");
        let mut peer = world.client(version).await;
        let [a, b, c] = ["a", "b", "c"].map(|filter| format!("{base}/{filter}"));
        peer.subscribe(&a, 0).await;
        peer.subscribe(&c, 0).await;
        peer.send(unsubscribe(version, 7, &[&a, &b, &c, &a])).await;
        let (id, codes, _) = peer.expect(kind::UNSUBACK).await.codes(version);
        assert_eq!((id, codes), (7, if version == V5 { vec![0, 0x11, 0, 0x11] } else { vec![] }));
        let mut other = world.client(version).await;
        for topic in [&a, &b, &c] {
            other.publish(topic, "m").await;
        }
        peer.quiet().await;
    }
}

#[tokio::test]
async fn what_has_begun_is_delivered_to_its_end() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("begun");
        let hello = Hello::new(version, name("begun")).lasting();
        let mut peer = world.connect(&hello).await;
        peer.subscribe(&topic, 2).await;
        let mut other = world.client(version).await;
        other.publish(&topic, "1").await;
        other.send(Publish::new(version, &topic, "2").qos(2, 2).octets()).await;
        other.reason(kind::PUBREC, 2).await;
        let (first, second) = (peer.publication().await, peer.publication().await);
        peer.unsubscribe(&topic).await;
        peer.vanish();
        let mut peer = world.connect(&hello).await;
        for expected in [first, second] {
            let again = peer.receive().await;
            assert_eq!((again.id, again.dup, again.payload), (expected.id, true, expected.payload));
        }
        peer.quiet().await;
        peer.leave().await;
    }
}

#[tokio::test]
async fn unsubscribe_without_a_filter_ends_the_connection() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = world.client(version).await;
        peer.send(plain_unsubscribe(version, 1, &[])).await;
        peer.thrown_out(0x82, "no filter").await;
    }
}

#[tokio::test]
async fn a_shared_subscription_is_left_by_its_whole_name() {
    let world = World::get().await;
    let topic = name("$conformance/shared");
    let mut peer = world.client(V5).await;
    let shared = format!("$share/group/{topic}");
    peer.subscribe(&shared, 1).await;
    peer.unsubscribe(&topic).await;
    peer.unsubscribe(&format!("$share/other/{topic}")).await;
    let mut other = world.client(V5).await;
    other.publish(&topic, "still").await;
    assert_eq!(peer.receive().await.text(), "still");
    peer.unsubscribe(&shared).await;
    assert_eq!(other.publish(&topic, "gone").await, 0x10);
    peer.quiet().await;
}
