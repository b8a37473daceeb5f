//! `$SYS`: what the gateway says of itself, as retained messages that a grant has to permit.
//!
//! The names are those that MQTT brokers have in common. Nothing here is stored: after a restart the figures begin anew.

use std::sync::Arc;
use std::time::Instant;

use portcullis_mqtt::QoS;
use portcullis_router::{Message, now_ms};

use crate::broker::Broker;
use crate::scratch::Scratch;
use crate::stats::Totals;

/// What every topic of this kind begins with. Clients may not publish there, whatever their grant.
pub(crate) const ROOT: &str = "$SYS/";

/// Milliseconds between two publications.
const EVERY_MS: u64 = 10_000;
/// The load averages look back so many minutes.
const MINUTES: [(u64, &str); 3] = [(1, "1min"), (5, "5min"), (15, "15min")];

/// Publishes `$SYS`, and keeps the load averages.
pub(crate) struct Sys {
    version: &'static str,
    started: Instant,
    due: u64,
    last: Totals,
    last_at: u64,
    /// Messages a minute, received and delivered, for each of [`MINUTES`].
    averages: [[f64; 2]; MINUTES.len()],
}

impl Sys {
    pub(crate) fn new(version: &'static str) -> Self {
        let now = now_ms();
        Self {
            version,
            started: Instant::now(),
            due: now,
            last: Totals::default(),
            last_at: now,
            averages: Default::default(),
        }
    }

    /// Publishes if it is time. The caller settles the batch.
    pub(crate) fn tick(&mut self, broker: &Broker, s: &mut Scratch) {
        let now = now_ms();
        if now < self.due {
            return;
        }
        self.due = now + EVERY_MS;
        let totals = broker.totals();
        self.average(totals, now);
        let (retained, retained_bytes) = broker.retained();
        let say = |topic: &str, value: String, s: &mut Scratch| {
            let topic = format!("{ROOT}broker/{topic}");
            let message = Message::new(&topic, &[], value.as_bytes(), QoS::AtMostOnce, true, None, 0);
            broker.publish_volatile(&Arc::new(message), s);
        };
        say("version", format!("portcullis {}", self.version), s);
        say("uptime", self.started.elapsed().as_secs().to_string(), s);
        let sessions = broker.sessions() as u64;
        let numbers = [
            ("clients/connected", totals.connections),
            ("clients/disconnected", sessions.saturating_sub(totals.connections)),
            ("clients/total", sessions),
            ("messages/received", totals.received),
            ("messages/sent", totals.delivered),
            ("messages/dropped", totals.dropped + totals.refused + totals.oversized),
            ("messages/unauthorized", totals.unauthorized),
            ("bytes/received", totals.received_bytes),
            ("subscriptions/count", broker.subscriptions() as u64),
            ("retained messages/count", retained as u64),
            ("retained messages/bytes", retained_bytes as u64),
        ];
        for (topic, number) in numbers {
            say(topic, number.to_string(), s);
        }
        for ((_, name), [received, sent]) in MINUTES.iter().zip(self.averages) {
            say(&format!("load/messages/received/{name}"), format!("{received:.2}"), s);
            say(&format!("load/messages/sent/{name}"), format!("{sent:.2}"), s);
        }
    }

    /// Exponentially weighted, as load averages are.
    fn average(&mut self, totals: Totals, now: u64) {
        let elapsed = now.saturating_sub(self.last_at) as f64 / 60_000.0;
        if elapsed > 0.0 {
            let rates = [
                totals.received.saturating_sub(self.last.received) as f64 / elapsed,
                totals.delivered.saturating_sub(self.last.delivered) as f64 / elapsed,
            ];
            for ((minutes, _), average) in MINUTES.iter().zip(&mut self.averages) {
                let weight = (-elapsed / *minutes as f64).exp();
                for (average, rate) in average.iter_mut().zip(rates) {
                    *average = *average * weight + rate * (1.0 - weight);
                }
            }
        }
        self.last = totals;
        self.last_at = now;
    }
}
