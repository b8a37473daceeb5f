//! Attacks on tokens and passwords, each by its name. What they have in common: the answer is a refusal, the gateway
//! lives on, and who is honest still comes in.

use hyper::Method;
use jsonwebtoken::{Algorithm, Header};
use portcullis_tests::tokens::{SigningKey, base64url, claims_of, hmac, now, tampered, unsigned};
use portcullis_tests::{Admin, Answer, Config, Dial, Gateway, Message, Transport, Version, directory, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PASSWORD: &str = "correct horse battery";

/// The gateway's own tokens over HTTP, those of apps over MQTT.
async fn gateway(leeway: u32) -> Gateway {
    let policy = format!(
        "[[policy]]\nname = \"jwt\"\nsource = \"builtin:jwt\"\nmount = [\"/v1/api\"]\n\
         config = {{ leeway = {leeway}, oisp = {{ require-verified = false }} }}"
    );
    Gateway::start(&Config::everywhere(&["jwt"]).http().toml(&policy)).await
}

fn http(gateway: &Gateway) -> Admin {
    Admin::new(gateway.address("http"))
}

async fn log_in(gateway: &Gateway, username: &str, password: &str) -> Answer {
    http(gateway).post("/v1/api/auth/token", &json!({ "username": username, "password": password })).await
}

async fn token(gateway: &Gateway) -> String {
    let answer = log_in(gateway, "ada@example.com", PASSWORD).await.good();
    answer["token"].as_str().expect("a token").to_owned()
}

/// Neither HTTP nor any MQTT version takes this for one of the gateway's own tokens.
async fn is_refused(gateway: &Gateway, what: &str, token: &str) {
    assert_eq!(http(gateway).bearer(token).get("/v1/api/auth/me").await.status, 401, "{what}");
    for (transport, version, code) in [(Transport::Tcp, Version::V311, 4), (Transport::Wss, Version::V5, 0x86)] {
        let dial = gateway.dial(transport, version, "attacker").login("ada@example.com", token);
        assert_eq!(dial.refusal().await, code, "{what} {version:?}");
    }
}

#[tokio::test]
async fn alg_none_and_a_signature_of_nothing() {
    let gateway = gateway(0).await;
    let _ = directory::user(&gateway, "ada@example.com", PASSWORD);
    let good = token(&gateway).await;
    for spelling in ["none", "None", "NONE", "nOnE", ""] {
        is_refused(&gateway, spelling, &unsigned(spelling, &claims_of(&good))).await;
    }
    let (signed, _) = good.rsplit_once('.').unwrap();
    is_refused(&gateway, "cut off", &format!("{signed}.")).await;
    is_refused(&gateway, "tampered", &tampered(&good)).await;
    let mut more = claims_of(&good);
    more["role"] = "sysadmin".into();
    let mut parts = good.split('.');
    let (header, _, signature) = (parts.next().unwrap(), parts.next(), parts.next().unwrap());
    let raised = format!("{header}.{}.{signature}", base64url(more.to_string().as_bytes()));
    is_refused(&gateway, "another role under the old signature", &raised).await;
    assert_eq!(http(&gateway).bearer(&good).get("/v1/api/auth/me").await.status, 200);
}

#[tokio::test]
async fn hmac_with_the_public_key_for_a_secret() {
    let gateway = gateway(0).await;
    let _ = directory::user(&gateway, "ada@example.com", PASSWORD);
    let good = token(&gateway).await;
    let published = http(&gateway).get("/.well-known/jwks.json").await;
    let key = published.json()["keys"].as_array().unwrap().iter().find(|key| key["kty"] == "RSA").unwrap().clone();
    let modulus = key["n"].as_str().unwrap();
    for secret in [published.body.as_bytes(), key.to_string().as_bytes(), modulus.as_bytes(), b""] {
        is_refused(&gateway, "an HMAC", &hmac(secret, &claims_of(&good))).await;
    }
}

#[tokio::test]
async fn kid_paths_and_headers_that_bring_their_own_key() {
    let gateway = gateway(0).await;
    let _ = directory::user(&gateway, "ada@example.com", PASSWORD);
    let claims = claims_of(&token(&gateway).await);
    let attacker = SigningKey::new("RS256");
    for kid in [
        "../../../../dev/null",
        "/etc/passwd",
        "file:///dev/null",
        "https://attacker.invalid/k",
        "' OR 1=1 --",
        "",
        "\0",
    ] {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(kid.to_owned());
        is_refused(&gateway, kid, &attacker.token_with(&header, &claims)).await;
    }
    let mut header = Header::new(Algorithm::RS256);
    header.jku = Some("https://attacker.invalid/jwks".into());
    header.x5u = Some("https://attacker.invalid/x5u".into());
    is_refused(&gateway, "jku and x5u", &attacker.token_with(&header, &claims)).await;
}

#[tokio::test]
async fn a_key_set_of_ones_own_and_the_kid_of_another() {
    let gateway = gateway(0).await;
    let _ = directory::user(&gateway, "ada@example.com", PASSWORD);
    let good = token(&gateway).await;
    let kid = jsonwebtoken::decode_header(&good).unwrap().kid;
    // The attacker owns an app, and so keys that the gateway knows: under them even the right kid opens only that app.
    let attacker = SigningKey::new("RS256");
    directory::app(&gateway, "attackers", &attacker.public_pem());
    let mut header = Header::new(Algorithm::RS256);
    header.kid = kid;
    let swapped = attacker.token_with(&header, &claims_of(&good));
    is_refused(&gateway, "the gateway's kid over another key", &swapped).await;
    for username in ["attackers", "gateway-rs256"] {
        assert_eq!(gateway.tcp(Version::V5, "a").login(username, &swapped).refusal().await, 0x86, "{username}");
    }
}

#[tokio::test]
async fn a_token_of_another_app_or_tenant_and_topics_outside_ones_own() {
    let gateway = gateway(0).await;
    let (mine, theirs) = (SigningKey::new("ES256"), SigningKey::new("ES256"));
    directory::app(&gateway, "mine", &mine.public_pem());
    directory::app(&gateway, "theirs", &theirs.public_pem());
    let claims = json!({ "sub": "alice", "exp": now() + 600, "app": "theirs", "aud": "theirs", "tenant": "theirs" });
    let token = mine.token(&claims);
    assert_eq!(gateway.tcp(Version::V5, "a").login("theirs", &token).refusal().await, 0x86);
    let mut client = gateway.tcp(Version::V5, "a").login("mine", &token).connect().await;
    for filter in ["theirs/alice/#", "theirs/#", "mine/bob/#", "mine/#", "+/alice/#", "#", "$SYS/#", "users/alice/#"] {
        assert_eq!(client.subscribe(filter, 1).await, 0x87, "{filter}");
    }
    for topic in ["theirs/alice/x", "mine/bob/x", "$SYS/x", "users/alice/x"] {
        assert_eq!(client.publish(Message::new(topic, "no").qos(1)).await, 0x87, "{topic}");
    }
    assert_eq!(client.subscribe("mine/alice/#", 1).await, 1);
}

#[tokio::test]
async fn expired_by_a_second_not_yet_valid_and_claims_of_the_wrong_type() {
    let gateway = gateway(5).await;
    let key = SigningKey::new("ES256");
    directory::app(&gateway, "shop", &key.public_pem());
    let with = |change: Value| {
        let mut claims = json!({ "sub": "alice", "iat": now(), "exp": now() + 600 });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        key.token(&claims)
    };
    let dial = |token: &str| -> Dial { gateway.tcp(Version::V5, "alice").login("shop", token) };
    let mut cases = vec![json!({ "exp": now() - 6 }), json!({ "nbf": now() + 60 }), json!({ "iat": now() + 60 })];
    let wrong =
        [json!("soon"), json!(null), json!(-1), json!(1e300), json!([now() + 600]), json!({ "at": 1 }), json!(true)];
    cases.extend(wrong.iter().map(|value| json!({ "exp": value })));
    for name in ["nbf", "iat"] {
        cases.extend(wrong.iter().filter(|value| !value.is_null()).map(|value| json!({ name: value })));
    }
    let subjects = [json!(1), json!(null), json!(["alice"]), json!({}), json!("+"), json!("a/b"), json!("a\u{0}b")];
    cases.extend(subjects.iter().map(|value| json!({ "sub": value })));
    cases.extend([json!(1), json!(["j"])].iter().map(|value| json!({ "jti": value })));
    cases.extend([json!(1), json!([1])].iter().map(|value| json!({ "aud": value })));
    for case in cases {
        assert_eq!(dial(&with(case.clone())).refusal().await, 0x86, "{case}");
    }
    dial(&with(json!({}))).connect().await.disconnect().await;
    assert_eq!(gateway.tcp(Version::V5, "x").login("shop", &key.token(&json!("alice"))).refusal().await, 0x86);
    assert_eq!(gateway.tcp(Version::V5, "x").login("shop", &key.token(&json!([]))).refusal().await, 0x86);
}

#[tokio::test]
async fn oversized_everything() {
    let gateway = gateway(0).await;
    let _ = directory::user(&gateway, "ada@example.com", PASSWORD);
    let key = SigningKey::new("ES256");
    directory::app(&gateway, "shop", &key.public_pem());
    let much = "x".repeat(60_000);
    let huge = key.token(&json!({ "sub": "alice", "exp": now() + 600, "filler": "x".repeat(30_000) }));
    assert_eq!(gateway.tcp(Version::V5, "a").login("shop", &huge).refusal().await, 0x86, "a token");
    let long = key.token(&json!({ "sub": "x".repeat(1_000), "exp": now() + 600 }));
    assert_eq!(gateway.tcp(Version::V5, "a").login("shop", &long).refusal().await, 0x86, "a subject");
    assert_eq!(gateway.tcp(Version::V5, "a").login(&much, &huge).refusal().await, 0x86, "a user name");
    assert_eq!(log_in(&gateway, &much, "x").await.status, 400, "a name");
    assert_eq!(log_in(&gateway, "ada@example.com", &much).await.status, 401, "a password");
    assert_eq!(log_in(&gateway, "ada@example.com", &"x".repeat(200_000)).await.status, 413, "a body");
    let path = format!("/v1/api/devices/{}/activation", "x".repeat(4_000));
    let code = json!({ "activationCode": much });
    assert_eq!(http(&gateway).request(Method::PUT, &path, Some(&code)).await.status, 401, "a code");
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let answer = raw(
        &gateway,
        &format!(
            "POST /v1/api/auth/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{deep}",
            deep.len()
        ),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "nested without end: {answer}");
    let header = format!(
        "GET /v1/api/auth/me HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let answer = raw(&gateway, &header).await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "a header: {answer}");
    assert_eq!(log_in(&gateway, "ada@example.com", PASSWORD).await.status, 200, "the honest come in");
}

/// What the server answers to these octets.
async fn raw(gateway: &Gateway, request: &str) -> String {
    within("an answer", async {
        let mut stream = TcpStream::connect(gateway.address("http")).await.expect("the HTTP port accepts");
        // The server may answer before it has read all, and close.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            answer.extend_from_slice(&piece[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
}

#[tokio::test]
async fn header_smuggling() {
    let gateway = gateway(0).await;
    let _ = directory::user(&gateway, "ada@example.com", PASSWORD);
    let good = token(&gateway).await;
    let ask = |fields: String| {
        let gateway = &gateway;
        async move {
            raw(gateway, &format!("GET /v1/api/auth/me HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n")).await
        }
    };
    let plain = ask(format!("authorization: Bearer {good}\r\n")).await;
    assert!(plain.starts_with("HTTP/1.1 200 "), "{plain}");
    for (what, fields) in [
        ("two of them", format!("authorization: Bearer {good}\r\nauthorization: Bearer x\r\n")),
        ("two of them, the other way round", format!("authorization: Bearer x\r\nAuthorization: Bearer {good}\r\n")),
        ("two equal ones", format!("authorization: Bearer {good}\r\nauthorization: Bearer {good}\r\n")),
        ("a folded one", format!("authorization: Bearer\r\n {good}\r\n")),
        ("a blank before the colon", format!("authorization : Bearer {good}\r\n")),
        ("two tokens in one", format!("authorization: Bearer {good}, Bearer {good}\r\n")),
        ("another scheme", format!("authorization: Basic {good}\r\n")),
    ] {
        let answer = ask(fields).await;
        let refused = answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 401 ");
        assert!(refused, "{what}: {answer}");
    }
    for (transport, code) in [(Transport::Ws, 0x83), (Transport::Wss, 0x83)] {
        let mut dial = gateway.dial(transport, Version::V5, "smuggler");
        let bearer = |token: &str| ("authorization".to_owned(), format!("Bearer {token}"));
        dial.route.headers = vec![bearer(&good), bearer("x")];
        assert_eq!(dial.refusal().await, code, "{transport:?}");
    }
}

#[tokio::test]
async fn nobody_learns_who_exists() {
    let gateway = gateway(0).await;
    let _ = directory::user(&gateway, "ada@example.com", PASSWORD);
    let _ = directory::user(&gateway, "off@example.com", PASSWORD);
    let _ = gateway.ask(&["user", "set", "off@example.com", "enabled=false"]);
    let mut answers = Vec::new();
    for (username, password) in [
        ("ada@example.com", "a wrong password"),
        ("nobody@example.com", "a wrong password"),
        ("nobody", PASSWORD),
        ("off@example.com", PASSWORD),
    ] {
        let before = gateway.metric("portcullis_password_checks_total").await;
        let mut answer = log_in(&gateway, username, password).await;
        let after = gateway.metric("portcullis_password_checks_total").await;
        assert_eq!(after - before, 1, "{username}: the same work is done for everybody");
        answer.headers.retain(|(name, _)| name != "date");
        answers.push((answer.status, answer.headers, answer.body));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn brute_force_is_locked_out_and_slowed() {
    let gateway = gateway(0).await;
    let _ = directory::user(&gateway, "ada@example.com", PASSWORD);
    let _ = directory::user(&gateway, "bob@example.com", PASSWORD);
    let begun = std::time::Instant::now();
    // The same for somebody who does not exist: a lock tells nothing either.
    for username in ["ada@example.com", "nobody@example.com"] {
        for _ in 0..10 {
            assert_eq!(log_in(&gateway, username, "a guess").await.status, 401);
        }
        let before = gateway.metric("portcullis_password_checks_total").await;
        let locked = log_in(&gateway, username, PASSWORD).await;
        assert_eq!((locked.status, locked.json()), (403, json!({ "code": 2403, "message": "Account locked" })));
        assert_eq!(gateway.metric("portcullis_password_checks_total").await, before, "no password is looked at");
    }
    assert_eq!(log_in(&gateway, "bob@example.com", PASSWORD).await.status, 200, "others still come in");
    let mut guesses = 20;
    let slowed = loop {
        let _ = log_in(&gateway, &format!("nobody-{guesses}@example.com"), "a guess").await;
        guesses += 1;
        let answer = log_in(&gateway, "bob@example.com", PASSWORD).await;
        if answer.status == 429 {
            break answer;
        }
        // A machine that takes a minute for them has to guess more often.
        let enough = guesses >= 30 && begun.elapsed().as_secs() < 60;
        assert!(answer.status == 200 && !enough, "{guesses} wrong ones in {:?}: {}", begun.elapsed(), answer.body);
    };
    assert!(guesses >= 30, "{guesses} wrong ones a minute from one address are not too many");
    let wait = slowed.headers.iter().find(|(name, _)| name == "retry-after").map(|(_, value)| value.parse::<u32>());
    assert!(matches!(wait, Some(Ok(1..=60))), "{wait:?}");
    let _ = gateway.ask(&["user", "set", "ada@example.com", "locked=false"]);
}

/// Whoever was let in a moment before the revocation, and whoever was being let in, is out after it.
#[tokio::test]
async fn races_of_revocation_and_use() {
    let gateway = Gateway::start(&Config::tcp(&["api-key"])).await;
    for round in 0..5 {
        let (id, secret) = directory::key(&gateway, "consumer:alice");
        let attempts: Vec<_> = (0..40)
            .map(|n| {
                let dial = gateway.tcp(Version::V5, &format!("racer-{round}-{n}")).login("alice", &secret);
                tokio::spawn(async move { dial.attempt().await })
            })
            .collect();
        let admin = gateway.admin();
        let revoked = tokio::spawn(async move { admin.delete(&format!("/api/v1/keys/{id}")).await.status });
        let mut admitted = Vec::new();
        for attempt in attempts {
            admitted.extend(attempt.await.unwrap().ok());
        }
        assert_eq!(revoked.await.unwrap(), 200);
        for mut client in admitted {
            assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x87), "round {round}");
        }
        assert_eq!(gateway.tcp(Version::V5, "late").login("alice", &secret).refusal().await, 0x86);
    }
}
