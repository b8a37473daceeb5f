//! A grant ends when it says: the session is ended with the reason, and the will is published.

use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Gateway, Message, Transport, Version, in_time, packets};
use serde_json::json;

use crate::{named, ways};

#[tokio::test]
async fn a_token_that_expires_ends_the_session_and_fires_the_will() {
    let key = SigningKey::new("ES256");
    let config = Config::everywhere(&["jwt"]).mqtt("open", Transport::Tcp, &["anonymous"]).toml(&format!(
        "[[policy]]\nname = \"jwt\"\nsource = \"builtin:jwt\"\n[policy.config]\nleeway = 0\n\
         rules = [{{ actions = [\"publish\", \"subscribe\", \"will\"], filter = \"#\" }}]\n\
         [[policy.config.issuers]]\nissuer = \"tests\"\nkeys = {{ pem = '''{}''' }}\nalgorithms = \"ES256\"",
        key.public_pem()
    ));
    let gateway = Gateway::start(&config).await;
    let open = gateway.route_to("open", Transport::Tcp);
    let mut watcher = portcullis_tests::Dial::new(open, Version::V5, "watcher").connect().await;
    watcher.subscribe("expired/#", 1).await;

    let long = key.token(&json!({ "iss": "tests", "sub": "long", "exp": now() + 600 }));
    let (mut mortals, short, end) = in_time("a login on every way", 3, async |seconds| {
        let end = now() + u64::from(seconds);
        let short = key.token(&json!({ "iss": "tests", "sub": "short", "exp": end }));
        let mut mortals = Vec::new();
        for (transport, version) in ways() {
            let topic = format!("expired/{seconds}/{}", named("mortal", transport, version));
            let dial = gateway.dial(transport, version, &named("mortal", transport, version)).login("short", &short);
            match dial.will(Message::new(&topic, "w").qos(1)).attempt().await {
                Ok(mut client) => {
                    // Whether it is still there to hear the answer does not matter.
                    let filter = mqttbytes::v5::SubscribeFilter::new("anything".into(), mqttbytes::QoS::AtLeastOnce);
                    let _ = client.send(&packets::subscribe(version, 1, None, &[filter])).await;
                    mortals.push((topic, version, client));
                }
                Err(_) if now() >= end => return None,
                Err(refused) => panic!("{topic}: {refused:?}"),
            }
        }
        Some((mortals, short, end))
    })
    .await;
    let mut survivor = gateway.tcp(Version::V5, "survivor").login("long", &long).connect().await;
    for (name, version, client) in &mut mortals {
        let reason = client.ended().await;
        assert!(now() >= end, "{name} was ended early");
        match (version, reason) {
            (Version::V5, Some((0x87, Some(text)))) => assert!(text.contains("expired"), "{name}: {text}"),
            (Version::V31 | Version::V311, None) => {}
            (_, other) => panic!("{name}: {other:?}"),
        }
    }
    let mut expected: Vec<String> = mortals.into_iter().map(|(topic, ..)| topic).collect();
    expected.sort();
    let mut wills: Vec<String> = Vec::new();
    while wills.len() < expected.len() {
        let topic = watcher.message().await.topic;
        // Those of an attempt that took too long may come as well.
        wills.extend(expected.contains(&topic).then_some(topic));
    }
    wills.sort();
    assert_eq!(wills, expected, "each will once");
    survivor.ping().await;
    assert_eq!(gateway.tcp(Version::V5, "late").login("short", &short).refusal().await, 0x86);
}
