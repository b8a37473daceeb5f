//! Every language answers every case of `examples/cases.toml` alike: on the desk, and logins in the gateway as well.

use portcullis_tests::binary::root;
use portcullis_tests::{Refused, gateway};
use toml::Value;

use crate::language::Language;
use crate::plant::{Plant, configuration};

async fn logins(language: Language) {
    let plant = Plant::start(language).await;
    let text = std::fs::read_to_string(root().join("examples/cases.toml")).unwrap();
    let cases: toml::Table = text.parse().unwrap();
    // The others are about a world that only the desk can make, or about what the rules of a grant mean.
    let own = ["config", "world", "then", "after"];
    let simple = |case: &&Value| own.iter().all(|key| case.get(key).is_none()) && case["expect"].get("may").is_none();
    let cases: Vec<_> = cases["case"].as_array().unwrap().iter().filter(simple).collect();
    assert!(cases.len() > 20);
    for case in cases {
        let offered = |key: &str| case["connect"].get(key).and_then(Value::as_str);
        let expected = |key: &str| case["expect"].get(key).and_then(Value::as_str);
        let (name, client_id) = (case["name"].as_str().unwrap(), offered("client-id").unwrap());
        let mut dial = plant.dial("mqtt", client_id);
        dial.hello.username = offered("username").map(Into::into);
        dial.hello.password = offered("password").map(Into::into);
        let (code, message) = match dial.attempt().await {
            Ok(client) => {
                client.disconnect().await;
                (0, None)
            }
            Err(Refused::Code(code, message)) => (code, message),
            Err(other) => panic!("{language:?}: {name}: {other:?}"),
        };
        let detail = plant.detail(client_id);
        assert_eq!(code, connack(expected("verdict"), expected("reason")), "{language:?}: {name}: {detail}");
        if let Some(expected) = expected("detail") {
            assert_eq!(detail, expected, "{language:?}: {name}");
        }
        if let Some(expected) = expected("message") {
            assert_eq!(message.as_deref(), Some(expected), "{language:?}: {name}");
        }
    }
}

/// The code of the CONNACK (MQTT 5 §3.2.2.2) that the contract promises for a verdict.
fn connack(verdict: Option<&str>, reason: Option<&str>) -> u8 {
    match (verdict, reason) {
        (Some("allow"), None) => 0x00,
        // There is no other policy that could know the client.
        (Some("pass"), None) | (Some("deny"), Some("bad-credentials")) => 0x86,
        (Some("deny"), Some("client-id-not-valid")) => 0x85,
        (Some("deny"), Some("not-authorized")) => 0x87,
        (Some("deny"), Some("unavailable")) => 0x88,
        (Some("deny"), Some("banned")) => 0x8A,
        other => panic!("{other:?} has no code here"),
    }
}

/// `portcullis policy test`, as somebody does who has just changed an example.
fn desk(language: Language) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("badge.wasm"), language.component()).unwrap();
    let cases = root().join("examples/cases.toml");
    let output = gateway::run(folder.path(), &["policy", "test", "badge.wasm", &cases.to_string_lossy()]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{language:?}: {}\n{out}{err}", output.status);
}

#[tokio::test]
async fn rust_answers_every_case() {
    desk(Language::Rust);
    logins(Language::Rust).await;
}

#[tokio::test]
async fn javascript_answers_every_case() {
    desk(Language::JavaScript);
    logins(Language::JavaScript).await;
}

#[tokio::test]
async fn typescript_answers_every_case() {
    desk(Language::TypeScript);
    logins(Language::TypeScript).await;
}

#[tokio::test]
async fn python_answers_every_case() {
    desk(Language::Python);
    logins(Language::Python).await;
}

#[tokio::test]
async fn c_answers_every_case() {
    desk(Language::C);
    logins(Language::C).await;
}

#[tokio::test]
async fn go_answers_every_case() {
    desk(Language::Go);
    logins(Language::Go).await;
}

#[tokio::test]
async fn a_wrong_configuration_never_goes_live_and_the_self_test_names_the_key() {
    let mut plant = Plant::start(Language::C).await;
    let from = plant.gateway.log().len();
    let wrong = configuration(Language::C, &plant.service.address(), "fresh = 86401");
    wrong.write(plant.gateway.directory());
    plant.gateway.signal(libc::SIGHUP);
    plant.gateway.logged(from, "fresh: not a whole number from 0 to 86400").await;
    plant.holder("mqtt", "1001").connect().await.disconnect().await;
}
