//! AUTH and authentication methods (5 §3.15, §4.12). The method `JWT` needs no challenge.

use portcullis_tests::tokens::now;
use serde_json::json;

use crate::world::KEY;
use crate::*;

/// A token for `subject`, good for `seconds`.
fn token(subject: &str, seconds: u64) -> String {
    KEY.token(&json!({ "iss": "conformance", "sub": subject, "exp": now() + seconds }))
}

/// CONNECT with the method `JWT`.
pub(crate) fn hello(subject: &str) -> Hello {
    Hello::new(V5, name("token")).with(|p| {
        p.text(property::AUTHENTICATION_METHOD, "JWT").text(property::AUTHENTICATION_DATA, token(subject, 600))
    })
}

/// AUTH with this reason.
pub(crate) fn auth(reason: u8, method: Option<&str>, data: Option<&str>) -> Vec<u8> {
    let mut list = Properties::new();
    if let Some(method) = method {
        list = list.text(property::AUTHENTICATION_METHOD, method);
    }
    if let Some(data) = data {
        list = list.text(property::AUTHENTICATION_DATA, data);
    }
    packet(kind::AUTH, [vec![reason], list.block(V5)].concat())
}

#[tokio::test]
async fn connack_repeats_the_method() {
    let world = World::get().await;
    let (mut peer, connack) = Peer::introduce(&world.to("tokens"), &hello("alice")).await;
    assert_eq!(connack.code, 0);
    assert_eq!(connack.properties.text(property::AUTHENTICATION_METHOD), Some("JWT"));
    peer.quiet().await;
}

#[tokio::test]
async fn without_a_method_there_is_no_auth() {
    let world = World::get().await;
    let (mut peer, connack) = Peer::introduce(&world.open(), &Hello::new(V5, name("none"))).await;
    assert!(!connack.properties.has(property::AUTHENTICATION_METHOD));
    assert!(!connack.properties.has(property::AUTHENTICATION_DATA));
    peer.send(auth(0x19, Some("JWT"), None)).await;
    peer.thrown_out(0x82, "AUTH without a method in CONNECT").await;
}

#[tokio::test]
async fn an_unknown_method_is_refused_and_closed() {
    let world = World::get().await;
    let hello = Hello::new(V5, name("unknown")).with(|p| p.text(property::AUTHENTICATION_METHOD, "SCRAM-SHA-1"));
    let (mut peer, connack) = Peer::introduce(&world.to("tokens"), &hello).await;
    assert!(matches!(connack.code, 0x8c | 0x87), "{:#04x}", connack.code);
    assert_eq!(peer.closed().await, []);
}

#[tokio::test]
async fn bad_authentication_data_is_refused_and_closed() {
    let world = World::get().await;
    let hello = Hello::new(V5, name("forged")).with(|p| {
        let forged = portcullis_tests::tokens::tampered(&token("alice", 600));
        p.text(property::AUTHENTICATION_METHOD, "JWT").text(property::AUTHENTICATION_DATA, forged)
    });
    let (mut peer, connack) = Peer::introduce(&world.to("tokens"), &hello).await;
    assert!(matches!(connack.code, 0x86 | 0x87), "{:#04x}", connack.code);
    assert_eq!(peer.closed().await, []);
}

#[tokio::test]
async fn a_client_may_authenticate_again() {
    let world = World::get().await;
    let topic = name("renewed");
    let mut peer = Peer::connect(&world.to("tokens"), &hello("alice")).await;
    peer.subscribe(&topic, 1).await;
    for _ in 0..2 {
        peer.send(auth(0x19, Some("JWT"), Some(&token("alice", 600)))).await;
        let (reason, got) = peer.expect(kind::AUTH).await.reason(V5);
        assert_eq!((reason, got.text(property::AUTHENTICATION_METHOD)), (0x00, Some("JWT")));
    }
    // Nothing else has changed.
    let mut other = world.client(V5).await;
    other.publish(&topic, "m").await;
    assert_eq!(peer.receive().await.text(), "m");
}

#[tokio::test]
async fn what_follows_a_re_authentication_waits_for_its_end() {
    let world = World::get().await;
    let mut peer = Peer::connect(&world.to("tokens"), &hello("alice")).await;
    let again = auth(0x19, Some("JWT"), Some(&token("alice", 600)));
    peer.send([again, vec![kind::PINGREQ, 0]].concat()).await;
    peer.expect(kind::AUTH).await;
    peer.expect(kind::PINGRESP).await;
}

#[tokio::test]
async fn a_re_authentication_that_fails_ends_the_connection() {
    let world = World::get().await;
    let forged = portcullis_tests::tokens::tampered(&token("alice", 600));
    for (data, why) in [(forged, "forged"), (token("bob", 600), "about somebody else"), (String::new(), "empty")] {
        let mut peer = Peer::connect(&world.to("tokens"), &hello("alice")).await;
        peer.send(auth(0x19, Some("JWT"), Some(&data))).await;
        let came = peer.closed().await;
        let reasons: Vec<u8> = came.iter().map(|packet| packet.reason(V5).0).collect();
        assert_eq!(reasons, [0x87], "{why}");
    }
}

#[tokio::test]
async fn auth_out_of_turn_or_with_another_method_ends_the_connection() {
    let world = World::get().await;
    let data = token("alice", 600);
    for (octets, why) in [
        (auth(0x19, Some("JWT2"), Some(&data)), "another method"),
        (auth(0x19, None, None), "no method"),
        (auth(0x18, Some("JWT"), Some(&data)), "an answer to nothing"),
        (auth(0x00, Some("JWT"), Some(&data)), "a success that only servers tell"),
        (auth(0x01, Some("JWT"), Some(&data)), "a reason that does not exist"),
        (packet(kind::AUTH, []), "nothing"),
    ] {
        let mut peer = Peer::connect(&world.to("tokens"), &hello("alice")).await;
        peer.send(octets).await;
        let came = peer.closed().await;
        let reasons: Vec<u8> = came.iter().map(|packet| packet.reason(V5).0).collect();
        assert!(matches!(reasons[..], [0x81 | 0x82 | 0x8c]), "{why}: {reasons:02x?}");
    }
}

#[tokio::test]
async fn auth_is_unknown_before_mqtt_5() {
    let world = World::get().await;
    for version in OLD {
        let mut peer = world.client(version).await;
        peer.send(auth(0x19, Some("JWT"), None)).await;
        assert_eq!(peer.closed().await, []);
    }
}
