//! What logins cost: the processor's time of the gateway for a connection with each credential, beside `anonymous`, with
//! the token of another Keystone that is remembered, and with one that the last of a chain of five policies knows; a Keystone
//! token for a token; and how long a message takes while passwords are being hashed.
//!
//! The figures are the gateway's own (`/proc/<pid>/stat`, in ticks of 10 ms), so that what the client costs does not count.

use std::time::{Duration, Instant};

use hyper::body::Bytes;
use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Dial, Gateway, Http, Message, Transport, Version, directory};
use serde_json::json;

use crate::{Row, milliseconds, percentile, row, setting};

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse battery";
/// The last of them knows the token that comes here.
const CHAIN: [&str; 5] = ["device", "jwt", "api-key", "keystone", "layer"];
const JSON: (&str, &str) = ("content-type", "application/json");

/// `LOGINS` says how many connections each figure is of (4,000 unless set).
pub(crate) async fn measure() -> Vec<Row> {
    let count = setting("LOGINS", 4_000);
    let mut config = Config::new().http();
    for policy in ["anonymous", "jwt", "keystone"] {
        config = config.mqtt(policy, Transport::Tcp, &[policy]);
    }
    let config = config
        .mqtt("layer", Transport::Tcp, &["layer"])
        .mqtt("chain", Transport::Tcp, &CHAIN)
        .toml("[[policy]]\nname = \"keystone\"\nsource = \"builtin:keystone\"\nmount = [\"/v3\"]")
        .toml("[[policy]]\nname = \"layer\"\nsource = \"builtin:layer\"\nmount = [\"/auth\"]");
    let gateway = Gateway::start(&config).await;
    let mut http = Http::connect(gateway.address("http")).await;
    let person = directory::user(&gateway, EMAIL, PASSWORD);
    let keystone = issue(&mut http, password()).await;

    let dial = |listener: &str| Dial::new(gateway.route_to(listener, Transport::Tcp), Version::V311, "visitor");
    let mut logins =
        vec![("anonymous", dial("anonymous")), ("Keystone token of our own", dial("keystone").login("", &keystone))];
    for algorithm in ["ES256", "RS256"] {
        let key = SigningKey::new(algorithm);
        directory::app(&gateway, algorithm, &key.public_pem());
        let token = key.token(&json!({ "sub": person, "iat": now(), "exp": now() + 3600 }));
        logins.push((algorithm, dial("jwt").login(algorithm, &token)));
    }
    let login = json!({ "username": EMAIL, "password": PASSWORD }).to_string();
    let token = http.send("POST", "/auth/login/", &[JSON], Bytes::from(login)).await.json()["token"].clone();
    let token = token.as_str().expect("a token of km-api");
    logins.push(("km-api token", dial("layer").login("", token)));
    logins.push(("km-api token, the last of five policies", dial("chain").login("", token)));
    let mut rows = Vec::new();
    compare(&gateway, &logins, count, "check + 30 µs", &mut rows).await;

    // Another gateway whose Keystone this one is.
    let address = gateway.address("http");
    let config =
        Config::new().mqtt("anonymous", Transport::Tcp, &["anonymous"]).mqtt("cloud", Transport::Tcp, &["cloud"]);
    let behind = Gateway::start(&config.toml(&format!(
        "[[policy]]\nname = \"cloud\"\nsource = \"builtin:keystone\"\n\
         allow = {{ directory = \"read\", keyvalue = true, keys = [], http = [\"{address}\"] }}\n\
         config = {{ mode = \"upstream\", url = \"http://{address}/v3\" }}"
    )))
    .await;
    let dial = |listener: &str| Dial::new(behind.route_to(listener, Transport::Tcp), Version::V311, "visitor");
    let cached = dial("cloud").login("", &keystone);
    let logins = [("anonymous, there", dial("anonymous")), ("token of another Keystone, remembered", cached)];
    compare(&behind, &logins, count, "30 µs", &mut rows).await;
    rows.push(exchange(&gateway, &mut http, &keystone, count).await);
    rows
}

/// What each of these logins costs, beside the first.
async fn compare(gateway: &Gateway, logins: &[(&str, Dial)], count: u64, most: &'static str, rows: &mut Vec<Row>) {
    let mut plain = None;
    for (what, dial) in logins {
        connects(dial, count / 10).await;
        let before = processor(gateway);
        connects(dial, count).await;
        let each = (processor(gateway) - before).as_secs_f64() * 1e6 / count as f64;
        rows.push(row(format!("connect and disconnect, {what}"), format!("{each:.0} µs"), ""));
        match plain {
            None => plain = Some(each),
            Some(plain) => rows.push(row("  that is more than anonymous by", format!("{:.0} µs", each - plain), most)),
        }
    }
}

async fn connects(dial: &Dial, count: u64) {
    for _ in 0..count {
        dial.connect().await.disconnect().await;
    }
}

fn password() -> serde_json::Value {
    let user = json!({ "name": EMAIL, "domain": { "id": "default" }, "password": PASSWORD });
    json!({ "auth": { "identity": { "methods": ["password"], "password": { "user": user } } } })
}

async fn issue(http: &mut Http, body: serde_json::Value) -> String {
    let answer = http.send("POST", "/v3/auth/tokens?nocatalog", &[JSON], Bytes::from(body.to_string())).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let token = answer.headers.iter().find(|(name, _)| name == "x-subject-token").expect("a token");
    token.1.clone()
}

/// Tokens for a token, one after the other on one connection.
async fn exchange(gateway: &Gateway, http: &mut Http, token: &str, count: u64) -> Row {
    let body = json!({ "auth": { "identity": { "methods": ["token"], "token": { "id": token } } } });
    issue(http, body.clone()).await;
    let before = processor(gateway);
    for _ in 0..count {
        issue(http, body.clone()).await;
    }
    let each = (processor(gateway) - before).as_secs_f64() / count as f64;
    row("Keystone tokens for a token, a second on one core", format!("{:.0}", 1.0 / each), "3,000")
}

/// `passwords`: messages at QoS 1 to a subscriber, alone and while 50 logins a second are asked for, one due every 20 ms. In
/// turns, so that what else the machine does meets both: each figure is of all rounds, and the middle one of the rounds.
pub(crate) async fn beside_passwords() -> Vec<Row> {
    let config = Config::new().http().mqtt("anonymous", Transport::Tcp, &["anonymous"]);
    let gateway = Gateway::start(
        &config.toml("[[policy]]\nname = \"keystone\"\nsource = \"builtin:keystone\"\nmount = [\"/v3\"]"),
    )
    .await;
    let _ = directory::user(&gateway, EMAIL, PASSWORD);
    let open = |name: &str| Dial::new(gateway.route_to("anonymous", Transport::Tcp), Version::V311, name);
    let mut subscriber = open("subscriber").connect().await;
    subscriber.subscribe("latency", 1).await;
    let mut publisher = open("publisher").connect().await;
    let (mut calm, mut busy, mut done) = (Vec::new(), Vec::new(), 0);
    for _ in 0..setting("ROUNDS", 10) {
        calm.push(messages(&mut publisher, &mut subscriber).await);
        let before = gateway.metric("portcullis_password_checks_total").await;
        let address = gateway.address("http");
        let logins = tokio::spawn(async move {
            let mut http = Http::connect(address).await;
            let mut due = tokio::time::interval(Duration::from_millis(20));
            loop {
                due.tick().await;
                issue(&mut http, password()).await;
            }
        });
        let begun = Instant::now();
        busy.push(messages(&mut publisher, &mut subscriber).await);
        let took = begun.elapsed();
        logins.abort();
        let checks = gateway.metric("portcullis_password_checks_total").await - before;
        done = done.max((checks as f64 / took.as_secs_f64()) as u64);
    }
    let mut rows = Vec::new();
    for (what, rounds, most) in [
        ("a message at QoS 1, alone, 99th percentile", &calm, ""),
        ("the same beside password logins", &busy, "twice that"),
    ] {
        let mut each: Vec<_> = rounds.iter().map(|times| percentile(times, 99.0)).collect();
        each.sort_unstable();
        let mut all = rounds.concat();
        all.sort_unstable();
        rows.push(row(what, milliseconds(percentile(&all, 99.0)), most));
        rows.push(row("  the middle one of the rounds", milliseconds(percentile(&each, 50.0)), most));
    }
    rows.push(row("password logins a second, of 50 that were due", format!("{done}"), ""));
    rows
}

async fn messages(
    publisher: &mut portcullis_tests::Client,
    subscriber: &mut portcullis_tests::Client,
) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut due = tokio::time::interval(Duration::from_millis(2));
    for _ in 0..500 {
        due.tick().await;
        let begun = Instant::now();
        publisher.post(Message::new("latency", "x").qos(1)).await;
        subscriber.message().await;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times
}

/// The processor's time that the gateway has used so far, in its own code and in the system.
fn processor(gateway: &Gateway) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).expect("the gateway runs");
    // The name may have blanks; what follows its bracket has none (proc_pid_stat(5): utime and stime are fields 14, 15).
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}
