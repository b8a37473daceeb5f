//! MQTT 5: what properties promise.

use mqttbytes::QoS;
use mqttbytes::v5::{RetainForwardRule, SubscribeFilter};
use portcullis_tests::packets::{self, Incoming};
use portcullis_tests::{Config, Gateway, Message, Transport, Version, within};

use crate::open_gateway;

#[tokio::test]
async fn message_properties_are_forwarded_unchanged() {
    let gateway = open_gateway().await;
    for transport in Transport::ALL {
        let mut client = gateway.dial(transport, Version::V5, "properties").connect().await;
        client.subscribe("properties", 2).await;
        let sent = Message::new("properties", "{}").qos(1).with(|properties| {
            properties.payload_format_indicator = Some(1);
            properties.content_type = Some("application/json".into());
            properties.response_topic = Some("answers/\u{e9}".into());
            properties.correlation_data = Some(vec![0, 1, 2, 254, 255].into());
            // Names repeat, and the order is the sender's (§3.3.2.3.7).
            let pairs = [("z", "1"), ("a", "2"), ("z", "3"), ("", "")];
            properties.user_properties = pairs.map(|(name, value)| (name.into(), value.into())).to_vec();
        });
        client.publish(sent.clone()).await;
        assert_eq!(client.message().await.properties, sent.properties, "{transport:?}");
        client.disconnect().await;
    }
}

#[tokio::test]
async fn an_older_client_gets_the_message_without_properties() {
    let gateway = open_gateway().await;
    let mut old = gateway.tcp(Version::V311, "old").connect().await;
    old.subscribe("mixed", 1).await;
    let mut new = gateway.tcp(Version::V5, "new").connect().await;
    let message = Message::new("mixed", "x").qos(1).with(|p| p.content_type = Some("text/plain".into()));
    new.publish(message).await;
    assert_eq!(&old.message().await.payload[..], b"x");
}

#[tokio::test]
async fn a_message_that_waited_says_how_long_it_still_holds() {
    let gateway = open_gateway().await;
    let dial = gateway.tcp(Version::V5, "sleeper").durable();
    let mut client = dial.connect().await;
    client.subscribe("expiry", 1).await;
    client.disconnect().await;
    let mut publisher = gateway.tcp(Version::V5, "publisher").connect().await;
    let expiring = |seconds, text: &str| {
        Message::new("expiry", text).qos(1).with(|properties| properties.message_expiry_interval = Some(seconds))
    };
    publisher.publish(expiring(1, "short")).await;
    publisher.publish(expiring(600, "long")).await;
    // The clock of the short one: its copy for a subscriber that is there and asks until it is gone.
    let mut witness = gateway.tcp(Version::V5, "witness").connect().await;
    publisher.publish(expiring(1, "retained").retained()).await;
    within("the end of a retained message", async {
        loop {
            witness.subscribe("expiry", 1).await;
            witness.ping().await;
            if witness.set_aside().is_empty() {
                break;
            }
            witness.message().await;
        }
    })
    .await;
    let mut client = dial.connect().await;
    let message = client.message().await;
    assert_eq!(&message.payload[..], b"long", "the short one has expired");
    let left = message.properties.message_expiry_interval.unwrap();
    assert!((1..600).contains(&left), "the time that it waited is taken off (§3.3.2.3.3): {left}");
}

#[tokio::test]
async fn a_topic_alias_stands_for_its_topic() {
    let gateway = open_gateway().await;
    let mut client = gateway.tcp(Version::V5, "alias").connect().await;
    let maximum = client.properties.as_ref().and_then(|properties| properties.topic_alias_max).unwrap_or(0);
    assert!(maximum > 0, "the gateway takes aliases");
    client.subscribe("alias/#", 1).await;
    let with =
        |topic: &str, text: &str| Message::new(topic, text).qos(1).with(|properties| properties.topic_alias = Some(1));
    client.publish(with("alias/one", "first")).await;
    client.publish(with("", "second")).await;
    client.publish(with("alias/two", "third")).await;
    client.publish(with("", "fourth")).await;
    for (topic, text) in
        [("alias/one", "first"), ("alias/one", "second"), ("alias/two", "third"), ("alias/two", "fourth")]
    {
        let message = client.message().await;
        assert_eq!((message.topic.as_str(), &message.payload[..]), (topic, text.as_bytes()));
    }
    let mut message = with("alias/three", "x");
    message.properties.topic_alias = Some(maximum.checked_add(1).unwrap());
    client.post(message).await;
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x94), "topic alias invalid");
}

#[tokio::test]
async fn an_alias_that_was_never_set_ends_the_connection() {
    let gateway = open_gateway().await;
    let mut client = gateway.tcp(Version::V5, "unset").connect().await;
    client.post(Message::new("", "x").with(|properties| properties.topic_alias = Some(1))).await;
    let reason = client.ended().await.map(|(reason, _)| reason);
    assert!(matches!(reason, Some(0x82 | 0x94)), "{reason:?}");
}

#[tokio::test]
async fn no_more_than_receive_maximum_are_in_flight() {
    let gateway = open_gateway().await;
    for qos in [1, 2] {
        let mut slow =
            gateway.tcp(Version::V5, "slow").with(|properties| properties.receive_maximum = Some(3)).connect().await;
        slow.acknowledge = false;
        slow.subscribe("flood", qos).await;
        let mut publisher = gateway.tcp(Version::V5, "publisher").connect().await;
        for number in 0..10u8 {
            publisher.publish(Message::new("flood", [number]).qos(qos)).await;
        }
        let mut ids = Vec::new();
        for number in 0..3u8 {
            let message = slow.message().await;
            assert_eq!(&message.payload[..], [number]);
            ids.push(message.id);
        }
        slow.ping().await;
        assert!(slow.set_aside().is_empty(), "a fourth one came unasked for");
        for number in 3..10u8 {
            let id = ids.remove(0);
            if qos == 1 {
                slow.send(&packets::acknowledgement(0x40, id)).await.unwrap();
            } else {
                slow.send(&packets::acknowledgement(0x50, id)).await.unwrap();
                slow.wait("PUBREL", |packet| matches!(packet, Incoming::PubRel(of, _) if *of == id).then_some(()))
                    .await;
                slow.send(&packets::acknowledgement(0x70, id)).await.unwrap();
            }
            let message = slow.message().await;
            assert_eq!(&message.payload[..], [number]);
            ids.push(message.id);
        }
    }
}

#[tokio::test]
async fn a_message_beyond_the_clients_packet_size_is_not_sent() {
    let gateway = open_gateway().await;
    let mut small =
        gateway.tcp(Version::V5, "small").with(|properties| properties.max_packet_size = Some(64)).connect().await;
    small.subscribe("sizes", 1).await;
    let mut publisher = gateway.tcp(Version::V5, "publisher").connect().await;
    publisher.publish(Message::new("sizes", vec![b'x'; 200]).qos(1)).await;
    publisher.publish(Message::new("sizes", "fits").qos(1)).await;
    assert_eq!(&small.message().await.payload[..], b"fits", "§3.1.2.11.4: as if it had been sent");
}

#[tokio::test]
async fn a_packet_beyond_the_gateways_size_ends_the_connection() {
    let config = Config::new().mqtt_with("tcp", Transport::Tcp, &["anonymous"], "limits = { packet-size = \"4KiB\" }");
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.tcp(Version::V5, "big").connect().await;
    assert_eq!(client.properties.as_ref().and_then(|properties| properties.max_packet_size), Some(4096));
    // The header alone decides: the rest is never read.
    client.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await.unwrap();
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x95));
    let mut old = gateway.tcp(Version::V311, "big").connect().await;
    old.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await.unwrap();
    assert_eq!(old.ended().await, None);
}

#[tokio::test]
async fn subscription_identifiers_come_back_with_the_message() {
    let gateway = open_gateway().await;
    let mut client = gateway.tcp(Version::V5, "identifiers").connect().await;
    let filter = |path: &str| SubscribeFilter::new(path.into(), QoS::AtLeastOnce);
    client.subscribe_with(Some(7), &[filter("ids/one")]).await;
    client.subscribe_with(Some(268_435_455), &[filter("ids/two")]).await;
    for (topic, id) in [("ids/one", 7), ("ids/two", 268_435_455)] {
        client.publish(Message::new(topic, "x").qos(1)).await;
        assert_eq!(client.message().await.properties.subscription_identifiers, [id], "{topic}");
    }
}

#[tokio::test]
async fn no_local_keeps_a_clients_own_messages_from_it() {
    let gateway = open_gateway().await;
    let mut client = gateway.tcp(Version::V5, "deaf").connect().await;
    let mut other = gateway.tcp(Version::V5, "other").connect().await;
    let mut filter = SubscribeFilter::new("local".into(), QoS::AtLeastOnce);
    filter.set_nolocal(true);
    client.subscribe_with(None, &[filter]).await;
    client.publish(Message::new("local", "mine").qos(1)).await;
    other.publish(Message::new("local", "theirs").qos(1)).await;
    assert_eq!(&client.message().await.payload[..], b"theirs");
}

#[tokio::test]
async fn retain_handling_and_retain_as_published_are_honoured() {
    let gateway = open_gateway().await;
    let mut client = gateway.tcp(Version::V5, "options").connect().await;
    client.publish(Message::new("options", "kept").qos(1).retained()).await;
    let filter = |rule, keep| {
        let mut filter = SubscribeFilter::new("options".into(), QoS::AtLeastOnce);
        filter.retain_forward_rule = rule;
        filter.preserve_retain = keep;
        filter
    };
    client.subscribe_with(None, &[filter(RetainForwardRule::Never, false)]).await;
    client.ping().await;
    assert!(client.set_aside().is_empty(), "2: never");
    client.subscribe_with(None, &[filter(RetainForwardRule::OnNewSubscribe, false)]).await;
    client.ping().await;
    assert!(client.set_aside().is_empty(), "1: not for a subscription that exists");
    client.unsubscribe("options").await;
    client.subscribe_with(None, &[filter(RetainForwardRule::OnNewSubscribe, true)]).await;
    assert!(client.message().await.retain, "1: for a new subscription");
    client.subscribe_with(None, &[filter(RetainForwardRule::OnEverySubscribe, true)]).await;
    assert!(client.message().await.retain, "0: always");
    client.publish(Message::new("options", "again").qos(1).retained()).await;
    assert!(client.message().await.retain, "as published");
}

#[tokio::test]
async fn a_publication_that_nobody_reads_may_be_told_so_and_is_accepted() {
    let gateway = open_gateway().await;
    let mut client = gateway.tcp(Version::V5, "alone").connect().await;
    let reason = client.publish(Message::new("nobody/reads/this", "x").qos(1)).await;
    assert!(matches!(reason, 0x00 | 0x10), "{reason:#x}");
}
