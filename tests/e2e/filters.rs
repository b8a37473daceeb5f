//! Message filters: what a policy makes of messages on the topics of a listener's `filters`.

use portcullis_tests::{Config, Gateway, Message, Version, config, policies};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ENTRY: &str = "[[policy]]\nname = \"sieve\"\nsource = \"sieve.wasm\"";

fn sieved(topics: &str) -> Config {
    let filters = format!("filters = [{{ policy = \"sieve\", topics = {topics} }}]");
    Config::new()
        .mqtt_with("tcp", portcullis_tests::Transport::Tcp, &["anonymous"], &filters)
        .http_with(&["anonymous"], &filters)
        .toml(ENTRY)
        .file("sieve.wasm", policies::filtering(false))
}

#[tokio::test]
async fn messages_pass_change_or_go_no_further_and_their_clients_are_told() {
    let gateway = Gateway::start(&sieved("[\"plant/+/raw\"]")).await;
    let mut listener = gateway.tcp(Version::V5, "listener").connect().await;
    listener.subscribe("#", 2).await;
    let mut publisher = gateway.tcp(Version::V5, "publisher").connect().await;
    let mut old = gateway.tcp(Version::V311, "old").connect().await;
    for qos in [1, 2] {
        for (text, code, topic, payload) in [
            ("as it is", 0, "plant/1/raw", "as it is"),
            ("move it", 0, "plant/clean", "move it"),
            ("put another in its place", 0, "plant/1/raw", "seen"),
        ] {
            assert_eq!(publisher.publish(Message::new("plant/1/raw", text).qos(qos)).await, code, "{text}");
            let message = listener.message().await;
            assert_eq!((message.topic.as_str(), &message.payload[..]), (topic, payload.as_bytes()));
        }
        for (text, code) in [("drop it", 0), ("refuse it", 0x99), ("trap", 0x83)] {
            assert_eq!(publisher.publish(Message::new("plant/1/raw", text).qos(qos)).await, code, "{text}");
        }
        // Before MQTT 5 a refusal is acknowledged and dropped, as for any publication that is not permitted.
        old.publish(Message::new("plant/1/raw", "refuse it").qos(qos)).await;
        // Nothing of these came, and topics that are not filtered are nobody's business.
        publisher.publish(Message::new("plant/1/cooked", "refuse it").qos(qos)).await;
        assert_eq!(listener.message().await.topic, "plant/1/cooked");
    }
    let why = gateway.ask(&["why", "publisher"]);
    assert!(why.contains("sieve") && why.contains("not today") && why.contains("plant/1/raw"), "{why}");
}

#[tokio::test]
async fn http_and_wills_go_through_it_too() {
    let gateway = Gateway::start(&sieved("[\"plant/#\"]")).await;
    let mut listener = gateway.tcp(Version::V5, "listener").connect().await;
    listener.subscribe("#", 1).await;
    for (text, status) in [("move it", "200"), ("refuse it", "400")] {
        let mut stream = tokio::net::TcpStream::connect(gateway.address("http")).await.unwrap();
        let head = format!(
            "POST /publish/plant/x HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut back = Vec::new();
        portcullis_tests::within("the answer", stream.read_to_end(&mut back)).await.unwrap();
        let back = String::from_utf8_lossy(&back).into_owned();
        assert!(back.starts_with(&format!("HTTP/1.1 {status}")), "{back}");
    }
    assert_eq!(listener.message().await.topic, "plant/clean");
    let will = |text: &str| gateway.tcp(Version::V5, "mortal").will(Message::new("plant/w", text));
    assert_eq!(will("refuse it").refusal().await, 0x99);
    drop(will("put another in its place").connect().await);
    let message = listener.message().await;
    assert_eq!((message.topic.as_str(), &message.payload[..]), ("plant/w", &b"seen"[..]));
}

#[tokio::test]
async fn a_filter_is_swapped_and_its_topics_change_while_clients_stay() {
    let mut gateway = Gateway::start(&sieved("[\"a\"]")).await;
    let mut publisher = gateway.tcp(Version::V5, "publisher").connect().await;
    assert_eq!(publisher.publish(Message::new("a", "pass").qos(1)).await, 0x10);
    let from = gateway.log().len();
    config::replace(&gateway.directory().join("sieve.wasm"), &policies::filtering(true));
    gateway.logged(from, "policy `sieve` was replaced").await;
    assert_eq!(publisher.publish(Message::new("a", "pass").qos(1)).await, 0x99);
    assert_eq!(publisher.publish(Message::new("b", "pass").qos(1)).await, 0x10);
    let from = gateway.log().len();
    sieved("[\"b\"]").file("sieve.wasm", policies::filtering(true)).write(gateway.directory());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "has new settings").await;
    // The connection is told, and does what it is told before it reads on; when it hears of it is its own business.
    portcullis_tests::within("the filter", async {
        while publisher.publish(Message::new("b", "pass").qos(1)).await != 0x99 {}
    })
    .await;
    assert_eq!(publisher.publish(Message::new("a", "pass").qos(1)).await, 0x10);
}

#[tokio::test]
async fn a_connection_of_before_a_reload_is_filtered_as_the_reload_says() {
    let mut gateway = Gateway::start(&sieved("[\"a\"]")).await;
    let mut listener = gateway.tcp(Version::V5, "listener").connect().await;
    listener.subscribe("#", 1).await;
    let mut early = tokio::net::TcpStream::connect(gateway.address("tcp")).await.unwrap();
    gateway.until_metric("portcullis_listener_connections{listener=\"tcp\"}", |open| open == 2).await;
    let from = gateway.log().len();
    sieved("[\"b\", \"w\"]").write(gateway.directory());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "has new settings").await;
    // CONNECT with a will on `w`, and in the same breath a message on `b` that asks to be refused.
    let connect = b"\x10\x30\x00\x04MQTT\x05\x06\x00\x3c\x00\x00\x05early\x00\x00\x01w\x00\x18put another in its place";
    let publish = b"\x32\x0f\x00\x01b\x00\x01\x00refuse it";
    early.write_all(&[&connect[..], publish].concat()).await.unwrap();
    let mut back = Vec::new();
    portcullis_tests::within("PUBACK", async {
        while !back.windows(4).any(|octets| octets[2..] == [0, 1] && octets[0] == 0x40) {
            assert_ne!(early.read_buf(&mut back).await.unwrap(), 0, "it is let in: {back:x?}");
        }
    })
    .await;
    let at = back.windows(4).position(|octets| octets[0] == 0x40 && octets[2..] == [0, 1]).unwrap();
    assert_eq!(back[at + 4], 0x99, "{back:x?}");
    drop(early);
    let will = listener.message().await;
    assert_eq!((will.topic.as_str(), &will.payload[..]), ("w", &b"seen"[..]));
}

#[test]
fn a_filter_in_front_of_a_listener_is_found_by_check() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::tcp(&["sieve"]).toml(ENTRY).file("sieve.wasm", policies::filtering(false));
    config.write(directory.path());
    let output = portcullis_tests::gateway::run(directory.path(), &["check", "portcullis.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("`sieve`") && said.contains("does not export `authentication`"), "{said}");
}

#[tokio::test]
async fn a_policy_that_filters_nothing_is_no_filter() {
    let config = sieved("[\"a\"]").file("sieve.wasm", policies::passing());
    let failure = Gateway::attempt(&config).await.err().expect("it cannot start");
    assert!(failure.err.contains("does not export `message-filter`"), "{}", failure.err);
}
