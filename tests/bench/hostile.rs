//! What good clients pay while another policy of the same gateway does its worst: how long a login and a QoS 1 message
//! take beside each hostile policy that a crowd keeps asking, beside the same crowd in front of a harmless policy, and
//! alone.
//!
//! The three take turns, a few logins and messages at a time, so that whatever else the machine does is done to all of
//! them. The crowd knocks at a pace that is the same for every policy: one that refuses quickly is not asked more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_tests::{Client, Config, Dial, Gateway, Message, Transport, Version, config, policies};
use tokio::task::JoinSet;

use crate::{Row, percentile, row, setting};

/// Logins and messages of one turn.
const TURN: u64 = 25;

/// `ROUNDS` says how many logins and messages each figure is of (500 unless set); `CROWD` how many clients keep asking the
/// hostile policy (8), `KNOCKS` how often each of them does so in a second at the most (50), and `ONLY` which policies are
/// looked at: those with this in their description.
pub(crate) async fn measure() -> Vec<Row> {
    let rounds = setting("ROUNDS", 500);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let entry = format!(
        "[[policy]]\nname = \"candidate\"\nsource = \"policy.wasm\"\nlimits = {{ deadline = \"50ms\" }}\n\
         allow = {{ keyvalue = true, http = [\"{address}\"] }}\n\
         [[policy]]\nname = \"harmless\"\nsource = \"harmless.wasm\"\nlimits = {{ deadline = \"50ms\" }}"
    );
    let settings = Config::new()
        .mqtt("tcp", Transport::Tcp, &["candidate"])
        .mqtt("calm", Transport::Tcp, &["harmless"])
        .mqtt("steady", Transport::Tcp, &["anonymous"])
        .toml(&entry)
        .file("policy.wasm", policies::passing())
        .file("harmless.wasm", policies::passing());
    let gateway = Arc::new(Gateway::start(&settings).await);
    let mut good = Good::enter(&gateway).await;
    // Warm, and not counted.
    good.live(rounds / 5, &mut Times::default()).await;
    let mut rows = vec![load("load of the machine before (1, 5, 15 minutes)")];
    let only = std::env::var("ONLY").unwrap_or_default();
    let sometimes = [("an endless loop three times of four", policies::looping_sometimes())];
    let hostile = policies::hostile(address).into_iter().chain(sometimes).filter(|(what, _)| what.contains(&only));
    for (number, (what, component)) in hostile.enumerate() {
        // Another digest each time: the quarantine of the one before is over.
        config::replace(&gateway.directory().join("policy.wasm"), &policies::variant(&component, number as u32));
        let _ = gateway.ask(&["policy", "reload", "candidate"]);
        let [mut alone, mut harmless, mut hostile] = [Times::default(), Times::default(), Times::default()];
        for _ in 0..rounds.div_ceil(TURN) {
            good.live(TURN, &mut alone).await;
            for (door, times) in [("calm", &mut harmless), ("tcp", &mut hostile)] {
                let crowd = Crowd::gather(&gateway, door);
                good.live(TURN, times).await;
                crowd.disperse().await;
            }
        }
        for (of, pick) in [("login", 0), ("message", 1)] {
            let [alone, harmless, hostile] = [&mut alone, &mut harmless, &mut hostile].map(|times| times.p99(pick));
            let measured = format!("{hostile:.2} / {harmless:.2} / {alone:.2} ms ({:.1}x)", hostile / harmless);
            rows.push(row(format!("p99 of a {of} beside {what} / a harmless policy / alone"), measured, "2x"));
        }
    }
    rows.push(load("and after"));
    rows
}

fn load(what: &str) -> Row {
    let said = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    row(what, said.split(' ').take(3).collect::<Vec<_>>().join(" "), "")
}

/// How long logins and messages took.
#[derive(Default)]
struct Times([Vec<Duration>; 2]);

impl Times {
    /// In milliseconds.
    fn p99(&mut self, which: usize) -> f64 {
        self.0[which].sort();
        percentile(&self.0[which], 99.0).as_secs_f64() * 1e3
    }
}

/// A client behind a bundled policy, which publishes to itself, and another that comes and goes.
struct Good {
    client: Client,
    newcomer: Dial,
}

impl Good {
    async fn enter(gateway: &Gateway) -> Self {
        let dial = |name: &str| Dial::new(gateway.route_to("steady", Transport::Tcp), Version::V5, name);
        let mut client = dial("steady").connect().await;
        client.subscribe("steady", 1).await;
        Self { client, newcomer: dial("newcomer") }
    }

    /// Logs in and publishes so many times; messages are timed from publishing to arrival.
    async fn live(&mut self, rounds: u64, times: &mut Times) {
        for number in 0..rounds {
            let begun = Instant::now();
            let newcomer = self.newcomer.connect().await;
            times.0[0].push(begun.elapsed());
            newcomer.disconnect().await;
            let begun = Instant::now();
            let message = Message::new("steady", number.to_string().as_str()).qos(1);
            assert_eq!(self.client.publish(message).await, 0);
            self.client.message().await;
            times.0[1].push(begun.elapsed());
        }
    }
}

/// Clients that keep knocking at one listener.
struct Crowd {
    asking: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Crowd {
    fn gather(gateway: &Gateway, door: &str) -> Self {
        let pause = Duration::from_secs(1) / setting("KNOCKS", 50).clamp(1, 100_000) as u32;
        let asking = Arc::new(AtomicBool::new(true));
        let mut clients = JoinSet::new();
        for client in 0..setting("CROWD", 8) {
            let (asking, route) = (Arc::clone(&asking), gateway.route_to(door, Transport::Tcp));
            let dial = Dial::new(route, Version::V5, format!("victim-{client}"));
            clients.spawn(async move {
                let mut pace = tokio::time::interval(pause);
                pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                while asking.load(Ordering::Relaxed) {
                    pace.tick().await;
                    let _ = dial.attempt().await;
                }
            });
        }
        Self { asking, clients }
    }

    async fn disperse(self) {
        self.asking.store(false, Ordering::Relaxed);
        self.clients.join_all().await;
    }
}
