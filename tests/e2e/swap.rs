//! Policies are swapped a hundred times under load: nobody is disconnected, no QoS 1 message is lost, nobody is wrongly
//! refused or admitted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_tests::tokens::{SigningKey, now, tampered};
use portcullis_tests::{Config, Dial, Gateway, Message, Refused, Transport, Version, config, policies};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{named, ways};

const SWAPS: u32 = 100;
/// So many of them are compiled; after that each comes from the cache of compiled code.
const VARIANTS: u32 = 20;

/// What happened so far: messages delivered, rounds of logins.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    messages: u64,
    logins: u64,
}

/// All transports behind a `jwt` policy of a file, which trusts one issuer. Half of the logins here are refused: by chance one version
/// may refuse more of its few than the one before, and that is not to have it taken back.
pub(crate) fn jwt_of_a_file(key: &SigningKey, chain: &[&str]) -> Config {
    Config::everywhere(chain).file("jwt.wasm", policies::bundled("jwt")).toml(&format!(
        "[[policy]]\nname = \"tokens\"\nsource = \"jwt.wasm\"\nallow = {{ directory = \"write\", keys = [] }}\n\
         rollback = false\n[policy.config]\nusername = \"any\"\n\
         rules = [{{ actions = [\"publish\", \"subscribe\"], filter = \"load/#\" }}]\n\
         [[policy.config.issuers]]\nissuer = \"tests\"\nalgorithms = \"ES256\"\nkeys = {{ pem = '''{}''' }}",
        key.public_pem()
    ))
}

#[tokio::test]
async fn a_hundred_swaps_under_load_hurt_nobody() {
    let key = SigningKey::new("ES256");
    let good = key.token(&json!({ "iss": "tests", "sub": "load", "exp": now() + 3600 }));
    let bad = tampered(&good);
    let gateway = Arc::new(Gateway::start(&jwt_of_a_file(&key, &["tokens"])).await);

    let over = Arc::new(AtomicBool::new(false));
    let (traffic, mut seen) = watch::channel(Traffic::default());
    let mut load = JoinSet::new();
    for (transport, version) in ways() {
        let name = named("resident", transport, version);
        let dial = gateway.dial(transport, version, &name).login("load", &good);
        load.spawn(talk(dial, format!("load/{name}"), Arc::clone(&over), traffic.clone()));
        let name = named("newcomer", transport, version);
        let right = gateway.dial(transport, version, &name).login("load", &good);
        let wrong = gateway.dial(transport, version, &name).login("load", &bad);
        load.spawn(knock(right, wrong, Arc::clone(&over), traffic.clone()));
    }

    let component = policies::bundled("jwt");
    for number in 1..=SWAPS {
        config::replace(&gateway.directory().join("jwt.wasm"), &policies::variant(&component, number % VARIANTS));
        let asked = Arc::clone(&gateway);
        let before = *seen.borrow_and_update();
        tokio::task::spawn_blocking(move || asked.ask(&["policy", "reload", "tokens"])).await.unwrap();
        // Each swap meets live traffic: messages and logins go on between this one and the next.
        let moved = |now: &Traffic| now.messages > before.messages && now.logins > before.logins;
        tokio::select! {
            waited = portcullis_tests::within("traffic between two swaps", seen.wait_for(moved)) => drop(waited.unwrap()),
            Some(ended) = load.join_next() => panic!("a client under load ended: {ended:?}"),
        }
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("a client under load found a fault");
    }
    assert_eq!(gateway.log().matches("policy `tokens` was replaced").count(), SWAPS as usize);
}

/// Publishes to itself with QoS 1, eight at a time, and misses none.
async fn talk(dial: Dial, topic: String, over: Arc<AtomicBool>, traffic: watch::Sender<Traffic>) {
    let mut client = dial.connect().await;
    assert_eq!(client.subscribe(&topic, 1).await, 1);
    let mut next = 0u64;
    while !over.load(Ordering::Relaxed) {
        for number in next..next + 8 {
            client.post(Message::new(&topic, number.to_be_bytes()).qos(1)).await;
        }
        for number in next..next + 8 {
            assert_eq!(&client.message().await.payload[..], number.to_be_bytes(), "{topic}: lost or out of order");
            traffic.send_modify(|traffic| traffic.messages += 1);
        }
        for _ in 0..8 {
            client
                .wait("PUBACK", |packet| match packet {
                    portcullis_tests::Incoming::PubAck(_, reason) => {
                        assert!(*reason < 0x80, "{topic}: refused with {reason:#x}");
                        Some(())
                    }
                    _ => None,
                })
                .await;
        }
        next += 8;
    }
    client.disconnect().await;
}

/// Logs in with a good and a bad token in turn.
async fn knock(right: Dial, wrong: Dial, over: Arc<AtomicBool>, traffic: watch::Sender<Traffic>) {
    let code = if right.hello.version == Version::V5 { 0x86 } else { 4 };
    while !over.load(Ordering::Relaxed) {
        right.connect().await.disconnect().await;
        match wrong.attempt().await {
            Err(Refused::Code(refused, _)) => assert_eq!(refused, code),
            Err(other) => panic!("expected a refusal with a code, got {other:?}"),
            Ok(_) => panic!("a forged token was let in"),
        }
        traffic.send_modify(|traffic| traffic.logins += 1);
    }
}

#[tokio::test]
async fn a_swap_changes_who_comes_in_from_then_on() {
    let key = SigningKey::new("ES256");
    let token = key.token(&json!({ "iss": "tests", "sub": "x", "exp": now() + 3600 }));
    let gateway = Gateway::start(&jwt_of_a_file(&key, &["tokens"])).await;
    let dial = gateway.dial(Transport::Wss, Version::V5, "x").login("x", &token);
    let mut resident = dial.connect().await;
    config::replace(&gateway.directory().join("jwt.wasm"), &policies::passing());
    let _ = gateway.ask(&["policy", "reload", "tokens"]);
    let mut other = dial.clone();
    other.hello.client_id = "other".into();
    assert_eq!(other.refusal().await, 0x86);
    resident.ping().await;
    config::replace(&gateway.directory().join("jwt.wasm"), &policies::bundled("jwt"));
    let _ = gateway.ask(&["policy", "reload", "tokens"]);
    other.connect().await.disconnect().await;
    resident.ping().await;
}
