//! Subscriptions over HTTP: server-sent events that end, come again and are bounded as MQTT sessions are.

use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Gateway, Http, Message, Version, in_time};
use serde_json::json;

use crate::http_messages::{gateway, header, jwt, refused};

const ALL: &str = r##"{ actions = ["publish", "subscribe", "retain"], filter = "#" },
                      { effect = "deny", actions = "subscribe", filter = "secret/#" }"##;

async fn http(gateway: &Gateway) -> Http {
    Http::connect(gateway.address("http")).await
}

#[tokio::test]
async fn a_stream_brings_what_is_retained_and_what_comes() {
    let gateway = gateway(ALL, "").await;
    let mut client = gateway.tcp(Version::V5, "publisher").connect().await;
    client.publish(Message::new("a/kept", "old").qos(1).retained()).await;
    let mut events = http(&gateway).await.events("/subscribe/a/%23?filter=b&qos=1", &[]).await;
    let first = events.event().await;
    assert_eq!((first.payload(), first.data["retain"].as_bool()), ("old", Some(true)));
    for (topic, payload) in [("a/1", "x"), ("c", "not this"), ("secret/a", "nor this"), ("b", "y\nz")] {
        client.publish(Message::new(topic, payload).qos(1)).await;
    }
    client.publish(Message::new("b", vec![0xff, 0]).qos(1)).await;
    assert_eq!(events.event().await.payload(), "x");
    let second = events.event().await;
    assert_eq!((second.payload(), second.data["topic"].as_str(), second.id.as_str()), ("y\nz", Some("b"), ""));
    assert_eq!(events.event().await.data["payload_base64"], "/wA=");
    assert_eq!(gateway.metric("portcullis_connections").await, 2);
    drop(events);
    gateway.until_metric("portcullis_connections", |open| open == 1).await;
}

#[tokio::test]
async fn a_filter_that_is_not_granted_is_refused_before_anything_is_sent() {
    let gateway = gateway(ALL, "limits = { subscriptions = 2 }").await;
    let mut http = http(&gateway).await;
    refused(&http.get("/subscribe/secret/%23").await, 403, "0x87");
    refused(&http.get("/subscribe/a/%23/b").await, 400, "0x8f");
    refused(&http.get("/subscribe/a?filter=b&filter=c").await, 429, "0x97");
    refused(&http.get("/subscribe").await, 400, "0x81");
    refused(&http.get("/subscribe/a?session-expiry=5").await, 400, "0x81");
    assert_eq!(http.post("/subscribe/a", "").await.status, 405);
    gateway.until_metric("portcullis_connections", |open| open == 0).await;
}

#[tokio::test]
async fn a_named_stream_loses_nothing_between_two_connections_or_lives_of_the_gateway() {
    let gateway = gateway(ALL, "").await;
    let path = "/subscribe/job/%23?client-id=worker";
    let mut events = http(&gateway).await.events(path, &[]).await;
    assert!(events.headers.contains(&("mqtt-session-present".to_owned(), "false".to_owned())));
    let mut client = gateway.tcp(Version::V5, "publisher").connect().await;
    let mut publish = async |number: u32| {
        client.publish(Message::new("job/x", number.to_string()).qos(1)).await;
    };
    for number in 1..=3 {
        publish(number).await;
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(events.event().await);
    }
    assert_eq!(seen.iter().map(|event| event.payload()).collect::<Vec<_>>(), ["1", "2", "3"]);
    drop(events);
    gateway.until_metric("portcullis_connections", |open| open == 1).await;
    publish(4).await;
    // Two of three were processed: the third comes again, and what was published meanwhile.
    let mut events = http(&gateway).await.events(path, &[("last-event-id", &seen[1].id)]).await;
    assert!(events.headers.contains(&("mqtt-session-present".to_owned(), "true".to_owned())));
    let again = events.event().await;
    assert_eq!((again.payload(), &again.id), ("3", &seen[2].id), "under the same identifier");
    let fourth = events.event().await;
    assert_eq!(fourth.payload(), "4");
    // Another life of the gateway, and a client that says nothing has seen nothing more.
    let gateway = gateway.kill_and_restart().await;
    let mut events = http(&gateway).await.events(path, &[]).await;
    assert_eq!(events.event().await.payload(), "3");
    assert_eq!(events.event().await.id, fourth.id);
    drop(events);
    let mut client = gateway.tcp(Version::V5, "publisher").connect().await;
    let mut events = http(&gateway).await.events(path, &[("last-event-id", &fourth.id)]).await;
    client.publish(Message::new("job/x", "5").qos(1)).await;
    assert_eq!(events.event().await.payload(), "5", "what was acknowledged does not come again");
    drop(events);
    // An identifier of an earlier session says nothing of a new one.
    let anew = format!("{path}&clean-start=true");
    let mut events = http(&gateway).await.events(&anew, &[]).await;
    client.publish(Message::new("job/x", "6").qos(1)).await;
    assert_eq!(events.event().await.payload(), "6");
    drop(events);
    let mut events = http(&gateway).await.events(path, &[("last-event-id", &fourth.id)]).await;
    assert_eq!(events.event().await.payload(), "6");
}

#[tokio::test]
async fn a_reader_that_acknowledges_by_coming_again_gets_everything_in_order() {
    let gateway = gateway(ALL, "limits = { receive-maximum = 7 }").await;
    let path = "/subscribe/n?client-id=windowed";
    let mut client = gateway.tcp(Version::V5, "publisher").connect().await;
    let mut events = http(&gateway).await.events(path, &[]).await;
    for number in 0..50 {
        client.publish(Message::new("n", number.to_string()).qos(1)).await;
    }
    let (mut got, mut last, mut streams) = (Vec::new(), String::new(), 1);
    while got.len() < 50 {
        match events.next().await {
            Some(event) if event.kind == "message" => {
                got.push(event.payload().to_owned());
                last = event.id;
            }
            Some(event) => assert_eq!((event.kind.as_str(), event.data["code"].as_str()), ("end", Some("0x00"))),
            None => {
                streams += 1;
                events = http(&gateway).await.events(path, &[("last-event-id", &last)]).await;
            }
        }
    }
    assert_eq!(got, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(streams >= 7, "{streams}");
}

#[tokio::test]
async fn a_stream_ends_with_its_grant_and_says_why() {
    let key = SigningKey::new("ES256");
    let config = Config::tcp(&["jwt"]).http_with(&["jwt"], "").toml(&jwt(&key, ""));
    let mut gateway = Gateway::start(&config).await;
    let bearer =
        |sub: &str, exp: u64| format!("Bearer {}", key.token(&json!({ "iss": "tests", "sub": sub, "exp": exp })));
    let (mut mortal, end) = in_time("a stream", 3, async |seconds| {
        let end = now() + u64::from(seconds);
        let short = bearer("short", end);
        match http(&gateway).await.try_events("/subscribe/a", &[("authorization", &short)]).await {
            Ok(events) => Some((events, end)),
            Err(_) if now() >= end => None,
            Err(refused) => panic!("{refused:?}"),
        }
    })
    .await;
    let long = bearer("long", now() + 600);
    let mut survivor = http(&gateway).await.events("/subscribe/a", &[("authorization", &long)]).await;
    let last = mortal.event().await;
    assert!(now() >= end, "ended early");
    assert_eq!((last.kind.as_str(), last.data["code"].as_str()), ("end", Some("0x87")), "{last:?}");
    assert!(last.data["error"].as_str().is_some_and(|words| words.contains("expired")), "{last:?}");
    assert_eq!(mortal.next().await, None);
    let mut other = http(&gateway).await;
    assert_eq!(other.send("POST", "/publish/a", &[("authorization", &long)], "still").await.status, 200);
    assert_eq!(survivor.event().await.payload(), "still");
    gateway.stop().await;
    let last = survivor.event().await;
    assert_eq!((last.kind.as_str(), last.data["code"].as_str()), ("end", Some("0x8b")), "{last:?}");
}

#[tokio::test]
async fn a_deleted_key_ends_its_streams_within_moments() {
    let config = Config::tcp(&["api-key"]).http_with(&["api-key"], "");
    let gateway = Gateway::start(&config).await;
    let (id, secret) = portcullis_tests::directory::key(&gateway, "consumer:alice");
    let headers = [("authorization", format!("Bearer {secret}"))];
    let headers = [(headers[0].0, headers[0].1.as_str())];
    let verified = http(&gateway).await.send("GET", "/verify", &headers, "").await;
    assert_eq!(verified.status, 200, "{}", verified.body);
    assert_eq!(header(&verified, "x-auth-scheme"), Some("api-key"));
    let mut publisher = http(&gateway).await;
    let before = publisher.send("POST", "/publish/elsewhere", &headers, "x").await;
    assert_eq!(before.status, 403, "{}", before.body);
    gateway.until_metric("portcullis_connections", |open| open == 1).await;
    let _: String = gateway.ask(&["key", "remove", &id]);
    gateway.until_metric("portcullis_connections", |open| open == 0).await;
    refused(&publisher.send("POST", "/publish/elsewhere", &headers, "x").await, 401, "0x86");
    assert_eq!(http(&gateway).await.send("GET", "/verify", &headers, "").await.status, 401);
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_bounded_and_holds_nobody_up() {
    let gateway = gateway(ALL, "limits = { queued-messages = 20 }").await;
    let mut slow = http(&gateway).await.events("/subscribe/flood?qos=1", &[]).await;
    let mut swift = http(&gateway).await.events("/subscribe/mark", &[]).await;
    let mut client = gateway.tcp(Version::V5, "publisher").connect().await;
    let payload = "x".repeat(64 * 1024);
    let mut refused = 0;
    // Whatever the sockets' buffers take, and then what the session's queue takes.
    for _ in 0..400 {
        let reason = client.publish(Message::new("flood", payload.clone()).qos(1)).await;
        refused += u32::from(reason == 0x97);
    }
    assert!(refused > 0, "a queue without an end");
    client.publish(Message::new("mark", "here").qos(1)).await;
    assert_eq!(swift.event().await.payload(), "here");
    assert_eq!(slow.event().await.payload().len(), payload.len(), "what was taken comes");
}

#[tokio::test]
async fn a_session_is_its_identitys_own_whatever_others_call_theirs() {
    let key = SigningKey::new("ES256");
    let gateway = Gateway::start(&Config::tcp(&["jwt"]).http_with(&["jwt"], "").toml(&jwt(&key, ""))).await;
    let token = |sub: &str| key.token(&json!({ "iss": "tests", "sub": sub, "exp": now() + 600 }));
    let bearer = |sub: &str| format!("Bearer {}", token(sub));
    let path = "/subscribe/job/%23?client-id=worker";
    let stranger = bearer("mallory");
    let squatted = http(&gateway).await.events(path, &[("authorization", stranger.as_str())]).await;
    let alice = bearer("alice");
    let mut own = http(&gateway).await.events(path, &[("authorization", alice.as_str())]).await;
    assert!(own.headers.contains(&("mqtt-session-present".to_owned(), "false".to_owned())));
    let mut publisher = gateway.tcp(Version::V5, "publisher").login("pub", &token("pub")).connect().await;
    publisher.publish(Message::new("job/x", "1").qos(1)).await;
    assert_eq!(own.event().await.payload(), "1");
    drop((own, squatted));
    publisher.publish(Message::new("job/x", "2").qos(1)).await;
    let mut own = http(&gateway).await.events(path, &[("authorization", alice.as_str())]).await;
    assert!(own.headers.contains(&("mqtt-session-present".to_owned(), "true".to_owned())));
    assert_eq!(
        (own.event().await.payload().to_owned(), own.event().await.payload().to_owned()),
        ("1".into(), "2".into())
    );
    // Nor can an MQTT client have that name, before or after.
    for name in ["http:=alice/-/-/worker", "http:=alice/-/-/tomorrow", "http:"] {
        assert_eq!(gateway.tcp(Version::V5, name).login("alice", &token("alice")).refusal().await, 0x85, "{name}");
    }
}
