//! Wills (§3.1.2.5, §3.1.3.2): published when they should be, as they should be, and not otherwise.

use std::time::{Duration, Instant};

use crate::*;

/// A client that waits for wills on this topic.
async fn watcher(world: &World, version: Version, topic: &str) -> Peer {
    let mut watcher = world.client(version).await;
    watcher.subscribe(topic, 2).await;
    watcher
}

#[tokio::test]
async fn a_will_is_published_when_the_connection_breaks() {
    let world = World::get().await;
    for version in Version::ALL {
        for qos in 0..3 {
            let topic = name("will");
            let mut watcher = watcher(&world, version, &topic).await;
            let mut will = Will::new(&topic, "gone");
            will.qos = qos;
            world.connect(&Hello::new(version, name("mortal")).will(will)).await.vanish();
            let message = watcher.receive().await;
            assert_eq!((message.text(), message.qos, message.retain), ("gone", qos, false));
            watcher.quiet().await;
        }
    }
}

#[tokio::test]
async fn a_protocol_error_of_the_client_publishes_its_will() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("error");
        let mut watcher = watcher(&world, version, &topic).await;
        let mut peer = world.connect(&Hello::new(version, name("clumsy")).will(Will::new(&topic, "erred"))).await;
        peer.send([0x00, 0x00]).await;
        peer.thrown_out(0x81, "a packet type that does not exist").await;
        assert_eq!(watcher.receive().await.text(), "erred");
    }
}

#[tokio::test]
async fn disconnect_takes_the_will_back() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("peace");
        let mut watcher = watcher(&world, version, &topic).await;
        let hello = Hello::new(version, name("orderly")).will(Will::new(&topic, "not this"));
        world.connect(&hello).await.leave().await;
        // With a session that stays, and one that comes back without a will.
        let lasting = hello.lasting();
        world.connect(&lasting).await.leave().await;
        let mut bare = lasting.clone();
        bare.will = None;
        world.connect(&bare).await.vanish();
        world.connect(&bare).await.vanish();
        watcher.quiet().await;
    }
}

#[tokio::test]
async fn disconnect_with_any_other_reason_publishes_the_will() {
    let world = World::get().await;
    for reason in [0x04, 0x80, 0x93] {
        let topic = name("reasoned");
        let mut watcher = watcher(&world, V5, &topic).await;
        let mut peer = world.connect(&Hello::new(V5, name("reasoned")).will(Will::new(&topic, "told"))).await;
        peer.send(packet(kind::DISCONNECT, [reason])).await;
        assert_eq!(peer.closed().await, []);
        assert_eq!(watcher.receive().await.text(), "told", "{reason:#04x}");
    }
}

#[tokio::test]
async fn no_will_is_published_without_one() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("none");
        let mut watcher = watcher(&world, version, &topic).await;
        let hello = Hello::new(version, name("plain"));
        world.connect(&hello.clone().will(Will::new(&topic, "once"))).await.vanish();
        assert_eq!(watcher.receive().await.text(), "once");
        world.connect(&hello).await.vanish();
        let mut witness = world.connect(&hello).await;
        witness.quiet().await;
        watcher.quiet().await;
    }
}

#[tokio::test]
async fn a_will_is_retained_only_if_it_says_so() {
    let world = World::get().await;
    for version in Version::ALL {
        for retain in [false, true] {
            let topic = name("epitaph");
            let mut watcher = watcher(&world, version, &topic).await;
            let mut will = Will::new(&topic, "gone");
            will.retain = retain;
            world.connect(&Hello::new(version, name("mortal")).will(will)).await.vanish();
            assert!(!watcher.receive().await.retain, "live");
            let mut late = world.client(version).await;
            late.subscribe(&topic, 1).await;
            if retain {
                let message = late.receive().await;
                assert_eq!((message.text(), message.retain), ("gone", true));
            } else {
                late.quiet().await;
            }
        }
    }
}

#[tokio::test]
async fn a_will_carries_its_properties() {
    let world = World::get().await;
    let topic = name("rich");
    let mut watcher = watcher(&world, V5, &topic).await;
    let mut will = Will::new(&topic, "text");
    will.properties = Properties::new()
        .byte(property::PAYLOAD_FORMAT, 1)
        .text(property::CONTENT_TYPE, "text/plain")
        .text(property::RESPONSE_TOPIC, "answers")
        .text(property::CORRELATION_DATA, [0, 255])
        .user("b", "1")
        .user("a", "2")
        .user("b", "3")
        .four(property::MESSAGE_EXPIRY, 10_000);
    world.connect(&Hello::new(V5, name("mortal")).will(will)).await.vanish();
    let got = watcher.receive().await.properties;
    assert_eq!(got.number(property::PAYLOAD_FORMAT), Some(1));
    assert_eq!(got.text(property::CONTENT_TYPE), Some("text/plain"));
    assert_eq!(got.text(property::RESPONSE_TOPIC), Some("answers"));
    // Its time begins when it is published.
    assert!(matches!(got.number(property::MESSAGE_EXPIRY), Some(9_900..=10_000)));
    let pairs: Vec<_> = got.0.iter().filter(|(id, _)| *id == property::USER).map(|(_, value)| value.clone()).collect();
    let pair = |name: &str, value: &str| wire::Value::Pair(name.into(), value.into());
    assert_eq!(pairs, [pair("b", "1"), pair("a", "2"), pair("b", "3")]);
    assert!(got.0.contains(&(property::CORRELATION_DATA, wire::Value::Blob(vec![0, 255]))));
    assert!(!got.has(property::WILL_DELAY));
}

#[tokio::test]
async fn a_delayed_will_waits() {
    let world = World::get().await;
    let topic = name("delayed");
    let mut watcher = watcher(&world, V5, &topic).await;
    let hello = Hello::new(V5, name("delayed")).expiring(300).will(Will::new(&topic, "late").after(1));
    let peer = world.connect(&hello).await;
    let broken = Instant::now();
    peer.vanish();
    assert_eq!(watcher.receive().await.text(), "late");
    let waited = broken.elapsed();
    assert!(waited >= Duration::from_millis(900), "not before its time: {waited:?}");
    // Published once: the session's end does not publish it again.
    world.connect(&Hello::new(V5, hello.id.clone())).await.leave().await;
    watcher.quiet().await;
}

#[tokio::test]
async fn the_end_of_the_session_publishes_a_delayed_will() {
    let world = World::get().await;
    // No session outlives the connection; or for a second only, while the delay is long.
    for expiry in [0, 1] {
        let topic = name("ending");
        let mut watcher = watcher(&world, V5, &topic).await;
        let hello = Hello::new(V5, name("ending")).expiring(expiry).will(Will::new(&topic, "over").after(3_600));
        world.connect(&hello).await.vanish();
        assert_eq!(watcher.receive().await.text(), "over");
    }
}

#[tokio::test]
async fn a_client_that_is_back_in_time_has_no_will_published() {
    let world = World::get().await;
    in_time("a client's return", 1, async |seconds| {
        let topic = name("back");
        let mut watcher = watcher(&world, V5, &topic).await;
        let hello = Hello::new(V5, name("back")).lasting().will(Will::new(&topic, "not this").after(seconds));
        let peer = world.connect(&hello).await;
        let broken = Instant::now();
        peer.vanish();
        let mut peer = world.connect(&hello).await;
        if broken.elapsed() >= Duration::from_secs(seconds.into()) {
            return None;
        }
        // Half as long again as the will would have waited.
        let keep_alive = u16::try_from(seconds).expect("a short time");
        let mut clock = world.connect(&Hello::new(V5, name("clock")).keep_alive(keep_alive)).await;
        clock.thrown_out(0x8d, "a clock").await;
        watcher.quiet().await;
        peer.quiet().await;
        peer.leave().await;
        watcher.quiet().await;
        Some(())
    })
    .await;
}

#[tokio::test]
async fn take_over_publishes_the_will_unless_it_is_delayed() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("usurped");
        let mut watcher = watcher(&world, version, &topic).await;
        let hello = Hello::new(version, name("usurped")).lasting();
        let mut first = world.connect(&hello.clone().will(Will::new(&topic, "usurped"))).await;
        let second = world.connect(&hello).await;
        first.thrown_out(0x8e, "taken over").await;
        assert_eq!(watcher.receive().await.text(), "usurped");
        second.leave().await;
    }
    let topic = name("usurped");
    let mut watcher = watcher(&world, V5, &topic).await;
    let hello = Hello::new(V5, name("usurped")).lasting();
    let mut first = world.connect(&hello.clone().will(Will::new(&topic, "delayed").after(3_600))).await;
    let mut second = world.connect(&hello).await;
    first.thrown_out(0x8e, "taken over").await;
    second.quiet().await;
    watcher.quiet().await;
    second.leave().await;
    // A clean start ends the old session: then the will is due (§3.1.4).
    let mut first = world.connect(&hello.clone().will(Will::new(&topic, "ended").after(3_600))).await;
    world.connect(&hello.clone().clean(true)).await.leave().await;
    first.thrown_out(0x8e, "taken over").await;
    assert_eq!(watcher.receive().await.text(), "ended");
}

#[tokio::test]
async fn a_will_that_the_grant_does_not_permit_refuses_the_connect() {
    let world = World::get().await;
    for version in Version::ALL {
        let hello = Hello::new(version, name("unwilling")).will(Will::new("open/will", "m"));
        let (mut peer, connack) = Peer::introduce(&world.to("some"), &hello).await;
        assert_eq!(connack.code, if version == V5 { 0x87 } else { 5 });
        assert_eq!(peer.closed().await, []);
    }
}
