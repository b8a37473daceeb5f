//! What good clients pay while another policy of the same gateway does its worst: how long a login and a QoS 1 message
//! take, alone and beside each hostile policy that a crowd keeps asking.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_tests::{Config, Dial, Gateway, Message, Transport, Version, config, policies};

use crate::{Row, milliseconds, percentile, row, setting};

/// `ROUNDS` says how many logins and messages each figure is of (500 unless set); `CROWD` how many clients keep asking the
/// hostile policy (8).
pub(crate) async fn measure() -> Vec<Row> {
    let (rounds, crowd) = (setting("ROUNDS", 500), setting("CROWD", 8));
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let entry = format!(
        "[[policy]]\nname = \"candidate\"\nsource = \"policy.wasm\"\nlimits = {{ deadline = \"50ms\" }}\n\
         allow = {{ keyvalue = true, http = [\"{address}\"] }}"
    );
    let settings = Config::new()
        .mqtt("tcp", Transport::Tcp, &["candidate"])
        .mqtt("steady", Transport::Tcp, &["anonymous"])
        .toml(&entry)
        .file("policy.wasm", policies::passing());
    let gateway = Arc::new(Gateway::start(&settings).await);
    // Warm, and not counted.
    times(&gateway, rounds / 5).await;
    let mut rows = Vec::new();
    let mut alone = [Duration::ZERO; 2];
    let cases = std::iter::once(("nothing", policies::passing()))
        .chain([("a crowd that is passed on", policies::passing())])
        .chain(policies::hostile(address));
    for (number, (what, component)) in cases.enumerate() {
        // Another digest each time: the quarantine of the one before is over.
        config::replace(&gateway.directory().join("policy.wasm"), &policies::variant(&component, number as u32));
        let _ = gateway.ask(&["policy", "reload", "candidate"]);
        let asking = Arc::new(AtomicBool::new(number > 0));
        let mut crowds = tokio::task::JoinSet::new();
        for client in 0..crowd {
            let (asking, dial) = (Arc::clone(&asking), gateway.tcp(Version::V5, &format!("victim-{client}")));
            crowds.spawn(async move {
                while asking.load(Ordering::Relaxed) {
                    let _ = dial.attempt().await;
                }
            });
        }
        let [login, message] = times(&gateway, rounds).await;
        asking.store(false, Ordering::Relaxed);
        crowds.join_all().await;
        if number == 0 {
            alone = [login, message];
        }
        let times = |time: Duration, alone: Duration| time.as_secs_f64() / alone.as_secs_f64();
        for (of, time, alone) in [("login", login, alone[0]), ("message", message, alone[1])] {
            let measured = format!("{} ({:.1}x)", milliseconds(time), times(time, alone));
            rows.push(row(format!("p99 of a {of} beside {what}"), measured, if number > 1 { "2x" } else { "" }));
        }
    }
    rows
}

/// The p99 of logins, and of QoS 1 messages from publishing to arrival.
async fn times(gateway: &Gateway, rounds: u64) -> [Duration; 2] {
    let dial = |name: &str| Dial::new(gateway.route_to("steady", Transport::Tcp), Version::V5, name);
    let mut client = dial("steady").connect().await;
    client.subscribe("steady", 1).await;
    let (mut logins, mut messages) = (Vec::new(), Vec::new());
    for number in 0..rounds {
        let begun = Instant::now();
        let newcomer = dial("newcomer").connect().await;
        logins.push(begun.elapsed());
        newcomer.disconnect().await;
        let begun = Instant::now();
        assert_eq!(client.publish(Message::new("steady", number.to_string().as_str()).qos(1)).await, 0);
        client.message().await;
        messages.push(begun.elapsed());
    }
    client.disconnect().await;
    logins.sort();
    messages.sort();
    [percentile(&logins, 99.0), percentile(&messages, 99.0)]
}
