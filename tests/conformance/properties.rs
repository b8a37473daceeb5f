//! Properties of a message: forwarded unaltered (5 §3.3.2.3), and topic aliases.

use crate::wire::Value;
use crate::*;

/// What a publisher says and every subscriber is told.
fn rich() -> Properties {
    Properties::new()
        .byte(property::PAYLOAD_FORMAT, 1)
        .text(property::CONTENT_TYPE, "application/json")
        .text(property::RESPONSE_TOPIC, "answers/\u{e9}")
        .text(property::CORRELATION_DATA, [0, 1, 254, 255])
        .user("z", "1")
        .user("a", "")
        .user("z", "0")
        .user("", "\u{1F33F}")
}

fn told() -> Vec<(u8, Value)> {
    let pair = |name: &str, value: &str| (property::USER, Value::Pair(name.into(), value.into()));
    vec![
        (property::PAYLOAD_FORMAT, Value::Number(1)),
        (property::CONTENT_TYPE, Value::Text("application/json".into())),
        (property::RESPONSE_TOPIC, Value::Text("answers/\u{e9}".into())),
        (property::CORRELATION_DATA, Value::Blob(vec![0, 1, 254, 255])),
        pair("z", "1"),
        pair("a", ""),
        pair("z", "0"),
        pair("", "\u{1F33F}"),
    ]
}

/// The properties in an order that does not depend on how the server groups them; pairs keep theirs.
fn sorted(mut list: Vec<(u8, Value)>) -> Vec<(u8, Value)> {
    list.sort_by_key(|(id, _)| *id);
    list
}

#[tokio::test]
async fn properties_reach_live_queued_and_late_subscribers_unaltered() {
    let world = World::get().await;
    let topic = name("rich");
    let hello = Hello::new(V5, name("away")).lasting();
    let mut away = world.connect(&hello).await;
    away.subscribe(&topic, 1).await;
    away.leave().await;
    let mut live = world.client(V5).await;
    live.subscribe(&topic, 0).await;
    let mut exact = world.client(V5).await;
    exact.subscribe(&topic, 2).await;
    let mut other = world.client(V5).await;
    other.send(Publish::new(V5, &topic, "{}").qos(2, 1).retained().with(|_| rich()).octets()).await;
    other.reason(kind::PUBREC, 1).await;
    let mut late = world.client(V5).await;
    late.subscribe(&topic, 1).await;
    let mut away = world.connect(&hello).await;
    for peer in [&mut live, &mut exact, &mut late, &mut away] {
        assert_eq!(sorted(peer.receive().await.properties.0), sorted(told()));
    }
}

#[tokio::test]
async fn empty_properties_are_properties() {
    let world = World::get().await;
    let topic = name("empty");
    let mut peer = world.client(V5).await;
    peer.subscribe(&topic, 0).await;
    let list = Properties::new()
        .byte(property::PAYLOAD_FORMAT, 0)
        .text(property::CONTENT_TYPE, "")
        .text(property::CORRELATION_DATA, "");
    peer.send(Publish::new(V5, &topic, "").with(|_| list).octets()).await;
    let got = peer.publication().await.properties;
    assert_eq!(got.number(property::PAYLOAD_FORMAT).unwrap_or(0), 0, "absent means the same");
    assert_eq!(got.text(property::CONTENT_TYPE), Some(""));
    assert!(got.0.contains(&(property::CORRELATION_DATA, Value::Blob(Vec::new()))));
}

#[tokio::test]
async fn older_clients_get_and_give_messages_without_properties() {
    let world = World::get().await;
    let topic = name("mixed");
    let mut new = world.client(V5).await;
    new.subscribe(&topic, 0).await;
    for version in OLD {
        let mut old = world.client(version).await;
        old.subscribe(&topic, 0).await;
        new.send(Publish::new(V5, &topic, "new").with(|_| rich()).octets()).await;
        assert_eq!(old.publication().await.text(), "new");
        assert_eq!(new.publication().await.text(), "new");
        old.send(Publish::new(version, &topic, "old").octets()).await;
        assert_eq!(new.publication().await.properties.0, []);
        old.leave().await;
    }
}

#[tokio::test]
async fn a_response_topic_has_no_wildcards() {
    let world = World::get().await;
    for wrong in ["answers/+", "#", "a/#"] {
        let mut peer = world.client(V5).await;
        let octets = Publish::new(V5, name("ask"), "m").with(|p| p.text(property::RESPONSE_TOPIC, wrong)).octets();
        peer.send(octets).await;
        let came = peer.closed().await;
        assert!(matches!(came[0].reason(V5).0, 0x81 | 0x82 | 0x90), "{wrong}: {came:02x?}");
    }
}

#[tokio::test]
async fn a_client_sends_no_subscription_identifiers() {
    let world = World::get().await;
    let mut peer = world.client(V5).await;
    let octets = Publish::new(V5, name("ids"), "m").with(|p| p.varint(property::SUBSCRIPTION_ID, 1)).octets();
    peer.send(octets).await;
    peer.thrown_out(0x82, "a subscription identifier from a client").await;
}

#[tokio::test]
async fn every_alias_that_was_offered_works() {
    let world = World::get().await;
    let hello = Hello::new(V5, name("aliases"));
    let (mut peer, connack) = Peer::introduce(&world.open(), &hello).await;
    let most = connack.properties.number(property::TOPIC_ALIAS_MAXIMUM).unwrap() as u16;
    let topic = name("alias");
    let alias = |topic: &str, payload: &str, alias: u16| {
        Publish::new(V5, topic, payload).with(|p| p.two(property::TOPIC_ALIAS, alias)).octets()
    };
    peer.subscribe(&format!("{topic}/#"), 0).await;
    for number in 1..=most {
        peer.send(alias(&format!("{topic}/{number}"), "set", number)).await;
    }
    for number in (1..=most).rev() {
        peer.send(alias("", "used", number)).await;
    }
    let all = (1..=most).chain((1..=most).rev());
    for (at, number) in all.enumerate() {
        let message = peer.publication().await;
        assert_eq!(message.topic, format!("{topic}/{number}"));
        assert_eq!(message.text(), if at < usize::from(most) { "set" } else { "used" });
        assert!(!message.properties.has(property::TOPIC_ALIAS), "aliases are of one connection");
    }
    // Set anew, it means the new topic; others keep theirs.
    peer.send([alias(&format!("{topic}/new"), "moved", 1), alias("", "1", 1), alias("", "2", 2)].concat()).await;
    for expected in ["new", "new", "2"] {
        assert_eq!(peer.publication().await.topic, format!("{topic}/{expected}"));
    }
    peer.send(alias(&topic, "m", most + 1)).await;
    peer.thrown_out(0x94, "an alias beyond the maximum").await;
}

#[tokio::test]
async fn aliases_that_mean_nothing_end_the_connection() {
    let world = World::get().await;
    let topic = name("alias");
    for (reason, topic, alias) in [(0x94, topic.as_str(), 0), (0x94, "", 0), (0x82, "", 1)] {
        let mut peer = world.client(V5).await;
        peer.send(Publish::new(V5, topic, "m").with(|p| p.two(property::TOPIC_ALIAS, alias)).octets()).await;
        peer.thrown_out(reason, &format!("{topic:?} with the alias {alias}")).await;
    }
    let mut peer = world.client(V5).await;
    peer.send(Publish::new(V5, "", "m").octets()).await;
    peer.thrown_out(0x82, "neither topic nor alias").await;
}

#[tokio::test]
async fn no_alias_is_sent_to_those_who_take_none() {
    let world = World::get().await;
    let topic = name("long/topic/name/that/would/be/worth/an/alias");
    for hello in
        [Hello::new(V5, name("none")), Hello::new(V5, name("zero")).with(|p| p.two(property::TOPIC_ALIAS_MAXIMUM, 0))]
    {
        let mut peer = world.connect(&hello).await;
        peer.subscribe(&topic, 0).await;
        for _ in 0..5 {
            peer.send(Publish::new(V5, &topic, "m").octets()).await;
            let message = peer.publication().await;
            assert_eq!(message.topic, topic);
            assert!(!message.properties.has(property::TOPIC_ALIAS));
        }
    }
}

#[tokio::test]
async fn aliases_to_a_client_stay_within_its_maximum() {
    let world = World::get().await;
    let base = name("many");
    let hello = Hello::new(V5, name("few")).with(|p| p.two(property::TOPIC_ALIAS_MAXIMUM, 2));
    let mut peer = world.connect(&hello).await;
    peer.subscribe(&format!("{base}/+"), 0).await;
    let mut known: [Option<String>; 2] = [None, None];
    let mut shortened = 0;
    for number in [1, 2, 3, 1, 2, 3, 1, 1, 1, 1] {
        let topic = format!("{base}/{number}");
        peer.send(Publish::new(V5, &topic, "m").octets()).await;
        let message = peer.publication().await;
        // Which topics go by an alias is the server's choice; those that do must be right.
        match message.properties.number(property::TOPIC_ALIAS) {
            None => assert_eq!(message.topic, topic),
            Some(alias) => {
                assert!(alias <= 2, "alias {alias}");
                let place = &mut known[alias as usize - 1];
                if message.topic.is_empty() {
                    shortened += 1;
                } else {
                    *place = Some(message.topic.clone());
                }
                assert_eq!(place.as_deref(), Some(topic.as_str()));
            }
        }
    }
    assert!(shortened > 0, "a topic that comes again and again goes by its alias");
}
