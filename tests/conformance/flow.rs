//! Flow control (5 §4.9) and packet sizes.

use crate::*;

/// A client with this receive maximum, and a publisher.
async fn narrow(world: &World, window: u16, topic: &str, qos: u8) -> (Peer, Peer) {
    let hello = Hello::new(V5, name("narrow")).with(|p| p.two(property::RECEIVE_MAXIMUM, window));
    let mut peer = world.connect(&hello).await;
    peer.subscribe(topic, qos).await;
    (peer, world.client(V5).await)
}

#[tokio::test]
async fn no_more_than_receive_maximum_are_on_the_way() {
    let world = World::get().await;
    for qos in [1, 2] {
        let topic = name("window");
        let (mut peer, mut other) = narrow(&world, 3, &topic, qos).await;
        for number in 0..8u8 {
            other.send(Publish::new(V5, &topic, [number]).qos(qos, 1 + u16::from(number)).octets()).await;
        }
        other.settled().await;
        let mut on_the_way: Vec<_> = peer.settled().await.iter().map(|packet| packet.publication(V5)).collect();
        assert_eq!(on_the_way.len(), 3);
        for number in 3..8u8 {
            let message = on_the_way.remove(0);
            if qos == 2 {
                // PUBREC frees nothing.
                peer.send(acknowledge(kind::PUBREC, message.id)).await;
                peer.reason(kind::PUBREL, message.id).await;
                peer.quiet().await;
                peer.send(acknowledge(kind::PUBCOMP, message.id)).await;
            } else {
                peer.settle(&message).await;
            }
            let next = peer.publication().await;
            assert_eq!(next.payload, [number], "in order, one for one");
            peer.quiet().await;
            on_the_way.push(next);
        }
    }
}

#[tokio::test]
async fn a_refusing_pubrec_frees_the_window() {
    let world = World::get().await;
    let topic = name("refuse");
    let (mut peer, mut other) = narrow(&world, 1, &topic, 2).await;
    for id in 1..=2 {
        other.send(Publish::new(V5, &topic, id.to_string()).qos(2, id).octets()).await;
    }
    let first = peer.publication().await;
    peer.quiet().await;
    peer.send(acknowledge_with(kind::PUBREC, first.id, 0x99)).await;
    assert_eq!(peer.publication().await.text(), "2");
}

#[tokio::test]
async fn a_full_window_delays_nothing_but_messages() {
    let world = World::get().await;
    let topic = name("full");
    let (mut peer, mut other) = narrow(&world, 1, &topic, 1).await;
    other.publish(&topic, "1").await;
    other.publish(&topic, "2").await;
    let message = peer.publication().await;
    peer.quiet().await;
    let elsewhere = name("elsewhere");
    assert_eq!(peer.subscribe(&elsewhere, 0).await, 0);
    assert_eq!(peer.publish(&name("$conformance/nobody"), "m").await, 0x10);
    other.send(Publish::new(V5, &elsewhere, "QoS 0").octets()).await;
    assert_eq!(peer.publication().await.text(), "QoS 0", "the window is for QoS 1 and 2");
    peer.unsubscribe(&elsewhere).await;
    peer.settle(&message).await;
    assert_eq!(peer.publication().await.text(), "2");
}

#[tokio::test]
async fn the_window_holds_over_a_new_connection() {
    let world = World::get().await;
    let topic = name("again");
    let hello = Hello::new(V5, name("again")).lasting();
    let mut peer = world.connect(&hello).await;
    peer.subscribe(&topic, 1).await;
    let mut other = world.client(V5).await;
    for number in 0..6 {
        other.publish(&topic, &number.to_string()).await;
    }
    assert_eq!(peer.settled().await.len(), 6);
    peer.vanish();
    // Now with a smaller one than there are messages on the way.
    let mut peer = world.connect(&hello.with(|p| p.two(property::RECEIVE_MAXIMUM, 2))).await;
    let mut waiting: Vec<_> = peer.settled().await.iter().map(|packet| packet.publication(V5)).collect();
    for number in 0..6 {
        assert!(waiting.len() <= 2, "{} on the way, 2 allowed", waiting.len());
        let message = waiting.remove(0);
        assert_eq!(message.text(), number.to_string());
        peer.settle(&message).await;
        waiting.extend(peer.settled().await.iter().map(|packet| packet.publication(V5)));
    }
}

#[tokio::test]
async fn a_client_that_exceeds_our_receive_maximum_is_thrown_out() {
    let world = World::get().await;
    let topic = name("exceed");
    let (mut peer, connack) = Peer::introduce(&world.to("small"), &Hello::new(V5, name("eager"))).await;
    let most = connack.properties.number(property::RECEIVE_MAXIMUM).unwrap() as u16;
    for id in 1..=most {
        peer.send(Publish::new(V5, &topic, "m").qos(2, id).octets()).await;
        peer.reason(kind::PUBREC, id).await;
    }
    // Again is not more; released is less.
    peer.send(Publish::new(V5, &topic, "m").qos(2, 1).again().octets()).await;
    peer.reason(kind::PUBREC, 1).await;
    peer.send(acknowledge(kind::PUBREL, 1)).await;
    peer.reason(kind::PUBCOMP, 1).await;
    peer.send(Publish::new(V5, &topic, "m").qos(2, 1).octets()).await;
    peer.reason(kind::PUBREC, 1).await;
    peer.send(Publish::new(V5, &topic, "m").qos(2, most + 1).octets()).await;
    peer.thrown_out(0x93, "more than the receive maximum").await;
}
