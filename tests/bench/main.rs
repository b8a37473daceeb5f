//! Measures what the gateway promises about itself, on the machine that it runs on, and prints a table.
//!
//! `cargo run --release -p portcullis-tests --bin portcullis-measure [PART …]`
//!
//! Without a part: start to first CONNACK with a warm compile cache; resident memory of the idle demo; how long clients wait for
//! CONNACK while a policy is replaced again and again, beside how long they wait while nothing happens. `durable`: what
//! an acknowledgement costs that means *stored*, beside a broker that only saves now and then, see [`durable`];
//! `restart`: how long a gateway with much in its store takes to be ready, see [`restart`]; `space`: how long clients wait while
//! much in the store comes free, see [`space`]; `logins`: what connections
//! with each credential cost, see [`logins`]; `passwords`: what
//! messages suffer beside password logins; `filters`: what they cost messages that they do not concern, see
//! [`filters`]; `hostile`: what good clients pay beside a policy that does its worst, see
//! [`hostile`].
//!
//! It is a measurement, not a test: nothing fails when a figure is missed, the table says so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on stops with the reason")]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

mod durable;
mod filters;
mod hostile;
mod load;
mod logins;
mod peer;
mod restart;
mod space;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_tests::{Config, Gateway, Transport, Version, config, policies};

const STARTS: usize = 21;
const CONNECTS: usize = 2_000;
const SWAPS: u32 = 100;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let mut rows = Vec::new();
    let parts: Vec<String> = std::env::args().skip(1).collect();
    for part in &parts {
        match part.as_str() {
            "start" => rows.append(&mut start().await),
            "memory" => rows.append(&mut memory().await),
            "swap" => rows.append(&mut swap().await),
            "durable" => rows.append(&mut durable::measure().await),
            "restart" => rows.append(&mut restart::measure().await),
            "space" => rows.append(&mut space::measure().await),
            "filters" => rows.append(&mut filters::measure().await),
            "hostile" => rows.append(&mut hostile::measure().await),
            "logins" => rows.append(&mut logins::measure().await),
            "passwords" => rows.append(&mut logins::beside_passwords().await),
            other => {
                panic!(
                    "there is no part {other:?}; there are: start, memory, swap, durable, restart, space, logins, \
                     passwords, filters, hostile"
                )
            }
        }
    }
    if parts.is_empty() {
        rows = [start().await, memory().await, swap().await].concat();
    }
    println!("{:<70} {:>12} {:>12}", "what", "measured", "promised");
    for Row { what, measured, promised } in rows {
        println!("{what:<70} {measured:>12} {promised:>12}");
    }
}

#[derive(Clone)]
struct Row {
    what: String,
    measured: String,
    promised: String,
}

fn row(what: impl Into<String>, measured: String, promised: &str) -> Row {
    Row { what: what.into(), measured, promised: promised.into() }
}

/// A number of the environment, or this.
fn setting(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

fn megabytes(octets: u64) -> String {
    format!("{:.1} MB", octets as f64 / 1e6)
}

/// The value below which so many of a hundred lie (nearest rank).
fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// From starting the process to the first CONNACK, with everything compiled before.
async fn start() -> Vec<Row> {
    let config = Config::everywhere(&["device", "jwt", "api-key"]).mqtt("open", Transport::Tcp, &["anonymous"]);
    let directory = tempfile::tempdir().unwrap();
    config.write(directory.path());
    let mut directory = Some(directory);
    let mut times = Vec::new();
    for round in 0..=STARTS {
        let begun = Instant::now();
        let serve = ["serve", "--config", "portcullis.toml", "--data", "data"];
        let mut gateway = Gateway::spawn(directory.take().unwrap(), &serve).await.unwrap();
        let open = gateway.route_to("open", Transport::Tcp);
        let client = portcullis_tests::Dial::new(open, Version::V5, "first").connect().await;
        // The first round fills the cache.
        if round > 0 {
            times.push(begun.elapsed());
        }
        drop(client);
        gateway.stop().await;
        directory = Some(gateway.into_directory());
    }
    times.sort_unstable();
    vec![
        row("start to first CONNACK, warm cache, median", milliseconds(percentile(&times, 50.0)), "150 ms"),
        row("start to first CONNACK, warm cache, slowest of 21", milliseconds(*times.last().unwrap()), ""),
    ]
}

/// Resident memory of the demo, started on a warm cache and left alone for ten seconds.
async fn memory() -> Vec<Row> {
    let first = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::spawn(first, DEMO).await.unwrap();
    gateway.stop().await;
    let gateway = Gateway::spawn(gateway.into_directory(), DEMO).await.unwrap();
    // Idle is what it is once the start is over, and the allocator has given back what only the start needed.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (now, most) = gateway.memory();
    vec![
        row("resident memory of the idle demo", megabytes(now), "25 MB"),
        row("resident memory of the demo, most since its start", megabytes(most), ""),
    ]
}

const DEMO: &[&str] = &["serve", "--data", "data", "--any-port"];

/// How long a client waits for CONNACK: undisturbed, and while the policy of its listener is replaced all the time.
async fn swap() -> Vec<Row> {
    let component = policies::bundled("anonymous");
    let config = Config::tcp(&["candidate"])
        .file("policy.wasm", component.clone())
        .toml("[[policy]]\nname = \"candidate\"\nsource = \"policy.wasm\"");
    let gateway = Gateway::start(&config).await;
    let mut left = CONNECTS;
    let more = || {
        left -= 1;
        left > 0
    };
    let calm = connects(&gateway, more).await;
    let over = Arc::new(AtomicBool::new(false));
    let swapper = {
        let (over, directory) = (Arc::clone(&over), gateway.directory().to_owned());
        std::thread::spawn(move || {
            for number in 1..=SWAPS {
                config::replace(&directory.join("policy.wasm"), &policies::variant(&component, number));
                let arguments = ["policy", "reload", "candidate", "--data", "data"];
                let output = portcullis_tests::gateway::run(&directory, &arguments);
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
            over.store(true, Ordering::Relaxed);
        })
    };
    let busy = connects(&gateway, || !swapper.is_finished() && !over.load(Ordering::Relaxed)).await;
    swapper.join().unwrap();
    let at = |times: &[Duration], percent| percentile(times, percent);
    let pause = at(&busy, 99.0).saturating_sub(at(&calm, 99.0));
    vec![
        row("connect and CONNACK, undisturbed, median", milliseconds(at(&calm, 50.0)), ""),
        row("connect and CONNACK, undisturbed, 99th percentile", milliseconds(at(&calm, 99.0)), ""),
        row(format!("the same during {SWAPS} swaps, median"), milliseconds(at(&busy, 50.0)), ""),
        row(format!("the same during {SWAPS} swaps, 99th percentile"), milliseconds(at(&busy, 99.0)), ""),
        row("what swaps add at the 99th percentile", milliseconds(pause), "1 ms"),
    ]
}

async fn connects(gateway: &Gateway, mut more: impl FnMut() -> bool) -> Vec<Duration> {
    let dial = gateway.tcp(Version::V5, "visitor");
    let mut times = Vec::new();
    while more() {
        let begun = Instant::now();
        let client = dial.connect().await;
        times.push(begun.elapsed());
        client.disconnect().await;
    }
    times.sort_unstable();
    times
}
