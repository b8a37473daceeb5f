//! Messages over HTTP: what is published and what is retained, under the grants that MQTT clients have.

use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Answer, Config, Gateway, Http, Message, Version, in_time};
use serde_json::json;

/// Everybody is let in on these terms, by MQTT and HTTP.
pub(crate) async fn gateway(rules: &str, more: &str) -> Gateway {
    let config = Config::tcp(&["anonymous"]).http_with(&["anonymous"], more).toml(&format!(
        "[[policy]]\nname = \"anonymous\"\nsource = \"builtin:anonymous\"\n[policy.config]\nrules = [{rules}]"
    ));
    Gateway::start(&config).await
}

const RULES: &str = r##"
  { actions = ["publish", "subscribe", "retain"], filter = "#" },
  { effect = "deny", actions = ["publish", "subscribe"], filter = "secret/#" },
"##;

/// A configuration of `jwt` whose tokens this key signs, with every right and such further lines.
pub(crate) fn jwt(key: &SigningKey, more: &str) -> String {
    format!(
        "[[policy]]\nname = \"jwt\"\nsource = \"builtin:jwt\"\n[policy.config]\nleeway = 0\n\
         rules = [{{ actions = [\"publish\", \"subscribe\", \"retain\"], filter = \"#\" }}]\n{more}\n\
         [[policy.config.issuers]]\nissuer = \"tests\"\nkeys = {{ pem = '''{}''' }}\nalgorithms = \"ES256\"",
        key.public_pem()
    )
}

pub(crate) fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Asserts a refusal with its status and reason code.
pub(crate) fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["code"], code, "{body}");
    assert!(body["error"].is_string() && body["reason"].is_string(), "{body}");
}

#[tokio::test]
async fn what_is_posted_reaches_mqtt_clients_with_its_properties() {
    let gateway = gateway(RULES, "").await;
    let mut client = gateway.tcp(Version::V5, "reader").connect().await;
    client.subscribe("#", 2).await;
    let mut http = Http::connect(gateway.address("http")).await;
    let path = "/publish/a%20b/%C3%BC//x?qos=2&message-expiry=60&response-topic=re%2Fply&user=k%3Dv&user=k%3Dw";
    let headers = [("mqtt-correlation-data", "AQI="), ("content-type", "text/x"), ("mqtt-payload-format", "text")];
    let answer = http.send("POST", path, &headers, "21.5").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (200, Some("0x00")), "{}", answer.body);
    let message = client.message().await;
    assert_eq!((message.topic.as_str(), &message.payload[..], message.qos), ("a b/ü//x", &b"21.5"[..], 2));
    let properties = message.properties;
    assert_eq!(properties.response_topic.as_deref(), Some("re/ply"));
    assert_eq!(properties.correlation_data.as_deref(), Some(&[1, 2][..]));
    assert_eq!(properties.content_type.as_deref(), Some("text/x"));
    assert_eq!(properties.payload_format_indicator, Some(1));
    assert!(properties.message_expiry_interval.is_some_and(|left| (1..=60).contains(&left)));
    assert_eq!(properties.user_properties, [("k".into(), "v".into()), ("k".into(), "w".into())]);
    // The same login again, on the same connection; what tools send by default is no content type.
    for qos in ["0", "1"] {
        let form = [("mqtt-qos", qos), ("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(http.send("POST", "/publish?topic=a/../b", &form, qos.to_owned()).await.status, 200);
        let message = client.message().await;
        assert_eq!((message.topic.as_str(), &message.payload[..]), ("a/../b", qos.as_bytes()));
        assert!(message.properties.content_type.is_none());
    }
    client.disconnect().await;
    let nobody = http.post("/publish/a", "x").await;
    assert_eq!((nobody.status, nobody.json()["code"].as_str()), (200, Some("0x10")), "no matching subscribers");
}

#[tokio::test]
async fn what_the_grant_forbids_is_refused_and_told() {
    let gateway = gateway(RULES, "limits = { body = \"1KiB\", topic-levels = 4 }").await;
    let mut watcher = gateway.tcp(Version::V5, "watcher").connect().await;
    watcher.subscribe("#", 1).await;
    let mut http = Http::connect(gateway.address("http")).await;
    for qos in 0..3 {
        refused(&http.post(&format!("/publish/secret/x?qos={qos}"), "no").await, 403, "0x87");
        refused(&http.post(&format!("/publish/%24SYS/x?qos={qos}"), "no").await, 403, "0x87");
    }
    for bad in ["/publish/", "/publish/a%00b", "/publish/a+b", "/publish/%23", "/publish/%ff", "/publish/%zz"] {
        let answer = http.post(bad, "no").await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.body);
    }
    refused(&http.post("/publish/1/2/3/4/5", "no").await, 400, "0x90");
    refused(&http.post("/publish/a/../b", "no").await, 400, "0x81");
    for bad in ["?qos=3", "?qos=1&qos=1", "?retian=true", "?retain=maybe", "?message-expiry=-1", "?topic=b", "?user=x"]
    {
        refused(&http.post(&format!("/publish/a{bad}"), "no").await, 400, "0x81");
    }
    let text = http.send("POST", "/publish/a", &[("mqtt-payload-format", "text")], &b"\xff"[..]).await;
    refused(&text, 400, "0x99");
    assert_eq!(http.send("POST", "/publish/a", &[], vec![b'x'; 1025]).await.status, 413);
    let mut http = Http::connect(gateway.address("http")).await;
    assert_eq!(http.get("/publish/a").await.status, 405);
    assert_eq!(http.post("/publish/seen", "yes").await.status, 200);
    assert_eq!(watcher.message().await.topic, "seen", "nothing else was published");
    let why = gateway.ask(&["why", "anonymous"]);
    assert!(why.contains("secret/x"), "{why}");
}

#[tokio::test]
async fn without_a_chain_there_are_no_messages() {
    let gateway = Gateway::start(&Config::tcp(&["anonymous"]).http()).await;
    let mut http = Http::connect(gateway.address("http")).await;
    assert_eq!(http.post("/publish/a", "x").await.status, 404);
    for path in ["/retained/a", "/subscribe/a", "/verify"] {
        assert_eq!(http.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_token_is_looked_at_once_a_connection_and_no_longer_than_it_holds() {
    let key = SigningKey::new("ES256");
    let config = Config::tcp(&["jwt"]).http_with(&["jwt"], "").toml(&jwt(&key, ""));
    let gateway = Gateway::start(&config).await;
    let mut http = Http::connect(gateway.address("http")).await;
    let nobody = http.post("/publish/a", "x").await;
    refused(&nobody, 401, "0x86");
    assert!(header(&nobody, "www-authenticate").is_some());
    let bearer =
        |sub: &str, exp: u64| format!("Bearer {}", key.token(&json!({ "iss": "tests", "sub": sub, "exp": exp })));
    let long = bearer("long", now() + 600);
    let (mut http, short, end) = in_time("forty requests", 3, async |seconds| {
        let before = gateway.metric("portcullis_logins_admitted_total").await;
        let mut http = Http::connect(gateway.address("http")).await;
        let end = now() + u64::from(seconds);
        let short = bearer("short", end);
        for _ in 0..20 {
            for token in [&short, &long] {
                let answer = http.send("POST", "/publish/a", &[("authorization", token)], "x").await;
                if answer.status == 401 && *token == short && now() >= end {
                    return None;
                }
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
        }
        let logins = gateway.metric("portcullis_logins_admitted_total").await - before;
        assert_eq!(logins, 2, "a login for each token");
        Some((http, short, end))
    })
    .await;
    // The grant ends as an MQTT client's does; there is no request that tells this by itself.
    gateway.until_metric("portcullis_connections", |open| open == 1).await;
    assert!(now() >= end);
    refused(&http.send("POST", "/publish/a", &[("authorization", &short)], "x").await, 401, "0x86");
    assert_eq!(http.send("POST", "/publish/a", &[("authorization", &long)], "x").await.status, 200);
    let why = gateway.ask(&["why", "short"]);
    assert!(why.contains("jwt") && why.contains("allowed"), "{why}");
}

#[tokio::test]
async fn whoever_is_too_fast_is_told_when_to_come_again() {
    const RATE: u64 = 2;
    let gateway = gateway(RULES, &format!("limits = {{ publish-per-second = {RATE} }}")).await;
    let mut http = Http::connect(gateway.address("http")).await;
    let (mut taken, mut told) = (0, 0);
    let begun = std::time::Instant::now();
    while told < 10 {
        assert!(begun.elapsed() < portcullis_tests::PATIENCE, "{told} of more than {taken} were too fast");
        let answer = http.post("/publish/a", "x").await;
        if answer.status == 429 {
            refused(&answer, 429, "0x96");
            assert!(header(&answer, "retry-after").is_some());
            assert!(taken >= RATE, "a second's worth at once");
            told += 1;
        } else {
            assert_eq!(answer.status, 200, "{}", answer.body);
            taken += 1;
            let most = RATE * (begun.elapsed().as_secs() + 2);
            assert!(taken <= most, "{taken} were taken in {:?}", begun.elapsed());
        }
    }
}

#[tokio::test]
async fn what_is_acknowledged_over_http_survives_a_kill() {
    let gateway = gateway(RULES, "").await;
    let mut reader = gateway.tcp(Version::V5, "absent").durable().connect().await;
    reader.subscribe("kept/#", 1).await;
    reader.disconnect().await;
    let mut http = Http::connect(gateway.address("http")).await;
    for number in 0..5 {
        let answer = http.send("POST", "/publish/kept/x?retain=true", &[], number.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let gateway = gateway.kill_and_restart().await;
    let mut reader = gateway.tcp(Version::V5, "absent").durable().connect().await;
    for number in 0..5 {
        assert_eq!(reader.message().await.payload, number.to_string());
    }
    let mut http = Http::connect(gateway.address("http")).await;
    assert_eq!(http.get("/retained/kept/x").await.body, "4");
}

#[tokio::test]
async fn what_is_retained_is_read_whole_or_page_by_page() {
    let gateway = gateway(RULES, "").await;
    let mut client = gateway.tcp(Version::V5, "keeper").connect().await;
    for topic in ["k/1", "k/2", "k/3", "k/4", "/", "secret-not/x"] {
        client.publish(Message::new(topic, format!("<{topic}>")).qos(1).retained()).await;
    }
    let mut http = Http::connect(gateway.address("http")).await;
    http.send("POST", "/publish/k/html?retain=true&user=a%3D%C3%BC", &[("content-type", "text/html")], "<b>").await;
    let one = http.get("/retained/k/html").await;
    assert_eq!((one.status, one.body.as_str(), header(&one, "content-type")), (200, "<b>", Some("text/html")));
    assert_eq!(header(&one, "mqtt-user"), Some("a=%C3%BC"));
    assert!(header(&one, "content-security-policy").is_some_and(|policy| policy.contains("sandbox")));
    assert_eq!(http.get("/retained//").await.body, "</>", "levels may be empty");
    assert_eq!(http.get("/retained/nothing").await.status, 404);
    let (mut topics, mut after) = (Vec::new(), String::new());
    loop {
        let page = http.get(&format!("/retained/k/%23?limit=2{after}")).await.good();
        topics.extend(page["items"].as_array().unwrap().iter().map(|item| item["topic"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(topics, ["k/1", "k/2", "k/3", "k/4", "k/html"]);
    assert_eq!(http.get("/retained/k/%2B?limit=0").await.status, 400);
    refused(&http.get("/retained/%24share/g/k").await, 400, "0x8f");
    refused(&http.get("/retained/k/%23/x").await, 400, "0x8f");
}

#[tokio::test]
async fn what_is_denied_is_left_out_of_what_is_retained() {
    let rules = r##"{ actions = ["publish", "subscribe", "retain"], filter = "#" },
                    { effect = "deny", actions = "subscribe", filter = "secret/#" }"##;
    let gateway = gateway(rules, "").await;
    let mut http = Http::connect(gateway.address("http")).await;
    for topic in ["open", "secret/a"] {
        assert_eq!(http.post(&format!("/publish/{topic}?retain=1"), "x").await.status, 200);
    }
    let all = http.get("/retained/%23").await.good();
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(all["items"][0]["topic"], "open");
    refused(&http.get("/retained/secret/a").await, 403, "0x87");
    refused(&http.get("/retained/secret/%23").await, 403, "0x87");
    assert_eq!(gateway.metric("portcullis_http_decisions_total{outcome=\"allowed\"}").await, 3);
    assert_eq!(gateway.metric("portcullis_http_decisions_total{outcome=\"action-refused\"}").await, 2);
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_by_name_alone() {
    let gateway = gateway(RULES, "origins = [\"https://app.example\"]").await;
    let mut http = Http::connect(gateway.address("http")).await;
    let stranger = http.send("POST", "/publish/a", &[("origin", "https://evil.example")], "x").await;
    refused(&stranger, 403, "0x87");
    let friend = http.send("POST", "/publish/a", &[("origin", "https://app.example")], "x").await;
    assert_eq!((friend.status, header(&friend, "access-control-allow-origin")), (200, Some("https://app.example")));
    let own = format!("http://{}", gateway.address("http"));
    assert_eq!(http.send("POST", "/publish/a", &[("origin", &own)], "x").await.status, 200);
    let asks = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, mqtt-qos"),
    ];
    let preflight = http.send("OPTIONS", "/publish/a", &asks, "").await;
    assert_eq!(preflight.status, 204);
    assert_eq!(header(&preflight, "access-control-allow-headers"), Some("authorization, mqtt-qos"));
}
