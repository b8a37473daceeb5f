//! `examples/list-wat`: a policy in WebAssembly text, which passes its own cases and lets MQTT clients in.

use portcullis_tests::binary::root;
use portcullis_tests::{Config, Gateway, Message, Version, gateway};

use crate::language::build;

#[tokio::test]
async fn a_policy_in_webassembly_text_passes_its_cases_and_stands_in_front_of_a_listener() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("list.wasm");
    build("list-wat", &component);
    let cases = root().join("examples/list-wat/cases.toml");
    let tested = gateway::run(folder.path(), &["policy", "test", "list.wasm", &cases.to_string_lossy()]);
    let said = format!("{}{}", String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr));
    assert!(tested.status.success(), "{said}");

    let config = Config::tcp(&["list"])
        .file("list.wasm", std::fs::read(&component).unwrap())
        .toml("[[policy]]\nname = \"list\"\nsource = \"list.wasm\"");
    let gateway = Gateway::start(&config).await;
    let mut board = gateway.tcp(Version::V5, "board").login("board", "s0uth").connect().await;
    board.subscribe("plant/#", 1).await;
    let mut press = gateway.tcp(Version::V311, "press").login("press-1", "n0rth").connect().await;
    // What the instance keeps of a call would be overwritten by the next: many clients, one after the other.
    for number in 0..50 {
        let other = gateway.tcp(Version::V5, &format!("other-{number}"));
        assert_eq!(other.login("press-1", &"wrong".repeat(number)).refusal().await, 0x86);
    }
    press.publish(Message::new("plant/press-1/private/pin", "1234").qos(1)).await;
    press.publish(Message::new("plant/press-1/state", "on").qos(1)).await;
    let message = board.message().await;
    assert_eq!((message.topic.as_str(), &message.payload[..]), ("plant/press-1/state", &b"on"[..]));
}
