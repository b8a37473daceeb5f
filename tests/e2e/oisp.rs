//! The Open IoT Service Platform's interface: tokens for people and devices over HTTP, and their use over MQTT.

use hyper::Method;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use portcullis_tests::directory;
use portcullis_tests::tokens::now;
use portcullis_tests::{Admin, Answer, Config, Gateway, Message, Transport, Version, within};
use serde_json::{Value, json};

use crate::{named, ways};

const ISSUER: &str = "https://gateway.example";
const PASSWORD: &str = "correct horse battery";

fn config() -> Config {
    Config::everywhere(&["jwt"]).http().toml(&format!(
        "[[policy]]\nname = \"jwt\"\nsource = \"builtin:jwt\"\nmount = [\"/v1/api\"]\n\
         config = {{ oisp = {{ issuer = {ISSUER:?} }} }}"
    ))
}

fn public(gateway: &Gateway) -> Admin {
    Admin::new(gateway.address("http"))
}

async fn log_in(gateway: &Gateway, username: &str, password: &str) -> Answer {
    public(gateway).post("/v1/api/auth/token", &json!({ "username": username, "password": password })).await
}

async fn token(gateway: &Gateway, username: &str) -> String {
    let answer = log_in(gateway, username, PASSWORD).await;
    answer.good()["token"].as_str().expect("a token").to_owned()
}

/// Ada, whose address is confirmed. Her identifier.
fn ada(gateway: &Gateway) -> String {
    let id = directory::user(gateway, "ada@example.com", PASSWORD);
    let _ = gateway.ask(&["user", "set", "ada@example.com", "verified=true"]);
    id
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The claims, checked with what the gateway publishes, by a library of other hands.
async fn claims(gateway: &Gateway, token: &str) -> Value {
    let keys: JwkSet = serde_json::from_value(public(gateway).get("/.well-known/jwks.json").await.good()).unwrap();
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.expect("a kid");
    let key = DecodingKey::from_jwk(keys.find(&kid).expect("the key is published")).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&[ISSUER]);
    jsonwebtoken::decode::<Value>(token, &key, &validation).expect("a good token").claims
}

#[tokio::test]
async fn a_person_logs_in_over_http_and_uses_the_token_everywhere() {
    let gateway = Gateway::start(&config()).await;
    let account = directory::tenant(&gateway, "project", &["plant"]);
    let foreign = directory::tenant(&gateway, "project", &["other"]);
    let id = directory::user(&gateway, "ada@example.com", PASSWORD);
    let _ = gateway.ask(&["role", "add", "ada@example.com", "admin", "--project", &account]);

    let unconfirmed = log_in(&gateway, "ada@example.com", PASSWORD).await;
    assert_eq!(
        (unconfirmed.status, unconfirmed.json()),
        (401, json!({ "code": 2402, "message": "User's email not verified" }))
    );
    let _ = gateway.ask(&["user", "set", "ada@example.com", "verified=true"]);
    let token = token(&gateway, "Ada@Example.com").await;

    let claims = claims(&gateway, &token).await;
    assert_eq!(claims["sub"], id.as_str());
    assert_eq!(claims["accounts"], json!({ account.as_str(): "admin" }));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 86_400);

    let bearer = public(&gateway).bearer(&token);
    let info = bearer.get("/v1/api/auth/tokenInfo").await.good();
    assert_eq!(info["header"], json!({ "typ": "JWT", "alg": "RS256" }));
    assert_eq!(info["payload"]["accounts"], json!([{ "id": account, "name": "plant", "role": "admin" }]));
    let exp = info["payload"]["exp"].as_str().expect("a text");
    assert!(exp.ends_with(".000Z") && exp.len() == 24, "{exp}");
    let me = bearer.get("/v1/api/auth/me").await.good();
    assert_eq!((&me["id"], &me["email"], &me["verified"]), (&json!(id), &json!("ada@example.com"), &json!(true)));
    assert!(me["created"].as_u64().unwrap() / 1_000 <= now() && me["created"].as_u64().unwrap() / 1_000 + 600 > now());
    assert!(me.get("password").is_none() && me.as_object().unwrap().len() == 6, "no more than is documented: {me}");

    for (transport, version) in ways() {
        let dial = gateway.dial(transport, version, &named("phone", transport, version));
        let mut client = dial.clone().login("ada@example.com", &token).connect().await;
        let topic = format!("accounts/{account}/{}", named("x", transport, version));
        assert_eq!(client.subscribe(&topic, 1).await, 1);
        client.publish(Message::new(&topic, "mine").qos(1)).await;
        assert_eq!(&client.message().await.payload[..], b"mine");
        let denied = if version == Version::V5 { 0x87 } else { 0x80 };
        assert_eq!(client.subscribe(&format!("accounts/{foreign}/#"), 1).await, denied);
        assert_eq!(client.subscribe("$SYS/#", 1).await, denied, "the original left it open");
        client.disconnect().await;
        let wrong = if version == Version::V5 { 0x86 } else { 4 };
        assert_eq!(dial.login("bob@example.com", &token).refusal().await, wrong, "{transport:?} {version:?}");
    }
    let mut upgrade = gateway.dial(Transport::Wss, Version::V5, "browser");
    upgrade.route.headers = vec![("authorization".into(), format!("Bearer {token}"))];
    upgrade.connect().await.disconnect().await;
}

#[tokio::test]
async fn bodies_and_headers_are_those_that_clients_of_the_platform_know() {
    let gateway = Gateway::start(&config()).await;
    ada(&gateway);
    let http = public(&gateway);
    let wrong = log_in(&gateway, "ada@example.com", "wrong").await;
    assert_eq!((wrong.status, wrong.json()), (401, json!({ "code": 401, "message": "Not Authorized" })));
    let invalid = http.post("/v1/api/auth/token", &json!({ "username": 1, "remember": true })).await;
    let errors = json!(["username must be of string type", "password is required", "remember must not exist"]);
    let expected = json!({ "code": 400, "message": "Invalid request", "errors": errors });
    assert_eq!((invalid.status, invalid.json()), (400, expected));
    for (method, path) in [
        (Method::GET, "/v1/api/auth/tokenInfo"),
        (Method::GET, "/v1/api/auth/me"),
        (Method::PUT, "/v1/api/auth/me"),
        (Method::DELETE, "/v1/api/auth/me"),
    ] {
        for client in [http.clone(), http.clone().bearer("eyJhbGciOiJub25lIn0.e30.")] {
            let answer = client.request(method.clone(), path, None).await;
            assert_eq!((answer.status, answer.body.as_str()), (401, "Not Authorized"), "{method} {path}");
            assert!(header(&answer, "content-type").unwrap().starts_with("text/plain"));
            assert!(header(&answer, "cache-control").unwrap().contains("no-store"));
            assert_eq!(header(&answer, "pragma"), Some("no-cache"));
        }
    }
    assert_eq!(http.get("/v1/api/auth/token").await.status, 405);
    assert_eq!(http.get("/v1/api/accounts").await.status, 404);
}

#[tokio::test]
async fn a_refreshed_token_has_the_rights_of_now_and_the_old_one_keeps_its_own() {
    let gateway = Gateway::start(&config()).await;
    ada(&gateway);
    let old = token(&gateway, "ada@example.com").await;
    let account = directory::tenant(&gateway, "project", &["plant"]);
    let _ = gateway.ask(&["role", "add", "ada@example.com", "user", "--project", &account]);
    let refreshed = public(&gateway).bearer(&old).request(Method::PUT, "/v1/api/auth/me", None).await.good();
    let new = refreshed["token"].as_str().unwrap();
    let filter = format!("accounts/{account}/#");
    for (token, code) in [(old.as_str(), 0x87), (new, 1)] {
        let mut client = gateway.tcp(Version::V5, "phone").login("ada@example.com", token).connect().await;
        assert_eq!(client.subscribe(&filter, 1).await, code);
        client.disconnect().await;
    }
}

#[tokio::test]
async fn an_account_that_is_disabled_is_lost_by_old_tokens_and_live_connections() {
    let gateway = Gateway::start(&config()).await;
    ada(&gateway);
    let account = directory::tenant(&gateway, "project", &["plant"]);
    let _ = gateway.ask(&["role", "add", "ada@example.com", "user", "--project", &account]);
    let (id, client_id, code) = directory::activated(&gateway, "pump", &account);
    let token = token(&gateway, "ada@example.com").await;
    let device = activate(&gateway, &id, &code).await.good()["deviceToken"].as_str().unwrap().to_owned();
    let mut person = gateway.tcp(Version::V5, "phone").login("ada@example.com", &token).connect().await;
    let mut pump = gateway.tcp(Version::V5, &client_id).login(&id, &device).connect().await;
    let (shared, own) = (format!("accounts/{account}/x"), format!("accounts/{account}/{client_id}/x"));
    assert_eq!(person.publish(Message::new(&shared, "1").qos(1)).await, 0x10);
    assert_eq!(pump.publish(Message::new(&own, "1").qos(1)).await, 0x10);
    let _ = gateway.ask(&["project", "set", &account, "enabled=false"]);
    for (client, topic) in [(&mut person, &shared), (&mut pump, &own)] {
        within("the account is lost", async { while client.publish(Message::new(topic, "2").qos(1)).await != 0x87 {} })
            .await;
    }
    let mut again = gateway.tcp(Version::V5, "tablet").login("ada@example.com", &token).connect().await;
    assert_eq!(again.subscribe(&format!("accounts/{account}/#"), 1).await, 0x87);
    let info = public(&gateway).bearer(&token).get("/v1/api/auth/tokenInfo").await.good();
    assert_eq!(info["payload"]["accounts"], json!([]));
}

#[tokio::test]
async fn logging_out_ends_what_the_token_let_in_and_nothing_else() {
    let gateway = Gateway::start(&config()).await;
    ada(&gateway);
    let (first, second) = (token(&gateway, "ada@example.com").await, token(&gateway, "ada@example.com").await);
    let mut leaving = gateway.tcp(Version::V5, "one").login("ada@example.com", &first).connect().await;
    let mut older = gateway.dial(Transport::Wss, Version::V311, "two").login("ada@example.com", &first).connect().await;
    let mut staying = gateway.tcp(Version::V5, "three").login("ada@example.com", &second).connect().await;
    let out = public(&gateway).bearer(&first).delete("/v1/api/auth/me").await;
    assert_eq!((out.status, out.body.as_str()), (204, ""));
    assert_eq!(leaving.ended().await.map(|(reason, _)| reason), Some(0x87));
    assert_eq!(older.ended().await, None, "before MQTT 5 nobody is told why");
    assert_eq!(gateway.tcp(Version::V5, "one").login("ada@example.com", &first).refusal().await, 0x86);
    assert_eq!(public(&gateway).bearer(&first).get("/v1/api/auth/me").await.status, 401);
    staying.ping().await;
}

/// Another second of the clock begins: what was issued before is then older than what happens now.
async fn next_second() {
    let began = now();
    within("the next second", async {
        while now() == began {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn another_password_and_a_disabled_user_end_what_was_issued_before() {
    let gateway = Gateway::start(&config()).await;
    ada(&gateway);
    let before = token(&gateway, "ada@example.com").await;
    let mut client = gateway.tcp(Version::V5, "phone").login("ada@example.com", &before).connect().await;
    next_second().await;
    let _ = gateway.ask(&["user", "set", "ada@example.com", "password=another horse"]);
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x87));
    assert_eq!(public(&gateway).bearer(&before).get("/v1/api/auth/me").await.status, 401);
    assert_eq!(log_in(&gateway, "ada@example.com", PASSWORD).await.status, 401);

    let after = log_in(&gateway, "ada@example.com", "another horse").await.good()["token"].as_str().unwrap().to_owned();
    let mut client = gateway.tcp(Version::V5, "phone").login("ada@example.com", &after).connect().await;
    let _ = gateway.ask(&["user", "set", "ada@example.com", "enabled=false"]);
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x87));
    let disabled = log_in(&gateway, "ada@example.com", "another horse").await;
    assert_eq!(disabled.json(), json!({ "code": 401, "message": "Not Authorized" }));
}

async fn activate(gateway: &Gateway, device: &str, code: &str) -> Answer {
    let path = format!("/v1/api/devices/{device}/activation");
    public(gateway).request(Method::PUT, &path, Some(&json!({ "activationCode": code }))).await
}

#[tokio::test]
async fn a_device_is_activated_once_and_speaks_for_itself() {
    let gateway = Gateway::start(&config()).await;
    let account = directory::tenant(&gateway, "project", &["plant"]);
    let (id, client_id, code) = directory::activated(&gateway, "pump", &account);
    let (_, _, other) = directory::activated(&gateway, "fan", &account);
    for (device, code) in [(&id, &other), (&id, &"x".repeat(48)), (&"nobody".to_owned(), &code)] {
        let answer = activate(&gateway, device, code).await;
        assert_eq!((answer.status, answer.json()), (401, json!({ "code": 401, "message": "Not Authorized" })));
    }
    let answer = activate(&gateway, &id, &code).await.good();
    assert_eq!((answer.as_object().unwrap().len(), &answer["domainId"]), (2, &json!(account)));
    let token = answer["deviceToken"].as_str().unwrap().to_owned();
    let claims = claims(&gateway, &token).await;
    assert_eq!((&claims["sub"], &claims["accounts"]), (&json!(id), &json!([{ "id": account, "role": "device" }])));
    assert_eq!(activate(&gateway, &id, &code).await.status, 401, "the code was used up");

    for (transport, version) in ways() {
        for name in [&id, &client_id] {
            let mut client = gateway.dial(transport, version, name).login(&id, &token).connect().await;
            let topic = format!("{client_id}/stream");
            assert!(client.publish(Message::new(&topic, "1").qos(1)).await < 0x80);
            assert_eq!(client.subscribe(&format!("{client_id}/control"), 1).await, 1);
            let denied = if version == Version::V5 { 0x87 } else { 0x80 };
            assert_eq!(client.subscribe("fan/control", 1).await, denied);
            client.disconnect().await;
        }
        let refused = gateway.dial(transport, version, "else").login(&id, &token).refusal().await;
        assert_eq!(refused, if version == Version::V5 { 0x85 } else { 2 }, "another client identifier");
    }

    let mut living = gateway.tcp(Version::V5, &id).login(&id, &token).connect().await;
    let made = gateway.ask(&["key", "add", &format!("device:{id}"), "--kind", "activation", "--json"]);
    let code = serde_json::from_str::<Value>(&made).unwrap()["secret"].as_str().unwrap().to_owned();
    let again = activate(&gateway, &client_id, &code).await.good()["deviceToken"].as_str().unwrap().to_owned();
    assert_eq!(living.ended().await.map(|(reason, _)| reason), Some(0x87), "the earlier token is void");
    assert_eq!(gateway.tcp(Version::V5, &id).login(&id, &token).refusal().await, 0x86);
    let mut living = gateway.tcp(Version::V5, &id).login(&id, &again).connect().await;
    let _ = gateway.ask(&["device", "set", &client_id, "enabled=false"]);
    assert_eq!(living.ended().await.map(|(reason, _)| reason), Some(0x87));
}

#[tokio::test]
async fn a_rotated_key_verifies_until_its_overlap_ends() {
    let gateway = Gateway::start(&config()).await;
    ada(&gateway);
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let old = token(&gateway, "ada@example.com").await;
    let said = gateway.ask(&["key", "rotate", "gateway-rs256", "--overlap", "1h"]);
    assert!(said.contains("verifies for another 1h"), "{said}");
    let new = token(&gateway, "ada@example.com").await;
    assert_ne!(kid(&old), kid(&new));
    for token in [&old, &new] {
        assert_eq!(public(&gateway).bearer(token).get("/v1/api/auth/me").await.status, 200);
        claims(&gateway, token).await;
    }
    let _ = gateway.ask(&["key", "rotate", "gateway-rs256", "--overlap", "0s"]);
    assert_eq!(public(&gateway).bearer(&new).get("/v1/api/auth/me").await.status, 401, "without an overlap");
    assert_eq!(public(&gateway).bearer(&old).get("/v1/api/auth/me").await.status, 200, "its hour has not passed");
    let unknown = gateway.command(&["key", "rotate", "mine"]);
    assert_eq!(unknown.status.code(), Some(4), "{}", String::from_utf8_lossy(&unknown.stderr));
}
