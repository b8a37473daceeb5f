//! A fresh version that does not stand up is taken back by the gateway itself, and is not taken up again.

use portcullis_tests::{Gateway, Version, config, policies};

use crate::audit::entries;
use crate::versions::{closed, doorman_with, is_open, open, replace, versions};

async fn knock(gateway: &Gateway, client: &str) -> bool {
    gateway.tcp(Version::V5, client).attempt().await.is_ok()
}

#[tokio::test]
async fn one_that_traps_is_taken_back_and_stays_out_until_it_changes() {
    let config = doorman_with(open(), "").toml("[audit]\nfile = \"audit.jsonl\"");
    let mut gateway = Gateway::start(&config).await;
    let mut resident = gateway.tcp(Version::V5, "resident").connect().await;
    replace(&mut gateway, &policies::trapping()).await;
    let from = gateway.log().len();
    for number in 0..3 {
        assert!(!knock(&gateway, &format!("pump-{number}")).await);
    }
    gateway.logged(from, "policy `doorman` was rolled back automatically").await;
    assert!(is_open(&gateway).await);
    resident.ping().await;
    gateway.logged(from, "a version was taken back").await;
    let audit = entries(&gateway, |entry| entry["what"] == "rollback").await;
    let taken_back = audit.iter().find(|entry| entry["what"] == "rollback").expect("it was waited for");
    assert!(taken_back["detail"].as_str().is_some_and(|why| why.contains("it failed 3 times")), "{taken_back}");
    let list = gateway.ask(&["policy", "list"]);
    assert!(list.contains("was taken back at") && list.contains("it failed 3 times"), "{list}");
    let kept = gateway.ask(&["policy", "versions", "doorman"]);
    assert!(kept.contains("taken back at"), "{kept}");
    let metrics = gateway.admin().get("/metrics").await.body;
    assert!(metrics.contains("portcullis_policy_rollbacks_total{policy=\"doorman\"} 1"), "{metrics}");

    // Neither a reload nor a restart takes it up again, nor does it when it comes back after something else.
    gateway.reload().await;
    assert!(is_open(&gateway).await);
    gateway = gateway.restart().await;
    assert!(is_open(&gateway).await);
    replace(&mut gateway, &closed()).await;
    assert!(!is_open(&gateway).await);
    let from = gateway.log().len();
    config::replace(&gateway.directory().join("doorman.wasm"), &policies::trapping());
    gateway.logged(from, "which was taken back because").await;
    assert_eq!(versions(&gateway)["live"].as_str(), Some(policies::digest(&closed()).as_str()));

    // An operator may insist.
    let said = gateway.ask(&["policy", "reload", "doorman", "--source"]);
    assert!(said.contains("was replaced"), "{said}");
    assert_eq!(versions(&gateway)["live"].as_str(), Some(policies::digest(&policies::trapping()).as_str()));
}

#[tokio::test]
async fn one_that_refuses_far_more_than_the_version_before_is_taken_back() {
    let mut gateway = Gateway::start(&doorman_with(open(), "")).await;
    for number in 0..20 {
        assert!(knock(&gateway, &format!("pump-{number}")).await);
    }
    replace(&mut gateway, &closed()).await;
    let from = gateway.log().len();
    for number in 0..20 {
        assert!(!knock(&gateway, &format!("pump-{number}")).await);
    }
    gateway.logged(from, "it refused 100% of 20 logins, and the version before it 0%").await;
    gateway.logged(from, "policy `doorman` was rolled back automatically").await;
    assert!(is_open(&gateway).await);
}

#[tokio::test]
async fn a_promoted_one_is_on_probation_too_also_across_a_restart() {
    let gateway = Gateway::start(&doorman_with(open(), "")).await;
    config::replace(&gateway.directory().join("candidate.wasm"), &policies::trapping());
    let _ = gateway.ask(&["policy", "shadow", "doorman", "candidate.wasm"]);
    let _ = gateway.ask(&["policy", "promote", "doorman"]);
    assert!(!is_open(&gateway).await);
    let mut gateway = gateway.restart().await;
    let from = gateway.log().len();
    for number in 0..3 {
        assert!(!knock(&gateway, &format!("pump-{number}")).await);
    }
    gateway.logged(from, "policy `doorman` was rolled back automatically").await;
    assert!(is_open(&gateway).await);
}

#[tokio::test]
async fn it_can_be_switched_off_and_set() {
    let mut gateway = Gateway::start(&doorman_with(open(), "rollback = false")).await;
    replace(&mut gateway, &policies::trapping()).await;
    for number in 0..8 {
        assert!(!knock(&gateway, &format!("pump-{number}")).await);
    }
    assert_eq!(versions(&gateway)["live"].as_str(), Some(policies::digest(&policies::trapping()).as_str()));

    let mut gateway = Gateway::start(&doorman_with(open(), "rollback = { after-traps = 1, within = \"1h\" }")).await;
    replace(&mut gateway, &policies::trapping()).await;
    let from = gateway.log().len();
    assert!(!knock(&gateway, "pump").await);
    gateway.logged(from, "policy `doorman` was rolled back automatically").await;
}
