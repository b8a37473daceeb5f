//! Grants are enforced natively: on publish, on retain, on the will, on subscribe, and on delivery.

use mqttbytes::QoS;
use mqttbytes::v5::SubscribeFilter;
use portcullis_tests::{Config, Gateway, Message, Transport, Version};

use crate::{named, ways};

/// Everybody is let in on these terms, on all transports.
async fn gateway(rules: &str) -> Gateway {
    let config = Config::everywhere(&["anonymous"]).toml(&format!(
        "[[policy]]\nname = \"anonymous\"\nsource = \"builtin:anonymous\"\n[policy.config]\nrules = [{rules}]"
    ));
    Gateway::start(&config).await
}

const RULES: &str = r#"
  { actions = ["publish", "subscribe"], filter = "open/#" },
  { actions = "retain", filter = "open/kept/#" },
  { actions = "will", filter = "open/wills/#" },
  { effect = "deny", actions = ["publish", "subscribe"], filter = "open/secret/#" },
  { actions = ["publish", "subscribe"], filter = "low/#", max-qos = 1 },
  { actions = "publish", filter = "dropbox" },
  { actions = "subscribe", filter = "news/#" },
"#;

#[tokio::test]
async fn a_publication_that_is_not_granted_reaches_nobody_and_is_told() {
    let gateway = gateway(RULES).await;
    for (transport, version) in ways() {
        let mut watcher = gateway.dial(transport, version, &named("watcher", transport, version)).connect().await;
        watcher.subscribe("open/#", 2).await;
        watcher.subscribe("news/#", 2).await;
        for topic in ["news/x", "elsewhere", "open/secret/x"] {
            let mut publisher =
                gateway.dial(transport, version, &named("publisher", transport, version)).connect().await;
            if version == Version::V5 {
                for qos in [1, 2] {
                    assert_eq!(publisher.publish(Message::new(topic, "no").qos(qos)).await, 0x87, "{topic}");
                }
                publisher.publish(Message::new(topic, "no")).await;
                publisher.publish(Message::new("open/x", "yes").qos(1)).await;
                publisher.disconnect().await;
            } else {
                // 3.1.1 §3.3.5 leaves two ways: acknowledge and drop, or close. Ours is told in the README.
                publisher.post(Message::new(topic, "no").qos(1)).await;
                let mut other = gateway.dial(transport, version, &named("other", transport, version)).connect().await;
                other.publish(Message::new("open/x", "yes").qos(1)).await;
                other.disconnect().await;
            }
            let message = watcher.message().await;
            assert_eq!((message.topic.as_str(), &message.payload[..]), ("open/x", &b"yes"[..]), "{topic}: {version:?}");
        }
    }
}

#[tokio::test]
async fn a_quality_of_service_above_the_grant_is_refused() {
    let gateway = gateway(RULES).await;
    let mut client = gateway.tcp(Version::V5, "quality").connect().await;
    assert_eq!(client.subscribe("low/#", 2).await, 1, "a subscription is granted at most that");
    assert_eq!(client.publish(Message::new("low/x", "2").qos(2)).await, 0x87);
    assert_eq!(client.publish(Message::new("low/x", "1").qos(1)).await, 0);
    let message = client.message().await;
    assert_eq!((&message.payload[..], message.qos), (&b"1"[..], 1));
}

#[tokio::test]
async fn retaining_needs_its_own_right() {
    let gateway = gateway(RULES).await;
    let mut client = gateway.tcp(Version::V5, "retainer").connect().await;
    assert_eq!(client.publish(Message::new("open/x", "no").qos(1).retained()).await, 0x87);
    assert!(client.publish(Message::new("open/kept/x", "yes").qos(1).retained()).await < 0x80);
    client.subscribe("open/#", 1).await;
    client.ping().await;
    let kept: Vec<&str> = client.set_aside().iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(kept, ["open/kept/x"]);
}

#[tokio::test]
async fn a_will_that_is_not_granted_refuses_the_client() {
    let gateway = gateway(RULES).await;
    for (transport, version) in ways() {
        let dial = |will| gateway.dial(transport, version, &named("will", transport, version)).will(will);
        let code = if version == Version::V5 { 0x87 } else { 5 };
        for topic in ["open/x", "open/secret/x", "elsewhere"] {
            assert_eq!(dial(Message::new(topic, "w")).refusal().await, code, "{topic} {transport:?} {version:?}");
        }
        // A will that is retained needs the right to retain as well.
        assert_eq!(dial(Message::new("open/wills/x", "w").retained()).refusal().await, code);
    }
}

#[tokio::test]
async fn a_subscription_must_lie_within_the_grant() {
    let gateway = gateway(RULES).await;
    for (transport, version) in ways() {
        let mut client = gateway.dial(transport, version, &named("reader", transport, version)).connect().await;
        let refused = if version == Version::V5 { 0x87 } else { 0x80 };
        for filter in ["#", "+/x", "elsewhere", "dropbox", "open/secret/#", "open/secret/x", "+/news"] {
            assert_eq!(client.subscribe(filter, 1).await, refused, "{filter} {transport:?} {version:?}");
        }
        for filter in ["open/#", "open/+", "open/a/b", "news/#", "news"] {
            assert_eq!(client.subscribe(filter, 1).await, 1, "{filter} {transport:?} {version:?}");
        }
        let filters = ["news/a", "elsewhere", "open/a"].map(|path| SubscribeFilter::new(path.into(), QoS::AtLeastOnce));
        assert_eq!(client.subscribe_with(None, &filters).await, [1, refused, 1], "each filter for itself");
    }
}

#[tokio::test]
async fn denied_topics_are_left_out_of_what_a_wider_subscription_delivers() {
    // Who may publish what others may not read: two listeners, two policies.
    let config = Config::new()
        .mqtt("tcp", Transport::Tcp, &["readers"])
        .mqtt("writers", Transport::Tcp, &["anonymous"])
        .toml(&format!(
            "[[policy]]\nname = \"readers\"\nsource = \"builtin:anonymous\"\n[policy.config]\nrules = [{RULES}]"
        ));
    let gateway = Gateway::start(&config).await;
    let write = gateway.route_to("writers", Transport::Tcp);
    let mut writer = portcullis_tests::Dial::new(write, Version::V5, "writer").connect().await;
    writer.publish(Message::new("open/secret/kept", "hidden").qos(1).retained()).await;
    writer.publish(Message::new("open/kept", "shown").qos(1).retained()).await;
    for version in Version::ALL {
        let mut reader = gateway.tcp(version, "reader").connect().await;
        assert_eq!(reader.subscribe("open/#", 1).await, 1);
        assert_eq!(reader.message().await.topic, "open/kept", "retained messages are checked too ({version:?})");
        writer.publish(Message::new("open/secret/now", "hidden").qos(1)).await;
        writer.publish(Message::new("open/now", "shown").qos(1)).await;
        assert_eq!(reader.message().await.topic, "open/now", "{version:?}");
        reader.disconnect().await;
    }
}

#[tokio::test]
async fn limits_of_a_grant_bound_the_session() {
    let config = Config::tcp(&["anonymous"]).toml(
        "[[policy]]\nname = \"anonymous\"\nsource = \"builtin:anonymous\"\n\
         config = { limits = { packet-size = 1024, subscriptions = 2, keep-alive = 30 } }",
    );
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.tcp(Version::V5, "bounded").connect().await;
    let told = client.properties.clone().unwrap();
    assert_eq!((told.max_packet_size, told.server_keep_alive), (Some(1024), Some(30)));
    assert_eq!(client.subscribe("a", 0).await, 0);
    assert_eq!(client.subscribe("b", 0).await, 0);
    assert_eq!(client.subscribe("c", 0).await, 0x97, "quota exceeded");
    assert_eq!(client.subscribe("a", 1).await, 1, "an existing one may be changed");
    client.post(Message::new("a", vec![0; 2_000])).await;
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x95));
}

#[tokio::test]
async fn a_grant_bounds_an_identitys_connections_and_what_waits_for_its_sessions() {
    let bounds = [
        ("one", "connections = 1"),
        ("window", "receive-maximum = 2"),
        ("brief", "session-expiry = 1"),
        ("few", "queued-messages = 2"),
        ("small", "queued-bytes = 1000"),
        ("slow", "publish-bytes-per-second = 1000"),
    ];
    let config = bounds.into_iter().fold(Config::tcp(&["anonymous"]), |config, (name, limit)| {
        config.mqtt(name, Transport::Tcp, &[name]).toml(&format!(
            "[[policy]]\nname = {name:?}\nsource = \"builtin:anonymous\"\nconfig = {{ limits = {{ {limit} }} }}"
        ))
    });
    let gateway = Gateway::start(&config).await;
    let dial = |listener: &str, client_id: &str| {
        portcullis_tests::Dial::new(gateway.route_to(listener, Transport::Tcp), Version::V5, client_id)
    };
    // While nobody else is there: all are of one identity.
    let first = dial("one", "first").connect().await;
    assert_eq!(dial("one", "second").refusal().await, 0x97);
    first.disconnect().await;
    portcullis_tests::within("a free place", async { while dial("one", "second").attempt().await.is_err() {} }).await;

    let mut publisher = gateway.tcp(Version::V5, "publisher").connect().await;
    let mut narrow = dial("window", "narrow").connect().await;
    narrow.acknowledge = false;
    narrow.subscribe("window", 1).await;
    for number in 0..3u8 {
        publisher.publish(Message::new("window", [number]).qos(1)).await;
    }
    narrow.ping().await;
    assert_eq!(narrow.set_aside().len(), 2, "no more than that are in flight");

    let brief = dial("brief", "brief").durable().connect().await;
    let told = brief.properties.as_ref().and_then(|properties| properties.session_expiry_interval);
    assert_eq!(told, Some(1), "five minutes were asked for");

    for (listener, expected) in [("few", [0, 0, 0x97]), ("small", [0, 0x97, 0x97])] {
        let mut away = dial(listener, listener).durable().connect().await;
        away.subscribe(listener, 1).await;
        away.disconnect().await;
        for code in expected {
            assert_eq!(publisher.publish(Message::new(listener, vec![b'.'; 600]).qos(1)).await, code, "{listener}");
        }
    }

    let mut slow = dial("slow", "slow").connect().await;
    slow.post(Message::new("slow", vec![b'.'; 2_000])).await;
    assert_eq!(slow.ended().await.map(|(reason, _)| reason), Some(0x96));
}

#[tokio::test]
async fn what_the_gateway_says_of_itself_is_for_those_whose_grant_names_it() {
    let rules = r##"{ actions = "subscribe", filter = "#" }, { actions = "subscribe", filter = "$SYS/broker/#" }"##;
    let gateway = gateway(rules).await;
    let mut client = gateway.tcp(Version::V5, "operator").connect().await;
    assert_eq!(client.subscribe("$SYS/#", 0).await, 0x87, "no more than the grant names");
    assert_eq!(client.subscribe("$SYS/broker/#", 0).await, 0);
    let mut wanted = std::collections::BTreeSet::from([
        "version",
        "uptime",
        "clients/connected",
        "clients/total",
        "messages/received",
        "messages/sent",
        "bytes/received",
        "subscriptions/count",
        "retained messages/count",
        "load/messages/received/1min",
        "load/messages/sent/15min",
    ]);
    while !wanted.is_empty() {
        let message = client.message().await;
        let topic = message.topic.strip_prefix("$SYS/broker/").expect("what was subscribed to");
        wanted.remove(topic);
        assert!(!message.payload.is_empty(), "{topic}");
    }
}

#[tokio::test]
async fn topics_longer_or_deeper_than_a_grant_allows_are_refused() {
    let config = Config::tcp(&["anonymous"]).toml(
        "[[policy]]\nname = \"anonymous\"\nsource = \"builtin:anonymous\"\n\
         config = { limits = { topic-length = 16, topic-levels = 3 } }",
    );
    let gateway = Gateway::start(&config).await;
    for topic in ["a/b/c/d", "seventeen/octets/"] {
        let mut client = gateway.tcp(Version::V5, "bounded").connect().await;
        assert_eq!(client.subscribe(topic, 0).await, 0x8F);
        assert_eq!(client.subscribe("a/b/c", 0).await, 0);
        assert_eq!(client.publish(Message::new("sixteen/octets/a", "fits").qos(1)).await, 0x10);
        client.post(Message::new(topic, "does not")).await;
        assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x90));
        let dial = gateway.tcp(Version::V5, "bounded").will(Message::new(topic, "gone"));
        assert_eq!(dial.refusal().await, 0x90);
    }
}

#[tokio::test]
async fn what_an_identity_may_retain_is_bounded_across_its_clients_and_restarts() {
    let config = Config::tcp(&["anonymous"])
        .mqtt_with("tight", Transport::Tcp, &["anonymous"], "limits = { retained-bytes = \"32B\" }")
        .toml(
            "[[policy]]\nname = \"anonymous\"\nsource = \"builtin:anonymous\"\n\
             config = { limits = { retained-messages = 2, retained-bytes = 200 } }",
        );
    let mut gateway = Gateway::start(&config).await;
    let retained = |topic: &str, payload: Vec<u8>| Message::new(topic, payload).qos(1).retained();
    let mut client = gateway.tcp(Version::V5, "one").connect().await;
    assert_eq!(client.publish(retained("a", vec![b'.'; 8])).await, 0x10);
    assert_eq!(client.publish(retained("b", vec![b'.'; 8])).await, 0x10);
    assert_eq!(client.publish(retained("c", vec![b'.'; 8])).await, 0x97, "a third");
    client.disconnect().await;
    gateway = gateway.restart().await;
    let mut client = gateway.tcp(Version::V5, "another").connect().await;
    assert_eq!(client.publish(retained("c", vec![b'.'; 8])).await, 0x97, "the identity is the same");
    // Nor does a will find a way around.
    let dead = gateway.tcp(Version::V5, "dies").will(retained("c", vec![b'.'; 8])).connect().await;
    client.subscribe("c", 0).await;
    drop(dead);
    assert_eq!(client.message().await.topic, "c", "it is heard by those who are there");
    let mut late = gateway.tcp(Version::V5, "late").connect().await;
    late.subscribe("#", 0).await;
    let mut topics = [late.message().await.topic, late.message().await.topic];
    topics.sort();
    assert_eq!(topics, ["a", "b"]);
    late.ping().await;
    assert!(late.set_aside().is_empty());
    // What is there may be replaced and removed, within the octets.
    assert_eq!(client.publish(retained("a", vec![b'.'; 300])).await, 0x97);
    let tight = portcullis_tests::Dial::new(gateway.route_to("tight", Transport::Tcp), Version::V5, "tight");
    let mut tight = tight.connect().await;
    assert_eq!(tight.publish(retained("a", vec![b'.'; 60])).await, 0x97, "the listener's bound is lower");
    assert!(matches!(client.publish(retained("a", vec![b'.'; 60])).await, 0 | 0x10));
    assert!(matches!(client.publish(retained("b", Vec::new())).await, 0 | 0x10));
    assert!(matches!(client.publish(retained("c", vec![b'.'; 8])).await, 0 | 0x10));
}
