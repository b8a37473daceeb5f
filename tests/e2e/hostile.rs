//! Hostile policies: none of them goes live, the old one stays, the error says what is wrong; and what turns bad only
//! when it is called refuses clients and harms nobody else.

use portcullis_tests::{Config, Gateway, Message, Transport, Version, policies};

/// A deadline for policies that are to answer.
const PATIENT: &str = "20s";

/// Listener `tcp` behind the policy of `policy.wasm`, listener `steady` behind a bundled one.
fn config(component: Vec<u8>, deadline: &str) -> Config {
    Config::new()
        .mqtt("tcp", Transport::Tcp, &["candidate"])
        .mqtt("steady", Transport::Tcp, &["anonymous"])
        .toml(&format!(
            "[[policy]]\nname = \"candidate\"\nsource = \"policy.wasm\"\nlimits = {{ deadline = \"{deadline}\" }}"
        ))
        .file("policy.wasm", component)
}

/// What makes a candidate bad, the component, and the words that the error must have.
type Case = (&'static str, Vec<u8>, &'static [&'static str]);

fn candidates() -> Vec<Case> {
    vec![
        ("garbage", policies::garbage(), &["WebAssembly"]),
        ("empty", Vec::new(), &["WebAssembly"]),
        ("a core module", policies::core_module(), &["core WebAssembly module", "component new"]),
        ("another world", policies::of_another_world(), &["not a policy"]),
        ("another version", policies::of_another_version(), &["7.0.0", "0.1"]),
        ("a trap at start", policies::trapping_at_start(), &["trap"]),
        ("an endless loop at start", policies::looping_at_start(), &["cannot be started", "did not answer within"]),
        ("a self-test that fails", policies::failing_self_test(), &["the canary is dead"]),
        ("a self-test that traps", policies::trapping_self_test(), &["self-test", "trap"]),
        ("a self-test that never ends", policies::looping_self_test(), &["self-test", "did not answer within"]),
        ("an ungranted jose", policies::wanting_jose(), &["jose", "allow", "keys"]),
        ("an ungranted store", policies::wanting_store(), &["store", "allow", "keyvalue"]),
        ("an ungranted directory", policies::wanting_directory(), &["directory", "allow"]),
    ]
}

#[tokio::test]
async fn no_hostile_candidate_goes_live() {
    let mut gateway = Gateway::start(&config(policies::bundled("anonymous"), PATIENT)).await;
    let mut client = gateway.tcp(Version::V5, "resident").connect().await;
    client.subscribe("resident", 1).await;
    for (what, component, words) in candidates() {
        portcullis_tests::config::replace(&gateway.directory().join("policy.wasm"), &component);
        let output = gateway.command(&["policy", "reload", "candidate"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{what} went live");
        assert!(said.contains("candidate"), "{what}: {said}");
        for word in words {
            assert!(said.contains(word), "{what}: {word:?} is not in: {said}");
        }
        gateway.tcp(Version::V311, "newcomer").connect().await.disconnect().await;
        client.publish(Message::new("resident", what).qos(1)).await;
        assert_eq!(&client.message().await.payload[..], what.as_bytes());
    }
    // SIGHUP and the changed file end in the same place.
    let from = gateway.log().len();
    portcullis_tests::config::replace(&gateway.directory().join("policy.wasm"), &policies::failing_self_test());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "the canary is dead").await;
    client.ping().await;
    gateway.tcp(Version::V5, "newcomer").connect().await.disconnect().await;

    // And the way back is open.
    portcullis_tests::config::replace(&gateway.directory().join("policy.wasm"), &policies::passing_self_test());
    let _ = gateway.ask(&["policy", "reload", "candidate"]);
    assert_eq!(gateway.tcp(Version::V5, "newcomer").refusal().await, 0x86, "the new one passes on everything");
}

#[tokio::test]
async fn the_gateway_does_not_start_on_a_hostile_policy() {
    for (what, component, words) in candidates() {
        let Err(failure) = Gateway::attempt(&config(component, PATIENT)).await else { panic!("{what} is live") };
        for word in words {
            assert!(failure.err.contains(word), "{what}: {word:?} is not in: {}", failure.err);
        }
        assert!(!failure.err.contains("panicked"), "{what}: {}", failure.err);
    }
}

#[tokio::test]
async fn a_policy_that_turns_bad_fails_closed() {
    let bad = [
        ("traps", policies::trapping()),
        ("never returns", policies::looping()),
        ("takes all memory", policies::hungry()),
    ];
    for (what, component) in bad {
        let gateway = Gateway::start(&config(component, "200ms")).await;
        for (version, code) in [(Version::V31, 3), (Version::V311, 3), (Version::V5, 0x88)] {
            assert_eq!(gateway.tcp(version, "victim").refusal().await, code, "{what}, {version:?}");
        }
        // Its listener's neighbour does not notice, even while many calls are on their way.
        let mut attempts = tokio::task::JoinSet::new();
        for number in 0..20 {
            let dial = gateway.tcp(Version::V5, &format!("victim-{number}"));
            attempts.spawn(async move { dial.refusal().await });
        }
        let steady = gateway.route_to("steady", Transport::Tcp);
        let mut neighbour = portcullis_tests::Dial::new(steady, Version::V5, "neighbour").connect().await;
        neighbour.subscribe("steady", 1).await;
        neighbour.publish(Message::new("steady", "unmoved").qos(1)).await;
        assert_eq!(&neighbour.message().await.payload[..], b"unmoved");
        while let Some(code) = attempts.join_next().await {
            assert!(matches!(code.unwrap(), 0x88 | 0x89), "{what}");
        }
    }
}

#[tokio::test]
async fn memory_beyond_the_limit_is_not_given() {
    let gateway = Gateway::start(&config(policies::hungry(), PATIENT)).await;
    let (before, _) = gateway.memory();
    for number in 0..50 {
        assert_eq!(gateway.tcp(Version::V5, &format!("eater-{number}")).refusal().await, 0x88);
    }
    let (_, most) = gateway.memory();
    assert!(most - before < 128 << 20, "{} MiB more than before", (most - before) >> 20);
}

#[tokio::test]
async fn a_policy_that_passes_on_everything_lets_nobody_in() {
    let gateway = Gateway::start(&config(policies::passing(), PATIENT)).await;
    assert_eq!(gateway.tcp(Version::V311, "x").refusal().await, 4);
    assert_eq!(gateway.tcp(Version::V5, "x").refusal().await, 0x86);
}
