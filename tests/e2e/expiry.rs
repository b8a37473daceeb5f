//! A grant ends when it says: the session is ended with the reason, and the will is published.

use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Gateway, Message, Transport, Version};
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

    let end = now() + 3;
    let short = key.token(&json!({ "iss": "tests", "sub": "short", "exp": end }));
    let long = key.token(&json!({ "iss": "tests", "sub": "long", "exp": now() + 600 }));
    let mut mortals = Vec::new();
    for (transport, version) in ways() {
        let name = named("mortal", transport, version);
        let dial = gateway.dial(transport, version, &name).login("short", &short);
        let mut client = dial.will(Message::new(format!("expired/{name}"), "w").qos(1)).connect().await;
        client.subscribe("anything", 1).await;
        mortals.push((name, version, client));
    }
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
    let mut wills: Vec<String> = Vec::new();
    for _ in &mortals {
        wills.push(watcher.message().await.topic);
    }
    wills.sort();
    let mut expected: Vec<String> = mortals.iter().map(|(name, ..)| format!("expired/{name}")).collect();
    expected.sort();
    assert_eq!(wills, expected, "each will once");
    survivor.ping().await;
    assert_eq!(gateway.tcp(Version::V5, "late").login("short", &short).refusal().await, 0x86);
}
