//! Messages get from here to there: every quality of service, every transport, every version.

use portcullis_tests::packets::{self, Incoming};
use portcullis_tests::{Client, Config, Gateway, Message, Transport, Version, within};

use crate::{named, open_gateway, ways};

#[tokio::test]
async fn every_transport_and_version_connects_pings_and_leaves() {
    let gateway = open_gateway().await;
    for (transport, version) in ways() {
        let mut client = gateway.dial(transport, version, &named("caller", transport, version)).connect().await;
        assert!(!client.session_present);
        client.ping().await;
        client.disconnect().await;
    }
}

#[tokio::test]
async fn a_message_arrives_with_the_lower_of_two_qualities_of_service() {
    let gateway = open_gateway().await;
    for (transport, version) in ways() {
        let topic = named("qos", transport, version);
        let mut publisher = gateway.dial(transport, version, &named("publisher", transport, version)).connect().await;
        for granted in 0..=2 {
            let id = format!("{}-{granted}", named("subscriber", transport, version));
            let mut subscriber = gateway.dial(transport, version, &id).connect().await;
            assert_eq!(subscriber.subscribe(&topic, granted).await, granted);
            for published in 0..=2 {
                let payload = format!("published with {published}");
                let reason = publisher.publish(Message::new(&topic, payload.clone()).qos(published)).await;
                assert!(reason < 0x80, "{transport:?} {version:?}: {reason:#x}");
                let message = subscriber.message().await;
                assert_eq!(message.qos, granted.min(published), "{transport:?} {version:?}");
                assert_eq!((&message.topic[..], &message.payload[..]), (&topic[..], payload.as_bytes()));
                assert!(!message.retain && !message.dup);
            }
            subscriber.disconnect().await;
        }
    }
}

#[tokio::test]
async fn a_message_crosses_transports_and_versions() {
    let gateway = open_gateway().await;
    let mut subscribers = Vec::new();
    for (transport, version) in ways() {
        let mut client = gateway.dial(transport, version, &named("crossing", transport, version)).connect().await;
        assert_eq!(client.subscribe("crossing/#", 2).await, 2);
        subscribers.push(client);
    }
    for (transport, version) in ways() {
        let mut publisher = gateway.dial(transport, version, &named("from", transport, version)).connect().await;
        let topic = format!("crossing/{}", named("to", transport, version));
        publisher.publish(Message::new(&topic, "over").qos(1)).await;
        for subscriber in &mut subscribers {
            let message = subscriber.message().await;
            assert_eq!((message.topic.as_str(), message.qos), (topic.as_str(), 1));
        }
    }
}

#[tokio::test]
async fn wildcards_match_whole_levels() {
    // A wildcard at the front grants no topic that begins with `$`.
    let gateway = Gateway::start(&Config::tcp(&["anonymous"]).toml(
        "[[policy]]\nname = \"anonymous\"\nsource = \"builtin:anonymous\"\n\
         config = { rules = [{ actions = [\"publish\", \"subscribe\"], filter = \"#\" }, \
         { actions = [\"publish\", \"subscribe\"], filter = \"$internal/#\" }] }",
    ))
    .await;
    let cases = [
        ("a/+/c", vec!["a/b/c", "a//c"], vec!["a/b", "a/b/c/d", "b/b/c"]),
        ("a/#", vec!["a", "a/b", "a/b/c"], vec!["ab", "b/a"]),
        ("+", vec!["a", "b"], vec!["a/b", "/a", "$internal"]),
        ("#", vec!["a", "a/b/c", "/"], vec!["$internal/a"]),
        ("$internal/#", vec!["$internal/a"], vec!["internal/a"]),
        ("/+", vec!["/a"], vec!["a", "a/b"]),
        ("gr\u{fc}n/+", vec!["gr\u{fc}n/\u{1F33F}"], vec!["grun/x"]),
    ];
    for version in Version::ALL {
        for (filter, matching, other) in &cases {
            let mut client = gateway.tcp(version, "wildcards").connect().await;
            assert_eq!(client.subscribe(filter, 1).await, 1, "{filter}");
            for topic in other.iter().chain(matching) {
                // A reason of 0x10 says that nobody was there: right for those that do not match.
                assert!(client.publish(Message::new(*topic, *topic).qos(1)).await < 0x80, "{topic}");
            }
            for topic in matching {
                assert_eq!(client.message().await.topic, *topic, "{filter} ({version:?})");
            }
            client.ping().await;
            assert!(client.set_aside().is_empty(), "{filter} matched too much: {:?}", client.set_aside());
            client.disconnect().await;
        }
    }
}

#[tokio::test]
async fn unsubscribing_ends_delivery() {
    let gateway = open_gateway().await;
    for (transport, version) in ways() {
        let topic = named("unsubscribe", transport, version);
        let mut client = gateway.dial(transport, version, &named("leaver", transport, version)).connect().await;
        client.subscribe(&topic, 1).await;
        client.publish(Message::new(&topic, "first").qos(1)).await;
        assert_eq!(&client.message().await.payload[..], b"first");
        let reasons = client.unsubscribe(&topic).await;
        assert_eq!(reasons, if version == Version::V5 { vec![0] } else { vec![] });
        client.publish(Message::new(&topic, "second").qos(1)).await;
        client.ping().await;
        assert!(client.set_aside().is_empty(), "{transport:?} {version:?}");
        if version == Version::V5 {
            assert_eq!(client.unsubscribe(&topic).await, [0x11], "no subscription existed");
        }
    }
}

#[tokio::test]
async fn a_retained_message_waits_for_subscribers_until_it_is_cleared() {
    let gateway = open_gateway().await;
    for (transport, version) in ways() {
        let topic = named("retained", transport, version);
        let mut publisher = gateway.dial(transport, version, &named("retainer", transport, version)).connect().await;
        let mut live = gateway.dial(transport, version, &named("live", transport, version)).connect().await;
        live.subscribe(&topic, 1).await;
        for text in ["old", "new"] {
            publisher.publish(Message::new(&topic, text).qos(1).retained()).await;
            let message = live.message().await;
            assert_eq!(
                (&message.payload[..], message.retain),
                (text.as_bytes(), false),
                "a live message is not retained"
            );
        }
        let mut late = gateway.dial(transport, version, &named("late", transport, version)).connect().await;
        late.subscribe(&topic, 1).await;
        let message = late.message().await;
        assert_eq!((&message.payload[..], message.retain, message.qos), (&b"new"[..], true, 1));
        late.disconnect().await;

        publisher.publish(Message::new(&topic, "").qos(1).retained()).await;
        assert!(live.message().await.payload.is_empty());
        let mut too_late = gateway.dial(transport, version, &named("too-late", transport, version)).connect().await;
        too_late.subscribe(&topic, 1).await;
        too_late.ping().await;
        assert!(too_late.set_aside().is_empty(), "an empty payload clears ({transport:?} {version:?})");
    }
}

#[tokio::test]
async fn order_is_kept_and_nothing_is_lost_over_each_transport() {
    const COUNT: u32 = 2_000;
    let gateway = open_gateway().await;
    for (transport, version) in ways() {
        for qos in 0..=2 {
            let topic = format!("{}/{qos}", named("order", transport, version));
            let mut subscriber = gateway.dial(transport, version, &named("reader", transport, version)).connect().await;
            subscriber.subscribe(&topic, qos).await;
            let mut publisher = gateway.dial(transport, version, &named("writer", transport, version)).connect().await;
            let send = async {
                // At most so many unacknowledged ones that any server takes them.
                for block in 0..COUNT / 20 {
                    for number in block * 20..(block + 1) * 20 {
                        publisher.post(Message::new(&topic, number.to_be_bytes()).qos(qos)).await;
                    }
                    for _ in 0..20 {
                        settle(&mut publisher, qos).await;
                    }
                }
            };
            let receive = async {
                for number in 0..COUNT {
                    let message = subscriber.message().await;
                    assert_eq!(&message.payload[..], number.to_be_bytes(), "{transport:?} {version:?} QoS {qos}");
                }
            };
            within("all messages", async { tokio::join!(send, receive) }).await;
            subscriber.ping().await;
            assert!(subscriber.set_aside().is_empty(), "no message comes twice");
        }
    }
}

/// Sees one publication through to its end.
async fn settle(publisher: &mut Client, qos: u8) {
    match qos {
        0 => {}
        1 => publisher.wait("PUBACK", |packet| matches!(packet, Incoming::PubAck(..)).then_some(())).await,
        _ => {
            let id = publisher
                .wait("PUBREC", |packet| match packet {
                    Incoming::PubRec(id, _) => Some(*id),
                    _ => None,
                })
                .await;
            publisher.send(&packets::acknowledgement(0x62, id)).await.unwrap();
            publisher
                .wait("PUBCOMP", |packet| matches!(packet, Incoming::PubComp(done, _) if *done == id).then_some(()))
                .await;
        }
    }
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let gateway = open_gateway().await;
    let payload: Vec<u8> = (0..200_000u32).map(|number| (number % 251) as u8).collect();
    for (transport, version) in ways() {
        let topic = named("large", transport, version);
        let mut subscriber = gateway.dial(transport, version, &named("large-in", transport, version)).connect().await;
        subscriber.subscribe(&topic, 1).await;
        let mut publisher = gateway.dial(transport, version, &named("large-out", transport, version)).connect().await;
        assert!(publisher.publish(Message::new(&topic, payload.clone()).qos(1)).await < 0x80);
        assert!(subscriber.message().await.payload == payload, "{transport:?} {version:?}");
    }
}

#[tokio::test]
async fn packets_may_come_octet_by_octet_or_all_at_once() {
    let gateway = open_gateway().await;
    for (transport, version) in ways() {
        let dial = gateway.dial(transport, version, &named("pieces", transport, version));
        let topic = named("pieces", transport, version);
        let filter = mqttbytes::v5::SubscribeFilter::new(topic.clone(), mqttbytes::QoS::AtMostOnce);
        let mut stream = packets::connect(&dial.hello);
        stream.extend_from_slice(&packets::subscribe(version, 1, None, &[filter]));
        stream.extend_from_slice(&packets::publish(version, &Message::new(&topic, "echo")));
        stream.extend_from_slice(&[0xc0, 0]);

        let pieces: [Vec<&[u8]>; 2] = [stream.chunks(1).collect(), vec![&stream[..]]];
        for pieces in pieces {
            let mut client = Client::raw(dial.route.open().await.unwrap(), version);
            for piece in pieces {
                client.send(piece).await.unwrap();
            }
            client.wait("CONNACK", |packet| matches!(packet, Incoming::ConnAck(_, 0, _)).then_some(())).await;
            client.wait("SUBACK", |packet| matches!(packet, Incoming::SubAck(1, _)).then_some(())).await;
            assert_eq!(&client.message().await.payload[..], b"echo");
            client.wait("PINGRESP", |packet| (*packet == Incoming::PingResp).then_some(())).await;
            client.disconnect().await;
        }
    }
}

#[tokio::test]
async fn a_qos_2_publication_sent_twice_is_delivered_once() {
    let gateway = open_gateway().await;
    for version in Version::ALL {
        let mut client = gateway.tcp(version, "twice").connect().await;
        client.subscribe("twice", 0).await;
        let mut message = Message::new("twice", "once").qos(2);
        message.id = 7;
        client.post(message.clone()).await;
        let received = |packet: &Incoming| matches!(packet, Incoming::PubRec(7, _)).then_some(());
        client.wait("PUBREC", received).await;
        message.dup = true;
        client.post(message).await;
        client.wait("a second PUBREC", received).await;
        client.send(&packets::acknowledgement(0x62, 7)).await.unwrap();
        client.wait("PUBCOMP", |packet| matches!(packet, Incoming::PubComp(7, _)).then_some(())).await;
        assert_eq!(&client.message().await.payload[..], b"once");
        client.ping().await;
        assert!(client.set_aside().is_empty(), "{version:?}");
        client.disconnect().await;
    }
}

#[tokio::test]
async fn one_subscription_of_overlapping_ones_takes_the_highest_quality() {
    let gateway = open_gateway().await;
    let mut client = gateway.dial(Transport::Tcp, Version::V311, "overlap").connect().await;
    client.subscribe("overlap/#", 0).await;
    client.subscribe("overlap/+", 1).await;
    client.publish(Message::new("overlap/x", "m").qos(1)).await;
    client.ping().await;
    let copies: Vec<u8> = client.set_aside().iter().map(|message| message.qos).collect();
    // One copy with the highest quality, or one for each subscription (3.1.1 §3.3.5): never none, never below.
    assert!(copies == [1] || copies == [0, 1] || copies == [1, 0], "{copies:?}");
}

#[tokio::test]
async fn however_much_is_retained_a_new_subscriber_gets_all_of_it() {
    const MANY: usize = 15_000;
    let gateway = open_gateway().await;
    let mut publisher = gateway.tcp(Version::V5, "keeper").connect().await;
    for n in 0..MANY {
        publisher.publish(Message::new(format!("kept/{n}"), "x".repeat(100)).qos(1).retained()).await;
    }
    for (transport, version) in ways() {
        // More than may wait for a client, by number and by octets.
        for qos in [0, 1] {
            let id = format!("{}-{qos}", named("late", transport, version));
            let mut client = gateway.dial(transport, version, &id).connect().await;
            client.subscribe("kept/#", qos).await;
            let mut topics = std::collections::HashSet::new();
            while topics.len() < MANY {
                let message = client.message().await;
                assert!(message.retain && topics.insert(message.topic), "{transport:?} {version:?}");
            }
            client.disconnect().await;
        }
    }
}
