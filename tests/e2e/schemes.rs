//! Each bundled scheme, good and bad, as its policy's README describes it.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Header};
use portcullis_tests::certificates::{Authority, fingerprint};
use portcullis_tests::directory::{self, Proof};
use portcullis_tests::tokens::{SigningKey, base64url, hmac, now, tampered, unsigned};
use portcullis_tests::{Config, Dial, Gateway, Message, Transport, Version};
use serde_json::{Value, json};

use crate::{named, ways};

const CHAIN: &[&str] = &["device", "jwt", "api-key"];

/// The code of a refusal for credentials that are of a scheme and wrong, or of no scheme at all.
fn wrong(version: Version) -> u8 {
    if version == Version::V5 { 0x86 } else { 4 }
}

fn claims(subject: &str) -> Value {
    json!({ "sub": subject, "iat": now(), "exp": now() + 600 })
}

#[tokio::test]
async fn a_consumers_token_opens_every_transport_and_version() {
    let gateway = Gateway::start(&Config::everywhere(CHAIN)).await;
    let key = SigningKey::new("RS256");
    directory::app(&gateway, "shop", &key.public_pem());
    let token = key.token(&claims("alice"));
    for (transport, version) in ways() {
        let dial = gateway.dial(transport, version, &named("alice", transport, version));
        for username in ["shop", "alice"] {
            // The app is named by the user name; the subject may stand there only if something else names the app.
            let dial = dial.clone().login(username, &token);
            if username == "alice" {
                assert_eq!(dial.refusal().await, wrong(version), "{transport:?} {version:?}");
                continue;
            }
            let mut client = dial.connect().await;
            let topic = format!("shop/alice/{}", transport.name());
            assert_eq!(client.subscribe(&topic, 1).await, 1);
            client.publish(Message::new(&topic, "mine").qos(1)).await;
            assert_eq!(&client.message().await.payload[..], b"mine");
            assert_eq!(client.subscribe("shop/bob/#", 1).await, if version == Version::V5 { 0x87 } else { 0x80 });
            client.disconnect().await;
        }
    }
}

#[tokio::test]
async fn every_algorithm_that_is_promised_is_verified() {
    let gateway = Gateway::start(&Config::tcp(CHAIN)).await;
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let (key, stranger) = (SigningKey::new(algorithm), SigningKey::new(algorithm));
        let app = algorithm.to_lowercase();
        directory::app(&gateway, &app, &key.public_pem());
        let dial = |token: &str| gateway.tcp(Version::V5, "consumer").login(&app, token);
        dial(&key.token(&claims("c"))).connect().await.disconnect().await;
        assert_eq!(dial(&tampered(&key.token(&claims("c")))).refusal().await, 0x86, "{algorithm}: tampered");
        assert_eq!(dial(&stranger.token(&claims("c"))).refusal().await, 0x86, "{algorithm}: another key");
    }
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused() {
    let gateway = Gateway::start(&Config::everywhere(CHAIN)).await;
    let key = SigningKey::new("RS256");
    let other = SigningKey::new("RS256");
    directory::app(&gateway, "shop", &key.public_pem());
    directory::app(&gateway, "other", &other.public_pem());
    let good = claims("alice");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        key.token(&claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        key.token(&claims)
    };
    let hour = 3600;
    let mut cases = vec![
        ("expired", with("exp", json!(now() - hour))),
        ("expired long ago, as text", with("exp", json!("2001-01-01T00:00:00Z"))),
        ("without an end", without("exp")),
        ("not yet valid", with("nbf", json!(now() + hour))),
        ("issued in the future", with("iat", json!(now() + hour))),
        ("without a subject", without("sub")),
        ("with an empty subject", with("sub", json!(""))),
        ("with a subject that is a number", with("sub", json!(7))),
        ("with a wildcard for a subject", with("sub", json!("#"))),
        ("with another tenant's key", other.token(&good)),
        ("tampered", tampered(&key.token(&good))),
        ("cut off", key.token(&good).rsplit_once('.').unwrap().0.to_owned() + "."),
        ("an HMAC under the public key in PEM", hmac(key.public_pem().as_bytes(), &good)),
        ("an HMAC under the public key in DER", hmac(&key.public_der(), &good)),
        ("an HMAC under nothing", hmac(b"", &good)),
    ];
    for spelling in ["none", "None", "NONE", "nOnE", ""] {
        cases.push(("unsigned", unsigned(spelling, &good)));
    }
    // A header that brings its own key, or says where to fetch one.
    let mut header = Header::new(Algorithm::RS256);
    header.jku = Some("https://attacker.invalid/jwks".into());
    cases.push(("with a jku", other.token_with(&header, &good)));
    header.kid = Some("../../etc/passwd".into());
    cases.push(("with a path for a kid", other.token_with(&header, &good)));
    let huge = format!("{}.{}.AA", base64url(b"{\"alg\":\"RS256\"}"), base64url(&vec![b'x'; 20_000]));
    cases.push(("huge and no JSON", huge));
    for (what, token) in &cases {
        for (transport, version) in [(Transport::Tcp, Version::V311), (Transport::Wss, Version::V5)] {
            let dial = gateway.dial(transport, version, "alice").login("shop", token);
            assert_eq!(dial.refusal().await, wrong(version), "{what} {version:?}");
        }
    }
    let good = key.token(&good);
    assert_eq!(gateway.tcp(Version::V5, "a").login("other", &good).refusal().await, 0x86, "the wrong tenant");
    assert_eq!(gateway.tcp(Version::V5, "a").login("nobody", &good).refusal().await, 0x86, "no such app");
    gateway.tcp(Version::V5, "a").login("shop", &good).connect().await.disconnect().await;
}

#[tokio::test]
async fn credentials_of_no_scheme_are_refused() {
    let gateway = Gateway::start(&Config::everywhere(CHAIN)).await;
    for (transport, version) in ways() {
        let dial = || gateway.dial(transport, version, "stranger");
        assert_eq!(dial().refusal().await, wrong(version), "nothing at all");
        assert_eq!(dial().login("admin", "admin").refusal().await, wrong(version), "a password");
        let mut binary = dial().user("admin");
        binary.hello.password = Some(vec![0, 159, 146, 150]);
        assert_eq!(binary.refusal().await, wrong(version), "octets that are no text");
    }
}

#[tokio::test]
async fn a_token_may_ride_in_the_upgrade_of_a_websocket() {
    let gateway = Gateway::start(&Config::everywhere(CHAIN)).await;
    let key = SigningKey::new("ES256");
    directory::app(&gateway, "shop", &key.public_pem());
    let token = key.token(&claims("alice"));
    for transport in [Transport::Ws, Transport::Wss] {
        for version in Version::ALL {
            let mut dial = gateway.dial(transport, version, "alice");
            dial.route.headers =
                vec![("authorization".into(), format!("Bearer {token}")), ("x-app-id".into(), "shop".into())];
            let mut client = dial.connect().await;
            assert_eq!(client.subscribe("shop/alice/x", 1).await, 1);
            client.disconnect().await;
            dial.route.headers[0].1 = format!("Bearer {}", tampered(&token));
            assert_eq!(dial.refusal().await, wrong(version), "{transport:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn an_api_key_works_until_it_is_revoked() {
    let gateway = Gateway::start(&Config::everywhere(CHAIN)).await;
    let signing = SigningKey::new("ES256");
    directory::app(&gateway, "shop", &signing.public_pem());
    let (id, secret) = directory::key(&gateway, "app:shop");
    assert!(secret.starts_with("sk_") && secret.len() == 48, "{secret}");
    for (transport, version) in ways() {
        let dial = gateway.dial(transport, version, &named("server", transport, version));
        let mut client = dial.clone().login("alice", &secret).connect().await;
        assert_eq!(client.subscribe("shop/alice/#", 1).await, 1);
        client.disconnect().await;
        let mut other = secret.clone();
        let last = other.pop().unwrap();
        other.push(if last == 'A' { 'B' } else { 'A' });
        assert_eq!(dial.login("alice", &other).refusal().await, wrong(version));
    }
    let mut named_by_header = gateway.dial(Transport::Wss, Version::V5, "header");
    named_by_header.route.headers =
        vec![("authorization".into(), format!("Bearer {secret}")), ("x-on-behalf-of".into(), "alice".into())];
    named_by_header.connect().await.disconnect().await;

    let _ = gateway.ask(&["key", "remove", &id]);
    for (transport, version) in ways() {
        let dial = gateway.dial(transport, version, "server").login("alice", &secret);
        assert_eq!(dial.refusal().await, wrong(version), "revoked ({transport:?} {version:?})");
    }
    // Stored as a hash: the secret is nowhere on the disk.
    for entry in std::fs::read_dir(gateway.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let octets = std::fs::read(&path).unwrap();
            let found = octets.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "the secret of a key is in {}", path.display());
        }
    }
}

#[tokio::test]
async fn a_device_is_known_by_its_user_name_and_has_no_password() {
    let gateway = Gateway::start(&Config::everywhere(CHAIN)).await;
    directory::app(&gateway, "shop", &SigningKey::new("ES256").public_pem());
    let device = directory::device(&gateway, "shop", "alice", "lamp", Proof::Username);
    assert!(device.starts_with("lamp_") && device.len() == "lamp_".len() + 6, "{device}");
    for (transport, version) in ways() {
        let dial = |id: &str| gateway.dial(transport, version, id);
        let mut client = dial(&device).user(&device).connect().await;
        assert_eq!(client.subscribe(&format!("{device}/control"), 1).await, 1);
        assert_eq!(
            client.subscribe(&format!("{device}/stream"), 1).await,
            if version == Version::V5 { 0x87 } else { 0x80 }
        );
        client.disconnect().await;

        let mut empty = dial(&device).user(&device);
        empty.hello.password = Some(Vec::new());
        empty.connect().await.disconnect().await;

        assert_eq!(dial(&device).login(&device, "guess").refusal().await, wrong(version), "with a password");
        assert_eq!(dial("lamp_000000").user("lamp_000000").refusal().await, wrong(version), "unknown");
        let refused = dial("another").user(&device).refusal().await;
        assert_eq!(refused, if version == Version::V5 { 0x85 } else { 2 }, "another client identifier");
    }
}

#[tokio::test]
async fn a_device_with_a_certificate_is_that_device_and_no_other() {
    let clients = Authority::new("clients");
    let (lamp, fan, nobody) = (clients.client("lamp"), clients.client("fan"), clients.client("nobody"));
    let tls = "tls = { cert = \"server.pem\", key = \"server.key\", client-ca = \"clients.pem\", client-auth = \"optional\" }";
    let config = [Transport::Tls, Transport::Wss]
        .into_iter()
        .fold(Config::new(), |config, transport| config.mqtt_with(transport.name(), transport, CHAIN, tls))
        .server_certificate()
        .file("clients.pem", clients.pem());
    let gateway = Gateway::start(&config).await;
    directory::app(&gateway, "shop", &SigningKey::new("ES256").public_pem());
    let proof = fingerprint(&lamp.der);
    let device = directory::device(&gateway, "shop", "alice", "lamp", Proof::Fingerprint(&proof));
    let proof = fingerprint(&fan.der);
    let other = directory::device(&gateway, "shop", "alice", "fan", Proof::Fingerprint(&proof));
    let (lamp, fan, nobody) = (Arc::new(lamp), Arc::new(fan), Arc::new(nobody));
    for transport in [Transport::Tls, Transport::Wss] {
        for version in Version::ALL {
            let dial = |id: &str, leaf: Option<&Arc<_>>| {
                let mut dial: Dial = gateway.dial(transport, version, id);
                dial.route.identity = leaf.cloned();
                dial
            };
            let mut client = dial(&device, Some(&lamp)).connect().await;
            client.publish(Message::new(format!("{device}/stream"), "on").qos(1)).await;
            client.disconnect().await;
            dial(&device, Some(&lamp)).user(&device).connect().await.disconnect().await;
            let name = named("x", transport, version);
            assert!(dial(&device, Some(&fan)).attempt().await.is_err(), "{name}: another device's certificate");
            assert!(dial(&other, Some(&lamp)).user(&other).attempt().await.is_err(), "{name}: another device's name");
            assert_eq!(
                dial("nobody", Some(&nobody)).refusal().await,
                wrong(version),
                "{name}: a certificate of nobody"
            );
            assert_eq!(dial(&device, None).user(&device).refusal().await, wrong(version), "{name}: the name alone");
        }
    }
}

#[tokio::test]
async fn a_device_that_is_known_by_its_subject_may_renew_its_certificate() {
    let clients = Authority::new("clients");
    let tls = "tls = { cert = \"server.pem\", key = \"server.key\", client-ca = \"clients.pem\", client-auth = \"optional\" }";
    let config = Config::new()
        .mqtt_with("tls", Transport::Tls, CHAIN, tls)
        .server_certificate()
        .file("clients.pem", clients.pem());
    let gateway = Gateway::start(&config).await;
    directory::app(&gateway, "shop", &SigningKey::new("ES256").public_pem());
    let device = directory::device(&gateway, "shop", "alice", "lamp", Proof::Subject("CN=lamp"));
    let dial = |leaf| {
        let mut dial: Dial = gateway.dial(Transport::Tls, Version::V5, &device);
        dial.route.identity = Some(Arc::new(leaf));
        dial
    };
    let (old, new) = (clients.client("lamp"), clients.client("lamp"));
    assert_ne!(fingerprint(&old.der), fingerprint(&new.der));
    for leaf in [old, new] {
        let mut client = dial(leaf).connect().await;
        client.publish(Message::new(format!("{device}/stream"), "on").qos(1)).await;
        client.disconnect().await;
    }
    for other in ["lamp2", "Lamp", "lamp,CN=x", "fan"] {
        assert!(dial(clients.client(other)).attempt().await.is_err(), "{other}");
    }
    // The same subject, written by an authority that nobody here trusts.
    assert!(dial(Authority::new("clients").client("lamp")).attempt().await.is_err());
}

#[tokio::test]
async fn a_consumer_reaches_the_devices_that_are_theirs() {
    let gateway = Gateway::start(&Config::everywhere(CHAIN)).await;
    let key = SigningKey::new("EdDSA");
    directory::app(&gateway, "shop", &key.public_pem());
    let lamp = directory::device(&gateway, "shop", "alice", "lamp", Proof::Username);
    let fan = directory::device(&gateway, "shop", "bob", "fan", Proof::Username);
    let mut alice = gateway.tcp(Version::V5, "alice").login("shop", &key.token(&claims("alice"))).connect().await;
    let mut device = gateway.dial(Transport::Wss, Version::V311, &lamp).user(&lamp).connect().await;
    assert_eq!(alice.subscribe(&format!("{lamp}/stream"), 1).await, 1);
    assert_eq!(device.subscribe(&format!("{lamp}/control"), 1).await, 1);
    device.publish(Message::new(format!("{lamp}/stream"), "21.5").qos(1)).await;
    assert_eq!(&alice.message().await.payload[..], b"21.5");
    assert!(alice.publish(Message::new(format!("{lamp}/control"), "on").qos(1)).await < 0x80);
    assert_eq!(&device.message().await.payload[..], b"on");
    assert_eq!(alice.subscribe(&format!("{fan}/stream"), 1).await, 0x87);
    assert_eq!(alice.publish(Message::new(format!("{fan}/control"), "off").qos(1)).await, 0x87);
}

#[tokio::test]
async fn why_tells_who_refused_and_what_for() {
    let gateway = Gateway::start(&Config::tcp(CHAIN)).await;
    directory::app(&gateway, "shop", &SigningKey::new("ES256").public_pem());
    let stranger = SigningKey::new("ES256").token(&claims("alice"));
    gateway.tcp(Version::V5, "alice-phone").login("shop", &stranger).refusal().await;
    let said = gateway.ask(&["why", "alice-phone"]);
    for word in ["jwt", "signature", "bad-credentials"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert!(!said.contains(&stranger), "a credential is told to nobody");
}

#[tokio::test]
async fn no_credential_reaches_the_log() {
    let config = Config::tcp(CHAIN).toml("[log]\nlevel = \"trace\"");
    let mut gateway = Gateway::start(&config).await;
    let key = SigningKey::new("ES256");
    directory::app(&gateway, "shop", &key.public_pem());
    let (_, secret) = directory::key(&gateway, "app:shop");
    let good = key.token(&claims("alice"));
    gateway.tcp(Version::V5, "a").login("shop", &good).connect().await.disconnect().await;
    gateway.tcp(Version::V5, "b").login("alice", &secret).connect().await.disconnect().await;
    gateway.tcp(Version::V5, "c").login("shop", &tampered(&good)).refusal().await;
    gateway.tcp(Version::V5, "d").login("somebody", "correct horse battery staple").refusal().await;
    gateway.stop().await;
    let log = gateway.log();
    let parts = good.rsplit_once('.').unwrap();
    for credential in [&secret[..], parts.1, "correct horse battery staple"] {
        assert!(!log.contains(credential), "a credential is in the log");
    }
}
