//! CONNACK (§3.2): first, once, and with what the client has to know.

use crate::*;

#[tokio::test]
async fn connack_comes_first_and_once() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("first");
        // Much waits for it: a session with a queue.
        let hello = Hello::new(version, name("first")).lasting();
        let mut peer = world.connect(&hello).await;
        peer.subscribe(&topic, 1).await;
        peer.leave().await;
        let mut other = world.client(version).await;
        other.publish(&topic, "queued").await;
        let mut peer = Peer::open(&world.open(), version).await;
        peer.send(hello.octets()).await;
        assert_eq!(peer.expect(kind::CONNACK).await.connack(version).1, 0);
        assert_eq!(peer.receive().await.text(), "queued");
        assert!(peer.settled().await.iter().all(|packet| packet.kind() != kind::CONNACK));
    }
}

#[tokio::test]
async fn session_present_tells_what_the_server_has() {
    let world = World::get().await;
    for version in [V311, V5] {
        let lasting = Hello::new(version, name("present")).lasting();
        let clean = lasting.clone().clean(true);
        for (hello, expected) in
            [(&lasting, false), (&lasting, true), (&clean, false), (&lasting, version == V5), (&clean, false)]
        {
            let (peer, connack) = Peer::introduce(&world.open(), hello).await;
            assert_eq!((connack.code, connack.present), (0, expected), "{version:?} {hello:?}");
            peer.leave().await;
        }
    }
}

#[tokio::test]
async fn connack_of_3_1_has_no_session_present() {
    let world = World::get().await;
    let hello = Hello::new(V31, name("reserved")).lasting();
    world.connect(&hello).await.leave().await;
    let (_peer, connack) = Peer::introduce(&world.open(), &hello).await;
    assert!(!connack.present, "the octet is reserved (3.1 §3.2)");
}

#[tokio::test]
async fn a_refusal_says_no_session_and_closes() {
    let world = World::get().await;
    for version in Version::ALL {
        let (mut peer, connack) =
            Peer::introduce(&world.to("tokens"), &Hello::new(version, name("refused")).clean(false)).await;
        assert!(connack.code != 0 && !connack.present);
        assert_eq!(peer.closed().await, [], "closed, and no DISCONNECT after a refusal");
    }
}

#[tokio::test]
async fn limits_of_the_listener_are_told() {
    let world = World::get().await;
    let (_peer, connack) = Peer::introduce(&world.to("small"), &Hello::new(V5, name("told"))).await;
    assert_eq!(connack.properties.number(property::MAXIMUM_PACKET_SIZE), Some(1024));
    assert_eq!(connack.properties.number(property::RECEIVE_MAXIMUM), Some(4));
    let (_peer, connack) =
        Peer::introduce(&world.to("brief"), &Hello::new(V5, name("told")).keep_alive(60).expiring(60)).await;
    assert_eq!(connack.properties.number(property::SERVER_KEEP_ALIVE), Some(1));
    assert_eq!(connack.properties.number(property::SESSION_EXPIRY), Some(1));
}

#[tokio::test]
async fn all_of_the_protocol_is_offered() {
    let world = World::get().await;
    let (_peer, connack) = Peer::introduce(&world.open(), &Hello::new(V5, name("offer"))).await;
    for id in [
        property::MAXIMUM_QOS,
        property::RETAIN_AVAILABLE,
        property::WILDCARD_AVAILABLE,
        property::SUBSCRIPTION_IDS_AVAILABLE,
        property::SHARED_AVAILABLE,
    ] {
        assert!(connack.properties.number(id).is_none_or(|value| value == 1), "{id:#04x}: absent means yes");
    }
    assert!(connack.properties.number(property::TOPIC_ALIAS_MAXIMUM).unwrap() > 0);
    let mut with_will = Will::new(&name("will"), "m");
    (with_will.qos, with_will.retain) = (2, true);
    world.connect(&Hello::new(V5, name("will")).will(with_will)).await.leave().await;
}

#[tokio::test]
async fn response_information_comes_only_when_asked_for() {
    let world = World::get().await;
    for value in [None, Some(0)] {
        let hello = Hello::new(V5, name("response")).with(|p| match value {
            Some(value) => p.byte(property::REQUEST_RESPONSE_INFORMATION, value),
            None => p,
        });
        let (_peer, connack) = Peer::introduce(&world.open(), &hello).await;
        assert!(!connack.properties.has(property::RESPONSE_INFORMATION));
    }
    // Asked for, it may come or not (§3.1.2.11.6).
    let hello = Hello::new(V5, name("response")).with(|p| p.byte(property::REQUEST_RESPONSE_INFORMATION, 1));
    world.connect(&hello).await.leave().await;
}

#[tokio::test]
async fn connack_fits_into_the_clients_maximum_packet_size() {
    let world = World::get().await;
    for listener in ["tcp", "tokens"] {
        for size in [40, 64, 100] {
            let hello = Hello::new(V5, name("tiny")).with(|p| p.four(property::MAXIMUM_PACKET_SIZE, size));
            let mut peer = Peer::open(&world.to(listener), V5).await;
            peer.send(hello.octets()).await;
            let connack = peer.expect(kind::CONNACK).await;
            assert!(connack.size() <= size as usize, "{} octets of {size}: {connack:02x?}", connack.size());
        }
    }
}

#[tokio::test]
async fn the_keep_alive_of_the_client_holds_unless_another_is_told() {
    let world = World::get().await;
    let started = std::time::Instant::now();
    let (mut silent, connack) = Peer::introduce(&world.open(), &Hello::new(V5, name("silent")).keep_alive(1)).await;
    assert!(!connack.properties.has(property::SERVER_KEEP_ALIVE));
    silent.thrown_out(0x8d, "keep-alive").await;
    let waited = started.elapsed();
    assert!(waited >= std::time::Duration::from_millis(1_450), "not before one and a half times: {waited:?}");
}
