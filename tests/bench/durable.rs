//! QoS 1 to stored sessions: messages a second that are acknowledged, and syncs of the disk a second, for each meaning of
//! an acknowledgement, and beside mosquitto, whose acknowledgement means that it is in memory.
//!
//! Eight publishers with 64 messages of 100 octets in flight each; one stored session for each of them, which is there
//! and acknowledges, or is away. `PORTCULLIS_SECONDS` says how long each is measured (5 unless told).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use portcullis_tests::{Config, Gateway, Transport};

use crate::load::{self, Template, Wire};
use crate::peer::Mosquitto;
use crate::{Row, row, setting};

const PAIRS: usize = 8;
const WINDOW: u16 = 64;
const PAYLOAD: usize = 100;

pub(crate) async fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    for away in [false, true] {
        let who = if away { "away" } else { "there" };
        let mut none = None;
        let mut figures = Vec::new();
        for durability in ["none", "interval", "ack"] {
            let (messages, syncs) = gateway(durability, away).await;
            let share = messages / *none.get_or_insert(messages);
            figures.push((durability, messages, syncs, share));
        }
        for (durability, messages, syncs, share) in figures {
            let what = |unit| format!("QoS 1 to stored sessions that are {who}, {durability}: {unit}");
            rows.push(row(what("messages a second"), format!("{messages:.0}"), ""));
            rows.push(row(what("syncs a second"), format!("{syncs:.0}"), ""));
            if durability != "none" {
                rows.push(row(what("share of none"), format!("{share:.2}"), ""));
            }
        }
        if let Some(peer) = Mosquitto::start() {
            let messages = run(peer.address, away, || {});
            rows.push(row(
                format!("the same with mosquitto, which saves every 1800 s, {who}"),
                format!("{messages:.0}"),
                "",
            ));
        }
    }
    rows
}

async fn gateway(durability: &str, away: bool) -> (f64, f64) {
    let more =
        format!("durability = {durability:?}\nlimits = {{ queued-messages = 100000000, queued-bytes = \"4096MiB\" }}");
    let gateway = Gateway::start(&Config::new().mqtt_with("tcp", Transport::Tcp, &["anonymous"], &more)).await;
    let handle = tokio::runtime::Handle::current();
    let mut syncs = Vec::new();
    // The load is on threads of its own; this one may block, and asks for the figures in between.
    let messages = tokio::task::block_in_place(|| {
        run(gateway.address("tcp"), away, || {
            syncs.push(handle.block_on(gateway.metric("portcullis_store_syncs_total")))
        })
    });
    let syncs = (syncs[1] - syncs[0]) as f64 / seconds().as_secs_f64();
    (messages, syncs)
}

fn seconds() -> Duration {
    Duration::from_secs(setting("PORTCULLIS_SECONDS", 5))
}

/// Messages a second.
fn run(address: SocketAddr, away: bool, around: impl FnMut()) -> f64 {
    let (stop, acknowledged, received) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for number in 0..PAIRS {
        let mut wire = Wire::open(address, &format!("stored-{number}"), true);
        wire.subscribe(&format!("load/{number}"));
        if away {
            wire.leave();
        } else {
            threads.push(load::subscriber(wire, &received, &stop));
        }
    }
    for number in 0..PAIRS {
        let template = Template::new(&format!("load/{number}"), PAYLOAD, false);
        let name = format!("publisher-{number}");
        threads.push(load::publisher(address, name, template, WINDOW, &acknowledged, &stop));
    }
    let rate = load::rate(&acknowledged, Duration::from_secs(1), seconds(), around);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("the load went well");
    }
    rate
}
