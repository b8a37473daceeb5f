//! The three qualities of service, both ways (§4.3).

use crate::*;

#[tokio::test]
async fn qos_0_is_sent_once_and_not_answered() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("zero");
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 0).await;
        peer.send(Publish::new(version, &topic, "m").octets()).await;
        let message = peer.publication().await;
        assert_eq!((message.qos, message.dup), (0, false));
        peer.quiet().await;
    }
}

#[tokio::test]
async fn each_qos_is_answered_as_it_should_be() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("answers");
        let mut peer = world.client(version).await;
        peer.send(Publish::new(version, &topic, "0").octets()).await;
        peer.quiet().await;
        peer.send(Publish::new(version, &topic, "1").qos(1, 1).octets()).await;
        peer.expect(kind::PUBACK).await;
        peer.send(Publish::new(version, &topic, "2").qos(2, 2).octets()).await;
        peer.expect(kind::PUBREC).await;
        peer.quiet().await;
        peer.send(acknowledge(kind::PUBREL, 2)).await;
        peer.expect(kind::PUBCOMP).await;
        peer.quiet().await;
    }
}

#[tokio::test]
async fn after_puback_an_identifier_means_a_new_message() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("new");
        let mut watcher = world.client(version).await;
        watcher.subscribe(&topic, 1).await;
        let mut peer = world.client(version).await;
        peer.send(Publish::new(version, &topic, "one").qos(1, 9).octets()).await;
        peer.reason(kind::PUBACK, 9).await;
        peer.send(Publish::new(version, &topic, "two").qos(1, 9).again().octets()).await;
        peer.reason(kind::PUBACK, 9).await;
        for expected in ["one", "two"] {
            let message = watcher.receive().await;
            assert_eq!((message.text(), message.dup), (expected, false), "DUP is each hop's own");
        }
    }
}

#[tokio::test]
async fn until_pubrel_the_same_message_is_delivered_once() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("exactly");
        let hello = Hello::new(version, name("exactly")).lasting();
        let mut watcher = world.client(version).await;
        watcher.subscribe(&topic, 2).await;
        let mut peer = world.connect(&hello).await;
        peer.send(Publish::new(version, &topic, "once").qos(2, 9).octets()).await;
        peer.reason(kind::PUBREC, 9).await;
        peer.send(Publish::new(version, &topic, "once").qos(2, 9).again().octets()).await;
        peer.reason(kind::PUBREC, 9).await;
        peer.vanish();
        // Over two more connections.
        let mut peer = world.connect(&hello).await;
        peer.send(Publish::new(version, &topic, "once").qos(2, 9).again().octets()).await;
        peer.reason(kind::PUBREC, 9).await;
        peer.vanish();
        let mut peer = world.connect(&hello).await;
        peer.send(acknowledge(kind::PUBREL, 9)).await;
        assert_eq!(peer.reason(kind::PUBCOMP, 9).await, 0);
        assert_eq!(watcher.receive().await.text(), "once");
        watcher.quiet().await;
        // After PUBCOMP it is free.
        peer.send(Publish::new(version, &topic, "new").qos(2, 9).octets()).await;
        peer.reason(kind::PUBREC, 9).await;
        assert_eq!(watcher.receive().await.text(), "new");
        peer.send(acknowledge(kind::PUBREL, 9)).await;
        peer.reason(kind::PUBCOMP, 9).await;
    }
}

#[tokio::test]
async fn deliveries_at_qos_2_take_each_step_once() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("steps");
        let hello = Hello::new(version, name("steps")).lasting();
        let mut peer = world.connect(&hello).await;
        peer.subscribe(&topic, 2).await;
        let mut other = world.client(version).await;
        other.send(Publish::new(version, &topic, "m").qos(2, 1).octets()).await;
        let message = peer.publication().await;
        assert_eq!((message.qos, message.dup), (2, false));
        // Before PUBREC the message comes again, after it only PUBREL does.
        peer.vanish();
        let mut peer = world.connect(&hello).await;
        let again = peer.publication().await;
        assert_eq!((again.id, again.dup), (message.id, true));
        peer.send(acknowledge(kind::PUBREC, message.id)).await;
        peer.reason(kind::PUBREL, message.id).await;
        peer.vanish();
        let mut peer = world.connect(&hello).await;
        peer.reason(kind::PUBREL, message.id).await;
        peer.send(acknowledge(kind::PUBCOMP, message.id)).await;
        peer.leave().await;
        let mut peer = world.connect(&hello).await;
        peer.quiet().await;
    }
}

#[tokio::test]
async fn a_refused_publication_frees_its_identifier() {
    let world = World::get().await;
    let topic = name("closed");
    let mut peer = Peer::connect(&world.to("some"), &Hello::new(V5, name("refused"))).await;
    for _ in 0..2 {
        peer.send(Publish::new(V5, &topic, "no").qos(2, 3).octets()).await;
        assert_eq!(peer.reason(kind::PUBREC, 3).await, 0x87);
    }
    // The same identifier is a new message: here one that is permitted.
    let allowed = format!("both/{}", name("free"));
    peer.subscribe(&allowed, 0).await;
    peer.send(Publish::new(V5, &allowed, "yes").qos(2, 3).octets()).await;
    let (mut delivered, mut received) = (false, false);
    while !(delivered && received) {
        let packet = peer.next().await.unwrap();
        match packet.kind() {
            kind::PUBLISH => delivered = packet.publication(V5).text() == "yes",
            kind::PUBREC => received = packet.acknowledgement(V5).1 < 0x80,
            other => panic!("{other:#04x}"),
        }
    }
}

#[tokio::test]
async fn answers_to_nothing_are_told_or_passed_over() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = world.client(version).await;
        peer.send(acknowledge(kind::PUBACK, 77)).await;
        peer.send(acknowledge(kind::PUBCOMP, 77)).await;
        peer.quiet().await;
        peer.send(acknowledge(kind::PUBREC, 77)).await;
        assert_eq!(peer.reason(kind::PUBREL, 77).await, if version == V5 { 0x92 } else { 0 });
        peer.send(acknowledge(kind::PUBREL, 77)).await;
        assert_eq!(peer.reason(kind::PUBCOMP, 77).await, if version == V5 { 0x92 } else { 0 });
    }
}

#[tokio::test]
async fn exchanges_go_on_after_the_message_expired() {
    let world = World::get().await;
    let topic = name("late");
    let hello = Hello::new(V5, name("late")).lasting();
    let mut peer = world.connect(&hello).await;
    peer.subscribe(&topic, 2).await;
    let mut other = world.client(V5).await;
    other.send(Publish::new(V5, &topic, "m").qos(2, 1).with(|p| p.four(property::MESSAGE_EXPIRY, 1)).octets()).await;
    other.reason(kind::PUBREC, 1).await;
    let message = peer.publication().await;
    peer.vanish();
    let mut clock = world.connect(&Hello::new(V5, name("clock")).keep_alive(1)).await;
    clock.thrown_out(0x8d, "a clock").await;
    // Its sending had begun: it comes again for all that, and both exchanges end well.
    let mut peer = world.connect(&hello).await;
    let again = peer.publication().await;
    assert_eq!((again.id, again.dup), (message.id, true));
    peer.settle(&again).await;
    other.send(acknowledge(kind::PUBREL, 1)).await;
    assert_eq!(other.reason(kind::PUBCOMP, 1).await, 0);
}
