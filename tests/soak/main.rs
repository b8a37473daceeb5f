//! The soak: hours of ordinary life in a short time, and nothing may grow.
//!
//! `cargo run --release -p portcullis-tests --bin portcullis-soak -- --minutes 30`
//!
//! Clients of all versions come and go, with wills and without; sessions are stored, come back, and expire; retained
//! messages are set, replaced and cleared; subscriptions and shared groups change; messages of every quality of service
//! flow; policies are replaced. It goes in rounds of equal work. After each the gateway must be as empty as before: no
//! session, subscription or retained message is left. Then memory, file descriptors and the store's file are measured.
//!
//! At the end the first and the last measurements are compared, and a line is laid through all of them ([`judge`]). It
//! exits with 1 when something grew, or when a message was lost, came twice where it may not, or came out of order; with
//! 2 when the command line is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a soak that cannot go on stops with the reason")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures are what it is for")]

mod churn;
mod judge;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use portcullis_tests::{Config, Gateway};

use judge::Sample;

const USAGE: &str = "portcullis-soak --minutes N | --seconds N";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(time) = duration() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut gateway = Gateway::start(&Config::everywhere(&["anonymous"])).await;
    let own = own(&gateway).await;
    let (begun, mut samples, mut counts) = (Instant::now(), Vec::new(), churn::Counts::default());
    while begun.elapsed() < time || samples.len() < judge::LEAST {
        counts.add(&churn::round(&gateway, samples.len()).await);
        empty(&gateway, own).await;
        let sample = Sample {
            seconds: begun.elapsed().as_secs_f64(),
            memory: gateway.memory().0,
            descriptors: gateway.descriptors() as u64,
            store: gateway.metric("portcullis_store_file_bytes").await,
        };
        samples.push(sample);
        if samples.len().is_power_of_two() {
            println!("round {}: {sample}", samples.len());
        }
    }
    let status = gateway.stop().await;
    println!("{} rounds in {:.0} s: {counts}", samples.len(), begun.elapsed().as_secs_f64());
    let mut wrong = counts.wrong;
    wrong.extend(judge::growth(&samples));
    if !status.success() {
        wrong.push(format!("the gateway did not stop cleanly: {status}"));
    }
    println!("{}", judge::table(&samples));
    for what in &wrong {
        println!("WRONG: {what}");
    }
    if wrong.is_empty() {
        println!("nothing grew, nothing was lost, nothing came twice");
    }
    ExitCode::from(u8::from(!wrong.is_empty()))
}

/// How many retained messages are the gateway's own, `$SYS`. They are published one after the other, and to look in the midst of that is to
/// see some of them: counted is what stays the same.
async fn own(gateway: &Gateway) -> u64 {
    loop {
        let some = gateway.until_metric("portcullis_retained_messages", |value| value > 0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if gateway.metric("portcullis_retained_messages").await == some {
            return some;
        }
    }
}

/// Waits until nothing of the clients is left, and of retained messages no more than the gateway's `own`.
async fn empty(gateway: &Gateway, own: u64) {
    gateway.until_metric("portcullis_retained_messages", |value| value == own).await;
    for name in ["connections", "sessions", "subscriptions", "store_waiting_bytes"] {
        gateway.until_metric(&format!("portcullis_{name}"), |value| value == 0).await;
    }
}

fn duration() -> Option<Duration> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [unit, number] = arguments.as_slice() else { return None };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0)?;
    match unit.as_str() {
        "--minutes" => Some(Duration::from_secs(number * 60)),
        "--seconds" => Some(Duration::from_secs(number)),
        _ => None,
    }
}
