//! What is sent again on a new connection (§4.4, §4.6): what is not acknowledged, in its order, and nothing else.

use crate::*;

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_in_order_with_dup() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("again");
        let hello = Hello::new(version, name("again")).lasting();
        let mut peer = world.connect(&hello).await;
        peer.subscribe(&topic, 2).await;
        let mut other = world.client(version).await;
        for (number, qos) in [1, 2, 1, 2, 1, 1].into_iter().enumerate() {
            other.send(Publish::new(version, &topic, [number as u8]).qos(qos, 1 + number as u16).octets()).await;
        }
        let mut first = Vec::new();
        for _ in 0..6 {
            first.push(peer.publication().await);
        }
        // The third is acknowledged, the second and the fourth are received.
        peer.send(acknowledge(kind::PUBACK, first[2].id)).await;
        peer.send(acknowledge(kind::PUBREC, first[1].id)).await;
        peer.send(acknowledge(kind::PUBREC, first[3].id)).await;
        for at in [1, 3] {
            assert_eq!(peer.expect(kind::PUBREL).await.id(), first[at].id);
        }
        peer.vanish();

        // Twice: a second broken connection changes nothing.
        for round in 0..2 {
            let mut peer = world.connect(&hello).await;
            let mut publications = Vec::new();
            let mut releases = Vec::new();
            for _ in 0..5 {
                let packet = peer.next().await.unwrap();
                match packet.kind() {
                    kind::PUBREL => releases.push(packet.id()),
                    _ => publications.push(packet.publication(version)),
                }
            }
            let expected: Vec<_> =
                [0, 4, 5].into_iter().map(|at: usize| (first[at].id, true, vec![at as u8])).collect();
            let got: Vec<_> = publications.iter().map(|again| (again.id, again.dup, again.payload.clone())).collect();
            assert_eq!(got, expected, "round {round} ({version:?})");
            assert_eq!(releases, [first[1].id, first[3].id], "PUBREL, with their identifiers, in order");
            peer.quiet().await;
            if round == 1 {
                for again in &publications {
                    peer.send(acknowledge(kind::PUBACK, again.id)).await;
                }
                for id in releases {
                    peer.send(acknowledge(kind::PUBCOMP, id)).await;
                }
                peer.leave().await;
            } else {
                peer.vanish();
            }
        }
        let mut peer = world.connect(&hello).await;
        peer.quiet().await;
        world.connect(&hello.clone().clean(true)).await.leave().await;
    }
}

#[tokio::test]
async fn nothing_is_sent_again_while_the_connection_lives() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("once");
        let mut peer = world.connect(&Hello::new(version, name("patient")).lasting()).await;
        peer.subscribe(&topic, 2).await;
        let mut other = world.client(version).await;
        other.publish(&topic, "1").await;
        other.send(Publish::new(version, &topic, "2").qos(2, 2).octets()).await;
        peer.publication().await;
        let second = peer.publication().await;
        peer.send(acknowledge(kind::PUBREC, second.id)).await;
        peer.expect(kind::PUBREL).await;
        // Time passes, as another client's keep-alive tells.
        let mut clock = world.connect(&Hello::new(version, name("clock")).keep_alive(1)).await;
        clock.closed().await;
        peer.quiet().await;
    }
}

#[tokio::test]
async fn the_queue_follows_what_is_sent_again() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("follow");
        let hello = Hello::new(version, name("follow")).lasting();
        let mut peer = world.connect(&hello).await;
        peer.subscribe(&topic, 1).await;
        let mut other = world.client(version).await;
        other.publish(&topic, "0").await;
        peer.publication().await;
        // In order, so that the server knows it before the others come; what was not acknowledged is kept all the same.
        peer.leave().await;
        for number in 1..20 {
            other.publish(&topic, &number.to_string()).await;
        }
        let mut peer = world.connect(&hello).await;
        for number in 0..20 {
            let message = peer.receive().await;
            assert_eq!((message.text(), message.dup), (number.to_string().as_str(), number == 0));
        }
        peer.leave().await;
    }
}

#[tokio::test]
async fn a_refused_delivery_is_not_sent_again() {
    let world = World::get().await;
    let topic = name("refusing");
    let hello = Hello::new(V5, name("refusing")).lasting();
    let mut peer = world.connect(&hello).await;
    peer.subscribe(&topic, 2).await;
    let mut other = world.client(V5).await;
    other.publish(&topic, "1").await;
    other.send(Publish::new(V5, &topic, "2").qos(2, 2).octets()).await;
    let (first, second) = (peer.publication().await, peer.publication().await);
    peer.send(acknowledge_with(kind::PUBACK, first.id, 0x83)).await;
    peer.send(acknowledge_with(kind::PUBREC, second.id, 0x97)).await;
    peer.quiet().await;
    peer.vanish();
    let mut peer = world.connect(&hello).await;
    peer.quiet().await;
}

#[tokio::test]
async fn aliases_do_not_cross_connections() {
    let world = World::get().await;
    let topic = name("alias");
    let hello = Hello::new(V5, name("alias")).lasting();
    let mut peer = world.connect(&hello).await;
    peer.tell(Publish::new(V5, &topic, "m").with(|p| p.two(property::TOPIC_ALIAS, 1))).await;
    peer.leave().await;
    let mut peer = world.connect(&hello).await;
    peer.send(Publish::new(V5, "", "m").with(|p| p.two(property::TOPIC_ALIAS, 1)).octets()).await;
    peer.thrown_out(0x82, "an alias of another connection").await;
}
