//! The gateway as a Keystone, and behind another one: tokens over HTTP, and logins with them over MQTT.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portcullis_tests::keystone::{PASSWORD, fill, header, issued, token, tokens};
use portcullis_tests::relay::Relay;
use portcullis_tests::tokens::{SigningKey, now, tampered};
use portcullis_tests::{Config, Dial, Gateway, Http, Message, Refused, Transport, Version, within};
use serde_json::{Value, json};

use crate::{named, ways};

const RULES: &str = r##"rules = [
    { actions = ["publish", "subscribe"], filter = "{service}/{subservice}/{user}/#" },
    { actions = ["publish", "subscribe"], filter = "{service}/#", role = "operator" },
] }"##;

async fn keystone() -> (Gateway, Value) {
    let entry = format!(
        "[[policy]]\nname = \"keystone\"\nsource = \"builtin:keystone\"\nmount = [\"/v3\"]\nconfig = {{ {RULES}"
    );
    let gateway = Gateway::start(&Config::everywhere(&["keystone"]).http().toml(&entry)).await;
    let about = fill(&gateway).await;
    (gateway, about)
}

fn wrong(version: Version) -> u8 {
    if version == Version::V5 { 0x86 } else { 4 }
}

fn gardens() -> Value {
    json!({ "project": { "name": "gardens", "domain": { "name": "smart" } } })
}

#[tokio::test]
async fn a_token_lives_its_life_over_http() {
    let (gateway, about) = keystone().await;
    let user = json!({ "id": about["ann"], "password": PASSWORD });
    let identity = json!({ "methods": ["password"], "password": { "user": user } });
    let answer = tokens(&gateway, "POST", None, None, &json!({ "auth": { "identity": identity } })).await;
    let first = issued(&answer);
    assert_eq!(header(&answer, "vary"), Some("X-Auth-Token"));
    let told = &answer.json()["token"];
    assert_eq!((&told["project"]["id"], &told["user"]["name"]), (&about["gardens"], &json!("ann")));
    assert_eq!(told["catalog"][0]["endpoints"][0]["url"], about["url"]);

    let rescope = json!({ "identity": { "methods": ["token"], "token": { "id": first } }, "scope": { "domain": { "name": "smart" } } });
    let second = issued(&tokens(&gateway, "POST", None, None, &json!({ "auth": rescope })).await);
    let shown = tokens(&gateway, "GET", Some(&first), Some(&second), &Value::Null).await;
    assert_eq!((shown.status, header(&shown, "x-subject-token")), (200, Some(second.as_str())));
    assert_eq!(shown.json()["token"]["audit_ids"][1], told["audit_ids"][0]);
    assert_eq!(shown.json()["token"]["expires_at"], told["expires_at"]);
    let checked = tokens(&gateway, "HEAD", Some(&first), Some(&second), &Value::Null).await;
    assert_eq!((checked.status, checked.body.as_str()), (200, ""));

    let bob = token(&gateway, "bob", Value::Null).await;
    assert_eq!(tokens(&gateway, "DELETE", Some(&bob), Some(&first), &Value::Null).await.status, 403);
    assert_eq!(tokens(&gateway, "DELETE", Some(&first), Some(&first), &Value::Null).await.status, 204);
    for gone in [&first, &second] {
        let refused = tokens(&gateway, "GET", Some(gone), Some(gone), &Value::Null).await;
        assert_eq!(refused.status, 401);
        let uri = format!("Keystone uri=\"{}\"", about["url"].as_str().unwrap());
        assert_eq!(header(&refused, "www-authenticate"), Some(uri.as_str()));
        assert_eq!(refused.json()["error"]["title"], "Unauthorized");
        assert_eq!(tokens(&gateway, "GET", Some(&bob), Some(gone), &Value::Null).await.status, 404);
    }
}

#[tokio::test]
async fn a_token_opens_every_transport_and_version() {
    let (gateway, about) = keystone().await;
    let project = token(&gateway, "ann", gardens()).await;
    let domain = token(&gateway, "ann", json!({ "domain": { "name": "smart" } })).await;
    let credential = json!({ "id": about["credential"], "secret": about["secret"] });
    let identity = json!({ "methods": ["application_credential"], "application_credential": credential });
    let credential = issued(&tokens(&gateway, "POST", None, None, &json!({ "auth": { "identity": identity } })).await);
    for (transport, version) in ways() {
        let dial = |username: &str, token: &str| gateway.dial(transport, version, "c").login(username, token);
        for (username, token) in
            [("smart", &project), ("smart/gardens", &project), ("smart/", &domain), ("smart/gardens", &credential)]
        {
            let mut client = dial(username, token).connect().await;
            let topic = "smart/gardens/ann/x";
            assert_eq!(client.subscribe(topic, 1).await, 1, "{username}");
            client.publish(Message::new(topic, "mine").qos(1)).await;
            assert_eq!(&client.message().await.payload[..], b"mine");
            client.disconnect().await;
        }
        let stranger = SigningKey::new("ES256").token(&json!({
            "sub": about["ann"], "iat": now(), "exp": now() + 600, "openstack_methods": ["password"],
            "openstack_audit_ids": ["AAAAAAAAAAAAAAAAAAAAAA"], "openstack_project_id": about["gardens"],
        }));
        for (username, token) in [
            ("other", &project),
            ("smart/other", &project),
            ("smart/", &project),
            ("other/", &domain),
            ("smart", &tampered(&project)),
            ("smart", &stranger),
        ] {
            assert_eq!(dial(username, token).refusal().await, wrong(version), "{username} {transport:?}");
        }
    }
}

#[tokio::test]
async fn a_device_without_http_logs_in_with_a_password() {
    let (gateway, _) = keystone().await;
    for (transport, version) in ways() {
        let name = named("ann", transport, version);
        let dial = |username: &str| gateway.dial(transport, version, &name).login(username, PASSWORD);
        for username in ["ann@smart", "ann@smart/gardens", "ann@smart/"] {
            let mut client = dial(username).connect().await;
            assert_eq!(client.subscribe("smart/gardens/#", 1).await, 1, "{username}");
            client.disconnect().await;
        }
        assert_eq!(dial("ann@smart/other").refusal().await, wrong(version));
        assert_eq!(dial("ann@elsewhere").refusal().await, wrong(version));
    }
    let (right, unknown) = (gateway.tcp(Version::V5, "x"), gateway.tcp(Version::V5, "x"));
    assert_eq!(right.login("ann@smart", "wrong").refusal().await, 0x86);
    assert_eq!(unknown.login("nobody@smart", "wrong").refusal().await, 0x86);
}

#[tokio::test]
async fn a_token_may_ride_in_the_upgrade_of_a_websocket() {
    let (gateway, _) = keystone().await;
    let token = token(&gateway, "ann", gardens()).await;
    for version in Version::ALL {
        let mut dial = gateway.dial(Transport::Ws, version, "ann");
        dial.route.headers = vec![("x-auth-token".into(), token.clone())];
        let mut client = dial.clone().connect().await;
        assert_eq!(client.subscribe("smart/x", 1).await, 1);
        client.disconnect().await;
        dial.route.headers = vec![("x-auth-token".into(), tampered(&token))];
        assert_eq!(dial.refusal().await, wrong(version));
    }
}

#[tokio::test]
async fn what_is_revoked_or_taken_away_ends_live_connections() {
    // Tokens live for an hour, and a gateway that issues them renews no grant: only what happens here can end a connection
    // while the test waits.
    let (gateway, about) = keystone().await;
    for version in Version::ALL {
        let first = token(&gateway, "ann", json!("unscoped")).await;
        let rescope = json!({ "identity": { "methods": ["token"], "token": { "id": first } }, "scope": gardens() });
        let child = issued(&tokens(&gateway, "POST", None, None, &json!({ "auth": rescope })).await);
        let mut client = gateway.tcp(version, "ann").login("smart", &child).connect().await;
        // The one that it was had for goes, and it with it.
        assert_eq!(tokens(&gateway, "DELETE", Some(&first), Some(&first), &Value::Null).await.status, 204);
        let ended = client.ended().await;
        assert_eq!(ended.is_some(), version == Version::V5, "{ended:?}");

        let mut client = gateway.tcp(version, "ann").login("ann@smart/gardens", PASSWORD).connect().await;
        let role =
            format!("{}:project:{}:operator", about["ann"].as_str().unwrap(), about["gardens"].as_str().unwrap());
        let _ = gateway.admin().delete(&format!("/api/v1/roles/{role}")).await.good();
        client.ended().await;
        let again = json!({ "user_id": about["ann"], "role": "operator", "project_id": about["gardens"] });
        let _ = gateway.admin().post("/api/v1/roles", &again).await.good();
    }
}

/// A gateway whose tokens are another gateway's, through a relay.
async fn behind(relay: &Relay, cache: u32, stale: u32) -> Gateway {
    let entry = format!(
        "[[policy]]\nname = \"keystone\"\nsource = \"builtin:keystone\"\n\
         allow = {{ directory = \"write\", keyvalue = true, keys = [], http = [\"{address}\"] }}\n\
         config = {{ mode = \"upstream\", url = \"http://{address}/v3\", timeout = 15000, cache = {cache}, stale = {stale}, refused = 1, {RULES}",
        address = relay.address(),
    );
    Gateway::start(&Config::everywhere(&["keystone"]).toml(&entry)).await
}

#[tokio::test]
async fn another_keystones_tokens_and_passwords_open_every_transport() {
    let (other, _) = keystone().await;
    let relay = Relay::to(other.address("http")).await;
    let gateway = behind(&relay, 300, 3600).await;
    let good = token(&other, "ann", gardens()).await;
    for (transport, version) in ways() {
        let dial = |username: &str, secret: &str| gateway.dial(transport, version, "c").login(username, secret);
        for (username, secret) in [("smart/gardens", good.as_str()), ("ann@smart/gardens", PASSWORD)] {
            let mut client = dial(username, secret).connect().await;
            assert_eq!(client.subscribe("smart/#", 1).await, 1);
            client.disconnect().await;
        }
        assert_eq!(dial("smart/other", &good).refusal().await, wrong(version));
        assert_eq!(dial("smart", &tampered(&good)).refusal().await, wrong(version));
    }
}

#[tokio::test]
async fn while_the_uplink_is_away_what_was_decided_stays_decided_until_it_is_too_old() {
    let (other, _) = keystone().await;
    let relay = Relay::to(other.address("http")).await;
    let gateway = behind(&relay, 1, 4).await;
    let known = token(&other, "ann", gardens()).await;
    let unknown = token(&other, "ann", json!({ "domain": { "name": "smart" } })).await;
    let dial = |token: &str| gateway.tcp(Version::V5, "ann").login("smart", token);
    let decided = Instant::now();
    let mut client = dial(&known).connect().await;
    relay.switch(false);
    let late = client.ended().await;
    assert!(decided.elapsed() >= Duration::from_secs(3), "it lived on for a while: {:?}", decided.elapsed());
    assert_eq!(late.as_ref().map(|(reason, _)| *reason), Some(0x89), "server busy: 0x88 is of CONNACK alone");
    let words = late.and_then(|(_, words)| words).unwrap_or_default();
    assert!(words.contains("identity service"), "the reason says so: {words:?}");
    assert_eq!(dial(&known).refusal().await, 0x88);
    assert_eq!(dial(&unknown).refusal().await, 0x88, "never asked about");

    relay.switch(true);
    let back = within("a login with the uplink's help", async {
        loop {
            match dial(&unknown).attempt().await {
                Ok(client) => break client,
                Err(refused) => assert!(matches!(refused, Refused::Code(0x88, _)), "{refused:?}"),
            }
        }
    })
    .await;
    back.disconnect().await;
    dial(&known).connect().await.disconnect().await;
}

#[tokio::test]
async fn a_herd_with_one_token_asks_once() {
    let (other, _) = keystone().await;
    let relay = Relay::to(other.address("http")).await;
    let gateway = behind(&relay, 300, 3600).await;
    let good = token(&other, "ann", gardens()).await;
    let before = relay.connections();
    let dials: Vec<_> = (0..50).map(|n| gateway.tcp(Version::V5, &format!("c{n}")).login("smart", &good)).collect();
    for client in join_all(dials.iter().map(Dial::connect)).await {
        client.disconnect().await;
    }
    let after = relay.connections() - before;
    assert!(after <= 2, "50 clients made {after} connections to the Keystone");
}

#[tokio::test]
async fn requests_with_a_token_are_let_in_under_fiwares_headers() {
    let entry = format!(
        "[[policy]]\nname = \"keystone\"\nsource = \"builtin:keystone\"\nmount = [\"/v3\"]\nconfig = {{ fiware = \"required\", {RULES}"
    );
    let config = Config::tcp(&["keystone"]).http_with(&["keystone"], "").toml(&entry);
    let gateway = Gateway::start(&config).await;
    fill(&gateway).await;
    let token = token(&gateway, "ann", gardens()).await;
    let mut http = Http::connect(gateway.address("http")).await;
    let (service, path) = (("fiware-service", "smart"), ("fiware-servicepath", "/gardens"));
    for (headers, status, name) in [
        (vec![service, path], 200, ""),
        (vec![service], 400, "MISSING_HEADERS"),
        (vec![service, ("fiware-servicepath", "/other")], 401, "TOKEN_DOES_NOT_MATCH_SERVICE"),
        (vec![("fiware-service", "other"), path], 401, "TOKEN_DOES_NOT_MATCH_SERVICE"),
    ] {
        let headers = [&headers[..], &[("x-auth-token", token.as_str())]].concat();
        let answer = http.send("POST", "/publish/smart/gardens/ann/x", &headers, "hello").await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
        if status != 200 {
            assert_eq!(answer.json()["name"], name);
        }
    }
}

/// A password of ann's, by her identifier, over HTTP; and as a device sends it, by her name.
fn by_identifier(id: &Value, password: &str) -> Value {
    let user = json!({ "id": id, "password": password });
    json!({ "auth": { "identity": { "methods": ["password"], "password": { "user": user } } } })
}

#[tokio::test]
async fn a_user_is_tried_no_more_often_for_having_several_names() {
    let (gateway, about) = keystone().await;
    let (ann, nobody) = (&about["ann"], json!("0badc0de0badc0de0badc0de0badc0de"));
    let mut told = Vec::new();
    for (name, id) in [("ann@smart", ann), ("nobody@smart", &nobody)] {
        let mut story = Vec::new();
        let mut knock = async |password: &str| {
            let code = gateway.tcp(Version::V5, "x").login(name, password).refusal().await;
            let answer = tokens(&gateway, "POST", None, None, &by_identifier(id, password)).await;
            story.push((code, answer.status, answer.body));
        };
        // Five by each name are ten for the user: the right one is not looked at any more, by either.
        for _ in 0..5 {
            knock("a guess").await;
        }
        knock(PASSWORD).await;
        assert_eq!((story[5].0, story[5].1), (0x86, 401), "{story:?}");
        told.push(story);
    }
    assert_eq!(told[0], told[1], "nothing tells that there is such a user");
    let _ = gateway.ask(&["user", "set", ann.as_str().unwrap(), "locked=false"]);
    let _ = issued(&tokens(&gateway, "POST", None, None, &by_identifier(ann, PASSWORD)).await);
    gateway.tcp(Version::V5, "x").login("ann@smart/gardens", PASSWORD).connect().await.disconnect().await;
}

#[tokio::test]
async fn passwords_beyond_the_queue_are_told_to_come_again() {
    let entry = "[[policy]]\nname = \"keystone\"\nsource = \"builtin:keystone\"\nmount = [\"/v3\"]\n\
                 limits = { instances = 1, queue = 1 }";
    let gateway = Gateway::start(&Config::tcp(&["keystone"]).http().toml(entry)).await;
    let about = fill(&gateway).await;
    let body = by_identifier(&about["ann"], PASSWORD);
    // One is hashed and one waits. So it is soon, however slowly the others come.
    let (mut codes, mut statuses) = (HashSet::new(), HashSet::new());
    for _ in 0..100 {
        let devices = join_all((0..4).map(|n| {
            let dial = gateway.tcp(Version::V5, &format!("d{n}")).login("ann@smart/gardens", PASSWORD);
            async move {
                match dial.attempt().await {
                    Ok(_) => 0,
                    Err(Refused::Code(code, _)) => code,
                    Err(other) => panic!("{other:?}"),
                }
            }
        }));
        let people = join_all((0..4).map(|_| tokens(&gateway, "POST", None, None, &body)));
        let (devices, people) = tokio::join!(devices, people);
        codes.extend(devices);
        for answer in people {
            assert_eq!(header(&answer, "retry-after").is_some(), answer.status == 503, "{}", answer.body);
            statuses.insert(answer.status);
        }
        if codes.len() > 1 && statuses.len() > 1 {
            break;
        }
    }
    assert_eq!((codes, statuses), (HashSet::from([0, 0x89]), HashSet::from([201, 503])));
}
