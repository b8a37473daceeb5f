//! The four ways to reload, and what a reload does with the configuration.

use hyper::Method;
use portcullis_tests::{Config, Gateway, Message, Transport, Version, address, config, policies};

/// Everyone may come in, and publish and subscribe to this filter alone.
fn only(filter: &str) -> Config {
    Config::everywhere(&["anonymous"]).toml(&format!(
        "[[policy]]\nname = \"anonymous\"\nsource = \"builtin:anonymous\"\n\
         config = {{ rules = [{{ actions = [\"publish\", \"subscribe\"], filter = \"{filter}\" }}] }}"
    ))
}

/// A policy of a file, open to everyone, or to nobody.
fn of_a_file(component: Vec<u8>) -> Config {
    Config::everywhere(&["doorman"])
        .file("doorman.wasm", component)
        .toml("[[policy]]\nname = \"doorman\"\nsource = \"doorman.wasm\"")
}

async fn is_open(gateway: &Gateway) -> bool {
    gateway.tcp(Version::V5, "visitor").attempt().await.is_ok()
}

#[tokio::test]
async fn all_four_ways_do_the_same() {
    let (open, closed) = (policies::bundled("anonymous"), policies::passing());
    let mut gateway = Gateway::start(&of_a_file(open.clone())).await;
    let mut resident = gateway.dial(Transport::Wss, Version::V311, "resident").connect().await;
    let file = gateway.directory().join("doorman.wasm");
    let mut is = true;
    for way in ["file", "signal", "command", "admin", "file", "signal", "command", "admin"] {
        assert_eq!(is_open(&gateway).await, is, "before {way}");
        is = !is;
        let from = gateway.log().len();
        config::replace(&file, if is { &open } else { &closed });
        match way {
            "file" => {}
            "signal" => gateway.signal(libc::SIGHUP),
            "command" => {
                let said = gateway.ask(&["policy", "reload", "doorman"]);
                assert!(said.contains("doorman"), "{said}");
            }
            _ => {
                let answer = gateway.admin().request(Method::POST, "/api/v1/policies/doorman/reload", None).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
        }
        gateway.logged(from, "policy `doorman` was replaced").await;
        assert_eq!(is_open(&gateway).await, is, "after {way}");
        resident.ping().await;
    }
}

#[tokio::test]
async fn live_connections_are_looked_at_again_if_the_entry_says_so() {
    // `anonymous` answers anew with the rules that it has now; `keep` is tested beside it.
    for (on_swap, stays) in [("keep", true), ("reauthenticate", false)] {
        let entry = |component: &str| {
            Config::everywhere(&["doorman"])
                .file("a.wasm", policies::bundled("anonymous"))
                .file("b.wasm", policies::passing())
                .toml(&format!("[[policy]]\nname = \"doorman\"\nsource = \"{component}\"\non-swap = \"{on_swap}\""))
        };
        let mut gateway = Gateway::start(&entry("a.wasm")).await;
        let mut resident = gateway.tcp(Version::V5, "resident").connect().await;
        let from = gateway.log().len();
        entry("b.wasm").write(gateway.directory());
        gateway.signal(libc::SIGHUP);
        gateway.logged(from, "policy `doorman` was replaced").await;
        if stays {
            resident.ping().await;
        } else {
            assert_eq!(resident.ended().await.map(|(reason, _)| reason), Some(0x87), "{on_swap}");
        }
    }
}

#[tokio::test]
async fn a_changed_configuration_counts_for_new_connections() {
    let mut gateway = Gateway::start(&only("before/#")).await;
    let mut resident = gateway.tcp(Version::V5, "resident").connect().await;
    assert_eq!(resident.subscribe("before/x", 1).await, 1);
    only("after/#").write(gateway.directory());
    gateway.reload().await;
    let mut newcomer = gateway.tcp(Version::V5, "newcomer").connect().await;
    assert_eq!(newcomer.subscribe("before/x", 1).await, 0x87);
    assert_eq!(newcomer.subscribe("after/x", 1).await, 1);
    resident.publish(Message::new("before/x", "still here").qos(1)).await;
    assert_eq!(&resident.message().await.payload[..], b"still here");
}

#[tokio::test]
async fn listeners_come_and_go() {
    let mut gateway = Gateway::start(&Config::tcp(&["anonymous"])).await;
    let mut resident = gateway.tcp(Version::V5, "resident").connect().await;
    let free = address::own();
    let two = Config::tcp(&["anonymous"]).toml(&format!(
        "[[listener]]\nname = \"second\"\nbind = \"{free}\"\nprotocol = \"mqtt\"\ntransport = \"tcp\"\npolicies = [\"anonymous\"]"
    ));
    let from = gateway.log().len();
    two.write(gateway.directory());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "listener `second` is open").await;
    let route = portcullis_tests::link::Route::new(Transport::Tcp, free, "");
    let second = portcullis_tests::Dial::new(route, Version::V5, "second");
    let mut there = second.connect().await;
    there.ping().await;

    let from = gateway.log().len();
    Config::tcp(&["anonymous"]).write(gateway.directory());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "listener `second` is closed").await;
    there.ended().await;
    assert!(second.attempt().await.is_err());
    resident.ping().await;
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing() {
    let mut gateway = Gateway::start(&only("a/#")).await;
    let mut resident = gateway.tcp(Version::V5, "resident").connect().await;
    for broken in [
        "this is not TOML",
        "[[listener]]\nname = \"tcp\"\nbind = \"127.0.0.1:0\"\nprotocol = \"mqtt\"\npolices = [\"anonymous\"]",
        "",
    ] {
        let from = gateway.log().len();
        config::replace(&gateway.directory().join("portcullis.toml"), broken.as_bytes());
        gateway.signal(libc::SIGHUP);
        gateway.logged(from, "nothing was reloaded").await;
        resident.ping().await;
        let mut newcomer = gateway.tcp(Version::V5, "newcomer").connect().await;
        assert_eq!(newcomer.subscribe("a/x", 0).await, 0);
    }
}
