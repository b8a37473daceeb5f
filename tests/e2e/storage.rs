//! The disk is full, and has room again: clients are told, nothing is acknowledged that is not stored, and the gateway
//! goes on by itself.

use portcullis_tests::packets::Incoming;
use portcullis_tests::{Admin, Config, Gateway, Message, Version};

fn numbered(number: u32) -> Message {
    Message::new("t", number.to_string()).qos(1)
}

async fn readiness(gateway: &Gateway) -> (u16, String) {
    let answer = Admin::new(gateway.address("http")).get("/healthz/ready").await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_full_disk_is_told_to_clients_and_passes_without_a_restart() {
    let mut gateway = Gateway::start(&Config::tcp(&["anonymous"]).http()).await;
    let keeper = gateway.tcp(Version::V5, "keeper").durable();
    let mut client = keeper.connect().await;
    client.subscribe("t", 1).await;
    client.disconnect().await;
    let mut publisher = gateway.tcp(Version::V5, "publisher").connect().await;
    assert_eq!(publisher.publish(numbered(1)).await, 0);
    assert_eq!(readiness(&gateway).await.0, 200);

    gateway.limit_files(Some(0));
    // The one that meets it: no acknowledgement, and 0x89, the nearest that DISCONNECT can say.
    publisher.post(numbered(2)).await;
    let (reason, _) = publisher.ended().await.expect("a DISCONNECT");
    assert_eq!(reason, 0x89);
    assert!(publisher.set_aside().is_empty());
    gateway.logged(0, "the store failed").await;
    assert_eq!(gateway.until_metric("portcullis_store_failing", |failing| failing == 1).await, 1);
    let (status, body) = readiness(&gateway).await;
    assert!(status == 503 && body.contains("the store has failed"), "{status} {body}");
    let told = gateway.admin().get("/api/v1/status").await.good()["store_failure"].to_string();
    assert!(told.contains("too large"), "{told}");

    // Who needs the store is refused, who does not is served; QoS 1 and 2 would be promises.
    assert_eq!(keeper.refusal().await, 0x88);
    assert_eq!(gateway.tcp(Version::V311, "other-keeper").durable().refusal().await, 3);
    let will = gateway.tcp(Version::V5, "mortal").will(Message::new("will", "x"));
    assert_eq!(will.refusal().await, 0x88);
    let mut visitor = gateway.tcp(Version::V5, "visitor").connect().await;
    visitor.subscribe("t", 1).await;
    for qos in [1, 2] {
        assert_eq!(visitor.publish(Message::new("t", "refused").qos(qos)).await, 0x83);
    }
    visitor.publish(Message::new("t", "light")).await;
    assert_eq!(visitor.message().await.payload, "light");
    let mut old = gateway.tcp(Version::V311, "old").connect().await;
    old.post(numbered(3)).await;
    old.ended().await;

    gateway.limit_files(None);
    gateway.logged(0, "the store is back").await;
    gateway.until_metric("portcullis_store_failing", |failing| failing == 0).await;
    assert_eq!(readiness(&gateway).await.0, 200);
    assert_eq!(visitor.publish(numbered(4)).await, 0);

    // The second was never acknowledged and was kept all the same: it may come, once.
    let mut client = keeper.connect().await;
    assert!(client.session_present);
    client.acknowledge = false;
    let mut got = Vec::new();
    while got.last().is_none_or(|last| last != "4") {
        got.push(String::from_utf8(client.message().await.payload.to_vec()).unwrap());
    }
    assert!(["1 4", "1 2 4"].contains(&got.join(" ").as_str()), "{got:?}");
    drop(client);

    // And it is on disk, not only in memory.
    gateway.signal(libc::SIGKILL);
    gateway.exit().await;
    let directory = gateway.into_directory();
    let serve = ["serve", "--config", "portcullis.toml", "--data", "data"];
    let gateway = Gateway::spawn(directory, &serve).await.unwrap();
    let mut client = gateway.tcp(Version::V5, "keeper").durable().connect().await;
    let again = client
        .wait("the last message", |packet| match packet {
            Incoming::Publish(message) if message.payload == "4" => Some(message.dup),
            _ => None,
        })
        .await;
    assert!(again, "it may have been sent before");
}
