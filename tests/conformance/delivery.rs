//! Messages get to sessions, in order (§4.5, §4.6).

use crate::*;

#[tokio::test]
async fn messages_are_kept_for_all_matching_sessions() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("sessions");
        let mut away = Vec::new();
        for number in 0..3 {
            let hello = Hello::new(version, name("away")).lasting();
            let mut peer = world.connect(&hello).await;
            peer.subscribe(if number == 2 { "elsewhere" } else { &topic }, 2).await;
            peer.leave().await;
            away.push(hello);
        }
        let mut other = world.client(version).await;
        for qos in [1, 2] {
            other.send(Publish::new(version, &topic, [qos]).qos(qos, u16::from(qos)).octets()).await;
            other.next().await.unwrap();
        }
        for (number, hello) in away.iter().enumerate() {
            let mut peer = world.connect(hello).await;
            if number == 2 {
                peer.quiet().await;
                continue;
            }
            for qos in [1, 2] {
                let message = peer.receive().await;
                assert_eq!((message.qos, &message.payload[..]), (qos, &[qos][..]));
            }
        }
    }
}

#[tokio::test]
async fn order_is_kept_for_each_qos() {
    const COUNT: u32 = 200;
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("order");
        for qos in 0..3u8 {
            let mut peer = world.client(version).await;
            peer.subscribe(&topic, 2).await;
            let mut other = world.client(version).await;
            let mut stream = Vec::new();
            for number in 0..COUNT {
                let message = Publish::new(version, &topic, number.to_string());
                let id = 1 + number as u16;
                stream.extend(if qos == 0 { message.octets() } else { message.qos(qos, id).octets() });
                if qos == 2 {
                    stream.extend(acknowledge(kind::PUBREL, id));
                }
            }
            other.send(stream).await;
            for number in 0..COUNT {
                let message = peer.receive().await;
                assert_eq!((message.qos, message.text()), (qos, number.to_string().as_str()), "{version:?}");
            }
            peer.quiet().await;
            assert!(other.settled().await.len() >= if qos == 0 { 0 } else { COUNT as usize });
            peer.leave().await;
        }
    }
}

#[tokio::test]
async fn acknowledgements_come_in_the_order_of_the_messages() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("answers");
        let mut peer = world.client(version).await;
        let ids = [9, 3, 700, 1, 44, 2];
        for (qos, answer) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
            let stream: Vec<u8> =
                ids.iter().flat_map(|id| Publish::new(version, &topic, "m").qos(qos, *id).octets()).collect();
            peer.send(stream).await;
            for id in ids {
                peer.reason(answer, id).await;
            }
        }
        peer.send(ids.iter().flat_map(|id| acknowledge(kind::PUBREL, *id)).collect::<Vec<u8>>()).await;
        for id in ids {
            assert_eq!(peer.reason(kind::PUBCOMP, id).await, 0);
        }
    }
}

#[tokio::test]
async fn pubrel_comes_in_the_order_of_pubrec() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("releases");
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 2).await;
        let mut other = world.client(version).await;
        for id in 1..=4 {
            other.send(Publish::new(version, &topic, "m").qos(2, id).octets()).await;
        }
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(peer.publication().await.id);
        }
        ids.reverse();
        peer.send(ids.iter().flat_map(|id| acknowledge(kind::PUBREC, *id)).collect::<Vec<u8>>()).await;
        for id in &ids {
            peer.reason(kind::PUBREL, *id).await;
        }
    }
}

#[tokio::test]
async fn messages_that_find_a_queue_full_are_refused_not_lost() {
    let world = World::get().await;
    let topic = name("full");
    let hello = Hello::new(V5, name("full")).lasting();
    let mut peer = Peer::connect(&world.to("tight"), &hello).await;
    peer.subscribe(&topic, 1).await;
    peer.leave().await;
    let mut other = world.client(V5).await;
    let mut accepted = Vec::new();
    for number in 0..6 {
        let text = number.to_string();
        match other.publish(&topic, &text).await {
            0x00 => accepted.push(text),
            0x97 => {}
            reason => panic!("{reason:#04x}"),
        }
    }
    assert_eq!(accepted, ["0", "1", "2"], "as many as the queue takes");
    let mut peer = Peer::connect(&world.to("tight"), &hello).await;
    for expected in accepted {
        assert_eq!(peer.receive().await.text(), expected);
    }
    peer.quiet().await;
}
