//! What was promised, held against what came.

use std::collections::HashMap;

use crate::publisher::{Published, Sent};
use crate::subscriber::{Delivery, Key, Received};

/// How many failures are told in full.
const TOLD: usize = 20;

pub(crate) struct Verdict {
    pub(crate) figures: String,
    pub(crate) wrong: Vec<String>,
}

impl Verdict {
    /// The failures, the first ones in full.
    pub(crate) fn story(&self) -> String {
        let shown = self.wrong.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("\n");
        format!("{} things went wrong:\n{shown}", self.wrong.len())
    }
}

/// `qos`: of each subscription.
pub(crate) fn judge(qos: &[u8], published: &[Published], received: &[Received]) -> Verdict {
    let mut wrong = Vec::new();
    let mut sent: HashMap<Key, &Sent> = HashMap::new();
    for (publisher, its) in published.iter().enumerate() {
        sent.extend(its.messages.iter().map(|m| ((publisher, m.qos, m.sequence), m)));
    }
    let (mut lost, mut twice, mut again) = (0, 0, 0);
    for (subscriber, (its, qos)) in received.iter().zip(qos).enumerate() {
        let mut came: HashMap<Key, Vec<&Delivery>> = HashMap::new();
        let mut newest: HashMap<(usize, u8), u64> = HashMap::new();
        for delivery in &its.deliveries {
            let (publisher, level, sequence) = delivery.key;
            let before = came.entry(delivery.key).or_default();
            if before.is_empty() {
                let newest = newest.entry((publisher, level)).or_default();
                if sequence < *newest {
                    wrong.push(format!(
                        "out of order: {} came to subscriber-{subscriber} for the first time at {}, after {newest}",
                        name(delivery.key),
                        delivery.moment
                    ));
                }
                *newest = sequence.max(*newest);
            }
            before.push(delivery);
        }
        for (key, message) in &sent {
            let deliveries = came.remove(key).unwrap_or_default();
            let story = || format!("{}; subscriber-{subscriber} got it {}", tell(*key, message), when(&deliveries));
            if deliveries.is_empty() {
                lost += 1;
                wrong.push(format!("lost: {}", story()));
            } else if deliveries.len() > 1 && key.1.min(*qos) == 2 {
                twice += 1;
                wrong.push(format!("twice at QoS 2: {}", story()));
            } else if deliveries.iter().filter(|d| !d.dup).count() > message.sent.len() {
                wrong.push(format!("repeated without DUP: {}", story()));
            }
            again += deliveries.len().saturating_sub(1);
        }
        for (key, deliveries) in came {
            wrong.push(format!("{} was never sent and came {}", name(key), when(&deliveries)));
        }
    }
    let acknowledged: u64 = published.iter().map(|p| p.acknowledged).sum();
    let resent: usize = sent.values().map(|m| m.sent.len() - 1).sum();
    let deliveries: usize = received.iter().map(|r| r.deliveries.len()).sum();
    let repeated: u64 = received.iter().map(|r| r.repeated).sum();
    let figures = format!(
        "{acknowledged} messages acknowledged, {resent} sent again, {deliveries} deliveries, {again} repeated at QoS 1, \
         {repeated} repeated under their identifier at QoS 2; lost {lost}, twice at QoS 2 {twice}"
    );
    wrong.sort();
    Verdict { figures, wrong }
}

fn name((publisher, qos, sequence): Key) -> String {
    format!("publisher-{publisher} QoS {qos} #{sequence}")
}

fn tell(key: Key, message: &Sent) -> String {
    let sent: Vec<_> = message.sent.iter().map(ToString::to_string).collect();
    let acknowledged = message.acknowledged.map_or("never".to_owned(), |moment| moment.to_string());
    format!("{}: sent at {}; acknowledged: {acknowledged}", name(key), sent.join(", "))
}

fn when(deliveries: &[&Delivery]) -> String {
    if deliveries.is_empty() {
        return "never".to_owned();
    }
    let times: Vec<_> =
        deliveries.iter().map(|d| format!("at {}{}", d.moment, if d.dup { " (DUP)" } else { "" })).collect();
    times.join(", ")
}
