//! Messages of a mailbox that wait behind its window, and how many octets they are.

use std::collections::VecDeque;

use super::packet::Queued;

/// In the order in which they are sent.
#[derive(Default)]
pub(super) struct Queue {
    messages: VecDeque<Queued>,
    bytes: usize,
}

impl Queue {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Octets of their topics, properties and payloads.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn front(&self) -> Option<&Queued> {
        self.messages.front()
    }

    pub(super) fn push_back(&mut self, queued: Queued) {
        self.bytes += queued.message.size();
        self.messages.push_back(queued);
    }

    pub(super) fn pop_front(&mut self) -> Option<Queued> {
        let queued = self.messages.pop_front()?;
        self.bytes -= queued.message.size();
        Some(queued)
    }

    /// Keeps those that pass the test.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Queued) -> bool) {
        self.messages.retain(keep);
        self.bytes = self.messages.iter().map(|queued| queued.message.size()).sum();
    }
}
