//! Logins of a running gateway are recorded without their secrets, and put to another version of the policy.

use std::process::Stdio;

use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Gateway, Version, gateway, policies, within};
use serde_json::{Value, json};

/// A policy for tokens of one issuer, with rules for `filter`.
fn entry(key: &SigningKey, filter: &str) -> String {
    format!(
        "[[policy]]\nname = \"tokens\"\nsource = \"jwt.wasm\"\nallow = {{ directory = \"write\", keys = [] }}\n\
         [policy.config]\nusername = \"any\"\n\
         rules = [{{ actions = [\"publish\", \"subscribe\"], filter = \"{filter}\" }}]\n\
         [[policy.config.issuers]]\nissuer = \"tests\"\nalgorithms = \"ES256\"\nkeys = {{ pem = '''{}''' }}",
        key.public_pem()
    )
}

/// Begins to record, and returns when logins are being recorded.
async fn record(gateway: &Gateway, more: &[&str]) -> tokio::process::Child {
    let data = gateway.data();
    let mut command =
        gateway::command(gateway.directory(), &["policy", "record", "tokens", "-o", "recording", "--data"]);
    command.arg(data).args(more).stderr(Stdio::piped());
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    let file = gateway.directory().join("recording");
    within("the beginning of the recording", async {
        while !std::fs::read_to_string(&file).is_ok_and(|text| !text.is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    child
}

fn replay(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments: Vec<&str> = ["policy", "replay"].iter().chain(arguments).copied().collect();
    let output = gateway::run(gateway.directory(), &arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[tokio::test]
async fn recorded_logins_have_no_secrets_and_show_what_another_version_would_decide() {
    let (key, stranger) = (SigningKey::new("ES256"), SigningKey::new("ES256"));
    let token = |key: &SigningKey| key.token(&json!({ "iss": "tests", "sub": "ada", "exp": now() + 3600 }));
    let (good, bad) = (token(&key), token(&stranger));
    let config = Config::tcp(&["tokens"]).file("jwt.wasm", policies::bundled("jwt")).toml(&entry(&key, "a/#"));
    let gateway = Gateway::start(&config).await;

    let recording = record(&gateway, &["--for", "1h"]).await;
    for number in 0..3 {
        let name = format!("client-{number}");
        gateway.tcp(Version::V5, &name).login("ada", &good).connect().await.disconnect().await;
    }
    assert_eq!(gateway.tcp(Version::V5, "thief").login("ada", &bad).refusal().await, 0x86);
    assert_eq!(gateway.admin().delete("/api/v1/policies/tokens/recording").await.status, 200);
    let ended = within("the end of the recording", recording.wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && said.contains("4 logins recorded, 0 dropped"), "{said}");

    let text = std::fs::read_to_string(gateway.directory().join("recording")).unwrap();
    for secret in [&good, &bad] {
        for part in secret.split('.') {
            assert!(!text.contains(part), "a part of a token is in the recording");
            let octets: Vec<String> = part.bytes().map(|octet| octet.to_string()).collect();
            assert!(!text.contains(&octets.join(",")), "a part of a token is in the recording as numbers");
        }
    }
    let decision: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert!(decision["verdict"]["Allow"].is_object() && decision["credentials"]["username"] == "ada", "{decision}");

    // The same decides the same, without the tokens and without the keys.
    let same = replay(&gateway, &["jwt.wasm", "recording", "--config", "portcullis.toml"]);
    assert!(same.0 == Some(0) && same.1.contains("4 logins: 4 the same, 0 changed, 0 cannot be told"), "{same:?}");
    // Other rules are a change, and so is another answer.
    let other = std::fs::read_to_string(gateway.directory().join("portcullis.toml")).unwrap().replace("a/#", "b/#");
    std::fs::write(gateway.directory().join("other.toml"), other).unwrap();
    let rules = replay(&gateway, &["jwt.wasm", "recording", "--config", "other.toml"]);
    assert!(rules.0 == Some(1) && rules.1.contains("allow, but rules differs: 3"), "{rules:?}");
    assert!(rules.1.contains("1 the same, 3 changed"), "{rules:?}");
    let open = replay(&gateway, &["builtin:anonymous", "recording", "--json"]);
    let open_shown: Value = serde_json::from_str(&open.1).unwrap();
    let what: Vec<&str> =
        open_shown["changed"].as_array().unwrap().iter().map(|group| group["what"].as_str().unwrap()).collect();
    assert!(open.0 == Some(1) && what.contains(&"deny → allow"), "{open_shown}");
    // A version that asks what was not asked then is not guessed at.
    let unknown = replay(&gateway, &["jwt.wasm", "recording"]);
    assert!(unknown.1.contains("0 the same, 0 changed, 4 cannot be told"), "{unknown:?}");
    assert!(unknown.1.contains("which the recording has no answer to"), "{unknown:?}");
}

#[tokio::test]
async fn a_recording_is_made_once_at_a_time_and_ends_when_nobody_fetches_it() {
    let key = SigningKey::new("ES256");
    let config = Config::tcp(&["tokens"]).file("jwt.wasm", policies::bundled("jwt")).toml(&entry(&key, "a/#"));
    let gateway = Gateway::start(&config).await;
    let recording = record(&gateway, &["--for", "1h", "--with-secrets"]).await;
    let data = gateway.data();
    let again =
        gateway::command(gateway.directory(), &["policy", "record", "tokens", "--data"]).arg(&data).output().unwrap();
    assert!(
        !again.status.success() && String::from_utf8_lossy(&again.stderr).contains("being recorded already"),
        "{again:?}"
    );
    drop(recording);
    let wrong =
        gateway::command(gateway.directory(), &["policy", "record", "nobody", "--data"]).arg(&data).output().unwrap();
    assert_eq!(wrong.status.code(), Some(4), "{wrong:?}");
    let text = std::fs::metadata(gateway.directory().join("recording")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&text.permissions()) & 0o777, 0o600, "only its owner reads it");
}
