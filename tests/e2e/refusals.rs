//! What the gateway does with clients that break the protocol: the right code where the protocol has one, and the end.

use portcullis_tests::packets::{self, Incoming, packet};
use portcullis_tests::{Client, Message, Transport, Version};

use crate::open_gateway;

/// Sends octets as the first of a new plain connection, and gives everything that comes back before the end.
async fn answer_to(client: &mut Client, octets: &[u8]) -> Vec<Incoming> {
    // A server that closes early is what is tested: sending may fail.
    let _ = client.send(octets).await;
    let mut answers = Vec::new();
    while let Some(packet) = client.next().await {
        answers.push(packet);
    }
    answers
}

#[tokio::test]
async fn an_unknown_protocol_level_is_answered_in_words_that_the_client_may_know() {
    let gateway = open_gateway().await;
    let connect = |level: u8| packet(0x10, &[b"\0\x04MQTT".as_slice(), &[level, 2, 0, 0, 0, 1, b'x']].concat());
    let mut old = Client::raw(gateway.route(Transport::Tcp).open().await.unwrap(), Version::V311);
    assert_eq!(answer_to(&mut old, &connect(2)).await, [Incoming::ConnAck(false, 1, None)]);
    // A later version: either form of CONNACK is allowed (MQTT 5 §3.1.2.2), nothing but the code counts.
    let mut link = gateway.route(Transport::Tcp).open().await.unwrap();
    link.send(&connect(6)).await.unwrap();
    let mut buffer = bytes::BytesMut::new();
    while link.receive(&mut buffer).await {}
    assert!(buffer.len() >= 4 && buffer[0] == 0x20 && matches!(buffer[3], 0x84 | 1), "{buffer:02x?}");
}

#[tokio::test]
async fn what_is_not_mqtt_is_closed_without_an_answer() {
    let gateway = open_gateway().await;
    let cases: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &packet(0x10, b"\0\x04MQTX\x04\x02\0\0\0\x01x"),
        // A first packet that is no CONNECT (§3.1).
        &[0xc0, 0],
        &packet(0x30, b"\0\x01ax"),
        &packet(0x82, b"\0\x01\0\x01a\0"),
    ];
    for case in cases {
        let mut client = Client::raw(gateway.route(Transport::Tcp).open().await.unwrap(), Version::V311);
        assert_eq!(answer_to(&mut client, case).await, [], "{case:02x?}");
    }
}

#[tokio::test]
async fn malformed_connects_are_refused() {
    let gateway = open_gateway().await;
    let bodies: [(&str, &[u8]); 7] = [
        ("the reserved flag is set", b"\0\x04MQTT\x05\x03\0\0\0\0\x01x"),
        ("a will of QoS 3", b"\0\x04MQTT\x05\x1e\0\0\0\0\x01x\0\0\x01w\0\0"),
        ("will flags without a will", b"\0\x04MQTT\x05\x0a\0\0\0\0\x01x"),
        ("a property twice", b"\0\x04MQTT\x05\x02\0\0\x0a\x11\0\0\0\x01\x11\0\0\0\x01\0\x01x"),
        ("a property of another packet", b"\0\x04MQTT\x05\x02\0\0\x03\x23\0\x01\0\x01x"),
        ("receive maximum 0", b"\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\x01x"),
        ("an identifier that is not UTF-8", b"\0\x04MQTT\x05\x02\0\0\0\0\x02\xc3\x28"),
    ];
    for (what, body) in bodies {
        let mut client = Client::raw(gateway.route(Transport::Tcp).open().await.unwrap(), Version::V5);
        let answers = answer_to(&mut client, &packet(0x10, body)).await;
        match &answers[..] {
            [] | [Incoming::ConnAck(false, 0x81 | 0x82 | 0x85, _)] => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broken_packet_ends_an_mqtt_5_connection_with_the_reason() {
    let gateway = open_gateway().await;
    let cases: [(&str, Vec<u8>, &[u8]); 10] = [
        ("a second CONNECT", packets::connect(&gateway.tcp(Version::V5, "again").hello).to_vec(), &[0x82]),
        ("QoS 3", packet(0x36, b"\0\x01a\0\x01\0").to_vec(), &[0x81]),
        ("packet identifier 0", packet(0x32, b"\0\x01a\0\0\0").to_vec(), &[0x81, 0x82]),
        ("a wildcard in a topic name", packet(0x30, b"\0\x02a#\0x").to_vec(), &[0x90, 0x81]),
        ("an empty topic without an alias", packet(0x30, b"\0\0\0x").to_vec(), &[0x82, 0x90]),
        ("a topic with U+0000", packet(0x30, b"\0\x02a\0\0x").to_vec(), &[0x81, 0x90]),
        ("SUBSCRIBE with wrong flags", packet(0x80, b"\0\x01\0\0\x01a\0").to_vec(), &[0x81]),
        ("SUBSCRIBE without a filter", packet(0x82, b"\0\x01\0").to_vec(), &[0x82, 0x81]),
        ("a packet that only servers send", packet(0x20, b"\0\0\0").to_vec(), &[0x82, 0x81]),
        ("a length of five octets", vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01], &[0x81]),
    ];
    for (what, octets, reasons) in cases {
        for transport in Transport::ALL {
            let mut client = gateway.dial(transport, Version::V5, "broken").connect().await;
            client.send(&octets).await.unwrap();
            let reason = client.ended().await.map(|(reason, _)| reason);
            assert!(reason.is_some_and(|reason| reasons.contains(&reason)), "{what} over {transport:?}: {reason:x?}");
        }
    }
}

#[tokio::test]
async fn what_came_before_disconnect_is_acknowledged() {
    let gateway = open_gateway().await;
    for transport in Transport::ALL {
        for _ in 0..5 {
            let mut client = gateway.dial(transport, Version::V5, "leaves").connect().await;
            let mut message = Message::new("t", "x").qos(1);
            message.id = 7;
            let octets = [packets::publish(Version::V5, &message), packet(0xE0, b"")].concat();
            let answers = answer_to(&mut client, &octets).await;
            assert!(matches!(&answers[..], [Incoming::PubAck(7, _)]), "{transport:?}: {answers:?}");
        }
    }
}

/// What is published for a session on disk is acknowledged once it is there, and the reason of an end comes behind that.
#[tokio::test]
async fn the_reason_comes_behind_acknowledgements_that_wait_for_the_disk() {
    let gateway = open_gateway().await;
    let mut keeper = gateway.tcp(Version::V5, "keeper").durable().connect().await;
    keeper.subscribe("kept", 1).await;
    for transport in Transport::ALL {
        let dial = gateway.dial(transport, Version::V5, "hasty");
        let (mut told, mut told_of_the_other) = (0, 0);
        for _ in 0..5 {
            let mut client = dial.connect().await;
            let mut message = Message::new("kept", "x").qos(1);
            message.id = 7;
            let octets = [packets::publish(Version::V5, &message), packets::connect(&dial.hello)].concat();
            let answers = answer_to(&mut client, &octets).await;
            told += u32::from(matches!(&answers[..], [Incoming::PubAck(7, 0), Incoming::Disconnect(0x82, _)]));
            keeper.message().await;

            let mut client = dial.connect().await;
            client.post(Message::new("kept", "x").qos(1)).await;
            dial.connect().await.disconnect().await;
            told_of_the_other += u32::from(client.ended().await.is_some_and(|(reason, _)| reason == 0x8E));
        }
        // A disk that takes a second is not waited for; it does not do so always.
        assert!(told >= 3 && told_of_the_other >= 3, "{transport:?}: {told} and {told_of_the_other} of 5");
    }
}

#[tokio::test]
async fn a_broken_packet_ends_an_older_connection_and_fires_the_will() {
    let gateway = open_gateway().await;
    for version in [Version::V31, Version::V311] {
        let mut watcher = gateway.tcp(version, "watcher").connect().await;
        watcher.subscribe("broken", 0).await;
        let mut client = gateway.tcp(version, "broken").will(Message::new("broken", "it broke")).connect().await;
        client.send(&[0x36, 5, 0, 1, b'a', 0, 1]).await.unwrap();
        assert_eq!(client.ended().await, None);
        assert_eq!(&watcher.message().await.payload[..], b"it broke");
    }
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused_in_suback() {
    let gateway = open_gateway().await;
    for (version, code) in [(Version::V311, 0x80), (Version::V5, 0x8f)] {
        let mut client = gateway.tcp(version, "filters").connect().await;
        for filter in ["a#", "a/#/b", "+a", "a/b+", "##"] {
            assert_eq!(client.subscribe(filter, 1).await, code, "{filter} ({version:?})");
        }
        assert_eq!(client.subscribe("fine/#", 1).await, 1);
    }
}

#[tokio::test]
async fn only_the_documented_websocket_is_served() {
    let gateway = open_gateway().await;
    for transport in [Transport::Ws, Transport::Wss] {
        let mut elsewhere = gateway.route(transport);
        elsewhere.path = "/elsewhere".into();
        assert!(elsewhere.open().await.is_err(), "another path");
        let mut stranger = gateway.route(transport);
        stranger.protocol = Some("chat".into());
        assert!(stranger.open().await.is_err(), "another sub-protocol");
        // A text message is not MQTT (3.1.1 §6): the connection ends.
        let mut link = gateway.route(transport).open().await.unwrap();
        if let portcullis_tests::Link::WebSocket(socket) = &mut link {
            use futures_util::SinkExt;
            socket.send("hello".into()).await.unwrap();
        }
        let mut buffer = bytes::BytesMut::new();
        portcullis_tests::within("the end", async { while link.receive(&mut buffer).await {} }).await;
        assert!(buffer.is_empty());
    }
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_no_way_in() {
    let gateway = open_gateway().await;
    for listener in [Transport::Tls, Transport::Wss] {
        let mut route = gateway.route(listener);
        route.transport = Transport::Tcp;
        let mut link = route.open().await.unwrap();
        let _ = link.send(&packets::connect(&gateway.tcp(Version::V311, "plain").hello)).await;
        let mut answer = bytes::BytesMut::new();
        portcullis_tests::within("the end", async { while link.receive(&mut answer).await {} }).await;
        // At most an alert of TLS (RFC 8446 §6), never a CONNACK.
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:02x?}");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_not_waited_for_for_ever() {
    let config = portcullis_tests::Config::everywhere(&["anonymous"]).toml("").http();
    // The limit is a key of each listener; the shortest that may be written keeps the test short.
    let text = config
        .text()
        .replace("policies = [\"anonymous\"]", "policies = [\"anonymous\"]\nlimits = { handshake = \"200ms\" }");
    let config = portcullis_tests::Config::bare().toml(&text).server_certificate();
    let gateway = portcullis_tests::Gateway::start(&config).await;
    for transport in Transport::ALL {
        // TCP alone, whatever the listener expects; then the handshake below MQTT and no CONNECT.
        let mut bare = gateway.route(transport);
        bare.transport = Transport::Tcp;
        for route in [bare, gateway.route(transport)] {
            let mut link = route.open().await.unwrap();
            let mut buffer = bytes::BytesMut::new();
            portcullis_tests::within("the end", async { while link.receive(&mut buffer).await {} }).await;
        }
    }
}
