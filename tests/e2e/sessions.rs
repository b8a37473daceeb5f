//! Sessions: wills, take-over, keep-alive, and what is remembered of a client that is away.

use portcullis_tests::packets::{Incoming, Will};
use portcullis_tests::{Config, Gateway, Message, Version};

use crate::{named, open_gateway, ways};

#[tokio::test]
async fn a_will_is_published_when_the_connection_breaks() {
    let gateway = open_gateway().await;
    for (transport, version) in ways() {
        let topic = named("will", transport, version);
        let mut watcher = gateway.dial(transport, version, &named("watcher", transport, version)).connect().await;
        watcher.subscribe(&topic, 1).await;
        let will = Message::new(&topic, "gone").qos(1).retained();
        let mortal = gateway.dial(transport, version, &named("mortal", transport, version)).will(will.clone());

        drop(mortal.connect().await);
        let message = watcher.message().await;
        assert_eq!((&message.payload[..], message.qos), (&b"gone"[..], 1), "{transport:?} {version:?}");
        let mut late = gateway.dial(transport, version, &named("mourner", transport, version)).connect().await;
        late.subscribe(&topic, 1).await;
        assert!(late.message().await.retain, "the will was retained");

        mortal.connect().await.disconnect().await;
        watcher.ping().await;
        assert!(watcher.set_aside().is_empty(), "DISCONNECT takes the will back ({transport:?} {version:?})");
    }
}

#[tokio::test]
async fn disconnect_with_will_publishes_it() {
    let gateway = open_gateway().await;
    let mut watcher = gateway.tcp(Version::V5, "watcher").connect().await;
    watcher.subscribe("will", 1).await;
    let mortal = gateway.tcp(Version::V5, "mortal").will(Message::new("will", "asked for").qos(1));
    let mut client = mortal.connect().await;
    client.send(&[0xe0, 1, 0x04]).await.unwrap();
    assert_eq!(&watcher.message().await.payload[..], b"asked for");
}

#[tokio::test]
async fn a_will_carries_its_properties() {
    let gateway = open_gateway().await;
    let mut watcher = gateway.tcp(Version::V5, "watcher").connect().await;
    watcher.subscribe("will", 1).await;
    let message = Message::new("will", "bye").with(|properties| {
        properties.content_type = Some("text/plain".into());
        properties.response_topic = Some("will/answers".into());
        properties.correlation_data = Some(vec![0, 255].into());
        properties.payload_format_indicator = Some(1);
        properties.user_properties = vec![("a".into(), "1".into()), ("a".into(), "2".into())];
    });
    drop(gateway.tcp(Version::V5, "mortal").will(message.clone()).connect().await);
    assert_eq!(watcher.message().await.properties, message.properties);
}

#[tokio::test]
async fn a_delayed_will_is_taken_back_by_a_client_that_returns() {
    let gateway = open_gateway().await;
    let mut watcher = gateway.tcp(Version::V5, "watcher").connect().await;
    watcher.subscribe("will/#", 1).await;
    let will = |topic: &str, delay| Will { message: Message::new(topic, "late"), delay: Some(delay) };
    let patient = gateway.tcp(Version::V5, "patient").durable().will(will("will/patient", 300));
    drop(patient.connect().await);
    let mut returned = patient.connect().await;
    assert!(returned.session_present);
    returned.ping().await;
    // A second one whose delay is over at once shows that the first was not merely slow.
    drop(gateway.tcp(Version::V5, "hasty").durable().will(will("will/hasty", 1)).connect().await);
    assert_eq!(watcher.message().await.topic, "will/hasty");
}

#[tokio::test]
async fn a_second_connection_takes_the_session_over() {
    let gateway = open_gateway().await;
    for (transport, version) in ways() {
        let dial = gateway.dial(transport, version, &named("twin", transport, version));
        let mut first = dial.connect().await;
        let mut second = dial.connect().await;
        let reason = first.ended().await.map(|(reason, _)| reason);
        assert_eq!(reason, (version == Version::V5).then_some(0x8e), "{transport:?} {version:?}");
        second.ping().await;
    }
}

#[tokio::test]
async fn a_silent_client_is_given_up_after_one_and_a_half_keep_alives() {
    let gateway = open_gateway().await;
    for version in Version::ALL {
        let mut watcher = gateway.tcp(version, "watcher").connect().await;
        watcher.subscribe("silence", 0).await;
        let mut dial = gateway.tcp(version, "silent").will(Message::new("silence", "lost"));
        dial.hello.keep_alive = 1;
        let begun = std::time::Instant::now();
        let mut client = dial.connect().await;
        let reason = client.ended().await.map(|(reason, _)| reason);
        assert!(begun.elapsed().as_millis() >= 1_400, "given up after {:?}", begun.elapsed());
        assert_eq!(reason, (version == Version::V5).then_some(0x8d), "{version:?}");
        assert_eq!(&watcher.message().await.payload[..], b"lost");
    }
}

#[tokio::test]
async fn a_session_remembers_subscriptions_and_what_came_meanwhile() {
    let gateway = open_gateway().await;
    for (transport, version) in ways() {
        let topic = named("away", transport, version);
        let dial = gateway.dial(transport, version, &named("traveller", transport, version)).durable();
        let mut client = dial.connect().await;
        assert!(!client.session_present);
        client.subscribe(&topic, 1).await;
        client.disconnect().await;

        let mut publisher = gateway.dial(transport, version, &named("home", transport, version)).connect().await;
        for number in 0..10u8 {
            publisher.publish(Message::new(&topic, [number]).qos(1)).await;
        }
        let mut client = dial.connect().await;
        // MQTT 3.1 has no such flag: the octet is reserved (3.1 §3.2).
        assert!(client.session_present || version == Version::V31, "{transport:?} {version:?}");
        for number in 0..10u8 {
            let message = client.message().await;
            assert_eq!((&message.payload[..], message.qos), (&[number][..], 1), "{transport:?} {version:?}");
        }
        client.disconnect().await;

        let mut dial = dial;
        dial.hello.clean = true;
        let mut client = dial.connect().await;
        assert!(!client.session_present, "a clean start forgets");
        publisher.publish(Message::new(&topic, "for nobody").qos(1)).await;
        client.ping().await;
        assert!(client.set_aside().is_empty());
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again() {
    let gateway = open_gateway().await;
    for version in Version::ALL {
        let dial = gateway.tcp(version, "forgetful").durable();
        let mut client = dial.connect().await;
        client.subscribe("again", 1).await;
        client.acknowledge = false;
        let mut publisher = gateway.tcp(version, "publisher").connect().await;
        publisher.publish(Message::new("again", "one").qos(1)).await;
        let first = client.message().await;
        drop(client);

        let mut client = dial.connect().await;
        let second = client.message().await;
        assert_eq!((second.dup, second.id, &second.payload), (true, first.id, &first.payload), "{version:?}");
        client.ping().await;
        client.disconnect().await;
        let mut client = dial.connect().await;
        client.ping().await;
        assert!(client.set_aside().is_empty(), "what was acknowledged is not sent again ({version:?})");
        let mut dial = dial;
        dial.hello.clean = true;
        dial.connect().await.disconnect().await;
    }
}

#[tokio::test]
async fn an_mqtt_5_session_ends_with_its_connection_unless_told_otherwise() {
    let gateway = open_gateway().await;
    let mut dial = gateway.tcp(Version::V5, "brief");
    dial.hello.clean = false;
    let mut client = dial.connect().await;
    client.subscribe("brief", 1).await;
    client.disconnect().await;
    assert!(!dial.connect().await.session_present);
}

#[tokio::test]
async fn a_client_without_an_identifier_is_given_one() {
    let gateway = open_gateway().await;
    let mut first = gateway.tcp(Version::V5, "").connect().await;
    let mut second = gateway.tcp(Version::V5, "").connect().await;
    let assigned = |client: &portcullis_tests::Client| {
        client.properties.as_ref().and_then(|properties| properties.assigned_client_identifier.clone()).unwrap()
    };
    assert_ne!(assigned(&first), assigned(&second));
    first.ping().await;
    second.ping().await;
    gateway.tcp(Version::V311, "").connect().await.ping().await;
    let mut lasting = gateway.tcp(Version::V311, "");
    lasting.hello.clean = false;
    assert_eq!(lasting.refusal().await, 2, "MQTT 3.1.1 section 3.1.3.1");
}

#[tokio::test]
async fn stopping_tells_mqtt_5_clients_and_publishes_no_will_twice() {
    let mut gateway = Gateway::start(&Config::tcp(&["anonymous"])).await;
    let mut new = gateway.tcp(Version::V5, "new").connect().await;
    let mut old = gateway.tcp(Version::V311, "old").connect().await;
    let status = gateway.stop().await;
    assert!(status.success(), "{status}");
    assert_eq!(new.ended().await.map(|(reason, _)| reason), Some(0x8b), "server shutting down");
    assert_eq!(old.ended().await, None);
}

#[tokio::test]
async fn messages_to_oneself_come_back() {
    let gateway = open_gateway().await;
    let mut client = gateway.tcp(Version::V311, "echo").connect().await;
    client.subscribe("echo", 0).await;
    client.publish(Message::new("echo", "hello")).await;
    assert!(matches!(client.next().await, Some(Incoming::Publish(message)) if &message.payload[..] == b"hello"));
}
