//! DISCONNECT, PINGREQ, and how errors end a connection (§3.12, §3.14, §4.13).

use crate::*;

#[tokio::test]
async fn pingreq_is_answered() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = world.client(version).await;
        peer.send([kind::PINGREQ, 0, kind::PINGREQ, 0]).await;
        peer.expect(kind::PINGRESP).await;
        peer.expect(kind::PINGRESP).await;
    }
}

#[tokio::test]
async fn after_disconnect_the_server_closes_without_a_word() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut peer = world.client(version).await;
        peer.send([kind::DISCONNECT, 0]).await;
        assert_eq!(peer.closed().await, []);
    }
    for octets in [
        packet(kind::DISCONNECT, [0]),
        packet(kind::DISCONNECT, [0, 0]),
        packet(
            kind::DISCONNECT,
            [vec![0], Properties::new().text(property::REASON_STRING, "tired").user("a", "b").block(V5)].concat(),
        ),
    ] {
        let mut peer = world.client(V5).await;
        peer.send(octets).await;
        assert_eq!(peer.closed().await, []);
    }
}

#[tokio::test]
async fn nothing_after_disconnect_is_processed() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("after");
        let mut watcher = world.client(version).await;
        watcher.subscribe(&topic, 0).await;
        let mut peer = world.client(version).await;
        peer.send([&[kind::DISCONNECT, 0][..], &Publish::new(version, &topic, "m").octets()].concat()).await;
        assert_eq!(peer.closed().await, []);
        watcher.quiet().await;
    }
}

#[tokio::test]
async fn reasons_and_properties_of_a_servers_disconnect_are_refused_from_a_client() {
    let world = World::get().await;
    for reason in [0x8b, 0x8e, 0x9d, 0x01, 0x05, 0x86] {
        let mut peer = world.client(V5).await;
        peer.send(packet(kind::DISCONNECT, [reason])).await;
        let came = peer.closed().await;
        assert!(
            matches!(came[..], [ref packet] if matches!(packet.reason(V5).0, 0x81 | 0x82)),
            "{reason:#04x}: {came:02x?}"
        );
    }
    let mut peer = world.client(V5).await;
    let block = Properties::new().text(property::SERVER_REFERENCE, "elsewhere").block(V5);
    peer.send(packet(kind::DISCONNECT, [vec![0], block].concat())).await;
    peer.thrown_out(0x82, "a server reference from a client").await;
}

#[tokio::test]
async fn reason_codes_that_a_packet_does_not_have_end_the_connection() {
    let world = World::get().await;
    for (first, codes) in [
        (kind::PUBACK, &[0x01, 0x04, 0x92, 0xff][..]),
        (kind::PUBREC, &[0x01, 0x04, 0x92, 0xff]),
        (kind::PUBREL, &[0x01, 0x10, 0x80, 0xff]),
        (kind::PUBCOMP, &[0x01, 0x10, 0x80, 0xff]),
    ] {
        for code in codes {
            let mut peer = world.client(V5).await;
            peer.send(acknowledge_with(first, 1, *code)).await;
            let came = peer.closed().await;
            assert!(
                matches!(came[..], [ref packet] if matches!(packet.reason(V5).0, 0x81 | 0x82)),
                "{first:#04x} {code:#04x}: {came:02x?}"
            );
        }
    }
}

#[tokio::test]
async fn an_error_ends_one_connection_and_no_other() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("others");
        let mut bystander = world.client(version).await;
        bystander.subscribe(&topic, 1).await;
        let mut wrong = world.client(version).await;
        wrong.send(Publish::new(version, &topic, "before").octets()).await;
        wrong.send([0x00, 0x00]).await;
        wrong.thrown_out(0x81, "a packet type that does not exist").await;
        assert_eq!(bystander.publication().await.text(), "before");
        bystander.quiet().await;
    }
}

#[tokio::test]
async fn what_came_before_an_error_is_answered() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("before");
        let mut peer = world.client(version).await;
        peer.send([Publish::new(version, &topic, "m").qos(1, 5).octets(), vec![0x00, 0x00]].concat()).await;
        peer.reason(kind::PUBACK, 5).await;
        peer.thrown_out(0x81, "a packet type that does not exist").await;
    }
}
