//! A restart with much in the store: 10,000 stored sessions, each with a subscription and ten messages that wait for it,
//! and 100,000 retained messages of 100 octets. From starting the process to its `ready` line, and the most memory that
//! it took; after a clean stop, after SIGKILL, and with nothing in the store.
//!
//! `PORTCULLIS_SHARE` divides all numbers, to try it out.

use std::net::SocketAddr;
use std::time::Instant;

use portcullis_tests::{Config, Gateway, Transport};
use tempfile::TempDir;

use crate::load::{Template, Wire};
use crate::{Row, megabytes, row, setting};

const SESSIONS: u64 = 10_000;
const MESSAGES_EACH: u64 = 10;
const RETAINED: u64 = 100_000;
const PAYLOAD: usize = 100;
const THREADS: u64 = 16;
const SERVE: [&str; 5] = ["serve", "--config", "portcullis.toml", "--data", "data"];

pub(crate) async fn measure() -> Vec<Row> {
    let share = setting("PORTCULLIS_SHARE", 1);
    let (sessions, retained) = (SESSIONS / share, RETAINED / share);
    let config = Config::new()
        .mqtt_with("tcp", Transport::Tcp, &["anonymous"], "")
        // The gateway has some of its own, `$SYS`.
        .toml("[limits]\nretained-messages = 200000");
    let mut gateway = Gateway::start(&config).await;
    gateway.stop().await;
    let (empty, empty_memory, mut gateway) = start(gateway.into_directory()).await;

    let address = gateway.address("tcp");
    let begun = Instant::now();
    tokio::task::block_in_place(|| fill(address, sessions, retained));
    let filled = begun.elapsed();
    let file = gateway.metric("portcullis_store_file_bytes").await;
    assert_eq!(gateway.metric("portcullis_sessions").await, sessions);
    assert!(gateway.metric("portcullis_retained_messages").await >= retained);
    let (running, _) = gateway.memory();
    gateway.stop().await;
    let (clean, clean_memory, gateway) = start(gateway.into_directory()).await;
    assert_eq!(gateway.metric("portcullis_sessions").await, sessions);
    // Dropping it kills it.
    let (killed, killed_memory, gateway) = start(gateway.into_directory()).await;
    assert!(gateway.metric("portcullis_retained_messages").await >= retained);

    let what = format!("{sessions} sessions, {} queued, {retained} retained", sessions * MESSAGES_EACH);
    vec![
        row(format!("{what}: written in"), format!("{:.1} s", filled.as_secs_f64()), ""),
        row("the store's file", megabytes(file), ""),
        row("resident memory with it, before the restart", megabytes(running), ""),
        row("start to ready, empty store", seconds(empty), ""),
        row("start to ready, after a clean stop", seconds(clean), ""),
        row("start to ready, after SIGKILL", seconds(killed), ""),
        row("most memory until ready, empty store", megabytes(empty_memory), ""),
        row("most memory until ready, after a clean stop", megabytes(clean_memory), ""),
        row("most memory until ready, after SIGKILL", megabytes(killed_memory), ""),
    ]
}

fn seconds(time: std::time::Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

async fn start(directory: TempDir) -> (std::time::Duration, u64, Gateway) {
    let begun = Instant::now();
    let gateway = Gateway::spawn(directory, &SERVE).await.unwrap();
    let took = begun.elapsed();
    let (_, most) = gateway.memory();
    (took, most, gateway)
}

fn fill(address: SocketAddr, sessions: u64, retained: u64) {
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                let own = |all: u64| (0..all).filter(move |n| n % THREADS == thread);
                for n in own(sessions) {
                    let mut wire = Wire::open(address, &format!("session-{n}"), true);
                    wire.subscribe(&format!("session/{n}/#"));
                    wire.leave();
                }
                let mut wire = Wire::open(address, &format!("filler-{thread}"), false);
                let topics = own(sessions)
                    .flat_map(|n| std::iter::repeat_n((format!("session/{n}/data"), false), MESSAGES_EACH as usize))
                    .chain(own(retained).map(|n| (format!("retained/{}/{n}", n % 100), true)))
                    .collect::<Vec<_>>();
                let mut out = Vec::new();
                for part in topics.chunks(100) {
                    for (at, (topic, retain)) in part.iter().enumerate() {
                        Template::new(topic, PAYLOAD, *retain).put(at as u16 + 1, &mut out);
                    }
                    wire.send(&out);
                    out.clear();
                    for _ in part {
                        assert_eq!(wire.answer::<4>()[0], 0x40, "PUBACK");
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("the store is filled");
    }
}
