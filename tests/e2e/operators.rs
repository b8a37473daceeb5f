//! Operators in a hurry: files that are no policies any more, and several hands on one policy at a time.

use std::process::Command;
use std::sync::Arc;

use hyper::Method;
use portcullis_tests::{Gateway, Message, Version, config, policies};
use serde_json::json;
use tokio::task::JoinSet;

use crate::versions::{doorman_with, is_open, open, versions};

/// What somebody may put in the place of a policy, by a command of the shell, and a word of the refusal.
const ACCIDENTS: [(&str, &str); 6] = [
    ("truncate -s 3G doorman.wasm", "3221225472 octets"),
    ("mkfifo doorman.wasm", "not a file"),
    ("mkdir doorman.wasm", "not a file"),
    ("ln -s /dev/zero doorman.wasm", "not a file"),
    ("ln -s doorman.wasm doorman.wasm", "symbolic links"),
    ("true", "No such file"),
];

#[tokio::test]
async fn a_source_that_is_no_policy_any_more_costs_a_running_gateway_nothing() {
    let mut gateway = Gateway::start(&doorman_with(open(), "")).await;
    let before = gateway.memory().0;
    let shell = |command: &str| {
        let all = format!("rm -rf doorman.wasm && {command}");
        assert!(Command::new("sh").args(["-c", &all]).current_dir(gateway.directory()).status().unwrap().success());
    };
    for (accident, word) in ACCIDENTS {
        shell(accident);
        let output = gateway.command(&["policy", "reload", "doorman"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(word), "{accident}: {said}");
        let checked = gateway.command(&["check", "portcullis.toml"]);
        assert_eq!(checked.status.code(), Some(3), "{accident}: {}", String::from_utf8_lossy(&checked.stderr));
        assert!(is_open(&gateway).await, "{accident}");
    }
    // Nothing waits for ever behind one of them.
    shell("mkfifo doorman.wasm");
    let from = gateway.log().len();
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "not a file").await;
    let more = gateway.memory().1.saturating_sub(before);
    assert!(more < 256 << 20, "{} MiB more than before", more >> 20);
    Command::new("rm").arg("doorman.wasm").current_dir(gateway.directory()).status().unwrap();
    config::replace(&gateway.directory().join("doorman.wasm"), &policies::variant(&open(), 1));
    let _ = gateway.ask(&["policy", "reload", "doorman"]);
    assert!(is_open(&gateway).await);
}

#[tokio::test]
async fn commands_end_on_what_has_no_end() {
    let gateway = Gateway::start(&doorman_with(open(), "")).await;
    for command in [
        ["policy", "inspect", "/dev/zero"].as_slice(),
        &["policy", "shadow", "doorman", "/dev/zero"],
        &["policy", "test", "doorman.wasm", "/dev/zero"],
        &["check", "/dev/zero"],
    ] {
        let output = gateway.command(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("octets"), "{command:?}: {said}");
    }
}

/// Five hands at once: reloads, roll-backs, promotions. Each is done or refused with a reason, one after the other, and what
/// is live in the end is what is on disk.
#[tokio::test]
async fn many_hands_on_one_policy_leave_one_version() {
    let gateway = Arc::new(Gateway::start(&doorman_with(open(), "")).await);
    let mut resident = gateway.tcp(Version::V5, "resident").connect().await;
    for number in 1..4 {
        config::replace(&gateway.directory().join("doorman.wasm"), &policies::variant(&open(), number));
        let _ = gateway.ask(&["policy", "reload", "doorman"]);
    }
    config::replace(&gateway.directory().join("candidate.wasm"), &policies::variant(&open(), 9));
    let _ = gateway.ask(&["policy", "shadow", "doorman", "candidate.wasm"]);
    let mut hands = JoinSet::new();
    for (path, body) in [
        ("promote", json!({})),
        ("promote", json!({})),
        ("rollback", json!({})),
        ("reload", json!({})),
        ("rollback", json!({})),
    ] {
        let gateway = Arc::clone(&gateway);
        hands.spawn(async move {
            let mut done = 0;
            for _ in 0..6 {
                let path = format!("/api/v1/policies/doorman/{path}");
                let answer = gateway.admin().request(Method::POST, &path, Some(&body)).await;
                assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.body);
                assert!(answer.status == 200 || answer.body.contains("error"), "{path}: {}", answer.body);
                done += u32::from(answer.status == 200);
            }
            done
        });
    }
    let done: u32 = hands.join_all().await.into_iter().sum();
    assert!(done > 0, "somebody got through");
    resident.subscribe("a", 1).await;
    resident.publish(Message::new("a", "unmoved").qos(1)).await;
    assert_eq!(&resident.message().await.payload[..], b"unmoved");
    assert!(is_open(&gateway).await);
    let live = |gateway: &Gateway| versions(gateway)["items"][0]["digest"].as_str().unwrap().to_owned();
    let listed = |gateway: &Gateway| gateway.ask(&["policy", "list"]);
    let before = live(&gateway);
    assert!(listed(&gateway).contains(&before[..12]), "{before}: {}", listed(&gateway));
    drop(resident);
    // The power fails.
    let gateway = Arc::into_inner(gateway).expect("nobody else has it").kill_and_restart().await;
    assert_eq!(live(&gateway), before, "what was live is live again");
    assert!(listed(&gateway).contains(&before[..12]), "{before}: {}", listed(&gateway));
}
