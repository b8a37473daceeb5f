//! Versions of a policy: what was live is kept, gone back to, and stays across restarts until the source changes.

use portcullis_tests::{Config, Gateway, Version, config, policies};
use serde_json::Value;

/// A policy of a file that lets everybody in, or nobody.
fn doorman(component: Vec<u8>) -> Config {
    doorman_with(component, "")
}

pub(crate) fn doorman_with(component: Vec<u8>, more: &str) -> Config {
    Config::tcp(&["doorman"])
        .file("doorman.wasm", component)
        .toml(&format!("[[policy]]\nname = \"doorman\"\nsource = \"doorman.wasm\"\n{more}"))
}

pub(crate) fn open() -> Vec<u8> {
    policies::bundled("anonymous")
}

pub(crate) fn closed() -> Vec<u8> {
    policies::passing()
}

pub(crate) async fn is_open(gateway: &Gateway) -> bool {
    gateway.tcp(Version::V5, "visitor").attempt().await.is_ok()
}

pub(crate) fn versions(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.ask(&["policy", "versions", "doorman", "--json"])).unwrap()
}

/// The live digest and those that were live before, the latest first.
fn kept(gateway: &Gateway) -> Vec<String> {
    let versions = versions(gateway);
    let digests = versions["items"].as_array().unwrap().iter();
    digests.map(|version| version["digest"].as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn replace(gateway: &mut Gateway, component: &[u8]) {
    let from = gateway.log().len();
    config::replace(&gateway.directory().join("doorman.wasm"), component);
    gateway.logged(from, "policy `doorman` was replaced").await;
}

#[tokio::test]
async fn what_was_gone_back_to_stays_until_the_source_changes() {
    let mut gateway = Gateway::start(&doorman(open())).await;
    let mut resident = gateway.tcp(Version::V5, "resident").connect().await;
    replace(&mut gateway, &closed()).await;
    assert!(!is_open(&gateway).await);

    let said = gateway.ask(&["policy", "rollback", "doorman"]);
    assert!(said.contains("rolled back") && said.contains("as they are now"), "{said}");
    assert!(is_open(&gateway).await);
    resident.ping().await;

    // Reloads of every kind find the same content in the source.
    gateway.reload().await;
    assert!(is_open(&gateway).await);
    let said = gateway.ask(&["policy", "reload", "doorman"]);
    assert!(said.contains("live again"), "{said}");
    assert!(is_open(&gateway).await);
    let list = gateway.ask(&["policy", "list"]);
    assert!(list.contains("rolled back to, in the place of"), "{list}");

    let mut gateway = gateway.restart().await;
    assert!(is_open(&gateway).await, "a restart takes nothing back");
    assert!(gateway.log().contains("stays live until the content of its source"), "{}", gateway.log());
    let gateway_again = gateway.kill_and_restart().await;
    gateway = gateway_again;
    assert!(is_open(&gateway).await, "nor does a crash");

    // Other content wins, and the log says so.
    let from = gateway.log().len();
    replace(&mut gateway, &policies::variant(&closed(), 1)).await;
    gateway.logged(from, "the content of its source has changed: it takes the place of").await;
    assert!(!is_open(&gateway).await);
    let gateway = gateway.restart().await;
    assert!(!is_open(&gateway).await);
    assert_eq!(versions(&gateway)["stands_in"], false);
}

#[tokio::test]
async fn content_that_changed_while_the_gateway_was_down_wins_as_well() {
    let mut gateway = Gateway::start(&doorman(closed())).await;
    replace(&mut gateway, &open()).await;
    let _ = gateway.ask(&["policy", "rollback", "doorman"]);
    assert!(!is_open(&gateway).await);
    assert!(gateway.stop().await.success());
    let directory = gateway.into_directory();
    config::replace(&directory.path().join("doorman.wasm"), &policies::variant(&open(), 7));
    let gateway = Gateway::spawn(directory, &["serve", "--config", "portcullis.toml", "--data", "data"]).await.unwrap();
    assert!(is_open(&gateway).await);
    assert!(gateway.log().contains("the content of its source has changed"), "{}", gateway.log());
}

#[tokio::test]
async fn any_kept_version_can_be_gone_back_to_and_no_more_are_kept_than_is_said() {
    let mut gateway = Gateway::start(&doorman_with(open(), "versions = 3")).await;
    let first = kept(&gateway)[0].clone();
    for number in 1..=3 {
        replace(&mut gateway, &policies::variant(&closed(), number)).await;
    }
    let now = kept(&gateway);
    assert_eq!(now.len(), 3, "{now:?}");
    assert!(!now.contains(&first));
    let files = std::fs::read_dir(gateway.data().join("policies/doorman")).unwrap().count();
    assert_eq!(files, 4, "three components and the record");

    let said = gateway.ask(&["policy", "rollback", "doorman", &now[2][..12]]);
    assert!(said.contains(&now[2][..12]), "{said}");
    assert_eq!(kept(&gateway)[0], now[2]);
    for (digest, exit) in [(first.as_str(), 4), ("0000", 4), (&now[2][..12], 1)] {
        let refused = gateway.command(&["policy", "rollback", "doorman", digest]);
        assert_eq!(refused.status.code(), Some(exit), "{digest}: {refused:?}");
    }
    assert_eq!(gateway.command(&["policy", "versions", "nobody"]).status.code(), Some(4));

    // An operator may insist on the source.
    let said = gateway.ask(&["policy", "reload", "doorman", "--source"]);
    assert!(said.contains(&now[0][..12]), "{said}");
    assert_eq!(versions(&gateway)["stands_in"], false);
}

#[tokio::test]
async fn a_version_gets_the_configuration_of_now() {
    let rules = |filter: &str| {
        format!("config = {{ rules = [{{ actions = [\"publish\", \"subscribe\"], filter = \"{filter}\" }}] }}")
    };
    let mut gateway = Gateway::start(&doorman_with(open(), &rules("old/#"))).await;
    replace(&mut gateway, &closed()).await;
    let from = gateway.log().len();
    doorman_with(closed(), &rules("new/#")).write(gateway.directory());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "policy `doorman` is live again").await;
    let _ = gateway.ask(&["policy", "rollback", "doorman"]);
    let mut client = gateway.tcp(Version::V5, "visitor").connect().await;
    assert_eq!(client.subscribe("old/x", 1).await, 0x87);
    assert_eq!(client.subscribe("new/x", 1).await, 1);
}
