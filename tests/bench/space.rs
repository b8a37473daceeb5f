//! Much space in the store comes free: how long an acknowledgement takes that means *stored*, while nothing happens, while
//! stored sessions come back and take hundreds of megabytes out of the store, and while others are ended with all that
//! waits for them. There is no compaction that could stand in the way: pages are used again, and the file gives back what
//! is free at its end with each commit. What is left is what the others' own changes cost the one who writes.
//!
//! `PORTCULLIS_MEGABYTES` says how much waits (256 unless told). The disk's own syncs stand beside it.

use std::io::Write;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_tests::{Config, Gateway, Transport};

use crate::load::{self, Template, Wire};
use crate::{Row, megabytes, milliseconds, percentile, row, setting};

const SESSIONS: u64 = 64;
const PAYLOAD: usize = 1_000;
const QUIET: Duration = Duration::from_secs(5);

pub(crate) async fn measure() -> Vec<Row> {
    let each = setting("PORTCULLIS_MEGABYTES", 256) * 1_000_000 / SESSIONS / PAYLOAD as u64;
    let limits = "limits = { queued-messages = 100000000, queued-bytes = \"4096MiB\" }";
    let config = Config::new().mqtt_with("tcp", Transport::Tcp, &["anonymous"], limits);
    let gateway = Gateway::start(&config.toml("[limits]\nwaiting-bytes = \"4096MiB\"")).await;
    let address = gateway.address("tcp");
    let syncs = syncs(gateway.directory());
    let mut rows = vec![
        row("a sync of 4 KiB to this disk: 99th percentile", milliseconds(percentile(&syncs, 99.0)), ""),
        row("a sync of 4 KiB to this disk: longest of 500", milliseconds(percentile(&syncs, 100.0)), ""),
    ];
    tokio::task::block_in_place(|| fill(address, each));
    let full = gateway.metric("portcullis_store_file_bytes").await;
    let quiet = tokio::task::block_in_place(|| probed(address, || std::thread::sleep(QUIET)));
    told(&mut rows, "while nothing else happens", &quiet);
    let quarter = SESSIONS / 4;
    let one_by_one = || (0..quarter).for_each(|number| come_back(address, number..number + 1, each));
    let back = tokio::task::block_in_place(|| probed(address, one_by_one));
    told(&mut rows, "while 16 sessions take all, one by one", &back);
    let crowd = tokio::task::block_in_place(|| probed(address, || come_back(address, quarter..2 * quarter, each)));
    told(&mut rows, "while 16 sessions take all at once", &crowd);
    let ended = tokio::task::block_in_place(|| probed(address, || end(address)));
    told(&mut rows, "while 32 sessions are ended with all", &ended);
    let after = tokio::task::block_in_place(|| probed(address, || std::thread::sleep(QUIET)));
    told(&mut rows, "after that", &after);
    rows.push(row(format!("the store's file, {} messages of {PAYLOAD} octets", SESSIONS * each), megabytes(full), ""));
    rows.push(row("the store's file after that", megabytes(gateway.metric("portcullis_store_file_bytes").await), ""));
    rows
}

fn told(rows: &mut Vec<Row>, when: &str, times: &[Duration]) {
    let what = |which: &str| format!("an acknowledgement {when}: {which}");
    rows.push(row(what("99th percentile"), milliseconds(percentile(times, 99.0)), ""));
    rows.push(row(what(&format!("longest of {}", times.len())), milliseconds(percentile(times, 100.0)), "100 ms"));
}

/// How long the disk takes, in order.
fn syncs(directory: &std::path::Path) -> Vec<Duration> {
    let mut file = std::fs::File::create(directory.join("syncs")).expect("a file");
    let mut times: Vec<_> = (0..500)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[0; 4096]).expect("it is written");
            file.sync_data().expect("it is synced");
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

fn name(number: u64) -> String {
    format!("stored-{number}")
}

/// Sessions that are away, and what waits for them.
fn fill(address: SocketAddr, each: u64) {
    for number in 0..SESSIONS {
        let mut wire = Wire::open(address, &name(number), true);
        wire.subscribe(&format!("space/{number}"));
        wire.leave();
    }
    let mut wire = Wire::open(address, "filler", false);
    let mut out = Vec::new();
    for number in 0..SESSIONS {
        let template = Template::new(&format!("space/{number}"), PAYLOAD, false);
        let mut left = each;
        while left > 0 {
            let some = left.min(200);
            (1..=some as u16).for_each(|id| template.put(id, &mut out));
            wire.send(&out);
            out.clear();
            for _ in 0..some {
                assert_eq!(wire.answer::<4>()[0], 0x40, "PUBACK");
            }
            left -= some;
        }
    }
}

/// How long the acknowledgement of a retained message took, again and again while something was done; in order.
fn probed(address: SocketAddr, work: impl FnOnce()) -> Vec<Duration> {
    let over = Arc::new(AtomicBool::new(false));
    let probe = {
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            let mut wire = Wire::open(address, "probe", false);
            let mut octets = Vec::new();
            Template::new("probe", 100, true).put(1, &mut octets);
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                wire.send(&octets);
                assert_eq!(wire.answer::<4>()[0], 0x40, "PUBACK");
                times.push(begun.elapsed());
            }
            times
        })
    };
    work();
    over.store(true, Ordering::Relaxed);
    let mut times = probe.join().expect("the probe went well");
    times.sort_unstable();
    times
}

/// These sessions take and acknowledge everything, at the same time.
fn come_back(address: SocketAddr, sessions: Range<u64>, each: u64) {
    let (received, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let all = (sessions.end - sessions.start) * each;
    let threads: Vec<_> =
        sessions.map(|number| load::subscriber(Wire::open(address, &name(number), true), &received, &stop)).collect();
    while received.load(Ordering::Relaxed) < all {
        std::thread::sleep(Duration::from_millis(10));
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a session went well");
    }
}

/// Half of the sessions begin anew: a clean start ends what there was.
fn end(address: SocketAddr) {
    for number in SESSIONS / 2..SESSIONS {
        Wire::open(address, &name(number), false).leave();
    }
    std::thread::sleep(Duration::from_secs(1));
}
