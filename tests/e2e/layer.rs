//! km-api and Layer, as their clients speak them: over HTTP word for word, and what they open on MQTT.

use hyper::body::Bytes;
use portcullis_tests::admin::Answer;
use portcullis_tests::client::Client;
use portcullis_tests::packets::{self, Incoming};
use portcullis_tests::tokens::{SigningKey, base64url, hmac, now, tampered, unsigned};
use portcullis_tests::{Config, Dial, Gateway, Http, Message, Transport, Version, within};
use serde_json::{Value, json};

use crate::http_messages::header;
use crate::{named, ways};

const APP: &str = "layer:///apps/staging/e49e50aa-ffda-453f-adc8-404f68de84ae";
const OTHER: &str = "5b1f7c1e-90a8-4f0e-8a53-3d3b5f0c9c11";
const KEY: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";
const ACCEPT: (&str, &str) = ("accept", "application/vnd.layer+json; version=1.0");
const JSON: (&str, &str) = ("content-type", "application/json");
const PASSWORD: &str = "correct horse battery";

/// Every transport behind the policy, its interfaces at their own paths, and another provider with this key.
fn config(provider: &SigningKey, more: &str) -> Config {
    let websocket = "subprotocols = [\"mqtt\", \"layer-1.0\"]";
    let config = [Transport::Ws, Transport::Wss]
        .into_iter()
        .fold(Config::new(), |config, transport| config.mqtt_with(transport.name(), transport, &["layer"], websocket));
    config.mqtt("tcp", Transport::Tcp, &["layer"]).mqtt("tls", Transport::Tls, &["layer"]).http_with(&["layer"], "").toml(
        &format!(
            "[[policy]]\nname = \"layer\"\nsource = \"builtin:layer\"\nmount = [\"/auth\", \"/nonces\", \"/sessions\"]\n\
             [policy.config]\n{more}\n[[policy.config.providers]]\nid = \"{OTHER}\"\nkey-id = \"{KEY}\"\npem = '''{}'''",
            provider.public_pem()
        ),
    )
}

/// A gateway, and a connection to its HTTP interfaces.
struct Stand {
    gateway: Gateway,
    http: Http,
    provider: SigningKey,
}

impl Stand {
    async fn new(more: &str) -> Self {
        let provider = SigningKey::new("RS256");
        let gateway = Gateway::start(&config(&provider, more)).await;
        let http = Http::connect(gateway.address("http")).await;
        Self { gateway, http, provider }
    }

    async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [headers, &[JSON]].concat();
        self.http.send("POST", path, &headers, Bytes::from(body.to_string())).await
    }

    /// Registers somebody and gives their identifier.
    async fn register(&mut self, email: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD, "first_name": "Ann", "last_name": "Miller" });
        let answer = self.post("/auth/register/", &[], &body).await;
        let user = told(&answer, 201);
        let id = user["id"].as_str().unwrap().to_owned();
        assert_eq!(user, json!({ "id": id, "email": email, "first_name": "Ann", "last_name": "Miller" }));
        id
    }

    async fn login(&mut self, email: &str) -> String {
        let answer = self.post("/auth/login/", &[], &json!({ "username": email, "password": PASSWORD })).await;
        let body = told(&answer, 200);
        let token = body["token"].as_str().unwrap().to_owned();
        assert!(token.len() == 40 && body == json!({ "token": token }), "{body}");
        token
    }

    async fn nonce(&mut self) -> String {
        let answer = self.http.send("POST", "/nonces", &[ACCEPT], "").await;
        told(&answer, 201)["nonce"].as_str().unwrap().to_owned()
    }

    /// The identity token that answers a nonce for the bearer of a token.
    async fn identity_token(&mut self, token: &str, nonce: &str) -> String {
        let authorization = format!("Token {token}");
        let answer = self.post("/auth/layer/", &[("authorization", &authorization)], &json!({ "nonce": nonce })).await;
        told(&answer, 201)["identity_token"].as_str().unwrap().to_owned()
    }

    async fn open(&mut self, identity_token: &str) -> Answer {
        let body = json!({ "identity_token": identity_token, "app_id": APP });
        self.post("/sessions", &[ACCEPT], &body).await
    }

    async fn session(&mut self, token: &str) -> String {
        let nonce = self.nonce().await;
        let identity_token = self.identity_token(token, &nonce).await;
        let answer = self.open(&identity_token).await;
        told(&answer, 201)["session_token"].as_str().unwrap().to_owned()
    }

    /// CONNECT with the method.
    fn method(&self, data: Option<&str>) -> Dial {
        self.gateway.tcp(Version::V5, "asker").with(|properties| {
            properties.authentication_method = Some("Layer".into());
            properties.authentication_data = data.map(|data| Bytes::copy_from_slice(data.as_bytes()));
        })
    }

    /// A client that was asked a nonce, and the nonce.
    async fn asked(&self) -> (Client, String) {
        let dial = self.method(None);
        let mut client = Client::raw(dial.route.open().await.unwrap(), Version::V5);
        client.send(&packets::connect(&dial.hello)).await.unwrap();
        let nonce = challenge(&mut client).await;
        (client, nonce)
    }

    fn revoke(&self, secrets_owner: &str) {
        let keys: Value = serde_json::from_str(&self.gateway.ask(&["key", "list", "--json"])).unwrap();
        let keys = keys.as_array().or_else(|| keys["items"].as_array()).unwrap();
        let owned = keys.iter().filter(|key| key["owner"] == secrets_owner).collect::<Vec<_>>();
        assert!(!owned.is_empty(), "{keys:?}");
        for key in owned {
            let _ = self.gateway.ask(&["key", "remove", key["id"].as_str().unwrap()]);
        }
    }
}

fn told(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    answer.json()
}

/// The nonce of the AUTH that is next.
async fn challenge(client: &mut Client) -> String {
    match client.next().await {
        Some(Incoming::Auth(0x18, Some(nonce))) => String::from_utf8(nonce).unwrap(),
        other => panic!("expected a challenge, got {other:?}"),
    }
}

fn wrong(version: Version) -> u8 {
    if version == Version::V5 { 0x86 } else { 4 }
}

/// The error of Layer's end: status, code, identifier.
fn error(answer: &Answer) -> (u16, u64, String) {
    let body = answer.json();
    assert!(body["message"].is_string() && body["data"].is_object(), "{body}");
    (answer.status, body["code"].as_u64().unwrap(), body["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn km_api_answers_as_documented() {
    let mut stand = Stand::new("").await;
    let id = stand.register("ann@example.org").await;
    let token = stand.login("ann@example.org").await;
    assert_eq!(stand.login("Ann@Example.org").await, token, "the same token each time");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let form = stand
        .http
        .send("POST", "/auth/login/", &form, "username=ann%40example.org&password=correct+horse+battery")
        .await;
    assert_eq!(told(&form, 200), json!({ "token": token }));

    let authorization = format!("Token {token}");
    let bearer = [("authorization", authorization.as_str()), JSON];
    let mut profile = json!({ "id": id, "email": "ann@example.org", "first_name": "Ann", "last_name": "Miller" });
    let seen = stand.http.send("GET", "/auth/profile/", &bearer, "").await;
    assert_eq!(
        (header(&seen, "content-type"), header(&seen, "cache-control")),
        (Some("application/json"), Some("no-store"))
    );
    assert_eq!(told(&seen, 200), profile);
    profile["first_name"] = "Annie".into();
    let changed = stand.http.send("PATCH", "/auth/profile/", &bearer, r#"{"first_name":"Annie"}"#).await;
    assert_eq!(told(&changed, 200), profile);

    let detail = |answer: &Answer, status: u16, sentence: &str| {
        assert_eq!(told(answer, status), json!({ "detail": sentence }));
    };
    let newcomer = json!({ "email": "b@example.org", "password": PASSWORD, "first_name": "B", "last_name": "C" });
    let again = stand.post("/auth/register/", &bearer[..1], &newcomer).await;
    detail(&again, 403, "This view requires the user to NOT be authenticated.");
    detail(&stand.http.get("/auth/profile/").await, 403, "Authentication credentials were not provided.");
    let bad = [("authorization", "Token 0000000000000000000000000000000000000000")];
    detail(&stand.http.send("GET", "/auth/profile/", &bad, "").await, 403, "Invalid token.");
    detail(
        &stand.post("/auth/layer/", &[], &json!({ "nonce": "x" })).await,
        403,
        "Authentication credentials were not provided.",
    );
    detail(&stand.http.get("/auth/login/").await, 405, "Method \"GET\" not allowed.");
    let text = [("content-type", "text/plain")];
    let media = stand.http.send("POST", "/auth/login/", &text, "x").await;
    detail(&media, 415, "Unsupported media type \"text/plain\" in request.");
    let broken = stand.http.send("POST", "/auth/login/", &[JSON], "{").await;
    assert!(told(&broken, 400)["detail"].as_str().unwrap().starts_with("JSON parse error - "));
    let moved = stand.http.get("/auth/profile").await;
    assert_eq!((moved.status, header(&moved, "location")), (301, Some("/auth/profile/")));

    let taken =
        stand.post("/auth/register/", &[], &json!({ "email": "ANN@example.org", "password": "12345678" })).await;
    assert_eq!(
        told(&taken, 400),
        json!({
            "first_name": ["This field is required."],
            "last_name": ["This field is required."],
            "password": ["This password is too common.", "This password is entirely numeric."],
        })
    );
    let taken = json!({ "email": "ANN@example.org", "password": PASSWORD, "first_name": "B", "last_name": "C" });
    assert_eq!(
        told(&stand.post("/auth/register/", &[], &taken).await, 400),
        json!({ "email": ["user with this email already exists."] })
    );
    let nonce = stand.post("/auth/layer/", &bearer[..1], &json!({})).await;
    assert_eq!(told(&nonce, 400), json!({ "nonce": ["This field is required."] }));
}

#[tokio::test]
async fn a_token_opens_every_transport_and_version_until_it_is_revoked() {
    let mut stand = Stand::new("").await;
    let id = stand.register("ann@example.org").await;
    let token = stand.login("ann@example.org").await;
    for (transport, version) in ways() {
        let dial = stand.gateway.dial(transport, version, &named("ann", transport, version));
        let mut client = dial.clone().login("ann@example.org", &token).connect().await;
        assert_eq!(client.subscribe(&format!("users/{id}/#"), 1).await, 1);
        client.publish(Message::new(format!("users/{id}/a"), "mine").qos(1)).await;
        assert_eq!(&client.message().await.payload[..], b"mine");
        assert_ne!(client.subscribe("users/another/#", 1).await, 1);
        client.disconnect().await;
        dial.clone().login(&id, &token).connect().await.disconnect().await;
        assert_eq!(dial.clone().login("bob@example.org", &token).refusal().await, wrong(version));
        assert_eq!(dial.login("ann@example.org", &"0".repeat(40)).refusal().await, wrong(version));
    }
    for transport in [Transport::Ws, Transport::Wss] {
        let mut dial = stand.gateway.dial(transport, Version::V5, "header");
        dial.route.headers = vec![("authorization".into(), format!("Token {token}"))];
        dial.connect().await.disconnect().await;
    }
    let mut client = stand.gateway.tcp(Version::V5, "live").login("ann@example.org", &token).connect().await;
    // The grant's own end is far away, and nothing renews it: only the revocation can end it while this waits.
    stand.revoke(&format!("user:{id}"));
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x87));
    let another = stand.login("ann@example.org").await;
    assert_ne!(another, token, "a token that was revoked does not come back");
}

#[tokio::test]
async fn a_session_opens_mqtt_and_http_until_it_is_deleted() {
    let mut stand = Stand::new("").await;
    let id = stand.register("ann@example.org").await;
    let token = stand.login("ann@example.org").await;
    let session = stand.session(&token).await;
    for (transport, version) in ways() {
        let dial = stand.gateway.dial(transport, version, &named("ann", transport, version));
        let mut client = dial.clone().login("whoever", &session).connect().await;
        assert_eq!(client.subscribe(&format!("users/{id}/#"), 1).await, 1);
        client.disconnect().await;
        assert_eq!(dial.login("whoever", &format!("layer_{}", "0".repeat(42))).refusal().await, wrong(version));
    }
    // A client of Layer's own WebSocket: its sub-protocol, the session in the query.
    let mut dial = stand.gateway.dial(Transport::Wss, Version::V5, "browser");
    dial.route.path = format!("/mqtt?session_token={session}");
    dial.route.protocol = Some("layer-1.0".into());
    dial.connect().await.disconnect().await;
    let mut dial = stand.gateway.dial(Transport::Ws, Version::V311, "header");
    let authorization = format!("Layer session-token=\"{session}\"");
    dial.route.headers = vec![("authorization".into(), authorization.clone())];
    dial.connect().await.disconnect().await;

    let bearer = [("authorization", authorization.as_str())];
    let passed = stand.http.send("GET", "/verify", &bearer, "").await;
    assert_eq!((passed.status, header(&passed, "x-auth-subject")), (200, Some(id.as_str())), "{}", passed.body);
    let mut client = stand.gateway.tcp(Version::V5, "live").login("", &session).connect().await;
    let path = format!("/sessions/{session}");
    assert_eq!(stand.http.send("DELETE", &path, &[ACCEPT], "").await.status, 204);
    // As above: only the deletion can end it while this waits.
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x87));
    assert_eq!(stand.http.send("DELETE", &path, &[ACCEPT], "").await.status, 404);

    assert_eq!(stand.http.send("GET", "/verify", &bearer, "").await.status, 401);
    let refused = stand.http.send("GET", &format!("/retained/users/{id}/a"), &bearer, "").await;
    assert_eq!(error(&refused), (401, 4, "authentication_required".into()));
    assert_eq!(header(&refused, "www-authenticate"), Some("Layer"));
    // The nonce of the refusal begins another session at once.
    let nonce = refused.json()["data"]["nonce"].as_str().unwrap().to_owned();
    let identity_token = stand.identity_token(&token, &nonce).await;
    assert_eq!(stand.open(&identity_token).await.status, 201);
}

#[tokio::test]
async fn layers_end_refuses_in_its_own_words() {
    let mut stand = Stand::new("nonces-per-minute = 12").await;
    stand.register("ann@example.org").await;
    let token = stand.login("ann@example.org").await;
    assert_eq!(error(&stand.http.get("/nonces").await), (405, 109, "method_not_allowed".into()));
    let refused = stand.http.send("POST", "/nonces", &[("accept", "application/json")], "").await;
    assert_eq!(error(&refused), (406, 107, "invalid_header".into()));
    assert_eq!(refused.json()["data"], json!({ "header": "Accept" }));

    let missing = stand.post("/sessions", &[ACCEPT], &json!({ "app_id": APP })).await;
    assert_eq!(error(&missing), (422, 104, "missing_property".into()));
    assert_eq!(missing.json()["data"], json!({ "property": "identity_token" }));
    let nonce = stand.nonce().await;
    let good = stand.identity_token(&token, &nonce).await;
    let app = json!({ "identity_token": good, "app_id": "mine" });
    assert_eq!(error(&stand.post("/sessions", &[ACCEPT], &app).await), (403, 2, "invalid_app_id".into()));
    let invalid = (422, 105, "invalid_property".to_owned());
    assert_eq!(error(&stand.open(&good).await), invalid, "the nonce was used up by the wrong app");

    let unknown = stand.identity_token(&token, "never given out").await;
    assert_eq!(error(&stand.open(&unknown).await), invalid, "an unknown nonce");
    let nonce = stand.nonce().await;
    let good = stand.identity_token(&token, &nonce).await;
    assert_eq!(error(&stand.open(&tampered(&good)).await), invalid, "tampered");
    assert_eq!(error(&stand.open(&good).await), invalid, "and the nonce was used up");
    let nonce = stand.nonce().await;
    let good = stand.identity_token(&token, &nonce).await;
    assert_eq!(stand.open(&good).await.status, 201);
    assert_eq!(error(&stand.open(&good).await), invalid, "replayed");
    for _ in 0..9 {
        stand.nonce().await;
    }
    let limited = stand.http.send("POST", "/nonces", &[ACCEPT], "").await;
    assert_eq!(error(&limited), (429, 7, "rate_limit_exceeded".into()));
    assert_eq!(header(&limited, "retry-after"), Some("60"));
}

#[tokio::test]
async fn a_challenge_is_a_nonce_and_its_answer_an_identity_token() {
    let mut stand = Stand::new("").await;
    let id = stand.register("ann@example.org").await;
    let bob = stand.register("bob@example.org").await;
    assert_ne!(id, bob);
    let token = stand.login("ann@example.org").await;
    let (mut client, nonce) = stand.asked().await;
    let answer = stand.identity_token(&token, &nonce).await;
    client.send(&packets::auth(0x18, "Layer", Some(&answer))).await.unwrap();
    client.wait("CONNACK", |packet| matches!(packet, Incoming::ConnAck(_, 0, _)).then_some(())).await;
    assert_eq!(client.subscribe(&format!("users/{id}/#"), 1).await, 1);

    // Again, on the living connection, with a nonce of its own.
    client.send(&packets::auth(0x19, "Layer", None)).await.unwrap();
    let fresh = challenge(&mut client).await;
    assert_ne!(fresh, nonce);
    let renewed = stand.identity_token(&token, &fresh).await;
    client.send(&packets::auth(0x18, "Layer", Some(&renewed))).await.unwrap();
    client.wait("AUTH", |packet| matches!(packet, Incoming::Auth(0, _)).then_some(())).await;
    client.publish(Message::new(format!("users/{id}/a"), "still here").qos(1)).await;
    assert_eq!(&client.message().await.payload[..], b"still here");

    // An answer that was good before is good for no other nonce.
    client.send(&packets::auth(0x19, "Layer", None)).await.unwrap();
    challenge(&mut client).await;
    client.send(&packets::auth(0x18, "Layer", Some(&renewed))).await.unwrap();
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x87), "replayed");
    let (mut replaying, _) = stand.asked().await;
    replaying.send(&packets::auth(0x18, "Layer", Some(&answer))).await.unwrap();
    let refused = replaying.wait("CONNACK", |packet| match packet {
        Incoming::ConnAck(_, code, _) => Some(*code),
        _ => None,
    });
    assert_eq!(refused.await, 0x86, "replayed at CONNECT");

    // Without a round: an answer to a nonce that was had over HTTP. Once.
    let nonce = stand.nonce().await;
    let answer = stand.identity_token(&token, &nonce).await;
    stand.method(Some(&answer)).connect().await.disconnect().await;
    assert_eq!(stand.method(Some(&answer)).refusal().await, 0x86, "replayed");
    // Nobody else goes on in the connection of a user.
    let (mut client, nonce) = stand.asked().await;
    let answer = stand.identity_token(&token, &nonce).await;
    client.send(&packets::auth(0x18, "Layer", Some(&answer))).await.unwrap();
    client.wait("CONNACK", |packet| matches!(packet, Incoming::ConnAck(_, 0, _)).then_some(())).await;
    client.send(&packets::auth(0x19, "Layer", None)).await.unwrap();
    let nonce = challenge(&mut client).await;
    let bobs = stand.login("bob@example.org").await;
    let bobs = stand.identity_token(&bobs, &nonce).await;
    client.send(&packets::auth(0x18, "Layer", Some(&bobs))).await.unwrap();
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x87));
}

#[tokio::test]
async fn identity_tokens_of_another_provider_are_believed_and_forged_ones_are_not() {
    let mut stand = Stand::new("nonces-per-minute = 1000").await;
    let id = stand.register("ann@example.org").await;
    let mut good = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    good.cty = Some("layer-eit;v=1".into());
    good.kid = Some(format!("layer:///keys/{KEY}"));
    let claims = |nonce: &str| {
        let issuer = format!("layer:///providers/{OTHER}");
        json!({ "iss": issuer, "prn": id, "iat": now(), "exp": now() + 300, "nce": nonce })
    };
    let nonce = stand.nonce().await;
    let token = stand.provider.token_with(&good, &claims(&nonce));
    let session = told(&stand.open(&token).await, 201)["session_token"].as_str().unwrap().to_owned();
    let mut client = stand.gateway.tcp(Version::V5, "theirs").login("", &session).connect().await;
    let own = format!("providers/{OTHER}/{id}/#");
    assert_eq!(client.subscribe(&own, 1).await, 1);
    assert_eq!(client.subscribe(&format!("users/{id}/#"), 1).await, 0x87, "their name is not that user here");

    let stranger = SigningKey::new("RS256");
    let with = |header: &jsonwebtoken::Header, name: &str, value: Value| {
        let mut claims = claims("NONCE");
        claims[name] = value;
        (header.clone(), claims)
    };
    let mut path = good.clone();
    path.kid = Some("layer:///keys/../../etc/passwd".into());
    let mut content = good.clone();
    content.cty = None;
    let cases = [
        ("expired by a second", with(&good, "exp", json!(now() - 1))),
        ("made in the future", with(&good, "iat", json!(now() + 600))),
        ("of a provider that is not believed", with(&good, "iss", json!(format!("layer:///providers/{KEY}")))),
        ("of a principal that is a number", with(&good, "prn", json!(7))),
        ("with a path for a kid", with(&path, "x", json!(1))),
        ("of another content", with(&content, "x", json!(1))),
    ];
    for (what, (header, claims)) in cases {
        let mut claims = claims;
        claims["nce"] = stand.nonce().await.into();
        let token = stand.provider.token_with(&header, &claims);
        assert_eq!(error(&stand.open(&token).await).1, 105, "{what}");
    }
    let nonce = stand.nonce().await;
    assert_eq!(error(&stand.open(&stranger.token_with(&good, &claims(&nonce))).await).1, 105, "another key");
    for secret in [stand.provider.public_pem().into_bytes(), stand.provider.public_der()] {
        let nonce = stand.nonce().await;
        assert_eq!(error(&stand.open(&hmac(&secret, &claims(&nonce))).await).1, 105, "an HMAC with the public key");
    }
    for spelling in ["none", "None", ""] {
        let nonce = stand.nonce().await;
        assert_eq!(error(&stand.open(&unsigned(spelling, &claims(&nonce))).await).1, 105, "{spelling}");
    }
    let huge = format!("{}.{}.AA", base64url(b"{\"alg\":\"RS256\"}"), base64url(&vec![b'x'; 20_000]));
    assert_eq!(error(&stand.open(&huge).await).1, 105, "huge");
}

#[tokio::test]
async fn guessing_passwords_is_slowed_for_those_who_exist_and_those_who_do_not() {
    let mut stand = Stand::new("").await;
    stand.register("ann@example.org").await;
    for email in ["ann@example.org", "nobody@example.org"] {
        let body = json!({ "username": email, "password": "a wrong guess" });
        for _ in 0..10 {
            let refused = stand.post("/auth/login/", &[], &body).await;
            assert_eq!(
                told(&refused, 400),
                json!({ "non_field_errors": ["Unable to log in with provided credentials."] })
            );
        }
        let right = json!({ "username": email, "password": PASSWORD });
        let locked = stand.post("/auth/login/", &[], &right).await;
        assert_eq!(locked.status, 429, "{email}: {}", locked.body);
        assert!(header(&locked, "retry-after").is_some());
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once_and_everything_of_theirs_is_void() {
    let mut stand = Stand::new("").await;
    let id = stand.register("ann@example.org").await;
    let token = stand.login("ann@example.org").await;
    let session = stand.session(&token).await;
    let dial = |secret: &str| stand.gateway.tcp(Version::V5, &secret[..8]).login("", secret);
    let mut clients = [dial(&token).connect().await, dial(&session).connect().await];
    let _ = stand.gateway.ask(&["user", "remove", &id]);
    for client in &mut clients {
        let reason = within("the end", client.ended()).await.map(|(reason, _)| reason);
        assert_eq!(reason, Some(0x87));
    }
    for secret in [&token, &session] {
        assert_eq!(dial(secret).refusal().await, 0x86);
    }
}
