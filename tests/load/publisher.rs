//! A publisher: what it sends next, and what of it is on its way.

use crate::packet::{Label, Template};

/// Publishes as fast as its window lets it.
pub(crate) struct Publisher {
    number: u32,
    /// The client that it sends through.
    pub(crate) client: usize,
    templates: Vec<Template>,
    qos: u8,
    window: u64,
    /// Receivers of each message.
    fan: u64,
    pub(crate) sent: u64,
    /// Acknowledged to the end; at QoS 0 unused.
    pub(crate) confirmed: u64,
    /// Deliveries of its messages.
    pub(crate) seen: u64,
    next_id: u16,
}

impl Publisher {
    pub(crate) fn new(number: u32, client: usize, templates: Vec<Template>, qos: u8, window: u64, fan: u64) -> Self {
        Self { number, client, templates, qos, window, fan, sent: 0, confirmed: 0, seen: 0, next_id: 1 }
    }

    /// Messages that may be sent now.
    pub(crate) fn credit(&self) -> u64 {
        let undelivered = self.sent - (self.seen / self.fan.max(1)).min(self.sent);
        let waiting = if self.fan == 0 { self.unacknowledged() } else { undelivered.max(self.unacknowledged()) };
        self.window.saturating_sub(waiting)
    }

    /// Adds one message to `out`.
    pub(crate) fn put(&mut self, due: u64, out: &mut Vec<u8>) {
        let template = &self.templates[(self.sent % self.templates.len() as u64) as usize];
        template.put(self.next_id, Label { publisher: self.number, sequence: self.sent as u32, due }, out);
        self.sent += 1;
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
    }

    /// An acknowledgement came. What it is answered with, if anything.
    pub(crate) fn acknowledge(&mut self, first: u8, id: [u8; 2]) -> Option<[u8; 4]> {
        match first >> 4 {
            4 | 7 => {
                self.confirmed += 1;
                None
            }
            5 => Some([0x62, 2, id[0], id[1]]),
            _ => None,
        }
    }

    /// Messages that wait for their acknowledgement.
    pub(crate) fn unacknowledged(&self) -> u64 {
        if self.qos == 0 { 0 } else { self.sent - self.confirmed.min(self.sent) }
    }

    /// Whether all that it has sent has come and is acknowledged.
    pub(crate) fn is_complete(&self) -> bool {
        self.seen >= self.sent * self.fan && self.unacknowledged() == 0
    }
}
