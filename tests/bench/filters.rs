//! What message filters cost: those whose listener has none, those whose topics no filter names, and those whose messages
//! are looked at.

use std::time::Duration;

use portcullis_tests::{Config, Gateway, Message, Transport, Version, packets, policies, processor};

use crate::load::Wire;
use crate::{Row, row, setting};

/// Messages between two questions whether all has arrived.
const BURST: usize = 500;

/// Listeners by their filters, the first without any.
const DOORS: [(&str, &str); 3] = [
    ("plain", ""),
    ("elsewhere", "filters = [{ policy = \"sieve\", topics = [\"other/#\", \"+/other/#\"] }]"),
    ("here", "filters = [{ policy = \"sieve\", topics = [\"topic/#\"] }]"),
];

/// `TURNS` says how often each listener has its turn (20 unless set), `BURSTS` how many bursts of messages that is (100).
pub(crate) async fn measure() -> Vec<Row> {
    let (turns, bursts) = (setting("TURNS", 20), setting("BURSTS", 100));
    let config = DOORS
        .into_iter()
        .fold(Config::new(), |config, (name, filters)| config.mqtt_with(name, Transport::Tcp, &["anonymous"], filters))
        .toml("[[policy]]\nname = \"sieve\"\nsource = \"sieve.wasm\"")
        .file("sieve.wasm", policies::filtering(false));
    let gateway = Gateway::start(&config).await;
    tokio::task::block_in_place(|| {
        let mut rows = Vec::new();
        for (what, topics) in [("one topic", 1), ("64 topics in turn", 64)] {
            let burst: Vec<u8> = (0..BURST)
                .flat_map(|number| {
                    let topic = format!("topic/{}", number % topics);
                    packets::publish(Version::V311, &Message::new(topic, [b'x'; 64]))
                })
                .collect();
            let mut doors = DOORS.map(|(name, _)| (Wire::open(gateway.address(name), name, false), Vec::new()));
            for turn in 0..=turns {
                for (index, (wire, costs)) in doors.iter_mut().enumerate() {
                    // A call for each message takes a hundred times as long.
                    let bursts = if index == 2 { bursts.div_ceil(20) } else { bursts };
                    let cost = cost(&gateway, wire, &burst, bursts);
                    // The first turn is for warming up.
                    if turn > 0 {
                        costs.push(cost);
                    }
                }
            }
            let names = ["no filters on the listener", "filters for other topics", "a filter looks at each"];
            let costs = doors.map(|(_, costs)| costs);
            for (name, all) in names.into_iter().zip(&costs) {
                let mut ratios: Vec<f64> = all.iter().zip(&costs[0]).map(|(this, plain)| this / plain).collect();
                let mut all = all.clone();
                let measured = format!("{:.1} ns ({:.3}x)", median(&mut all), median(&mut ratios));
                rows.push(row(format!("CPU of a QoS 0 message nobody hears, {what}: {name}"), measured, ""));
            }
        }
        rows
    })
}

/// Nanoseconds of processor time that the gateway spends on a message.
fn cost(gateway: &Gateway, wire: &mut Wire, burst: &[u8], bursts: u64) -> f64 {
    let before = processor::time(gateway.pid());
    for _ in 0..bursts {
        wire.send(burst);
    }
    wire.send(&[0xC0, 0]);
    assert_eq!(wire.answer::<2>(), [0xD0, 0], "PINGRESP");
    let took: Duration = processor::time(gateway.pid()) - before;
    took.as_nanos() as f64 / (bursts * BURST as u64) as f64
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
